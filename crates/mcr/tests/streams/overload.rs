//! A relay that is offered more than it can take: it sheds at its ring, says how much, and is right.

use std::time::Duration;

use mcast::OUTPUTS_MAX;
use serde_json::Value;
use testbed::process::Signal;
use testbed::{Daemon, Line, rule, skip_unless_available};

use crate::fixture::{SOON, cores_to_itself, last_stats, relay, send, without_ipv6};

const DONE: Duration = Duration::from_secs(60);

/// An operator notices that a change takes a second: five times that. A worker that takes longer is taken for dead.
const ANSWERED: Duration = Duration::from_secs(5);

/// A line whose sender and relay put frames of wire size on their links, and nothing else.
fn line() -> Line {
    let line = Line::new("str-over").unwrap();
    for port in [&line.sender, &line.ingress] {
        without_ipv6(port.netns());
    }
    for port in [&line.sender, &line.egress] {
        port.link.offload("tx-udp-segmentation", false).unwrap();
    }
    line
}

/// Offers all one sender can to a rule file, and checks every count against what the sender and the links say.
/// Rules must relay `legs` copies of each packet.
fn sheds_visibly(file: &str, offer: &str, legs: u64, rules: usize) {
    let line = line();
    let relay = relay(line.relay(), file);
    let frames_before = line.egress.link.counter("tx", "packets").unwrap();
    let sent = send(line.sender.netns(), offer, DONE);
    let sent = sent["sent"].as_u64().unwrap();
    // What waits in the ring is still relayed: all is done once every frame is accounted for.
    let by_rule = relay.wait_stats(SOON, |stats| {
        let total = |name: &str| stats["totals"][name].as_u64().unwrap();
        total("recv") >= sent && total("submitted") == legs * total("matched")
    });
    let frames = line.egress.link.counter("tx", "packets").unwrap() - frames_before;
    let stats = last_stats(relay);

    let (ingress, egress) = (stats.ingress, stats.egress);
    assert!(ingress.buf_exhaust > 0, "not overloaded by {sent}: {stats:?}");
    assert_eq!(ingress.recv, sent, "{stats:?}");
    assert_eq!((ingress.parse_err, ingress.no_match), (0, 0), "{stats:?}");
    assert_eq!(ingress.matched + ingress.buf_exhaust, sent, "{stats:?}");
    assert_eq!((egress.errors, egress.submitted), (0, egress.sent), "{stats:?}");
    assert_eq!(egress.sent, legs * ingress.matched, "{stats:?}");
    assert_eq!(frames, egress.sent, "frames that left: {stats:?}");

    let by_rule = by_rule["rules"].as_array().unwrap();
    assert_eq!(by_rule.len(), rules);
    let mut relayed = 0;
    for rule in by_rule {
        let packets = rule["packets"].as_u64().unwrap();
        relayed += packets;
        for leg in rule["legs"].as_array().unwrap() {
            assert_eq!(leg["packets"], packets, "{rule}");
            assert_eq!(leg["errors"], 0, "{rule}");
        }
    }
    assert_eq!(relayed, ingress.matched, "the rules' packets: {stats:?}");
}

#[test]
fn sixteen_legs_at_full_offer_lose_at_the_ring_alone() {
    skip_unless_available!();
    let _cores = cores_to_itself();
    let outputs: Vec<String> = (1..=16).map(|leg| format!("239.2.0.{leg}%r-out:6000")).collect();
    let file = rule("fan", "239.1.1.1%r-in:5000", &outputs);
    sheds_visibly(&file, "239.1.1.1%s0:5000 --rate max --duration 5", 16, 1);
}

#[test]
fn a_small_ring_loses_of_many_flows_and_counts_each() {
    skip_unless_available!();
    let _cores = cores_to_itself();
    // Flows spread over all workers, each with the smallest ring there is.
    let mut file = "[worker]\nring_mib = 1\n".to_owned();
    for flow in 1..=64 {
        let outputs = [1, 2].map(|leg| format!("239.2.{leg}.{flow}%r-out:6000"));
        file += &rule(&format!("flow-{flow}"), &format!("239.1.1.{flow}%r-in:5000"), &outputs);
    }
    sheds_visibly(&file, "239.1.1.1%s0:5000 --flows 64 --rate max --duration 5 --size 200", 2, 64);
}

/// A worker that is behind, one datagram at a time to each of as many outputs as a rule may have, still hears of
/// changes.
#[test]
fn rules_change_at_once_under_the_largest_fan_out() {
    skip_unless_available!();
    let _cores = cores_to_itself();
    let line = line();
    let output = |leg: usize| format!("239.2.{}.{}%r-out:6000,batch=1", leg / 256, leg % 256);
    let outputs: Vec<String> = (0..OUTPUTS_MAX).map(output).collect();
    // The second rule's input outlasts the first, so that all that is sent is counted to the end.
    let file = rule("fan", "239.1.1.1%r-in:5000", &outputs)
        + &rule("stays", "239.1.1.2%r-in:5000", &["239.2.9.2%r-out:6000"]);
    let relay = relay(line.relay(), &file);
    let args = ["--json", "send", "239.1.1.1%s0:5000", "--rate", "20000", "--duration", "60"];
    let mut sender = Daemon::spawn(line.sender.netns(), env!("CARGO_BIN_EXE_mcrgen"), &args).unwrap();
    let exhausted = |stats: &Value| stats["totals"]["buf_exhaust"].as_u64().unwrap();
    let at_first = exhausted(&relay.wait_stats(SOON, |stats| exhausted(stats) > 0));
    let change = |args: &[&str]| {
        let finished = relay.ctl_within(args, ANSWERED);
        assert_eq!(finished.code(), 0, "{finished:?}");
    };
    for _ in 0..5 {
        change(&["add", "other", "239.1.1.3%r-in:5000", "239.2.9.3%r-out:6000"]);
        change(&["remove", "other"]);
    }
    let after = relay.stats();
    assert!(exhausted(&after) > at_first && sender.is_running(), "no longer overloaded: {after:#}");
    change(&["remove", "fan"]);
    for worker in relay.stats()["workers"].as_array().unwrap() {
        assert_eq!((&worker["restarts"], &worker["state"]), (&0.into(), &"active".into()), "{worker:#}");
    }

    sender.signal(Signal::INT);
    assert_eq!(sender.wait(SOON).code(), Some(0));
    let report: Value = serde_json::from_str(&sender.lines().last().unwrap().text).unwrap();
    let sent = report["sent"].as_u64().unwrap();
    relay.wait_stats(SOON, |stats| stats["totals"]["recv"] == sent);
    let stats = last_stats(relay);
    assert_eq!((stats.ingress.recv, stats.ingress.parse_err), (sent, 0), "{stats:?}");
    assert_eq!(stats.egress.submitted, OUTPUTS_MAX as u64 * stats.ingress.matched, "{stats:?}");
}
