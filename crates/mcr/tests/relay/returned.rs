//! ICMP errors that come back are charged to the legs they belong to, and cost no other leg a packet, whichever socket the
//! kernel tells.

use testbed::{Fan, Port, eventually, rule, skip_unless_available};

use crate::bed::{Bed, SOON};
use crate::expected::payload;
use crate::sizes::read;

/// Sends a payload to one of the bed's groups, 239.1.1.x, at a port.
fn send(bed: &Bed, group: u8, port: u16, payload: &[u8]) {
    bed.input.udp("10.10.1.100:4000", &format!("239.1.1.{group}:{port}"), 16, 0, payload).unwrap();
}

/// A receiver that answers each datagram it has no listener for, not some a second.
fn answers_each(receiver: &Port) {
    for limit in ["net.ipv4.icmp_ratelimit", "net.ipv6.icmp.ratelimit"] {
        receiver.netns().sysctl(limit, "0").unwrap();
    }
}

fn unreachable(bed: &Bed, rule: &str, leg: usize) -> u64 {
    bed.leg(rule, leg)["drops"]["unreachable"].as_u64().unwrap()
}

/// The kernel tells the socket that was opened last: one that has nothing to send, and so would never be told.
#[test]
fn an_error_told_to_an_idle_socket_is_charged_to_its_leg() {
    skip_unless_available!();
    let (to, idle) = ("10.10.2.100%r-out1:6000", "239.2.2.2%r-out2:6000");
    let bed = Bed::new("rlr", 2, &rule("refused", "239.1.1.1%r-in:5000", &[to]));
    answers_each(&bed.fan.receivers[0]);
    bed.relay.ctl_ok(&["add", "idle", "239.1.1.2%r-in:5000", idle]);
    eventually(SOON, "it is known to be refused", || {
        send(&bed, 1, 5000, b"x");
        bed.leg("refused", 0)["state"] == "failed"
    });
    assert_eq!(unreachable(&bed, "idle", 0), 0);

    // What came back for a rule that is gone is not the next one's.
    (0..20).for_each(|_| send(&bed, 1, 5000, b"x"));
    bed.relay.ctl_ok(&["remove", "refused"]);
    let socket = bed.listen(0, "10.10.2.100:6000");
    let said = bed.relay.ctl_ok(&["add", "next", "239.1.1.1%r-in:5000", to]);
    assert!(!said.contains("failed"), "{said}");
    send(&bed, 2, 5000, b"x");
    send(&bed, 1, 5000, b"y");
    assert!(read(&socket, 1) == [b"y"]);
    // Having sent, each has taken what its socket was told.
    eventually(SOON, "both have sent", || {
        ["idle", "next"].iter().all(|rule| bed.leg(rule, 0)["packets"] == 1)
    });
    let next = bed.leg("next", 0);
    assert_eq!((&next["state"], &next["drops"]["unreachable"]), (&"active".into(), &0.into()), "{next:#}");
    bed.finish();
}

/// Errors of what one worker sends come while another sends by the same socket, and while that sends again.
#[test]
fn errors_in_bursts_cost_other_rules_nothing() {
    skip_unless_available!();
    const ROUNDS: usize = 2000;
    let to = |port| (0..4).map(|at| format!("[fd00:2::100]:{},sport=keep", port + at)).collect::<Vec<_>>();
    let rules =
        rule("refused", "239.1.1.1%r-in:5000", &to(6000)) + &rule("open", "239.1.1.2%r-in:5000", &to(7000));
    let bed = Bed::new("rlr", 1, &rules);
    answers_each(&bed.fan.receivers[0]);
    let sockets: Vec<_> = (7000..7004).map(|port| bed.listen(0, &format!("[fd00:2::100]:{port}"))).collect();
    // In parts that a receiver's socket has room for.
    for _ in 0..5 {
        for round in 0..ROUNDS {
            // Flows of many senders, so that each worker has some of both rules.
            let from = format!("10.10.1.100:{}", 4000 + round % 16);
            for group in [1, 2] {
                bed.input.udp(&from, &format!("239.1.1.{group}:5000"), 16, 0, b"x").unwrap();
            }
        }
        for socket in &sockets {
            assert_eq!(read(socket, ROUNDS).len(), ROUNDS);
        }
    }
    for leg in 0..sockets.len() {
        let open = bed.leg("open", leg);
        assert_eq!((&open["errors"], &open["drops"]["unreachable"]), (&0.into(), &0.into()), "{open:#}");
    }
    assert!(unreachable(&bed, "refused", 0) > 0);
    bed.finish();
}

