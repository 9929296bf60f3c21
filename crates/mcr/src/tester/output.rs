//! What `--out` leaves in its folder: results.json, table.md and plots.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

use super::args::{Bench, Test};
use super::error::TesterError;
use super::plots;
use super::report::{Report, Results};
use super::step::Step;
use crate::replace::replace;

const JSON: &str = "results.json";
const TABLE: &str = "table.md";
const THROUGHPUT: &str = "throughput.svg";

/// Makes the folder and tries whether all can be written there: better known now than after the measurement.
///
/// # Errors
/// When it cannot.
pub(super) fn check(options: &Bench, steps: &[Step]) -> Result<(), TesterError> {
    let Some(folder) = &options.out else { return Ok(()) };
    fs::create_dir_all(folder).map_err(|error| TesterError::Write(folder.clone(), error))?;
    let mut names = vec![JSON.to_owned(), TABLE.to_owned()];
    match options.test {
        Test::Throughput | Test::Matrix | Test::Mixed => names.push(THROUGHPUT.into()),
        Test::Latency => names.extend(steps.iter().map(plots::latency_name)),
        Test::Join | Test::Capacity => {}
    }
    for path in names.into_iter().map(|name| folder.join(name)) {
        can_write(&path).map_err(|error| TesterError::Write(path, error))?;
    }
    Ok(())
}

/// Whether a file can be written, without a change to one that is there.
fn can_write(path: &Path) -> io::Result<()> {
    match File::create_new(path) {
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            OpenOptions::new().write(true).open(path).map(drop)
        }
        Err(error) => Err(error),
    }
}

/// Writes all of it, each file whole, over what is there of an earlier run; what can be written is, also where
/// something else cannot. Nothing where nothing was measured before an interruption.
///
/// # Errors
/// When a file cannot be written: the first of them.
pub(super) fn write(report: &Report, folder: &Path) -> Result<(), TesterError> {
    if report.results.is_empty() {
        return Ok(());
    }
    let json = put_json(report, &folder.join(JSON));
    let table = put(&folder.join(TABLE), &markdown(report));
    let plots = match &report.results {
        Results::Throughput(steps) => plots::throughput(&folder.join(THROUGHPUT), steps),
        Results::Latency(steps) => plots::latency(folder, steps),
        Results::Join(_) | Results::Capacity(_) => Ok(()),
    };
    json.and(table).and(plots)
}

fn put_json(report: &Report, path: &Path) -> Result<(), TesterError> {
    let mut text = serde_json::to_string_pretty(report)
        .map_err(|error| TesterError::Write(path.to_owned(), error.into()))?;
    text.push('\n');
    put(path, &text)
}

fn markdown(report: &Report) -> String {
    let machine = &report.machine;
    let whole = if report.interrupted { "Interrupted: what was measured so far.\n\n" } else { "" };
    format!(
        "{whole}{}\n`{}`\n\nmcrgen {}{}, {}, {} cores, Linux {}, {}.\n",
        report.table().to_markdown(),
        command_line(&report.command),
        report.mcrgen,
        report.commit.map(|commit| format!(" ({commit})")).unwrap_or_default(),
        machine.cpu,
        machine.cores,
        machine.kernel,
        report.time
    )
}

/// As a shell takes it.
fn command_line(command: &[String]) -> String {
    shlex::try_join(command.iter().map(String::as_str)).unwrap_or_else(|_| command.join(" "))
}

fn put(path: &Path, text: &str) -> Result<(), TesterError> {
    replace(path, text.as_bytes()).map_err(|error| TesterError::Write(path.to_owned(), error))
}
