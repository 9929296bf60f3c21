//! When packets are due: an absolute schedule that neither drifts nor bunches.
//!
//! Packet n is due n / rate after the start, whatever delays earlier ones met; what is late leaves at once, up to 64
//! together. Above 100 kpps packets leave in bursts of up to 64 also in time, each due with its first packet; at or
//! below, singly. Time is an argument: sleeping is left to the caller.

use std::num::NonZeroU64;

/// Most packets one burst has.
pub const BURST_MAX: u64 = 64;

/// Up to this rate (packets per second) packets leave one by one.
const SINGLE_MAX_PPS: u64 = 100_000;

/// Bursts per second aimed at above that rate: one every 80 µs, and all of [`BURST_MAX`] from 800 kpps.
const BURSTS_PER_SECOND: u64 = 12_500;

const SECOND_NS: u64 = 1_000_000_000;

/// How fast packets are offered, all flows together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rate {
    /// Evenly, this many packets per second.
    PerSecond(NonZeroU64),
    /// As fast as they go.
    Max,
}

impl Rate {
    /// Whether packets leave in bursts rather than singly.
    pub fn has_bursts(self) -> bool {
        match self {
            Self::Max => true,
            Self::PerSecond(rate) => burst_size(rate) > 1,
        }
    }
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing before this time, nanoseconds on the caller's clock.
    WaitUntil(u64),
    /// Send this many packets.
    Send(u64),
    /// The limit is reached.
    Done,
}

/// The schedule of one run.
#[derive(Debug, Clone)]
pub struct Schedule {
    rate: Rate,
    start_ns: u64,
    burst_max: u64,
    limit: u64,
    offered: u64,
}

impl Schedule {
    /// A schedule whose first packet is due at `start_ns` and which ends after `limit` packets; bursts have up to
    /// `burst_max` packets and never more than [`BURST_MAX`].
    pub fn new(rate: Rate, start_ns: u64, burst_max: u64, limit: Option<u64>) -> Self {
        let burst_max = burst_max.clamp(1, BURST_MAX);
        Self { rate, start_ns, burst_max, limit: limit.unwrap_or(u64::MAX), offered: 0 }
    }

    /// What to do at `now_ns`. Packets in the answer count as offered.
    pub fn poll(&mut self, now_ns: u64) -> Step {
        if self.offered >= self.limit {
            return Step::Done;
        }
        let burst = match self.rate {
            Rate::Max => BURST_MAX,
            Rate::PerSecond(rate) => {
                let due = self.start_ns.saturating_add(offset_ns(self.offered, rate));
                if now_ns < due {
                    return Step::WaitUntil(due);
                }
                burst_size(rate).max(self.overdue(now_ns, rate)).min(BURST_MAX)
            }
        };
        let packets = burst.min(self.burst_max).min(self.limit - self.offered);
        self.offered += packets;
        Step::Send(packets)
    }

    /// How long the next packet has been due at `now_ns`, nanoseconds; 0 where there is no rate to be late for.
    pub fn lateness_ns(&self, now_ns: u64) -> u64 {
        match self.rate {
            Rate::Max => 0,
            Rate::PerSecond(rate) => {
                now_ns.saturating_sub(self.start_ns.saturating_add(offset_ns(self.offered, rate)))
            }
        }
    }

    /// Packets due at `now_ns` and not offered yet.
    fn overdue(&self, now_ns: u64, rate: NonZeroU64) -> u64 {
        let since = now_ns.saturating_sub(self.start_ns).saturating_add(1);
        packets_within(rate, since).saturating_sub(self.offered)
    }
}

/// How many packets at `rate` are due before `duration_ns` has passed: the count of a run of that length.
pub fn packets_within(rate: NonZeroU64, duration_ns: u64) -> u64 {
    let exact = u128::from(duration_ns) * u128::from(rate.get());
    u64::try_from(exact.div_ceil(u128::from(SECOND_NS))).unwrap_or(u64::MAX)
}

