//! What a run answers with: the results, and all it takes to judge or repeat them.

use serde::Serialize;

use super::args::Bench;
use super::capacity::Capacity;
use super::error::TesterError;
use super::join::Delays;
use super::latency::Latencies;
use super::machine::{self, Machine};
use super::output;
use super::session::Cores;
use super::table::Table;
use super::throughput::Throughput;

/// The results of one run, by step.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Results {
    /// Of throughput, matrix and mixed.
    Throughput(Vec<Throughput>),
    /// Of latency.
    Latency(Vec<Latencies>),
    /// Of join.
    Join(Vec<Delays>),
    /// Of capacity.
    Capacity(Vec<Capacity>),
}

impl Results {
    /// Whether there are none, as before an interruption.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Throughput(steps) => steps.is_empty(),
            Self::Latency(steps) => steps.is_empty(),
            Self::Join(steps) => steps.is_empty(),
            Self::Capacity(steps) => steps.is_empty(),
        }
    }
}

/// One run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Version of this program.
    pub mcrgen: &'static str,
    /// The commit it was built from, where that is known.
    pub commit: Option<&'static str>,
    /// When it ended, UTC.
    pub time: String,
    /// Where.
    pub machine: Machine,
    /// The command line.
    pub command: Vec<String>,
    /// All options, with the defaults that were used; null or empty where this test has no use for one.
    pub settings: Bench,
    /// Where the tester's threads ran.
    pub cores: Cores,
    /// Whether a signal ended it early.
    pub interrupted: bool,
    /// What was measured.
    pub results: Results,
}

impl Report {
    /// What `options` came to.
    pub(super) fn new(
        options: Bench,
        commit: Option<&'static str>,
        cores: Cores,
        results: Results,
        interrupted: bool,
    ) -> Self {
        Self {
            mcrgen: env!("CARGO_PKG_VERSION"),
            commit,
            time: machine::now(),
            machine: Machine::this(),
            command: std::env::args_os().map(|part| part.to_string_lossy().into_owned()).collect(),
            settings: options,
            cores,
            interrupted,
            results,
        }
    }

    /// Whether each step has its result.
    pub fn is_whole(&self) -> bool {
        let whole = match &self.results {
            Results::Throughput(steps) => steps.iter().all(|step| step.error.is_none()),
            Results::Latency(steps) => steps.iter().all(|step| step.error.is_none()),
            Results::Join(steps) => steps.iter().all(|step| step.error.is_none()),
            Results::Capacity(steps) => steps.iter().all(|step| step.error.is_none()),
        };
        whole && !self.interrupted
    }

    /// Leaves all of it where `--out` says; nothing without it.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self) -> Result<(), TesterError> {
        self.settings.out.as_ref().map_or(Ok(()), |folder| output::write(self, folder))
    }

    /// The results for people, and what must be said of them.
    pub fn table(&self) -> Table {
        match &self.results {
            Results::Throughput(steps) => Table::of_throughput(&self.settings, steps),
            Results::Latency(steps) => Table::of_latency(&self.settings, steps),
            Results::Join(steps) => Table::of_join(&self.settings, steps),
            Results::Capacity(steps) => Table::of_capacity(&self.settings, steps),
        }
    }
}
