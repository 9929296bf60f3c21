//! Rules whose interface is not there, not up, or comes and goes: accepted, said so, live when it is time.

use testbed::{Link, Relay, Veth, eventually, rule, skip_unless_available};

use crate::fixture::{PATIENCE, PROGRAMS, Place, line, numbers, send_numbered};

const UNKNOWN: &str = "interface eth9 does not exist";

#[test]
fn an_unknown_interface_is_accepted_and_said_so_everywhere() {
    skip_unless_available!();
    let rules = rule("in", "239.1.1.1%eth9:5000", &["239.2.2.1%r-out:6000"])
        + &rule("out", "239.1.1.2%r-in:5000", &["239.2.2.2%eth9:6000"])
        + &rule("part", "239.1.1.3%r-in:5000", &["239.2.2.3%r-out:6000", "239.2.2.3%eth9:6000"]);
    let mut place = Place::start("dm-unknown", &rules);
    let part = format!("1 of 2 outputs do not send: {UNKNOWN}");
    let relay = &place.relay;
    for (name, state, reason) in
        [("in", "pending", UNKNOWN), ("out", "pending", UNKNOWN), ("part", "active", &part)]
    {
        assert_eq!(relay.state(name), (state.to_owned(), reason.to_owned()), "{name}");
    }
    let list = relay.ctl_ok(&["list"]);
    assert_eq!(list.lines().filter(|line| line.trim() == format!("pending: {UNKNOWN}")).count(), 2, "{list}");
    let stats = relay.stats();
    assert_eq!(stats["rules"][0]["reason"], UNKNOWN);
    assert_eq!(
        (&stats["rules"][2]["legs"][0]["state"], &stats["rules"][2]["legs"][1]["state"]),
        (&"active".into(), &"pending".into())
    );

    let added = relay.ctl_ok(&["add", "more", "239.1.1.4%eth9:5000", "10.10.2.100"]);
    assert_eq!(added, format!("added more: pending: {UNKNOWN}\n"));
    let config = relay.config().display().to_string();
    let applied = relay.ctl_ok(&["apply", &config]);
    for note in [
        format!("in is pending: {UNKNOWN}"),
        format!("out is pending: {UNKNOWN}"),
        format!("part is active in part: {part}"),
    ] {
        assert!(applied.contains(&format!("note: {note}\n")), "{applied}");
    }
    for words in ["rule in is pending: interface eth9", "rule part is active in part", "rule more is pending"]
    {
        place.relay.daemon().wait_line(|line| line.contains(words), PATIENCE);
    }
}

#[test]
fn a_rule_follows_its_interface() {
    skip_unless_available!();
    let mut place = Place::start("dm-follow", "");
    let (relay, netns) = (&mut place.relay, place.line.relay().clone());
    let v0 = Link::existing(&netns, "v0");
    let (input, output) = ("239.1.1.1%v0:5000", "239.2.2.1%r-out:6000");
    assert!(relay.ctl_ok(&["add", "a", input, output]).contains("pending: interface v0 does not exist"));
    let joins = || v0.joins([239, 1, 1, 1]).unwrap();
    let mut probe =
        testbed::Probe::on(&place.line.receiver.link).unwrap().only(|seen| seen.dport == Some(6000));

    for round in 0..3 {
        let far = testbed::Netns::new("dm-far").unwrap();
        let cable = Veth::pair((&netns, "v0"), (&far, "f0")).unwrap();
        cable.b.add_address("10.9.9.2".parse().unwrap(), 24).unwrap();
        relay.wait_state("a", "active", PATIENCE);
        eventually(PATIENCE, "the group is joined", || joins() == 1);
        let sender = testbed::Sender::open(&cable.b, "10.9.9.2:4000".parse().unwrap()).unwrap();
        send_numbered(&sender, "239.1.1.1:5000", round, 1);
        assert_eq!(numbers(&probe.expect(1, PATIENCE)), [round]);

        cable.a.down().unwrap();
        relay.wait_state("a", "pending", PATIENCE);
        assert_eq!(relay.state("a").1, "interface v0 is down");
        cable.a.up().unwrap();
        relay.wait_state("a", "active", PATIENCE);
        send_numbered(&sender, "239.1.1.1:5000", 100, 1);
        assert_eq!(numbers(&probe.expect(1, PATIENCE)), [100]);

        cable.b.down().unwrap();
        relay.wait_state("a", "pending", PATIENCE);
        assert_eq!(relay.state("a").1, "interface v0 is down (no carrier)");
        cable.a.delete().unwrap();
        eventually(PATIENCE, "the interface is missed", || {
            relay.state("a").1 == "interface v0 does not exist"
        });
        assert_eq!(joins(), 0);
    }
    let lines = |words: &str| relay.daemon().lines().iter().filter(|line| line.text.contains(words)).count();
    let mut lines = lines;
    assert!(lines("rule a is active") >= 3);
    assert!(lines("rule a is pending: interface v0 is down") >= 3);
}

