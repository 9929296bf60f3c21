//! Word of rules that do not relay as written: logged once when it begins, when the reason changes and when it
//! ends, so that the log tells what `list` told at the time.

use std::collections::HashMap;

use mcast::RuleName;
use tracing::{info, warn};

use super::running::Running;
use crate::api::model::State;

/// Rules named at once; a link that thousands of rules use does not fill the log.
const NAMED_MAX: usize = 20;

impl Running {
    /// Rules that are not active, or not with all their outputs: `is pending: …` and the like.
    pub(super) fn troubles(&self) -> impl Iterator<Item = (&RuleName, String)> {
        self.viewed().filter_map(|(rule, view)| {
            let (state, reason) = self.rule_state(rule, view);
            let word = match state {
                State::Pending => "is pending",
                State::Failed => "is failed",
                State::Active if reason.is_empty() => return None,
                State::Active => "is active in part",
            };
            Some((&rule.name, format!("{word}: {reason}")))
        })
    }

    /// How things stand in a line: workers, rules, and why the first that does not relay as written does not.
    pub fn summary(&self) -> String {
        let run = self.workers.iter().filter(|worker| worker.borrow().ready).count();
        let known = |name| self.troubles_logged.get_key_value(name);
        let mut troubles = self.rules.iter().filter_map(|rule| known(&rule.name));
        let first = troubles.next();
        let (rules, troubled) = (self.rules.len(), usize::from(first.is_some()) + troubles.count());
        let rules = match (rules, troubled) {
            (0, _) => "no rules".to_owned(),
            (1, 0) => "1 rule active".to_owned(),
            (_, 0) => format!("{rules} rules active"),
            _ => format!("{} of {rules} rules active as written", rules - troubled),
        };
        let first = first.map(|(name, trouble)| format!("; {name} {trouble}")).unwrap_or_default();
        format!("{run} of {} workers run, {rules}{first}", self.workers.len())
    }

    /// Logs what has changed since the last time.
    pub(super) fn log_troubles(&mut self) {
        let now: HashMap<RuleName, String> =
            self.troubles().map(|(name, trouble)| (name.clone(), trouble)).collect();
        let before = &self.troubles_logged;
        let begun: Vec<_> = self
            .rules
            .iter()
            .filter_map(|rule| now.get_key_value(&rule.name))
            .filter(|(name, trouble)| before.get(*name) != Some(*trouble))
            .collect();
        for (name, trouble) in begun.iter().take(NAMED_MAX) {
            warn!("rule {name} {trouble}");
        }
        if let Some(more @ 1..) = begun.len().checked_sub(NAMED_MAX) {
            warn!("so do {more} more rules not relay as written: mcrctl list has the reasons");
        }
        let mut ended: Vec<_> =
            before.keys().filter(|name| !now.contains_key(*name) && self.rules.get(name).is_some()).collect();
        ended.sort();
        for name in ended.iter().take(NAMED_MAX) {
            info!("rule {name} is active");
        }
        if let Some(more @ 1..) = ended.len().checked_sub(NAMED_MAX) {
            info!("so are {more} more rules");
        }
        self.troubles_logged = now;
    }

    /// Says once which outputs cannot use segmentation offload, which costs speed and nothing else.
    pub(super) fn log_gso(&self) {
        let legs = self.viewed().flat_map(|(rule, view)| {
            rule.outputs.iter().zip(&view.slots.legs).map(|(leg, slot)| (&rule.name, leg, *slot))
        });
        let gone = legs.filter(|(_, _, slot)| self.telemetry.trend(*slot).gso_went_off);
        for (name, leg, _) in gone.take(NAMED_MAX) {
            info!("rule {name}: gso=off for {leg}: its device or path takes single datagrams only");
        }
    }
}
