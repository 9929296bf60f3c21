//! Packets that arrive and are not what the rule takes: tagged, for others, of another source or port.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::num::NonZeroU16;

use mcast::{Flow, Rule};

use super::finding::{fail, fail_if, listed, ok, packets, skip};
use super::heard::{Fate, Kind};
use super::traffic::{HeardOf, or_none, sum, told};
use crate::api::model::Finding;

/// Outputs written in a remedy's command; more are left to the reader.
const OUTPUTS_SHOWN: usize = 8;

/// Whether the rule's input names this port; so it may where the port is not known.
pub(super) fn fits_port(input: &Flow, kind: &Kind) -> bool {
    input.port.zip(kind.port).is_none_or(|(wanted, port)| wanted.get() == port)
}

fn fits_source(input: &Flow, kind: &Kind) -> bool {
    input.source.is_none_or(|wanted| wanted == kind.source)
}

impl HeardOf<'_> {
    pub(super) fn vlan(&self) -> Finding {
        const CHECK: &str = "vlan";
        let tagged = self.of(|kind| kind.vlan.is_some());
        let vlans: BTreeSet<_> = tagged.iter().filter_map(|(kind, _)| kind.vlan).collect();
        let Some(vlan) = vlans.first() else { return ok(CHECK, "no packet came with a VLAN tag") };
        let interface = &self.rule.rule.input.interface;
        fail_if(
            self.gets_nothing(),
            CHECK,
            format!("{} came tagged, of VLAN {}", packets(sum(&tagged)), listed(&vlans)),
            format!(
                "have the switch send the group untagged, or take it from the VLAN's interface: ip link add link \
                 {interface} name {interface}.{vlan} type vlan id {vlan}, ip link set dev {interface}.{vlan} up, and \
                 %{interface}.{vlan} in the rule's input"
            ),
        )
    }

    pub(super) fn mac(&self) -> Finding {
        const CHECK: &str = "mac";
        let others = self.of(|kind| kind.fate == Fate::OtherHost && kind.vlan.is_none());
        if others.is_empty() {
            return ok(CHECK, "no packet came with another host's MAC address");
        }
        fail_if(
            self.gets_nothing(),
            CHECK,
            format!("{} came addressed to another host's MAC: {}", packets(sum(&others)), told(&others)),
            "let the sender use the group's MAC, or this interface's: look at its neighbour entries and at devices \
             between that turn multicast into unicast",
        )
    }

    pub(super) fn source(&self) -> Finding {
        const CHECK: &str = "source";
        let sources: BTreeSet<_> = self.sound().iter().map(|(kind, _)| kind.source).collect();
        let heard = or_none(listed(&sources));
        let Some(wanted) = self.rule.rule.input.source else {
            return ok(CHECK, format!("the input takes any source; heard: {heard}"));
        };
        if sources.is_empty() {
            return skip(CHECK, "no sound packet was heard");
        }
        if sources.contains(&wanted) {
            return ok(CHECK, format!("{wanted} sends"));
        }
        fail_if(
            self.gets_nothing(),
            CHECK,
            format!("the input takes {wanted} only; what comes is from {heard}"),
            self.with_input(|input| input.source = sources.first().copied()),
        )
    }

    pub(super) fn port(&self) -> Finding {
        const CHECK: &str = "port";
        let (sound, input) = (self.sound(), &self.rule.rule.input);
        let ports: BTreeSet<_> = sound.iter().filter_map(|(kind, _)| kind.port).collect();
        let heard = or_none(listed(&ports));
        let Some(wanted) = input.port else {
            return ok(CHECK, format!("the input takes any port; heard: {heard}"));
        };
        if ports.is_empty() {
            return skip(CHECK, "no sound packet was heard");
        }
        // What its source sends, where that sends at all, is what its port is to fit.
        let own: Vec<_> = sound.iter().filter(|(kind, _)| fits_source(input, kind)).collect();
        let to_port = |kind: &Kind| fits_port(input, kind);
        if own.iter().any(|(kind, _)| to_port(kind)) || (own.is_empty() && ports.contains(&wanted.get())) {
            return ok(CHECK, format!("packets come to port {wanted}"));
        }
        let used = own.first().copied().or(sound.first()).and_then(|(kind, _)| NonZeroU16::new(kind.port?));
        fail_if(
            self.gets_nothing(),
            CHECK,
            format!("the input takes port {wanted}; what comes is {}", told(&sound)),
            self.with_input(|input| input.port = used),
        )
    }

    /// Whether rules with a more specific input take all that fits.
    pub(super) fn precedence(&self) -> Finding {
        const CHECK: &str = "precedence";
        let (sound, input) = (self.sound(), &self.rule.rule.input);
        let fitting = sound.iter().filter(|(kind, _)| fits_port(input, kind) && fits_source(input, kind));
        let takers: BTreeSet<_> = fitting
            .filter_map(|(kind, _)| match kind.fate {
                Fate::Taken(flow) if Some(flow) != self.rule.flow => self.seen.case.names.get(flow as usize),
                _ => None,
            })
            .collect();
        let names = listed(&takers);
        if takers.is_empty() {
            return ok(CHECK, "no other rule takes what fits this one");
        }
        if !self.gets_nothing() {
            return ok(CHECK, format!("what fits more closely goes to {names}, the rest comes here"));
        }
        fail(
            CHECK,
            format!("all that fits goes to {names}, whose input says more of source and port"),
            format!("add this rule's outputs to {names}"),
        )
    }

    /// The command that gives the rule another input.
    fn with_input(&self, change: impl FnOnce(&mut Flow)) -> String {
        let Rule { name, input, outputs, .. } = &self.rule.rule;
        let mut input = input.clone();
        change(&mut input);
        let mut command = format!("mcrctl add --replace {name} {input}");
        for output in outputs.iter().take(OUTPUTS_SHOWN) {
            let _ = write!(command, " {output}");
        }
        command + if outputs.len() > OUTPUTS_SHOWN { " …" } else { "" }
    }
}
