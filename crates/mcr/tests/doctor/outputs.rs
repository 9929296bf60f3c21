//! Outputs that do not send, or at a cost.

use std::net::UdpSocket;

use testbed::{Datagram, Line, Veth, eventually, rule, skip_unless_available};

use crate::ward::{SOON, Ward, four};

const INPUT: &str = "239.1.1.1%r-in:5000";
const GOOD: &str = "239.2.2.2%r-out:6000";

/// What fails of outputs, with a good output beside them.
fn failing<'a>(found: &'a crate::ward::Found, good: &str) -> Vec<&'a str> {
    for check in ["output_interface", "route", "mtu", "neighbour", "send_errors", "gso"] {
        found.assert_output(good, check, "ok", "");
    }
    found.with("fail")
}

#[test]
fn the_interface_of_an_output_is_looked_at() {
    skip_unless_available!();
    let line = Line::new("doc").unwrap();
    let spare = Veth::pair((line.relay(), "spare0"), (line.relay(), "spare1")).unwrap();
    spare.a.add_address("10.10.7.1".parse().unwrap(), 24).unwrap();
    eventually(SOON, "carrier", || spare.a.carrier().unwrap());
    let ward = Ward::on(line, &rule("a", INPUT, &[GOOD, "239.2.2.2%spare0:6000", "239.2.2.2%eth9:6000"]));
    let found = ward.findings_with(&[four()]);
    assert_eq!(failing(&found, GOOD), ["output_interface"], "{:#}", found.0);
    found.assert("state", "warn", "eth9");
    found.assert_output("239.2.2.2%eth9", "output_interface", "fail", "there is no interface eth9");
    found.assert_output("239.2.2.2%spare0", "output_interface", "ok", "spare0");
    spare.b.down().unwrap();
    let legs = || ward.relay.stats()["rules"][0]["legs"].clone();
    eventually(SOON, "the output has noticed", || legs()[1]["state"] == "pending");
    ward.findings_with(&[four()]).assert_output("239.2.2.2%spare0", "output_interface", "fail", "no carrier");
    spare.a.down().unwrap();
    eventually(SOON, "the output has noticed", || legs()[1]["reason"] == "interface spare0 is down");
    let found = ward.findings_with(&[four()]);
    found.assert_output("239.2.2.2%spare0", "output_interface", "fail", "ip link set dev spare0 up");
    found.assert_output("239.2.2.2%spare0", "route", "skip", "spare0 is down");
}

#[test]
fn a_host_without_a_route_is_told() {
    skip_unless_available!();
    let ward = Ward::of(INPUT, &[GOOD, "192.0.2.1:6000"]);
    let found = ward.findings_with(&[four()]);
    assert_eq!(failing(&found, GOOD), ["route"], "{:#}", found.0);
    found.assert_output("192.0.2.1", "route", "fail", "ip route add 192.0.2.1 via");
    ward.line.relay().ip("route add 192.0.2.0/24 via 10.10.2.100").unwrap();
    ward.relay.wait_stats(SOON, |stats| stats["rules"][0]["legs"][1]["state"] == "active");
    ward.findings().assert_output("192.0.2.1", "route", "ok", "r-out, next hop 10.10.2.100");
}

#[test]
fn datagrams_longer_than_the_mtu_are_told() {
    skip_unless_available!();
    let line = Line::new("doc").unwrap();
    line.egress.link.set_mtu(1300).unwrap();
    let ward = Ward::on(line, &rule("a", INPUT, &[GOOD, "[ff3e::2]%r-out:6000"]));
    let found = ward.findings_with(&[four().payload(vec![1; 1260])]);
    assert_eq!(failing(&found, GOOD), [""; 0], "{:#}", found.0);
    found.assert_output("[ff3e::2]", "mtu", "warn", "ip link set dev r-out mtu 1308");
    let found = ward.findings_with(&[four().payload(vec![1; 1273])]);
    found.assert_output("239.2.2.2", "mtu", "warn", "payloads of 1273 bytes leave in fragments, as 1272 fit");
}

#[test]
fn a_host_that_does_not_answer_is_told() {
    skip_unless_available!();
    let hosts = ["10.10.2.55:6001", "[fd00:2::55]:6002"];
    let line = Line::new("doc").unwrap();
    // Given up sooner than after three tries of a second each.
    for family in ["ipv4", "ipv6"] {
        line.relay().sysctl(&format!("net.{family}.neigh.r-out.retrans_time_ms"), "100").unwrap();
    }
    let ward = Ward::on(line, &rule("a", INPUT, &[&[GOOD], &hosts[..]].concat()));
    let found = ward.findings();
    for host in ["10.10.2.55", "[fd00:2::55]"] {
        found.assert_output(host, "neighbour", "ok", "no entry");
    }
    let _stream = ward.stream(&[four()]);
    ward.relay.wait_stats(SOON, |stats| {
        [1, 2].iter().all(|leg| stats["rules"][0]["legs"][*leg]["state"] == "failed")
    });
    let found = ward.findings();
    assert_eq!(
        failing(&found, GOOD),
        ["neighbour", "send_errors", "neighbour", "send_errors"],
        "{:#}",
        found.0
    );
    found.assert_output("10.10.2.55", "neighbour", "fail", "10.10.2.55 on r-out does not answer ARP");
    found.assert_output("[fd00:2::55]", "neighbour", "fail", "does not answer neighbour solicitations");
    found.assert_output("10.10.2.55", "send_errors", "fail", "sending fails");
}

