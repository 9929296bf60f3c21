//! What became of each frame of one round: which rule it matched, whether a leg took it, or why it was dropped.
//!
//! A round is what a worker reads before it flushes and releases. Rules and ingress are counted from here
//! once, at its end, so that a datagram counts as relayed only if a leg took it, and a worker that dies in
//! mid-round has counted nothing of what its successor reads again.

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
pub struct Round {
    items: Vec<Item>,
    /// Frames that matched beyond one for each datagram.
    reassembled: u64,
    /// Frames dropped before they matched, by reason.
    drops: [u64; DropReason::ALL.len()],
    dropped: u64,
}

impl Round {
    /// Room for `capacity` datagrams.
    pub fn with_capacity(capacity: usize) -> Self {
        let drops = [0; DropReason::ALL.len()];
        Self { items: Vec::with_capacity(capacity), reassembled: 0, drops, dropped: 0 }
    }

    /// Number of datagrams so far.
    pub fn count(&self) -> usize {
        self.items.len()
    }

    /// Notes frames dropped before they matched.
    pub fn drop(&mut self, reason: DropReason, frames: u64) {
        self.drops[reason as usize] += frames;
        self.dropped += frames;
    }

    /// Notes that the datagram to be pushed next came in so many frames more than one.
    pub fn reassembled(&mut self, frames: u64) {
        self.reassembled += frames;
    }

    /// Notes a datagram that matched a rule; answers its number.
    pub fn push(&mut self, rule_slot: u32, bytes: usize) -> u16 {
        let number = self.items.len() as u16;
        self.items.push(Item { rule_slot, bytes: bytes as u32, fate: Fate::NoLeg });
        number
    }

    /// A leg is about to send it.
    pub fn tried(&mut self, number: u16) {
        let fate = &mut self.items[usize::from(number)].fate;
        if *fate != Fate::Taken {
            *fate = Fate::Tried;
        }
    }

    /// A leg dropped it for its TTL.
    pub fn expired(&mut self, number: u16) {
        let fate = &mut self.items[usize::from(number)].fate;
        if *fate == Fate::NoLeg {
            *fate = Fate::Ttl;
        }
    }

    /// A leg took it.
    pub fn taken(&mut self, number: u16) {
        self.items[usize::from(number)].fate = Fate::Taken;
    }

    /// Counts everything and starts afresh; `held` fragments are left for a later round.
    pub fn settle(&mut self, counters: &Counters, held: u64) {
        let mut relayed = 0;
        for item in &self.items {
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
        let matched = self.count() as u64 + self.reassembled;
        // Next to each other: a worker that dies in mid-round has counted none, and its successor counts all.
        counters.add_worker(WorkerCounter::Received, matched + self.dropped);
        counters.add_worker(WorkerCounter::Matched, matched);
        counters.add_worker(WorkerCounter::Relayed, relayed);
        counters.add_dropped(DropReason::Reassembled, self.reassembled);
        counters.set_worker(WorkerCounter::Held, held);
        if self.dropped > 0 {
            let drops = DropReason::ALL.iter().zip(&mut self.drops);
            drops.for_each(|(reason, frames)| counters.add_dropped(*reason, std::mem::take(frames)));
        }
        self.items.clear();
        (self.reassembled, self.dropped) = (0, 0);
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
        round.settle(&counters, 0);
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
    #[test]
    fn frames_are_counted_at_the_end_with_those_that_are_held() {
        let (counters, _memory) = Counters::create(1).unwrap();
        let mut round = Round::with_capacity(4);
        round.drop(DropReason::NoRule, 40);
        round.drop(DropReason::Malformed, 2);
        round.reassembled(44);
        let number = round.push(0, 65_507);
        round.taken(number);
        assert_eq!(counters.worker(WorkerCounter::Received), 0);
        for _ in 0..2 {
            round.settle(&counters, 7);
            let worker = |counter| counters.worker(counter);
            assert_eq!(worker(WorkerCounter::Received), 45 + 42, "once, however often it is settled");
            assert_eq!((worker(WorkerCounter::Matched), worker(WorkerCounter::Relayed)), (45, 1));
            assert_eq!(worker(WorkerCounter::Held), 7);
            let dropped = [DropReason::NoRule, DropReason::Malformed, DropReason::Reassembled];
            assert_eq!(dropped.map(|reason| counters.dropped(reason)), [40, 2, 44]);
            assert_eq!(counters.rule(0, RuleCounter::Relayed), 1, "a datagram, not its frames");
        }
    }
}
