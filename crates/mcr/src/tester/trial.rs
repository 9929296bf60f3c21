//! One trial: what was offered, what arrived at the outputs, and what that says of the device.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::listener::{ListenerReport, OutputReport};
use super::offer::{GRACE, GRACE_LEAST_NS, Offered};
use super::search::Said;
use crate::generator::pacing::{Rate, packets_within};
use crate::generator::tally::{Latency, latencies};

/// Packets at the device's outputs, all of them together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// What would have arrived without loss: packets offered, once for each output of their flow.
    pub expected: u64,
    /// Intact packets that did, each once.
    pub received: u64,
    /// What lacks.
    pub lost: u64,
    /// Packets that arrived once more.
    pub duplicated: u64,
    /// Packets that arrived after a later one of their flow (RFC 4737, section 3.3).
    pub reordered: u64,
    /// Packets with right checksums and wrong content, and those shorter than they say.
    pub corrupted: u64,
    /// Packets with a wrong IP or UDP checksum.
    pub bad_checksum: u64,
    /// Packets of others to the same groups and ports.
    pub foreign: u64,
    /// IP fragments, which are not put together here.
    pub fragments: u64,
    /// Packets of another trial, at another flow's group or port, or at a port that is no output's.
    pub stray: u64,
}

impl Counts {
    /// Part of what was expected that did not arrive.
    pub fn loss(&self) -> f64 {
        if self.expected == 0 { 0.0 } else { self.lost as f64 / self.expected as f64 }
    }

    /// Adds another's packets.
    pub fn add(&mut self, other: &Self) {
        self.expected += other.expected;
        self.received += other.received;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.corrupted += other.corrupted;
        self.bad_checksum += other.bad_checksum;
        self.foreign += other.foreign;
        self.fragments += other.fragments;
        self.stray += other.stray;
    }

    /// What went wrong beside loss, in few words; empty if nothing did.
    pub fn faults(&self) -> String {
        let faults = [
            (self.duplicated, "duplicated"),
            (self.reordered, "reordered"),
            (self.corrupted, "corrupted"),
            (self.bad_checksum, "bad checksum"),
            (self.foreign, "foreign"),
            (self.fragments, "fragments"),
            (self.stray, "stray"),
        ];
        let named = faults.iter().filter(|(count, _)| *count > 0);
        named.map(|(count, name)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
    }

    /// One output's account, of which each flow was offered as `sent` says.
    fn of(output: &OutputReport, sent: &[u64]) -> Self {
        let tally = &output.tally;
        let mut distinct = vec![0; sent.len()];
        for line in &tally.flows {
            distinct[usize::from(line.flow)] = line.received - line.duplicated;
        }
        Self {
            expected: sent.iter().sum(),
            received: distinct.iter().sum(),
            lost: sent.iter().zip(&distinct).map(|(sent, distinct)| sent.saturating_sub(*distinct)).sum(),
            duplicated: tally.duplicated,
            reordered: tally.reordered,
            corrupted: tally.corrupted,
            bad_checksum: tally.bad_checksum,
            foreign: tally.foreign,
            fragments: tally.fragments,
            stray: output.strays,
        }
    }
}

/// What a trial says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// No output lost more than is accepted.
    Passed,
    /// One did.
    Lost,
    /// Nothing of the device: the tester is at fault, as `reason` says.
    Void,
}

/// Multicast or unicast (RFC 3918, section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// To groups.
    Multicast,
    /// To hosts, beside them.
    Unicast,
}

/// One class's part of a trial.
#[derive(Debug, Clone, Serialize)]
pub struct ClassCounts {
    /// Which.
    pub class: Class,
    /// Packets per second offered of it.
    pub offered_pps: f64,
    /// What arrived.
    #[serde(flatten)]
    pub counts: Counts,
    /// Part of it lost.
    pub loss: f64,
}

impl ClassCounts {
    /// A class's part of what was offered within so many seconds, lane by lane of `classes`.
    fn of(class: Class, seconds: f64, offered: &Offered, arrived: &[Arrived], classes: &[Class]) -> Self {
        let of_class = |lane: usize| classes[lane] == class;
        let mut counts = Counts::default();
        for receiver in arrived.iter().filter(|receiver| of_class(receiver.lane)) {
            let sent = &offered.flows[receiver.lane];
            receiver.report.outputs.iter().for_each(|output| counts.add(&Counts::of(output, sent)));
        }
        let lanes = offered.flows.iter().enumerate().filter(|(lane, _)| of_class(*lane));
        let sent: u64 = lanes.flat_map(|(_, flows)| flows).sum();
        Self { class, offered_pps: sent as f64 / seconds, counts, loss: counts.loss() }
    }
}

