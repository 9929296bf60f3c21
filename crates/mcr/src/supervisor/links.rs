//! Links and addresses of this network namespace, and word of their changes, by rtnetlink.
//!
//! [`Links`] keeps a snapshot, [`Interfaces`], and tells when links, addresses, routes or routing rules changed.
//! A notification is only a reason to look again, its content is not read: one that was lost because the socket
//! overran costs nothing, for the overrun is itself a reason. What to do about a change is left to the caller.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoPortKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep_until};

/// Least time between two wakes: a burst (a routing daemon's table, an interface with many addresses) is one.
const QUIET: Duration = Duration::from_millis(20);

/// Most notifications read in one go, so that a flood of them does not hold up the caller's other work.
const DRAIN_MAX: usize = 1024;

/// `RTMGRP_*` bits of rtnetlink(7): links, addresses, routes and policy rules of both families.
const GROUPS: u32 = bit(1) | bit(5) | bit(7) | bit(8) | bit(9) | bit(11) | bit(19);

/// The bit of an `RTNLGRP_*` number (linux/rtnetlink.h).
const fn bit(group: u32) -> u32 {
    1 << (group - 1)
}

/// Why links are not known.
#[derive(Debug, thiserror::Error)]
pub enum LinksError {
    /// No notifications.
    #[error("cannot subscribe to changes of links and addresses (netlink): {0}")]
    Subscribe(#[source] io::Error),
    /// No connection to ask with.
    #[error("cannot open a netlink socket to list links and addresses: {0}")]
    Open(#[source] io::Error),
    /// The kernel's list broke off.
    #[error("cannot list {what} (netlink): {error}")]
    List {
        /// "links" or "addresses".
        what: &'static str,
        /// What the kernel or the parser said.
        error: rtnetlink::Error,
    },
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Index; another one when an interface of that name is made again.
    pub index: u32,
    /// Name.
    pub name: String,
    /// Whether it is switched on (`IFF_UP`).
    pub up: bool,
    /// Whether it can carry packets: switched on, and a carrier where the device knows of one (`IFF_RUNNING`).
    pub running: bool,
    /// How often it has lost its carrier.
    pub carrier_losses: u32,
    /// Largest IP packet in bytes.
    pub mtu: u32,
    /// Whether it is a loopback device.
    pub loopback: bool,
    /// Its own hardware address, where it is Ethernet.
    pub ethernet: Option<[u8; 6]>,
    /// Its own addresses, also those still checked for duplicates.
    pub addresses: Vec<IpAddr>,
    /// The device it is a part of.
    pub master: Option<Master>,
}

/// The device an interface is a part of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Master {
    /// Index.
    pub index: u32,
    /// Name.
    pub name: String,
    /// What the interface is to it.
    pub role: Role,
}

/// What an interface is to its master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Port of a bridge or virtual switch: the master takes its frames.
    BridgePort,
    /// Slave of a bond or port of a team: the master takes its frames.
    BondSlave,
    /// Member of a VRF, or the like: it keeps its frames.
    Member,
}

/// All interfaces at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interfaces {
    by_index: BTreeMap<u32, Interface>,
    indexes: HashMap<String, u32>,
}

impl Interfaces {
    /// The interface of that name.
    pub fn by_name(&self, name: &str) -> Option<&Interface> {
        self.by_index(*self.indexes.get(name)?)
    }

    /// The interface with that index.
    pub fn by_index(&self, index: u32) -> Option<&Interface> {
        self.by_index.get(&index)
    }

    /// Every interface, by index.
    pub fn iter(&self) -> impl Iterator<Item = &Interface> {
        self.by_index.values()
    }

    /// Every address of the host. Of 127.0.0.0/8, all of which is local, only what an interface has.
    pub fn local_addresses(&self) -> HashSet<IpAddr> {
        self.iter().flat_map(|interface| interface.addresses.iter().copied()).collect()
    }

