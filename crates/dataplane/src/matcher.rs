//! From a datagram to its rule: one hash lookup for each shape of key in use, most specific first.

use std::net::{IpAddr, SocketAddr};

use mcast::wire::Datagram;
use rustc_hash::{FxHashMap, FxHashSet};

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

/// The lookup side of a table.
#[derive(Debug, Default)]
pub struct Matcher {
    flows: FxHashMap<FlowKey, u32>,
    /// The shapes any rule has, in order of precedence.
    shapes: Vec<Shape>,
    /// Destinations of rules with a source: a miss there is a wrong source.
    sourced: FxHashSet<(u32, IpAddr, Option<u16>)>,
    own: FxHashSet<SocketAddr>,
    own_ports: Vec<u16>,
}

impl Matcher {
    /// Indexes a table's flows.
    pub fn new(table: &Table) -> Self {
        let mut matcher = Self::default();
        for (flow, index) in table.flows.iter().zip(0..) {
            let key = flow.key;
            matcher.flows.insert(key, index);
            if key.source.is_some() {
                matcher.sourced.insert((key.ifindex, key.address, key.port));
            }
        }
        let has = |shape: &Shape| {
            let fits =
                |key: &FlowKey| key.source.is_some() == shape.source && key.port.is_some() == shape.port;
            table.flows.iter().any(|flow| fits(&flow.key))
        };
        matcher.shapes = SHAPES.iter().copied().filter(has).collect();
        matcher.own = table.own.iter().copied().collect();
        matcher.own_ports = table.own.iter().map(SocketAddr::port).collect();
        matcher.own_ports.sort_unstable();
        matcher.own_ports.dedup();
        matcher
    }

    /// The rule for a datagram that arrived on `ifindex`.
    pub fn find(&self, ifindex: u32, datagram: &Datagram<'_>) -> Verdict {
        for shape in &self.shapes {
            let key = FlowKey {
                ifindex,
                address: datagram.destination,
                source: shape.source.then_some(datagram.source),
                port: shape.port.then_some(datagram.destination_port),
            };
            if let Some(&flow) = self.flows.get(&key) {
                return if self.is_own(datagram) { Verdict::Own } else { Verdict::Flow(flow) };
            }
        }
        let sourced = |port| self.sourced.contains(&(ifindex, datagram.destination, port));
        if sourced(Some(datagram.destination_port)) || sourced(None) {
            Verdict::WrongSource
        } else {
            Verdict::NoRule
        }
    }

    fn is_own(&self, datagram: &Datagram<'_>) -> bool {
        self.own_ports.contains(&datagram.source_port)
            && self.own.contains(&SocketAddr::new(datagram.source, datagram.source_port))
    }
}
