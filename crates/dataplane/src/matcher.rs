//! From a datagram to its rule: one hash lookup for each shape of key in use, most specific first.

use std::net::{IpAddr, SocketAddr};

use mcast::wire::Datagram;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::drop_reason::DropReason;
use crate::table::{FlowKey, Table};

/// What the rules say of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It belongs to the flow of this index in the table.
    Flow(u32),
    /// Rules name its destination, all for other sources.
    WrongSource,
    /// No rule names its destination.
    NoRule,
    /// The daemon sent it itself.
    Own,
}

/// Which of source and port a key names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    source: bool,
    port: bool,
}

/// Most specific first.
const SHAPES: [Shape; 4] = [
    Shape { source: true, port: true },
    Shape { source: true, port: false },
    Shape { source: false, port: true },
    Shape { source: false, port: false },
];

/// A [`FlowKey`] of IPv4 in words that hash and compare fast: interface and destination; source, port, and which of these
/// the key names.
type Key4 = (u64, u64);

/// The same of IPv6: destination and source; interface, port, and which of these the key names.
type Key6 = (u128, u128, u64);

/// The lookup side of a table.
#[derive(Debug, Default)]
pub struct Matcher {
    flows4: FxHashMap<Key4, u32>,
    flows6: FxHashMap<Key6, u32>,
    /// The shapes any rule has, in order of precedence.
    shapes: Vec<Shape>,
    /// Destinations of rules with a source: a miss there is a wrong source.
    sourced: FxHashSet<(u32, IpAddr, Option<u16>)>,
    /// Interface, destination and source of each rule, sorted.
    prospects: Box<[(u32, IpAddr, Option<IpAddr>)]>,
    own: FxHashSet<SocketAddr>,
    own_ports: Ports,
}

/// A set of ports, one bit each.
#[derive(Debug)]
struct Ports(Box<[u64; 1024]>);

impl Default for Ports {
    fn default() -> Self {
        Self(Box::new([0; 1024]))
    }
}

impl Ports {
    fn insert(&mut self, port: u16) {
        self.0[usize::from(port >> 6)] |= 1 << (port & 63);
    }

    fn contains(&self, port: u16) -> bool {
        self.0[usize::from(port >> 6)] >> (port & 63) & 1 == 1
    }
}

/// Port and shape of a key.
fn port_word(shape: Shape, port: u16) -> u64 {
    let port = if shape.port { u64::from(port) } else { 0 };
    port | u64::from(shape.port) << 16 | u64::from(shape.source) << 17
}

fn key4(ifindex: u32, address: u32, source: u32, port: u16, shape: Shape) -> Key4 {
    let source = if shape.source { u64::from(source) } else { 0 };
    (u64::from(ifindex) << 32 | u64::from(address), source << 32 | port_word(shape, port))
}

fn key6(ifindex: u32, address: u128, source: u128, port: u16, shape: Shape) -> Key6 {
    let source = if shape.source { source } else { 0 };
    (address, source, u64::from(ifindex) << 32 | port_word(shape, port))
}

impl Shape {
    fn of(key: &FlowKey) -> Self {
        Self { source: key.source.is_some(), port: key.port.is_some() }
    }
}

impl Matcher {
    /// Indexes a table's flows.
    pub fn new(table: &Table) -> Self {
        let mut matcher = Self::default();
        for (flow, index) in table.flows.iter().zip(0..) {
            let key = flow.key;
            matcher.insert(&key, index);
            if key.source.is_some() {
                matcher.sourced.insert((key.ifindex, key.address, key.port));
            }
        }
        let has = |shape: &Shape| table.flows.iter().any(|flow| Shape::of(&flow.key) == *shape);
        matcher.shapes = SHAPES.iter().copied().filter(has).collect();
        let mut prospects: Vec<_> =
            table.flows.iter().map(|flow| (flow.key.ifindex, flow.key.address, flow.key.source)).collect();
        prospects.sort_unstable();
        prospects.dedup();
        matcher.prospects = prospects.into_boxed_slice();
        matcher.own = table.own.iter().copied().collect();
        table.own.iter().for_each(|own| matcher.own_ports.insert(own.port()));
        matcher
    }

