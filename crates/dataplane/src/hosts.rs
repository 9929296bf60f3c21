//! To which leg an ICMP error belongs: unicast legs by where they send, and where from.

use std::net::IpAddr;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::sys::error_queue::Returned;
use crate::table::LegEntry;

/// Unicast legs by destination. The kernel tells an ICMP error to any UDP socket of that port; and to every raw socket,
/// whoever sent the datagram, so that each is charged with its own legs' alone.
#[derive(Debug, Default)]
pub struct Hosts {
    /// By address, those with raw sockets apart.
    legs: FxHashMap<(bool, IpAddr), Vec<Host>>,
    /// Raw sockets, those of groups too.
    raw: FxHashSet<u32>,
}

/// A unicast leg, as far as its datagrams are known by it.
#[derive(Debug)]
struct Host {
    slot: u32,
    socket: u32,
    /// Destination port; absent where it keeps the packet's.
    port: Option<u16>,
    /// Source address; absent where it keeps the packet's.
    from: Option<IpAddr>,
    ifindex: Option<u32>,
}

impl Hosts {
    /// Indexes the unicast legs among these.
    pub fn new<'a>(entries: impl Iterator<Item = &'a LegEntry>) -> Self {
        let mut hosts = Self::default();
        for entry in entries {
            if entry.keeps_port {
                hosts.raw.insert(entry.socket);
            }
            if !entry.address.is_multicast() {
                let &LegEntry { slot, socket, port, from, ifindex, .. } = entry;
                let host = Host { slot, socket, port, from, ifindex };
                hosts.legs.entry((entry.keeps_port, entry.address)).or_default().push(host);
            }
        }
        hosts
    }

    /// The slot of the leg whose datagram came back, as a socket was told.
    pub fn slot(&self, socket: u32, returned: &Returned) -> Option<u32> {
        let raw = self.raw.contains(&socket);
        let legs = self.legs.get(&(raw, returned.destination.ip()))?;
        let likelihood = |leg: &Host| {
            let likelihood = leg.likelihood(returned)?;
            // Raw sockets also hear of other programs' datagrams, but from which address theirs leave is known.
            let foreign = raw && likelihood.0 == Fit::Differs;
            // And every one of them hears, and must come to the same leg.
            let told = !raw && leg.socket == socket;
            (!foreign).then_some((likelihood, told))
        };
        let likely = legs.iter().filter_map(|leg| Some((likelihood(leg)?, leg)));
        // Of equals the first.
        let (_, leg) = likely.rev().max_by_key(|(likelihood, _)| *likelihood)?;
        (!raw || leg.socket == socket).then_some(leg.slot)
    }
}

impl Host {
    /// How likely a datagram that came back was this leg's: none where it went to another port. Its source address says
    /// more than its port, as a leg that keeps the packet's may have had this one; and more than the interface the error
    /// came by, which for one made on this host is `lo`.
    fn likelihood(&self, returned: &Returned) -> Option<(Fit, Fit, Fit)> {
        let port = Fit::of(self.port, Some(returned.destination.port()));
        let likelihood = (Fit::of(self.from, returned.source), port, Fit::of(self.ifindex, returned.ifindex));
        (port != Fit::Differs).then_some(likelihood)
    }
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
    use crate::table::SourceChoice;

