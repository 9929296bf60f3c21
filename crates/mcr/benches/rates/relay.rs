//! MCR itself, known from within: its rules, its worker's process and its counters.

use std::time::Duration;

use anyhow::{Context as _, Result};
use mcr::api::model::Stats;
use testbed::{Netns, Programs, Relay, eventually};

use crate::cpu;
use crate::offer::RELAY_CORE;

const PROGRAMS: Programs =
    Programs { mcrd: env!("CARGO_BIN_EXE_mcrd"), mcrctl: env!("CARGO_BIN_EXE_mcrctl") };

const SOON: Duration = Duration::from_secs(30);

/// A running relay.
pub(crate) struct Mcr(Relay);

impl Mcr {
    /// Starts it with a rule file and one worker on core 1, and waits until its rules relay.
    pub(crate) fn start(netns: &Netns, file: &str) -> Result<Self> {
        Self::on_cores(netns, file, &RELAY_CORE.to_string())
    }

    /// The same with a worker on each of these cores.
    pub(crate) fn on_cores(netns: &Netns, file: &str, cores: &str) -> Result<Self> {
        let mcr = Self(Relay::start_with(PROGRAMS, netns, file, &["--cores", cores])?);
        mcr.wait_active();
        Ok(mcr)
    }

    pub(crate) fn wait_active(&self) {
        eventually(SOON, "every rule is active", || {
            let rules = self.0.ctl_json(&["list"]);
            rules.as_array().is_some_and(|rules| rules.iter().all(|rule| rule["state"] == "active"))
        });
    }

    /// Makes a rule file the running set, as an operator does.
    pub(crate) fn apply(&self, rules: &str) {
        self.0.ctl_ok(&["apply", &self.0.file("rules.toml", rules)]);
    }

    pub(crate) fn stats(&self) -> Result<Stats> {
        serde_json::from_value(self.0.stats()).context("mcrctl stats")
    }

    /// The daemon's process.
    pub(crate) fn pid(&mut self) -> u32 {
        self.0.daemon().pid()
    }

    /// The first worker's process.
    pub(crate) fn worker(&self) -> Result<u32> {
        Ok(self.stats()?.workers.first().context("no worker")?.pid)
    }

    /// What `work` answers, and what it costs the worker: its time on its core, that of the core's soft interrupt thread
    /// included, nanoseconds for each datagram it sent.
    pub(crate) fn ns_a_datagram<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<(T, f64)> {
        let (worker, softirqs) = (self.worker()?, cpu::softirq_thread(RELAY_CORE)?);
        let spent = || Ok::<_, anyhow::Error>(cpu::process(worker)? + cpu::process(softirqs)?);
        let (sent, before) = (self.stats()?.totals.sent, spent()?);
        let done = work()?;
        let (after, all_sent) = (spent()?, self.stats()?.totals.sent);
        Ok((done, (after - before).as_nanos() as f64 / (all_sent - sent) as f64))
    }
}
