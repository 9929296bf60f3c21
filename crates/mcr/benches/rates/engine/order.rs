//! Two workers that share many flows: nothing is lost, and no flow's packets change their order.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use testbed::{Daemon, Port};

use super::{Figures, many_rules};
use crate::offer::{Offer, RELAY_CORE, SENDER_CORE};
use crate::place::{Egress, Place};
use crate::relay::Mcr;
use crate::results::Goal;
use crate::settings::{LARGE, Settings};
use crate::tester::MCRGEN;

const FLOWS: u16 = 200;
const PPS: u64 = 100_000;

const SOON: Duration = Duration::from_secs(30);

pub(super) fn measure(settings: &Settings, figures: &mut Figures) -> Result<()> {
    let place = Place::new(1, Egress::Cut)?;
    let mcr =
        Mcr::on_cores(place.fan.relay(), &many_rules(FLOWS, ""), &format!("{SENDER_CORE},{RELAY_CORE}"))?;
    // The sender sleeps between packets, as one of the workers has its core.
    let offer = Offer::at(PPS, LARGE, 2.0 * settings.trial_s).flows(FLOWS).asleep();
    let (outcome, report) = examined(&place.fan.receivers[0], "239.2.1.1", FLOWS, || place.offer(offer))?;
    outcome.offered.in_full()?;
    let workers = mcr.stats()?.workers;
    ensure!(workers.iter().all(|worker| worker.matched > 0), "a worker had nothing to do");
    let lost = outcome.lost().max(outcome.offered.sent.saturating_sub(report.distinct)) as f64;
    let reordered = report.reordered as f64;
    eprintln!("    offered {:.0} pps, {lost} lost, {reordered} reordered", outcome.offered.pps());
    figures.note("two workers, 200 flows, 100 kpps: lost", "packets", Goal::Most(0.0), lost);
    figures.note("two workers, 200 flows, 100 kpps: reordered", "packets", Goal::Most(0.0), reordered);
    Ok(())
}

/// What `mcrgen recv` says of packets it has looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Examined {
    /// Each once.
    pub(super) distinct: u64,
    pub(super) reordered: u64,
}

/// Does `work` while `mcrgen recv` looks at every packet of some flows on core 0; with what it answers comes the report.
pub(super) fn examined<T>(
    port: &Port,
    group: &str,
    flows: u16,
    work: impl FnOnce() -> Result<T>,
) -> Result<(T, Examined)> {
    let mut command = port.netns().command("taskset");
    command.args(["-c", &SENDER_CORE.to_string(), MCRGEN, "--json", "recv"]);
    command.arg(format!("{group}%{}:5000", port.name())).args(["--flows", &flows.to_string()]);
    let mut receiver = Daemon::start("mcrgen recv", command)?;
    receiver.wait_line(|line| line.starts_with("ready: "), SOON);
    let done = work()?;
    let _ = receiver.wait(SOON);
    let report = receiver.lines().iter().find_map(|line| serde_json::from_str(&line.text).ok());
    let report: Value = report.context("no report of mcrgen recv")?;
    let count = |name: &str| report[name].as_u64().with_context(|| format!("{name} of mcrgen recv"));
    ensure!(count("tap_lost")? == 0, "the receiver had no room for all packets");
    let distinct = count("received")? - count("duplicated")?;
    Ok((done, Examined { distinct, reordered: count("reordered")? }))
}
