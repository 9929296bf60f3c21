//! What became of each datagram of one round: which rule it matched, whether a leg took it.
//!
//! A round is what a worker reads before it flushes and releases. Rules and ingress are counted from here
//! once, at its end, so that a datagram counts as relayed only if a leg took it.

use crate::counters::{Counters, RuleCounter, WorkerCounter};
use crate::drop_reason::DropReason;

/// How a datagram has fared so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// No leg was tried: the rule has none that is live.
    NoLeg,
    /// Its TTL was used up on every leg tried so far.
    Ttl,
    /// A leg was tried and has not taken it.
    Tried,
    /// At least one leg took it.
    Taken,
}

#[derive(Debug, Clone, Copy)]
struct Item {
    rule_slot: u32,
    bytes: u32,
    fate: Fate,
}

/// The datagrams of one round.
#[derive(Debug)]
pub struct Round(Vec<Item>);

impl Round {
    /// Room for `capacity` datagrams.
    pub fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    /// Number of datagrams so far.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Notes a datagram that matched a rule; answers its number.
    pub fn push(&mut self, rule_slot: u32, bytes: usize) -> u16 {
        let number = self.0.len() as u16;
        self.0.push(Item { rule_slot, bytes: bytes as u32, fate: Fate::NoLeg });
        number
    }

    /// A leg is about to send it.
    pub fn tried(&mut self, number: u16) {
        let fate = &mut self.0[usize::from(number)].fate;
        if *fate != Fate::Taken {
            *fate = Fate::Tried;
        }
    }

    /// A leg dropped it for its TTL.
    pub fn expired(&mut self, number: u16) {
        let fate = &mut self.0[usize::from(number)].fate;
        if *fate == Fate::NoLeg {
            *fate = Fate::Ttl;
        }
    }

    /// A leg took it.
    pub fn taken(&mut self, number: u16) {
        self.0[usize::from(number)].fate = Fate::Taken;
    }

    /// Counts all datagrams and starts afresh.
    pub fn settle(&mut self, counters: &Counters) {
        if self.0.is_empty() {
            return;
        }
        let mut relayed = 0;
        for item in &self.0 {
            counters.add_rule(item.rule_slot, RuleCounter::Matched, 1);
            match item.fate {
                Fate::Taken => {
                    relayed += 1;
                    counters.add_rule(item.rule_slot, RuleCounter::Relayed, 1);
                    counters.add_rule(item.rule_slot, RuleCounter::Bytes, u64::from(item.bytes));
                }
                Fate::NoLeg => counters.add_dropped(DropReason::NoLeg, 1),
                Fate::Ttl => counters.add_dropped(DropReason::Ttl, 1),
                Fate::Tried => counters.add_dropped(DropReason::Egress, 1),
            }
        }
        // Next to each other: a worker that dies in mid-round has counted neither, and its successor counts both.
        counters.add_worker(WorkerCounter::Received, self.count() as u64);
        counters.add_worker(WorkerCounter::Matched, self.count() as u64);
        counters.add_worker(WorkerCounter::Relayed, relayed);
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_datagram_counts_once_by_its_best_leg() {
        let (counters, _memory) = Counters::create(1).unwrap();
        let mut round = Round::with_capacity(4);
        let [taken, refused, expired, idle] = [100, 200, 300, 400].map(|bytes| round.push(0, bytes));
        // Two legs, of which the second takes it; then both refuse; then both find its TTL used up.
        round.tried(taken);
        round.taken(taken);
        round.tried(taken);
        round.tried(refused);
        round.expired(refused);
        round.expired(expired);
        round.expired(expired);
        let _ = idle;
        round.settle(&counters);
        let rule = |counter| counters.rule(0, counter);
        assert_eq!(
            (rule(RuleCounter::Matched), rule(RuleCounter::Relayed), rule(RuleCounter::Bytes)),
            (4, 1, 100)
        );
        for reason in [DropReason::Egress, DropReason::Ttl, DropReason::NoLeg] {
            assert_eq!(counters.dropped(reason), 1, "{reason:?}");
        }
        assert_eq!(counters.worker(WorkerCounter::Received), 4);
        assert_eq!(counters.worker(WorkerCounter::Matched), 4);
        assert_eq!(counters.worker(WorkerCounter::Relayed), 1);
        assert_eq!(round.count(), 0);
    }
}
