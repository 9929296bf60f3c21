//! The highest rate without too much loss, by bisection (RFC 2544, section 26.1): which rate to try next, and when
//! it is found.
//!
//! The first trial offers the most there is. A trial that says nothing of the device is made again twice; then the
//! tester itself is the limit at that rate. Trials are somebody else's to make.

use std::num::NonZeroU64;

use serde::Serialize;

use super::offer::OFFER_LEAST;
use crate::generator::pacing::Rate;

/// A search ends when its bounds are this much of the upper one apart.
pub const RESOLUTION: f64 = 0.01;

/// How often a trial that says nothing is made again.
pub(super) const AGAIN_MAX: u32 = 2;

/// What a trial said of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// It forwarded what was offered.
    Passed,
    /// It did not.
    Lost,
    /// Nothing: the tester could not offer or count it.
    Nothing,
}

/// Why nothing higher was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LimitedBy {
    /// The device lost packets.
    Device,
    /// The tester could not offer or count more.
    Tester,
    /// The operator wanted no more.
    Most,
}

/// What a search found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Found {
    /// The most packets per second offered in a trial that passed; 0 if none did.
    pub pps: f64,
    /// Why not more.
    pub limited_by: LimitedBy,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Next {
    /// Make a trial at this rate.
    Try(Rate),
    /// It is found.
    Done(Found),
}

/// One search.
#[derive(Debug)]
pub struct Search {
    most: Option<NonZeroU64>,
    /// Below this rate (packets per second) a trial has too few packets to say anything.
    least: u64,
    /// The highest rate asked for that passed.
    low: u64,
    /// The most offered in a trial that passed.
    offered: f64,
    /// The lowest that did not.
    high: Option<(u64, LimitedBy)>,
    again: u32,
    done: Option<Found>,
}

impl Search {
    /// A search up to `most` packets per second, or up to all the tester can offer, and down to `least`.
    pub fn new(most: Option<NonZeroU64>, least: u64) -> Self {
        Self { most, least: least.max(1), low: 0, offered: 0.0, high: None, again: 0, done: None }
    }

    /// The next trial, or what was found.
    pub fn poll(&self) -> Next {
        if let Some(found) = self.done {
            return Next::Done(found);
        }
        match (self.high, self.most) {
            (None, None) => Next::Try(Rate::Max),
            (None, Some(most)) => Next::Try(Rate::PerSecond(most)),
            (Some((high, limited_by)), _) => match self.middle(high) {
                Some(rate) => Next::Try(Rate::PerSecond(rate)),
                None => Next::Done(Found { pps: self.offered, limited_by }),
            },
        }
    }

    /// Enters what the trial last asked for said, with the packets per second it really offered.
    pub fn handle(&mut self, said: Said, offered: f64) {
        let asked = match self.poll() {
            Next::Done(_) => return,
            Next::Try(Rate::PerSecond(rate)) => rate.get(),
            Next::Try(Rate::Max) => offered as u64,
        };
        // Of what could not be offered it says no more than of what was.
        let tried =
            if offered < OFFER_LEAST * asked as f64 { (offered as u64).max(self.low + 1) } else { asked };
        match said {
            Said::Passed => {
                (self.low, self.offered) = (asked, self.offered.max(offered));
                if self.high.is_none() {
                    self.done = Some(Found { pps: offered, limited_by: self.limit_of_offer(offered) });
                }
            }
            Said::Lost => self.high = Some((tried, LimitedBy::Device)),
            Said::Nothing if self.again < AGAIN_MAX => {
                self.again += 1;
                return;
            }
            Said::Nothing => self.high = Some((tried, LimitedBy::Tester)),
        }
        self.again = 0;
    }

    /// Why no more was offered than in a first trial that passed.
    fn limit_of_offer(&self, offered: f64) -> LimitedBy {
        match self.most {
            Some(most) if offered >= OFFER_LEAST * most.get() as f64 => LimitedBy::Most,
            _ => LimitedBy::Tester,
        }
    }

