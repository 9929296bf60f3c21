//! MCR beside what else relays multicast, on the same machine, in the same run, in the same namespaces.
//!
//! Each relay is driven by an adapter script (bench/README.md). A cable in a relay's place shows what the tester itself
//! can do, and what the sender takes of the CPU.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use mcr::generator::stop::Stop;
use mcr::tester::plot::{Frame, Line, Point, plot};
use testbed::{Chain, Netns};

use crate::adapter::{Adapter, Running};
use crate::cpu::Cores;
use crate::leftovers::PREFIX;
use crate::offer::{GROUP, Offer, PORT, RELAY_CORE, SENDER_CORE, Short};
use crate::place::{Cable, Egress, Place, SILENCE};
use crate::results::{Goal, Origin, Results};
use crate::settings::{LARGE, SMALL, Settings, unwound};
use crate::tester::{Device, Latency};

/// UDP payload: the least that can be accounted for, market data, video over RTP.
const SIZES: [u64; 3] = [18, SMALL, LARGE];
const LATENCY_PPS: [u64; 3] = [10_000, 50_000, 100_000];
const LOSS_PPS: u64 = 250_000;
const CPU_PPS: [u64; 2] = [50_000, 250_000];
const CHAIN_PPS: u64 = 50_000;
const FAN_OUT: u8 = 16;

/// The cable's column, and MCR's, named like its adapter.
const CABLE: &str = "cable";
const MCR: &str = "mcr";

/// One repeat: what it measures by, its figures, and what has none.
struct Repeat<'a> {
    settings: &'a Settings,
    results: Results,
    /// What, and why.
    failed: Vec<(String, String)>,
}

impl Repeat<'_> {
    fn note(&mut self, of: &str, what: impl Into<String>, unit: &'static str, goal: Goal, value: f64) {
        self.results.note(of, what, unit, goal, value);
    }

    /// Makes one measurement of a relay. Where it fails there is no figure, the reason is said, and others go on.
    ///
    /// # Errors
    /// When the sender was too slow: the repeat does not count.
    fn attempt(&mut self, of: &str, what: &str, measure: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        match unwound(|| measure(self)) {
            Err(error) if !error.is::<Short>() => {
                eprintln!("    no figure of {of}, {what}: {error:#}");
                self.failed.push((format!("{of}, {what}"), format!("{error:#}")));
                Ok(())
            }
            done => done,
        }
    }
}

/// Measures all relays and leaves the results in bench/results; whether every measurement has its figure.
pub(crate) fn run(settings: &Settings, stop: &Stop) -> Result<bool> {
    let folder = crate::folder();
    let adapters = adapters(&folder.join("adapters"))?;
    let (mut results, mut failed) = (Results::default(), BTreeMap::<String, Vec<String>>::new());
    let not_counted = settings.repeat(|| {
        let repeat = once(&adapters, settings)?;
        results.append(repeat.results);
        repeat.failed.into_iter().for_each(|(what, why)| failed.entry(what).or_default().push(why));
        Ok(())
    })?;
    // Relays fail at once where a signal has taken them away.
    ensure!(!stop.requested(), "interrupted");
    let names: Vec<&str> = adapters.iter().map(|adapter| adapter.name.as_str()).collect();
    let others: Vec<&str> = names.iter().copied().filter(|name| *name != MCR).collect();
    let table =
        results.compared(&[&names[..], &[CABLE]].concat(), &names) + "\n" + &results.ratios(MCR, &others);
    println!("{table}");
    let versions = adapters.iter().map(|adapter| adapter.version.clone()).collect();
    let folder = folder.join("results");
    results.write(&folder, "peers", &Origin::here(settings, not_counted, versions), &table)?;
    plots(&folder, &names, &results)?;
    for (what, reasons) in &failed {
        // A line each, where a relay's log may be part of the reason; all repeats' are above.
        let words: Vec<&str> = reasons[0].split_whitespace().collect();
        let (times, all) = (reasons.len(), settings.repeats);
        println!("FAIL: {what}: no figure in {times} of {all} repeats: {}", words.join(" "));
    }
    Ok(failed.is_empty())
}

fn once<'a>(adapters: &[Adapter], settings: &'a Settings) -> Result<Repeat<'a>> {
    let mut repeat = Repeat { settings, results: Results::default(), failed: Vec::new() };
    let senders_own = cable(&mut repeat)?;
    for adapter in adapters {
        eprintln!("  {}", adapter.version);
        let name = &adapter.name;
        repeat.attempt(name, "with one output", |repeat| line(adapter, senders_own, repeat))?;
        repeat.attempt(name, &fan_out_name(), |repeat| fan_out(adapter, repeat))?;
        repeat.attempt(name, "through three", |repeat| chain(adapter, repeat))?;
    }
    Ok(repeat)
}

