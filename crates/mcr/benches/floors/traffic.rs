//! One run: a generator, relays in a row, a receiver, and what it and the relays' STATS say.

use std::fmt;
use std::process::Command;
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use testbed::{Chain, Daemon, Netns, Programs, Relay, Stats, eventually, rule, run};

const PROGRAMS: Programs =
    Programs { mcrd: env!("CARGO_BIN_EXE_mcrd"), mcrctl: env!("CARGO_BIN_EXE_mcrctl") };
const MCRGEN: &str = env!("CARGO_BIN_EXE_mcrgen");

/// UDP payload.
const BYTES: u64 = 1400;

const SOON: Duration = Duration::from_secs(30);

/// An offer below this part of what was asked for is none.
const OFFER_LEAST: f64 = 0.98;

/// What is sent through how many relays.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) relays: u8,
    pub(crate) pps: u64,
    pub(crate) seconds: u64,
}

impl Offer {
    pub(crate) fn packets(&self) -> u64 {
        self.pps * self.seconds
    }
}

/// What became of it.
#[derive(Debug)]
pub(crate) struct Run {
    packets: u64,
    offered_pps: f64,
    asked_pps: u64,
    received: Value,
    hops: Vec<Stats>,
}

impl Run {
    /// Sends and receives all of an offer.
    pub(crate) fn of(offer: &Offer) -> Result<Self> {
        let chain = Chain::new("bench", offer.relays)?;
        chain.sender.link.wire_size()?;
        let mut relays = Vec::new();
        for (hop, place) in (1..).zip(&chain.relays) {
            place.egress.link.wire_size()?;
            let (input, output) = (format!("239.1.{hop}.1%r-in:5000"), hop + 1);
            let file = rule("hop", &input, &[format!("239.1.{output}.1%r-out:5000")]);
            // Neighbours in the row on different cores.
            relays.push(start_relay(place.netns(), &file, hop % 2)?);
        }
        let group = offer.relays + 1;
        let to = format!("239.1.{group}.1%d0:5000");
        let packets = offer.packets();
        let count = packets.to_string();
        let core = if available_parallelism().is_ok_and(|cores| cores.get() > 2) { 2 } else { 0 };
        let receiver = mcrgen(chain.receiver.netns(), core, &["recv", &to, "--count", &count]);
        let mut receiver = Daemon::start("mcrgen recv", receiver)?;
        receiver.wait_line(|line| line.starts_with("ready: "), SOON);
        let sent =
            send(chain.sender.netns(), "239.1.1.1%s0:5000", &["--rate", &offer.pps.to_string()], packets)?;
        let _ = receiver.wait(SOON);
        let lines = receiver.lines();
        let received = lines.iter().find_map(|line| serde_json::from_str(&line.text).ok());
        let hops = relays.iter_mut().map(Relay::stop).collect();
        Ok(Self {
            packets,
            offered_pps: sent["pps"].as_f64().context("pps of mcrgen send")?,
            asked_pps: offer.pps,
            received: received.context("no report of mcrgen recv")?,
            hops,
        })
    }

    fn count(&self, name: &str) -> u64 {
        self.received[name].as_u64().unwrap_or(u64::MAX)
    }

    /// Packets that did not reach the receiver's link once and whole, as it and every relay agree. What the
    /// receiver's own tap had no room for did.
    pub(crate) fn lost(&self) -> u64 {
        if self.offered_pps < OFFER_LEAST * self.asked_pps as f64 {
            return self.packets;
        }
        let damaged = ["duplicated", "reordered", "bad_checksum", "corrupted"];
        let damaged: u64 = damaged.iter().map(|fault| self.count(fault)).sum();
        let arrived = self.count("received").saturating_add(self.count("tap_lost"));
        let worst = self.hops.iter().map(|stats| self.packets.abs_diff(stats.egress.sent)).max().unwrap_or(0);
        self.packets.saturating_sub(arrived).saturating_add(damaged).max(worst)
    }

    /// From the send call to arrival at the receiver's link; infinite where nothing arrived.
    pub(crate) fn latency_p50_us(&self) -> f64 {
        self.received["latency_us"]["p50"].as_f64().unwrap_or(f64::INFINITY)
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let latency = &self.received["latency_us"];
        write!(
            f,
            "offered {:.0} pps, received {} of {}, tap lost {}, latency p50 {} p99 {} us; sent",
            self.offered_pps,
            self.received["received"],
            self.packets,
            self.received["tap_lost"],
            latency["p50"],
            latency["p99"]
        )?;
        self.hops
            .iter()
            .try_for_each(|hop| write!(f, " {} (buf_exhaust {})", hop.egress.sent, hop.ingress.buf_exhaust))
    }
}

/// Starts a relay with one worker and waits until its rules relay.
pub(crate) fn start_relay(netns: &Netns, file: &str, core: u8) -> Result<Relay> {
    let relay = Relay::start_with(PROGRAMS, netns, file, &["--cores", &core.to_string()])?;
    eventually(SOON, "every rule is active", || {
        let rules = relay.ctl_json(&["list"]);
        rules.as_array().is_some_and(|rules| rules.iter().all(|rule| rule["state"] == "active"))
    });
    Ok(relay)
}

/// Sends packets from core 0; the generator's report.
pub(crate) fn send(netns: &Netns, to: &str, options: &[&str], packets: u64) -> Result<Value> {
    let (size, count) = (BYTES.to_string(), packets.to_string());
    let send = [&["send", to, "--size", &size, "--count", &count], options].concat();
    let sent = run(mcrgen(netns, 0, &send), 4 * SOON);
    ensure!(sent.code() == 0, "mcrgen send: {}", sent.stderr);
    Ok(sent.json())
}

fn mcrgen(netns: &Netns, core: usize, arguments: &[&str]) -> Command {
    let mut command = netns.command("taskset");
    command.args(["-c", &core.to_string(), MCRGEN, "--json"]).args(arguments);
    command
}
