//! What the doctor is told of the running set.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use dataplane::table::{FlowEntry, FlowKey, Table};
use mcast::{Rule, RuleName, WorkerOptions};

use super::compile::RuleView;
use super::handle::Refusal;
use super::running::Running;
use super::telemetry::Telemetry;
use crate::api::model::State;
use crate::doctor::case::{Case, HostCase, LegCase, OUTPUTS_MAX, RULES_MAX, RuleCase};

impl Running {
    /// One rule's case, or that of as many as are examined at once: of all rules those that are not active first.
    ///
    /// # Errors
    /// There is no rule of that name.
    pub fn case(&mut self, name: Option<&RuleName>) -> Result<Case, Refusal> {
        let host = self.host_case();
        let mut chosen: Vec<(&Rule, &RuleView, (State, String))> = self
            .viewed()
            .filter(|(rule, _)| name.is_none_or(|name| rule.name == *name))
            .map(|(rule, view)| (rule, view, self.shown_state(rule, view)))
            .collect();
        if let (Some(name), true) = (name, chosen.is_empty()) {
            return Err(Refusal::NotFound(name.clone()));
        }
        chosen.sort_by_key(|(.., (state, reason))| (*state == State::Active, reason.is_empty()));
        let all = chosen.len();
        chosen.truncate(examined_at_once(chosen.iter().map(|(rule, ..)| rule.outputs.len())));
        let left_out = (all - chosen.len()) as u64;
        let (inputs, names) = self.inputs_at(&chosen.iter().map(|(rule, ..)| *rule).collect::<Vec<_>>());
        let slots: HashSet<u32> = chosen.iter().flat_map(|(_, view, _)| view.slots.legs.clone()).collect();
        let legs = self.compiled.table.legs().filter(|leg| slots.contains(&leg.slot));
        let mtus: HashMap<u32, u32> = legs.map(|leg| (leg.slot, leg.mtu)).collect();
        let flows: HashMap<&RuleName, u32> = names.iter().zip(0..).collect();
        let rules = chosen
            .into_iter()
            .map(|(rule, view, state)| {
                self.rule_case(rule, view, state, flows.get(&rule.name).copied(), &mtus)
            })
            .collect();
        Ok(Case { rules, left_out, interfaces: self.interfaces.clone(), inputs, names, host })
    }

    fn rule_case(
        &self,
        rule: &Rule,
        view: &RuleView,
        (state, reason): (State, String),
        flow: Option<u32>,
        mtus: &HashMap<u32, u32>,
    ) -> RuleCase {
        let ifindex = |name: &str| self.interfaces.by_name(name).map(|interface| interface.index);
        let legs = rule.outputs.iter().zip(&view.slots.legs).zip(&view.legs_pending);
        let legs = legs.map(|((leg, slot), pending)| LegCase {
            leg: leg.clone(),
            ifindex: leg.interface.as_ref().and_then(|name| ifindex(name.as_str())),
            pending: pending.clone(),
            failing: self.telemetry.trend(*slot).failing,
            losing: self.telemetry.trend(*slot).losing,
            count: self.telemetry.leg(*slot),
            mtu: mtus.get(slot).copied(),
        });
        RuleCase {
            rule: rule.clone(),
            state,
            reason,
            ifindex: ifindex(rule.input.interface.as_str()),
            flow,
            join_error: view.join.and_then(|join| self.join_errors.get(&join)).map(ToString::to_string),
            matched: self.telemetry.matched(view.slots.rule),
            legs: legs.collect(),
        }
    }

    /// What any rule takes of the addresses that these take in, also where it is pending; and the rules' names.
    fn inputs_at(&self, examined: &[&Rule]) -> (Table, Vec<RuleName>) {
        let addresses: HashSet<IpAddr> = examined.iter().map(|rule| rule.input.address).collect();
        let (mut flows, mut names) = (Vec::new(), Vec::new());
        for rule in self.rules.iter().filter(|rule| addresses.contains(&rule.input.address)) {
            let input = &rule.input;
            let Some(interface) = self.interfaces.by_name(input.interface.as_str()) else { continue };
            let key = FlowKey {
                ifindex: interface.index,
                address: input.address,
                source: input.source,
                port: input.port.map(Into::into),
            };
            flows.push(FlowEntry { key, slot: 0, legs: Vec::new(), pending: Vec::new() });
            names.push(rule.name.clone());
        }
        (Table { generation: self.generation(), flows, own: self.compiled.table.own.clone() }, names)
    }

    fn host_case(&mut self) -> HostCase {
        let (lost, lost_now) = self.telemetry.losses();
        let offered = Telemetry::sum(&self.telemetry.each_worker()).recv;
        let held = || self.compiled.joins.iter().filter(|join| !self.join_errors.contains_key(join));
        let groups = |ipv4: bool| {
            let joins = held().filter(|join| join.group.is_ipv4() == ipv4);
            joins.map(|join| (join.interface, join.group)).collect::<HashSet<_>>().len()
        };
        HostCase {
            groups4: groups(true),
            groups6: groups(false),
            sources: held().filter(|join| join.source.is_some()).count(),
            join_sockets: self.memberships.sockets(),
            limit: self.join_errors.values().find(|error| error.is_limit()).map(ToString::to_string),
            no_socket: self.join_errors.values().find(|error| error.wants_socket()).map(ToString::to_string),
            send_buffer: self.sockets.least_send_buffer(),
            lost,
            lost_now,
            offered,
            ring_mib: self.options.ring_mib.unwrap_or(WorkerOptions::RING_MIB_DEFAULT).get().into(),
            workers: self.workers.len(),
        }
    }
}

/// How many of the rules with so many outputs each are examined at once: one at least.
fn examined_at_once(outputs: impl Iterator<Item = usize>) -> usize {
    let sums = outputs.scan(0, |sum, outputs| {
        *sum += outputs;
        Some(*sum)
    });
    sums.take(RULES_MAX).take_while(|sum| *sum <= OUTPUTS_MAX).count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_examined_at_once_is_bounded() {
        assert_eq!(examined_at_once([1; 5].into_iter()), 5);
        assert_eq!(examined_at_once(std::iter::repeat_n(1, 5_000)), RULES_MAX);
        assert_eq!(examined_at_once(std::iter::repeat_n(1024, 100)), 4);
        assert_eq!(examined_at_once([9_000, 1].into_iter()), 1);
    }
}