/// One trial.
#[derive(Debug, Clone, Serialize)]
pub struct Trial {
    /// Packets per second asked for; absent: the most there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked_pps: Option<u64>,
    /// Packets per second really offered, frames of wire size.
    pub offered_pps: f64,
    /// Packets the kernel took from the tester, and those it refused.
    pub sent: u64,
    /// Those it refused.
    pub refused: u64,
    /// How long the offer took, seconds.
    pub duration_s: f64,
    /// From the offer's begin to the last packet's arrival, or to the offer's end if that was later, seconds.
    pub delivery_s: f64,
    /// The longest a packet left after it was due, microseconds.
    pub late_us: f64,
    /// How packets left: `datagrams`, `segmented` or `frames`.
    pub path: String,
    /// What arrived, all outputs together.
    #[serde(flatten)]
    pub counts: Counts,
    /// Part of all that was lost.
    pub loss: f64,
    /// The same at the output that lost most.
    pub worst_loss: f64,
    /// Each class's part; empty where there is one class.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<ClassCounts>,
    /// Frames the tester's own receivers had no room for.
    pub tap_lost: u64,
    /// From send call to arrival at an output, microseconds.
    pub latency_us: Option<Latency>,
    /// Why that is absent though packets came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub untimed: Option<String>,
    /// What it says.
    pub verdict: Verdict,
    /// Why it says nothing of the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How a trial is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct TrialPlan {
    pub(super) rate: Rate,
    pub(super) duration: Duration,
    /// Part of the packets that may be lost at an output.
    pub(super) accepted: f64,
    /// Whether it is made for its latencies: one that has none of the device's says nothing.
    pub(super) timed: bool,
}

