//! MCR beside what else relays multicast, on the same machine, in the same run, in the same namespaces.
//!
//! `make peers` as root. Each relay is driven by an adapter script (bench/README.md); they take turns within each
//! repeat, so that a machine that slows down slows all of them. Every frame has the size the wire would carry. A
//! repeat counts only where the sender reaches [`SENDER_LEAST`] with nobody listening. Results go to bench/results.

mod adapter;
mod busy;
mod results;
mod traffic;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use adapter::Adapter;
use anyhow::{Context as _, Result, ensure};
use results::{Kind, Results};
use serde_json::Value;
use traffic::{Offer, examined, through, to_nobody};

/// Packets a second the sender must reach with nobody listening for a repeat to count.
const SENDER_LEAST: f64 = 450_000.0;

const REPEATS: usize = 5;

/// UDP payload of video over RTP, and of market data.
const LARGE: u64 = 1400;
const SMALL: u64 = 200;

const LATENCY_PPS: [u64; 3] = [10_000, 50_000, 100_000];
const LOSS_PPS: u64 = 250_000;
const CPU_PPS: [u64; 2] = [50_000, 250_000];
const CHAIN_PPS: u64 = 50_000;
const SECONDS: u64 = 4;
const FAN_OUT: u8 = 16;

fn main() -> ExitCode {
    // `cargo test --benches` runs this too, without the word.
    if !std::env::args().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    if let Err(reason) = testbed::available() {
        eprintln!("peers: {reason}");
        return ExitCode::from(2);
    }
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn measure() -> Result<()> {
    let bench = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bench");
    let adapters = adapters(&bench.join("adapters"))?;
    let names: Vec<&str> = adapters.iter().map(|adapter| adapter.name.as_str()).collect();
    let repeats = std::env::var("BENCH_REPEATS").ok().and_then(|text| text.parse().ok()).unwrap_or(REPEATS);
    let mut results = Results::default();
    for repeat in 1..=repeats {
        let alone = to_nobody(Offer { pps: None, bytes: LARGE, packets: 2_000_000 })?;
        eprintln!("repeat {repeat} of {repeats}: the sender alone makes {:.0} pps", alone.offered_pps);
        ensure!(
            alone.offered_pps >= SENDER_LEAST,
            "the sender alone makes {:.0} pps, less than {SENDER_LEAST}: this machine is too slow or too busy",
            alone.offered_pps
        );
        let offers = CPU_PPS.map(|pps| Offer { pps: Some(pps), bytes: LARGE, packets: pps * SECONDS });
        let idle = offers.map(to_nobody);
        for adapter in &adapters {
            eprintln!("  {}", adapter.version);
            one(adapter, &mut results)?;
            for (offer, alone) in offers.iter().zip(&idle) {
                let alone = alone.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))?;
                cpu(adapter, *offer, alone, &mut results)?;
            }
        }
    }
    println!("{}", results.markdown(&names));
    std::fs::create_dir_all(bench.join("results"))?;
    let json = serde_json::to_string_pretty(&results)?;
    std::fs::write(bench.join("results/peers.json"), json + "\n").context("write the results")?;
    std::fs::write(bench.join("results/peers.md"), results.markdown(&names)).context("write the results")
}

/// Everything but CPU time, once.
fn one(adapter: &Adapter, results: &mut Results) -> Result<()> {
    let percent = Kind { unit: "%", more_is_better: false };
    for bytes in [LARGE, SMALL] {
        let offer = Offer { pps: Some(LOSS_PPS), bytes, packets: LOSS_PPS * SECONDS };
        let outcome = through(adapter, 1, offer)?;
        let lost = 100.0 * (1.0 - outcome.arrived as f64 / outcome.sent as f64);
        results.note(&adapter.name, format!("loss at {} kpps of {bytes} B", LOSS_PPS / 1000), percent, lost);
    }
    let outcome = through(adapter, FAN_OUT, Offer { pps: None, bytes: LARGE, packets: 200_000 })?;
    let kpps = Kind { unit: "kpps", more_is_better: true };
    let delivered = outcome.arrived as f64 / outcome.seconds / 1000.0;
    results.note(&adapter.name, format!("delivered to {FAN_OUT} outputs at full offer"), kpps, delivered);
    for pps in LATENCY_PPS {
        let (report, _) =
            examined(adapter, 1, Offer { pps: Some(pps), bytes: LARGE, packets: pps * SECONDS })?;
        latency(adapter, &format!("at {} kpps", pps / 1000), &report, results);
    }
    let offer = Offer { pps: Some(CHAIN_PPS), bytes: LARGE, packets: CHAIN_PPS * SECONDS };
    let (report, outcome) = examined(adapter, 3, offer)?;
    let distinct = number(&report, "received") - number(&report, "duplicated");
    let lost = 100.0 * (1.0 - distinct / outcome.sent as f64);
    results.note(&adapter.name, format!("loss through three at {} kpps", CHAIN_PPS / 1000), percent, lost);
    latency(adapter, &format!("through three at {} kpps", CHAIN_PPS / 1000), &report, results);
    Ok(())
}

fn latency(adapter: &Adapter, at: &str, report: &Value, results: &mut Results) {
    let kind = Kind { unit: "µs", more_is_better: false };
    for percentile in ["p50", "p99"] {
        let figure = number(&report["latency_us"], percentile);
        results.note(&adapter.name, format!("latency {percentile} {at}"), kind, figure);
    }
}

/// Busy time of all cores for each packet delivered, less what the sender takes with no relay there.
fn cpu(adapter: &Adapter, offer: Offer, alone: &traffic::Outcome, results: &mut Results) -> Result<()> {
    let outcome = through(adapter, 1, offer)?;
    let own = alone.busy.as_nanos() as f64 / alone.sent as f64 * outcome.sent as f64;
    let figure = (outcome.busy.as_nanos() as f64 - own) / outcome.arrived as f64;
    let what = format!("CPU for a packet delivered at {} kpps", offer.pps.unwrap_or(0) / 1000);
    results.note(&adapter.name, what, Kind { unit: "ns", more_is_better: false }, figure);
    Ok(())
}

fn number(report: &Value, name: &str) -> f64 {
    report[name].as_f64().unwrap_or(f64::INFINITY)
}

fn adapters(folder: &Path) -> Result<Vec<Adapter>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("adapters in {}", folder.display()))?;
    let mut scripts: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    scripts.sort();
    scripts.iter().map(|script| Adapter::of(script)).collect()
}
