//! Which counters belong to which rule and leg. A rule that stays keeps its slot, and so does a leg that
//! stays in its rule: their totals go on.

use std::collections::{HashMap, VecDeque};

use mcast::{Leg, Rule, RuleName};

/// Rules and legs the counters have room for.
pub const SLOTS: u32 = 1 << 20;

/// There are more rules and legs than counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many rules and outputs: together at most {SLOTS} can be counted")]
pub struct SlotsExhausted;

/// The slots of one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleSlots {
    /// The rule's own.
    pub rule: u32,
    /// One a leg, in order.
    pub legs: Vec<u32>,
}

/// What a rule held before: what of it is taken back again leaves it, the rest is given up.
#[derive(Debug, Clone, Default)]
struct Held {
    rule: Option<u32>,
    legs: Vec<(Leg, u32)>,
}

/// The slots in use and free.
#[derive(Debug, Clone, Default)]
pub struct Slots {
    rules: HashMap<RuleName, Held>,
    free: VecDeque<u32>,
    /// First slot never used.
    fresh: u32,
}

impl Slots {
    /// Gives exactly these rules their slots; answers those given up, to be handed to [`Slots::recycle`] once
    /// no worker uses them.
    ///
    /// # Errors
    /// [`SlotsExhausted`], with nothing changed.
    pub fn assign<'a>(
        &mut self,
        rules: impl Iterator<Item = &'a Rule> + Clone,
    ) -> Result<Vec<u32>, SlotsExhausted> {
        let wanted: usize = rules.clone().map(|rule| 1 + rule.outputs.len()).sum();
        // Slots given up stay in use until recycled, so as many again may be needed meanwhile.
        let free = self.free.len() + (SLOTS - self.fresh) as usize;
        if wanted > free.min(SLOTS as usize / 2) {
            return Err(SlotsExhausted);
        }
        let mut before = std::mem::take(&mut self.rules);
        for rule in rules {
            let mut old = before.remove(&rule.name).unwrap_or_default();
            let own = old.rule.take().unwrap_or_else(|| self.take());
            let legs = rule
                .outputs
                .iter()
                .map(|leg| (leg.clone(), old.take_leg(leg).unwrap_or_else(|| self.take())));
            let held = Held { rule: Some(own), legs: legs.collect() };
            self.rules.insert(rule.name.clone(), held);
            before.insert(rule.name.clone(), old);
        }
        Ok(before.into_values().flat_map(Held::into_slots).collect())
    }

    /// Makes slots free for others. The caller has cleared their counters.
    pub fn recycle(&mut self, slots: impl IntoIterator<Item = u32>) {
        self.free.extend(slots);
    }

    /// The slots of a rule.
    pub fn of(&self, rule: &RuleName) -> Option<RuleSlots> {
        let held = self.rules.get(rule)?;
        Some(RuleSlots { rule: held.rule?, legs: held.legs.iter().map(|(_, slot)| *slot).collect() })
    }

    fn take(&mut self) -> u32 {
        self.free.pop_front().unwrap_or_else(|| {
            self.fresh += 1;
            self.fresh - 1
        })
    }
}

impl Held {
    fn take_leg(&mut self, leg: &Leg) -> Option<u32> {
        let at = self.legs.iter().position(|(before, _)| before == leg)?;
        Some(self.legs.remove(at).1)
    }

    fn into_slots(self) -> impl Iterator<Item = u32> {
        self.rule.into_iter().chain(self.legs.into_iter().map(|(_, slot)| slot))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str, outputs: &[&str]) -> Rule {
        Rule {
            name: name.parse().unwrap(),
            input: "239.1.1.1%eth0:5000".parse().unwrap(),
            outputs: outputs.iter().map(|o| o.parse().unwrap()).collect(),
            engine: mcast::Engine::Auto,
        }
    }

    const A: &str = "239.2.2.1%eth1:6000";
    const B: &str = "239.2.2.2%eth1:6000";
    const C: &str = "239.2.2.3%eth1:6000";

    #[test]
    fn what_stays_keeps_its_slots() {
        let mut slots = Slots::default();
        let before = [rule("one", &[A, B]), rule("two", &[A])];
        assert_eq!(slots.assign(before.iter()), Ok(vec![]));
        let one = slots.of(&before[0].name).unwrap();
        let two = slots.of(&before[1].name).unwrap();
        let after = [rule("one", &[C, B])];
        let mut stale = slots.assign(after.iter()).unwrap();
        stale.sort_unstable();
        let mut gone = vec![one.legs[0], two.rule, two.legs[0]];
        gone.sort_unstable();
        assert_eq!(stale, gone);
        let now = slots.of(&after[0].name).unwrap();
        assert_eq!((now.rule, now.legs[1]), (one.rule, one.legs[1]));
        assert!(!gone.contains(&now.legs[0]), "a slot given up is not reused before it is recycled");
    }

    #[test]
    fn recycled_slots_are_used_again() {
        let mut slots = Slots::default();
        for round in 0..1000 {
            let name = format!("rule-{round}");
            let stale = slots.assign([rule(&name, &[A])].iter()).unwrap();
            slots.recycle(stale);
        }
        assert!(slots.fresh <= 4, "{} slots for a rule of two", slots.fresh);
    }
}