/// What the tester does by itself; hands back the sender's own CPU time for a packet at each rate, nanoseconds.
fn cable(repeat: &mut Repeat<'_>) -> Result<[f64; CPU_PPS.len()]> {
    eprintln!("  a cable");
    let place = Cable::new()?;
    let device = Device { near: &place.near, far: &place.far, to: GROUP };
    tested(CABLE, &device, repeat)?;
    let mut own = [0.0; CPU_PPS.len()];
    for (own, pps) in own.iter_mut().zip(CPU_PPS) {
        let before = Cores::now()?;
        let sent = Offer::at(pps, LARGE, 2.0 * repeat.settings.trial_s).asleep().send(&place.near)?.sent;
        // As long as is waited for a relay's last packets.
        std::thread::sleep(SILENCE);
        *own = before.busy()?.as_nanos() as f64 / sent as f64;
        repeat.note(CABLE, cpu_name(pps), "ns", Goal::Less, *own);
    }
    Ok(own)
}

/// One relay with one output.
fn line(adapter: &Adapter, senders_own: [f64; CPU_PPS.len()], repeat: &mut Repeat<'_>) -> Result<()> {
    let (place, _relay) = placed(adapter, 1)?;
    let group = group(adapter, 2);
    let device = Device { near: &place.fan.sender, far: &place.fan.receivers[0], to: &group };
    let name = &adapter.name;
    tested(name, &device, repeat)?;
    for bytes in [LARGE, SMALL] {
        repeat.attempt(name, &loss_name(LOSS_PPS, bytes), |repeat| loss(name, &place, bytes, repeat))?;
    }
    for (pps, own) in CPU_PPS.into_iter().zip(senders_own) {
        repeat.attempt(name, &cpu_name(pps), |repeat| cpu(name, &place, (pps, own), repeat))?;
    }
    Ok(())
}

fn loss(name: &str, place: &Place, bytes: u64, repeat: &mut Repeat<'_>) -> Result<()> {
    let outcome = place.offer(Offer::at(LOSS_PPS, bytes, 2.0 * repeat.settings.trial_s))?;
    let lost = 100.0 * outcome.lost() as f64 / outcome.expected as f64;
    // A relay that works in soft interrupts on the sender's core leaves it less time to send.
    let offered = outcome.offered.pps() / 1000.0;
    let what = format!("offered of {} kpps of {bytes} B", LOSS_PPS / 1000);
    repeat.note(name, what, "kpps", Goal::Shown, offered);
    repeat.note(name, loss_name(LOSS_PPS, bytes), "%", Goal::Less, lost);
    Ok(())
}

/// At a rate, with what a packet of it takes of the sender's own CPU time.
fn cpu(name: &str, place: &Place, (pps, own): (u64, f64), repeat: &mut Repeat<'_>) -> Result<()> {
    let before = Cores::now()?;
    let outcome = place.offer(Offer::at(pps, LARGE, 2.0 * repeat.settings.trial_s).asleep())?;
    let relays = before.busy()?.as_nanos() as f64 - own * outcome.offered.sent as f64;
    ensure!(outcome.arrived > 0, "nothing arrived");
    repeat.note(name, cpu_name(pps), "ns", Goal::Less, relays / outcome.arrived as f64);
    Ok(())
}

/// What `mcrgen bench` finds of a device.
fn tested(name: &str, device: &Device<'_>, repeat: &mut Repeat<'_>) -> Result<()> {
    let seconds = repeat.settings.trial_s;
    for bytes in SIZES {
        let what = throughput_name(bytes);
        repeat.attempt(name, &what, |repeat| {
            let found = device.throughput(bytes, 1, seconds)?;
            repeat.results.note_rate(name, what.clone(), Goal::More, 1, found);
            Ok(())
        })?;
    }
    repeat.attempt(name, "latency", |repeat| {
        let latencies = device.latency(LARGE, &LATENCY_PPS, seconds)?;
        for (pps, latency) in LATENCY_PPS.into_iter().zip(latencies) {
            let at = format!("at {} kpps", pps / 1000);
            note_latency(name, &at, loss_name(pps, LARGE), latency, repeat)?;
        }
        Ok(())
    })
}

fn fan_out(adapter: &Adapter, repeat: &mut Repeat<'_>) -> Result<()> {
    let (place, _relay) = placed(adapter, FAN_OUT)?;
    let pps = place.delivered_pps(Offer::most(LARGE, repeat.settings.trial_s))?;
    ensure!(pps > 0.0, "nothing arrived");
    repeat.note(&adapter.name, fan_out_name(), "kpps", Goal::More, pps / 1000.0);
    Ok(())
}

