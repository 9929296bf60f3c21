//! How it is measured, from the environment, and which repeats count.

use std::env::{var, var_os};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use serde::Serialize;

use crate::cpu::Cores;
use crate::offer::{Offer, Short};
use crate::place::Cable;

/// UDP payload of video over RTP, and of market data.
pub(crate) const LARGE: u64 = 1400;
pub(crate) const SMALL: u64 = 200;

/// How long is looked at what else the machine does.
const LOOK: Duration = Duration::from_millis(500);

/// In less than the least nothing shows; a search of more than the most would be taken for one that hangs.
const TRIAL_S: RangeInclusive<f64> = 0.1..=60.0;
const STEADY_S: RangeInclusive<f64> = 1.0..=1_000_000.0;

/// No sender makes more.
const SENDER_MOST_PPS: f64 = 1e9;

/// What the environment may change.
#[derive(Debug, Serialize)]
pub(crate) struct Settings {
    /// `BENCH_REPEATS`: measurements of each kind that count.
    pub(crate) repeats: usize,
    /// `BENCH_TRIAL`: seconds that each offer lasts.
    pub(crate) trial_s: f64,
    /// `BENCH_SENDER_PPS`: packets a second that the sender must reach with nobody listening for a repeat to count.
    pub(crate) sender_least_pps: f64,
    /// `BENCH_STEADY_SECONDS`: how long full rate is kept up.
    pub(crate) steady_s: f64,
    /// `ROWS`: which of the engine's rows; empty: all.
    pub(crate) rows: Vec<String>,
}

impl Settings {
    /// # Errors
    /// When a value cannot be read, or nothing could be measured by it.
    pub(crate) fn from_env() -> Result<Self> {
        let rows = var("ROWS").unwrap_or_default();
        Ok(Self {
            repeats: setting("BENCH_REPEATS", "a whole number", 5, 1..=1_000)?,
            trial_s: setting("BENCH_TRIAL", "seconds", 1.0, TRIAL_S)?,
            sender_least_pps: setting(
                "BENCH_SENDER_PPS",
                "packets a second",
                450_000.0,
                0.0..=SENDER_MOST_PPS,
            )?,
            steady_s: setting("BENCH_STEADY_SECONDS", "seconds", 600.0, STEADY_S)?,
            rows: rows.split([',', ' ']).filter(|row| !row.is_empty()).map(str::to_owned).collect(),
        })
    }

    /// Calls `once` as often as repeats are wanted, each time after the sender has shown that it can offer enough; hands
    /// back how often it could not, then or in `once`.
    ///
    /// # Errors
    /// When that was so as often as repeats are wanted, or what else `once` answers.
    pub(crate) fn repeat(&self, mut once: impl FnMut() -> Result<()>) -> Result<usize> {
        let (mut counted, mut not_counted) = (0, 0);
        while counted < self.repeats {
            let done = self.sender_alone(counted + 1).and_then(|()| unwound(&mut once));
            match done {
                Ok(()) => counted += 1,
                Err(error) if error.is::<Short>() => {
                    eprintln!("    does not count: {error}");
                    not_counted += 1;
                }
                Err(error) => return Err(error),
            }
            ensure!(
                not_counted <= self.repeats,
                "the sender was too slow {not_counted} times: this machine is too slow or too busy"
            );
        }
        Ok(not_counted)
    }

    fn sender_alone(&self, repeat: usize) -> Result<()> {
        let before = Cores::now()?;
        std::thread::sleep(LOOK);
        let busy = 100.0 * before.busy()?.as_secs_f64() / LOOK.as_secs_f64();
        let cable = Cable::new()?;
        let offered = Offer::most(LARGE, 1.0).send(&cable.near)?.pps();
        eprintln!(
            "  repeat {repeat} of {}: the sender to nobody makes {offered:.0} pps; others take {busy:.0} % of a core",
            self.repeats
        );
        ensure!(offered >= self.sender_least_pps, Short { offered });
        Ok(())
    }
}

/// What `work` answers, where the test bed panics in it as an error: other measurements go on.
pub(crate) fn unwound<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(anyhow!("{}", text.unwrap_or("panicked")))
    })
}

/// A variable's value, or the default where it is not set; `kind` is what it is to be in an operator's words.
fn setting<T>(name: &str, kind: &str, default: T, allowed: RangeInclusive<T>) -> Result<T>
where
    T: FromStr + PartialOrd + Display,
{
    let Some(text) = var_os(name) else { return Ok(default) };
    let text = text.to_string_lossy();
    // No range holds what is not a number.
    let value = text.trim().parse().ok().filter(|value| allowed.contains(value));
    value.with_context(|| {
        format!("{name} is {text:?}: give {kind} from {} to {}", allowed.start(), allowed.end())
    })
}
