//! Latency at given loads (RFC 3918, section 5; RFC 2544, section 26.2): from the send call to the arrival at each
//! output, all outputs and repeats together.

use serde::Serialize;

use super::args::LOAD;
use super::bed::Bed;
use super::error::TesterError;
use super::figures::Spread;
use super::progress;
use super::search::{AGAIN_MAX, Said};
use super::session::Session;
use super::step::Step;
use super::trial::{Counts, Trial, TrialPlan};
use crate::generator::pacing::Rate;
use crate::generator::tally::{Latency, latencies};

/// Latency at one load.
#[derive(Debug, Clone, Serialize)]
pub struct Latencies {
    /// Of what.
    #[serde(flatten)]
    pub step: Step,
    /// Packets per second asked for.
    pub load_pps: u64,
    /// Over all trials that were offered in full, microseconds; absent if nothing arrived in one.
    pub latency_us: Option<Latency>,
    /// The median of each such trial, over the repeats, microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_us: Option<Spread>,
    /// The 99th percentile of each, microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_us: Option<Spread>,
    /// How packets left.
    pub path: String,
    /// What arrived in all trials.
    pub counts: Counts,
    /// Trials that said nothing of the device.
    pub void_trials: usize,
    /// Each trial.
    pub trials: Vec<Trial>,
    /// Why there is no result, or not all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Measures all steps, each at all loads; on an interruption those so far.
pub(super) fn measure(session: &Session<'_>) -> Vec<Latencies> {
    let steps = session.steps();
    let mut results = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        let place = format!("[{}/{}] {step}", at + 1, steps.len());
        match session.ready(step) {
            Ok(mut bed) => loads(session, &mut bed, step, &place, &mut results),
            Err(TesterError::Interrupted) => {}
            Err(error) => {
                progress::failure(&place, &error);
                let loads = session.loads(LOAD);
                results.extend(loads.iter().map(|load| summary(step, load.get(), Vec::new(), Some(&error))));
            }
        }
        if session.stop.requested() {
            break;
        }
    }
    results
}

fn loads(session: &Session<'_>, bed: &mut Bed, step: &Step, place: &str, results: &mut Vec<Latencies>) {
    for load in session.loads(LOAD) {
        let mut trials = Vec::new();
        let mut failed = None;
        let (mut valid, mut again) = (0, 0);
        while valid < session.options.repeat.get() && again <= AGAIN_MAX {
            let rate = Rate::PerSecond(load);
            let plan = TrialPlan { rate, duration: session.trial(), accepted: 0.0, timed: true };
            progress::begins(place, &plan);
            match bed.trial(plan) {
                Ok((trial, times)) => {
                    progress::trial(place, &trial);
                    if trial.said() == Said::Nothing {
                        again += 1;
                    } else {
                        (valid, again) = (valid + 1, 0);
                    }
                    trials.push((trial, times));
                }
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        // A device that has ended meanwhile says nothing of its load.
        if failed.is_none() && trials.last().is_some_and(|(trial, _)| trial.said() == Said::Lost) {
            failed = bed.probe(session.options.wait).err();
        }
        let interrupted = matches!(failed, Some(TesterError::Interrupted));
        if !(interrupted && trials.is_empty()) {
            results.push(summary(step, load.get(), trials, failed.as_ref()));
        }
        if interrupted {
            return;
        }
    }
}

fn summary(
    step: &Step,
    load_pps: u64,
    trials: Vec<(Trial, hdrhistogram::Histogram<u64>)>,
    error: Option<&TesterError>,
) -> Latencies {
    let (mut counts, mut all) = (Counts::default(), latencies());
    let (mut p50, mut p99) = (Vec::new(), Vec::new());
    for (trial, times) in &trials {
        if trial.said() == Said::Nothing {
            continue;
        }
        counts.add(&trial.counts);
        // Both have the same bounds.
        let _ = all.add(times);
        p50.extend(trial.latency_us.map(|latency| latency.p50));
        p99.extend(trial.latency_us.map(|latency| latency.p99));
    }
    let latency_us = Latency::of(&all);
    let none = "no trial was offered in full and arrived: see the trials' reasons";
    let trials: Vec<_> = trials.into_iter().map(|(trial, _)| trial).collect();
    Latencies {
        step: step.clone(),
        load_pps,
        latency_us,
        p50_us: Spread::of(&p50),
        p99_us: Spread::of(&p99),
        path: trials.last().map(|trial| trial.path.clone()).unwrap_or_default(),
        counts,
        void_trials: trials.iter().filter(|trial| trial.said() == Said::Nothing).count(),
        error: error.map(ToString::to_string).or_else(|| latency_us.is_none().then(|| none.to_owned())),
        trials,
    }
}
