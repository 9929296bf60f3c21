//! What the relay counts, and that it adds up.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::place::{FLOWS, Place, SOON, TWICE, number, rule_name};

/// Counters that stand still for so long will not move any more.
const STILL: Duration = Duration::from_millis(500);

/// What a leg did with its flow's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leg {
    /// The kernel took them.
    pub(crate) sent: u64,
    /// It refused them, or the leg was pending.
    pub(crate) missed: u64,
}

/// The counters of a relay at rest, since its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ledger {
    totals: BTreeMap<String, u64>,
    /// Of each flow, by receiver.
    pub(crate) legs: [Vec<Leg>; 2],
    /// Deaths of workers.
    pub(crate) restarts: u64,
}

impl Ledger {
    /// Waits until nothing moves, and proves that all adds up, totals and each worker.
    pub(crate) fn at_rest(place: &Place) -> Result<Self> {
        let deadline = Instant::now() + SOON;
        let mut stats = place.relay.stats();
        loop {
            thread::sleep(STILL);
            let now = place.relay.stats();
            if now["totals"] == stats["totals"] {
                break;
            }
            ensure!(Instant::now() < deadline, "counters still move {SOON:?} after the last packet: {now:#}");
            stats = now;
        }
        Self::of(&stats)
    }

    fn of(stats: &Value) -> Result<Self> {
        ingress(&stats["totals"])?;
        egress(&stats["totals"])?;
        let all = |name: &str| stats[name].as_array().into_iter().flatten();
        for worker in all("workers") {
            let dropped = worker["drops"].as_object().into_iter().flatten();
            // Among buf_exhaust with those that no slot was free for.
            let dropped = dropped.filter(|(reason, _)| *reason != "truncated");
            let dropped: u64 = dropped.filter_map(|(_, count)| count.as_u64()).sum();
            ensure!(
                number(worker, "recv") == number(worker, "relayed") + dropped + number(worker, "buf_exhaust"),
                "not one reason for each packet that was not relayed: {worker:#}"
            );
        }
        let totals = stats["totals"].as_object().into_iter().flatten();
        let totals: BTreeMap<_, _> =
            totals.filter_map(|(name, count)| Some((name.clone(), count.as_u64()?))).collect();
        let restarts = all("workers").map(|worker| number(worker, "restarts")).sum();
        Ok(Self { totals, legs: [legs(stats, 0, FLOWS)?, legs(stats, 1, TWICE)?], restarts })
    }

    /// A total.
    pub(crate) fn total(&self, name: &str) -> u64 {
        self.totals[name]
    }

    /// What was counted since `before`.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let minus = |(name, count): (&String, &u64)| (name.clone(), count - before.totals[name]);
        let legs = [0, 1].map(|receiver| {
            let flows = self.legs[receiver].iter().zip(&before.legs[receiver]);
            let minus = |(now, then): (&Leg, &Leg)| Leg {
                sent: now.sent - then.sent,
                missed: now.missed - then.missed,
            };
            flows.map(minus).collect()
        });
        let totals = self.totals.iter().map(minus).collect();
        Self { totals, legs, restarts: self.restarts - before.restarts }
    }
}

/// What one leg of the first flows' rules has counted.
fn legs(stats: &Value, leg: usize, flows: usize) -> Result<Vec<Leg>> {
    let rules = stats["rules"].as_array().context("rules")?;
    let flow = |flow| {
        let rule = rules.iter().find(|rule| rule["name"] == rule_name(flow)).context("a flow's rule")?;
        let leg = &rule["legs"][leg];
        let missed = number(leg, "errors") + number(&leg["drops"], "pending") + number(&leg["drops"], "ttl");
        Ok(Leg { sent: number(leg, "packets"), missed })
    };
    (0..flows).map(flow).collect()
}

fn ingress(counters: &Value) -> Result<()> {
    let parts = ["matched", "parse_err", "no_match", "buf_exhaust"];
    let sum: u64 = parts.iter().map(|name| number(counters, name)).sum();
    ensure!(number(counters, "recv") == sum, "recv is not the sum of {parts:?}: {counters:#}");
    Ok(())
}

fn egress(counters: &Value) -> Result<()> {
    let sum = number(counters, "sent") + number(counters, "errors");
    ensure!(number(counters, "submitted") == sum, "submitted is not sent and errors: {counters:#}");
    Ok(())
}
