//! Packets that arrive, and not as the rule takes them.

use testbed::{Datagram, Mac, rule, skip_unless_available};

use crate::ward::{SOON, Ward, four, six};

const OUTPUT: &str = "239.2.2.2%r-out:6000";

fn any_source() -> Ward {
    Ward::of("239.1.1.1%r-in:5000", &[OUTPUT])
}

/// That of these packets the rule gets nothing, for this one reason, and only a part beside good ones.
#[track_caller]
fn assert_lost(ward: &Ward, packets: &[Vec<u8>], check: &str, words: &str) {
    let stream = ward.stream_of(packets.to_vec());
    let found = ward.findings();
    assert_eq!(found.with("fail"), [check], "{:#}", found.0);
    found.assert(check, "fail", words);
    found.assert("packets", "ok", "239.1.1.1 on r-in");
    let good = ward.stream(&[four()]);
    let found = ward.findings();
    assert_eq!(found.with("fail"), [""; 0], "{:#}", found.0);
    found.assert(check, "warn", words);
    drop((stream, good));
    let found = ward.findings_with(&[four()]);
    assert_eq!([found.with("fail"), found.with("warn")], [[""; 0]; 2], "{:#}", found.0);
}

#[test]
fn silence_is_told_from_a_sender_that_stopped() {
    skip_unless_available!();
    let ward = any_source();
    let found = ward.findings();
    assert_eq!(found.with("fail"), ["packets"], "{:#}", found.0);
    found.assert("packets", "fail", "tcpdump -ni r-in host 239.1.1.1");
    // Of another group.
    let found = ward.findings_with(&[Datagram::between("10.10.1.100:4000", "239.1.1.2:5000")]);
    found.assert("packets", "fail", "no packet to 239.1.1.1");
    ward.input.send(&four()).unwrap();
    ward.relay.wait_stats(SOON, |stats| stats["rules"][0]["packets"] == 1);
    let found = ward.findings();
    assert_eq!(found.with("fail"), [""; 0], "{:#}", found.0);
    found.assert("packets", "warn", "1 have matched");
}

#[test]
fn another_source_is_named() {
    skip_unless_available!();
    let ward = Ward::of("10.10.1.7@239.1.1.1%r-in:5000", &[OUTPUT]);
    let found = ward.findings_with(&[four()]);
    assert_eq!(found.with("fail"), ["source"], "{:#}", found.0);
    found.assert(
        "source",
        "fail",
        &format!("mcrctl add --replace a 10.10.1.100@239.1.1.1%r-in:5000 {OUTPUT}"),
    );
    let both = [four(), Datagram::between("10.10.1.7:4000", "239.1.1.1:5000")];
    ward.findings_with(&both).assert("source", "ok", "10.10.1.7");
}

#[test]
fn another_port_is_named() {
    skip_unless_available!();
    let ward = Ward::of("10.10.1.100@239.1.1.1%r-in:5000", &[OUTPUT]);
    let other = Datagram::between("10.10.1.100:4000", "239.1.1.1:5004");
    let found = ward.findings_with(std::slice::from_ref(&other));
    assert_eq!(found.with("fail"), ["port"], "{:#}", found.0);
    found.assert("port", "fail", &format!("mcrctl add --replace a 10.10.1.100@239.1.1.1%r-in:5004 {OUTPUT}"));
    ward.findings_with(&[four(), other.clone()]).assert("port", "ok", "5000");
    // The port is in use, by another source.
    let found = ward.findings_with(&[other, Datagram::between("10.10.1.7:4000", "239.1.1.1:5000")]);
    assert_eq!(found.with("fail"), ["port"], "{:#}", found.0);
    found.assert("source", "ok", "10.10.1.100");
}

#[test]
fn tagged_frames_on_the_parent_are_told() {
    skip_unless_available!();
    let ward = any_source();
    let frame = |datagram: Datagram| datagram.frame(ward.input.mac());
    assert_lost(&ward, &[frame(four().vlan(5, 0))], "vlan", "link r-in name r-in.5 type vlan id 5");
    // The first tag only carries a priority; and one of each family.
    let inner = four().vlan(0, 3).vlan(7, 0);
    assert_lost(&ward, &[frame(inner), frame(six().vlan(5, 0))], "vlan", "of VLAN 7");
    // A priority tag alone is none.
    let found = ward.findings_with(&[four().vlan(0, 6)]);
    assert_eq!([found.with("fail"), found.with("warn")], [[""; 0]; 2], "{:#}", found.0);
}

#[test]
fn frames_to_another_hosts_mac_are_told() {
    skip_unless_available!();
    let ward = any_source();
    let frame = four().to_mac(Mac([2, 0, 0, 0, 0, 99])).frame(ward.input.mac());
    assert_lost(&ward, &[frame], "mac", "another host's MAC");
}

#[test]
fn damaged_packets_are_told() {
    skip_unless_available!();
    let ward = any_source();
    let mut bad_header = four().frame(ward.input.mac());
    bad_header[14 + 10] ^= 0x5a;
    let frames = [four().with_wrong_checksum().frame(ward.input.mac()), bad_header];
    assert_lost(&ward, &frames, "checksum", "10.10.1.100");
    // Those of another port are none of this rule's.
    let other = Datagram::between("10.10.1.100:4000", "239.1.1.1:5001").with_wrong_checksum();
    ward.findings_with(&[four(), other]).assert("checksum", "ok", "right");
}

