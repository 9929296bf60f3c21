//! What `--out` leaves in its folder: results.json, table.md and plots.

use std::fs;
use std::path::Path;

use super::error::TesterError;
use super::plots;
use super::report::{Report, Results};

/// Writes all of it, over what is there of an earlier run.
///
/// # Errors
/// When a file cannot be written.
pub(super) fn write(report: &Report<'_>, folder: &Path) -> Result<(), TesterError> {
    let json = folder.join("results.json");
    let mut text = serde_json::to_string_pretty(report)
        .map_err(|error| TesterError::Write(json.clone(), error.into()))?;
    text.push('\n');
    put(&json, &text)?;
    put(&folder.join("table.md"), &markdown(report))?;
    match &report.results {
        Results::Throughput(steps) => plots::throughput(&folder.join("throughput.svg"), steps),
        Results::Latency(steps) => plots::latency(folder, steps),
        Results::Join(_) | Results::Capacity(_) => Ok(()),
    }
}

fn markdown(report: &Report<'_>) -> String {
    let machine = &report.machine;
    let whole = if report.interrupted { "Interrupted: what was measured so far.\n\n" } else { "" };
    format!(
        "{whole}{}\n`{}`\n\nmcrgen {}{}, {}, {} cores, Linux {}, {}.\n",
        report.table().to_markdown(),
        report.command.join(" "),
        report.mcrgen,
        report.commit.map(|commit| format!(" ({commit})")).unwrap_or_default(),
        machine.cpu,
        machine.cores,
        machine.kernel,
        report.time
    )
}

fn put(path: &Path, text: &str) -> Result<(), TesterError> {
    fs::write(path, text).map_err(|error| TesterError::Write(path.to_owned(), error))
}
