//! The log: `tracing` to standard error, as text or JSON, its levels changed while running.

use std::io::{self, Write};
use std::sync::{Arc, OnceLock};

use clap::ValueEnum;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use super::output::Output;

/// Levels at start.
const DEFAULT_DIRECTIVES: &str = "info";

/// How log lines are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A line of text an event.
    #[default]
    Text,
    /// A JSON object an event.
    Json,
}

/// The levels could not be changed.
#[derive(Debug, thiserror::Error)]
#[error(
    "log level {directives:?}: {why}; write LEVEL or TARGET=LEVEL, LEVEL one of off, error, warn, info, debug, trace"
)]
pub struct LevelError {
    directives: String,
    why: String,
}

/// The levels in force, and the way to change them.
#[derive(Debug)]
pub struct Levels {
    handle: reload::Handle<EnvFilter, Registry>,
    directives: String,
    lines: Lines,
}

/// Where a line of the log goes: straight to standard error, or by its thread once there is one.
#[derive(Debug, Clone, Default)]
struct Lines(Arc<OnceLock<Output>>);

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.0.get() {
            // One left out is counted there; one that cannot be written has nowhere left to be told of.
            Some(output) => drop(output.print(line)),
            None => io::stderr().write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Starts the log of this process.
pub fn start(format: LogFormat) -> Levels {
    let (filter, handle) = reload::Layer::new(EnvFilter::new(DEFAULT_DIRECTIVES));
    let lines = Lines::default();
    let writer = lines.clone();
    let writer = move || writer.clone();
    let layer = match format {
        LogFormat::Text => fmt::layer().with_writer(writer).with_ansi(false).boxed(),
        LogFormat::Json => fmt::layer().json().with_writer(writer).boxed(),
    };
    tracing_subscriber::registry().with(filter).with(layer).init();
    Levels { handle, directives: DEFAULT_DIRECTIVES.to_owned(), lines }
}

impl Levels {
    /// Has lines written by a thread from here on, which has the capabilities that the caller has now.
    ///
    /// # Errors
    /// Those of pthread_create(3).
    pub fn write_aside(&self) -> io::Result<()> {
        let output = Output::start("mcrd-log", io::stderr())?;
        // Set once: there is one daemon in a process.
        drop(self.lines.0.set(output));
        Ok(())
    }

    /// Lines left out since the last time, because nobody read them.
    pub fn left_out(&self) -> u64 {
        self.lines.0.get().map_or(0, Output::left_out)
    }

    /// Waits until all lines are written, or a reader that stalls has had its time.
    pub fn flush(&self) {
        if let Some(output) = self.lines.0.get() {
            output.flush();
        }
    }

    /// The levels in force, as directives.
    pub fn directives(&self) -> &str {
        &self.directives
    }

    /// Adds directives to those in force; one for the same target takes its place, a bare level all of them.
    pub fn set(&mut self, directives: &str) -> Result<(), LevelError> {
        let failed = |why: String| LevelError { directives: directives.to_owned(), why };
        let added = directives.trim();
        if added.is_empty() {
            return Err(failed("nothing is set".to_owned()));
        }
        let target = |directive: &str| directive.split_once('=').map(|(target, _)| target.to_owned());
        let mut merged: Vec<&str> = self.directives.split(',').collect();
        for directive in added.split(',').map(str::trim) {
            match target(directive) {
                // The filter would take any other word for a target, and silence all the rest.
                None if directive.parse::<LevelFilter>().is_err() => {
                    return Err(failed(format!("{directive:?} is no level")));
                }
                None => merged.clear(),
                Some(name) => merged.retain(|before| target(before).as_ref() != Some(&name)),
            }
            merged.push(directive);
        }
        let merged = merged.join(",");
        let filter = EnvFilter::try_new(&merged).map_err(|error| failed(error.to_string()))?;
        self.handle.reload(filter).map_err(|error| failed(error.to_string()))?;
        self.directives = merged;
        Ok(())
    }
}
