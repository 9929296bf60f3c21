//! What the kernel, a device or a receiver refuses costs one leg its packets, visibly, and no other leg any.

use testbed::{Datagram, eventually, rule, skip_unless_available};

use crate::bed::{Bed, QUIET, SOON};
use crate::expected::{Expected, payload, payloads};

/// What has left on one leg, and what was refused there.
fn sent_and_errors(bed: &Bed, rule: &str, leg: usize) -> (u64, u64) {
    let leg = bed.leg(rule, leg);
    (leg["packets"].as_u64().unwrap(), leg["errors"].as_u64().unwrap())
}

/// A host without a listener answers with ICMP errors, which the kernel reports on the next send of the socket
/// that the legs share.
fn a_closed_port(input: &str, from: &str, to: &str, outputs: [&str; 3], expected: [&str; 3]) {
    let mut bed = Bed::new("rle", 1, &rule("closed", input, &outputs));
    let _open = bed.listen(0, expected[1]);
    // The receiver answers each, not some a second.
    for limit in ["net.ipv4.icmp_ratelimit", "net.ipv6.icmp.ratelimit"] {
        bed.fan.receivers[0].netns().sysctl(limit, "0").unwrap();
    }
    let sent = payloads(60, 100);
    let mut seen = Vec::new();
    for payload in &sent {
        bed.input.send(&Datagram::between(from, to).payload(payload.clone())).unwrap();
        seen.extend(bed.probes[0].expect(3, SOON));
    }
    for to in expected {
        Expected::new(&bed.fan.egress[0], &bed.fan.receivers[0], to).assert(&mut seen, &sent);
    }
    bed.probes[0].expect_silence(QUIET);
    let account = bed.account();
    account.assert_all_relayed(60, 3);
    let unreachable = |leg: usize| bed.leg("closed", leg)["drops"]["unreachable"].as_u64().unwrap();
    assert!(unreachable(0) > 0, "{:#}", bed.rule("closed"));
    assert_eq!((unreachable(1), unreachable(2)), (0, 0), "{:#}", bed.rule("closed"));
    eventually(SOON, "the leg is failed and its rule active", || {
        let rule = bed.rule("closed");
        let states =
            [&rule["state"], &rule["legs"][0]["state"], &rule["legs"][1]["state"], &rule["legs"][2]["state"]];
        states.map(|state| state.as_str().unwrap_or_default()) == ["active", "failed", "active", "active"]
    });
    let reason = bed.leg("closed", 0)["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("refused") && reason.contains("receiver"), "{reason}");

    // A listener appears: the leg recovers by itself.
    let _listener = bed.listen(0, expected[0]);
    eventually(SOON, "the leg is active again", || {
        bed.input.send(&Datagram::between(from, to).payload(payload(99, 100))).unwrap();
        bed.probes[0].expect(3, SOON);
        bed.leg("closed", 0)["state"] == "active"
    });
    bed.finish();
}

#[test]
fn a_closed_port_harms_its_own_leg_only() {
    skip_unless_available!();
    a_closed_port(
        "239.1.1.1%r-in:5000",
        "10.10.1.100:4000",
        "239.1.1.1:5000",
        ["10.10.2.100:7000", "10.10.2.100:7001", "239.2.2.2%r-out1:6000"],
        ["10.10.2.100:7000", "10.10.2.100:7001", "239.2.2.2:6000"],
    );
}

#[test]
fn a_closed_ipv6_port_harms_its_own_leg_only() {
    skip_unless_available!();
    a_closed_port(
        "[ff3e::1:1]%r-in:5000",
        "[fd00:1::100]:4000",
        "[ff3e::1:1]:5000",
        ["[fd00:2::100]:7000", "[fd00:2::100]:7001", "[ff3e::2:2]%r-out1:6000"],
        ["[fd00:2::100]:7000", "[fd00:2::100]:7001", "[ff3e::2:2]:6000"],
    );
}

/// Two legs to one host, one port closed, in bursts: the open one loses nothing, also not the datagram that
/// happened to be sent when the error was reported.
#[test]
fn bursts_beside_a_closed_port_lose_nothing() {
    skip_unless_available!();
    let outputs = ["10.10.2.100:7000", "10.10.2.100:7001"];
    let mut bed = Bed::new("rle", 1, &rule("closed", "239.1.1.1%r-in:5000", &outputs));
    let _open = bed.listen(0, "10.10.2.100:7001");
    bed.fan.receivers[0].netns().sysctl("net.ipv4.icmp_ratelimit", "0").unwrap();
    let sent = payloads(2000, 50);
    for payload in &sent {
        bed.input.udp("10.10.1.100:4000", "239.1.1.1:5000", 16, 0, payload).unwrap();
    }
    let mut seen = bed.probes[0].expect(2 * sent.len(), SOON);
    for to in outputs {
        Expected::new(&bed.fan.egress[0], &bed.fan.receivers[0], to).assert(&mut seen, &sent);
    }
    bed.finish().assert_all_relayed(2000, 2);
}

#[test]
fn a_leg_to_an_interface_that_is_down_waits_for_it() {
    skip_unless_available!();
    let outputs = ["239.2.2.2%r-out1:6000", "239.2.2.2%r-out2:6000", "239.2.2.2%absent0:6000"];
    let mut bed = Bed::new("rle", 2, &rule("down", "239.1.1.1%r-in:5000", &outputs));
    bed.fan.egress[1].link.down().unwrap();
    let pending = |bed: &Bed, leg: usize| bed.leg("down", leg)["state"] == "pending";
    eventually(SOON, "the leg is pending", || pending(&bed, 1));
    let sent = payloads(20, 100);
    for payload in &sent {
        bed.input.udp("10.10.1.100:4000", "239.1.1.1:5000", 16, 0, payload).unwrap();
    }
    let mut seen = bed.probes[0].expect(20, SOON);
    let expected = Expected::new(&bed.fan.egress[0], &bed.fan.receivers[0], "239.2.2.2:6000");
    expected.assert(&mut seen, &sent);
    let rule = bed.rule("down");
    assert_eq!(rule["state"], "active", "{rule:#}");
    for (leg, name) in [(1, "r-out2"), (2, "absent0")] {
        let reason = rule["legs"][leg]["reason"].as_str().unwrap();
        assert!(reason.contains(name), "{reason}");
    }
    bed.account().assert_all_relayed(20, 1);

    bed.fan.egress[1].link.up().unwrap();
    eventually(SOON, "the leg is active", || bed.leg("down", 1)["state"] == "active");
    bed.input.udp("10.10.1.100:4000", "239.1.1.1:5000", 16, 0, b"both").unwrap();
    for probe in &mut bed.probes {
        assert_eq!(probe.expect_one(SOON).payload, b"both");
    }
    assert!(pending(&bed, 2));
    bed.finish();
}

/// A device that is too slow refuses; what it took arrives, what it refused is counted, and nobody else notices.
/// `burst` bytes leave at once and `queue` more wait.
fn a_slow_device(options: &str, burst: usize, queue: usize) {
    let fast = format!("239.2.2.2%r-out1:6000{options}");
    let slow = format!("239.2.2.2%r-out2:6000{options}");
    let mut bed = Bed::new("rle", 2, &rule("slow", "239.1.1.1%r-in:5000", &[&slow, &fast]));
    let line = format!("tc qdisc add dev r-out2 root tbf rate 4mbit burst {burst} limit {queue}");
    bed.fan.relay().tool(&line).unwrap();
    let sent = payloads(400, 1000);
    for payload in &sent {
        bed.input.udp("10.10.1.100:4000", "239.1.1.1:5000", 16, 0, payload).unwrap();
    }
    let mut seen = bed.probes[0].expect(sent.len(), SOON);
    Expected::new(&bed.fan.egress[0], &bed.fan.receivers[0], "239.2.2.2:6000").assert(&mut seen, &sent);
    let reason = |bed: &Bed| bed.rule("slow")["reason"].as_str().unwrap().to_owned();
    eventually(SOON, "the loss is told", || {
        reason(&bed).starts_with("1 of 2 outputs lose datagrams: sending to 239.2.2.2%r-out2")
    });
    let account = bed.account();
    account.assert_drops(&[]);
    let ((taken, refused), (all, none)) =
        (sent_and_errors(&bed, "slow", 0), sent_and_errors(&bed, "slow", 1));
    assert_eq!((all, none), (400, 0), "{account:#?}");
    assert!(taken > 0 && refused > 0 && taken + refused == 400, "{taken} taken, {refused} refused");
    assert_eq!((account.total("errors"), account.total("sent")), (refused, taken + 400), "{account:#?}");
    // What the device took arrives sooner or later, in order; nothing else does.
    let arrived = bed.probes[1].expect(usize::try_from(taken).unwrap(), SOON);
    bed.probes[1].expect_silence(QUIET);
    let numbers: Vec<_> =
        arrived.iter().map(|seen| sent.iter().position(|sent| *sent == seen.payload)).collect();
    assert!(numbers.is_sorted() && numbers.iter().all(Option::is_some), "{numbers:?}");
    let slow = bed.leg("slow", 0);
    assert_eq!(slow["state"], "active", "{slow:#}");
    // It says so while it does, and for some seconds more.
    eventually(SOON, "nothing was refused for a while", || bed.leg("slow", 0)["reason"] == "");
    bed.finish();
}

#[test]
fn a_slow_device_costs_its_own_leg_single_datagrams() {
    skip_unless_available!();
    a_slow_device(",batch=1", 1600, 20_000);
    a_slow_device(",batch=1,send=frames", 1600, 20_000);
}

/// The burst holds a super-frame, or `tbf` would cut it, take some of its datagrams and call it taken.
#[test]
fn a_slow_device_costs_its_own_leg_whole_bursts() {
    skip_unless_available!();
    a_slow_device("", 70_000, 140_000);
    a_slow_device(",send=frames", 70_000, 140_000);
}