#[test]
fn other_rules_lose_nothing_while_an_interface_comes_and_goes() {
    skip_unless_available!();
    let place = Place::start(
        "dm-flap",
        &rule("steady", "239.1.1.1%r-in:5000", &["239.2.2.1%r-out:6000", "239.2.2.9%v0"]),
    );
    place.relay.ctl_ok(&["add", "flaps", "239.1.1.2%v0:5000", "239.2.2.2%r-out:6001"]);
    let mut probe = place.probe(6000);
    let traffic = place.traffic(4000, "239.1.1.1:5000", 500);
    let netns = place.line.relay();
    for _ in 0..10 {
        let cable = Veth::pair((netns, "v0"), (netns, "v1")).unwrap();
        place.relay.wait_state("flaps", "active", PATIENCE);
        cable.a.delete().unwrap();
        place.relay.wait_state("flaps", "pending", PATIENCE);
    }
    crate::fixture::assert_all_arrive(&mut probe, traffic.stop());
}

/// What the kernel delivers from an input's interface is relayed from the first packet on, not from when word of the
/// interface's return is there.
#[test]
fn an_input_that_flaps_costs_no_packet_that_arrives() {
    skip_unless_available!();
    let line = line("dm-back");
    // Nothing else arrives then.
    line.sender.netns().sysctl("net.ipv6.conf.all.disable_ipv6", "1").unwrap();
    let input = line.ingress.link.clone();
    let arrived = || input.counter("rx", "packets").unwrap();
    let before = arrived();
    let config = rule("a", "239.1.1.1%r-in:5000", &["239.2.2.1%r-out:6000"]);
    let relay = Relay::start(PROGRAMS, line.relay(), &config).unwrap();
    let place = Place { relay, line };
    let mut probe = place.probe(6000);
    let traffic = place.traffic(4000, "239.1.1.1:5000", 5000);
    for _ in 0..5 {
        input.down().unwrap();
        place.relay.wait_state("a", "pending", PATIENCE);
        input.up().unwrap();
        place.relay.wait_state("a", "active", PATIENCE);
    }
    let sent = traffic.stop();
    let arrived = arrived() - before;
    assert!((1..sent).contains(&arrived), "{arrived} of {sent}");
    let stats = place.relay.wait_stats(PATIENCE, |stats| stats["totals"]["recv"] == arrived);
    assert_eq!(stats["totals"]["sent"], arrived, "{stats:#}");
    let seen = numbers(&probe.expect(usize::try_from(arrived).unwrap(), PATIENCE));
    assert!(seen.is_sorted_by(|a, b| a < b) && probe.drain().is_empty());
}

/// Nothing tells the daemon that somebody else has given a port up.
#[test]
fn an_output_whose_source_port_was_taken_goes_live_once_it_is_free() {
    skip_unless_available!();
    let place = Place::start("dm-sport", "");
    let holder = place.line.relay().enter(|| std::net::UdpSocket::bind("0.0.0.0:4444").unwrap());
    place.relay.ctl_ok(&["add", "a", "239.1.1.1%r-in:5000", "239.2.2.1%r-out:6000,sport=4444"]);
    assert_eq!(place.relay.state("a").0, "pending");
    assert!(place.relay.state("a").1.contains("in use"), "{:?}", place.relay.state("a"));
    drop(holder);
    place.relay.wait_state("a", "active", PATIENCE);
}
