//! The memberships of this network namespace, as the kernel lists them.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Interface index and group of every membership in this network namespace, whoever made it.
pub(super) fn joined_groups() -> io::Result<HashSet<(u32, IpAddr)>> {
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
