//! To which legs an ICMP error belongs: unicast legs by where they send, and where from.

use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use rustc_hash::FxHashMap;

use crate::counters::{Counters, LegCounter};
use crate::sys::error_queue::{Returned, take_returned};
use crate::table::Table;

/// Most errors taken off a socket's queue in one go: under a flood of them there is other work to do.
const CHARGED_MAX: usize = 256;

/// Unicast legs by destination. The kernel tells an ICMP error to any one UDP socket of the port the datagram left from,
/// whichever sent it; and to every raw socket, so that each charges its own legs alone.
#[derive(Debug, Default)]
pub struct Hosts {
    legs: FxHashMap<Destination, Vec<Host>>,
    /// Source port of each socket, those of groups too; absent of raw ones.
    sports: FxHashMap<u32, Option<u16>>,
}

/// Where legs send: a raw socket's apart, by address and port, absent where that is any.
type Destination = (Via, IpAddr, Option<u16>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Via {
    /// UDP sockets of one source port.
    Udp(u16),
    Raw,
}

impl Via {
    fn of(sport: Option<u16>) -> Self {
        sport.map_or(Self::Raw, Self::Udp)
    }
}

/// A unicast leg, as far as its datagrams are known by it.
#[derive(Debug)]
struct Host {
    slot: u32,
    socket: u32,
    /// Source address; absent where it keeps the packet's.
    from: Option<IpAddr>,
    ifindex: Option<u32>,
}

impl Hosts {
    /// Indexes a table's unicast legs.
    pub fn new(table: &Table) -> Self {
        let mut hosts = Self::default();
        for flow in &table.flows {
            for leg in &flow.legs {
                hosts.sports.insert(leg.socket, leg.sport);
                if leg.address.is_multicast() {
                    continue;
                }
                let host = Host { slot: leg.slot, socket: leg.socket, from: leg.from, ifindex: leg.ifindex };
                // One that keeps the packet's port sends to that which its rule takes in.
                let destination = (Via::of(leg.sport), leg.address, leg.port.or(flow.key.port));
                hosts.legs.entry(destination).or_default().push(host);
            }
        }
        hosts
    }

    /// Takes errors off the queue of a socket of that number and charges their legs; answers how many errors were taken.
    pub fn charge(&self, socket: u32, fd: BorrowedFd<'_>, counters: &Counters) -> usize {
        let returned = || take_returned(fd);
        let mut taken = 0;
        for returned in std::iter::from_fn(returned).take(CHARGED_MAX) {
            taken += 1;
            for slot in self.slots(socket, &returned) {
                counters.add_leg(slot, LegCounter::Unreachable, 1);
                counters.set_leg(slot, LegCounter::LastError, returned.errno.unsigned_abs().into());
            }
        }
        taken
    }

    /// The slots of the legs whose datagram came back, as a socket was told: several where they send the same way.
    fn slots(&self, socket: u32, returned: &Returned) -> impl Iterator<Item = u32> {
        let via = self.via(socket, returned);
        let Returned { destination, .. } = returned;
        let legs = move || {
            [Some(destination.port()), None].into_iter().flat_map(move |port| {
                let legs = self.legs.get(&(via?, destination.ip(), port))?;
                Some(legs.iter().map(move |leg| (leg.fit(returned, port.is_some()), leg)))
            })
        };
        let raw = via == Some(Via::Raw);
        // From which address a raw socket's leg sends is known for certain; it hears of others' datagrams as well.
        let foreign = move |fit: &Fitting| raw && fit.source == Fit::Differs;
        let best = legs().flatten().map(|(fit, _)| fit).filter(|fit| !foreign(fit)).max();
        // Every raw socket hears of it.
        let charges = move |leg: &Host| !raw || leg.socket == socket;
        legs().flatten().filter(move |(fit, leg)| Some(*fit) == best && charges(leg)).map(|(_, leg)| leg.slot)
    }

    fn via(&self, socket: u32, returned: &Returned) -> Option<Via> {
        match self.sports.get(&socket)? {
            Some(port) => Some(Via::Udp(*port)),
            // A raw socket hears also of what left by the daemon's UDP sockets.
            None => {
                let udp = returned
                    .source_port
                    .is_some_and(|port| self.sports.values().any(|udp| *udp == Some(port)));
                (!udp).then_some(Via::Raw)
            }
        }
    }
}

impl Host {
    fn fit(&self, returned: &Returned, port: bool) -> Fitting {
        let interface = Fit::of(self.ifindex, returned.ifindex) != Fit::Differs;
        Fitting { source: Fit::of(self.from, returned.source), port, interface }
    }
}

/// How well a leg fits to a datagram that came back, by what says most first: the interface an error came by is `lo`
/// for one made on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Fitting {
    source: Fit,
    /// Whether it sends to that port alone.
    port: bool,
    interface: bool,
}