    /// A leg by an interface of which 10.9.x.1 is the address.
    fn leg(
        slot: u32,
        socket: u32,
        to: &str,
        port: Option<u16>,
        keeps_port: bool,
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
            keeps_port,
            ttl: Some(64),
            dscp: None,
            batch: None,
            mtu: 1500,
        }
    }

    /// Of what went to an address, from 10.9.x.1, the error coming by an interface.
    fn returned(to: &str, from: Option<u8>, ifindex: u32) -> Returned {
        let source = from.map(|by| [10, 9, by, 1].into());
        Returned {
            destination: to.parse().unwrap(),
            source,
            ifindex: Some(ifindex),
            errno: libc::ECONNREFUSED,
        }
    }

    #[test]
    fn an_error_is_that_of_the_leg_that_sent() {
        let legs = [
            leg(1, 1, "10.0.0.1", Some(5), false, None),
            leg(2, 2, "10.0.0.1", None, false, None),
            leg(3, 3, "10.0.0.2", Some(5), true, None),
            leg(5, 1, "239.1.1.1", Some(5), false, None),
            leg(6, 6, "10.0.0.1", Some(5), false, None),
            leg(7, 3, "10.0.0.1", Some(7), true, None),
            leg(8, 8, "239.1.1.1", Some(5), true, None),
        ];
        let hosts = Hosts::new(legs.iter());
        let slot = |socket, to: &str| hosts.slot(socket, &returned(to, None, 1));
        assert_eq!(
            [1, 6].map(|socket| slot(socket, "10.0.0.1:5")),
            [Some(1), Some(6)],
            "nothing else is known"
        );
        assert_eq!(
            [2, 9].map(|socket| slot(socket, "10.0.0.1:5")),
            [Some(1); 2],
            "any UDP socket may be told"
        );
        assert_eq!(slot(1, "10.0.0.1:6"), Some(2));
        assert_eq!([3, 8].map(|socket| slot(socket, "10.0.0.2:5")), [Some(3), None], "each raw one is");
        assert_eq!([3, 8].map(|socket| slot(socket, "10.0.0.1:5")), [None; 2], "another socket's");
        assert_eq!((slot(3, "10.0.0.2:6"), slot(1, "10.0.0.2:5")), (None, None));
        assert_eq!((slot(1, "10.0.0.3:5"), slot(1, "239.1.1.1:5")), (None, None));
    }

    #[test]
    fn a_host_by_several_interfaces_is_told_apart() {
        for keeps_port in [false, true] {
            let legs = [
                leg(1, 1, "10.0.0.1", Some(5), keeps_port, Some(1)),
                leg(2, 2, "10.0.0.1", Some(5), keeps_port, Some(2)),
                leg(3, 3, "10.0.0.1", Some(5), keeps_port, None),
            ];
            let hosts = Hosts::new(legs.iter());
            let charged = |from, ifindex| {
                let returned = returned("10.0.0.1:5", from, ifindex);
                let told = [1, 2, 3].map(|socket| hosts.slot(socket, &returned));
                // Of UDP one is told, whichever; of raw sockets all are, and one charges.
                let slots: Vec<_> = told.into_iter().flatten().collect();
                assert_eq!(slots.len(), if keeps_port { 1 } else { 3 }, "{told:?}");
                slots
            };
            let all = |from, ifindex, slot| charged(from, ifindex).iter().all(|charged| *charged == slot);
            assert!(all(Some(1), 9, 1) && all(Some(2), 9, 2), "by its source, whatever it came by");
            assert!(all(Some(2), 1, 2), "also by the other");
            assert!(all(Some(7), 1, 3), "of neither's address");
            assert!(all(None, 1, 1) && all(None, 2, 2), "by what it came by");
        }
    }

    #[test]
    fn a_raw_socket_leaves_out_what_left_from_another_address() {
        for (keeps_port, slot) in [(false, Some(1)), (true, None)] {
            let hosts = Hosts::new([leg(1, 1, "10.0.0.1", Some(5), keeps_port, Some(1))].iter());
            assert_eq!(hosts.slot(1, &returned("10.0.0.1:5", Some(2), 1)), slot);
            assert_eq!(hosts.slot(1, &returned("10.0.0.1:5", Some(1), 1)), Some(1));
        }
    }

    #[test]
    fn interfaces_of_one_address_are_told_apart_by_what_errors_come_by() {
        let address = Some([10, 9, 1, 1].into());
        let legs = [1, 2].map(|by: u8| LegEntry {
            from: address,
            ..leg(by.into(), by.into(), "10.0.0.1", Some(5), false, Some(by))
        });
        let hosts = Hosts::new(legs.iter());
        let slot = |socket, ifindex| hosts.slot(socket, &returned("10.0.0.1:5", Some(1), ifindex));
        assert_eq!([slot(1, 2), slot(2, 1)], [Some(2), Some(1)]);
        assert_eq!([slot(1, 9), slot(2, 9)], [Some(1), Some(2)], "else by the socket that was told");
    }
}
