//! How long cores were busy: all of them, whoever kept them so, as a relay's work is partly done in soft interrupts on
//! whichever core they come; or a single process.

use std::fs;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// The unit of `/proc/stat`: `USER_HZ` is 100 on every architecture that counts.
const TICK: Duration = Duration::from_millis(10);

/// All cores from here on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    at: Instant,
    idle: Duration,
}

impl Cores {
    pub(crate) fn now() -> Result<Self> {
        Ok(Self { at: Instant::now(), idle: idle()? })
    }

    /// Busy time of all cores since then: what was not idle, which the kernel knows exactly, unlike who was busy.
    pub(crate) fn busy(self) -> Result<Duration> {
        let cores = u32::try_from(available_parallelism()?.get())?;
        Ok((self.at.elapsed() * cores).saturating_sub(idle()?.saturating_sub(self.idle)))
    }
}

/// Idle time of all cores since the machine started (proc_stat(5)), with what other machines took from this one.
fn idle() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/stat").context("/proc/stat")?;
    let line = stat.lines().next().context("an empty /proc/stat")?;
    let ticks: Vec<u64> = line.split_whitespace().skip(1).map(str::parse).collect::<Result<_, _>>()?;
    // user nice system idle iowait irq softirq steal.
    let idle = [3, 4, 7].iter().filter_map(|at| ticks.get(*at)).sum::<u64>();
    Ok(TICK * u32::try_from(idle)?)
}

/// Time on a core of a process with one thread, soft interrupts that came in it included.
pub(crate) fn process(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/schedstat");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    let ns = text.split_whitespace().next().context("an empty schedstat")?.parse()?;
    Ok(Duration::from_nanos(ns))
}

/// The kernel's thread that takes a core's soft interrupts where there are too many for the process they come in.
pub(crate) fn softirq_thread(core: u8) -> Result<u32> {
    let name = format!("ksoftirqd/{core}");
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // Processes end while they are looked at.
        if fs::read_to_string(entry.path().join("comm")).is_ok_and(|comm| comm.trim() == name) {
            return Ok(pid);
        }
    }
    anyhow::bail!("no process {name}: soft interrupts are not to be seen here")
}