/// Two rules that send to one host and keep the port of their input, where one port is open.
#[test]
fn ports_of_one_host_are_told_apart_where_they_are_kept() {
    skip_unless_available!();
    let outputs = ["10.10.2.100%r-out1", "10.10.2.100%r-out1,sport=keep"];
    let rules =
        rule("open", "239.1.1.1%r-in:5000", &outputs) + &rule("closed", "239.1.1.2%r-in:6000", &outputs);
    let bed = Bed::new("rlr", 1, &rules);
    answers_each(&bed.fan.receivers[0]);
    let _open = bed.listen(0, "10.10.2.100:5000");
    eventually(SOON, "what is refused is known by it", || {
        send(&bed, 1, 5000, b"x");
        send(&bed, 2, 6000, b"x");
        (0..outputs.len()).all(|leg| bed.leg("closed", leg)["state"] == "failed")
    });
    for leg in 0..outputs.len() {
        assert_eq!(unreachable(&bed, "open", leg), 0, "{:#}", bed.leg("open", leg));
    }
    bed.finish();
}

/// Fragmented by the relay itself, whose error says where the first fragment went.
#[test]
fn a_silent_host_is_known_by_fragments_too() {
    skip_unless_available!();
    let fan = Fan::new("rlr", 1).unwrap();
    for link in [&fan.sender.link, &fan.ingress.link] {
        link.set_mtu(9000).unwrap();
    }
    for family in ["ipv4", "ipv6"] {
        fan.relay().sysctl(&format!("net.{family}.neigh.r-out1.retrans_time_ms"), "100").unwrap();
    }
    let outputs = ["[fd00:2::55]%r-out1:6001,sport=keep", "10.10.2.55%r-out1:6001,sport=keep"];
    let bed = Bed::on(fan, &rule("silent", "239.1.1.1%r-in:5000", &outputs));
    eventually(SOON, "the hosts are named as failed", || {
        send(&bed, 1, 5000, &payload(1, 2500));
        (0..outputs.len()).all(|leg| bed.leg("silent", leg)["state"] == "failed")
    });
    bed.finish();
}

/// Datagrams from one source port are turned back on their way to a host that takes the others.
#[test]
fn source_ports_tell_legs_of_one_host_apart() {
    skip_unless_available!();
    let outputs = ["10.10.2.100:6000,sport=7000", "10.10.2.100%r-out1:6000", "10.10.2.100:6000,sport=keep"];
    let bed = Bed::new("rlr", 1, &rule("ports", "239.1.1.1%r-in:5000", &outputs));
    let receiver = &bed.fan.receivers[0];
    answers_each(receiver);
    // As a router does; asked before it is looked whether the address is its own.
    receiver.netns().sysctl("net.ipv4.ip_forward", "1").unwrap();
    for change in ["add pref 20 lookup local", "del pref 0", "add pref 10 ipproto udp sport 7000 prohibit"] {
        receiver.netns().ip(&format!("rule {change}")).unwrap();
    }
    let socket = bed.listen(0, "10.10.2.100:6000");
    let mut sent = 0;
    eventually(SOON, "the first is known to be refused", || {
        send(&bed, 1, 5000, b"x");
        sent += 1;
        bed.leg("ports", 0)["state"] == "failed"
    });
    assert_eq!(read(&socket, 2 * sent).len(), 2 * sent);
    assert_eq!([1, 2].map(|leg| unreachable(&bed, "ports", leg)), [0, 0], "{:#}", bed.rule("ports"));
    bed.finish();
}

