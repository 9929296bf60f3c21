//! Throughput: aggregated (RFC 3918, section 4.3), over the number of groups (4.2), and beside unicast (4.1).

use serde::Serialize;

use super::bed::Bed;
use super::error::TesterError;
use super::figures::Spread;
use super::progress;
use super::search::{Found, LimitedBy, Next, Said, Search};
use super::session::Session;
use super::step::Step;
use super::trial::{Class, Counts, Trial, TrialPlan};
use crate::generator::tally::Latency;

/// One search.
#[derive(Debug, Clone, Serialize)]
pub struct Repeat {
    /// The most packets per second offered in a trial that passed.
    pub pps: f64,
    /// Why not more.
    pub limited_by: LimitedBy,
    /// All its trials in order.
    pub trials: Vec<Trial>,
}

/// The throughput of one step.
#[derive(Debug, Clone, Serialize)]
pub struct Throughput {
    /// Of what.
    #[serde(flatten)]
    pub step: Step,
    /// Packets per second offered, over the repeats; absent if there is no result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pps: Option<Spread>,
    /// Why not more, in the repeat of the median; where that is between two, `device` only where both found its limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limited_by: Option<LimitedBy>,
    /// Packets per second that arrived at all outputs together in those trials, their median.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forwarded_pps: Option<f64>,
    /// UDP payload offered at the median, megabits per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mbit_s: Option<f64>,
    /// How packets left.
    pub path: String,
    /// What arrived in all trials, those that failed included.
    pub counts: Counts,
    /// Trials that said nothing of the device.
    pub void_trials: usize,
    /// Each search.
    pub repeats: Vec<Repeat>,
    /// Trials of one that was ended before it found anything.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unfinished: Vec<Trial>,
    /// Why there is no result, or not all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Repeat {
    /// Whether it found anything: a tester that stood in the way before anything passed has no result.
    fn found(&self) -> bool {
        self.pps > 0.0 || self.limited_by == LimitedBy::Device
    }

    /// The trial that offered it.
    fn best(&self) -> Option<&Trial> {
        let passed = self.trials.iter().filter(|trial| trial.said() == Said::Passed);
        passed.max_by(|a, b| a.offered_pps.total_cmp(&b.offered_pps))
    }

    /// Packets per second that arrived in it, at all outputs together.
    fn forwarded_pps(&self) -> f64 {
        self.best().map_or(0.0, Trial::forwarded_pps)
    }
}

impl Throughput {
    /// Latencies of the trial that found the most.
    pub fn latency(&self) -> Option<Latency> {
        self.best().and_then(|trial| trial.latency_us)
    }

    /// Why it has none though packets came.
    pub fn untimed(&self) -> Option<&str> {
        self.best().and_then(|trial| trial.untimed.as_deref())
    }

    /// Repeats that its figures are of.
    pub fn counted(&self) -> usize {
        self.found().count()
    }

    /// How many of them had this limit.
    pub fn repeats_limited_by(&self, limit: LimitedBy) -> usize {
        self.found().filter(|repeat| repeat.limited_by == limit).count()
    }

    /// The longest that the device went on sending after a trial that counts, seconds; absent where it did not.
    pub fn drained_s(&self) -> Option<f64> {
        let drained = self.found().filter_map(|repeat| repeat.best()?.drained_s());
        drained.max_by(f64::total_cmp)
    }

    fn found(&self) -> impl Iterator<Item = &Repeat> {
        self.repeats.iter().filter(|repeat| repeat.found())
    }

    /// Packets per second of each class in that trial.
    pub fn class_pps(&self, class: Class) -> Option<f64> {
        let part = self.best()?.classes.iter().find(|part| part.class == class)?;
        Some(part.offered_pps)
    }

    fn best(&self) -> Option<&Trial> {
        self.repeats.iter().max_by(|a, b| a.pps.total_cmp(&b.pps))?.best()
    }
}

/// Measures all steps; on an interruption those so far.
pub(super) fn measure(session: &Session<'_>) -> Vec<Throughput> {
    let steps = session.steps();
    let mut results = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        let place = format!("[{}/{}] {step}", at + 1, steps.len());
        let (mut repeats, mut unfinished) = (Vec::new(), Vec::new());
        let error = searches(session, step, &place, &mut repeats, &mut unfinished).err();
        let interrupted = matches!(error, Some(TesterError::Interrupted));
        if let Some(error) = &error {
            progress::failure(&place, error);
        }
        if !(interrupted && repeats.is_empty() && unfinished.is_empty()) {
            results.push(summary(step, repeats, unfinished, error.as_ref()));
        }
        if interrupted {
            break;
        }
    }
    results
}