/// Three relays in a row, neighbours on different cores.
fn chain(adapter: &Adapter, repeat: &mut Repeat<'_>) -> Result<()> {
    let chain = Chain::new(PREFIX, 3)?;
    chain.sender.link.wire_size()?;
    let mut running = Vec::new();
    for (hop, place) in (1..).zip(&chain.relays) {
        place.egress.link.wire_size()?;
        let relay = adapter.start(place.netns(), if hop % 2 == 1 { RELAY_CORE } else { SENDER_CORE })?;
        relay.add(
            "r-in",
            &group(adapter, hop),
            PORT,
            &[format!("{}%r-out:{PORT}", group(adapter, hop + 1))],
        )?;
        running.push(relay);
    }
    let device = Device { near: &chain.sender, far: &chain.receiver, to: &group(adapter, 4) };
    for latency in device.latency(LARGE, &[CHAIN_PPS], repeat.settings.trial_s)? {
        let at = format!("through three at {} kpps", CHAIN_PPS / 1000);
        note_latency(&adapter.name, &at, format!("loss {at}"), latency, repeat)?;
    }
    Ok(())
}

/// Latency and loss of one load, or neither: of a relay that passes on nothing `mcrgen` does not measure loss either.
fn note_latency(
    name: &str,
    at: &str,
    loss: String,
    latency: Result<Latency>,
    repeat: &mut Repeat<'_>,
) -> Result<()> {
    repeat.attempt(name, &format!("latency and loss {at}"), |repeat| {
        let latency = latency?;
        // Above what a relay can do, the latency of the rest says little.
        repeat.note(name, loss, "%", Goal::Less, 100.0 * latency.loss);
        repeat.note(name, format!("latency p50 {at}"), "µs", Goal::Less, latency.p50);
        repeat.note(name, format!("latency p99 {at}"), "µs", Goal::Less, latency.p99);
        Ok(())
    })
}

fn throughput_name(bytes: u64) -> String {
    format!("throughput without loss, {bytes} B")
}

fn loss_name(pps: u64, bytes: u64) -> String {
    format!("loss at {} kpps of {bytes} B", pps / 1000)
}

fn cpu_name(pps: u64) -> String {
    format!("CPU for a packet delivered at {} kpps", pps / 1000)
}

fn fan_out_name() -> String {
    format!("delivered to {FAN_OUT} outputs at full offer")
}

/// A place with a relay that relays to all of its outputs.
fn placed(adapter: &Adapter, outputs: u8) -> Result<(Place, Running)> {
    let place = Place::new(outputs, Egress::Cut)?;
    let relay = relaying(adapter, place.fan.relay(), &place.outputs(&group(adapter, 2)))?;
    Ok((place, relay))
}

pub(crate) fn relaying(adapter: &Adapter, netns: &Netns, outputs: &[String]) -> Result<Running> {
    let relay = adapter.start(netns, RELAY_CORE)?;
    relay.add("r-in", &group(adapter, 1), PORT, outputs)?;
    Ok(relay)
}

/// The group before the relay of that number.
pub(crate) fn group(adapter: &Adapter, hop: u8) -> String {
    if adapter.rewrites { format!("239.1.{hop}.1") } else { GROUP.to_owned() }
}

fn adapters(folder: &Path) -> Result<Vec<Adapter>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("adapters in {}", folder.display()))?;
    let mut scripts: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    scripts.sort();
    scripts.iter().map(|script| Adapter::of(script)).collect()
}

fn plots(folder: &Path, names: &[&str], results: &Results) -> Result<()> {
    let line = |name: String, of: &str, points: &[(u64, String)]| {
        let point = |(x, what): &(u64, String)| {
            // Of a relay that let nothing through there is nothing to draw.
            let spread = results.spread(of, what)?;
            Some(Point {
                x: *x as f64,
                y: spread.median,
                range: Some((spread.min, spread.max)),
                at_least: results.is_limited_by_tester(of, what),
            })
        };
        Line { name, points: points.iter().filter_map(point).collect() }
    };
    let sizes = SIZES.map(|bytes| (bytes, throughput_name(bytes)));
    let mut lines: Vec<_> =
        names.iter().chain(&[CABLE]).map(|name| line((*name).to_owned(), name, &sizes)).collect();
    let frame = Frame {
        title: "Throughput without loss: median, lowest and highest".into(),
        x: "UDP payload (bytes)",
        y: "kpackets/s",
        logarithmic: false,
    };
    plot(&folder.join("throughput.svg"), &frame, &mut lines)?;
    let mut lines = Vec::new();
    for name in names {
        for percentile in ["p50", "p99"] {
            let loads = LATENCY_PPS.map(|pps| (pps, format!("latency {percentile} at {} kpps", pps / 1000)));
            lines.push(line(format!("{name} {percentile}"), name, &loads));
        }
    }
    let frame = Frame {
        title: "Latency: median, lowest and highest of the repeats".into(),
        x: "load (packets/s)",
        y: "microseconds",
        logarithmic: true,
    };
    plot(&folder.join("latency.svg"), &frame, &mut lines)?;
    Ok(())
}
