//! `mcrgen bench`: measures a relay, router or switch by the methods of RFC 3918, in the terms of RFC 2432.
//!
//! One process owns both sides, each where wanted in a network namespace: it sends on one interface, receives on
//! others, and knows the device by its packets alone. [`session`] says what is varied, [`bed`] opens both sides for a
//! step and makes trials; [`search`] and [`climb`] decide what to try next, without input or output of their own.

mod actor;
pub mod args;
mod bed;
pub mod capacity;
pub mod climb;
mod command;
pub mod error;
pub mod fanout;
pub mod figures;
pub mod join;
mod late;
pub mod latency;
mod link;
mod listener;
pub mod machine;
mod mark;
mod offer;
mod output;
pub mod place;
pub mod plot;
mod plots;
mod probe;
mod progress;
mod queue;
pub mod report;
pub mod search;
pub mod session;
pub mod size;
pub mod step;
pub mod table;
mod tables;
pub mod throughput;
mod ticks;
pub mod trial;

use args::{Bench, Test};
use error::TesterError;
use report::{Report, Results};
use session::Session;

use crate::generator::stop::Stop;

/// Measures what `options` ask for; `commit` is what the program was built from. An interruption ends it with what was
/// measured so far.
///
/// # Errors
/// When nothing can be measured: the command line, or what it names.
pub fn run(options: &Bench, commit: Option<&'static str>, stop: &Stop) -> Result<Report, TesterError> {
    let mut options = options.with_defaults();
    place::unify(options.places_mut());
    let session = Session::new(&options, stop.clone())?;
    let results = match options.test {
        Test::Throughput | Test::Matrix | Test::Mixed => Results::Throughput(throughput::measure(&session)),
        Test::Latency => Results::Latency(latency::measure(&session)),
        Test::Join => Results::Join(join::measure(&session)),
        Test::Capacity => Results::Capacity(capacity::measure(&session)),
    };
    let cores = session.cores.clone();
    Ok(Report::new(options, commit, cores, results, stop.requested()))
}
