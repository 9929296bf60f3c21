//! A minute: traffic with its disturbances, then rest, and what everybody counted.

use std::fmt;
use std::thread;

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::Value;
use testbed::process::Signal;
use testbed::{Daemon, Port, run};

use crate::disturb;
use crate::ledger::Ledger;
use crate::place::{FLOWS, Place, SOON, TWICE, mcrgen, number};

/// Seconds of traffic; the rest of the minute is for its receivers to end and begin.
const TRAFFIC: u64 = 50;
/// UDP payload.
const BYTES: &str = "200";
/// What the kernel may have taken and not delivered at two flaps: a send call under way at each.
const VANISHED_MAX: u64 = 2 * 64;
/// What a worker that dies may have sent and not yet marked as such, and its successor sends again.
const ROUND: u64 = 4096;

/// What was counted in one minute, in which all agreed.
pub(crate) struct Minute {
    number: u64,
    sent: u64,
    counted: Ledger,
    repeated: u64,
    vanished: u64,
}

/// A flow as a receiver saw it.
#[derive(Debug)]
struct Flow {
    arrived: u64,
    /// Of those, repeats by the successor of a worker that died; it may have died between a send call and its count.
    again: u64,
}

impl Minute {
    /// Heads the lines of all minutes.
    pub(crate) const HEADER: &str =
        "minute     sent     recv  matched exhausted  relayed repeated errors pending vanished";

    /// Sends for most of a minute and disturbs; an error is what did not agree.
    pub(crate) fn run(place: &Place, minute: u64, pps: u64) -> Result<Self> {
        let with_input_flap = minute.is_multiple_of(3);
        let before = Ledger::at_rest(place)?;
        let (arrived_before, left_before) = (arrived(place)?, left(place)?);
        let mut receivers =
            [receive(&place.fan.receivers[0], 2, FLOWS), receive(&place.fan.receivers[1], 3, TWICE)]
                .into_iter()
                .collect::<Result<Vec<_>>>()?;
        let sent = thread::scope(|scope| {
            let sending = scope.spawn(|| send(place, pps));
            let disturbed = disturb::all(place, with_input_flap);
            let sent = sending.join().map_err(|_| anyhow!("the sender failed"))?;
            disturbed.and(sent)
        })?;
        let after = Ledger::at_rest(place)?;
        let counted = after.since(&before);
        let received = receivers.iter_mut().map(report).collect::<Result<Vec<_>>>()?;
        let left: Vec<u64> = left(place)?.iter().zip(left_before).map(|(now, then)| now - then).collect();
        let sent = number(&sent, "sent");
        // While its link is down what was sent does not arrive.
        let arrived = if with_input_flap { arrived(place)? - arrived_before } else { sent };
        Self::agreed(minute, [sent, arrived], counted, &received, &left).with_context(|| {
            format!("sender: {sent:#}\nreceivers: {received:#?}\nleft: {left:?}\nrelay: {after:#?}")
        })
    }

