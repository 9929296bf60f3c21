//! Which groups the host has joined for the rules.
//!
//! [`Memberships`] holds joins on sockets that receive nothing: unbound, so no datagram finds them. The kernel
//! limits what one socket may join (igmp_max_memberships, igmp_max_msf, mld_max_msf, optmem_max), so joins
//! are spread over as many sockets as it takes. A join is made once and kept: the kernel reports it again itself
//! when a link returns or a querier asks, and to leave and join would make a snooping switch prune. Rules that
//! want the same join share it. Whether an interface can be joined on is left to the caller.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::IpAddr;

use dataplane::sys::sockopt::{join_group, leave_group};
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_recv_buffer_size;
use socket2::{Domain, Socket, Type};

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
    #[error("cannot join {group}: {error}; raise {}", sysctls(.group))]
    Limit {
        /// The group.
        group: IpAddr,
        /// What the kernel said.
        error: io::Error,
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

fn sysctls(group: &IpAddr) -> &'static str {
    match group {
        IpAddr::V4(_) => "net.ipv4.igmp_max_memberships, net.ipv4.igmp_max_msf or net.core.optmem_max",
        IpAddr::V6(_) => "net.ipv6.mld_max_msf or net.core.optmem_max",
    }
}

impl JoinError {
    fn new(group: IpAddr, error: io::Error) -> Self {
        let family = if group.is_ipv4() { "IPv4" } else { "IPv6" };
        match Errno::from_io_error(&error) {
            Some(Errno::NOBUFS | Errno::NOMEM) => Self::Limit { group, error },
            Some(Errno::NODEV | Errno::ADDRNOTAVAIL) => Self::Interface { group, family, error },
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
}

type SocketId = u64;

/// Sockets are of one kind: a socket that has a group from any source refuses a source of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Kind {
    ipv6: bool,
    sources: bool,
}

impl Kind {
    fn of(join: &Join) -> Self {
        Self { ipv6: join.group.is_ipv6(), sources: join.source.is_some() }
    }
}

#[derive(Debug)]
struct JoinSocket {
    socket: Socket,
    kind: Kind,
    /// Sources per interface and group; for any source, the one join.
    groups: HashMap<(u32, IpAddr), GroupOnSocket>,
}

#[derive(Debug, Default)]
struct GroupOnSocket {
    joins: usize,
    full: bool,
}

impl Memberships {
    /// Makes the host hold exactly the joins in `wanted`: first joins what is new, then leaves what is no longer
    /// wanted; what stays is not touched. Hands back the joins that failed; the others are in force. Blocks for
    /// some 10 µs per change.
    pub fn sync(&mut self, wanted: &BTreeSet<Join>) -> Vec<(Join, JoinError)> {
        let new: Vec<Join> = wanted.iter().filter(|join| !self.held.contains_key(join)).copied().collect();
        let failed = new.into_iter().filter_map(|join| Some((join, self.join(join).err()?))).collect();
        let stale: Vec<Join> = self.held.keys().filter(|join| !wanted.contains(join)).copied().collect();
        for join in stale {
            self.leave(join);
        }
        failed
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

impl JoinSocket {
    fn open(kind: Kind) -> io::Result<Self> {
        let domain = if kind.ipv6 { Domain::IPV6 } else { Domain::IPV4 };
        let socket = Socket::new(domain, Type::DGRAM, None)?;
        if kind.ipv6 { socket.set_multicast_all_v6(false) } else { socket.set_multicast_all_v4(false) }?;
        set_socket_recv_buffer_size(&socket, 0)?;
        Ok(Self { socket, kind, groups: HashMap::new() })
    }

    fn join(&mut self, join: &Join) -> io::Result<()> {
        let key = (join.interface, join.group);
        let carried = self.groups.contains_key(&key);
        let mut done = join_group(&self.socket, join.interface, join.group, join.source);
        if matches!(&done, Err(error) if is_stale(error)) {
            // A join of a removed interface whose index came back: it is in the socket's list alone.
            if carried {
                leave_group(&self.socket, join.interface, join.group, join.source)?;
            } else {
                leave_group(&self.socket, join.interface, join.group, None)?;
            }
            done = join_group(&self.socket, join.interface, join.group, join.source);
        }
        if let Err(error) = done {
            if !carried && join.source.is_some() {
                // The kernel may have entered the group before it refused the source.
                let _ = leave_group(&self.socket, join.interface, join.group, None);
            }
            return Err(error);
        }
        self.groups.entry(key).or_default().joins += 1;
        Ok(())
    }

    /// Leaves and says whether the socket has lost the whole group by it.
    fn leave(&mut self, join: &Join) -> bool {
        let key = (join.interface, join.group);
        let left = leave_group(&self.socket, join.interface, join.group, join.source);
        let Some(group) = self.groups.get_mut(&key) else { return false };
        group.joins -= 1;
        group.full = false;
        if group.joins > 0 {
            return false;
        }
        if left.is_err() && join.source.is_some() {
            // With its interface gone a source cannot be left, but the group can: it would take up room for ever.
            let _ = leave_group(&self.socket, join.interface, join.group, None);
        }
        self.groups.remove(&key);
        true
    }
}

fn is_limit(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOBUFS | Errno::NOMEM))
}

/// Whether a join failed because the kernel has it on that socket already.
fn is_stale(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrInUse || Errno::from_io_error(error) == Some(Errno::ADDRNOTAVAIL)
}
