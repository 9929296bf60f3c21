//! What operators are shown of the running set: states with their reasons, counts and rates.

use std::collections::BTreeMap;
use std::io;

use dataplane::counters::WorkerCounter;
use dataplane::drop_reason::DropReason;
use mcast::{Leg, Rule, RuleName};
use rustix::io::Errno;
use tracing::warn;

use super::compile::RuleView;
use super::handle::Refusal;
use super::running::Running;
use super::telemetry::{Count, Telemetry};
use crate::api::model::{LegStats, RuleStats, RuleStatus, State, Stats, Totals, WorkerStats};

/// The one engine of this version.
const ENGINE: &str = "userspace";

impl Running {
    /// All rules with their state, in order.
    pub fn list(&self) -> Vec<RuleStatus> {
        self.viewed().map(|(rule, view)| self.status(rule, view)).collect()
    }

    /// One rule.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn show(&self, name: &RuleName) -> Result<RuleStatus, Refusal> {
        let mut viewed = self.viewed();
        let (rule, view) =
            viewed.find(|(rule, _)| rule.name == *name).ok_or_else(|| Refusal::NotFound(name.clone()))?;
        Ok(self.status(rule, view))
    }

    /// Takes stock of traffic and prints the STATS lines. That nobody reads them any more is no reason to stop
    /// relaying: it is logged once.
    pub fn tick(&mut self) {
        let views = &self.compiled.views;
        let rules = views.iter().map(|view| view.slots.rule);
        let legs = views.iter().flat_map(|view| view.slots.legs.iter().copied());
        let lines = self.telemetry.tick(rules, legs);
        let unprinted = self.output.as_ref().and_then(|output| output.print(lines).err());
        if let Some(why) = unprinted.as_ref().filter(|_| !self.mute) {
            warn!("STATS cannot be printed on standard output, the relay goes on: {why}");
        }
        self.mute = unprinted.is_some();
        self.log_gso();
    }

    /// All counters: of workers and their sum one moment's, of rules and legs that after it.
    pub fn stats(&mut self) -> Stats {
        let each = self.telemetry.each_worker();
        Stats {
            generation: self.generation(),
            totals: Telemetry::sum(&each),
            rules: self.viewed().map(|(rule, view)| self.rule_stats(rule, view)).collect(),
            workers: each.iter().enumerate().map(|(at, totals)| self.one_worker(at, totals)).collect(),
        }
    }

    /// The workers.
    pub fn worker_stats(&mut self) -> Vec<WorkerStats> {
        let each = self.telemetry.each_worker();
        each.iter().enumerate().map(|(at, totals)| self.one_worker(at, totals)).collect()
    }

    fn one_worker(&self, at: usize, totals: &Totals) -> WorkerStats {
        let status = self.workers[at].borrow().clone();
        let counters = &self.telemetry.workers()[at].counters;
        let state = if status.ready { State::Active } else { State::Pending };
        let drops =
            DropReason::ALL.iter().map(|reason| (reason.name().to_owned(), counters.dropped(*reason)));
        WorkerStats {
            id: at as u32,
            pid: status.pid.unwrap_or(0),
            core: self.cores[at],
            state,
            restarts: status.restarts,
            recv: totals.recv,
            matched: totals.matched,
            relayed: counters.worker(WorkerCounter::Relayed),
            buf_exhaust: totals.buf_exhaust,
            drops: drops.collect(),
        }
    }

    /// Rules beside what was compiled from them; both are in the order of the running set.
    pub(super) fn viewed(&self) -> impl Iterator<Item = (&Rule, &RuleView)> {
        self.rules.iter().zip(&self.compiled.views)
    }

    fn status(&self, rule: &Rule, view: &RuleView) -> RuleStatus {
        let (state, reason) = self.shown_state(rule, view);
        RuleStatus {
            name: rule.name.to_string(),
            input: rule.input.to_string(),
            outputs: rule.outputs.iter().map(ToString::to_string).collect(),
            engine: ENGINE.to_owned(),
            state,
            reason,
        }
    }

    /// A rule's state as it is with the workers there are.
    pub(super) fn shown_state(&self, rule: &Rule, view: &RuleView) -> (State, String) {
        let (state, reason) = self.rule_state(rule, view);
        let away: Vec<_> = (0..self.workers.len()).filter(|at| !self.workers[*at].borrow().ready).collect();
        match (state, away.as_slice()) {
            (State::Active, [worker, ..]) if away.len() == self.workers.len() => (
                State::Failed,
                format!(
                    "worker {worker} is being restarted, and no other runs: its traffic waits in the ring"
                ),
            ),
            (State::Active, [worker, ..]) if reason.is_empty() => (
                state,
                format!("worker {worker} is being restarted: its share of the traffic waits in the ring"),
            ),
            _ => (state, reason),
        }
    }

    /// The state a rule has of itself, whatever becomes of workers.
    pub(super) fn rule_state(&self, rule: &Rule, view: &RuleView) -> (State, String) {
        if let Some(why) = &view.pending {
            return (State::Pending, why.clone());
        }
        if let Some(why) = view.join.and_then(|join| self.join_errors.get(&join)) {
            return (State::Failed, why.to_string());
        }
        if let Some(why) = self.port_error(rule) {
            return (State::Failed, why.clone());
        }
        let legs: Vec<_> =
            rule.outputs.iter().enumerate().map(|(at, leg)| self.leg_state(leg, view, at)).collect();
        let down: Vec<_> = legs.iter().filter(|(state, _)| *state != State::Active).collect();
        let among = |what: &str, some: &[&(State, String)]| match (some, legs.len()) {
            ([], _) => String::new(),
            ([(_, why), ..], 1) => why.clone(),
            ([(_, why), ..], all) => format!("{} of {all} outputs {what}: {why}", some.len()),
        };
        let losing: Vec<_> =
            legs.iter().filter(|(state, why)| *state == State::Active && !why.is_empty()).collect();
        let parts = [among("do not send", &down), among("lose datagrams", &losing)];
        let reason = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ");
        if down.is_empty() {
            return (State::Active, reason);
        }
        let failed = down.len() == legs.len() && down.iter().any(|(state, _)| *state == State::Failed);
        (if failed { State::Failed } else { State::Active }, reason)
    }

    fn port_error(&self, rule: &Rule) -> Option<&String> {
        self.ports.error(rule.input.address, rule.input.port?)
    }

    fn leg_state(&self, leg: &Leg, view: &RuleView, at: usize) -> (State, String) {
        if let Some(why) = &view.legs_pending[at] {
            return (State::Pending, why.clone());
        }
        if view.pending.is_some() {
            return (State::Pending, "its rule is pending".to_owned());
        }
        let trend = self.telemetry.trend(view.slots.legs[at]);
        match (trend.failing, trend.losing) {
            (Some(errno), _) => (State::Failed, refusal_text(leg, "fails", errno)),
            (None, Some(errno)) => (State::Active, refusal_text(leg, "fails in part", errno)),
            (None, None) => (State::Active, String::new()),
        }
    }

    fn rule_stats(&self, rule: &Rule, view: &RuleView) -> RuleStats {
        let (state, reason) = self.shown_state(rule, view);
        let (count, trend) = (self.telemetry.rule(view.slots.rule), self.telemetry.trend(view.slots.rule));
        let legs = rule.outputs.iter().enumerate().map(|(at, leg)| self.leg_stats(leg, view, at));
        RuleStats {
            name: rule.name.to_string(),
            engine: ENGINE.to_owned(),
            state,
            reason,
            packets: count.packets,
            bytes: count.bytes,
            pps: trend.pps,
            bps: trend.bps,
            legs: legs.collect(),
        }
    }

    fn leg_stats(&self, leg: &Leg, view: &RuleView, at: usize) -> LegStats {
        let (state, mut reason) = self.leg_state(leg, view, at);
        let slot = view.slots.legs[at];
        let (count, trend) = (self.telemetry.leg(slot), self.telemetry.trend(slot));
        if reason.is_empty() && count.gso_off {
            reason = "gso=off: the device or path takes single datagrams only".to_owned();
        }
        LegStats {
            output: leg.to_string(),
            state,
            reason,
            packets: count.packets,
            bytes: count.bytes,
            pps: trend.pps,
            bps: trend.bps,
            errors: count.errors,
            drops: leg_drops(count),
        }
    }
}

