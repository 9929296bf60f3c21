//! What the kernel has joined: its own lists of groups, interface by interface.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result};

use crate::Link;

impl Link {
    /// How many sockets have joined `group` on it, as `/proc/net/igmp` and `igmp6` count them; none on an
    /// interface that does not exist.
    ///
    /// # Errors
    /// When the kernel's list cannot be read.
    pub fn joins(&self, group: impl Into<IpAddr>) -> Result<u32> {
        let read = |file: &str| {
            let path = format!("/proc/thread-self/net/{file}");
            self.netns().enter(|| fs::read_to_string(&path)).with_context(|| format!("read {path}"))
        };
        Ok(match group.into() {
            IpAddr::V4(group) => joins4(&read("igmp")?, self.name(), group),
            IpAddr::V6(group) => joins6(&read("igmp6")?, self.name(), group),
        })
    }
}

/// A line for each interface, with its groups in lines below that begin with a tab. A group is its address in
/// network order, read as a number of this host.
fn joins4(text: &str, interface: &str, group: Ipv4Addr) -> u32 {
    let wanted = format!("{:08X}", u32::from_ne_bytes(group.octets()));
    let mut on_interface = false;
    let mut users = 0;
    for line in text.lines().skip(1) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [_, name, ..] if !line.starts_with('\t') => {
                on_interface = name.trim_end_matches(':') == interface;
            }
            [address, count, ..] if on_interface && address == wanted => {
                users += count.parse().unwrap_or(0);
            }
            _ => {}
        }
    }
    users
}

/// A line for each group: interface number and name, address, users.
fn joins6(text: &str, interface: &str, group: Ipv6Addr) -> u32 {
    let wanted = format!("{:032x}", group.to_bits());
    let users = |line: &str| match line.split_whitespace().collect::<Vec<_>>()[..] {
        [_, name, address, count, ..] if name == interface && address == wanted => count.parse::<u32>().ok(),
        _ => None,
    };
    text.lines().filter_map(users).sum()
}
