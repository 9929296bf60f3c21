//! How the control interface reaches the supervisor: messages to its one task, an answer to each.

use std::time::Duration;

use mcast::{Rule, RuleName, SetError};
use tokio::sync::{mpsc, oneshot};

use crate::api::model::{Diagnosis, LogLevel, Plan, RuleStatus, Stats, WorkerStats};

/// Why the supervisor did not do what was asked; nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The request is wrong; the text says where and what to do.
    #[error("{0}")]
    Invalid(String),
    /// It collides with the running set.
    #[error("{0}")]
    Conflict(String),
    /// There is no such rule.
    #[error("no rule is named {0}: list shows those that run")]
    NotFound(RuleName),
    /// The daemon could not do it.
    #[error("{0}")]
    Failed(String),
}

impl Refusal {
    /// What a set of rules refuses: a collision with what runs, or a rule wrong in itself.
    pub fn of_set(error: &SetError) -> Self {
        match error {
            SetError::Rule { .. } | SetError::TooMany => Self::Invalid(error.to_string()),
            SetError::NameTaken(_)
            | SetError::InputTaken { .. }
            | SetError::Loop { .. }
            | SetError::Opposite { .. } => Self::Conflict(error.to_string()),
        }
    }
}

/// Where an answer goes.
pub type Answer<T> = oneshot::Sender<Result<T, Refusal>>;

/// One request to the supervisor.
#[derive(Debug)]
pub enum Request {
    /// All rules with their state, in the order of the running set.
    List(Answer<Vec<RuleStatus>>),
    /// One rule.
    Show(RuleName, Answer<RuleStatus>),
    /// Add a rule; with `replace`, in place of the one of that name.
    Add {
        /// The rule.
        rule: Rule,
        /// Whether a rule of the same name gives way.
        replace: bool,
        /// Where the answer goes.
        answer: Answer<RuleStatus>,
    },
    /// Remove a rule.
    Remove(RuleName, Answer<()>),
    /// Make a rule file's text the running set, whole or not at all.
    Apply {
        /// The file's text.
        text: String,
        /// Only say what would be done.
        dry_run: bool,
        /// Where the answer goes.
        answer: Answer<Plan>,
    },
    /// The running set as a rule file.
    Save(Answer<String>),
    /// All counters.
    Stats(Answer<Stats>),
    /// The workers.
    Workers(Answer<Vec<WorkerStats>>),
    /// Why rules do not relay: one, or as many as fit an answer.
    Doctor {
        /// The rule; absent: all.
        name: Option<RuleName>,
        /// How long arriving packets are listened to.
        listen: Duration,
        /// Where the answer goes.
        answer: Answer<Diagnosis>,
    },
    /// Set the log levels if given; answer those in force.
    LogLevel(Option<LogLevel>, Answer<LogLevel>),
}

/// The sending side, cloned into every connection.
pub type Handle = mpsc::Sender<Request>;
