//! Many rules: what they cost the one that is used, the time to apply them, and the worker's memory once it has relayed
//! by every one.

use std::fs;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use super::cost::ns_a_datagram;
use super::{Figures, many_rules, ratio};
use crate::offer::Offer;
use crate::place::{Egress, Place};
use crate::relay::Mcr;
use crate::results::Goal;
use crate::settings::{LARGE, SMALL, Settings};

const RULES: u16 = 10_000;

/// Part of one rule's rate, seconds, and MiB.
const RATE_LEAST: f64 = 0.95;
const APPLY_MOST: f64 = 2.0;
const MEMORY_MOST: f64 = 48.0;

/// Where the worker is not busy all the time, its CPU time shows what a look-up costs: packets a second.
const STEADY_PPS: u64 = 250_000;

/// What is sent so that every rule relays: packets a second, and how many to each.
const PPS: u64 = 20_000;
const EACH: u64 = 2;

pub(super) fn measure(settings: &Settings, figures: &mut Figures) -> Result<()> {
    let place = Place::new(1, Egress::Cut)?;
    let mcr = Mcr::start(place.fan.relay(), &many_rules(1, ""))?;
    let throughput = || {
        let found = place.zero_loss(Offer::most(LARGE, settings.trial_s))?;
        let steady = Offer::at(STEADY_PPS, LARGE, 2.0 * settings.trial_s);
        Ok::<_, anyhow::Error>((found, ns_a_datagram(&mcr, &place, steady)?.0))
    };
    let one = throughput()?;
    let rules = many_rules(RULES, "");
    let began = Instant::now();
    mcr.apply(&rules);
    let took = began.elapsed().as_secs_f64();
    mcr.wait_active();
    let many = throughput()?;
    for (what, (found, ns)) in [("1 rule", one), ("10,000 rules, 1 used", many)] {
        figures.note_rate(format!("one flow without loss, {what}"), Goal::Shown, 1, found);
        figures.note(format!("one flow: worker CPU a packet at 250 kpps, {what}"), "ns", Goal::Shown, ns);
    }
    let part = ratio(many.0, one.0);
    figures.note("10,000 rules: part of one rule's rate", "ratio", Goal::Least(RATE_LEAST), part);
    figures.note("10,000 rules: mcrctl apply", "s", Goal::Most(APPLY_MOST), took);
    let mib = worker_mib(&mcr, &place)?;
    figures.note("10,000 rules: worker without ring", "MiB", Goal::Most(MEMORY_MOST), mib);
    Ok(())
}

/// Resident memory of the worker without its rings, once every rule has relayed.
fn worker_mib(mcr: &Mcr, place: &Place) -> Result<f64> {
    let packets = u64::from(RULES) * EACH;
    let offer = Offer::at(PPS, SMALL, packets as f64 / PPS as f64).flows(RULES);
    let before = mcr.stats()?;
    place.offer(offer)?;
    let after = mcr.stats()?.rules;
    ensure!(after.len() == before.rules.len(), "{} rules are counted, not {RULES}", after.len());
    let used = after.into_iter().zip(before.rules);
    let idle = used.filter(|(now, then)| now.packets == then.packets).count();
    ensure!(idle == 0, "{idle} rules did not relay");
    let pid = mcr.worker()?;
    let smaps = fs::read_to_string(format!("/proc/{pid}/smaps")).context("the worker's memory map")?;
    Ok(resident_kib(&smaps) as f64 / 1024.0)
}

/// Sum of `Rss:` over all mappings but those of sockets, which are the rings (proc_pid_smaps(5)).
fn resident_kib(smaps: &str) -> u64 {
    let mut is_ring = false;
    let mut kib = 0;
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("Rss:") if !is_ring => {
                kib += words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
            }
            // A mapping begins with its range of addresses and ends with its name.
            Some(range) if range.contains('-') => is_ring = line.contains("socket:["),
            _ => {}
        }
    }
    kib
}