    fn insert(&mut self, key: &FlowKey, index: u32) {
        let (shape, port) = (Shape::of(key), key.port.unwrap_or(0));
        match (key.address, key.source.unwrap_or(key.address)) {
            (IpAddr::V4(to), IpAddr::V4(from)) => {
                self.flows4.insert(key4(key.ifindex, to.to_bits(), from.to_bits(), port, shape), index);
            }
            (IpAddr::V6(to), IpAddr::V6(from)) => {
                self.flows6.insert(key6(key.ifindex, to.to_bits(), from.to_bits(), port, shape), index);
            }
            // No packet is of two families.
            _ => {}
        }
    }

    /// The rule for a datagram that arrived on `ifindex`.
    pub fn find(&self, ifindex: u32, datagram: &Datagram<'_>) -> Verdict {
        let port = datagram.destination_port;
        let found = match (datagram.destination, datagram.source) {
            (IpAddr::V4(to), IpAddr::V4(from)) => {
                let (to, from) = (to.to_bits(), from.to_bits());
                let look_up = |shape: &Shape| self.flows4.get(&key4(ifindex, to, from, port, *shape));
                self.shapes.iter().find_map(look_up)
            }
            (IpAddr::V6(to), IpAddr::V6(from)) => {
                let (to, from) = (to.to_bits(), from.to_bits());
                let look_up = |shape: &Shape| self.flows6.get(&key6(ifindex, to, from, port, *shape));
                self.shapes.iter().find_map(look_up)
            }
            _ => None,
        };
        match found {
            Some(_) if self.is_own(datagram) => Verdict::Own,
            Some(&flow) => Verdict::Flow(flow),
            None => self.missed(ifindex, datagram),
        }
    }

    fn missed(&self, ifindex: u32, datagram: &Datagram<'_>) -> Verdict {
        let sourced = |port| self.sourced.contains(&(ifindex, datagram.destination, port));
        if sourced(Some(datagram.destination_port)) || sourced(None) {
            Verdict::WrongSource
        } else {
            Verdict::NoRule
        }
    }

    /// Why no rule takes a datagram with these addresses, whatever its ports; `None`: one may.
    pub fn refusal(&self, ifindex: u32, source: IpAddr, destination: IpAddr) -> Option<DropReason> {
        let to = (ifindex, destination);
        let start = self.prospects.partition_point(|&(ifindex, address, _)| (ifindex, address) < to);
        match self.prospects.get(start) {
            // "Any source" comes before all others.
            Some(&(ifindex, address, None)) if (ifindex, address) == to => None,
            Some(&(ifindex, address, _)) if (ifindex, address) == to => {
                let named = self.prospects.binary_search(&(ifindex, address, Some(source))).is_ok();
                (!named).then_some(DropReason::WrongSource)
            }
            _ => Some(DropReason::NoRule),
        }
    }