/// How something known of a leg fits to what is known of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Differs,
    Unknown,
    Same,
}

impl Fit {
    fn of<T: PartialEq>(leg: Option<T>, datagram: Option<T>) -> Self {
        match (leg, datagram) {
            (Some(leg), Some(datagram)) if leg == datagram => Self::Same,
            (Some(_), Some(_)) => Self::Differs,
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{FlowEntry, FlowKey, LegEntry, SourceChoice};

    const DAEMON: Option<u16> = Some(4000);

    /// A leg by an interface of which 10.9.x.1 is the address.
    fn leg(
        slot: u32,
        socket: u32,
        to: &str,
        port: Option<u16>,
        sport: Option<u16>,
        by: Option<u8>,
    ) -> LegEntry {
        LegEntry {
            slot,
            socket,
            address: to.parse().unwrap(),
            port,
            ifindex: by.map(u32::from),
            source: SourceChoice::Kernel,
            from: by.map(|by| [10, 9, by, 1].into()),
            sport,
            ttl: Some(64),
            dscp: None,
            batch: None,
            mtu: 1500,
            frames: None,
        }
    }

    /// Those of one rule that takes in an input port, or any.
    fn hosts(legs: impl IntoIterator<Item = LegEntry>, port: Option<u16>) -> Hosts {
        let key = FlowKey { ifindex: 1, address: "239.1.1.1".parse().unwrap(), source: None, port };
        let flow = FlowEntry { key, slot: 0, legs: legs.into_iter().collect(), pending: Vec::new() };
        Hosts::new(&Table { flows: vec![flow], ..Table::default() })
    }

    /// Of what went to an address, from 10.9.x.1, the error coming by an interface.
    fn returned(to: &str, from: Option<u8>, ifindex: u32) -> Returned {
        let source = from.map(|by| [10, 9, by, 1].into());
        let destination = to.parse().unwrap();
        Returned { destination, source, source_port: None, ifindex: Some(ifindex), errno: libc::ECONNREFUSED }
    }

    fn charged(hosts: &Hosts, socket: u32, returned: &Returned) -> Vec<u32> {
        hosts.slots(socket, returned).collect()
    }

    #[test]
    fn an_error_is_that_of_the_legs_that_send_there() {
        let legs = [
            leg(1, 1, "10.0.0.1", Some(5), DAEMON, None),
            leg(3, 3, "10.0.0.2", Some(5), None, None),
            leg(5, 1, "239.1.1.1", Some(5), DAEMON, None),
            leg(6, 6, "10.0.0.1", Some(5), DAEMON, None),
            leg(7, 3, "10.0.0.1", Some(7), None, None),
            leg(8, 8, "239.1.1.1", Some(5), None, None),
        ];
        let hosts = hosts(legs, Some(5));
        let charged = |socket, to: &str| charged(&hosts, socket, &returned(to, None, 1));
        assert_eq!(
            [1, 6].map(|socket| charged(socket, "10.0.0.1:5")),
            [[1, 6], [1, 6]],
            "any UDP socket may be told"
        );
        assert_eq!([3, 8].map(|socket| charged(socket, "10.0.0.2:5")), [vec![3], vec![]], "each raw one is");
        assert_eq!([3, 8].map(|socket| charged(socket, "10.0.0.1:5")), [[0; 0]; 2], "another socket's");
        for (socket, to) in
            [(3, "10.0.0.2:6"), (1, "10.0.0.2:5"), (1, "10.0.0.3:5"), (1, "239.1.1.1:5"), (9, "10.0.0.1:5")]
        {
            assert!(charged(socket, to).is_empty(), "{to}, told to {socket}");
        }
    }

    #[test]
    fn a_host_by_several_interfaces_is_told_apart() {
        for sport in [DAEMON, None] {
            let hosts = hosts(
                [
                    leg(1, 1, "10.0.0.1", Some(5), sport, Some(1)),
                    leg(2, 2, "10.0.0.1", Some(5), sport, Some(2)),
                    leg(3, 3, "10.0.0.1", Some(5), sport, None),
                ],
                None,
            );
            let charged = |from, ifindex| {
                let returned = returned("10.0.0.1:5", from, ifindex);
                let told = [1, 2, 3].map(|socket| charged(&hosts, socket, &returned));
                // Of UDP one is told, whichever; of raw sockets all are, and the leg's own charges it.
                let mut slots = told.concat();
                assert_eq!(slots.len(), if sport.is_none() { 1 } else { 3 }, "{told:?}");
                slots.dedup();
                slots
            };
            assert_eq!(
                [charged(Some(1), 9), charged(Some(2), 9)],
                [[1], [2]],
                "by its source, whatever it came by"
            );
            assert_eq!(charged(Some(2), 1), [2], "also by the other");
            assert_eq!(charged(Some(7), 1), [3], "of neither's address");
        }
    }

    #[test]
    fn interfaces_of_one_address_are_told_apart_by_what_errors_come_by() {
        let from = Some([10, 9, 1, 1].into());
        let legs = [1, 2].map(|by: u8| LegEntry {
            from,
            ..leg(by.into(), by.into(), "10.0.0.1", Some(5), DAEMON, Some(by))
        });
        let hosts = hosts(legs, None);
        let charged = |socket, ifindex| charged(&hosts, socket, &returned("10.0.0.1:5", Some(1), ifindex));
        assert_eq!([charged(1, 2), charged(2, 1)], [[2], [1]]);
        assert_eq!([charged(1, 9), charged(2, 9)], [[1, 2]; 2], "of one made here nobody knows");
    }

    #[test]
    fn a_port_that_is_kept_is_the_rules() {
        let leg = |slot, sport| leg(slot, slot, "10.0.0.1", None, sport, None);
        for sport in [DAEMON, None] {
            let hosts = hosts([leg(1, sport)], Some(5));
            let charged = |to: &str| charged(&hosts, 1, &returned(to, None, 1));
            assert_eq!((charged("10.0.0.1:5"), charged("10.0.0.1:6")), (vec![1], vec![]));
        }
        let any = hosts([leg(1, DAEMON)], None);
        assert_eq!(charged(&any, 1, &returned("10.0.0.1:6", None, 1)), [1]);
    }

    #[test]
    fn source_ports_tell_sockets_apart() {
        let legs = [(1, DAEMON), (2, Some(7000)), (3, None)]
            .map(|(slot, sport)| leg(slot, slot, "10.0.0.1", Some(5), sport, None));
        let hosts = hosts(legs, None);
        let udp = returned("10.0.0.1:5", None, 1);
        assert_eq!([1, 2].map(|socket| charged(&hosts, socket, &udp)), [[1], [2]]);
        let raw = |source_port| charged(&hosts, 3, &Returned { source_port, ..udp });
        assert_eq!((raw(Some(7000)), raw(DAEMON), raw(Some(9))), (vec![], vec![], vec![3]));
    }

    #[test]
    fn a_raw_socket_leaves_out_what_left_from_another_address() {
        for (sport, slots) in [(DAEMON, vec![1]), (None, vec![])] {
            let hosts = hosts([leg(1, 1, "10.0.0.1", Some(5), sport, Some(1))], None);
            assert_eq!(charged(&hosts, 1, &returned("10.0.0.1:5", Some(2), 1)), slots);
            assert_eq!(charged(&hosts, 1, &returned("10.0.0.1:5", Some(1), 1)), [1]);
        }
    }
}
