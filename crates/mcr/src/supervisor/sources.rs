//! What the kernel would use for a leg.
//!
//! [`pick`] asks the routing table through a scratch socket, so policy routing, preferred sources and learnt path
//! MTUs count as they will for the leg itself. Nothing is remembered: when links, addresses or routes change, the caller
//! asks again.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;

use rustix::io::Errno;
use rustix::net::netdevice::index_to_name;
use rustix::net::{connect_unspec, sockopt};
use socket2::{Domain, Socket, Type};

use super::sockets::socket_addr;

/// The discard port (RFC 863): a connect needs some port, and no datagram is sent.
const SCRATCH_PORT: u16 = 9;

/// What the kernel would send from, and how much at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Picked {
    /// The source address.
    pub source: IpAddr,
    /// Largest IP packet that leaves unfragmented, in bytes: the route's path MTU, for a group the interface's.
    pub mtu: u32,
}

/// Why the kernel has no source for a destination; a leg's reason to be pending.
#[derive(Debug, thiserror::Error)]
pub enum NoSource {
    /// The routing table leads nowhere.
    #[error("no route to {0}")]
    NoRoute(Place),
    /// The interface that would be used has no address of the destination's family.
    #[error(
        "no {family} address to send from to {place}: add one to the interface, or give the output source=ADDRESS"
    )]
    NoAddress {
        /// "IPv4" or "IPv6".
        family: &'static str,
        /// Where the datagrams would go.
        place: Place,
    },
    /// The interface went away meanwhile.
    #[error("interface with index {0} does not exist")]
    NoInterface(u32),
    /// A link-local destination without interface (RFC 4007, section 6).
    #[error("{0} is a link-local address: name its interface, as in [{0}]%eth0:5000")]
    NoScope(Ipv6Addr),
    /// A subnet's broadcast address, or a route of type prohibit (ip-route(8)): the kernel says the same of both.
    #[error(
        "{0} is a broadcast address or its route is of type prohibit: name a host or a group, or change the route"
    )]
    Forbidden(Place),
    /// The kernel refuses for another cause.
    #[error("the kernel refuses to send to {place}: {error}")]
    Refused {
        /// Where the datagrams would go.
        place: Place,
        /// What the kernel said.
        error: io::Error,
    },
}

/// A destination, and the interface it is to be reached by where the rule names one.
#[derive(Debug)]
pub struct Place {
    destination: IpAddr,
    interface: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.interface {
            None => write!(f, "{}", self.destination),
            Some(interface) => write!(f, "{} on interface {interface}", self.destination),
        }
    }
}

/// Asks the kernel which source address and MTU a datagram to `destination` gets, on the interface with index
/// `interface` if given. For many destinations in a row [`Scratch`] is twice as fast.
///
/// # Errors
/// Why nothing can be sent there now.
pub fn pick(destination: IpAddr, interface: Option<u32>) -> Result<Picked, NoSource> {
    Scratch::default().pick(destination, interface)
}

/// The sockets that questions are put with. They send nothing.
#[derive(Debug, Default)]
pub struct Scratch {
    v4: Option<Socket>,
    v6: Option<Socket>,
}

impl Scratch {
    /// As [`pick`], in five system calls.
    ///
    /// # Errors
    /// Why nothing can be sent there now.
    pub fn pick(&mut self, destination: IpAddr, interface: Option<u32>) -> Result<Picked, NoSource> {
        let refused = |error| NoSource::Refused { place: Place { destination, interface: None }, error };
        let (kept, domain) = match destination {
            IpAddr::V4(_) => (&mut self.v4, Domain::IPV4),
            IpAddr::V6(_) => (&mut self.v6, Domain::IPV6),
        };
        let socket = match kept.take() {
            Some(socket) => socket,
            None => Socket::new(domain, Type::DGRAM, None).map_err(refused)?,
        };
        let picked = ask(&socket, destination, interface);
        // Without this the next answer would be this one's source address.
        if connect_unspec(&socket).is_ok() {
            *kept = Some(socket);
        }
        picked
    }
}

fn ask(socket: &Socket, destination: IpAddr, interface: Option<u32>) -> Result<Picked, NoSource> {
    let failed = |error| no_source(error, socket, destination, interface);
    // The same output interface in the route lookup that IP_PKTINFO or IPV6_PKTINFO gives a leg.
    socket.bind_device_by_index_v4(interface.and_then(NonZeroU32::new)).map_err(failed)?;
    socket.connect(&socket_addr(destination, interface, SCRATCH_PORT).into()).map_err(failed)?;
    let local = socket.local_addr().map_err(failed)?.as_socket();
    let source = local.map(|local| local.ip()).filter(|source| !source.is_unspecified());
    let source = source.ok_or_else(|| failed(Errno::ADDRNOTAVAIL.into()))?;
    let mtu = match destination {
        IpAddr::V4(_) => sockopt::ip_mtu(socket),
        IpAddr::V6(_) => sockopt::ipv6_mtu(socket),
    };
    Ok(Picked { source, mtu: mtu.map_err(|error| failed(error.into()))? })
}

fn no_source(error: io::Error, socket: &Socket, destination: IpAddr, interface: Option<u32>) -> NoSource {
    let name = |index| index_to_name(socket, index).unwrap_or_else(|_| format!("with index {index}"));
    let place = || Place { destination, interface: interface.map(name) };
    match (Errno::from_io_error(&error), destination, interface) {
        (Some(Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::NONET), ..) => NoSource::NoRoute(place()),
        (Some(Errno::ADDRNOTAVAIL), ..) => {
            let family = if destination.is_ipv4() { "IPv4" } else { "IPv6" };
            NoSource::NoAddress { family, place: place() }
        }
        (Some(Errno::NODEV), _, Some(index)) => NoSource::NoInterface(index),
        (Some(Errno::ACCESS), ..) => NoSource::Forbidden(place()),
        (Some(Errno::INVAL), IpAddr::V6(link_local), None) if link_local.is_unicast_link_local() => {
            NoSource::NoScope(link_local)
        }
        _ => NoSource::Refused { place: place(), error },
    }
}

#[cfg(test)]
pub(super) mod tests;
