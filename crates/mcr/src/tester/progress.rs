//! What the operator sees while it runs: a line on standard error for each trial.

use std::time::Duration;

use super::error::TesterError;
use super::trial::{Trial, TrialPlan, Verdict};
use crate::generator::pacing::Rate;

/// From this length on a trial is told when it begins.
const LONG: Duration = Duration::from_secs(5);

/// A trial that is about to be made, if it takes a while.
pub(super) fn begins(place: &str, plan: &TrialPlan) {
    if plan.duration < LONG {
        return;
    }
    let rate = match plan.rate {
        Rate::Max => "the most".to_owned(),
        Rate::PerSecond(pps) => format!("{pps} pps"),
    };
    eprintln!("{place}: offering {rate} for {} s", plan.duration.as_secs_f64());
}

/// A trial that was made.
pub(super) fn trial(place: &str, trial: &Trial) {
    let lost = match trial.counts.lost {
        0 => "nothing lost".to_owned(),
        lost => {
            let mut worst = String::new();
            if trial.worst_loss > trial.loss {
                worst = format!(", {} at the worst output", percent(trial.worst_loss));
            }
            format!("lost {lost} of {} ({}{worst})", trial.counts.expected, percent(trial.loss))
        }
    };
    let faults = trial.counts.faults();
    let faults = if faults.is_empty() { faults } else { format!(", {faults}") };
    let verdict = match (trial.verdict, &trial.reason) {
        (Verdict::Passed, _) => "passed".to_owned(),
        (Verdict::Lost, _) => "failed".to_owned(),
        (Verdict::Void, reason) => format!("void: {}", reason.as_deref().unwrap_or_default()),
    };
    eprintln!("{place}: {:.0} pps as {}: {lost}{faults}: {verdict}", trial.offered_pps, trial.path);
}

/// Anything else that was done.
pub(super) fn note(place: &str, text: &str) {
    eprintln!("{place}: {text}");
}

/// A step without a result.
pub(super) fn failure(place: &str, error: &TesterError) {
    eprintln!("{place}: {error}");
}

/// A part of one, in percent, with as many places as it takes to tell it from 0.
pub(super) fn percent(part: f64) -> String {
    let percent = part * 100.0;
    match percent {
        0.0 => "0 %".to_owned(),
        small if small < 0.001 => format!("{small:.1e} %"),
        small if small < 1.0 => format!("{small:.3} %"),
        large => format!("{large:.1} %"),
    }
}
