//! What arrives for a rule; why that is not what it takes is told by `mismatch` and `damage`.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::Seen;
use super::case::RuleCase;
use super::finding::{fail, listed, ok, packets, skip, warn};
use super::heard::{Arrivals, Fate, Kind, Tally};
use super::input::no_interface;
use crate::api::model::Finding;

/// All checks here, in their order.
const CHECKS: [&str; 9] =
    ["packets", "vlan", "mac", "source", "port", "precedence", "checksum", "fragments", "ttl"];

pub(super) fn checks(seen: &Seen<'_>, rule: &RuleCase) -> Vec<Finding> {
    let skipped = |why: &str| CHECKS.map(|check| skip(check, why)).into();
    let interface = rule.rule.input.interface.as_str();
    let Some(place) = rule.arrival() else { return skipped(&no_interface(interface)) };
    if let Some(why) = seen.case.interfaces.why_not(interface) {
        return skipped(&why);
    }
    if let Some(why) = &seen.heard.deaf {
        return skipped(why);
    }
    let Some(arrivals) = seen.heard.arrivals.get(&place) else { return skipped("it was not listened to") };
    let heard = HeardOf { seen, rule, arrivals };
    if arrivals.fragments == 0 && arrivals.kinds.keys().all(|kind| kind.fate == Fate::Own) {
        let rest = CHECKS[1..].iter().map(|check| skip(check, "no packet was heard"));
        return std::iter::once(heard.nothing()).chain(rest).collect();
    }
    vec![
        heard.packets(),
        heard.vlan(),
        heard.mac(),
        heard.source(),
        heard.port(),
        heard.precedence(),
        heard.checksum(),
        heard.fragments(),
        heard.ttl(),
    ]
}

/// UDP payload bytes of the longest datagram the rule has taken while it was listened to.
pub(super) fn longest(seen: &Seen<'_>, rule: &RuleCase) -> Option<usize> {
    let arrivals = seen.heard.arrivals.get(&rule.arrival()?)?;
    let taken = arrivals.kinds.iter().filter(|(kind, _)| is_taken(kind, rule));
    taken.map(|(_, tally)| tally.longest).max()
}

/// Sources of what the rule has taken.
pub(super) fn sources(arrivals: &Arrivals, rule: &RuleCase) -> BTreeSet<IpAddr> {
    arrivals.kinds.keys().filter(|kind| is_taken(kind, rule)).map(|kind| kind.source).collect()
}

pub(super) fn is_taken(kind: &Kind, rule: &RuleCase) -> bool {
    kind.vlan.is_none() && rule.flow.is_some_and(|flow| kind.fate == Fate::Taken(flow))
}

/// What was heard of one rule's packets.
pub(super) struct HeardOf<'a> {
    pub(super) seen: &'a Seen<'a>,
    pub(super) rule: &'a RuleCase,
    pub(super) arrivals: &'a Arrivals,
}

pub(super) type Heard<'a> = Vec<(&'a Kind, &'a Tally)>;

impl HeardOf<'_> {
    /// Kinds of packet, the most frequent first.
    pub(super) fn of(&self, wanted: impl Fn(&Kind) -> bool) -> Heard<'_> {
        let mut heard: Heard<'_> = self.arrivals.kinds.iter().filter(|(kind, _)| wanted(kind)).collect();
        heard.sort_by_key(|(kind, tally)| (std::cmp::Reverse(tally.count), kind.source, kind.port));
        heard
    }

    /// What would reach the rule as far as the link goes: untagged, to this host, from others, and sound.
    pub(super) fn sound(&self) -> Heard<'_> {
        self.of(|kind| kind.vlan.is_none() && matches!(kind.fate, Fate::Taken(_) | Fate::Unwanted))
    }

    pub(super) fn taken(&self) -> Heard<'_> {
        self.of(|kind| is_taken(kind, self.rule))
    }

    /// Whether the rule gets nothing of what arrives. It may where more arrived than was heard, if it has before.
    pub(super) fn gets_nothing(&self) -> bool {
        self.taken().is_empty() && (!self.arrivals.is_full() || self.rule.matched == 0)
    }

    fn place(&self) -> String {
        let input = &self.rule.rule.input;
        format!("{} on {}", input.address, input.interface)
    }

    fn seconds(&self) -> String {
        format!("{:.1} s", self.seen.heard.time.as_secs_f64())
    }

    /// Nothing was heard but what the relay sent itself.
    fn nothing(&self) -> Finding {
        let (place, seconds) = (self.place(), self.seconds());
        let interface = &self.rule.rule.input.interface;
        let own = match self.arrivals.count {
            0 => String::new(),
            own => format!(" but {} that this relay sent", packets(own)),
        };
        let evidence = format!("no packet to {place} within {seconds}{own}");
        let remedy = format!(
            "check that the sender runs, that its TTL reaches here, and that a switch between has a querier and a port \
             for the group; tcpdump -ni {interface} host {} shows what arrives; a slow sender: mcrctl doctor {} \
             --listen 10",
            self.rule.rule.input.address, self.rule.rule.name
        );
        match self.rule.matched {
            0 => fail("packets", format!("{evidence}, nor any since the rule runs"), remedy),
            before => {
                warn("packets", format!("{evidence}; {before} have matched since the rule runs"), remedy)
            }
        }
    }

    fn packets(&self) -> Finding {
        let (count, place) = (packets(self.arrivals.count), self.place());
        let fragments = match self.arrivals.fragments {
            0 => String::new(),
            fragments => format!(" ({fragments} of them fragments)"),
        };
        let told = told(&self.of(|_| true));
        ok("packets", format!("{count} to {place}{fragments} within {}: {}", self.seconds(), or_none(told)))
    }
}

pub(super) fn sum(heard: &Heard<'_>) -> u64 {
    heard.iter().map(|(_, tally)| tally.count).sum()
}

/// Kinds of packet in words.
pub(super) fn told(heard: &Heard<'_>) -> String {
    listed(heard.iter().map(|(kind, tally)| {
        let port = kind.port.map_or_else(String::new, |port| format!(" to port {port}"));
        let vlan = kind.vlan.map_or_else(String::new, |vlan| format!(" in VLAN {vlan}"));
        format!("{} from {}{port}{vlan} with TTL {}", tally.count, kind.source, kind.ttl)
    }))
}

pub(super) fn or_none(list: String) -> String {
    if list.is_empty() { "none".to_owned() } else { list }
}