#[test]
fn fragments_that_make_no_packet_are_told() {
    skip_unless_available!();
    let ward = any_source();
    let pieces = |payload: &[u8]| four().payload(payload).id(7).fragments(ward.input.mac(), 512);
    let first = pieces(&[7; 1200]).swap_remove(0);
    assert_lost(&ward, &[first], "fragments", "fragments made no packet");
    let stream = ward.stream_of(pieces(&[7; 1200]));
    let found = ward.findings();
    drop(stream);
    assert_eq!([found.with("fail"), found.with("warn")], [[""; 0]; 2], "{:#}", found.0);
    found.assert("fragments", "ok", "were put together");
    found.assert("packets", "ok", "from 10.10.1.100 to port 5000");
    found.assert("mtu", "ok", "1200 bytes");
    // Put together, they are judged as any packet.
    let other = Datagram::between("10.10.1.100:4000", "239.1.1.1:5004").payload(vec![7; 1200]).id(8);
    let _stream = ward.stream_of(other.fragments(ward.input.mac(), 512));
    ward.findings().assert("port", "fail", "239.1.1.1%r-in:5004");
}

#[test]
fn a_ttl_that_is_used_up_is_told() {
    skip_unless_available!();
    let decrement = "239.2.2.2%r-out:6000,ttl=decrement";
    let rules = rule("a", "239.1.1.1%r-in:5000", &[decrement])
        + &rule("b", "239.1.1.1%r-in:5001", &[decrement, "239.2.2.3%r-out:6000"]);
    let ward = Ward::with(&rules);
    let to =
        |port: u16, ttl: u8| Datagram::between("10.10.1.100:4000", &format!("239.1.1.1:{port}")).ttl(ttl);
    let _stream = ward.stream(&[to(5000, 1), to(5001, 1)]);
    let found = ward.findings();
    assert_eq!(found.with("fail"), ["ttl"], "{:#}", found.0);
    found.assert("ttl", "fail", "with TTL 1");
    ward.found(&["doctor", "b"]).assert("ttl", "warn", "1 of 2 outputs");
    let _more = ward.stream(&[to(5000, 2), to(5001, 1)]);
    ward.findings().assert("ttl", "warn", "TTL 1, 2");
}

#[test]
fn a_rule_that_says_more_takes_what_fits() {
    skip_unless_available!();
    let rules = rule("a", "239.1.1.1%r-in", &[OUTPUT])
        + &rule("closer", "10.10.1.100@239.1.1.1%r-in:5000", &["239.2.2.3%r-out:6000"]);
    let ward = Ward::with(&rules);
    let found = ward.findings_with(&[four()]);
    assert_eq!(found.with("fail"), ["precedence"], "{:#}", found.0);
    found.assert("precedence", "fail", "add this rule's outputs to closer");
    let other = Datagram::between("10.10.1.100:4000", "239.1.1.1:5001");
    let _stream = ward.stream(&[four(), other]);
    ward.findings().assert("precedence", "ok", "the rest comes here");
    ward.found(&["doctor", "closer"]).assert("precedence", "ok", "no other rule");
}

/// What comes back from a loop is no arrival.
#[test]
fn frames_of_the_relays_own_are_not_taken_for_arrivals() {
    skip_unless_available!();
    let ward = Ward::of("239.1.1.1%r-in:5000", &["239.1.1.1%r-out:5000,ttl=decrement"]);
    let mut probe =
        testbed::Probe::on(&ward.line.receiver.link).unwrap().only(|seen| seen.dport == Some(5000));
    ward.input.send(&four()).unwrap();
    let sent = probe.expect_one(SOON);
    let found = ward.findings_with(&[Datagram::new(sent.source(), sent.destination()).payload(sent.payload)]);
    found.assert("packets", "warn", "that this relay sent");
}

#[test]
fn reverse_path_filtering_is_no_fault_and_said_to_be_one_of_others() {
    skip_unless_available!();
    let ward = any_source();
    // On no network of the relay's.
    let foreign = Datagram::between("192.0.2.9:4000", "239.1.1.1:5000");
    let found = ward.findings_with(std::slice::from_ref(&foreign));
    assert_eq!([found.with("fail"), found.with("warn")], [[""; 0]; 2], "{:#}", found.0);
    found.assert("rp_filter", "ok", "would get nothing from 192.0.2.9");
    // A way back by another interface: enough for the loose mode alone.
    ward.line.relay().ip("route add 192.0.2.0/24 dev r-out").unwrap();
    ward.findings_with(std::slice::from_ref(&foreign)).assert("rp_filter", "ok", "nothing from 192.0.2.9");
    ward.line.relay().sysctl("net.ipv4.conf.r-in.rp_filter", "2").unwrap();
    let found = ward.findings_with(std::slice::from_ref(&foreign));
    found.assert("rp_filter", "ok", "rp_filter = 2");
    assert!(!found.check("rp_filter")["evidence"].as_str().unwrap().contains("192.0.2.9"), "{:#}", found.0);
    for place in ["all", "r-in"] {
        ward.line.relay().sysctl(&format!("net.ipv4.conf.{place}.rp_filter"), "0").unwrap();
    }
    ward.findings_with(&[foreign]).assert("rp_filter", "ok", "does not filter");
}