    /// Indexes of interfaces whose carrier was away since `before` and is back, though they stayed up.
    pub fn reconnected_since<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = u32> + 'a {
        let reconnected = |now: &&Interface| {
            before.by_index(now.index).is_some_and(|before| {
                let lost = !before.running || now.carrier_losses != before.carrier_losses;
                before.up && now.running && lost
            })
        };
        self.iter().filter(reconnected).map(|interface| interface.index)
    }

    /// Why nothing can pass the interface `name` now: a rule's reason to be pending.
    pub fn why_not(&self, name: &str) -> Option<String> {
        match self.by_name(name) {
            None => Some(format!("interface {name} does not exist")),
            Some(interface) if !interface.up => Some(format!("interface {name} is down")),
            Some(interface) if !interface.running => Some(format!("interface {name} is down (no carrier)")),
            Some(_) => None,
        }
    }

    /// Why `name` cannot be an input's interface whatever its state: its master takes its frames, so that none
    /// reaches a packet socket bound to IP on it.
    pub fn why_not_input(&self, name: &str) -> Option<String> {
        let master = self.by_name(name)?.master.as_ref()?;
        let part = match master.role {
            Role::BridgePort => "a port of the bridge",
            Role::BondSlave => "a slave of the bond",
            Role::Member => return None,
        };
        let master = &master.name;
        Some(format!("interface {name} is {part} {master}, which takes its packets: use %{master}"))
    }

    fn new(links: Vec<LinkMessage>, addresses: Vec<AddressMessage>) -> Self {
        let mut by_index = BTreeMap::new();
        let mut masters = Vec::new();
        for link in links {
            let (interface, master) = parse_link(link);
            masters.extend(master.map(|(index, role)| (interface.index, index, role)));
            by_index.insert(interface.index, interface);
        }
        for (index, master, role) in masters {
            let name = by_index.get(&master).map(|master| master.name.clone());
            if let (Some(name), Some(interface)) = (name, by_index.get_mut(&index)) {
                interface.master = Some(Master { index: master, name, role });
            }
        }
        for message in addresses {
            if let Some(interface) = by_index.get_mut(&message.header.index) {
                interface.addresses.extend(own_address(&message.attributes));
            }
        }
        let indexes = by_index.values().map(|interface| (interface.name.clone(), interface.index)).collect();
        Self { by_index, indexes }
    }
}

fn parse_link(link: LinkMessage) -> (Interface, Option<(u32, Role)>) {
    let flags = link.header.flags;
    let mut interface = Interface {
        index: link.header.index,
        name: String::new(),
        up: flags.contains(LinkFlags::Up),
        running: flags.contains(LinkFlags::Up | LinkFlags::Running),
        carrier_losses: 0,
        mtu: 0,
        loopback: flags.contains(LinkFlags::Loopback),
        ethernet: None,
        addresses: Vec::new(),
        master: None,
    };
    let mut master = None;
    let mut role = Role::Member;
    for attribute in link.attributes {
        match attribute {
            LinkAttribute::IfName(name) => interface.name = name,
            LinkAttribute::Address(address) if link.header.link_layer_type == LinkLayerType::Ether => {
                interface.ethernet = address.try_into().ok();
            }
            LinkAttribute::Mtu(mtu) => interface.mtu = mtu,
            LinkAttribute::CarrierDownCount(times) => interface.carrier_losses = times,
            LinkAttribute::Controller(index) => master = Some(index),
            LinkAttribute::LinkInfo(infos) => role = role_in(&infos),
            _ => {}
        }
    }
    (interface, master.map(|index| (index, role)))
}

fn role_in(infos: &[LinkInfo]) -> Role {
    let kind = infos.iter().find_map(|info| match info {
        LinkInfo::PortKind(kind) => Some(kind),
        _ => None,
    });
    match kind {
        Some(InfoPortKind::Bridge) => Role::BridgePort,
        Some(InfoPortKind::Other(kind)) if kind == "openvswitch" => Role::BridgePort,
        Some(InfoPortKind::Bond | InfoPortKind::Team) => Role::BondSlave,
        _ => Role::Member,
    }
}

/// On a point-to-point link `IFA_ADDRESS` is the peer's address and `IFA_LOCAL` the own one; IPv6 often has only
/// the former.
fn own_address(attributes: &[AddressAttribute]) -> Option<IpAddr> {
    let local = attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    local.or_else(|| {
        attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })
}

