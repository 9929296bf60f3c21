//! What a bench leaves behind that a signal ended: namespaces, and the relays in them.

use std::path::Path;
use std::process::{exit, id};
use std::thread::{Builder, sleep};
use std::time::Duration;

use anyhow::{Context as _, Result};
use mcr::generator::stop::Stop;
use testbed::netns;

/// What the names of all namespaces here begin with.
pub(crate) const PREFIX: &str = "rates";

/// How often it is looked whether a signal came.
const LOOK: Duration = Duration::from_millis(200);

/// As of a program that SIGINT ends.
const INTERRUPTED: i32 = 130;

/// Removes what those left that had no time to.
///
/// # Errors
/// When something cannot be removed: it would take part in what is measured.
pub(crate) fn sweep() -> Result<()> {
    let gone = |pid: u32| !Path::new(&format!("/proc/{pid}")).exists();
    let left = netns::sweep(PREFIX, gone).context("remove what an earlier bench left behind")?;
    if !left.is_empty() {
        eprintln!("bench: removed {} namespaces that an earlier one left behind", left.len());
    }
    Ok(())
}

/// From here on SIGINT and SIGTERM remove all that was made before they end the process; a second one ends it at once.
/// Answers what says that one came.
///
/// # Errors
/// When signals cannot be taken over.
pub(crate) fn remove_on_signal() -> Result<Stop> {
    let stop = Stop::on_signal().context("take over signals")?;
    let told = stop.clone();
    let watch = move || {
        while !told.requested() {
            sleep(LOOK);
        }
        eprintln!("bench: interrupted, no results are kept");
        if let Err(error) = netns::sweep(PREFIX, |pid| pid == id()) {
            eprintln!("bench: {error:#}");
        }
        exit(INTERRUPTED);
    };
    Builder::new().name("leftovers".into()).spawn(watch).context("a thread for signals")?;
    Ok(stop)
}
