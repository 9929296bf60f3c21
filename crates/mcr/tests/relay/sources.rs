//! Sources: ones that no route leads to, ones of the relay's own subnets, wanted and unwanted ones.

use testbed::{Seen, rule, skip_unless_available};

use crate::bed::{Bed, QUIET, SOON};
use crate::expected::{Expected, payloads};

/// What these hosts send is relayed, though every interface drops, for the kernel, what came from where it would not
/// answer to.
fn relayed_from(source: &str, source6: &str) {
    let rules = rule("any", "239.1.1.1%r-in:5000", &["239.2.2.2%r-out1:6000"])
        + &rule("any6", "[ff3e::1:1]%r-in:5000", &["[ff3e::2:2]%r-out1:6000"])
        + &rule("specific", &format!("{source}@232.1.1.1%r-in:5000"), &["239.3.3.3%r-out1:6000"]);
    let mut bed = Bed::new("rls", 1, &rules);
    for interface in ["all", "r-in", "r-out1"] {
        let key = format!("net.ipv4.conf.{interface}.rp_filter");
        assert_eq!(bed.fan.relay().sysctl_value(&key).unwrap(), "1", "{key}");
    }
    let route = bed.fan.relay().ip(&format!("route get {source}"));
    let answers = route.as_ref().is_ok_and(|route| route.contains("r-in"));
    assert!(!answers, "a route leads to the source by the input: {route:?}");
    let sent = payloads(5, 500);
    let (from, from6) = (format!("{source}:4000"), format!("[{source6}]:4000"));
    for payload in &sent {
        bed.input.udp(&from, "239.1.1.1:5000", 16, 0, payload).unwrap();
        bed.input.udp(&from6, "[ff3e::1:1]:5000", 16, 0, payload).unwrap();
        bed.input.udp(&from, "232.1.1.1:5000", 16, 0, payload).unwrap();
    }
    let mut seen = bed.probes[0].expect(15, SOON);
    for to in ["239.2.2.2:6000", "[ff3e::2:2]:6000", "239.3.3.3:6000"] {
        Expected::new(&bed.fan.egress[0], &bed.fan.receivers[0], to).assert(&mut seen, &sent);
    }
    bed.finish().assert_all_relayed(15, 1);
}

#[test]
fn sources_that_no_route_leads_to_are_relayed() {
    skip_unless_available!();
    relayed_from("192.0.2.77", "2001:db8:99::7");
}

/// Of the receiver's subnet, and the receiver's own address.
#[test]
fn sources_of_the_relays_other_subnet_are_relayed() {
    skip_unless_available!();
    relayed_from("10.10.2.55", "fd00:2::100");
}

#[test]
fn a_source_specific_rule_takes_its_source_only() {
    skip_unless_available!();
    let rules = rule("wanted", "10.10.1.100@232.1.1.1%r-in:5000", &["239.2.2.2%r-out1:6000"])
        + &rule("wanted6", "[fd00:1::100]@[ff3e::1:1]%r-in:5000", &["[ff3e::2:2]%r-out1:6000"]);
    let mut bed = Bed::new("rls", 1, &rules);
    let sent = payloads(6, 100);
    for payload in &sent {
        bed.input.udp("10.10.1.101:4000", "232.1.1.1:5000", 16, 0, b"unwanted").unwrap();
        bed.input.udp("10.10.1.100:4000", "232.1.1.1:5000", 16, 0, payload).unwrap();
        bed.input.udp("[fd00:1::101]:4000", "[ff3e::1:1]:5000", 16, 0, b"unwanted").unwrap();
        bed.input.udp("[fd00:1::100]:4000", "[ff3e::1:1]:5000", 16, 0, payload).unwrap();
    }
    // Neither the group's other ports nor other groups are wrong sources: no rule names them.
    bed.input.udp("10.10.1.101:4000", "232.1.1.1:5001", 16, 0, b"no rule").unwrap();
    bed.input.udp("10.10.1.100:4000", "232.1.1.2:5000", 16, 0, b"no rule").unwrap();
    let mut seen = bed.probes[0].expect(12, SOON);
    for to in ["239.2.2.2:6000", "[ff3e::2:2]:6000"] {
        Expected::new(&bed.fan.egress[0], &bed.fan.receivers[0], to).assert(&mut seen, &sent);
    }
    bed.probes[0].expect_silence(QUIET);
    let account = bed.finish();
    account.assert_drops(&[("wrong_source", 12), ("no_rule", 2)]);
    assert_eq!((account.total("matched"), account.total("no_match") >= 14), (12, true), "{account:#?}");
}

#[test]
fn two_sources_of_one_group_go_two_ways() {
    skip_unless_available!();
    let rules = rule("one", "10.10.1.100@232.1.1.1%r-in:5000", &["239.2.2.2%r-out1:6000"])
        + &rule("two", "10.10.1.101@232.1.1.1%r-in:5000", &["239.2.2.2%r-out2:6000"]);
    let mut bed = Bed::new("rls", 2, &rules);
    let sent = payloads(40, 100);
    for (number, payload) in sent.iter().enumerate() {
        let from = format!("10.10.1.{}:4000", 100 + number % 2);
        bed.input.udp(&from, "232.1.1.1:5000", 16, 0, payload).unwrap();
    }
    for (at, probe) in bed.probes.iter_mut().enumerate() {
        let mut seen = probe.expect(20, SOON);
        let own: Vec<_> = sent.iter().skip(at).step_by(2).cloned().collect();
        let expected = Expected::new(&bed.fan.egress[at], &bed.fan.receivers[at], "239.2.2.2:6000");
        expected.assert(&mut seen, &own);
        probe.expect_silence(QUIET);
    }
    bed.finish().assert_all_relayed(40, 1);
}

#[test]
fn the_most_specific_rule_takes_a_packet() {
    skip_unless_available!();
    let inputs = [
        ("source-port", "10.10.1.100@239.1.1.1%r-in:5000"),
        ("source-any", "10.10.1.100@239.1.1.1%r-in"),
        ("any-port", "239.1.1.1%r-in:5000"),
        ("any-any", "239.1.1.1%r-in"),
    ];
    // The least specific first, so that order in the file cannot decide.
    let lines = inputs.iter().enumerate().rev();
    let rules: String =
        lines.map(|(at, (name, input))| rule(name, input, &[&format!("239.2.2.{at}%r-out1:6000")])).collect();
    let mut bed = Bed::new("rls", 1, &rules);
    let cases = [
        ("10.10.1.100:4000", "239.1.1.1:5000", "239.2.2.0"),
        ("10.10.1.100:4000", "239.1.1.1:5001", "239.2.2.1"),
        ("10.10.1.101:4000", "239.1.1.1:5000", "239.2.2.2"),
        ("10.10.1.101:4000", "239.1.1.1:5001", "239.2.2.3"),
    ];
    let goes = |bed: &mut Bed, from: &str, to: &str| -> String {
        bed.input.udp(from, to, 16, 0, b"which").unwrap();
        let Seen { dst, .. } = bed.probes[0].expect_one(SOON);
        dst.to_string()
    };
    for (from, to, group) in cases {
        assert_eq!(goes(&mut bed, from, to), group, "{from} > {to}");
    }
    // As rules go, the next in precedence takes over.
    for (name, group) in
        [("source-port", "239.2.2.1"), ("source-any", "239.2.2.2"), ("any-port", "239.2.2.3")]
    {
        bed.relay.ctl_ok(&["remove", name]);
        assert_eq!(goes(&mut bed, "10.10.1.100:4000", "239.1.1.1:5000"), group, "without {name}");
    }
    bed.finish().assert_all_relayed(7, 1);
}
