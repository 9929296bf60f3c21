//! Which sequence numbers of each flow have arrived: loss, duplication and reordering to the packet.
//!
//! A flow in order costs one comparison; what is missing is kept as ranges, so a gap of any length is one entry
//! and a late packet is told from a duplicate however late it is. Memory is bounded: past [`RANGES_MAX`] gaps
//! the oldest of the flow is given up, and a packet that still fills it counts as a duplicate.

use std::collections::BTreeMap;

use serde::Serialize;

/// Most gaps remembered over all flows, some 24 MB of them.
pub const RANGES_MAX: usize = 1 << 20;

/// One flow's line in a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct FlowReport {
    /// The sender's number of the flow.
    pub flow: u16,
    /// Intact packets, duplicates among them.
    pub received: u64,
    /// Sequence numbers that never arrived.
    pub lost: u64,
    /// Packets whose sequence number had arrived before.
    pub duplicated: u64,
    /// Packets that arrived after a higher sequence number (RFC 4737, section 3.3), duplicates not among them.
    pub reordered: u64,
}

/// All flows of a run.
#[derive(Debug)]
pub struct Ledger {
    flows: BTreeMap<u16, FlowLedger>,
    ranges: usize,
    ranges_max: usize,
    distinct: u64,
}

/// What is known of one flow.
#[derive(Debug)]
struct FlowLedger {
    /// The lowest sequence number seen, and the one after the highest.
    first: u64,
    next: u64,
    /// Ranges between the two that have not arrived: start to end, the end excluded.
    missing: BTreeMap<u64, u64>,
    distinct: u64,
    duplicated: u64,
    reordered: u64,
}

impl Default for Ledger {
    fn default() -> Self {
        Self { flows: BTreeMap::new(), ranges: 0, ranges_max: RANGES_MAX, distinct: 0 }
    }
}

impl Ledger {
    /// Enters an arrived packet.
    pub fn enter(&mut self, flow: u16, sequence: u64) {
        let entry = self.flows.entry(flow).or_insert_with(|| FlowLedger::starting_at(sequence));
        let (distinct, ranges) = (entry.distinct, entry.missing.len());
        entry.enter(sequence);
        self.distinct += entry.distinct - distinct;
        self.ranges = self.ranges + entry.missing.len() - ranges;
        if self.ranges > self.ranges_max && entry.missing.pop_first().is_some() {
            self.ranges -= 1;
        }
    }

    /// Packets entered whose sequence number was new.
    pub fn distinct(&self) -> u64 {
        self.distinct
    }

    /// A line for each flow. With `expected` packets sent over `flows` flows in turn, a flow's loss is what
    /// it lacks of its share, and flows that never arrived are listed; without, loss is the gaps.
    pub fn report(&self, flows: u16, expected: Option<u64>) -> Vec<FlowReport> {
        let share = |flow: u16| {
            let (flow, flows) = (u64::from(flow), u64::from(flows));
            expected.filter(|_| flow < flows).map(|all| all / flows + u64::from(flow < all % flows))
        };
        let silent =
            (0..flows).filter(|flow| expected.is_some() && !self.flows.contains_key(flow)).map(|flow| {
                let lost = share(flow).unwrap_or_default();
                FlowReport { flow, received: 0, lost, duplicated: 0, reordered: 0 }
            });
        let mut lines: Vec<_> = self
            .flows
            .iter()
            .map(|(flow, entry)| FlowReport {
                flow: *flow,
                received: entry.distinct + entry.duplicated,
                lost: share(*flow)
                    .map_or(entry.next - entry.first, |share| share)
                    .saturating_sub(entry.distinct),
                duplicated: entry.duplicated,
                reordered: entry.reordered,
            })
            .chain(silent)
            .collect();
        lines.sort_unstable_by_key(|line| line.flow);
        lines
    }
}

impl FlowLedger {
    fn starting_at(sequence: u64) -> Self {
        Self {
            first: sequence,
            next: sequence,
            missing: BTreeMap::new(),
            distinct: 0,
            duplicated: 0,
            reordered: 0,
        }
    }