fn leg_drops(count: Count) -> BTreeMap<String, u64> {
    let drops = [("ttl", count.ttl), ("pending", count.pending), ("unreachable", count.unreachable)];
    drops.map(|(name, n)| (name.to_owned(), n)).into()
}

/// Why a leg's datagrams are refused, and what to do.
fn refusal_text(leg: &Leg, fails: &str, errno: i32) -> String {
    let error = io::Error::from_raw_os_error(errno);
    format!("sending to {leg} {fails}: {error}: {}", refusal_remedy(errno))
}

/// What lies behind an error number of a send, and what to do.
pub fn refusal_remedy(errno: i32) -> &'static str {
    match Errno::from_raw_os_error(errno) {
        Errno::CONNREFUSED => "nothing listens there (ICMP port unreachable): start the receiver",
        Errno::HOSTUNREACH => {
            "the host does not answer or a router knows no way: check it and its neighbour entry"
        }
        Errno::NETUNREACH => "there is no route: add one or name an interface",
        Errno::NETDOWN | Errno::NODEV => "its interface is down: bring it up",
        Errno::NOBUFS => "the device's queue is full: raise its txqueuelen or send less",
        Errno::AGAIN => "the send buffer is full: the device is too slow for what is sent",
        Errno::ACCESS => "it is a broadcast address or its route is of type prohibit: name a host or a group",
        Errno::PERM => "a firewall rule of this host drops it: allow it in OUTPUT",
        Errno::MSGSIZE => {
            "datagrams are longer than the family or path allows: let the sender send shorter ones"
        }
        Errno::ADDRNOTAVAIL => {
            "packets come from 0.0.0.0 or ::, which cannot be kept: give the output another source="
        }
        Errno::INVAL => "the source address is not usable there: check source= and the interface's addresses",
        _ => "see the system's documentation of this error",
    }
}
