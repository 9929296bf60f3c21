//! What was measured: figures by quantity, their median and spread, what they must reach, and where it was.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use mcr::tester::figures::Spread;
use mcr::tester::machine::{Machine, now};
use mcr::tester::search::{Found, LimitedBy};
use mcr::tester::table::whole;
use serde::Serialize;

use crate::settings::Settings;

/// What is wanted of a quantity.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Goal {
    More,
    Less,
    /// No less than this, or it is missed.
    Least(f64),
    /// No more than this.
    Most(f64),
    /// Nothing: it explains others.
    Shown,
}

impl Goal {
    fn is_reached(self, value: f64) -> bool {
        match self {
            Self::Least(least) => value >= least,
            Self::Most(most) => value <= most,
            Self::More | Self::Less | Self::Shown => true,
        }
    }

    /// The limit as a table shows it; absent where there is none.
    fn limit(self) -> Option<String> {
        match self {
            Self::Least(least) => Some(format!(">= {}", figure(least))),
            Self::Most(most) => Some(format!("<= {}", figure(most))),
            Self::More | Self::Less | Self::Shown => None,
        }
    }
}

/// The figures of one quantity.
#[derive(Debug, Serialize)]
struct Quantity {
    what: String,
    unit: &'static str,
    goal: Goal,
    /// By what was measured, as an adapter's name: a figure a repeat, in the same order for all, with none where it
    /// failed. Absent: it cannot do that.
    measured: BTreeMap<String, Vec<Option<f64>>>,
    /// By the same: in how many of the repeats the tester was the limit.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    limited_by_tester: BTreeMap<String, usize>,
}

/// Everything measured, in the order in which it first was.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Results {
    quantities: Vec<Quantity>,
}

/// Where and how it was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Origin<'a> {
    machine: Machine,
    /// What `make` built; absent otherwise.
    commit: Option<&'static str>,
    time: String,
    settings: &'a Settings,
    /// Repeats that did not count, as the sender alone was too slow.
    not_counted: usize,
    /// Rows that were not finished, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    not_finished: Vec<String>,
    /// What was measured, by the programs' own names and versions.
    versions: Vec<String>,
}

impl<'a> Origin<'a> {
    pub(crate) fn here(settings: &'a Settings, not_counted: usize, versions: Vec<String>) -> Self {
        let commit = option_env!("MCR_COMMIT").filter(|commit| !commit.is_empty());
        let (machine, time, not_finished) = (Machine::this(), now(), Vec::new());
        Self { machine, commit, time, settings, not_counted, not_finished, versions }
    }

    /// With rows that were not finished, and why.
    pub(crate) fn without(self, not_finished: Vec<String>) -> Self {
        Self { not_finished, ..self }
    }

    fn markdown(&self) -> String {
        let Machine { cpu, cores, kernel } = &self.machine;
        let lacks: String = self.not_finished.iter().map(|row| format!("\nNot finished: {row}.\n")).collect();
        format!(
            "{} ({}); {cpu}, {cores} cores, Linux {kernel}; {}. {} repeats of {} s trials, {} more that did \
             not count.\n{lacks}",
            self.versions.join(", "),
            self.commit.unwrap_or("commit unknown"),
            self.time,
            self.settings.repeats,
            self.settings.trial_s,
            self.not_counted
        )
    }
}

impl Results {
    /// Notes one figure of one subject, in a repeat's own results: the only one of that quantity.
    pub(crate) fn note(
        &mut self,
        of: &str,
        what: impl Into<String>,
        unit: &'static str,
        goal: Goal,
        value: f64,
    ) {
        self.quantity(what.into(), unit, goal).measured.entry(of.to_owned()).or_default().push(Some(value));
    }

    /// Notes a rate that a search found, at `outputs` outputs together.
    pub(crate) fn note_rate(
        &mut self,
        of: &str,
        what: impl Into<String>,
        goal: Goal,
        outputs: u8,
        found: Found,
    ) {
        let what = what.into();
        self.note(of, what.clone(), "kpps", goal, f64::from(outputs) * found.pps / 1000.0);
        if found.limited_by == LimitedBy::Tester {
            *self.quantity(what, "kpps", goal).limited_by_tester.entry(of.to_owned()).or_default() += 1;
        }
    }

    /// Whether there is no figure.
    pub(crate) fn is_empty(&self) -> bool {
        self.quantities.is_empty()
    }

