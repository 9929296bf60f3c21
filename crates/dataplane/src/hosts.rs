//! To which leg an ICMP error belongs: unicast legs by where they send.

use std::net::{IpAddr, SocketAddr};

use rustc_hash::{FxHashMap, FxHashSet};

use crate::table::LegEntry;

/// Unicast legs by destination. Of UDP sockets with the same port the kernel tells any one; of raw sockets it tells every
/// one, whoever sent the datagram, so that only the legs of that socket count.
#[derive(Debug, Default)]
pub struct Hosts {
    /// By the socket where it is a raw one, and address.
    legs: FxHashMap<(Option<u32>, IpAddr), Vec<Host>>,
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
            let raw = entry.keeps_port.then_some(entry.socket);
            hosts.raw.extend(raw);
            if !entry.address.is_multicast() {
                hosts
                    .legs
                    .entry((raw, entry.address))
                    .or_default()
                    .push(Host { port: entry.port, slot: entry.slot });
            }
        }
        hosts
    }

    /// The slot of the leg that sends there, as a socket was told; of one with that very port, where there are several.
    pub fn slot(&self, socket: u32, destination: SocketAddr) -> Option<u32> {
        let raw = Some(socket).filter(|socket| self.raw.contains(socket));
        let legs = self.legs.get(&(raw, destination.ip()))?;
        let by_port = |port| legs.iter().find(|leg| leg.port == port).map(|leg| leg.slot);
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
            leg(3, 3, "10.0.0.1", Some(5), true),
            leg(4, 4, "10.0.0.1", Some(5), true),
            leg(5, 1, "239.1.1.1", Some(5), false),
        ];
        let hosts = Hosts::new(legs.iter());
        let slot = |socket, to: &str| hosts.slot(socket, to.parse().unwrap());
        assert_eq!(
            [1, 2, 9].map(|socket| slot(socket, "10.0.0.1:5")),
            [Some(1); 3],
            "any UDP socket is told"
        );
        assert_eq!(slot(1, "10.0.0.1:6"), Some(2));
        assert_eq!([3, 4].map(|socket| slot(socket, "10.0.0.1:5")), [Some(3), Some(4)], "each raw one is");
        assert_eq!(slot(3, "10.0.0.1:6"), None);
        assert_eq!((slot(1, "10.0.0.2:5"), slot(1, "239.1.1.1:5")), (None, None));
    }
}
