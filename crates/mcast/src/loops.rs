//! Rules that feed each other in a circle.
//!
//! A leg feeds a flow when what it sends fits the flow's interface, address, port and source. A port or
//! source that is only known at run time (kept by the leg, open in the input) fits any; but the source the
//! kernel picks for a leg is the host's own and fits no flow that names a source: frames with it are
//! dropped on arrival anyway. A unicast leg without interface feeds the flow on its address wherever that is.
//! A more specific rule in between is not looked at, since removing it must never make a set invalid.
//!
//! The rules form a graph with a node for each pattern a leg can send to, so that many legs into many flows of
//! one address cost the sum of both, not the product.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::num::NonZeroU16;

use crate::{Leg, LegSource, Rule, Ttl};

/// Rules that feed each other: each hop's leg feeds the next hop's rule, the last the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Circle {
    /// Never empty. The first leg is the one to blame.
    pub(crate) hops: Vec<Hop>,
    /// Whether `ttl=decrement` on every leg would make it acceptable.
    pub(crate) decrement_helps: bool,
}

/// A leg of a rule, both by their place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hop {
    pub(crate) rule: usize,
    pub(crate) leg: usize,
}

/// The circles that must be refused, one for each group of rules that feed each other.
///
/// A circle that stays on one interface, or passes through `lo` or through an address of the host, is always
/// refused: its packets need no one else to come round. One over several interfaces only comes round where
/// those are connected elsewhere; it is accepted when all its legs decrement the TTL.
pub(crate) fn circles(rules: &[&Rule]) -> Vec<Circle> {
    let graph = Graph::new(rules);
    let mut circles = Vec::new();
    let mut told = vec![false; rules.len()];

    let one_interface = graph.restricted(|rule, edge| {
        graph.patterns[edge.pattern].interface == Some(rules[rule].input.interface.as_str())
    });
    let rings = one_interface.rings();
    for (hop, edge) in one_interface.edges() {
        if !told[hop.rule] && rings.joins(hop.rule, edge.pattern) {
            circles.push(one_interface.circle(&rings, hop, edge.pattern, false, &mut told));
        }
    }

    let rings = graph.rings();
    for decrement_helps in [false, true] {
        for (hop, edge) in graph.edges() {
            let refused = if decrement_helps {
                rules[hop.rule].outputs[hop.leg].ttl != Ttl::Decrement
            } else {
                matches!(graph.patterns[edge.pattern].interface, None | Some("lo"))
            };
            if refused && !told[hop.rule] && rings.joins(hop.rule, edge.pattern) {
                circles.push(graph.circle(&rings, hop, edge.pattern, decrement_helps, &mut told));
            }
        }
    }
    circles
}

/// What a leg sends to and a flow takes from. Each flow stands under every pattern that fits it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Pattern<'a> {
    /// Absent: wherever the address is.
    interface: Option<&'a str>,
    address: IpAddr,
    port: Field<NonZeroU16>,
    source: Field<IpAddr>,
}

/// One field of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Field<T> {
    /// Flows that name exactly this, or exactly nothing.
    Named(Option<T>),
    /// Flows whatever they name.
    Unknown,
}

impl<T: Copy> Field<T> {
    /// The fields that find the flows a known value fits.
    fn of_known(value: T) -> Vec<Self> {
        vec![Self::Named(Some(value)), Self::Named(None)]
    }

    /// The fields a flow that names `value` is found under.
    fn of_flow(value: Option<T>) -> [Self; 2] {
        [Self::Named(value), Self::Unknown]
    }
}

/// The patterns a rule's input stands under.
fn patterns_of_input(rule: &Rule) -> Vec<Pattern<'_>> {
    let input = &rule.input;
    let mut interfaces = vec![Some(input.interface.as_str())];
    if !input.address.is_multicast() {
        interfaces.push(None);
    }
    let mut patterns = Vec::with_capacity(8);
    for interface in interfaces {
        for port in Field::of_flow(input.port) {
            for source in Field::of_flow(input.source) {
                patterns.push(Pattern { interface, address: input.address, port, source });
            }
        }
    }
    patterns
}

