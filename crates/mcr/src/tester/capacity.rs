//! Multicast group capacity (RFC 3918, section 7.1): the most groups of which every packet is forwarded at a low rate.

use std::num::{NonZeroU16, NonZeroU64};

use serde::Serialize;

use super::climb::{self, Climb};
use super::error::TesterError;
use super::probe::{Probed, some_of};
use super::progress;
use super::search::{LimitedBy, Said};
use super::session::Session;
use super::step::Step;
use super::trial::{Counts, Trial, TrialPlan};
use crate::generator::pacing::Rate;

/// Packets per second of each group where no load is asked for.
const LOAD: u64 = 10;

/// How often a trial that says nothing is made again.
const AGAIN_MAX: u32 = 2;

/// One number of groups that was tried.
#[derive(Debug, Clone, Serialize)]
pub struct Attempt {
    /// How many.
    pub groups: u16,
    /// Whether all packets of all groups came.
    pub forwarded: bool,
    /// Whether the tester could not try so many: then it says nothing of the device.
    pub void: bool,
    /// Flows at outputs of which no probe came.
    pub missing: usize,
    /// What failed, if it was not forwarded or not tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The trials made.
    pub trials: Vec<Trial>,
}

impl Attempt {
    /// Whether all groups came through, and then packets were lost.
    pub(super) fn lost(&self) -> bool {
        self.trials.iter().any(|trial| trial.said() == Said::Lost)
    }

    /// Whether nothing came of any flow at `fanout` outputs, or the set-up refused it.
    fn is_silent(&self, fanout: u16) -> bool {
        let refused = self.trials.is_empty() && self.missing == 0;
        let missing = self.missing == usize::from(self.groups) * usize::from(fanout);
        !self.forwarded && !self.void && (refused || missing || self.trials.iter().any(Trial::is_silent))
    }
}

/// The capacity of one step.
#[derive(Debug, Clone, Serialize)]
pub struct Capacity {
    /// Of what; its number of groups is the result.
    #[serde(flatten)]
    pub step: Step,
    /// The fewest that were not all forwarded; absent if all were that could be tried.
    pub failed_at: Option<u16>,
    /// What failed there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Why not more; absent where it was ended before it was known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limited_by: Option<LimitedBy>,
    /// Packets per second of each group.
    pub load_pps: u64,
    /// All numbers tried, in order.
    pub attempts: Vec<Attempt>,
    /// Why there is no result, or not all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Measures all sizes and fan-outs; on an interruption those so far.
pub(super) fn measure(session: &Session<'_>) -> Vec<Capacity> {
    let mut steps = session.steps();
    // The list of groups is gone through within each.
    for step in &mut steps {
        step.groups = 0;
    }
    steps.dedup();
    let mut results = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        let place = format!("[{}/{}] {step}", at + 1, steps.len());
        let mut attempts = Vec::new();
        let found = search(session, step, &place, &mut attempts);
        if let Err(error) = &found {
            progress::failure(&place, error);
        }
        let interrupted = matches!(found, Err(TesterError::Interrupted));
        if !(interrupted && attempts.is_empty()) {
            results.push(summary(session, step, attempts, found.err()));
        }
        if interrupted {
            break;
        }
    }
    results
}

fn load(session: &Session<'_>) -> u64 {
    session.loads(LOAD).first().map_or(LOAD, |load| load.get())
}

fn search(
    session: &Session<'_>,
    step: &Step,
    place: &str,
    attempts: &mut Vec<Attempt>,
) -> Result<(), TesterError> {
    let list: Vec<_> = session.options.groups.iter().map(|groups| groups.get()).collect();
    let mut climb = Climb::new(list, session.groups_max(step.fanout)?);
    loop {
        match climb.poll() {
            climb::Step::Done(found) => return confirm(session, step, place, found.groups, attempts),
            climb::Step::Try(groups) => {
                let step = Step { groups, ..step.clone() };
                let attempt = attempt(session, &step, place)?;
                progress::note(place, &said(&attempt));
                let (forwarded, void) = (attempt.forwarded, attempt.void);
                attempts.push(attempt);
                if void {
                    return Ok(());
                }
                climb.handle(forwarded);
            }
        }
    }
}

