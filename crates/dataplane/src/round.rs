//! What became of each frame of one round: which rule it matched, whether a leg took it, or why it was dropped.
//!
//! A round is what a worker reads before it flushes and releases. Rules and ingress are counted from here
//! once, at its end, so that a datagram counts as relayed only if a leg took it, and a worker that dies in
//! mid-round has counted nothing of what its successor reads again.

use crate::batch::Batch;
use crate::counters::{Counters, RuleCounter, WorkerCounter};
use crate::drop_reason::DropReason;
use crate::leg::Taken;

/// How the datagrams of a batch have fared so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// No leg was tried: the rule has none that is live.
    NoLeg,
    /// Their TTL was used up on every leg tried so far.
    Ttl,
    /// Legs were tried, and took these of them.
    Tried(Taken),
}

impl Fate {
    /// How they fared with one leg more.
    pub fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Tried(some), Self::Tried(others)) => Self::Tried(Taken(some.0 | others.0)),
            (Self::Tried(taken), _) | (_, Self::Tried(taken)) => Self::Tried(taken),
            (Self::Ttl, _) | (_, Self::Ttl) => Self::Ttl,
            (Self::NoLeg, Self::NoLeg) => Self::NoLeg,
        }
    }
}

/// Datagrams of one rule that were sent one behind the other.
#[derive(Debug, Clone, Copy)]
struct Run {
    rule_slot: u32,
    matched: u64,
    relayed: u64,
    /// UDP payload of those relayed.
    bytes: u64,
}

/// The datagrams of one round.
#[derive(Debug)]
pub struct Round {
    runs: Vec<Run>,
    /// Frames that matched beyond one for each datagram.
    reassembled: u64,
    /// Frames dropped, by reason: before they matched, and after.
    drops: [u64; DropReason::ALL.len()],
    /// Those before.
    dropped: u64,
}

impl Round {
    /// Room for `capacity` batches.
    pub fn with_capacity(capacity: usize) -> Self {
        let drops = [0; DropReason::ALL.len()];
        Self { runs: Vec::with_capacity(capacity), reassembled: 0, drops, dropped: 0 }
    }

    /// Notes frames dropped before they matched.
    pub fn drop(&mut self, reason: DropReason, frames: u64) {
        self.drops[reason as usize] += frames;
        self.dropped += frames;
    }

    /// Notes that a datagram of this round came in so many frames more than one.
    pub fn reassembled(&mut self, frames: u64) {
        self.reassembled += frames;
    }

    /// Notes what became of a batch, all of which matched a rule.
    pub fn note(&mut self, rule_slot: u32, batch: &Batch, fate: Fate) {
        let matched = batch.count() as u64;
        let (reason, taken) = match fate {
            Fate::NoLeg => (DropReason::NoLeg, Taken::default()),
            Fate::Ttl => (DropReason::Ttl, Taken::default()),
            Fate::Tried(taken) => (DropReason::Egress, taken),
        };
        let relayed = u64::from(taken.0.count_ones());
        let bytes = if relayed == matched {
            batch.bytes(&(0..batch.count())).len()
        } else {
            let taken = (0..batch.count()).filter(|at| taken.0 >> at & 1 == 1);
            taken.map(|at| batch.bytes(&(at..at + 1)).len()).sum()
        };
        self.drops[reason as usize] += matched - relayed;
        match self.runs.last_mut().filter(|run| run.rule_slot == rule_slot) {
            Some(run) => {
                run.matched += matched;
                run.relayed += relayed;
                run.bytes += bytes as u64;
            }
            None => self.runs.push(Run { rule_slot, matched, relayed, bytes: bytes as u64 }),
        }
    }

    /// Counts everything and starts afresh; `held` fragments are left for a later round.
    pub fn settle(&mut self, counters: &Counters, held: u64) {
        let (mut matched, mut relayed) = (self.reassembled, 0);
        for run in &self.runs {
            matched += run.matched;
            relayed += run.relayed;
            counters.add_rule(run.rule_slot, RuleCounter::Matched, run.matched);
            counters.add_rule(run.rule_slot, RuleCounter::Relayed, run.relayed);
            counters.add_rule(run.rule_slot, RuleCounter::Bytes, run.bytes);
        }
        // Next to each other: a worker that dies in mid-round has counted none, and its successor counts all.
        counters.add_worker(WorkerCounter::Received, matched + self.dropped);
        counters.add_worker(WorkerCounter::Matched, matched);
        counters.add_worker(WorkerCounter::Relayed, relayed);
        counters.set_worker(WorkerCounter::Held, held);
        self.drops[DropReason::Reassembled as usize] += self.reassembled;
        let drops = DropReason::ALL.iter().zip(&mut self.drops).filter(|(_, frames)| **frames > 0);
        drops.for_each(|(reason, frames)| counters.add_dropped(*reason, std::mem::take(frames)));
        self.runs.clear();
        (self.reassembled, self.dropped) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Kept;
    use crate::sys::ring::Span;

    fn batch(lengths: &[u32]) -> Batch {
        let kept = Kept { source: None, source_port: 0, destination_port: 0, ttl: 0, traffic_class: 0 };
        let mut batch = Batch::default();
        for length in lengths {
            batch.take(&kept, Span::of_length(*length), usize::MAX).unwrap();
        }
        batch
    }

    #[test]
    fn each_datagram_counts_once_by_its_best_leg() {
        let (counters, _memory) = Counters::create(1).unwrap();
        let mut round = Round::with_capacity(4);
        let legs = |fates: &[Fate]| fates.iter().fold(Fate::NoLeg, |fate, leg| fate.or(*leg));
        let tried = |bits| Fate::Tried(Taken(bits));
        // Of three the first is taken by one leg and the last by another; then both refuse, or find the TTL used up.
        round.note(0, &batch(&[100, 100, 40]), legs(&[tried(0b001), tried(0b100)]));
        round.note(0, &batch(&[200]), legs(&[tried(0), Fate::Ttl]));
        round.note(0, &batch(&[300, 300]), legs(&[Fate::Ttl, Fate::Ttl]));
        round.note(0, &batch(&[400]), legs(&[]));
        round.settle(&counters, 0);
        let rule = |counter| counters.rule(0, counter);
        assert_eq!(
            (rule(RuleCounter::Matched), rule(RuleCounter::Relayed), rule(RuleCounter::Bytes)),
            (7, 2, 140)
        );
        let reasons = [DropReason::Egress, DropReason::Ttl, DropReason::NoLeg];
        assert_eq!(reasons.map(|reason| counters.dropped(reason)), [2, 2, 1]);
        assert_eq!(counters.worker(WorkerCounter::Received), 7);
        assert_eq!(counters.worker(WorkerCounter::Matched), 7);
        assert_eq!(counters.worker(WorkerCounter::Relayed), 2);
    }

    #[test]
    fn frames_are_counted_at_the_end_with_those_that_are_held() {
        let (counters, _memory) = Counters::create(1).unwrap();
        let mut round = Round::with_capacity(4);
        round.drop(DropReason::NoRule, 40);
        round.drop(DropReason::Malformed, 2);
        round.reassembled(44);
        round.note(0, &batch(&[65_507]), Fate::Tried(Taken(1)));
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
