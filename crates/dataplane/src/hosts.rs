//! To which leg an ICMP error belongs: unicast legs by where they send.

use std::net::{IpAddr, SocketAddr};

use rustc_hash::{FxHashMap, FxHashSet};

use crate::table::LegEntry;

/// Unicast legs by destination. The kernel tells an ICMP error to any UDP socket of that port; and to every raw socket,
/// whoever sent the datagram, so that only that socket's own legs count.
#[derive(Debug, Default)]
pub struct Hosts {
    /// By socket and address; those of UDP also by address alone.
    legs: FxHashMap<(Option<u32>, IpAddr), Vec<Host>>,
    /// Raw sockets, those of groups too.
    raw: FxHashSet<u32>,
}

/// A unicast leg: its destination port, absent where it keeps the packet's, and its slot.
#[derive(Debug)]
struct Host {
    port: Option<u16>,
    slot: u32,
}

impl Hosts {
    /// Indexes the unicast legs among these.
    pub fn new<'a>(entries: impl Iterator<Item = &'a LegEntry>) -> Self {
        let mut hosts = Self::default();
        for entry in entries {
            if entry.keeps_port {
                hosts.raw.insert(entry.socket);
            }
            if entry.address.is_multicast() {
                continue;
            }
            let mut note = |socket| {
                let host = Host { port: entry.port, slot: entry.slot };
                hosts.legs.entry((socket, entry.address)).or_default().push(host);
            };
            note(Some(entry.socket));
            if !entry.keeps_port {
                note(None);
            }
        }
        hosts
    }

    /// The slot of the leg that sends there, as a socket was told: of one with that very port before one that keeps the
    /// packet's, and of that socket before another.
    pub fn slot(&self, socket: u32, destination: SocketAddr) -> Option<u32> {
        let any = if self.raw.contains(&socket) { None } else { Some(None) };
        let by_port = |port: Option<u16>| {
            [Some(socket)].into_iter().chain(any).find_map(|socket| {
                let legs = self.legs.get(&(socket, destination.ip()))?;
                legs.iter().find(|leg| leg.port == port).map(|leg| leg.slot)
            })
        };
        by_port(Some(destination.port())).or_else(|| by_port(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::SourceChoice;

    fn leg(slot: u32, socket: u32, to: &str, port: Option<u16>, keeps_port: bool) -> LegEntry {
        LegEntry {
            slot,
            socket,
            address: to.parse().unwrap(),
            port,
            ifindex: None,
            source: SourceChoice::Kernel,
            keeps_port,
            ttl: Some(64),
            dscp: None,
            batch: None,
            mtu: 1500,
        }
    }

    #[test]
    fn an_error_is_that_of_the_leg_that_sent() {
        let legs = [
            leg(1, 1, "10.0.0.1", Some(5), false),
            leg(2, 2, "10.0.0.1", None, false),
            leg(3, 3, "10.0.0.2", Some(5), true),
            leg(4, 4, "10.0.0.2", Some(5), true),
            leg(5, 1, "239.1.1.1", Some(5), false),
            leg(6, 6, "10.0.0.1", Some(5), false),
            leg(7, 3, "10.0.0.1", Some(7), true),
            leg(8, 8, "239.1.1.1", Some(5), true),
        ];
        let hosts = Hosts::new(legs.iter());
        let slot = |socket, to: &str| hosts.slot(socket, to.parse().unwrap());
        assert_eq!([1, 6].map(|socket| slot(socket, "10.0.0.1:5")), [Some(1), Some(6)], "by two interfaces");
        assert_eq!(
            [2, 9].map(|socket| slot(socket, "10.0.0.1:5")),
            [Some(1); 2],
            "any UDP socket may be told"
        );
        assert_eq!(slot(1, "10.0.0.1:6"), Some(2));
        assert_eq!([3, 4].map(|socket| slot(socket, "10.0.0.2:5")), [Some(3), Some(4)], "each raw one is");
        assert_eq!([3, 8].map(|socket| slot(socket, "10.0.0.1:5")), [None; 2], "another socket's");
        assert_eq!((slot(3, "10.0.0.2:6"), slot(1, "10.0.0.2:5")), (None, None));
        assert_eq!((slot(1, "10.0.0.3:5"), slot(1, "239.1.1.1:5")), (None, None));
    }
}
