//! Full rate for minutes: neither the daemon nor its worker grows.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{Figures, one_rule};
use crate::offer::Offer;
use crate::place::{Egress, Place};
use crate::relay::Mcr;
use crate::results::Goal;
use crate::settings::{LARGE, Settings};

/// Looks taken while it lasts.
const LOOKS: u32 = 100;
/// Part of them after which all that is kept has been seen once.
const WARM_UP: usize = 5;
/// What an allocator may keep more of without anything growing, KiB.
const SLACK: f64 = 512.0;

/// What a process holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    /// Memory of its own: neither rings nor what is shared nor its program.
    anonymous_kib: f64,
    open_files: usize,
}

pub(super) fn measure(settings: &Settings, figures: &mut Figures) -> Result<()> {
    let place = Place::new(1, Egress::Cut)?;
    let mut mcr = Mcr::start(place.fan.relay(), &one_rule(&place.outputs("239.2.1.1")))?;
    let processes = [("mcrd", mcr.pid()), ("the worker", mcr.worker()?)];
    let mut looks: [Vec<Held>; 2] = [Vec::new(), Vec::new()];
    let offer = Offer::most(LARGE, settings.steady_s);
    let outcome = std::thread::scope(|scope| {
        let offering = scope.spawn(|| place.offer(offer));
        for _ in 0..LOOKS {
            std::thread::sleep(Duration::from_secs_f64(settings.steady_s / f64::from(LOOKS)));
            for (looks, (_, pid)) in looks.iter_mut().zip(processes) {
                looks.push(held(pid)?);
            }
        }
        offering.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    figures.note("steady: offered", "kpps", Goal::Shown, outcome.offered.pps() / 1000.0);
    let relayed = outcome.arrived as f64 / outcome.expected as f64;
    figures.note("steady: relayed, part of that", "ratio", Goal::Shown, relayed);
    let elsewhere = outcome.lost().abs_diff(mcr.stats()?.totals.buf_exhaust) as f64;
    figures.note("steady: lost, not counted in buf_exhaust", "packets", Goal::Most(0.0), elsewhere);
    for (looks, (name, _)) in looks.iter().zip(processes) {
        let warm = &looks[looks.len() / WARM_UP..];
        let (early, late) = warm.split_at(warm.len() / 2);
        let kib = |part: &[Held]| part.iter().map(|held| held.anonymous_kib).fold(0.0, f64::max);
        let files = |part: &[Held]| part.iter().map(|held| held.open_files as f64).fold(0.0, f64::max);
        figures.note(format!("steady: {name} grew"), "KiB", Goal::Most(SLACK), kib(late) - kib(early));
        figures.note(format!("steady: {name} opened"), "files", Goal::Most(0.0), files(late) - files(early));
    }
    Ok(())
}

fn held(pid: u32) -> Result<Held> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("a process of the relay's")?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("RssAnon")?;
    let anonymous_kib = line.trim().trim_end_matches(" kB").parse()?;
    Ok(Held { anonymous_kib, open_files: fs::read_dir(format!("/proc/{pid}/fd"))?.count() })
}
