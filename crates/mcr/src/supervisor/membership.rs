//! Which groups the host has joined for the rules.
//!
//! [`Memberships`] holds joins on sockets that receive nothing: unbound, so no datagram finds them. The kernel
//! limits what one socket may join (igmp_max_memberships, igmp_max_msf, mld_max_msf, optmem_max), so joins
//! are spread over as many sockets as it takes. A join is made once and kept: the kernel reports it again itself
//! when a querier asks or the interface is switched on, and to leave and join would make a snooping switch prune.
//! The one exception is a carrier that was away, see [`Memberships::leave_ipv4`]. Rules that
//! want the same join share it, and one that no rule wants any more is held for [`LINGER`]: a rule that is removed
//! and added again costs upstream no gap. Whether an interface can be joined on is left to the caller.

pub mod kernel;
mod socket;

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use self::kernel::Joined;
use self::socket::{JoinSocket, Kind};

/// How long a join is held that no rule wants any more.
pub const LINGER: Duration = Duration::from_secs(2);

/// Most groups put on one socket: the kernel finds a membership by walking the socket's list.
const GROUPS_PER_SOCKET: usize = 128;

/// One membership: a group on an interface, from any source or from one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Join {
    /// Index of the interface.
    pub interface: u32,
    /// The group.
    pub group: IpAddr,
    /// The only source wanted (a source-specific join, RFC 4607); absent: any.
    pub source: Option<IpAddr>,
}

/// Why a join was not made. It is tried again at the next [`Memberships::sync`].
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// A socket's first join met a limit, so more sockets do not help.
    #[error("cannot join {group}: {error}; raise {limit}")]
    Limit {
        /// The group.
        group: IpAddr,
        /// What the kernel said.
        error: io::Error,
        /// The parameter that is too low; where none evidently is, all that there are.
        limit: String,
    },
    /// No further socket.
    #[error(
        "cannot open a socket to join {group}: {error}; raise the limit of open files (LimitNOFILE=, ulimit -n)"
    )]
    Socket {
        /// The group.
        group: IpAddr,
        /// What the kernel said.
        error: io::Error,
    },
    /// The interface is gone or does not carry the group's family.
    #[error("cannot join {group}: the interface is gone or has {family} switched off ({error})")]
    Interface {
        /// The group.
        group: IpAddr,
        /// "IPv4" or "IPv6".
        family: &'static str,
        /// What the kernel said.
        error: io::Error,
    },
    /// Anything else.
    #[error("cannot join {group}: {error}")]
    Refused {
        /// The group.
        group: IpAddr,
        /// What the kernel said.
        error: io::Error,
    },
}

/// What bounds a group's joins on a socket, and the least a first join needs of it.
const LIMITS: [(&str, i64, Family); 4] = [
    ("net.ipv4.igmp_max_memberships", 1, Family::Ipv4),
    ("net.ipv4.igmp_max_msf", 1, Family::Ipv4),
    ("net.ipv6.mld_max_msf", 1, Family::Ipv6),
    ("net.core.optmem_max", 2048, Family::Both),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Ipv4,
    Ipv6,
    Both,
}

/// The parameters that are too low for a group's first join on a socket; if none is, all that could be.
fn limits_met(group: &IpAddr) -> String {
    let own = if group.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 };
    let all: Vec<_> = LIMITS.iter().filter(|(.., family)| [own, Family::Both].contains(family)).collect();
    let value = |name: &str| -> Option<i64> {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        std::fs::read_to_string(path).ok()?.trim().parse().ok()
    };
    let low: Vec<_> =
        all.iter().filter(|(name, least, _)| value(name).is_some_and(|value| value < *least)).collect();
    let named = if low.is_empty() { all.iter().collect() } else { low };
    named.iter().map(|(name, ..)| *name).collect::<Vec<_>>().join(" or ")
}

impl JoinError {
    /// Whether a limit that can be raised was met.
    pub fn is_limit(&self) -> bool {
        matches!(self, Self::Limit { .. })
    }

