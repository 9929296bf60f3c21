//! What leaves: frames of wire size, headers as asked, evenly, and errors that are not loss.

use std::net::IpAddr;

use mcr::generator::header::Header;
use testbed::process::Signal;
use testbed::{Probe, skip_unless_available};

use super::cable::{Cable, LONG, assert_clean};

#[test]
fn every_kind_of_address_and_flow() {
    skip_unless_available!();
    let cable = Cable::new();
    for (to, at, flows) in [
        ("239.1.1.1%s0:5000", "239.1.1.1%d0:5000", 1),
        ("239.1.1.254%s0:5000", "239.1.1.254%d0:5000", 7),
        ("[ff3e::ffff]%s0:5000", "[ff3e::ffff]%d0:5000", 3),
        ("10.10.1.2:5000", "10.10.1.2:5000", 2),
        ("[fd00:1::2]%s0:5000", "[fd00:1::2]%d0:5000", 1),
    ] {
        let outcome = cable.run(
            &format!("{to} --flows {flows} --count 100 --size 18"),
            &format!("{at} --flows {flows} --count 100"),
        );
        assert_clean(&outcome, 100);
        let lines = outcome.received["flows"].as_array().unwrap();
        let received: Vec<_> = lines.iter().map(|line| line["received"].as_u64().unwrap()).collect();
        let share = |flow| 100 / flows + u64::from(flow < 100 % flows);
        assert_eq!(received, (0..flows).map(share).collect::<Vec<_>>(), "{to}");
        assert_eq!(outcome.sent["bytes"], 1800);
    }
}

/// Bursts leave in three ways, by what the device does and how many flows there are; on the wire all are alike.
#[test]
fn bursts_leave_as_frames_of_wire_size() {
    skip_unless_available!();
    let cable = Cable::new();
    for (segmentation, flows, rate, path) in [
        (true, 1, "150000", "frames"),
        (true, 1, "max", "frames"),
        (false, 1, "max", "segmented"),
        (false, 5, "150000", "segmented"),
        (false, 40, "150000", "frames"),
    ] {
        cable.s0.link.offload("tx-udp-segmentation", segmentation).unwrap();
        for (to, at) in
            [("239.1.1.1%s0:5000", "239.1.1.1%d0:5000"), ("[ff3e::1]%s0:5000", "[ff3e::1]%d0:5000")]
        {
            let before = cable.d0.link.counter("rx", "packets").unwrap();
            let outcome = cable.run(
                &format!("{to} --flows {flows} --count 4000 --rate {rate}"),
                &format!("{at} --flows {flows} --count 4000"),
            );
            assert_clean(&outcome, 4000);
            assert_eq!(outcome.sent["path"], path);
            // A super-frame counts as one packet at the far end of the cable.
            let frames = cable.d0.link.counter("rx", "packets").unwrap() - before;
            assert!(frames >= 4000, "{frames} frames for 4000 packets as {path}");
        }
    }
}

#[test]
fn headers_are_as_asked_and_checksums_are_right() {
    skip_unless_available!();
    let cable = Cable::new();
    cable.s0.link.offload("tx", false).unwrap();
    for (to, source, rate) in [
        ("239.1.1.1%s0:5000", "203.0.113.7", "1000"),
        ("239.1.1.1%s0:5000", "203.0.113.7", "150000"),
        ("[ff3e::1]%s0:5000", "2001:db8::7", "1000"),
        ("[ff3e::1]%s0:5000", "2001:db8::7", "150000"),
    ] {
        let mut probe = Probe::on(&cable.d0.link).unwrap().only(|seen| seen.dport == Some(5000));
        let options = format!("--rate {rate} --count 70 --ttl 3 --dscp 46 --size 333");
        let sent = cable.send(&format!("{to} --source {source} {options}"));
        assert_eq!(sent.json()["sent"], 70, "{sent:?}");
        for (n, seen) in probe.expect(70, LONG).iter().enumerate() {
            assert_eq!(seen.src, source.parse::<IpAddr>().unwrap());
            assert_eq!((seen.ttl, seen.dscp), (3, 46));
            assert!(seen.checksums_valid() && !seen.super_frame, "{seen:?}");
            let header = Header::parse(&seen.payload).unwrap();
            assert_eq!((header.flow, header.sequence, seen.payload.len()), (0, n as u64, 333));
        }
    }
}

