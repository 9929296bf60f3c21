//! A relay under steady traffic that is disturbed all the time: rules come, change and go, links flap, a worker is
//! killed. At the end of each minute traffic rests and every ledger has to agree, to the packet, with an outside
//! sender and two outside receivers; memory and descriptors must not grow.
//!
//! `make soak` as root: `SOAK_SECONDS` (7200) at `SOAK_PPS` (100000). A line a minute. Exit code 1 with what
//! disagreed, 2 when nothing can be tried here.

mod disturb;
mod ledger;
mod minute;
mod place;
mod vitals;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use minute::Minute;
use place::Place;
use vitals::Vitals;

const SECONDS: u64 = 7200;
const PPS: u64 = 100_000;

fn main() -> ExitCode {
    // `cargo test --benches` runs this too, without the word.
    if !std::env::args().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    if let Err(reason) = testbed::available() {
        eprintln!("soak: {reason}");
        return ExitCode::from(2);
    }
    match soak() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("soak: FAIL: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn soak() -> Result<()> {
    let lasts = Duration::from_secs(setting("SOAK_SECONDS", SECONDS)?);
    let pps = setting("SOAK_PPS", PPS)?;
    let start = Instant::now();
    let mut place = Place::new()?;
    let mut history = Vec::new();
    let mut packets = 0;
    println!("{}", Minute::HEADER);
    for number in 1.. {
        let minute = Minute::run(&place, number, pps).with_context(|| format!("minute {number}"))?;
        let vitals = Vitals::of(&place)?;
        println!("{minute} {vitals}");
        packets += minute.sent();
        history.push(vitals);
        if start.elapsed() >= lasts {
            break;
        }
    }
    vitals::assert_flat(&history)?;
    place.finish()?;
    let took = start.elapsed().as_secs();
    println!(
        "{packets} packets in {took} s, every ledger exact at each of {} rests, nothing grew",
        history.len()
    );
    Ok(())
}

fn setting(name: &str, default: u64) -> Result<u64> {
    match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name}={text} is no number")),
        Err(_) => Ok(default),
    }
}
