//! Payloads of every size: none at all, one byte, a full frame, more than the output's or the input's frame holds.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use testbed::{Datagram, Fan, Netns, Seen, Veth, eventually, rule, skip_unless_available};

use crate::bed::{Bed, QUIET, SOON};
use crate::expected::{Expected, payload, payloads};

#[test]
fn empty_datagrams_and_full_frames_keep_their_place() {
    skip_unless_available!();
    let outputs = ["239.2.2.2%r-out1:6000", "239.2.2.3%r-out1:6000,send=frames"];
    let mut bed = Bed::new("rlz", 1, &rule("sizes", "239.1.1.1%r-in:5000", &outputs));
    let sizes = [0, 1, 1472, 0, 0, 1472, 1472, 1, 1, 0, 1471];
    let sent: Vec<_> = sizes.iter().enumerate().map(|(number, &size)| payload(number, size)).collect();
    for payload in &sent {
        bed.input.udp("10.10.1.100:4000", "239.1.1.1:5000", 16, 0, payload).unwrap();
    }
    let mut seen = bed.probes[0].expect(2 * sent.len(), SOON);
    for to in ["239.2.2.2:6000", "239.2.2.3:6000"] {
        Expected::new(&bed.fan.egress[0], &bed.fan.receivers[0], to).assert(&mut seen, &sent);
    }
    bed.probes[0].expect_silence(QUIET);
    let account = bed.finish();
    account.assert_all_relayed(sizes.len() as u64, 2);
    assert_eq!(account.total("bytes"), 2 * sizes.iter().sum::<usize>() as u64);
}

#[test]
fn empty_ipv6_datagrams_are_relayed() {
    skip_unless_available!();
    let mut bed = Bed::new("rlz", 1, &rule("sizes", "[ff3e::1:1]%r-in:5000", &["[ff3e::2:2]%r-out1:6000"]));
    let sent = [payload(0, 0), payload(1, 1), payload(2, 0), payload(3, 1452)];
    for payload in &sent {
        bed.input.udp("[fd00:1::100]:4000", "[ff3e::1:1]:5000", 16, 0, payload).unwrap();
    }
    let mut seen = bed.probes[0].expect(sent.len(), SOON);
    Expected::new(&bed.fan.egress[0], &bed.fan.receivers[0], "[ff3e::2:2]:6000").assert(&mut seen, &sent);
    bed.finish().assert_all_relayed(sent.len() as u64, 1);
}