#[test]
fn low_rates_are_even() {
    skip_unless_available!();
    let cable = Cable::new();
    let mut probe = Probe::on(&cable.d0.link).unwrap().only(|seen| seen.dport == Some(5000));
    cable.send("239.1.1.1%s0:5000 --rate 500 --count 200");
    let times: Vec<_> = probe.expect(200, LONG).iter().map(|seen| seen.at_ns).collect();
    let mut gaps: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.sort_unstable();
    let median = gaps[gaps.len() / 2];
    assert!((1_900_000..2_100_000).contains(&median), "median gap {median} ns");
    // The schedule is absolute: being late now and then does not add up, so the most punctual of the first and
    // of the last packets agree.
    let lateness = |range: std::ops::Range<usize>| {
        range.map(|n| (times[n] - times[0]).cast_signed() - n as i64 * 2_000_000).min().unwrap()
    };
    let drift = lateness(150..200) - lateness(0..50);
    assert!(drift.abs() < 1_000_000, "{drift} ns of drift over 150 packets");
}

/// What a full queue refuses has no sequence number: the receiver sees no gap.
#[test]
fn refused_packets_are_errors_not_gaps() {
    skip_unless_available!();
    let cable = Cable::new();
    let queue = "tc qdisc add dev s0 root tbf rate 20mbit burst 3000 limit 6000";
    cable.s0.netns().tool(queue).unwrap();
    for (rate, path) in [("10000", "datagrams"), ("150000", "frames")] {
        let outcome =
            cable.run(&format!("239.1.1.1%s0:5000 --rate {rate} --count 5000"), "239.1.1.1%d0:5000");
        let number = |key: &str| outcome.sent[key].as_u64().unwrap();
        assert_eq!(outcome.sent["path"], path);
        assert_eq!(number("sent") + number("errors"), 5000, "{}", outcome.sent);
        assert!(number("errors") > 1000, "{}", outcome.sent);
        assert_eq!(outcome.received["received"], number("sent"));
        assert_eq!((&outcome.received["lost"], outcome.code), (&0.into(), 0), "{}", outcome.received);
    }
}

#[test]
fn sigint_ends_both_with_their_reports() {
    skip_unless_available!();
    let cable = Cable::new();
    let mut receiver = cable.receiver("239.1.1.1%d0:5000");
    let command = Cable::command(cable.s0.netns(), "send 239.1.1.1%s0:5000 --rate 50 --json");
    let mut sender = testbed::Daemon::start("send", command).unwrap();
    receiver.0.wait_line(|line| line.starts_with("received") && !line.contains("received 0 "), LONG);
    sender.signal(Signal::INT);
    assert_eq!(sender.wait(LONG).code(), Some(0));
    receiver.0.signal(Signal::INT);
    let (report, code) = receiver.report();
    assert_eq!((&report["lost"], code), (&0.into(), 0), "{report}");
    let sent: serde_json::Value = serde_json::from_str(&sender.lines().last().unwrap().text).unwrap();
    assert_eq!(report["received"], sent["sent"]);
}

#[test]
fn refusals_and_their_exit_codes() {
    skip_unless_available!();
    let cable = Cable::new();
    for (line, says) in [
        ("239.1.1.1:5000", "names no interface"),
        ("239.1.1.1%s0", "names no port"),
        ("239.1.1.1%none0:5000", "does not exist"),
        ("10.10.1.2", "names no port"),
        ("10.10.1.2:65535 --flows 2", "run past the last port"),
        ("239.1.1.1%s0:5000 --source fd00::1", "two families"),
        ("239.1.1.1%s0:5000 --source 239.1.1.2", "source 239.1.1.2 is a group: name a host's address"),
        ("[ff3e::1]%s0:5000 --source ff3e::2", "source ff3e::2 is a group: name a host's address"),
        ("239.1.1.1%s0:5000 --source 0.0.0.0", "source 0.0.0.0 is no host: leave it out"),
        ("239.1.1.2@239.1.1.1%s0:5000", "source 239.1.1.2 is a group: name a host's address"),
        ("239.1.1.1%s0:5000 --size 17", "18 to 65507"),
        ("239.1.1.1%s0:5000 --ttl 0", "--ttl"),
        ("239.1.1.1%s0:5000 --dscp 64", "0 to 63"),
        ("239.1.1.1%s0:5000 --rate 0", "whole number from 1"),
        ("239.1.1.1%s0:0", "port"),
    ] {
        let finished = cable.send(&format!("{line} --count 1"));
        assert_eq!(finished.code(), 2, "{line}: {finished:?}");
        assert!(finished.stderr.contains(says), "{line}: {finished:?}");
    }
}