/// Tries so many that passed again, where of more nothing at all came: a device that has ended meanwhile has no capacity.
fn confirm(
    session: &Session<'_>,
    step: &Step,
    place: &str,
    groups: u16,
    attempts: &mut Vec<Attempt>,
) -> Result<(), TesterError> {
    if groups == 0 || !attempts.iter().any(|attempt| attempt.is_silent(step.fanout)) {
        return Ok(());
    }
    let again = attempt(session, &Step { groups, ..step.clone() }, place)?;
    progress::note(place, &said(&again));
    let failed = again.why.clone().filter(|_| !again.void);
    attempts.push(again);
    failed.map_or(Ok(()), |why| {
        Err(TesterError::Unexpected(format!(
            "{groups} groups were all forwarded, and then not any more: {why}: is the device still there?"
        )))
    })
}

/// Whether all of so many groups are forwarded.
fn attempt(session: &Session<'_>, step: &Step, place: &str) -> Result<Attempt, TesterError> {
    let groups = step.groups;
    let failed = |missing, why, trials| {
        let why = Some(why);
        Attempt { groups, forwarded: false, void: false, missing, why, trials }
    };
    let mut bed = match session.open(step) {
        // A device that refuses so many has said that it cannot.
        Err(TesterError::Command { how, .. }) if groups > 1 => {
            return Ok(failed(0, format!("the set-up command {how}"), Vec::new()));
        }
        opened => opened?,
    };
    let Probed { missing, all, .. } = bed.probed(session.options.wait)?;
    if !missing.is_empty() {
        let why = format!("{} of {all} flows did not arrive: {}", missing.len(), some_of(&missing));
        return Ok(failed(missing.len(), why, Vec::new()));
    }
    let pps = NonZeroU64::from(NonZeroU16::new(groups).unwrap_or(NonZeroU16::MIN));
    let pps = pps.saturating_mul(NonZeroU64::new(load(session)).unwrap_or(NonZeroU64::MIN));
    let rate = Rate::PerSecond(pps);
    let plan = TrialPlan { rate, duration: session.trial(), accepted: 0.0, timed: false };
    let (mut trials, mut void) = (Vec::new(), 0);
    while trials.len() < session.options.repeat.get() as usize + void as usize {
        progress::begins(place, &plan);
        let (trial, _) = bed.trial(plan)?;
        if trial.said() == Said::Nothing {
            progress::trial(place, &trial);
        }
        let (said, reason) = (trial.said(), trial.reason.clone());
        let Counts { lost, expected, .. } = trial.counts;
        let lost = format!("{lost} of {expected} packets were lost at {pps} a second");
        trials.push(trial);
        match said {
            Said::Passed => {}
            Said::Lost => return Ok(failed(0, lost, trials)),
            Said::Nothing if void < AGAIN_MAX => void += 1,
            Said::Nothing => {
                return Ok(Attempt { void: true, ..failed(0, reason.unwrap_or_default(), trials) });
            }
        }
    }
    Ok(Attempt { groups, forwarded: true, void: false, missing: 0, why: None, trials })
}

fn said(attempt: &Attempt) -> String {
    match &attempt.why {
        Some(why) if attempt.void => format!("{} groups could not be tried: {why}", attempt.groups),
        Some(why) => format!("{} groups: {why}: failed", attempt.groups),
        None => format!("{} groups: all forwarded", attempt.groups),
    }
}

fn summary(
    session: &Session<'_>,
    step: &Step,
    attempts: Vec<Attempt>,
    error: Option<TesterError>,
) -> Capacity {
    let passed = attempts.iter().filter(|attempt| attempt.forwarded).map(|attempt| attempt.groups).max();
    let failed = |attempt: &&Attempt| !attempt.forwarded && !attempt.void;
    let fails = attempts.iter().filter(failed).min_by_key(|attempt| attempt.groups);
    let (failed_at, why) =
        (fails.map(|attempt| attempt.groups), fails.and_then(|attempt| attempt.why.clone()));
    let void = attempts.iter().find(|attempt| attempt.void);
    let limited_by = match (&error, failed_at) {
        _ if void.is_some() => Some(LimitedBy::Tester),
        (Some(_), _) => None,
        (None, Some(_)) => Some(LimitedBy::Device),
        (None, None) if !session.options.groups.is_empty() => Some(LimitedBy::Most),
        (None, None) => Some(LimitedBy::Tester),
    };
    // A tester that stood in the way of the first has no result.
    let untried = void.filter(|_| passed.is_none()).and_then(|attempt| attempt.why.clone());
    Capacity {
        step: Step { groups: passed.unwrap_or_default(), ..step.clone() },
        failed_at,
        why,
        limited_by,
        load_pps: load(session),
        attempts,
        error: error.map(|error| error.to_string()).or(untried),
    }
}
