//! Many streams, many outputs, and rules that share a group.

use std::collections::HashMap;

use testbed::{Injector, rule, skip_unless_available};

use crate::bed::{Bed, QUIET, SOON};
use crate::expected::{Expected, payload, payloads};

#[test]
fn fifty_streams_at_once_lose_nothing_and_keep_their_order() {
    skip_unless_available!();
    const STREAMS: usize = 50;
    const EACH: usize = 100;
    let rules: String = (0..STREAMS)
        .map(|stream| {
            let (input, output) =
                (format!("239.1.1.{stream}%r-in:5000"), format!("239.2.{stream}.2%r-out1:{}", 6000 + stream));
            rule(&format!("stream-{stream}"), &input, &[&output])
        })
        .collect();
    let mut bed = Bed::new("rlf", 1, &rules);
    let sent = |stream: usize, number: usize| payload(stream * EACH + number, 100 + 20 * stream);
    for number in 0..EACH {
        for stream in 0..STREAMS {
            let to = format!("239.1.1.{stream}:5000");
            bed.input.udp("10.10.1.100:4000", &to, 16, 0, &sent(stream, number)).unwrap();
        }
    }
    let mut streams: HashMap<_, Vec<_>> = HashMap::new();
    for seen in bed.probes[0].expect(STREAMS * EACH, SOON) {
        streams.entry(seen.dst).or_default().push(seen);
    }
    for stream in 0..STREAMS {
        let to = format!("239.2.{stream}.2:{}", 6000 + stream);
        let own: Vec<_> = (0..EACH).map(|number| sent(stream, number)).collect();
        let expected = Expected::new(&bed.fan.egress[0], &bed.fan.receivers[0], &to);
        expected.assert(streams.get_mut(&format!("239.2.{stream}.2").parse().unwrap()).unwrap(), &own);
    }
    bed.probes[0].expect_silence(QUIET);
    let stats = bed.relay.stats();
    for rule in stats["rules"].as_array().unwrap() {
        assert_eq!(
            (rule["packets"].as_u64(), rule["state"].as_str()),
            (Some(100), Some("active")),
            "{rule:#}"
        );
    }
    bed.finish().assert_all_relayed((STREAMS * EACH) as u64, 1);
}

#[test]
fn one_rule_feeds_sixteen_outputs() {
    skip_unless_available!();
    let place = |at: usize| (format!("239.2.2.{at}%r-out{}:6000", 1 + at % 3), format!("239.2.2.{at}:6000"));
    let outputs: Vec<_> = (0..16).map(|at| place(at).0).collect();
    let mut bed = Bed::new("rlf", 3, &rule("sixteen", "239.1.1.1%r-in:5000", &outputs));
    let sent = payloads(200, 1000);
    for payload in &sent {
        bed.input.udp("10.10.1.100:4000", "239.1.1.1:5000", 16, 0, payload).unwrap();
    }
    for (port, probe) in bed.probes.iter_mut().enumerate() {
        let own: Vec<_> = (port..16).step_by(3).collect();
        let mut seen = probe.expect(own.len() * sent.len(), SOON);
        for at in own {
            let expected = Expected::new(&bed.fan.egress[port], &bed.fan.receivers[port], &place(at).1);
            expected.assert(&mut seen, &sent);
        }
        probe.expect_silence(QUIET);
    }
    let rule = bed.rule("sixteen");
    for leg in rule["legs"].as_array().unwrap() {
        assert_eq!((leg["packets"].as_u64(), leg["bytes"].as_u64()), (Some(200), Some(200_000)), "{leg:#}");
    }
    bed.finish().assert_all_relayed(200, 16);
}

#[test]
fn rules_share_a_group_on_different_interfaces() {
    skip_unless_available!();
    let rules = rule("from-in", "239.1.1.1%r-in:5000", &["239.2.2.2%r-out1:6000"])
        + &rule("from-out2", "239.1.1.1%r-out2:5000", &["239.3.3.3%r-out1:6000"]);
    let mut bed = Bed::new("rlf", 2, &rules);
    let second = Injector::on(&bed.fan.receivers[1].link).unwrap();
    let sent = payloads(30, 100);
    for (number, payload) in sent.iter().enumerate() {
        let from = if number % 2 == 0 { &bed.input } else { &second };
        from.udp("192.0.2.77:4000", "239.1.1.1:5000", 16, 0, payload).unwrap();
    }
    let mut seen = bed.probes[0].expect(30, SOON);
    for (to, first) in [("239.2.2.2:6000", 0), ("239.3.3.3:6000", 1)] {
        let own: Vec<_> = sent.iter().skip(first).step_by(2).cloned().collect();
        Expected::new(&bed.fan.egress[0], &bed.fan.receivers[0], to).assert(&mut seen, &own);
    }
    bed.probes[0].expect_silence(QUIET);
    for name in ["from-in", "from-out2"] {
        assert_eq!(bed.rule(name)["packets"], 15);
    }
    // One goes, the other stays, membership included.
    bed.relay.ctl_ok(&["remove", "from-in"]);
    bed.input.udp("192.0.2.77:4000", "239.1.1.1:5000", 16, 0, b"gone").unwrap();
    second.udp("192.0.2.77:4000", "239.1.1.1:5000", 16, 0, b"stays").unwrap();
    assert_eq!(bed.probes[0].expect_one(SOON).payload, b"stays");
    bed.probes[0].expect_silence(QUIET);
}

/// Rules change while a stream runs; it loses nothing and stays in order.
#[test]
fn a_stream_is_untouched_by_changes_of_other_rules() {
    skip_unless_available!();
    let kept = rule("kept", "239.1.1.1%r-in:5000", &["239.2.2.2%r-out1:6000"]);
    let mut bed = Bed::new("rlf", 1, &kept);
    let sent = payloads(600, 300);
    let (mut changes, mut next) = (0, sent.iter());
    while let Some(payload) = next.next() {
        bed.input.udp("10.10.1.100:4000", "239.1.1.1:5000", 16, 0, payload).unwrap();
        for payload in next.by_ref().take(29) {
            bed.input.udp("10.10.1.100:4000", "239.1.1.1:5000", 16, 0, payload).unwrap();
        }
        match changes % 3 {
            0 => bed.relay.ctl_ok(&["add", "other", "239.1.1.9%r-in", "239.2.2.9%r-out1"]),
            1 => bed.relay.ctl_ok(&["add", "--replace", "other", "239.1.1.9%r-in", "239.2.2.8%r-out1,ttl=3"]),
            _ => bed.relay.ctl_ok(&["remove", "other"]),
        };
        changes += 1;
    }
    let with_more = kept.clone() + &rule("more", "239.1.1.8%r-in:5000", &["239.2.2.8%r-out1:6000"]);
    bed.reload(&with_more);
    testbed::eventually(SOON, "SIGHUP applied the file", || bed.relay.ctl(&["show", "more"]).code() == 0);
    let mut seen = bed.probes[0].expect(600, SOON);
    Expected::new(&bed.fan.egress[0], &bed.fan.receivers[0], "239.2.2.2:6000").assert(&mut seen, &sent);
    assert_eq!(bed.rule("kept")["packets"], 600);
    bed.finish().assert_all_relayed(600, 1);
}
