//! How it is measured, from the environment, and which repeats count.

use std::env::var;
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
    /// When a value cannot be read.
    pub(crate) fn from_env() -> Result<Self> {
        let rows = var("ROWS").unwrap_or_default();
        Ok(Self {
            repeats: setting("BENCH_REPEATS", 5)?,
            trial_s: setting("BENCH_TRIAL", 2.0)?,
            sender_least_pps: setting("BENCH_SENDER_PPS", 450_000.0)?,
            steady_s: setting("BENCH_STEADY_SECONDS", 600.0)?,
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

fn setting<T: FromStr>(name: &str, default: T) -> Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    match var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name}={text}")),
        Err(_) => Ok(default),
    }
}
