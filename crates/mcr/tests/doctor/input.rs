//! The interface a rule takes packets from: not there, not its own, off, without carrier or address.

use testbed::{Bridge, Line, rule, skip_unless_available};

use crate::ward::{SOON, Ward, four, six};

/// What cannot be looked at without packets.
const OF_PACKETS: [&str; 9] =
    ["packets", "vlan", "mac", "source", "port", "precedence", "checksum", "fragments", "ttl"];

#[test]
fn an_interface_that_is_not_there_is_named_with_those_that_are() {
    skip_unless_available!();
    let ward = Ward::of("239.1.1.1%eth9:5000", &["239.2.2.2%r-out:6000"]);
    let found = ward.findings();
    assert_eq!(found.with("fail"), ["state", "interface"], "{:#}", found.0);
    found.assert("interface", "fail", "eth9");
    found.assert("interface", "fail", "r-in, r-out");
    let skipped = [&["up", "carrier", "address", "joined"][..], &OF_PACKETS, &["mtu"]].concat();
    assert_eq!(found.with("skip"), skipped, "{:#}", found.0);
}

#[test]
fn a_bridge_port_is_told_from_the_bridge() {
    skip_unless_available!();
    let ward = Ward::of("239.1.1.1%r-in:5000", &["239.2.2.2%r-out:6000"]);
    Bridge::new(ward.line.relay(), "br7").unwrap().attach(&ward.line.ingress.link).unwrap();
    ward.relay.wait_state("a", "pending", SOON);
    ward.findings().assert("interface", "fail", "use %br7");
}

#[test]
fn an_interface_that_is_off_or_without_carrier_is_told() {
    skip_unless_available!();
    let ward = Ward::of("239.1.1.1%r-in:5000", &["239.2.2.2%r-out:6000"]);
    ward.line.ingress.link.down().unwrap();
    ward.relay.wait_state("a", "pending", SOON);
    let found = ward.findings();
    assert_eq!(found.with("fail"), ["state", "up"], "{:#}", found.0);
    found.assert("up", "fail", "ip link set dev r-in up");
    assert_eq!(found.with("skip"), [&["carrier"][..], &OF_PACKETS].concat(), "{:#}", found.0);

    ward.line.ingress.link.up().unwrap();
    ward.relay.wait_state("a", "active", SOON);
    ward.line.sender.link.down().unwrap();
    ward.relay.wait_state("a", "pending", SOON);
    let found = ward.findings();
    assert_eq!(found.with("fail"), ["state", "carrier"], "{:#}", found.0);
    found.assert("carrier", "fail", "r-in");
}

#[test]
fn a_group_needs_no_address_and_mld_a_link_local_one() {
    skip_unless_available!();
    let line = Line::new("doc").unwrap();
    line.ingress.link.remove_address(line.ingress.v4.into(), 24).unwrap();
    line.relay().ip("address flush dev r-in scope link").unwrap();
    let rules = rule("a", "239.1.1.1%r-in:5000", &["239.2.2.2%r-out:6000"])
        + &rule("six", "[ff3e::1:1]%r-in:5000", &["239.2.2.3%r-out:6000"]);
    let ward = Ward::on(line, &rules);
    let _stream = ward.stream(&[four(), six()]);
    let found = ward.findings();
    assert_eq!(found.with("fail"), [""; 0], "{:#}", found.0);
    found.assert("address", "ok", "needs none");
    found.assert("packets", "ok", "10.10.1.100");
    ward.found(&["doctor", "six"]).assert("address", "warn", "link-local");
}

#[test]
fn a_host_address_must_be_the_hosts() {
    skip_unless_available!();
    let rules = rule("a", "10.10.1.9%r-in:5000", &["239.2.2.2%r-out:6000"])
        + &rule("other", "10.10.2.1%r-in:5000", &["239.2.2.3%r-out:6000"]);
    let ward = Ward::with(&rules);
    let found = ward.findings();
    found.assert("address", "fail", "ip address add 10.10.1.9/32 dev r-in");
    found.assert("joined", "ok", "nothing is to be joined");
    ward.found(&["doctor", "other", "--listen", "0"]).assert("address", "ok", "another interface");
    ward.line.ingress.link.add_address("10.10.1.9".parse().unwrap(), 24).unwrap();
    ward.relay.wait_state("a", "active", SOON);
    ward.findings().assert("address", "ok", "10.10.1.9");
}