    fn agreed(
        minute: u64,
        [sent, arrived]: [u64; 2],
        counted: Ledger,
        received: &[Value],
        left: &[u64],
    ) -> Result<Self> {
        let of = |name: &str| counted.total(name);
        ensure!((of("parse_err"), of("no_match")) == (0, 0), "packets that no rule takes: {counted:#?}");
        ensure!(of("recv") == arrived, "{arrived} of {sent} arrived, the relay counted {counted:#?}");
        let distinct = number(&received[0], "received") - number(&received[0], "duplicated");
        ensure!(distinct == of("matched"), "{distinct} got out of {} that matched", of("matched"));
        for (received, left) in received.iter().zip(left) {
            ensure!(number(received, "tap_lost") == 0, "a receiver was too slow to count");
            let arrived = number(received, "received");
            ensure!(arrived == *left, "{left} left for a receiver, {arrived} arrived");
        }
        let [first, second] = [0, 1].map(|at| flows(&received[at]));
        let (first, second) = (first?, second?);
        for (flow, leg) in first.iter().zip(&counted.legs[0]) {
            ensure!(leg.missed == 0, "{leg:?} on a link that did not flap");
            ensure!((leg.sent..=leg.sent + flow.again).contains(&flow.arrived), "{leg:?} of {flow:?}");
        }
        let mut vanished = 0;
        for ((due, flow), leg) in first.iter().zip(&second).zip(&counted.legs[1]) {
            ensure!(flow.arrived <= leg.sent + flow.again, "{leg:?} of {flow:?}");
            let (due, again) = (due.arrived - due.again, due.again + flow.again);
            let either = leg.sent + leg.missed;
            ensure!(
                (due.saturating_sub(again)..=due + again).contains(&either),
                "{leg:?} of {due} due and {flow:?}"
            );
            vanished += leg.sent.saturating_sub(flow.arrived);
        }
        ensure!(
            vanished <= VANISHED_MAX,
            "{vanished} packets were sent on the link that flaps and did not arrive"
        );
        let repeated = first.iter().chain(&second).map(|flow| flow.again).sum();
        ensure!(
            repeated <= 2 * counted.restarts * ROUND,
            "{repeated} repeated by {} deaths",
            counted.restarts
        );
        Ok(Self { number: minute, sent, counted, repeated, vanished })
    }

    /// Packets of its sender.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }
}

impl fmt::Display for Minute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |name: &str| self.counted.total(name);
        write!(
            f,
            "{:6} {:8} {:8} {:8} {:9} {:8} {:8} {:6} {:7} {:8}",
            self.number,
            self.sent,
            of("recv"),
            of("matched"),
            of("buf_exhaust"),
            of("sent"),
            self.repeated,
            of("errors"),
            self.counted.legs[1].iter().map(|leg| leg.missed).sum::<u64>().saturating_sub(of("errors")),
            self.vanished,
        )
    }
}

fn flows(received: &Value) -> Result<Vec<Flow>> {
    let flows = received["flows"].as_array().context("flows of mcrgen recv")?;
    let flow = |flow| Flow { arrived: number(flow, "received"), again: number(flow, "duplicated") };
    Ok(flows.iter().map(flow).collect())
}

fn send(place: &Place, pps: u64) -> Result<Value> {
    let (rate, count, flows) = (pps.to_string(), (pps * TRAFFIC).to_string(), FLOWS.to_string());
    let arguments =
        ["send", "239.1.0.0%s0:5000", "--size", BYTES, "--rate", &rate, "--count", &count, "--flows", &flows];
    let sent = run(mcrgen(place.fan.sender.netns(), &arguments), 4 * SOON);
    ensure!(sent.code() == 0, "mcrgen send: {}", sent.stderr);
    Ok(sent.json())
}

/// Starts a receiver of groups 239.N.0.0 and so on.
fn receive(port: &Port, group: u8, flows: usize) -> Result<Daemon> {
    let (to, flows) = (format!("239.{group}.0.0%d0:6000"), flows.to_string());
    // A link that flaps on a busy machine is silent for seconds.
    let arguments = ["recv", &to, "--flows", &flows, "--duration", "600", "--silence", "60"];
    let receiver = mcrgen(port.netns(), &arguments);
    let mut receiver = Daemon::start("mcrgen recv", receiver)?;
    receiver.wait_line(|line| line.starts_with("ready: "), SOON);
    Ok(receiver)
}

/// Ends a receiver for its report.
fn report(receiver: &mut Daemon) -> Result<Value> {
    receiver.signal(Signal::INT);
    // Not 0: what is lost at links that flap is missing.
    let _ = receiver.wait(SOON);
    let lines = receiver.lines();
    let report = lines.iter().find_map(|line| serde_json::from_str(&line.text).ok());
    report.context("no report of mcrgen recv")
}

/// Packets that the kernel has had from the input's link.
fn arrived(place: &Place) -> Result<u64> {
    place.fan.ingress.link.counter("rx", "packets")
}

/// Packets that have left on each of the relay's output links, those to the receivers first.
fn left(place: &Place) -> Result<Vec<u64>> {
    place.fan.egress.iter().map(|port| port.link.counter("tx", "packets")).collect()
}
