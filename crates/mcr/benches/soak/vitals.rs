//! What the relay's processes hold: memory and open files.

use std::fmt;
use std::fs;

use anyhow::{Context as _, Result, ensure};

use crate::place::{Place, number};

/// Share of the run after which all that is kept has been seen once.
const WARM_UP: usize = 5;
/// What an allocator may keep more of without anything growing.
const SLACK_KIB: u64 = 512;

/// At one rest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vitals {
    supervisor: Process,
    /// The last worker, which lives as long as the run.
    worker: Process,
}

#[derive(Clone, Copy, Debug)]
struct Process {
    /// Memory of its own: neither rings nor what is shared nor its program.
    anonymous_kib: u64,
    open_files: usize,
}

impl Vitals {
    pub(crate) fn of(place: &Place) -> Result<Self> {
        let stats = place.relay.stats();
        let worker = stats["workers"].as_array().and_then(|all| all.last()).context("a worker")?;
        Ok(Self { supervisor: Process::of(place.pid)?, worker: Process::of(number(worker, "pid"))? })
    }
}

impl Process {
    fn of(pid: u64) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).context("a process of the relay's")?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("RssAnon")?;
        let anonymous_kib = line.trim().trim_end_matches(" kB").parse()?;
        Ok(Self { anonymous_kib, open_files: fs::read_dir(format!("/proc/{pid}/fd"))?.count() })
    }
}

impl fmt::Display for Vitals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { supervisor, worker } = self;
        write!(
            f,
            "| mcrd {} KiB {} files, worker {} KiB {} files",
            supervisor.anonymous_kib, supervisor.open_files, worker.anonymous_kib, worker.open_files
        )
    }
}

/// After the first fifth nothing grows: the last half of the rest has no more than the first.
pub(crate) fn assert_flat(history: &[Vitals]) -> Result<()> {
    let warm = &history[history.len() / WARM_UP..];
    let (early, late) = warm.split_at(warm.len().div_ceil(2));
    flat("mcrd", early, late, |vitals| vitals.supervisor)?;
    flat("the worker", early, late, |vitals| vitals.worker)
}

fn flat(name: &str, early: &[Vitals], late: &[Vitals], of: impl Fn(&Vitals) -> Process) -> Result<()> {
    let most = |half: &[Vitals]| {
        let all = half.iter().map(&of);
        all.fold((0, 0), |(kib, files), one| (one.anonymous_kib.max(kib), one.open_files.max(files)))
    };
    let ((kib, files), (late_kib, late_files)) = (most(early), most(late));
    ensure!(late_kib <= kib + SLACK_KIB, "{name} grew from {kib} to {late_kib} KiB");
    ensure!(late_files <= files, "{name} had {files} files open, then {late_files}");
    Ok(())
}
