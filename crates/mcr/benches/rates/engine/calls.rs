//! System calls for a packet, counted by the kernel's tracepoint, and latency there.

use std::fs;
use std::num::NonZeroU32;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use testbed::Daemon;
use testbed::process::Signal;

use super::watch::Watch;
use super::{Figures, one_rule};
use crate::offer::Offer;
use crate::place::{Egress, Place};
use crate::relay::Mcr;
use crate::results::Goal;
use crate::settings::{LARGE, Settings};

const PPS: u64 = 300_000;

const CALLS_MOST: f64 = 0.15;
const P99_MOST_US: f64 = 300.0;

/// Of so many packets one is looked at: on one core with all of them the sender would wait for milliseconds.
const ONE_IN: NonZeroU32 = NonZeroU32::new(64).unwrap();

/// By then perf counts.
const ATTACHED: Duration = Duration::from_millis(500);

const SOON: Duration = Duration::from_secs(30);

pub(super) fn measure(settings: &Settings, figures: &mut Figures) -> Result<()> {
    let offer = Offer::at(PPS, LARGE, 2.0 * settings.trial_s);
    let cable = Watch::cable(offer, ONE_IN)?.quantile(0.99).as_secs_f64() * 1e6;
    let place = Place::new(1, Egress::Cut)?;
    let mcr = Mcr::start(place.fan.relay(), &one_rule(&place.outputs("239.2.1.1")))?;
    let counting = Counting::start(mcr.worker()?)?;
    let before = mcr.stats()?.totals.matched;
    let watch = Watch { port: &place.fan.receivers[0], group: "239.2.1.1", one_in: ONE_IN };
    let (outcome, arrivals) = watch.during(|| place.offer(offer))?;
    let packets = mcr.stats()?.totals.matched - before;
    let calls = counting.end()?;
    outcome.offered.in_full()?;
    let each = calls as f64 / packets as f64;
    figures.note("system calls a packet at 300 kpps", "calls", Goal::Most(CALLS_MOST), each);
    for (name, part, goal) in [("p50", 0.5, Goal::Shown), ("p99", 0.99, Goal::Most(P99_MOST_US))] {
        let latency = arrivals.quantile(part).as_secs_f64() * 1e6;
        figures.note(format!("latency {name} at 300 kpps"), "µs", goal, latency);
    }
    figures.note("latency p99 of a cable at 300 kpps", "µs", Goal::Shown, cable);
    figures.note("lost at 300 kpps", "packets", Goal::Most(0.0), outcome.lost() as f64);
    Ok(())
}

/// `perf stat` on a process.
struct Counting {
    perf: Daemon,
    output: tempfile::NamedTempFile,
}

impl Counting {
    fn start(pid: u32) -> Result<Self> {
        let output = tempfile::NamedTempFile::new().context("a file for perf")?;
        let mut command = Command::new("perf");
        command.args(["stat", "-x,", "-e", "raw_syscalls:sys_enter", "-p", &pid.to_string(), "-o"]);
        command.arg(output.path());
        let perf = Daemon::start("perf", command).context("perf (Debian's linux-perf)")?;
        std::thread::sleep(ATTACHED);
        Ok(Self { perf, output })
    }

    fn end(mut self) -> Result<u64> {
        self.perf.signal(Signal::INT);
        let _ = self.perf.wait(SOON);
        let text = fs::read_to_string(self.output.path()).context("what perf wrote")?;
        let line = text.lines().find(|line| line.contains("sys_enter"));
        let count = line.and_then(|line| line.split(',').next()?.parse().ok());
        count.with_context(|| format!("perf counts no system calls: {text}"))
    }
}
