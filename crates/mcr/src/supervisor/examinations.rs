//! Examinations of rules, each in a task of its own beside the supervisor's.

use std::sync::Arc;
use std::time::Duration;

use mcast::RuleName;
use tokio::sync::Semaphore;

use super::handle::{Answer, Refusal};
use super::running::Running;
use crate::api::model::Diagnosis;
use crate::doctor;

/// Examinations at once: each takes a packet ring and a copy of what it is about.
const EXAMINATIONS_MAX: usize = 4;

/// Those that may yet begin.
#[derive(Debug)]
pub struct Examinations(Arc<Semaphore>);

impl Default for Examinations {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(EXAMINATIONS_MAX)))
    }
}

impl Examinations {
    /// Begins one. Who asked hears of it when all was looked at; all others are served meanwhile.
    pub fn begin(
        &self,
        running: &mut Running,
        name: Option<&RuleName>,
        listen: Duration,
        answer: Answer<Diagnosis>,
    ) {
        let Ok(turn) = self.0.clone().try_acquire_owned() else {
            let busy = format!("{EXAMINATIONS_MAX} examinations are under way: try again in some seconds");
            return drop(answer.send(Err(Refusal::Conflict(busy))));
        };
        match running.case(name) {
            Ok(case) => drop(tokio::spawn(async move {
                drop(answer.send(doctor::examine(case, listen).await.map_err(Refusal::Failed)));
                drop(turn);
            })),
            Err(refused) => drop(answer.send(Err(refused))),
        }
    }
}