    fn is_own(&self, datagram: &Datagram<'_>) -> bool {
        self.own_ports.contains(datagram.source_port)
            && self.own.contains(&SocketAddr::new(datagram.source, datagram.source_port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::FlowEntry;

    const GROUP: &str = "239.1.1.1";
    const WANTED: &str = "10.0.0.1";
    const OTHER: &str = "10.0.0.2";

    fn key(source: Option<&str>, port: Option<u16>) -> FlowKey {
        FlowKey { ifindex: 3, address: ip(GROUP), source: source.map(ip), port }
    }

    fn matcher(keys: &[FlowKey]) -> Matcher {
        let entry = |(key, slot): (&FlowKey, u32)| FlowEntry {
            key: *key,
            slot,
            legs: Vec::new(),
            pending: Vec::new(),
        };
        let flows = keys.iter().zip(0..).map(entry).collect();
        Matcher::new(&Table { generation: 1, flows, own: vec!["10.0.0.9:4000".parse().unwrap()] })
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn datagram(source: &str, source_port: u16, destination_port: u16) -> Datagram<'static> {
        Datagram {
            source: ip(source),
            destination: ip(GROUP),
            source_port,
            destination_port,
            ttl: 8,
            traffic_class: 0,
            payload: b"x",
        }
    }

    #[test]
    fn the_most_specific_key_wins_source_before_port() {
        let keys = [key(None, None), key(None, Some(5)), key(Some(WANTED), None), key(Some(WANTED), Some(5))];
        for most in (1..=keys.len()).rev() {
            let matcher = matcher(&keys[..most]);
            let last = most as u32 - 1;
            assert_eq!(matcher.find(3, &datagram(WANTED, 9, 5)), Verdict::Flow(last));
        }
        let matcher = matcher(&keys);
        assert_eq!(matcher.find(3, &datagram(WANTED, 9, 6)), Verdict::Flow(2));
        assert_eq!(matcher.find(3, &datagram(OTHER, 9, 5)), Verdict::Flow(1));
        assert_eq!(matcher.find(3, &datagram(OTHER, 9, 6)), Verdict::Flow(0));
        assert_eq!(matcher.find(4, &datagram(WANTED, 9, 5)), Verdict::NoRule);
    }

    #[test]
    fn a_destination_with_rules_for_other_sources_only_is_told_from_one_without_rules() {
        let matcher = matcher(&[key(Some(WANTED), Some(5))]);
        assert_eq!(matcher.find(3, &datagram(OTHER, 9, 5)), Verdict::WrongSource);
        assert_eq!(matcher.find(3, &datagram(OTHER, 9, 6)), Verdict::NoRule);
    }

    #[test]
    fn what_no_rule_can_take_is_told_by_its_addresses() {
        let sourced = FlowKey { address: ip("239.1.1.2"), ..key(Some(WANTED), Some(5)) };
        let matcher = matcher(&[key(None, Some(5)), sourced, FlowKey { ifindex: 4, ..sourced }]);
        let refusal = |ifindex, source, to| matcher.refusal(ifindex, ip(source), ip(to));
        assert_eq!(refusal(3, OTHER, GROUP), None);
        assert_eq!(refusal(3, WANTED, "239.1.1.2"), None);
        assert_eq!(refusal(3, OTHER, "239.1.1.2"), Some(DropReason::WrongSource));
        assert_eq!(refusal(4, WANTED, "239.1.1.2"), None);
        for (ifindex, to) in [(4, GROUP), (2, GROUP), (3, "239.1.1.3"), (5, "239.1.1.2"), (3, "1.1.1.1")] {
            assert_eq!(refusal(ifindex, WANTED, to), Some(DropReason::NoRule), "{ifindex} {to}");
        }
        assert_eq!(Matcher::default().refusal(3, ip(WANTED), ip(GROUP)), Some(DropReason::NoRule));
    }

    #[test]
    fn ipv6_keys_are_as_precise() {
        let (group, wanted) = (ip("ff3e::1"), ip("2001:db8::1"));
        let key = |source, port| FlowKey { ifindex: 3, address: group, source, port };
        let matcher = matcher(&[key(None, None), key(None, Some(5)), key(Some(wanted), Some(5))]);
        let to = |source: &str, destination_port| Datagram {
            destination: group,
            ..datagram(source, 9, destination_port)
        };
        assert_eq!(matcher.find(3, &to("2001:db8::1", 5)), Verdict::Flow(2));
        assert_eq!(matcher.find(3, &to("2001:db8::2", 5)), Verdict::Flow(1));
        assert_eq!(matcher.find(3, &to("2001:db8::1", 6)), Verdict::Flow(0));
        assert_eq!(matcher.find(4, &to("2001:db8::1", 6)), Verdict::NoRule);
    }

    #[test]
    fn own_frames_are_those_with_own_address_and_port() {
        let matcher = matcher(&[key(None, None)]);
        assert_eq!(matcher.find(3, &datagram("10.0.0.9", 4000, 5)), Verdict::Own);
        assert_eq!(matcher.find(3, &datagram("10.0.0.9", 4001, 5)), Verdict::Flow(0));
        assert_eq!(matcher.find(3, &datagram(OTHER, 4000, 5)), Verdict::Flow(0));
    }
}