    fn quantity(&mut self, what: String, unit: &'static str, goal: Goal) -> &mut Quantity {
        let at = self.quantities.iter().position(|quantity| quantity.what == what).unwrap_or_else(|| {
            let (measured, limited_by_tester) = Default::default();
            self.quantities.push(Quantity { what, unit, goal, measured, limited_by_tester });
            self.quantities.len() - 1
        });
        &mut self.quantities[at]
    }

    /// Median and spread of one subject's figures.
    pub(crate) fn spread(&self, of: &str, what: &str) -> Option<Spread> {
        self.quantities.iter().find(|quantity| quantity.what == what)?.spread(of)
    }

    /// Whether the tester was the limit in most repeats, and so of the median.
    pub(crate) fn is_limited_by_tester(&self, of: &str, what: &str) -> bool {
        let Some(quantity) = self.quantities.iter().find(|quantity| quantity.what == what) else {
            return false;
        };
        let repeats = quantity.measured.get(of).into_iter().flatten().flatten().count();
        quantity.limited_by_tester.get(of).is_some_and(|limited| 2 * limited > repeats)
    }

    /// Adds another's figures, as those of the next repeats: who has none there lacks them, so that figures in the same
    /// place are of the same repeat.
    pub(crate) fn append(&mut self, other: Self) {
        for Quantity { what, unit, goal, measured, limited_by_tester } in other.quantities {
            let quantity = self.quantity(what, unit, goal);
            let before = quantity.repeats();
            for (of, values) in measured {
                let all = quantity.measured.entry(of).or_default();
                all.resize(before, None);
                all.extend(values);
            }
            let repeats = quantity.repeats();
            quantity.measured.values_mut().for_each(|all| all.resize(repeats, None));
            for (of, repeats) in limited_by_tester {
                *quantity.limited_by_tester.entry(of).or_default() += repeats;
            }
        }
    }

    /// A Markdown table with a column a subject: medians, with the spread in brackets. The best of `rivals` is bold.
    pub(crate) fn compared(&self, subjects: &[&str], rivals: &[&str]) -> String {
        let columns = "---|".repeat(subjects.len());
        let mut text = format!("| median (least to most) | {} |\n|---|{columns}\n", subjects.join(" | "));
        for quantity in &self.quantities {
            let cells: Vec<_> = subjects.iter().map(|subject| quantity.cell(subject, rivals)).collect();
            text += &format!("| {}, {} | {} |\n", quantity.what, quantity.unit, cells.join(" | "));
        }
        text + &self.legend()
    }

    /// A Markdown table of what one subject's figures are as parts of others', repeat by repeat. Loss is left out: there is
    /// mostly none to divide by.
    pub(crate) fn ratios(&self, of: &str, others: &[&str]) -> String {
        let columns = "---|".repeat(others.len());
        let mut text = format!("| {of}, as part of | {} |\n|---|{columns}\n", others.join(" | "));
        let compared =
            |quantity: &&Quantity| matches!(quantity.goal, Goal::More | Goal::Less) && quantity.unit != "%";
        for quantity in self.quantities.iter().filter(compared) {
            let cells: Vec<_> = others.iter().map(|other| quantity.ratio(of, other)).collect();
            text += &format!("| {} | {} |\n", quantity.what, cells.join(" | "));
        }
        text
    }

    /// What daggers mean, where there are any.
    fn legend(&self) -> String {
        let mut text = String::new();
        if self.quantities.iter().any(|quantity| !quantity.limited_by_tester.is_empty()) {
            text += "\n† In so many repeats the tester was the limit, not what was measured.\n";
        }
        let mut figures = self.quantities.iter().flat_map(|quantity| quantity.measured.values().flatten());
        if figures.any(Option::is_none) {
            text += "\n‡ In so many repeats it failed, so there is no figure.\n";
        }
        text
    }

    /// A Markdown table of one subject: what was reached, and what must be.
    pub(crate) fn judged(&self, of: &str) -> String {
        let mut text =
            "| what | median | least – most | must reach | |\n|---|---:|---:|---:|---|\n".to_owned();
        for quantity in &self.quantities {
            let Some(spread) = quantity.spread(of) else { continue };
            let Spread { median, min, max } = spread;
            let (limit, verdict) = quantity.verdict(median);
            text += &format!(
                "| {}, {} | {}{} | {} – {} | {limit} | {verdict} |\n",
                quantity.what,
                quantity.unit,
                figure(median),
                quantity.dagger(of),
                figure(min),
                figure(max)
            );
        }
        text + &self.legend()
    }

