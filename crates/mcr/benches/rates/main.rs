//! What MCR reaches, and where it stands beside other relays: on veth between namespaces, with the real binaries.
//!
//! `-- peers` compares and leaves results in bench/results, with exit code 1 where a relay failed; `-- engine` holds MCR to
//! its limits, with exit code 1 where one is missed. Both want root and end with code 2 where nothing can be measured.
//! Figures are medians of repeats, what is compared takes turns within each, and a repeat counts only where the sender
//! alone is fast enough.

mod adapter;
mod cpu;
mod engine;
mod leftovers;
mod offer;
mod peers;
mod place;
mod relay;
mod results;
mod settings;
mod tester;

use std::path::PathBuf;
use std::process::ExitCode;
use std::thread::available_parallelism;

use anyhow::{Result, ensure};
use settings::Settings;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` runs this too, without the word.
    if !words.iter().any(|word| word == "--bench") {
        return ExitCode::SUCCESS;
    }
    match measure(&words) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether everything is as it must be.
fn measure(words: &[String]) -> Result<bool> {
    let settings = Settings::from_env()?;
    engine::check(&settings.rows)?;
    testbed::available().map_err(anyhow::Error::msg)?;
    let cores = available_parallelism()?.get();
    ensure!(cores >= 2, "two cores are needed, one for the sender and one for the relay");
    leftovers::sweep()?;
    let stop = leftovers::remove_on_signal()?;
    let done = match words.first().map(String::as_str) {
        Some("peers") => peers::run(&settings, &stop),
        Some("engine") => engine::run(&settings, &stop),
        _ => Err(anyhow::Error::msg("say peers or engine")),
    };
    leftovers::remove_at_end(&stop);
    done
}

/// The bench's own folder, with adapters and results.
fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../bench"))
}
