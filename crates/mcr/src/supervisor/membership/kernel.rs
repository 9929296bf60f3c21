//! The memberships of this network namespace, as the kernel lists them.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The groups of this network namespace, whoever joined them.
#[derive(Debug, Default)]
pub struct Joined {
    /// Interface index and group of every membership.
    pub groups: HashSet<(u32, IpAddr)>,
    /// The IGMP version each interface, by index, speaks: 1 to 3. Below 3 it was forced, or an older querier heard.
    pub igmp_versions: HashMap<u32, u8>,
}

impl Joined {
    /// Reads /proc/net/igmp and igmp6; the latter may be absent.
    ///
    /// # Errors
    /// The former cannot be read.
    pub fn read() -> io::Result<Self> {
        let mut joined = Self::default();
        joined.take_igmp(&fs::read_to_string("/proc/thread-self/net/igmp")?);
        joined.take_igmp6(&fs::read_to_string("/proc/thread-self/net/igmp6").unwrap_or_default());
        Ok(joined)
    }

    fn take_igmp(&mut self, text: &str) {
        let mut interface = None;
        for line in text.lines().skip(1) {
            let mut fields = line.split_ascii_whitespace();
            let Some(first) = fields.next() else { continue };
            if line.starts_with('\t') {
                // Eight hexadecimal digits: the address in network order, read as a number of this host.
                let group = u32::from_str_radix(first, 16).map(|bits| Ipv4Addr::from(bits.to_ne_bytes()));
                self.groups
                    .extend(interface.zip(group.ok()).map(|(interface, group)| (interface, group.into())));
            } else {
                interface = first.parse().ok();
                let version = fields.last().and_then(|version| version.strip_prefix('V')?.parse().ok());
                self.igmp_versions.extend(interface.zip(version));
            }
        }
    }

    fn take_igmp6(&mut self, text: &str) {
        for line in text.lines() {
            let mut fields = line.split_ascii_whitespace();
            let interface = fields.next().and_then(|index| index.parse().ok());
            self.groups.extend(interface.zip(fields.nth(1).and_then(ipv6)));
        }
    }
}

/// The sources that groups are joined with.
#[derive(Debug, Default)]
pub struct JoinedSources(HashSet<(u32, IpAddr, IpAddr)>);

impl JoinedSources {
    /// Reads /proc/net/mcfilter and mcfilter6, as far as they are there.
    pub fn read() -> Self {
        let mut sources = HashSet::new();
        for file in ["mcfilter", "mcfilter6"] {
            let text = fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap_or_default();
            sources.extend(text.lines().skip(1).filter_map(included));
        }
        Self(sources)
    }

    /// Whether the kernel lists this source of a group. Of an interface whose newest group has no source it lists
    /// none at all (`igmp_mcf_get_first` of net/ipv4/igmp.c): absent where nothing can be told.
    pub fn has(&self, interface: u32, group: IpAddr, source: IpAddr) -> Option<bool> {
        let has = self.0.contains(&(interface, group, source));
        (has || self.0.iter().any(|(listed, ..)| *listed == interface)).then_some(has)
    }
}

/// Interface, group and source of a line that some socket includes: `index device group source included excluded`.
fn included(line: &str) -> Option<(u32, IpAddr, IpAddr)> {
    let fields: Vec<_> = line.split_ascii_whitespace().collect();
    let [interface, _, group, source, included, _] = fields.as_slice() else { return None };
    let address = |text: &str| match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok().map(|bits| Ipv4Addr::from(bits).into()),
        None => ipv6(text),
    };
    (*included != "0").then_some((interface.parse().ok()?, address(group)?, address(source)?))
}

fn ipv6(hex: &str) -> Option<IpAddr> {
    u128::from_str_radix(hex, 16).ok().map(|bits| Ipv6Addr::from(bits).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_and_versions_are_told_by_interface() {
        let mut joined = Joined::default();
        joined.take_igmp(
            "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n\
             1\tlo        :     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n\
             12\ta-long-name0:     2      V2\n\t\t\t\t010101EF     1 0:00000000\t\t0\n",
        );
        assert_eq!(joined.igmp_versions, HashMap::from([(1, 3), (12, 2)]));
        let little_endian = cfg!(target_endian = "little");
        assert_eq!(joined.groups.contains(&(12, [239, 1, 1, 1].into())), little_endian);
        joined.take_igmp6("3    eth0            ff3e0000000000000000000000010001     1 00000004 0\n");
        assert!(joined.groups.contains(&(3, "ff3e::1:1".parse().unwrap())));
    }

    #[test]
    fn sources_are_included_excluded_or_not_told() {
        let lines = [
            "  2   r-in 0xe8010101 0x0a0a0164      1      0",
            "  2   r-in 0xe8010101 0x0a0a0165      0      1",
            "  3   r-in ff3e0000000000000000000000010001 fd000001000000000000000000000100      1      0",
        ];
        let sources = JoinedSources(lines.into_iter().filter_map(included).collect());
        let group = IpAddr::from([232, 1, 1, 1]);
        assert_eq!(sources.has(2, group, [10, 10, 1, 100].into()), Some(true));
        assert_eq!(sources.has(2, group, [10, 10, 1, 101].into()), Some(false));
        assert_eq!(sources.has(4, group, [10, 10, 1, 100].into()), None);
        let [group, source] = ["ff3e::1:1", "fd00:1::100"].map(|text| text.parse().unwrap());
        assert_eq!(sources.has(3, group, source), Some(true));
    }
}