/// Packets that leave together at `rate`.
fn burst_size(rate: NonZeroU64) -> u64 {
    if rate.get() <= SINGLE_MAX_PPS { 1 } else { rate.get().div_ceil(BURSTS_PER_SECOND).min(BURST_MAX) }
}

/// When packet `n` is due after the start, nanoseconds, rounded down from the exact quotient.
fn offset_ns(n: u64, rate: NonZeroU64) -> u64 {
    u64::try_from(u128::from(n) * u128::from(SECOND_NS) / u128::from(rate.get())).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate(pps: u64) -> NonZeroU64 {
        NonZeroU64::new(pps).unwrap()
    }

    /// Runs a schedule on a clock that is always on time; returns (time, packets) of each send.
    fn run(pps: u64, limit: u64) -> Vec<(u64, u64)> {
        let mut schedule = Schedule::new(Rate::PerSecond(rate(pps)), 1000, BURST_MAX, Some(limit));
        let (mut now, mut sends) = (1000, Vec::new());
        loop {
            match schedule.poll(now) {
                Step::WaitUntil(due) => {
                    assert!(due > now);
                    now = due;
                }
                Step::Send(packets) => sends.push((now, packets)),
                Step::Done => return sends,
            }
        }
    }

    #[test]
    fn one_per_second() {
        assert_eq!(run(1, 3), [(1000, 1), (1_000_001_000, 1), (2_000_001_000, 1)]);
    }

    #[test]
    fn no_drift_at_a_rate_that_does_not_divide_a_second() {
        assert_eq!(run(3, 3_001).last(), Some(&(1000 + 1000 * SECOND_NS, 1)));
    }

    #[test]
    fn max_never_waits() {
        let mut schedule = Schedule::new(Rate::Max, 5, 1000, Some(100));
        let steps = [schedule.poll(0), schedule.poll(0), schedule.poll(0)];
        assert_eq!(steps, [Step::Send(64), Step::Send(36), Step::Done]);
    }

    #[test]
    fn a_smaller_burst_keeps_the_rate() {
        let mut schedule = Schedule::new(Rate::PerSecond(rate(1_000_000)), 0, 40, None);
        assert_eq!((schedule.poll(0), schedule.poll(0)), (Step::Send(40), Step::WaitUntil(40_000)));
    }

    #[test]
    fn a_late_sender_catches_up_in_bursts() {
        let mut schedule = Schedule::new(Rate::PerSecond(rate(1000)), 0, BURST_MAX, None);
        assert_eq!(schedule.lateness_ns(99_000_000), 99_000_000);
        let steps: Vec<_> = (0..3).map(|_| schedule.poll(99_000_000)).collect();
        assert_eq!(steps, [Step::Send(64), Step::Send(36), Step::WaitUntil(100_000_000)]);
        assert_eq!(schedule.lateness_ns(99_000_000), 0);
    }

    #[test]
    fn count_of_a_duration() {
        assert_eq!(packets_within(rate(1), 1), 1);
        assert_eq!(packets_within(rate(1000), SECOND_NS / 2), 500);
        assert_eq!(packets_within(rate(3), SECOND_NS), 3);
    }

    proptest! {
        #[test]
        fn evenly_spaced(pps in 1u64..3_000_000, limit in 1u64..500) {
            let sends = run(pps, limit);
            prop_assert_eq!(sends.iter().map(|s| s.1).sum::<u64>(), limit);
            let most = if pps <= 100_000 { 1 } else { 64 };
            prop_assert!(sends.iter().all(|s| s.1 <= most));
            for pair in sends.windows(2) {
                let gap = pair[1].0 - pair[0].0;
                let ideal = pair[0].1 * SECOND_NS / pps;
                prop_assert!(gap.abs_diff(ideal) <= 1, "{} after {}, ideal {}", gap, pair[0].0, ideal);
            }
        }
    }
}