/// They share a socket, and leave in the same calls: more than one takes. The last share a raw one.
#[test]
fn hosts_that_refuse_among_forty_cost_the_others_nothing() {
    skip_unless_available!();
    let kept = |port| if port < 6030 { "" } else { ",sport=keep" };
    let to: Vec<_> = (6001..=6040).map(|port| format!("10.10.2.100:{port}{}", kept(port))).collect();
    let outputs: Vec<_> = to.iter().map(String::as_str).collect();
    let bed = Bed::new("rlg", 1, &rule("forty", "239.1.1.1%r-in:5000", &outputs));
    answers_each(&bed.fan.receivers[0]);
    let refuse = [20, 21, 22, 23, 35, 36];
    let listening = (0..to.len()).filter(|at| !refuse.contains(at));
    let at = |output: &str| output.trim_end_matches(",sport=keep").to_owned();
    let sockets: Vec<_> = listening.clone().map(|leg| bed.listen(0, &at(outputs[leg]))).collect();
    let unreachable = |at: usize| unreachable(&bed, "forty", at);
    let mut sent = Vec::new();
    eventually(SOON, "those that refuse are known by it", || {
        let more: Vec<_> = (0..5).map(|number| payload(sent.len() + number, 100)).collect();
        more.iter().for_each(|payload| send(&bed, 1, 5000, payload));
        sent.extend(more);
        refuse.iter().all(|at| unreachable(*at) > 2)
    });
    for socket in &sockets {
        assert!(read(socket, sent.len()) == sent, "{socket:?}: other payloads than those sent");
    }
    for at in listening {
        let leg = bed.leg("forty", at);
        let counted = (&leg["packets"], &leg["errors"], &leg["drops"]["unreachable"]);
        assert_eq!(counted, (&sent.len().into(), &0.into(), &0.into()), "{leg:#}");
    }
    for at in refuse {
        let refused = bed.leg("forty", at);
        assert_eq!((&refused["packets"], &refused["errors"]), (&sent.len().into(), &0.into()), "{refused:#}");
        // An error for each at the most, though several sockets hear of it.
        assert!(unreachable(at) <= sent.len() as u64, "{refused:#}");
    }
    bed.finish();
}

/// By the second they refuse, to UDP and raw sockets; one is silent there, of which an error is made on this host.
#[test]
fn hosts_by_two_interfaces_fail_by_one() {
    skip_unless_available!();
    let fan = Fan::new("rlg", 2).unwrap();
    let [first, second] = [0, 1].map(|at| &fan.receivers[at]);
    fan.relay().sysctl("net.ipv4.neigh.r-out2.retrans_time_ms", "100").unwrap();
    answers_each(second);
    for host in ["10.10.2.100/32", "10.10.2.55/32", "fd00:2::100/128"] {
        fan.relay().ip(&format!("route add {host} dev r-out2 metric 2000")).unwrap();
    }
    first.link.add_address("10.10.2.55".parse().unwrap(), 24).unwrap();
    second.link.add_address("10.10.2.100".parse().unwrap(), 32).unwrap();
    second.link.add_address("fd00:2::100".parse().unwrap(), 128).unwrap();
    let hosts = ["10.10.2.100", "[fd00:2::100]", "10.10.2.55"];
    let to: Vec<_> = hosts.iter().flat_map(|host| [(host, 6000, ""), (host, 6001, ",sport=keep")]).collect();
    let by = |interface: &str| {
        let output = |(host, port, options)| format!("{host}%{interface}:{port}{options}");
        to.iter().copied().map(output).collect::<Vec<_>>()
    };
    let outputs = [by("r-out1"), by("r-out2")].concat();
    let outputs: Vec<_> = outputs.iter().map(String::as_str).collect();
    let bed = Bed::on(fan, &rule("two", "239.1.1.1%r-in:5000", &outputs));
    let sockets: Vec<_> = to.iter().map(|(host, port, _)| bed.listen(0, &format!("{host}:{port}"))).collect();
    let mut sent = Vec::new();
    let all_fail_by_the_second = || {
        let more = [payload(sent.len(), 100)];
        more.iter().for_each(|payload| send(&bed, 1, 5000, payload));
        sent.extend(more);
        (to.len()..outputs.len()).all(|at| bed.leg("two", at)["state"] == "failed")
    };
    eventually(SOON, "all fail by the second", all_fail_by_the_second);
    for (at, socket) in sockets.iter().enumerate() {
        assert!(read(socket, sent.len()) == sent, "{}: other payloads than those sent", outputs[at]);
        let leg = bed.leg("two", at);
        let told = (&leg["state"], &leg["drops"]["unreachable"]);
        assert_eq!(told, (&"active".into(), &0.into()), "{leg:#}");
    }
    for at in to.len()..outputs.len() {
        let leg = bed.leg("two", at);
        assert!(leg["drops"]["unreachable"].as_u64().unwrap() <= sent.len() as u64, "{leg:#}");
    }
    bed.finish();
}