/// Behind a router whose next link takes less. What the router refuses is lost; what follows is cut to what it takes,
/// by the kernel or, under a kept port, by the worker.
#[test]
fn a_path_that_takes_less_is_learnt() {
    skip_unless_available!();
    let fan = Fan::new("rlz", 1).unwrap();
    let far = Netns::new("rlz-x").unwrap();
    let router = fan.receivers[0].netns();
    let link = Veth::pair((router, "x0"), (&far, "x1")).unwrap();
    for (end, address) in [(&link.a, "fd00:9::1"), (&link.b, "fd00:9::2")] {
        end.set_mtu(1280).unwrap();
        end.add_address(address.parse().unwrap(), 64).unwrap();
    }
    router.sysctl("net.ipv6.conf.all.forwarding", "1").unwrap();
    fan.relay().ip("-6 route add fd00:9::/64 via fd00:2::100").unwrap();
    far.ip("-6 route add default via fd00:9::1").unwrap();
    let outputs = ["[fd00:9::2]:6001,sport=keep", "[fd00:9::2]:6002"];
    let bed = Bed::on(fan, &rule("far", "239.1.1.1%r-in:5000", &outputs));
    let sockets = ["[fd00:9::2]:6001", "[fd00:9::2]:6002"].map(|to| {
        let socket = far.enter(|| UdpSocket::bind(to)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        socket
    });
    let long = payload(0, 1400);
    let mut arrived = [false; 2];
    eventually(SOON, "long datagrams arrive by both outputs", || {
        bed.input.udp("10.10.1.100:4000", "239.1.1.1:5000", 16, 0, &long).unwrap();
        for (socket, arrived) in sockets.iter().zip(&mut arrived) {
            let mut buffer = [0; 2000];
            *arrived |= socket.recv(&mut buffer).is_ok_and(|length| buffer[..length] == long[..]);
        }
        arrived == [true; 2]
    });
    for at in 0..2 {
        let leg = bed.leg("far", at);
        assert_eq!((&leg["state"], &leg["errors"]), (&"active".into(), &0.into()), "{leg:#}");
    }
    bed.finish();
}

/// Ethernet hardware pads short frames; the padding is not payload.
#[test]
fn padding_of_short_frames_is_left_behind() {
    skip_unless_available!();
    let mut bed = Bed::new("rlz", 1, &rule("padded", "239.1.1.1%r-in:5000", &["239.2.2.2%r-out1:6000"]));
    let sent = [payload(0, 0), payload(1, 1), payload(2, 17)];
    for payload in &sent {
        let datagram = Datagram::between("10.10.1.100:4000", "239.1.1.1:5000").payload(payload.clone());
        bed.input.send(&datagram.padded(18 - payload.len())).unwrap();
    }
    let mut seen = bed.probes[0].expect(sent.len(), SOON);
    Expected::new(&bed.fan.egress[0], &bed.fan.receivers[0], "239.2.2.2:6000").assert(&mut seen, &sent);
    assert_eq!(bed.finish().total("bytes"), 18);
}

#[test]
fn ip_options_and_extension_headers_are_left_behind() {
    skip_unless_available!();
    let rules = rule("options", "239.1.1.1%r-in:5000", &["239.2.2.2%r-out1:6000"])
        + &rule("extensions", "[ff3e::1:1]%r-in:5000", &["[ff3e::2:2]%r-out1:6000"]);
    let mut bed = Bed::new("rlz", 1, &rules);
    let sent = payloads(4, 300);
    for payload in &sent {
        let plain = Datagram::between("10.10.1.100:4000", "239.1.1.1:5000").payload(payload.clone());
        // Router alert (RFC 2113).
        bed.input.send(&plain.ip_options([0x94, 4, 0, 0])).unwrap();
        let plain = Datagram::between("[fd00:1::100]:4000", "[ff3e::1:1]:5000").payload(payload.clone());
        bed.input.send(&plain.hop_by_hop(1).destination_options(2)).unwrap();
    }
    let mut seen = bed.probes[0].expect(8, SOON);
    let (egress, receiver) = (&bed.fan.egress[0], &bed.fan.receivers[0]);
    Expected::new(egress, receiver, "239.2.2.2:6000").assert(&mut seen, &sent);
    Expected::new(egress, receiver, "[ff3e::2:2]:6000").assert(&mut seen, &sent);
    bed.finish().assert_all_relayed(8, 1);
}

/// Reads datagrams from a real socket.
pub(crate) fn read(socket: &UdpSocket, count: usize) -> Vec<Vec<u8>> {
    let mut buffer = vec![0; 65536];
    let mut one = |number| {
        let length = loop {
            match socket.recv(&mut buffer) {
                // A wait with a time limit is not resumed after the process was stopped for a moment.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                done => break done,
            }
        };
        let length = length.unwrap_or_else(|error| panic!("datagram {number} of {count}: {error}"));
        buffer[..length].to_vec()
    };
    (0..count).map(&mut one).collect()
}

/// No leg was driven to give up segmented sends, `gso=off`.
fn assert_no_refusals(bed: &Bed, rule: &str) {
    let rule = bed.rule(rule);
    assert!(rule["legs"].as_array().unwrap().iter().all(|leg| leg["reason"] == ""), "{rule:#}");
}

fn whole(seen: &[Seen]) -> usize {
    seen.iter().filter(|seen| seen.fragment.is_none()).count()
}

#[test]
fn what_exceeds_an_outputs_mtu_arrives_whole_in_fragments() {
    skip_unless_available!();
    let fan = Fan::new("rlz", 1).unwrap();
    fan.egress[0].link.set_mtu(1280).unwrap();
    let outputs = [
        "239.2.2.2%r-out1:6000",
        "10.10.2.100:6001",
        "[ff3e::2:2]%r-out1:6002",
        "[fd00:2::100]:6003",
        "239.2.2.4%r-out1:6004,send=frames",
        "[ff3e::2:6]%r-out1:6006,send=frames",
    ];
    let mut bed = Bed::on(fan, &rule("narrow", "239.1.1.1%r-in:5000", &outputs));
    let sockets = [
        "239.2.2.2:6000",
        "10.10.2.100:6001",
        "[ff3e::2:2]:6002",
        "[fd00:2::100]:6003",
        "239.2.2.4:6004",
        "[ff3e::2:6]:6006",
    ]
    .map(|to| bed.listen(0, to));
    let sizes = [1472, 1232, 1233, 1252, 1253, 100, 1472];
    let sent: Vec<_> = sizes.iter().enumerate().map(|(number, &size)| payload(number, size)).collect();
    for payload in &sent {
        bed.input.udp("10.10.1.100:4000", "239.1.1.1:5000", 16, 0, payload).unwrap();
    }
    for socket in &sockets {
        assert!(read(socket, sent.len()) == sent, "{socket:?}: other payloads than those sent");
    }
    // Per leg of IPv4 three exceed 1252 bytes, per leg of IPv6 five exceed 1232; each makes two fragments.
    let seen = bed.probes[0].expect(3 * (4 + 2 * 3) + 3 * (2 + 2 * 5), SOON);
    assert_eq!(whole(&seen), 3 * 4 + 3 * 2, "{seen:#?}");
    bed.probes[0].expect_silence(QUIET);
    assert_no_refusals(&bed, "narrow");
    bed.finish().assert_all_relayed(sizes.len() as u64, 6);
}

/// The MTU of a route counts, also when it changes while the rule runs.
#[test]
fn an_mtu_that_shrinks_costs_nothing() {
    skip_unless_available!();
    let outputs = ["239.2.2.2%r-out1:6000", "239.2.2.3%r-out1:6000,send=frames"];
    let bed = Bed::new("rlz", 1, &rule("shrinks", "239.1.1.1%r-in:5000", &outputs));
    let sockets = ["239.2.2.2:6000", "239.2.2.3:6000"].map(|to| bed.listen(0, to));
    let sent = payloads(200, 1400);
    for (number, payload) in sent.iter().enumerate() {
        if number == 100 {
            bed.fan.egress[0].link.set_mtu(700).unwrap();
        }
        bed.input.udp("10.10.1.100:4000", "239.1.1.1:5000", 16, 0, payload).unwrap();
    }
    for socket in &sockets {
        assert!(read(socket, sent.len()) == sent, "{socket:?}: other payloads than those sent");
    }
    bed.finish().assert_all_relayed(200, 2);
}

#[test]
fn jumbo_frames_are_cut_for_a_narrower_output() {
    skip_unless_available!();
    let fan = Fan::new("rlz", 1).unwrap();
    fan.sender.link.set_mtu(9000).unwrap();
    fan.ingress.link.set_mtu(9000).unwrap();
    let outputs = [
        "239.2.2.2%r-out1:6000",
        "[ff3e::2:2]%r-out1:6002",
        // Without a UDP socket of the kernel's to cut them.
        "239.2.2.3%r-out1:6003,source=keep",
        "[ff3e::2:4]%r-out1:6004,sport=keep",
        "239.2.2.5%r-out1:6005,source=keep,send=frames",
    ];
    // Or the receiver's strict filtering would drop what comes from a source that it has no way to.
    fan.receivers[0].netns().ip("route add 10.10.1.0/24 via 10.10.2.1").unwrap();
    let bed = Bed::on(fan, &rule("jumbo", "239.1.1.1%r-in:5000", &outputs));
    let listened =
        ["239.2.2.2:6000", "[ff3e::2:2]:6002", "239.2.2.3:6003", "[ff3e::2:4]:6004", "239.2.2.5:6005"];
    let sockets = listened.map(|to| bed.listen(0, to));
    // Frames longer than a slot of the ring between ones that fit: order must hold.
    let sizes = [8972, 100, 3000, 2000, 1990, 1980, 1472, 8972, 0, 8972];
    let sent: Vec<_> = sizes.iter().enumerate().map(|(number, &size)| payload(number, size)).collect();
    at_once(&bed, &sent);
    for socket in &sockets {
        assert!(read(socket, sent.len()) == sent, "{socket:?}: other payloads than those sent");
    }
    assert_no_refusals(&bed, "jumbo");
    bed.finish().assert_all_relayed(sizes.len() as u64, 5);
}

/// What has to be fragmented leaves by another socket than frames do, and overtakes none of them.
#[test]
fn long_datagrams_keep_their_place_among_frames() {
    skip_unless_available!();
    for options in ["sport=keep,send=frames", "send=frames"] {
        let rules = rule("mixed", "239.1.1.1%r-in:5000", &[format!("239.2.2.2%r-out1:6000,{options}")]);
        let mut bed = Bed::new("rlz", 1, &rules);
        for link in [&bed.fan.sender.link, &bed.fan.ingress.link] {
            link.set_mtu(9000).unwrap();
        }
        let socket = bed.listen(0, "239.2.2.2:6000");
        let sizes = [100, 3000, 100, 100, 3000, 1472];
        let sent: Vec<_> = sizes.iter().enumerate().map(|(number, &size)| payload(number, size)).collect();
        at_once(&bed, &sent);
        assert!(
            read(&socket, sent.len()) == sent,
            "{options}: other payloads than those sent, or in another order"
        );
        bed.account().assert_all_relayed(sizes.len() as u64, 1);
        bed.finish();
    }
}

/// Sends payloads so that the relay's worker finds all of them in one round.
fn at_once(bed: &Bed, payloads: &[Vec<u8>]) {
    let pid =
        bed.relay.stats()["workers"][0]["pid"].as_i64().and_then(|pid| Pid::from_raw(pid as i32)).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    for payload in payloads {
        bed.input.udp("10.10.1.100:4000", "239.1.1.1:5000", 16, 0, payload).unwrap();
    }
    kill_process(pid, Signal::CONT).unwrap();
}