/// The patterns a leg of a rule sends to.
fn patterns_of_leg<'a>(rule: &'a Rule, leg: &'a Leg) -> Vec<Pattern<'a>> {
    let ports = match leg.port.or(rule.input.port) {
        Some(port) => Field::of_known(port),
        None => vec![Field::Unknown],
    };
    let sources = match (leg.source, rule.input.source) {
        (LegSource::Address(source), _) | (LegSource::Keep, Some(source)) => Field::of_known(source),
        (LegSource::Keep, None) => vec![Field::Unknown],
        (LegSource::Interface, _) => vec![Field::Named(None)],
    };
    let interface = leg.interface.as_ref().map(|interface| interface.as_str());
    let mut patterns = Vec::with_capacity(4);
    for &port in &ports {
        for &source in &sources {
            patterns.push(Pattern { interface, address: leg.address, port, source });
        }
    }
    patterns
}

/// From a rule by one of its legs to a pattern.
#[derive(Debug, Clone, Copy)]
struct Edge {
    leg: usize,
    pattern: usize,
}

/// Rules, the patterns their legs send to, and the rules that stand under those.
struct Graph<'a> {
    patterns: Vec<Pattern<'a>>,
    /// By rule.
    sends: Vec<Vec<Edge>>,
    /// By pattern: rules.
    feeds: Vec<Vec<usize>>,
}