    fn enter(&mut self, sequence: u64) {
        if sequence >= self.next {
            if sequence > self.next {
                self.missing.insert(self.next, sequence);
            }
            self.next = sequence + 1;
            self.distinct += 1;
        } else if sequence < self.first {
            if sequence + 1 < self.first {
                self.missing.insert(sequence + 1, self.first);
            }
            self.first = sequence;
            self.distinct += 1;
            self.reordered += 1;
        } else if self.fill(sequence) {
            self.distinct += 1;
            self.reordered += 1;
        } else {
            self.duplicated += 1;
        }
    }

    /// Takes `sequence` out of the missing ones; false if it was not among them.
    fn fill(&mut self, sequence: u64) -> bool {
        let Some((&start, &end)) = self.missing.range(..=sequence).next_back() else { return false };
        if sequence >= end {
            return false;
        }
        if start == sequence {
            self.missing.remove(&start);
        } else {
            self.missing.insert(start, sequence);
        }
        if sequence + 1 < end {
            self.missing.insert(sequence + 1, end);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn entered(sequences: &[u64]) -> FlowReport {
        let mut ledger = Ledger::default();
        sequences.iter().for_each(|sequence| ledger.enter(0, *sequence));
        ledger.report(1, None)[0]
    }

    fn line(received: u64, lost: u64, duplicated: u64, reordered: u64) -> FlowReport {
        FlowReport { flow: 0, received, lost, duplicated, reordered }
    }

    #[test]
    fn cases() {
        assert_eq!(entered(&[5, 6, 7]), line(3, 0, 0, 0));
        assert_eq!(entered(&[0, 3]), line(2, 2, 0, 0));
        assert_eq!(entered(&[0, 3, 1, 2]), line(4, 0, 0, 2));
        assert_eq!(entered(&[0, 3, 2, 2, 0]), line(5, 1, 2, 1));
        assert_eq!(entered(&[9, 5, 9, 7]), line(4, 2, 1, 2));
        assert_eq!(entered(&[0, 1 << 47]), line(2, (1 << 47) - 1, 0, 0));
    }

    #[test]
    fn shares_of_a_count() {
        let mut ledger = Ledger::default();
        for (flow, sequence) in [(0, 0), (0, 1), (0, 1), (2, 1), (9, 4)] {
            ledger.enter(flow, sequence);
        }
        let lost: Vec<_> = ledger.report(3, Some(7)).iter().map(|line| (line.flow, line.lost)).collect();
        assert_eq!(lost, [(0, 1), (1, 2), (2, 1), (9, 0)]);
        assert_eq!(ledger.distinct(), 4);
    }

    #[test]
    fn memory_is_bounded() {
        let mut ledger = Ledger { ranges_max: 100, ..Ledger::default() };
        (0..10_000).for_each(|n| ledger.enter(0, 2 * n));
        assert_eq!(ledger.ranges, 100);
        assert_eq!(ledger.report(1, None)[0], line(10_000, 9_999, 0, 0));
        ledger.enter(0, 1);
        assert_eq!(ledger.report(1, None)[0], line(10_001, 9_999, 1, 0), "too late to tell");
    }

    proptest! {
        /// Against a plain set of everything seen.
        #[test]
        fn agrees_with_a_set(sequences in prop::collection::vec(0u64..60, 1..120)) {
            let (mut seen, mut reordered, mut duplicated) = (BTreeSet::new(), 0, 0);
            for sequence in &sequences {
                let late = seen.last().is_some_and(|highest| sequence < highest);
                if !seen.insert(*sequence) {
                    duplicated += 1;
                } else if late {
                    reordered += 1;
                }
            }
            let span = seen.last().unwrap() - seen.first().unwrap() + 1;
            let expected = line(sequences.len() as u64, span - seen.len() as u64, duplicated, reordered);
            prop_assert_eq!(entered(&sequences), expected);
        }

        #[test]
        fn a_permutation_loses_nothing(order in Just((0u64..200).collect::<Vec<_>>()).prop_shuffle()) {
            let report = entered(&order);
            prop_assert_eq!((report.received, report.lost, report.duplicated), (200, 0, 0));
        }
    }
}