    /// The same for a terminal.
    pub(crate) fn lines(&self, of: &str) -> String {
        let line = |quantity: &Quantity| {
            let Spread { median, min, max } = quantity.spread(of)?;
            let (limit, verdict) = quantity.verdict(median);
            let what = format!("{}, {}", quantity.what, quantity.unit);
            let [median, min, max] = [median, min, max].map(figure);
            Some(format!("{what:<66} {median:>10} ({min} to {max})  {limit:>9}  {verdict}\n"))
        };
        self.quantities.iter().filter_map(line).collect()
    }

    /// What of one subject is missed.
    pub(crate) fn missed(&self, of: &str) -> Vec<&str> {
        let missed = |quantity: &&Quantity| {
            let median = quantity.spread(of).map(|spread| spread.median);
            median.is_some_and(|median| !quantity.goal.is_reached(median))
        };
        self.quantities.iter().filter(missed).map(|quantity| quantity.what.as_str()).collect()
    }

    /// Leaves `NAME.json` and `NAME.md` in a folder.
    pub(crate) fn write(&self, folder: &Path, name: &str, origin: &Origin<'_>, table: &str) -> Result<()> {
        #[derive(Serialize)]
        struct Document<'a> {
            #[serde(flatten)]
            origin: &'a Origin<'a>,
            #[serde(flatten)]
            results: &'a Results,
        }
        let json = serde_json::to_string_pretty(&Document { origin, results: self })? + "\n";
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(folder.join(format!("{name}.json")), json))
            .and_then(|()| {
                fs::write(folder.join(format!("{name}.md")), format!("{table}\n{}", origin.markdown()))
            })
            .with_context(|| format!("write the results to {}", folder.display()))
    }
}

impl Quantity {
    fn spread(&self, of: &str) -> Option<Spread> {
        let values: Vec<f64> = self.measured.get(of)?.iter().flatten().copied().collect();
        Spread::of(&values)
    }

    /// Those in which anybody has a figure.
    fn repeats(&self) -> usize {
        self.measured.values().map(Vec::len).max().unwrap_or_default()
    }

    fn verdict(&self, median: f64) -> (String, &'static str) {
        match self.goal.limit() {
            Some(limit) if self.goal.is_reached(median) => (limit, "PASS"),
            Some(limit) => (limit, "MISSED"),
            None => (String::new(), ""),
        }
    }

    fn cell(&self, of: &str, rivals: &[&str]) -> String {
        let Some(Spread { median, min, max }) = self.spread(of) else { return "–".to_owned() };
        let medians = rivals.iter().filter_map(|rival| self.spread(rival)).map(|spread| spread.median);
        let best = match self.goal {
            Goal::Less => medians.reduce(f64::min),
            Goal::More => medians.reduce(f64::max),
            _ => None,
        };
        let bold = rivals.contains(&of) && best == Some(median);
        let median = if bold { format!("**{}**", figure(median)) } else { figure(median) };
        format!("{median}{}{} ({} to {})", self.dagger(of), self.failures(of), figure(min), figure(max))
    }

    fn ratio(&self, of: &str, other: &str) -> String {
        let figures = |of: &str| self.measured.get(of).into_iter().flatten();
        let part = |(of, other): (&Option<f64>, &Option<f64>)| Some((*of)? / (*other)?);
        let parts: Vec<f64> = figures(of).zip(figures(other)).filter_map(part).collect();
        match Spread::of(&parts) {
            Some(Spread { median, min, max }) if median.is_finite() => {
                format!("{} ({} to {})", figure(median), figure(min), figure(max))
            }
            _ => "–".to_owned(),
        }
    }

    /// In how many repeats there is no figure.
    fn failures(&self, of: &str) -> String {
        let absent = self.measured.get(of).into_iter().flatten().filter(|value| value.is_none()).count();
        if absent > 0 { format!(" ‡{absent}") } else { String::new() }
    }

    /// In how many repeats the tester was the limit.
    fn dagger(&self, of: &str) -> String {
        self.limited_by_tester.get(of).map(|repeats| format!(" †{repeats}")).unwrap_or_default()
    }
}

/// Three significant digits at least, thousands apart.
fn figure(value: f64) -> String {
    match value.abs() {
        size if !size.is_finite() => "none".to_owned(),
        0.0 => "0".to_owned(),
        size if size < 0.01 => format!("{value:.5}"),
        size if size < 1.0 => format!("{value:.3}"),
        size if size < 10.0 => format!("{value:.2}"),
        size if size < 100.0 => format!("{value:.1}"),
        _ => whole(value),
    }
}