    /// Whether no socket could be had for it.
    pub fn wants_socket(&self) -> bool {
        matches!(self, Self::Socket { .. })
    }

    fn new(group: IpAddr, error: io::Error) -> Self {
        let family = if group.is_ipv4() { "IPv4" } else { "IPv6" };
        match Errno::from_io_error(&error) {
            Some(Errno::NOBUFS | Errno::NOMEM) => Self::Limit { group, error, limit: limits_met(&group) },
            Some(Errno::NODEV | Errno::ADDRNOTAVAIL) => Self::Interface { group, family, error },
            // Of IPv6 alone, where the interface's MTU is below 1280.
            Some(Errno::INVAL) if group.is_ipv6() => Self::Interface { group, family, error },
            _ => Self::Refused { group, error },
        }
    }
}

/// The joins the host holds. Dropping it leaves them all.
#[derive(Debug, Default)]
pub struct Memberships {
    /// Each join and the socket it is on.
    held: HashMap<Join, SocketId>,
    sockets: HashMap<SocketId, JoinSocket>,
    /// Sockets that may take another group, per kind.
    open: HashMap<Kind, BTreeSet<SocketId>>,
    /// Sockets that carry some sources of a group, by interface index and group.
    carriers: HashMap<(u32, IpAddr), BTreeSet<SocketId>>,
    next_id: SocketId,
    /// Joins held that no rule wants, and until when.
    lingering: HashMap<Join, Instant>,
}

type SocketId = u64;

impl Memberships {
    /// Makes the host hold the joins in `wanted`: joins what is new, and has what is no longer wanted left after
    /// [`LINGER`], by [`Self::leave_due`]; what stays is not touched. Hands back the joins that failed; the others
    /// are in force. Blocks for some 10 µs per change.
    pub fn sync(&mut self, wanted: &BTreeSet<Join>, now: Instant) -> Vec<(Join, JoinError)> {
        let new: Vec<Join> = wanted.iter().filter(|join| !self.held.contains_key(join)).copied().collect();
        let failed = new.into_iter().filter_map(|join| Some((join, self.join(join).err()?))).collect();
        self.lingering.retain(|join, _| !wanted.contains(join));
        for join in self.held.keys().filter(|join| !wanted.contains(join)) {
            self.lingering.entry(*join).or_insert(now + LINGER);
        }
        failed
    }

    /// Leaves what has been held long enough for nobody.
    pub fn leave_due(&mut self, now: Instant) {
        let due: Vec<Join> =
            self.lingering.iter().filter(|(_, until)| **until <= now).map(|(join, _)| *join).collect();
        due.into_iter().for_each(|join| self.leave(join));
    }

    /// Leaves the IPv4 groups of an interface at once, so that the next [`Self::sync`] joins and so reports them anew.
    /// For an interface whose carrier returns: the kernel then reports IPv6 groups by itself (`addrconf_notify`), those
    /// of IPv4 only where the interface was switched off too.
    pub fn leave_ipv4(&mut self, interface: u32) {
        let is_there = |join: &&Join| join.interface == interface && join.group.is_ipv4();
        let there: Vec<Join> = self.held.keys().filter(is_there).copied().collect();
        there.into_iter().for_each(|join| self.leave(join));
    }

    /// Leaves everything at once.
    pub fn leave_all(&mut self) {
        *self = Self::default();
    }

    /// Compares what is held with what the kernel has in force, and says how many joins were lost. Those a socket has
    /// lost are made again; those the kernel has dropped by itself are struck out, so that the next [`Self::sync`]
    /// makes them anew. The kernel drops them with the interface, even if it returns under the same index (moved to
    /// another namespace and back), and for IPv6 also while its MTU is below 1280. Worth a call after a link has
    /// changed; takes some 50 ms with 5,000 joins. Without /proc only sockets are looked at.
    pub fn repair(&mut self) -> usize {
        let in_force = Joined::read().ok();
        let is_lost = |join: &Join| {
            in_force.as_ref().is_some_and(|now| !now.groups.contains(&(join.interface, join.group)))
        };
        let (mut again, mut gone) = (0, Vec::new());
        for (join, id) in &self.held {
            match self.sockets.get(id).map(|socket| socket.join_if_lost(join)) {
                Some(Ok(true)) => again += 1,
                Some(Ok(false)) if !is_lost(join) => {}
                _ => gone.push(*join),
            }
        }
        gone.iter().for_each(|join| self.leave(*join));
        again + gone.len()
    }

