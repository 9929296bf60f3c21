//! One run: a sender, relays of one make, receivers, and what came of it.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use testbed::{Chain, Daemon, Fan, Netns, Port, run};

use crate::adapter::{Adapter, Running};
use crate::busy::busy;

const MCRGEN: &str = env!("CARGO_BIN_EXE_mcrgen");

/// The sender has core 0 to itself as far as soft interrupts let it, the relay core 1.
const SENDER_CORE: usize = 0;
const RELAY_CORE: usize = 1;

const SOON: Duration = Duration::from_secs(30);
/// What is still under way after the last packet was sent arrives within this.
const STRAGGLERS: Duration = Duration::from_millis(500);

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    /// Packets a second; absent: as many as go.
    pub(crate) pps: Option<u64>,
    /// UDP payload of each.
    pub(crate) bytes: u64,
    pub(crate) packets: u64,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// Packets the sender's kernel took, and how many a second.
    pub(crate) sent: u64,
    pub(crate) offered_pps: f64,
    /// Packets that reached the receivers' links, all of them together.
    pub(crate) arrived: u64,
    /// From the first packet sent to the last.
    pub(crate) seconds: f64,
    /// Busy time of all cores meanwhile.
    pub(crate) busy: Duration,
}

/// Sends towards a relay that is not there: what the sender and its link cost, and the most it can offer.
pub(crate) fn to_nobody(offer: Offer) -> Result<Outcome> {
    let place = Fan::new("peers", 1)?;
    prepare(&place)?;
    offered(&place.sender, &[], offer)
}

/// Sends through one relay to `outputs` receivers, each on a link of its own, and counts there what arrives.
pub(crate) fn through(adapter: &Adapter, outputs: u8, offer: Offer) -> Result<Outcome> {
    let place = Fan::new("peers", outputs)?;
    prepare(&place)?;
    let _relay = relay(adapter, &place)?;
    offered(&place.sender, &place.receivers, offer)
}

/// Sends through relays in a row, and has a receiver look at every packet: `mcrgen recv`'s report, and what was sent.
pub(crate) fn examined(adapter: &Adapter, relays: u8, offer: Offer) -> Result<(Value, Outcome)> {
    let chain = Chain::new("peers", relays)?;
    chain.sender.link.wire_size()?;
    let mut running = Vec::new();
    for (hop, place) in (1..).zip(&chain.relays) {
        place.egress.link.wire_size()?;
        let relay = adapter.start(place.netns(), if hop % 2 == 1 { RELAY_CORE } else { SENDER_CORE })?;
        let (from, to) = (group(adapter, hop), group(adapter, hop + 1));
        relay.add("r-in", &from, 5000, &[format!("{to}%r-out:5000")])?;
        running.push(relay);
    }
    let endpoint = format!("{}%d0:5000", group(adapter, relays + 1));
    let count = offer.packets.to_string();
    let receiver = mcrgen(chain.receiver.netns(), SENDER_CORE, &["recv", &endpoint, "--count", &count]);
    let mut receiver = Daemon::start("mcrgen recv", receiver)?;
    receiver.wait_line(|line| line.starts_with("ready: "), SOON);
    let outcome = offered(&chain.sender, std::slice::from_ref(&chain.receiver), offer)?;
    let _ = receiver.wait(SOON);
    let report = receiver.lines().iter().find_map(|line| serde_json::from_str(&line.text).ok());
    Ok((report.context("no report of mcrgen recv")?, outcome))
}

fn relay(adapter: &Adapter, place: &Fan) -> Result<Running> {
    let relay = adapter.start(place.relay(), RELAY_CORE)?;
    let to = group(adapter, 2);
    let outputs: Vec<_> = place.egress.iter().map(|port| format!("{to}%{}:5000", port.name())).collect();
    relay.add("r-in", &group(adapter, 1), 5000, &outputs)?;
    Ok(relay)
}

/// The group before the relay of that number.
fn group(adapter: &Adapter, hop: u8) -> String {
    if adapter.rewrites { format!("239.1.{hop}.1") } else { "239.1.1.1".to_owned() }
}

fn prepare(place: &Fan) -> Result<()> {
    // Nothing but the sender's traffic is to be counted.
    for netns in
        [place.sender.netns(), place.relay()].into_iter().chain(place.receivers.iter().map(Port::netns))
    {
        netns.sysctl("net.ipv6.conf.all.disable_ipv6", "1")?;
    }
    place.sender.link.wire_size()?;
    place.egress.iter().try_for_each(|port| port.link.wire_size())
}

fn offered(sender: &Port, receivers: &[Port], offer: Offer) -> Result<Outcome> {
    let (size, count) = (offer.bytes.to_string(), offer.packets.to_string());
    let rate = offer.pps.map_or("max".to_owned(), |pps| pps.to_string());
    let arguments = ["send", "239.1.1.1%s0:5000", "--size", &size, "--count", &count, "--rate", &rate];
    let before = (arrived(receivers)?, busy()?, Instant::now());
    let sent = run(mcrgen(sender.netns(), SENDER_CORE, &arguments), 4 * SOON);
    ensure!(sent.code() == 0, "mcrgen send: {}", sent.stderr);
    let took = before.2.elapsed();
    std::thread::sleep(STRAGGLERS);
    let sent = sent.json();
    Ok(Outcome {
        sent: sent["sent"].as_u64().context("sent of mcrgen send")?,
        offered_pps: sent["pps"].as_f64().context("pps of mcrgen send")?,
        arrived: arrived(receivers)? - before.0,
        seconds: took.as_secs_f64(),
        busy: busy()?.saturating_sub(before.1),
    })
}

fn arrived(receivers: &[Port]) -> Result<u64> {
    receivers.iter().map(|port| port.link.counter("rx", "packets")).sum()
}

fn mcrgen(netns: &Netns, core: usize, arguments: &[&str]) -> Command {
    let mut command = netns.command("taskset");
    command.args(["-c", &core.to_string(), MCRGEN, "--json"]).args(arguments);
    command
}
