//! To which leg an ICMP error belongs: unicast legs by where they send.

use std::net::{IpAddr, SocketAddr};

use rustc_hash::FxHashMap;

use crate::table::LegEntry;

/// Unicast legs by destination.
#[derive(Debug, Default)]
pub struct Hosts(FxHashMap<IpAddr, Vec<(Option<u16>, u32)>>);

impl Hosts {
    /// Indexes the unicast legs among these.
    pub fn new<'a>(entries: impl Iterator<Item = &'a LegEntry>) -> Self {
        let mut hosts = Self::default();
        for entry in entries.filter(|entry| !entry.address.is_multicast()) {
            hosts.0.entry(entry.address).or_default().push((entry.port, entry.slot));
        }
        hosts
    }

    /// The slot of the leg that sends there; of one with that very port, where there are several.
    pub fn slot(&self, destination: SocketAddr) -> Option<u32> {
        let legs = self.0.get(&destination.ip())?;
        let by_port = |port| legs.iter().find(|leg| leg.0 == port).map(|leg| leg.1);
        by_port(Some(destination.port())).or_else(|| by_port(None))
    }
}