fn searches(
    session: &Session<'_>,
    step: &Step,
    place: &str,
    repeats: &mut Vec<Repeat>,
    trials: &mut Vec<Trial>,
) -> Result<(), TesterError> {
    let mut bed = session.ready(step)?;
    let wanted = session.options.repeat.get();
    for repeat in 1..=wanted {
        let place = if wanted > 1 { format!("{place}, repeat {repeat}/{wanted}") } else { place.to_owned() };
        let Found { pps, limited_by } = search(session, &mut bed, step, &place, trials)?;
        repeats.push(Repeat { pps, limited_by, trials: std::mem::take(trials) });
    }
    Ok(())
}

fn search(
    session: &Session<'_>,
    bed: &mut Bed,
    step: &Step,
    place: &str,
    trials: &mut Vec<Trial>,
) -> Result<Found, TesterError> {
    let mut search = Search::new(session.options.most, session.least(step));
    loop {
        match search.poll() {
            Next::Done(found) => {
                // A device that has ended meanwhile has no rate.
                if trials.iter().any(Trial::is_silent) {
                    bed.probe(session.options.wait)?;
                }
                return Ok(found);
            }
            Next::Try(rate) => {
                let accepted = session.options.loss.unwrap_or_default();
                let plan = TrialPlan { rate, duration: session.trial(), accepted, timed: false };
                progress::begins(place, &plan);
                let (trial, _) = bed.trial(plan)?;
                progress::trial(place, &trial);
                search.handle(trial.said(), trial.offered_pps);
                trials.push(trial);
            }
        }
    }
}

/// What the repeats of a step come to.
pub(super) fn summary(
    step: &Step,
    repeats: Vec<Repeat>,
    unfinished: Vec<Trial>,
    error: Option<&TesterError>,
) -> Throughput {
    let mut found: Vec<_> = repeats.iter().filter(|repeat| repeat.found()).collect();
    found.sort_by(|a, b| a.pps.total_cmp(&b.pps));
    let of_found = |rate: fn(&Repeat) -> f64| found.iter().map(|repeat| rate(repeat)).collect::<Vec<_>>();
    let pps = Spread::of(&of_found(|repeat| repeat.pps));
    let forwarded = Spread::of(&of_found(Repeat::forwarded_pps));
    let mut counts = Counts::default();
    let trials = || repeats.iter().flat_map(|repeat| &repeat.trials).chain(&unfinished);
    trials().for_each(|trial| counts.add(&trial.counts));
    let none = "no trial said anything of the device: see the trials' reasons";
    Throughput {
        step: step.clone(),
        pps,
        limited_by: limit_of_median(&found),
        forwarded_pps: forwarded.map(|forwarded| forwarded.median),
        mbit_s: pps.map(|pps| pps.median * step.size.mean() * 8.0 / 1e6),
        path: trials().last().map(|trial| trial.path.clone()).unwrap_or_default(),
        counts,
        void_trials: trials().filter(|trial| trial.said() == Said::Nothing).count(),
        error: error.map(ToString::to_string).or_else(|| pps.is_none().then(|| none.to_owned())),
        repeats,
        unfinished,
    }
}

/// What limited the one in the middle of repeats in ascending order, or either of the two.
fn limit_of_median(found: &[&Repeat]) -> Option<LimitedBy> {
    let middle = found.get(found.len().saturating_sub(1) / 2..=found.len() / 2)?;
    middle.iter().map(|repeat| repeat.limited_by).min_by_key(|limit| match limit {
        LimitedBy::Tester => 0,
        LimitedBy::Most => 1,
        LimitedBy::Device => 2,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tester::size::parse_sizes;

    fn of(repeats: &[(f64, LimitedBy)]) -> Throughput {
        let step =
            Step { size: parse_sizes("64").unwrap().remove(0), fanout: 1, groups: 1, unicast_share: None };
        let repeat = |&(pps, limited_by): &(f64, LimitedBy)| Repeat { pps, limited_by, trials: Vec::new() };
        summary(&step, repeats.iter().map(repeat).collect(), Vec::new(), None)
    }

    /// One repeat that was limited otherwise does not speak for all.
    #[test]
    fn the_limit_is_the_medians() {
        use LimitedBy::{Device, Most, Tester};
        let limit = |repeats: &[_]| of(repeats).limited_by;
        assert_eq!(limit(&[]), None);
        assert_eq!(limit(&[(992.0, Device), (985.0, Device), (4000.0, Most)]), Some(Device));
        assert_eq!(limit(&[(992.0, Device), (4000.0, Most), (4000.0, Most)]), Some(Most));
        assert_eq!(limit(&[(992.0, Device), (4000.0, Most)]), Some(Most), "the median is between the two");
        assert_eq!(limit(&[(5000.0, Most), (0.0, Tester)]), Some(Most), "one that found nothing has no say");
        assert_eq!(limit(&[(0.0, Device)]), Some(Device));
        let mixed = of(&[(992.0, Device), (985.0, Device), (4000.0, Most)]);
        assert_eq!([Device, Most, Tester].map(|limit| mixed.repeats_limited_by(limit)), [2, 1, 0]);
    }
}
