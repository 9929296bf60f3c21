//! Rules that relay: nothing is found against them, and what is looked at is said.

use mcr::doctor::CHECKS;
use testbed::{rule, skip_unless_available};

use crate::ward::{SOON, Ward, four, six};

/// Checks of an input, of each output.
const OF_INPUT: usize = 18;
const OF_OUTPUT: usize = 6;

#[test]
fn a_rule_that_relays_passes_every_check() {
    skip_unless_available!();
    let outputs = ["239.2.2.2%r-out:6000", "10.10.2.100:6001"];
    let ward = Ward::of("10.10.1.100@239.1.1.1%r-in:5000", &outputs);
    let netns = ward.line.receiver.netns();
    let _receiver = netns.enter(|| std::net::UdpSocket::bind("10.10.2.100:6001").unwrap());
    let _stream = ward.stream(&[four()]);
    ward.relay.wait_stats(SOON, |stats| stats["rules"][0]["packets"].as_u64() > Some(10));
    let found = ward.findings();
    for verdict in ["fail", "warn", "skip"] {
        assert_eq!(found.with(verdict), [""; 0], "{:#}", found.0);
    }
    assert_eq!(found.0["left_out"], 0);
    let rule = &found.0["rules"][0];
    assert_eq!((&rule["name"], &rule["input"]), (&"a".into(), &"10.10.1.100@239.1.1.1%r-in:5000".into()));
    let names = |findings: &serde_json::Value| -> Vec<String> {
        let all = findings.as_array().unwrap().iter();
        all.map(|finding| finding["check"].as_str().unwrap().to_owned()).collect()
    };
    let (of_input, rest) = CHECKS.split_at(OF_INPUT);
    let (of_output, of_host) = rest.split_at(OF_OUTPUT);
    let of_ipv4: Vec<_> = of_input.iter().copied().filter(|check| *check != "mld_version").collect();
    assert_eq!(names(&rule["checks"]), [&of_ipv4, of_output, of_output].concat());
    assert_eq!(names(&found.0["host"]), of_host);
    found.assert("joined", "ok", "from 10.10.1.100");
    found.assert("packets", "ok", "from 10.10.1.100 to port 5000 with TTL 16");
    found.assert("rp_filter", "ok", "does not matter to mcrd");
    found.assert_output("10.10.2.100", "neighbour", "ok", "10.10.2.100 on r-out is");
    found.assert_output("239.2.2.2", "mtu", "ok", "100 bytes");
}

#[test]
fn rules_of_both_families_are_examined_together() {
    skip_unless_available!();
    let rules = rule("a", "239.1.1.1%r-in:5000", &["[ff3e::2:2]%r-out:6000"])
        + &rule("b", "[ff3e::1:1]%r-in:5000", &["239.2.2.2%r-out:6000"])
        + &rule("c", "10.10.1.1%r-in:5000", &["239.2.2.3%r-out:6000"]);
    let ward = Ward::with(&rules);
    let own = ward.line.ingress.link.mac().unwrap();
    let unicast = testbed::Datagram::between("10.10.1.100:4000", "10.10.1.1:5000").payload(*b"x").to_mac(own);
    let _stream = ward.stream(&[four(), six(), unicast]);
    let found = ward.found(&["doctor"]);
    assert_eq!(found.with("fail"), [""; 0], "{:#}", found.0);
    let six = found.0["rules"][1]["checks"][6]["check"].clone();
    assert_eq!(six, CHECKS[7]);
    let packets = |at: usize| {
        let checks = found.0["rules"][at]["checks"].as_array().unwrap();
        checks.iter().find(|finding| finding["check"] == "packets").unwrap()["verdict"].clone()
    };
    assert_eq!([0, 1, 2].map(packets), ["ok", "ok", "ok"], "{:#}", found.0);
    let text = ward.relay.ctl_ok(&["doctor"]);
    assert!(text.contains("rules examined: 3, checks failed: 0"), "{text}");
    let refused = ward.relay.ctl(&["doctor", "d"]);
    assert!(refused.code() == 1 && refused.stderr.contains("no rule is named d"), "{refused:?}");
}
