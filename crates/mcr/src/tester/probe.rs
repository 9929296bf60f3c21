//! Probe packets, until every flow was seen at every output it has.

use std::fmt::Write as _;
use std::num::NonZeroU64;
use std::ops::Range;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::bed::{Bed, POLL};
use super::error::TesterError;
use super::listener::Damage;
use crate::generator::pacing::Rate;

/// Probe packets per second: four a second for each flow, within these.
const PROBES: Range<u64> = 100..5000;

/// How often each flow is probed, however many there are, before it is missing.
const PROBED: u64 = 2;

/// Flows named in an error.
const NAMED_MAX: usize = 6;

/// What became of probe packets.
pub(super) struct Probed {
    /// Flows that were not seen at an output of theirs, by name.
    pub(super) missing: Vec<String>,
    /// Flows at all outputs.
    pub(super) all: usize,
    /// Probes sent each second.
    rate: u64,
    /// How long they were sent at most.
    patience: Duration,
    /// What arrived instead.
    damage: Damage,
}

impl Bed {
    /// Sends a trickle until every flow was seen at every output it has.
    ///
    /// # Errors
    /// When some are not within `patience`, naming them; or an interruption.
    pub(super) fn probe(&mut self, patience: Duration) -> Result<(), TesterError> {
        let Probed { missing, all, rate, patience, damage } = self.probed(patience)?;
        if missing.is_empty() {
            return Ok(());
        }
        let hint = match damage {
            Damage { fragments: 0, bad_checksums: 0 } => {
                "does the device forward them, and does the set-up name the tester's addresses and ports?"
                    .to_owned()
            }
            Damage { fragments: 0, bad_checksums } => format!(
                "{bad_checksums} packets arrived with wrong checksums: a device that copies frames off a virtual link \
                 needs them filled in by the sender (`ethtool -K INTERFACE tx off`)"
            ),
            Damage { fragments, .. } => TesterError::Fragments(fragments).to_string(),
        };
        Err(TesterError::Silence {
            seconds: patience.as_secs_f64(),
            rate,
            missing: missing.len(),
            all,
            names: some_of(&missing),
            hint,
        })
    }

    /// The same, with what is missing.
    ///
    /// # Errors
    /// When a side fails; or an interruption.
    pub(super) fn probed(&mut self, patience: Duration) -> Result<Probed, TesterError> {
        let all: usize = self.spans()?.iter().flatten().map(Vec::len).sum();
        let rate = (4 * all as u64).clamp(PROBES.start, PROBES.end);
        let patience = patience.max(Duration::from_secs_f64((PROBED * self.flows()) as f64 / rate as f64));
        let offering = self.offer(Rate::PerSecond(NonZeroU64::MIN.saturating_add(rate - 1)), true)?;
        let until = Instant::now() + patience;
        while !self.missing()?.is_empty() && Instant::now() < until && self.check_stop().is_ok() {
            sleep(POLL);
        }
        // What is still on its way would be a stray of the trial that follows.
        let offered = offering.end()?;
        self.settle(&offered)?;
        self.check_stop()?;
        self.check_links()?;
        offered.check()?;
        let missing = self.missing()?;
        if !missing.is_empty() {
            offered.check_queues()?;
        }
        Ok(Probed { missing, all, rate, patience, damage: self.damage()? })
    }
}

/// The first of these names, and how many more there are.
pub(super) fn some_of(names: &[String]) -> String {
    let mut text = names.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > NAMED_MAX {
        // Writing to a text does not fail.
        let _ = write!(text, " and {} more", names.len() - NAMED_MAX);
    }
    text
}