#[test]
fn the_next_router_is_the_neighbour_that_counts() {
    skip_unless_available!();
    let line = Line::new("doc").unwrap();
    line.relay().ip("route add 192.0.2.0/24 via 10.10.2.100").unwrap();
    let ward = Ward::on(line, &rule("a", INPUT, &["192.0.2.1:6000", "127.0.0.1:6000"]));
    let _stream = ward.stream(&[four()]);
    ward.relay.wait_stats(SOON, |stats| stats["rules"][0]["legs"][0]["packets"].as_u64() > Some(10));
    let found = ward.findings();
    found.assert_output("192.0.2.1", "neighbour", "ok", "10.10.2.100 on r-out is");
    found.assert_output("127.0.0.1", "neighbour", "ok", "this host");
}

#[test]
fn errors_that_come_back_are_told_while_they_do() {
    skip_unless_available!();
    let ward = Ward::of(INPUT, &[GOOD, "10.10.2.100:6001"]);
    // The receiver answers each, not some a second.
    ward.line.receiver.netns().sysctl("net.ipv4.icmp_ratelimit", "0").unwrap();
    let stream = ward.stream(&[four()]);
    let leg = |field: &str| ward.relay.stats()["rules"][0]["legs"][1][field].clone();
    eventually(SOON, "nobody listens", || leg("state") == "failed");
    let found = ward.findings();
    assert_eq!(failing(&found, GOOD), ["send_errors"], "{:#}", found.0);
    found.assert_output("10.10.2.100", "send_errors", "fail", "start the receiver");
    let _receiver = ward.line.receiver.netns().enter(|| UdpSocket::bind("10.10.2.100:6001").unwrap());
    eventually(SOON, "somebody does", || leg("state") == "active");
    let found = ward.findings();
    drop(stream);
    assert_eq!(failing(&found, GOOD), [""; 0], "{:#}", found.0);
    found.assert_output("10.10.2.100", "send_errors", "warn", "does not fail now");
}

#[test]
fn an_output_that_loses_some_is_told_with_the_reason() {
    skip_unless_available!();
    let line = Line::new("doc").unwrap();
    line.relay().tool("tc qdisc add dev r-out root tbf rate 400kbit burst 4000 limit 8000").unwrap();
    let ward = Ward::on(line, &rule("a", INPUT, &["239.2.2.2%r-out:6000,batch=1"]));
    let _stream = ward.stream(&[four().payload(vec![1; 1200])]);
    let reason = || ward.relay.stats()["rules"][0]["reason"].as_str().unwrap().to_owned();
    eventually(SOON, "some are refused", || reason().contains("fails in part: No buffer space"));
    let found = ward.findings();
    found.assert_output("239.2.2.2", "send_errors", "warn", "the kernel refuses some: No buffer space");
    found.assert("state", "warn", "fails in part");
}

/// The kernel routes by source port: the way that the relay asked about is not the one its datagrams take, and that
/// has no room for bursts.
#[test]
fn an_output_that_may_send_no_bursts_is_told() {
    skip_unless_available!();
    let line = Line::new("doc").unwrap();
    line.relay().ip("rule add ipproto udp sport 7777 lookup 77").unwrap();
    line.relay().ip("route add 10.10.2.0/24 dev r-out mtu 600 table 77").unwrap();
    let _receiver = line.receiver.netns().enter(|| UdpSocket::bind("10.10.2.100:6001").unwrap());
    let ward = Ward::on(
        line,
        &rule("a", INPUT, &[GOOD, "10.10.2.100:6001,sport=7777", "10.10.2.100:6001,sport=keep"]),
    );
    let burst: Vec<Datagram> = std::iter::repeat_n(four().payload(vec![1; 1000]), 50).collect();
    let _stream = ward.stream(&burst);
    let reason = || ward.relay.stats()["rules"][0]["legs"][1]["reason"].as_str().unwrap().to_owned();
    eventually(SOON, "bursts are refused", || reason().starts_with("gso=off"));
    let found = ward.findings();
    assert_eq!(failing(&found, GOOD), [""; 0], "{:#}", found.0);
    found.assert_output("10.10.2.100:6001,sport=7777", "gso", "warn", "one by one");
    found.assert_output("10.10.2.100:6001,sport=keep", "gso", "ok", "of its own");
}
