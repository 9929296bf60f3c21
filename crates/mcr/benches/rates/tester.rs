//! `mcrgen bench` on a device, sender and receivers on core 0: its command line and what it answers.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use mcr::tester::search::{Found, LimitedBy};
use serde_json::Value;
use testbed::{Port, run};

use crate::offer::{GROUP, PORT, SENDER_CORE};
use crate::place::in_words;

pub(crate) const MCRGEN: &str = env!("CARGO_BIN_EXE_mcrgen");

/// A search takes some ten trials.
const PATIENCE: Duration = Duration::from_secs(900);

/// No device here holds a packet for as long as RFC 2544 waits for them, and a search has many trials that lose some.
const RESIDUAL: &str = "--residual=0.5";

/// A device between two ports.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Device<'a> {
    pub(crate) near: &'a Port,
    pub(crate) far: &'a Port,
    /// The first flow's group behind it.
    pub(crate) to: &'a str,
}

/// Latency at one load, and what arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Latency {
    /// Microseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// Packets that lack, part of all.
    pub(crate) loss: f64,
}

impl Device<'_> {
    /// The highest rate without loss.
    pub(crate) fn throughput(&self, bytes: u64, flows: u16, seconds: f64) -> Result<Found> {
        let options = [format!("--size={bytes}"), format!("--groups={flows}")];
        let result = self.bench("throughput", &options, seconds)?.remove(0);
        let pps = result["pps"]["median"].as_f64();
        let pps = pps.with_context(|| format!("no throughput: {}", reason(&result)))?;
        let limited_by = match result["limited_by"].as_str() {
            Some("device") => LimitedBy::Device,
            Some("tester") => LimitedBy::Tester,
            _ => bail!("throughput limited by {}", result["limited_by"]),
        };
        let found = Found { pps, limited_by };
        let void = &result["void_trials"];
        eprintln!("    {bytes} B, {flows} flows: {} ({void} trials void)", in_words(found));
        Ok(found)
    }

    /// Latency at each load, or why there is none there.
    pub(crate) fn latency(&self, bytes: u64, loads: &[u64], seconds: f64) -> Result<Vec<Result<Latency>>> {
        let list = loads.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
        let results =
            self.bench("latency", &[format!("--size={bytes}"), format!("--load={list}")], seconds)?;
        let one = |result: &Value| {
            let latency = |name| result["latency_us"][name].as_f64().with_context(|| reason(result));
            let count = |name| result["counts"][name].as_f64().unwrap_or_default();
            let loss = count("lost") / count("expected").max(1.0);
            let (p50, p99) = (latency("p50")?, latency("p99")?);
            eprintln!("    {} pps: p50 {p50:.1} p99 {p99:.1} us, loss {loss:.6}", result["load_pps"]);
            Ok(Latency { p50, p99, loss })
        };
        Ok(results.iter().map(one).collect())
    }

    fn bench(&self, test: &str, options: &[String], seconds: f64) -> Result<Vec<Value>> {
        let core = SENDER_CORE.to_string();
        // It lives outside of the namespaces that go with the bench.
        let mut command = Command::new("setpriv");
        command.args([
            "--pdeathsig=TERM",
            "--",
            MCRGEN,
            "--json",
            "bench",
            test,
            "--repeat=1",
            RESIDUAL,
            "--tx-core",
            &core,
            "--rx-cores",
            &core,
        ]);
        command.arg(format!("--trial={seconds}"));
        command.arg(format!("--tx={GROUP}%{}:{PORT}/{}", self.near.name(), self.near.netns().name()));
        command.arg(format!("--rx={}%{}:{PORT}/{}", self.to, self.far.name(), self.far.netns().name()));
        command.args(options);
        let finished = run(command, PATIENCE);
        let report: Value = serde_json::from_str(&finished.stdout).unwrap_or_default();
        let results = report["results"].as_array().cloned().unwrap_or_default();
        ensure!(!results.is_empty(), "mcrgen bench {test}: {}{}", finished.stdout, finished.stderr);
        Ok(results)
    }
}

/// Why there is no figure, in `mcrgen`'s words.
fn reason(result: &Value) -> String {
    result["error"].as_str().unwrap_or("mcrgen does not say why").to_owned()
}