impl TrialPlan {
    fn duration_ns(&self) -> u64 {
        u64::try_from(self.duration.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// What receivers came to, with the lane each of them takes.
pub(super) struct Arrived {
    pub(super) lane: usize,
    pub(super) report: ListenerReport,
    /// Whether they have read all that came.
    pub(super) all_read: bool,
}

impl Trial {
    /// Judges what was offered by `plan`, lane by lane of `classes`, against what arrived. With it come its latencies,
    /// nanoseconds.
    pub(super) fn judge(
        plan: &TrialPlan,
        offered: &Offered,
        arrived: &[Arrived],
        classes: &[Class],
    ) -> (Self, Histogram<u64>) {
        // The last packet of a paced offer leaves before its last interval is over.
        let paced = if plan.rate == Rate::Max { 1 } else { plan.duration_ns() };
        let seconds = offered.elapsed_ns.max(paced) as f64 / 1e9;
        let classes = [Class::Multicast, Class::Unicast]
            .map(|class| ClassCounts::of(class, seconds, offered, arrived, classes));
        let mut counts = Counts::default();
        classes.iter().for_each(|class| counts.add(&class.counts));
        let (mut worst_loss, mut times): (f64, _) = (0.0, latencies());
        for receiver in arrived {
            for output in &receiver.report.outputs {
                worst_loss = worst_loss.max(Counts::of(output, &offered.flows[receiver.lane]).loss());
                // Both have the same bounds.
                let _ = times.add(&output.latencies);
            }
        }
        let sent = offered.sent();
        let last_ns = arrived.iter().map(|receiver| receiver.report.last_ns).max().unwrap_or_default();
        let delivery_ns = last_ns.saturating_sub(offered.start_ns);
        let asked_pps = match plan.rate {
            Rate::PerSecond(rate) => Some(rate.get()),
            Rate::Max => None,
        };
        let (verdict, reason) = verdict(plan, offered, arrived, worst_loss);
        let untimed = offered.held_up.clone();
        let trial = Self {
            asked_pps,
            offered_pps: sent as f64 / seconds,
            sent,
            refused: offered.refused,
            duration_s: seconds,
            delivery_s: seconds.max(delivery_ns as f64 / 1e9),
            late_us: offered.late_ns as f64 / 1000.0,
            path: offered.path.clone(),
            loss: counts.loss(),
            counts,
            worst_loss,
            classes: classes.into(),
            tap_lost: tap_lost(arrived),
            latency_us: Latency::of(&times).filter(|_| untimed.is_none()),
            untimed,
            verdict,
            reason,
        };
        (trial, times)
    }

    /// Whether nothing came of what was offered.
    pub fn is_silent(&self) -> bool {
        self.sent > 0 && self.counts.received == 0
    }

    /// Packets per second that arrived at all outputs together.
    pub fn forwarded_pps(&self) -> f64 {
        self.counts.received as f64 / (self.duration_s + self.held_s())
    }

    /// How long the device went on sending what it held when the offer was over, seconds, if that was longer than
    /// the offer may be late: it may have taken in more than it forwards.
    pub fn drained_s(&self) -> Option<f64> {
        let drained = self.held_s();
        (drained > (self.duration_s * GRACE).max(GRACE_LEAST_NS as f64 / 1e9)).then_some(drained)
    }

    /// How much longer than the offer the delivery took, seconds, less the shortest time a packet was on its way.
    fn held_s(&self) -> f64 {
        let path = self.latency_us.map_or(0.0, |latency| latency.min / 1e6);
        (self.delivery_s - self.duration_s - path).max(0.0)
    }

    /// What it says to a search.
    pub fn said(&self) -> Said {
        match self.verdict {
            Verdict::Passed => Said::Passed,
            Verdict::Lost => Said::Lost,
            Verdict::Void => Said::Nothing,
        }
    }
}

/// What a trial says where an output lost that much, and why if that is nothing of the device.
fn verdict(
    plan: &TrialPlan,
    offered: &Offered,
    arrived: &[Arrived],
    worst_loss: f64,
) -> (Verdict, Option<String>) {
    let unknown = uncounted(arrived)
        .or_else(|| offered.kept_back.clone())
        .or_else(|| offered.held_up.clone().filter(|_| plan.timed));
    if let Some(why) = unknown {
        return (Verdict::Void, Some(why));
    }
    // A device that loses at less than was asked for would at that as well.
    if worst_loss > plan.accepted && offered.sent() > 0 {
        return (Verdict::Lost, None);
    }
    match not_offered(plan, offered) {
        Some(why) => (Verdict::Void, Some(why)),
        None => (Verdict::Passed, None),
    }
}

fn tap_lost(arrived: &[Arrived]) -> u64 {
    arrived.iter().map(|receiver| receiver.report.tap_lost).sum()
}

/// Why it is not known what arrived; absent if it is.
fn uncounted(arrived: &[Arrived]) -> Option<String> {
    let tap_lost = tap_lost(arrived);
    if tap_lost > 0 {
        return Some(format!(
            "the tester's own receivers had no room for {tap_lost} frames: give them cores of their own (--rx-cores)"
        ));
    }
    let all_read = arrived.iter().all(|receiver| receiver.all_read);
    (!all_read).then(|| {
        "the tester's own receivers could not read all that came: give them cores of their own (--rx-cores)".to_owned()
    })
}

/// Why the offer says nothing of the device; absent if it does.
fn not_offered(plan: &TrialPlan, offered: &Offered) -> Option<String> {
    match plan.rate {
        Rate::PerSecond(rate) => offered.shortfall(packets_within(rate, plan.duration_ns())),
        Rate::Max => (offered.sent() == 0).then(|| "the tester could send nothing".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A trial of 1 s and 1000 packets, the last of which arrived `delivery_s` after the first was offered, on a path that
    /// takes `path_s`.
    fn trial(delivery_s: f64, path_s: f64) -> Trial {
        let plan =
            TrialPlan { rate: Rate::Max, duration: Duration::from_secs(1), accepted: 0.0, timed: false };
        let offered = Offered { elapsed_ns: 1_000_000_000, ..Offered::default() };
        let (mut trial, _) = Trial::judge(&plan, &offered, &[], &[]);
        let path = path_s * 1e6;
        trial.latency_us = Some(Latency { min: path, p50: path, p99: path, p999: path, max: path });
        (trial.counts.received, trial.delivery_s) = (1000, delivery_s);
        trial
    }

    /// A long path is no queue.
    #[test]
    fn what_a_device_held_is_more_than_its_path_takes() {
        for (delivery_s, path_s, drained_s, pps) in
            [(1.0, 0.0, None, 1000.0), (1.3, 0.3, None, 1000.0), (1.25, 0.0, Some(0.25), 800.0)]
        {
            let trial = trial(delivery_s, path_s);
            assert_eq!((trial.drained_s(), trial.forwarded_pps().round()), (drained_s, pps), "{trial:?}");
        }
    }
}