/// Follows links and addresses.
#[derive(Debug)]
pub struct Links {
    events: AsyncFd<OwnedFd>,
    interfaces: Interfaces,
    /// Something changed and no [`Self::changed`] has said so yet; outlives one that was cancelled.
    pending: bool,
    last_wake: Option<Instant>,
}

impl Links {
    /// Subscribes, then takes the first snapshot. Needs no privilege, but a tokio runtime with I/O and time.
    ///
    /// # Errors
    /// When netlink cannot be had.
    pub async fn open() -> Result<Self, LinksError> {
        let events = subscribe().map_err(LinksError::Subscribe)?;
        Ok(Self { events, interfaces: list().await?, pending: false, last_wake: None })
    }

    /// The snapshot last taken.
    pub fn interfaces(&self) -> &Interfaces {
        &self.interfaces
    }

    /// Takes a new snapshot and says whether it differs; routes and rules are not in it. On an error the last one
    /// stays.
    ///
    /// # Errors
    /// When netlink cannot be asked.
    pub async fn refresh(&mut self) -> Result<bool, LinksError> {
        let now = list().await?;
        let differs = now != self.interfaces;
        self.interfaces = now;
        Ok(differs)
    }

    /// Waits until a link, an address, a route or a routing rule has changed since the last return: at once at
    /// first, then once per 20 ms at most. May be cancelled without losing a change.
    pub async fn changed(&mut self) {
        if !self.pending {
            self.wait_for_event().await;
        }
        if let Some(last) = self.last_wake {
            sleep_until(last + QUIET).await;
        }
        // What came meanwhile belongs to this wake.
        drain(self.events.get_ref());
        self.pending = false;
        self.last_wake = Some(Instant::now());
    }

    async fn wait_for_event(&mut self) {
        while !self.pending {
            match self.events.readable().await {
                Ok(mut ready) => match drain(self.events.get_ref()) {
                    Drained::Nothing => ready.clear_ready(),
                    Drained::All => {
                        ready.clear_ready();
                        self.pending = true;
                    }
                    Drained::Part => self.pending = true,
                },
                // Only when the runtime shuts down.
                Err(_) => std::future::pending().await,
            }
        }
    }
}

#[expect(
    deprecated,
    reason = "its successor is unsafe for the sake of types that swap descriptors; OwnedFd does not"
)]
fn subscribe() -> io::Result<AsyncFd<OwnedFd>> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    // No protocol is NETLINK_ROUTE, which is 0.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
    AsyncFd::new(socket)
}

enum Drained {
    Nothing,
    All,
    Part,
}

/// Takes notifications off the socket unread. An error other than "none left" counts as one: an overrun (ENOBUFS)
/// means that some were lost.
fn drain(socket: &OwnedFd) -> Drained {
    let mut start = [0_u8; 1];
    for taken in 0..DRAIN_MAX {
        match recv(socket, &mut start, RecvFlags::TRUNC) {
            Err(Errno::AGAIN) if taken == 0 => return Drained::Nothing,
            Err(Errno::AGAIN) => return Drained::All,
            _ => {}
        }
    }
    Drained::Part
}

/// Asks on a connection of its own: one that broke leaves nothing behind.
async fn list() -> Result<Interfaces, LinksError> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(LinksError::Open)?;
    let connection = tokio::spawn(connection);
    let listed = async {
        let links = collect(handle.link().get().execute(), "links").await?;
        let addresses = collect(handle.address().get().execute(), "addresses").await?;
        Ok(Interfaces::new(links, addresses))
    };
    let listed = listed.await;
    connection.abort();
    listed
}

async fn collect<T>(
    messages: impl Stream<Item = Result<T, rtnetlink::Error>>,
    what: &'static str,
) -> Result<Vec<T>, LinksError> {
    let messages: Vec<_> = messages.collect().await;
    messages.into_iter().collect::<Result<_, _>>().map_err(|error| LinksError::List { what, error })
}

#[cfg(test)]
mod tests;
