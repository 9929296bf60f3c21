//! The floors below which MCR must not fall: loss, latency and memory on veth between namespaces, real binaries.
//!
//! `make bench` as root. Each measurement is repeated; its median is held against the floor, the spread is shown
//! beside it. Every frame has the size the wire would carry: `tx-udp-segmentation` is off at the sender and at the
//! relays' egress. The sender has core 0, the relay's worker core 1. Exit code 1 when a floor is missed, 2 when
//! nothing can be measured here.

mod memory;
mod table;
mod traffic;

use std::process::ExitCode;
use std::thread::available_parallelism;

use anyhow::Result;
use table::{Row, Table};
use traffic::{Offer, Run};

/// Measurements of each kind.
const REPEATS: usize = 3;

/// Seconds of traffic in a run that must not lose, and in one for latency.
const LOSS_SECONDS: u64 = 10;
const LATENCY_SECONDS: u64 = 5;

/// Packets per second through one relay, and through three in a row.
const ONE_PPS: u64 = 250_000;
const THREE_PPS: u64 = 100_000;

/// Rates at which latency is measured, and its most, microseconds.
const LATENCY_PPS: [u64; 2] = [10_000, 50_000];
const LATENCY_P50_US: f64 = 60.0;

/// Most a worker may have with this many rules, its ring apart.
const RULES: u32 = 5000;
const MEMORY_MIB: f64 = 32.0;

fn main() -> ExitCode {
    // `cargo test --benches` runs this too, without the word.
    if !std::env::args().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    if let Err(reason) = testbed::available() {
        eprintln!("bench: {reason}");
        return ExitCode::from(2);
    }
    if available_parallelism().is_ok_and(|cores| cores.get() < 2) {
        eprintln!("bench: two cores are needed, one for the sender and one for the worker");
        return ExitCode::from(2);
    }
    eprintln!("{}", machine());
    match measure() {
        Ok(table) => {
            print!("{table}");
            ExitCode::from(u8::from(!table.passes()))
        }
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Where this is measured, and how busy it is before.
fn machine() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let cores = available_parallelism().map_or(0, usize::from);
    let (kernel, load) = (read("/proc/sys/kernel/osrelease"), read("/proc/loadavg"));
    let load = load.split(' ').next().unwrap_or_default();
    format!("{cores} cores, kernel {}, load before {load}: measure on an idle machine", kernel.trim())
}

fn measure() -> Result<Table> {
    let mut table = Table::new(REPEATS);
    table.push(loss(&Offer { relays: 1, pps: ONE_PPS, seconds: LOSS_SECONDS })?);
    for pps in LATENCY_PPS {
        table.push(latency(&Offer { relays: 1, pps, seconds: LATENCY_SECONDS })?);
    }
    table.push(loss(&Offer { relays: 3, pps: THREE_PPS, seconds: LOSS_SECONDS })?);
    let what = format!("worker with {RULES} rules, without its ring, MiB");
    table.push(Row::new(what, MEMORY_MIB, repeat("memory", || memory::worker_mib(RULES))?));
    Ok(table)
}

/// Packets that did not get through; a run whose offer was not made counts as wholly lost.
fn loss(offer: &Offer) -> Result<Row> {
    let lost = repeat("loss", || {
        let run = Run::of(offer)?;
        eprintln!("  {run}");
        Ok(run.lost() as f64)
    })?;
    let through = if offer.relays == 1 { "one relay".to_owned() } else { format!("{} relays", offer.relays) };
    let what = format!("lost of {} at {} kpps, {through}", offer.packets(), offer.pps / 1000);
    Ok(Row::new(what, 0.0, lost))
}

fn latency(offer: &Offer) -> Result<Row> {
    let p50 = repeat("latency", || {
        let run = Run::of(offer)?;
        eprintln!("  {run}");
        Ok(run.latency_p50_us())
    })?;
    Ok(Row::new(format!("latency p50 at {} kpps, us", offer.pps / 1000), LATENCY_P50_US, p50))
}

fn repeat(what: &str, mut measure: impl FnMut() -> Result<f64>) -> Result<Vec<f64>> {
    let once = |number| {
        eprintln!("{what}, run {number} of {REPEATS}");
        measure()
    };
    (1..=REPEATS).map(once).collect()
}
