//! How long the machine's cores were busy, whoever kept them so: a relay's work is partly done in soft interrupts, on
//! whichever core they come.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// The unit of `/proc/stat`: `USER_HZ` is 100 on every architecture that counts.
const TICK: Duration = Duration::from_millis(10);

/// Busy time of all cores since the machine started, of `/proc/stat` (proc(5)).
pub(crate) fn busy() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/stat").context("/proc/stat")?;
    let line = stat.lines().next().context("an empty /proc/stat")?;
    let ticks: Vec<u64> = line.split_whitespace().skip(1).map(str::parse).collect::<Result<_, _>>()?;
    // user nice system idle iowait irq softirq steal: all but waiting, and what others took from this machine.
    let busy = [0, 1, 2, 5, 6].iter().filter_map(|at| ticks.get(*at)).sum::<u64>();
    Ok(TICK * u32::try_from(busy)?)
}