    /// How many joins are in force.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// How many sockets they take.
    pub fn sockets(&self) -> usize {
        self.sockets.len()
    }

    fn join(&mut self, join: Join) -> Result<(), JoinError> {
        for id in self.candidates(&join) {
            match self.join_on(id, join) {
                Err(error) if is_limit(&error) => self.mark_full(id, &join),
                done => return done.map_err(|error| JoinError::new(join.group, error)),
            }
        }
        let id = self.open_socket(Kind::of(&join)).map_err(|error| {
            let group = join.group;
            JoinError::Socket { group, error }
        })?;
        self.join_on(id, join).map_err(|error| {
            self.close_if_empty(id);
            JoinError::new(join.group, error)
        })
    }

    /// Sockets worth a try: those that carry the group and may take another source of it, else those that may
    /// take another group. One of the latter that carries the group already is full of its sources.
    fn candidates(&self, join: &Join) -> Vec<SocketId> {
        let key = (join.interface, join.group);
        let none = BTreeSet::new();
        let carriers = match join.source {
            Some(_) => self.carriers.get(&key).unwrap_or(&none),
            None => &none,
        };
        let takes_more = |id: &&SocketId| {
            let group = self.sockets.get(id).and_then(|socket| socket.groups.get(&key));
            group.is_some_and(|group| !group.full)
        };
        let open = self.open.get(&Kind::of(join)).unwrap_or(&none);
        carriers.iter().filter(takes_more).chain(open.difference(carriers)).copied().collect()
    }

    fn join_on(&mut self, id: SocketId, join: Join) -> io::Result<()> {
        let Some(on) = self.sockets.get_mut(&id) else { return Err(Errno::BADF.into()) };
        on.join(&join)?;
        if on.groups.len() >= GROUPS_PER_SOCKET
            && let Some(open) = self.open.get_mut(&on.kind)
        {
            open.remove(&id);
        }
        if join.source.is_some() {
            self.carriers.entry((join.interface, join.group)).or_default().insert(id);
        }
        self.held.insert(join, id);
        Ok(())
    }

    fn mark_full(&mut self, id: SocketId, join: &Join) {
        let Some(on) = self.sockets.get_mut(&id) else { return };
        if let Some(group) = on.groups.get_mut(&(join.interface, join.group)) {
            group.full = true;
        } else if let Some(open) = self.open.get_mut(&on.kind) {
            open.remove(&id);
        }
    }

    fn open_socket(&mut self, kind: Kind) -> io::Result<SocketId> {
        let socket = JoinSocket::open(kind)?;
        let id = self.next_id;
        self.next_id += 1;
        self.sockets.insert(id, socket);
        self.open.entry(kind).or_default().insert(id);
        Ok(id)
    }

    fn leave(&mut self, join: Join) {
        self.lingering.remove(&join);
        let Some(id) = self.held.remove(&join) else { return };
        let Some(on) = self.sockets.get_mut(&id) else { return };
        let key = (join.interface, join.group);
        if on.leave(&join) {
            self.open.entry(on.kind).or_default().insert(id);
            if let Some(carriers) = self.carriers.get_mut(&key) {
                carriers.remove(&id);
                if carriers.is_empty() {
                    self.carriers.remove(&key);
                }
            }
        }
        self.close_if_empty(id);
    }

    fn close_if_empty(&mut self, id: SocketId) {
        let Some(on) = self.sockets.get(&id).filter(|on| on.groups.is_empty()) else { return };
        if let Some(open) = self.open.get_mut(&on.kind) {
            open.remove(&id);
        }
        self.sockets.remove(&id);
    }
}

fn is_limit(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOBUFS | Errno::NOMEM))
}

#[cfg(test)]
mod tests;