    /// The rate between the bounds; absent when they are close enough, or too low.
    fn middle(&self, high: u64) -> Option<NonZeroU64> {
        let middle = self.low.midpoint(high).max(self.least);
        let close = (high - self.low.min(high)) as f64 <= RESOLUTION * high as f64;
        NonZeroU64::new(middle).filter(|middle| !close && self.low < middle.get() && middle.get() < high)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A device that forwards up to `device` and a tester that offers up to `tester`; a trial for which `void` says
    /// so says nothing. Returns what is found and the number of trials.
    fn run(most: Option<u64>, device: u64, tester: u64, mut void: impl FnMut(u64) -> bool) -> (Found, u32) {
        let mut search = Search::new(most.and_then(NonZeroU64::new), 10);
        for trials in 0.. {
            let rate = match search.poll() {
                Next::Done(found) => return (found, trials),
                Next::Try(Rate::Max) => tester,
                Next::Try(Rate::PerSecond(rate)) => rate.get(),
            };
            let offered = rate.min(tester);
            let said = match () {
                () if offered > device => Said::Lost,
                () if offered < rate || void(rate) => Said::Nothing,
                () => Said::Passed,
            };
            search.handle(said, offered as f64);
        }
        unreachable!()
    }

    #[test]
    fn the_first_trial_is_the_most() {
        let never = |_| false;
        let limit = |found: Found| (found.pps as u64, found.limited_by);
        assert_eq!(Search::new(None, 1).poll(), Next::Try(Rate::Max));
        let (found, trials) = run(None, 2_000_000, 900_000, never);
        assert_eq!((limit(found), trials), ((900_000, LimitedBy::Tester), 1));
        let (found, trials) = run(Some(1000), 2_000_000, 900_000, never);
        assert_eq!((limit(found), trials), ((1000, LimitedBy::Most), 1));
    }

    #[test]
    fn a_device_that_forwards_nothing() {
        let (found, trials) = run(None, 0, 1_000_000, |_| false);
        assert_eq!((found.pps, found.limited_by), (0.0, LimitedBy::Device));
        assert!(trials < 25, "{trials}");
    }

    #[test]
    fn what_says_nothing_is_tried_again_and_then_the_testers_limit() {
        let mut voids = 0;
        let (found, _) = run(None, 500_000, 1_000_000, |_| {
            voids += 1;
            voids <= AGAIN_MAX
        });
        assert!(found.limited_by == LimitedBy::Device && found.pps > 490_000.0, "{found:?}");
        let (found, _) = run(None, 1_000_000, 900_000, |rate| rate > 100_000);
        assert!(found.limited_by == LimitedBy::Tester && found.pps > 99_000.0, "{found:?}");
    }

    /// The rate found is the one that was really offered, not the one asked for.
    #[test]
    fn the_offer_counts() {
        for (offered, limited_by) in [(985.5, LimitedBy::Most), (905.0, LimitedBy::Tester)] {
            let mut search = Search::new(NonZeroU64::new(1000), 1);
            search.handle(Said::Passed, offered);
            assert_eq!(search.poll(), Next::Done(Found { pps: offered, limited_by }));
        }
    }

    /// Of what passed, though more was asked for when less was offered.
    #[test]
    fn the_most_that_was_offered_is_found() {
        let mut search = Search::new(NonZeroU64::new(1000), 1);
        for (said, offered) in [(Said::Lost, 1000.0), (Said::Passed, 500.0), (Said::Passed, 495.0)] {
            search.handle(said, offered);
        }
        while let Next::Try(_) = search.poll() {
            search.handle(Said::Lost, 0.0);
        }
        assert_eq!(search.poll(), Next::Done(Found { pps: 500.0, limited_by: LimitedBy::Device }));
    }

    /// What the tester cannot offer is not gone through by halves.
    #[test]
    fn a_most_beyond_the_tester_costs_no_trials() {
        for device in [300_000, 2_000_000] {
            let (found, trials) = run(Some(u64::MAX), device, 600_000, |_| false);
            assert!(found.pps >= device.min(600_000) as f64 * 0.98 && trials < 15, "{found:?} {trials}");
        }
    }

    proptest! {
        #[test]
        fn finds_the_devices_rate(device in 10u64..2_000_000, tester in 1_000u64..1_500_000) {
            let (found, trials) = run(None, device, tester, |_| false);
            let most = device.min(tester) as f64;
            prop_assert!(found.pps <= most && found.pps >= most * (1.0 - 1.01 * RESOLUTION) - 10.0,
                "{:?} of {}", found, most);
            prop_assert_eq!(found.limited_by == LimitedBy::Device, device < tester);
            prop_assert!(trials <= 30);
        }

        /// Whatever trials say, a search ends, and never above what passed.
        #[test]
        fn ends_whatever_is_said(said in prop::collection::vec(0u8..3, 200), most in prop::option::of(1u64..1 << 40)) {
            let mut search = Search::new(most.and_then(NonZeroU64::new), 10);
            let mut passed: f64 = 0.0;
            let mut ended = false;
            for said in said {
                let offered = match search.poll() {
                    Next::Done(found) => {
                        prop_assert!(found.pps <= passed);
                        ended = true;
                        break;
                    }
                    Next::Try(Rate::Max) => 1e6,
                    Next::Try(Rate::PerSecond(rate)) => rate.get() as f64,
                };
                let said = [Said::Passed, Said::Lost, Said::Nothing][usize::from(said)];
                if said == Said::Passed {
                    passed = passed.max(offered);
                }
                search.handle(said, offered);
            }
            prop_assert!(ended);
        }
    }
}