impl<'a> Graph<'a> {
    fn new(rules: &[&'a Rule]) -> Self {
        let mut numbers = HashMap::new();
        let mut feeds: Vec<Vec<usize>> = Vec::new();
        let legs = rules.iter().flat_map(|rule| &rule.outputs);
        let sent_to: HashSet<IpAddr> = legs.map(|leg| leg.address).collect();
        let fed = rules.iter().enumerate().filter(|(_, rule)| sent_to.contains(&rule.input.address));
        for (place, rule) in fed {
            for pattern in patterns_of_input(rule) {
                let number = *numbers.entry(pattern).or_insert(feeds.len());
                if number == feeds.len() {
                    feeds.push(Vec::new());
                }
                feeds[number].push(place);
            }
        }
        let sends = rules.iter().map(|rule| sends_of(rule, &numbers)).collect();
        let mut patterns: Vec<_> = numbers.into_iter().collect();
        patterns.sort_unstable_by_key(|&(_, number)| number);
        Self { patterns: patterns.into_iter().map(|(pattern, _)| pattern).collect(), sends, feeds }
    }

    /// The same graph with only the edges chosen.
    fn restricted(&self, choose: impl Fn(usize, &Edge) -> bool) -> Self {
        let chosen = |(rule, edges): (usize, &Vec<Edge>)| {
            edges.iter().filter(|edge| choose(rule, edge)).copied().collect()
        };
        Self {
            patterns: self.patterns.clone(),
            sends: self.sends.iter().enumerate().map(chosen).collect(),
            feeds: self.feeds.clone(),
        }
    }

    fn edges(&self) -> impl Iterator<Item = (Hop, Edge)> {
        self.sends
            .iter()
            .enumerate()
            .flat_map(|(rule, edges)| edges.iter().map(move |&edge| (Hop { rule, leg: edge.leg }, edge)))
    }

    /// A node's successor at a place. Rules come first in the numbering of nodes, patterns after them.
    fn successor(&self, node: usize, place: usize) -> Option<usize> {
        match node.checked_sub(self.sends.len()) {
            None => self.sends[node].get(place).map(|edge| self.sends.len() + edge.pattern),
            Some(pattern) => self.feeds[pattern].get(place).copied(),
        }
    }

    /// The strongly connected components (Tarjan 1972), without recursion: a chain of rules may be long.
    fn rings(&self) -> Rings {
        let nodes = self.sends.len() + self.feeds.len();
        let mut rings = Rings { ring_of: vec![None; nodes], members: Vec::new(), rules: self.sends.len() };
        let mut order: Vec<Option<usize>> = vec![None; nodes];
        let mut lowest = vec![0; nodes];
        let mut open = Vec::new();
        let mut walk: Vec<(usize, usize)> = Vec::new();
        let mut visited = 0;
        for root in 0..self.sends.len() {
            if order[root].is_none() {
                walk.push((root, 0));
            }
            while let Some((node, place)) = walk.pop() {
                if place == 0 {
                    order[node] = Some(visited);
                    lowest[node] = visited;
                    visited += 1;
                    open.push(node);
                }
                if let Some(next) = self.successor(node, place) {
                    walk.push((node, place + 1));
                    match order[next] {
                        None => walk.push((next, 0)),
                        Some(at) if rings.ring_of[next].is_none() => lowest[node] = lowest[node].min(at),
                        Some(_) => {}
                    }
                    continue;
                }
                if order[node] == Some(lowest[node]) {
                    let start = open.iter().rposition(|&member| member == node).unwrap_or(0);
                    rings.close(open.drain(start..));
                }
                if let Some(&(parent, _)) = walk.last() {
                    lowest[parent] = lowest[parent].min(lowest[node]);
                }
            }
        }
        rings
    }

    /// The shortest circle through a leg and a pattern of one ring; marks the ring's rules as told.
    fn circle(
        &self,
        rings: &Rings,
        first: Hop,
        pattern: usize,
        decrement_helps: bool,
        told: &mut [bool],
    ) -> Circle {
        for &rule in rings.rules_with(first.rule) {
            told[rule] = true;
        }
        let mut came_by: HashMap<usize, Option<Hop>> = HashMap::new();
        let mut seen_patterns = HashSet::new();
        let mut queue = VecDeque::from([(None, pattern)]);
        while let Some((hop, pattern)) = queue.pop_front() {
            if !seen_patterns.insert(pattern) {
                continue;
            }
            for &rule in &self.feeds[pattern] {
                if came_by.contains_key(&rule) || !rings.joins(rule, pattern) {
                    continue;
                }
                came_by.insert(rule, hop);
                let onward = self.sends[rule].iter().filter(|edge| rings.joins(rule, edge.pattern));
                queue.extend(onward.map(|edge| (Some(Hop { rule, leg: edge.leg }), edge.pattern)));
            }
            if came_by.contains_key(&first.rule) {
                break;
            }
        }
        let mut hops = Vec::new();
        let mut rule = first.rule;
        while let Some(&Some(hop)) = came_by.get(&rule) {
            hops.push(hop);
            rule = hop.rule;
        }
        hops.push(first);
        hops.reverse();
        Circle { hops, decrement_helps }
    }
}

/// A rule's edges to the patterns some rule stands under.
fn sends_of<'a>(rule: &'a Rule, numbers: &HashMap<Pattern<'a>, usize>) -> Vec<Edge> {
    let mut edges = Vec::new();
    for (leg, output) in rule.outputs.iter().enumerate() {
        let patterns = patterns_of_leg(rule, output);
        edges.extend(
            patterns.iter().filter_map(|pattern| numbers.get(pattern)).map(|&pattern| Edge { leg, pattern }),
        );
    }
    edges
}

/// Which nodes reach each other.
struct Rings {
    /// By node; absent only where no rule leads.
    ring_of: Vec<Option<usize>>,
    /// By ring: its rules.
    members: Vec<Vec<usize>>,
    rules: usize,
}

impl Rings {
    fn close(&mut self, nodes: impl Iterator<Item = usize>) {
        let mut members = Vec::new();
        for node in nodes {
            self.ring_of[node] = Some(self.members.len());
            if node < self.rules {
                members.push(node);
            }
        }
        self.members.push(members);
    }

    /// Whether a rule and a pattern lie on a circle together.
    fn joins(&self, rule: usize, pattern: usize) -> bool {
        let ring = self.ring_of[rule];
        ring.is_some() && ring == self.ring_of[self.rules + pattern]
    }

    /// The rules of one rule's ring.
    fn rules_with(&self, rule: usize) -> &[usize] {
        self.ring_of[rule].map_or(&[], |ring| &self.members[ring])
    }
}
