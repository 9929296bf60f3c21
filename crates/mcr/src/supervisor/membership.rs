//! Which groups the host has joined for the rules.
//!
//! [`Memberships`] holds joins on sockets that receive nothing: unbound, so no datagram finds them. The kernel
//! limits what one socket may join (igmp_max_memberships, igmp_max_msf, mld_max_msf, optmem_max), so joins
//! are spread over as many sockets as it takes. A join is made once and kept: the kernel reports it again itself
//! when a link returns or a querier asks, and to leave and join would make a snooping switch prune. Rules that
//! want the same join share it. Whether an interface can be joined on is left to the caller.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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

    /// Strikes out joins the kernel has dropped by itself, so that the next [`Self::sync`] makes them anew, and
    /// says how many. The kernel drops them with the interface, even if it returns under the same index (moved
    /// to another namespace and back), and for IPv6 also while its MTU is below 1280. Worth a call after a link
    /// has changed; takes some 50 ms with 5,000 joins. Without /proc nothing is struck out.
    pub fn forget_lost(&mut self) -> usize {
        let Ok(in_force) = joined_groups() else { return 0 };
        let is_lost = |join: &&Join| !in_force.contains(&(join.interface, join.group));
        let lost: Vec<Join> = self.held.keys().filter(is_lost).copied().collect();
        for join in &lost {
            self.leave(*join);
        }
        lost.len()
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
        let done = join_group(&self.socket, join.interface, join.group, join.source);
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

/// Interface index and group of every membership in this network namespace, whoever made it.
fn joined_groups() -> io::Result<HashSet<(u32, IpAddr)>> {
    let mut joined = HashSet::new();
    let mut interface = None;
    for line in fs::read_to_string("/proc/thread-self/net/igmp")?.lines().skip(1) {
        let Some(first) = line.split_ascii_whitespace().next() else { continue };
        if line.starts_with('\t') {
            // Eight hexadecimal digits: the address in network order, read as a number of this host.
            let group = u32::from_str_radix(first, 16).map(|bits| Ipv4Addr::from(bits.to_ne_bytes()));
            joined.extend(interface.zip(group.ok()).map(|(interface, group)| (interface, group.into())));
        } else {
            interface = first.parse().ok();
        }
    }
    let v6 = fs::read_to_string("/proc/thread-self/net/igmp6").unwrap_or_default();
    for line in v6.lines() {
        let mut fields = line.split_ascii_whitespace();
        let interface = fields.next().and_then(|index| index.parse().ok());
        let group = fields.nth(1).and_then(|hex| u128::from_str_radix(hex, 16).ok());
        let group = group.map(|bits| IpAddr::from(Ipv6Addr::from(bits)));
        joined.extend(interface.zip(group));
    }
    Ok(joined)
}

fn is_limit(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOBUFS | Errno::NOMEM))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::time::{Duration, Instant};
    use testbed::Netns;

    /// A namespace with an interface `v0` that is up, and its index.
    fn netns_with_v0() -> (Netns, u32) {
        let netns = Netns::new("mcr-join").unwrap();
        let index = add_v0(&netns, "");
        (netns, index)
    }

    fn add_v0(netns: &Netns, options: &str) -> u32 {
        netns.ip(&format!("link add v0 {options} type veth peer name v1")).unwrap();
        netns.ip("link set v1 up").unwrap();
        netns.ip("link set v0 up").unwrap();
        let shown = netns.ip("-o link show dev v0").unwrap();
        shown.split(':').next().unwrap().parse().unwrap()
    }

    fn read_proc(netns: &Netns, file: &str) -> String {
        netns.enter(|| fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap())
    }

    /// The groups the kernel has joined on an interface: /proc/net/igmp and igmp6, well-known ones left out.
    fn kernel_groups(netns: &Netns, interface: u32) -> BTreeSet<IpAddr> {
        let mut groups = BTreeSet::new();
        let mut current = 0;
        for line in read_proc(netns, "igmp").lines().skip(1) {
            let first = line.split_whitespace().next().unwrap();
            if line.starts_with(char::is_numeric) {
                current = first.parse().unwrap();
            } else if current == interface {
                let group = u32::from_str_radix(first, 16).unwrap().to_ne_bytes();
                groups.insert(IpAddr::from(Ipv4Addr::from(group)));
            }
        }
        for line in read_proc(netns, "igmp6").lines() {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if fields[0].parse() == Ok(interface) {
                let group = u128::from_str_radix(fields[2], 16).unwrap();
                groups.insert(IpAddr::from(Ipv6Addr::from(group)));
            }
        }
        let well_known = |group: &IpAddr| match group {
            IpAddr::V4(group) => group.octets()[..3] == [224, 0, 0],
            IpAddr::V6(group) => matches!(group.segments()[0], 0xff01 | 0xff02),
        };
        groups.retain(|group| !well_known(group));
        groups
    }

    /// Group and source of each source filter in INCLUDE mode: /proc/net/mcfilter and mcfilter6.
    fn kernel_sources(netns: &Netns) -> BTreeSet<(IpAddr, IpAddr)> {
        let mut sources = BTreeSet::new();
        for file in ["mcfilter", "mcfilter6"] {
            for line in read_proc(netns, file).lines().skip(1) {
                let fields: Vec<&str> = line.split_whitespace().collect();
                assert_ne!(fields[4], "0", "{line}");
                sources.insert((kernel_address(fields[2]), kernel_address(fields[3])));
            }
        }
        sources
    }

    fn kernel_address(text: &str) -> IpAddr {
        match text.strip_prefix("0x") {
            Some(v4) => Ipv4Addr::from(u32::from_str_radix(v4, 16).unwrap()).into(),
            None => Ipv6Addr::from(u128::from_str_radix(text, 16).unwrap()).into(),
        }
    }

    fn v4_group(n: u16) -> IpAddr {
        let [high, low] = n.to_be_bytes();
        Ipv4Addr::new(239, 1, high, low).into()
    }

    fn v6_group(n: u16) -> IpAddr {
        Ipv6Addr::new(0xff15, 0, 0, 0, 0, 0, 0x77, n).into()
    }

    fn any(interface: u32, group: IpAddr) -> Join {
        Join { interface, group, source: None }
    }

    fn sync(netns: &Netns, memberships: &mut Memberships, wanted: &BTreeSet<Join>) {
        let failed = netns.enter(|| memberships.sync(wanted));
        assert!(failed.is_empty(), "{failed:?}");
    }

    #[test]
    fn two_hundred_groups_of_each_family_are_joined_and_left() {
        testbed::skip_unless_available!();
        let (netns, v0) = netns_with_v0();
        let mut memberships = Memberships::default();
        let groups: BTreeSet<IpAddr> = (0..200).flat_map(|n| [v4_group(n), v6_group(n)]).collect();
        let wanted: BTreeSet<Join> = groups.iter().map(|group| any(v0, *group)).collect();
        sync(&netns, &mut memberships, &wanted);
        assert_eq!(kernel_groups(&netns, v0), groups);
        assert_eq!(memberships.len(), 400);

        let kept: BTreeSet<Join> = wanted.iter().skip(1).step_by(2).copied().collect();
        sync(&netns, &mut memberships, &kept);
        assert_eq!(kernel_groups(&netns, v0), kept.iter().map(|join| join.group).collect());

        sync(&netns, &mut memberships, &wanted);
        assert_eq!(kernel_groups(&netns, v0), groups, "half-empty sockets take joins again");
        drop(memberships);
        assert_eq!(kernel_groups(&netns, v0), BTreeSet::new(), "dropping leaves all");
    }

    #[test]
    fn thirty_sources_of_one_group_live_beside_any_source() {
        testbed::skip_unless_available!();
        let (netns, v0) = netns_with_v0();
        let mut memberships = Memberships::default();
        let mut wanted = BTreeSet::new();
        let mut sources = BTreeSet::new();
        for n in 1..=30_u8 {
            let pairs: [(IpAddr, IpAddr); 2] = [
                ([232, 1, 1, 1].into(), [10, 0, 0, n].into()),
                ("ff35::1".parse().unwrap(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n.into()).into()),
            ];
            for (group, source) in pairs {
                wanted.insert(Join { interface: v0, group, source: Some(source) });
                sources.insert((group, source));
            }
        }
        sync(&netns, &mut memberships, &wanted);
        assert_eq!(kernel_sources(&netns), sources);

        let mut with_any = wanted.clone();
        with_any.extend(wanted.iter().map(|join| Join { source: None, ..*join }));
        sync(&netns, &mut memberships, &with_any);
        assert_eq!(memberships.len(), 62);
        sync(&netns, &mut memberships, &wanted);
        assert_eq!(kernel_sources(&netns), sources, "the sources outlive the join from any");

        let last = wanted.pop_last().unwrap();
        sync(&netns, &mut memberships, &wanted);
        sources.remove(&(last.group, last.source.unwrap()));
        assert_eq!(kernel_sources(&netns), sources);
        sync(&netns, &mut memberships, &BTreeSet::new());
        assert_eq!(kernel_sources(&netns), BTreeSet::new());
        assert_eq!(memberships.sockets(), 0);
    }

    /// The groups named in the IGMPv3 reports (RFC 3376, section 4.2) that left until `last` was among them.
    fn reported_until(tap: &mut Socket, last: IpAddr) -> Vec<IpAddr> {
        let mut groups = Vec::new();
        let mut packet = [0; 2048];
        while !groups.contains(&last) {
            let length = tap.read(&mut packet).expect("an IGMP report in time");
            let header = usize::from(packet[0] & 0xf) * 4;
            if packet[9] != 2 || packet[header] != 0x22 {
                continue;
            }
            let mut records = &packet[header + 8..length];
            while let [_, _, _, sources, a, b, c, d, ..] = *records {
                groups.push(IpAddr::from([a, b, c, d]));
                records = &records[8 + 4 * usize::from(sources)..];
            }
        }
        groups
    }

    #[test]
    fn what_stays_is_not_reported_anew() {
        testbed::skip_unless_available!();
        let netns = Netns::new("mcr-join").unwrap();
        // An interface takes it over when it is made: each change is then reported once, not repeated.
        netns.sysctl("net.ipv4.igmp_qrv", "1").unwrap();
        let v0 = add_v0(&netns, "");
        netns.ip("addr add 10.1.1.1/24 dev v0").unwrap();
        let ipv4 = socket2::Protocol::from(i32::from(0x0800_u16.to_be()));
        let mut tap = netns.enter(|| Socket::new(Domain::PACKET, Type::DGRAM, Some(ipv4)).unwrap());
        tap.set_read_timeout(Some(Duration::from_secs(10))).unwrap();

        let mut memberships = Memberships::default();
        let kept = any(v0, v4_group(1));
        sync(&netns, &mut memberships, &BTreeSet::from([kept]));
        reported_until(&mut tap, kept.group);
        for n in 2..40 {
            sync(&netns, &mut memberships, &BTreeSet::from([kept, any(v0, v4_group(n))]));
        }
        let reported = reported_until(&mut tap, v4_group(39));
        assert!(!reported.contains(&kept.group), "{reported:?}");
        sync(&netns, &mut memberships, &BTreeSet::new());
        reported_until(&mut tap, kept.group);
    }

    #[test]
    fn an_interface_that_goes_and_returns_is_joined_anew() {
        testbed::skip_unless_available!();
        let (netns, v0) = netns_with_v0();
        let mut memberships = Memberships::default();
        let source = Some(IpAddr::from([10, 0, 0, 1]));
        let joins = |index| {
            let ssm = Join { interface: index, group: [232, 9, 9, 9].into(), source };
            BTreeSet::from([any(index, v4_group(7)), any(index, v6_group(7)), ssm])
        };
        let groups: BTreeSet<IpAddr> = joins(v0).iter().map(|join| join.group).collect();
        sync(&netns, &mut memberships, &joins(v0));
        assert_eq!(kernel_groups(&netns, v0), groups);

        netns.ip("link del v0").unwrap();
        let failed = netns.enter(|| memberships.sync(&BTreeSet::from([any(v0, v4_group(8))])));
        assert_eq!(failed.len(), 1);
        assert!(failed[0].1.to_string().contains("interface is gone"), "{}", failed[0].1);
        assert_eq!(memberships.sockets(), 0);

        let v0 = add_v0(&netns, "");
        sync(&netns, &mut memberships, &joins(v0));
        assert_eq!(kernel_groups(&netns, v0), groups);

        // The same index again before anyone looked.
        netns.ip("link del v0").unwrap();
        assert_eq!(add_v0(&netns, &format!("index {v0}")), v0);
        assert_eq!(kernel_groups(&netns, v0), BTreeSet::new());
        assert_eq!(netns.enter(|| memberships.forget_lost()), 3);
        sync(&netns, &mut memberships, &joins(v0));
        assert_eq!(kernel_groups(&netns, v0), groups);
        assert_eq!(netns.enter(|| memberships.forget_lost()), 0);
    }

    #[test]
    fn ipv6_joins_lost_to_a_small_mtu_are_made_anew() {
        testbed::skip_unless_available!();
        let (netns, v0) = netns_with_v0();
        let mut memberships = Memberships::default();
        let wanted = BTreeSet::from([any(v0, v4_group(7)), any(v0, v6_group(7))]);
        let groups: BTreeSet<IpAddr> = wanted.iter().map(|join| join.group).collect();
        sync(&netns, &mut memberships, &wanted);
        netns.ip("link set v0 mtu 1000").unwrap();
        netns.ip("link set v0 mtu 1500").unwrap();
        assert_eq!(kernel_groups(&netns, v0), BTreeSet::from([v4_group(7)]));
        assert_eq!(netns.enter(|| memberships.forget_lost()), 1);
        sync(&netns, &mut memberships, &wanted);
        assert_eq!(kernel_groups(&netns, v0), groups);
    }

    #[test]
    fn a_flap_and_an_address_change_keep_the_joins() {
        testbed::skip_unless_available!();
        let (netns, v0) = netns_with_v0();
        let mut memberships = Memberships::default();
        let wanted = BTreeSet::from([any(v0, v4_group(7)), any(v0, v6_group(7))]);
        let groups: BTreeSet<IpAddr> = wanted.iter().map(|join| join.group).collect();
        netns.ip("addr add 10.1.1.1/24 dev v0").unwrap();
        sync(&netns, &mut memberships, &wanted);
        for change in
            ["link set v0 down", "link set v0 up", "addr flush dev v0", "addr add 10.2.2.2/24 dev v0"]
        {
            netns.ip(change).unwrap();
            assert_eq!(kernel_groups(&netns, v0), groups, "after {change}");
        }
    }

    #[test]
    fn a_limit_on_the_first_join_names_the_parameters() {
        testbed::skip_unless_available!();
        let (netns, v0) = netns_with_v0();
        netns.sysctl("net.ipv4.igmp_max_memberships", "0").unwrap();
        let mut memberships = Memberships::default();
        let wanted = BTreeSet::from([any(v0, v4_group(1)), any(v0, v6_group(1))]);
        let failed = netns.enter(|| memberships.sync(&wanted));
        assert_eq!(failed.len(), 1);
        assert!(failed[0].1.to_string().contains("raise net.ipv4.igmp_max_memberships"), "{}", failed[0].1);
        assert_eq!((memberships.len(), memberships.sockets()), (1, 1));

        netns.sysctl("net.ipv4.igmp_max_memberships", "20").unwrap();
        sync(&netns, &mut memberships, &wanted);
        assert_eq!(memberships.len(), 2);
    }

    #[test]
    fn five_thousand_joins_are_quick() {
        testbed::skip_unless_available!();
        let (netns, v0) = netns_with_v0();
        let mut memberships = Memberships::default();
        let wanted: BTreeSet<Join> =
            (0..2500).flat_map(|n| [any(v0, v4_group(n)), any(v0, v6_group(n))]).collect();
        let (joined, left) = netns.enter(|| {
            let start = Instant::now();
            assert!(memberships.sync(&wanted).is_empty());
            let joined = start.elapsed();
            let start = Instant::now();
            assert_eq!(memberships.forget_lost(), 0);
            println!("looking for lost ones: {:?}", start.elapsed());
            let start = Instant::now();
            memberships.sync(&BTreeSet::new());
            (joined, start.elapsed())
        });
        println!("5,000 joins: {joined:?}, leaves: {left:?}");
        assert!(joined < Duration::from_secs(2) && left < Duration::from_secs(2), "{joined:?} {left:?}");
    }
}
