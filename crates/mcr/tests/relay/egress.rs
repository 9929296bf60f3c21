//! Outputs over every kind of device, and over devices that fail: what one refuses is on its own leg's count, and
//! on no other's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use testbed::{
    Bridge, Injector, Link, Mac, Netns, Probe, Tun, Veth, eventually, rule, skip_unless_available,
};

use crate::bed::{Bed, QUIET, SOON};
use crate::expected::{payload, payloads};
use crate::sizes::read;

/// Sends these through the bed's input to 239.1.1.1:5000.
fn send(bed: &Bed, payloads: &[Vec<u8>]) {
    inject(&bed.input, payloads);
}

fn inject(input: &Injector, payloads: &[Vec<u8>]) {
    for payload in payloads {
        input.udp("10.10.1.100:4000", "239.1.1.1:5000", 16, 0, payload).unwrap();
    }
}

/// That a probe sees these payloads to `to`, in this order, from `from`, and nothing else.
fn assert_arrive(probe: &mut Probe, sent: &[Vec<u8>], from: &str, to: &str) {
    let seen = probe.expect(sent.len(), SOON);
    assert!(seen.iter().map(|seen| &seen.payload).eq(sent), "{to}: {seen:#?}");
    for seen in &seen {
        assert_eq!((seen.src.to_string(), seen.destination().to_string()), (from.to_owned(), to.to_owned()));
        assert!(seen.checksums_valid(), "{seen:?}");
    }
    probe.expect_silence(QUIET);
}

/// Only datagrams to a port, checksums filled in by the sending device.
fn probe(link: &Link, port: u16) -> Probe {
    Probe::on(link).unwrap().only(move |seen| seen.dport == Some(port))
}

fn with_address(link: Link, address: &str, prefix: u8) -> Link {
    link.add_address(address.parse().unwrap(), prefix).unwrap();
    eventually(SOON, "carrier", || link.carrier().unwrap());
    link
}

#[test]
fn a_bridge_and_a_macvlan_carry_outputs() {
    skip_unless_available!();
    let mut bed = Bed::new("rlg", 1, "");
    let (relay, far) = (bed.fan.relay().clone(), Netns::new("rlg-x").unwrap());
    let bridge = Bridge::new(&relay, "br1").unwrap();
    bridge.link().offload("tx", false).unwrap();
    let behind = bridge.connect("bp0", (&far, "x0")).unwrap();
    let bridged = with_address(bridge.link().clone(), "10.10.7.1", 24);
    let macvlan = bed.fan.egress[0].link.macvlan(&relay, "mv0", "bridge").unwrap();
    macvlan.up().unwrap();
    macvlan.offload("tx", false).unwrap();
    let macvlan = with_address(macvlan, "10.10.8.1", 24);
    for (rule, options, ports) in [("devices", "", [6007, 6008]), ("frames", ",send=frames", [6009, 6010])] {
        let outputs = [
            format!("239.2.2.7%{}:{}{options}", bridged.name(), ports[0]),
            format!("239.2.2.8%{}:{}{options}", macvlan.name(), ports[1]),
        ];
        bed.relay.ctl_ok(&["add", rule, "239.1.1.1%r-in:5000", &outputs[0], &outputs[1]]);
        bed.relay.wait_state(rule, "active", SOON);
        let (mut x0, mut d0) = (probe(&behind, ports[0]), probe(&bed.fan.receivers[0].link, ports[1]));
        let sent = payloads(100, 300);
        send(&bed, &sent);
        assert_arrive(&mut x0, &sent, "10.10.7.1", &format!("239.2.2.7:{}", ports[0]));
        assert_arrive(&mut d0, &sent, "10.10.8.1", &format!("239.2.2.8:{}", ports[1]));
        bed.relay.ctl_ok(&["remove", rule]);
    }
    bed.account().assert_all_relayed(200, 2);
    bed.finish();
}

/// A device as WireGuard's: no link layer, no multicast flag, no offloads.
#[test]
fn a_tunnel_without_mac_and_multicast_flag_carries_both_families() {
    skip_unless_available!();
    let mut bed = Bed::new("rlg", 1, "");
    let far = Netns::new("rlg-x").unwrap();
    let tun = Tun::pair((bed.fan.relay(), "wg0"), (&far, "x0")).unwrap();
    for (link, v4, v6) in [(&tun.a, "10.10.9.1", "fd00:9::1"), (&tun.b, "10.10.9.2", "fd00:9::2")] {
        link.set("multicast off").unwrap();
        link.add_address(v4.parse().unwrap(), 24).unwrap();
        link.add_address(v6.parse().unwrap(), 64).unwrap();
    }
    let outputs = ["239.2.2.9%wg0:6001", "10.10.9.2:6002", "[ff3e::9]%wg0:6003", "[fd00:9::2]:6004"];
    let kept = ["239.2.2.9%wg0:6005,sport=keep", "[ff3e::9]%wg0:6006,sport=keep"];
    let all: Vec<&str> = outputs.into_iter().chain(kept).collect();
    bed.relay.ctl_ok(&[&["add", "tunnel", "239.1.1.1%r-in:5000"], all.as_slice()].concat());
    eventually(SOON, "all legs are active", || {
        bed.rule("tunnel")["legs"].as_array().unwrap().iter().all(|leg| leg["state"] == "active")
    });
    // Frames it does not take, and says so.
    bed.relay.ctl_ok(&["add", "framed", "239.1.1.1%r-in:5001", "239.2.2.9%wg0:6007,send=frames"]);
    bed.relay.wait_state("framed", "pending", SOON);
    let framed = bed.leg("framed", 0);
    assert!(framed["reason"].as_str().unwrap().contains("interface wg0 is not Ethernet"), "{framed:#}");
    let mut probes: Vec<_> = (6001..=6006).map(|port| probe(&tun.b, port)).collect();
    let sent = payloads(20, 1200);
    send(&bed, &sent);
    let to = [
        "239.2.2.9:6001",
        "10.10.9.2:6002",
        "[ff3e::9]:6003",
        "[fd00:9::2]:6004",
        "239.2.2.9:6005",
        "[ff3e::9]:6006",
    ];
    for (probe, to) in probes.iter_mut().zip(to) {
        let from = if to.starts_with('[') { "fd00:9::1" } else { "10.10.9.1" };
        assert_arrive(probe, &sent, from, to);
    }
    assert_eq!(bed.account().total("errors"), 0);
    bed.finish();
}

#[test]
fn the_hosts_own_programs_are_served() {
    skip_unless_available!();
    let outputs = ["127.0.0.1:6001", "[::1]:6002", "10.10.2.1:6003"];
    let mut bed = Bed::new("rlg", 1, &rule("local", "239.1.1.1%r-in:5000", &outputs));
    bed.fan.relay().ip("link set lo up").unwrap();
    eventually(SOON, "all legs are active", || {
        bed.rule("local")["legs"].as_array().unwrap().iter().all(|leg| leg["state"] == "active")
    });
    let sockets = outputs.map(|to| crate::bed::listen(&bed.fan.egress[0], to));
    let sent = payloads(50, 1400);
    send(&bed, &sent);
    for socket in &sockets {
        assert!(read(socket, sent.len()) == sent, "{socket:?}: other payloads than those sent");
    }
    bed.account().assert_all_relayed(50, 3);
    bed.finish();
}

#[test]
fn an_interface_without_an_address_takes_a_source_that_is_named() {
    skip_unless_available!();
    let mut bed = Bed::new("rlg", 1, "");
    let far = Netns::new("rlg-x").unwrap();
    let cable = Veth::pair((bed.fan.relay(), "bare0"), (&far, "x0")).unwrap();
    cable.a.offload("tx", false).unwrap();
    eventually(SOON, "carrier", || cable.a.carrier().unwrap());
    let outputs =
        ["239.2.2.2%bare0:6001,source=192.0.2.9", "239.2.2.2%bare0:6002,source=keep", "239.2.2.2%bare0:6003"];
    bed.relay.ctl_ok(&[&["add", "bare", "239.1.1.1%r-in:5000"], &outputs[..]].concat());
    bed.relay.wait_state("bare", "active", SOON);
    let mut probes = [6001, 6002, 6003].map(|port| probe(&cable.b, port));
    let sent = payloads(30, 500);
    send(&bed, &sent);
    assert_arrive(&mut probes[0], &sent, "192.0.2.9", "239.2.2.2:6001");
    assert_arrive(&mut probes[1], &sent, "10.10.1.100", "239.2.2.2:6002");
    // Of an interface without one the kernel lends another's (RFC 1122, section 3.3.4.2: the weak model).
    let lent = probes[2].expect(sent.len(), SOON)[0].src.to_string();
    assert!(["10.10.1.1", "10.10.2.1"].contains(&lent.as_str()), "{lent}");
    bed.account().assert_all_relayed(30, 3);
    bed.finish();
}

#[test]
fn a_host_that_is_not_there_costs_its_own_leg_only() {
    skip_unless_available!();
    let outputs = [
        "10.10.2.55:6001",
        "239.2.2.2%r-out1:6002",
        "[fd00:2::55]:6003",
        "10.10.2.56:6004,sport=keep",
        "[fd00:2::56]:6005,sport=keep",
    ];
    let absent = [0, 2, 3, 4];
    let bed = Bed::new("rlg", 1, &rule("absent", "239.1.1.1%r-in:5000", &outputs));
    // Given up sooner than after three tries of a second each.
    for family in ["ipv4", "ipv6"] {
        bed.fan.relay().sysctl(&format!("net.{family}.neigh.r-out1.retrans_time_ms"), "100").unwrap();
    }
    let mut there = probe(&bed.fan.receivers[0].link, 6002);
    let mut sent = Vec::new();
    eventually(SOON, "all absent hosts are named as failed", || {
        let more = [payload(sent.len(), 100)];
        send(&bed, &more);
        sent.extend(more);
        absent.iter().all(|at| bed.leg("absent", *at)["state"] == "failed")
    });
    assert_arrive(&mut there, &sent, "10.10.2.1", "239.2.2.2:6002");
    for at in absent {
        let leg = bed.leg("absent", at);
        assert!(leg["reason"].as_str().unwrap().contains("does not answer"), "{leg:#}");
    }
    let good = bed.leg("absent", 1);
    assert_eq!(
        (&good["errors"], &good["drops"]["unreachable"], &good["state"]),
        (&0.into(), &0.into(), &"active".into())
    );
    assert_eq!(bed.rule("absent")["state"], "active");
    bed.finish();
}

#[test]
fn an_interface_that_goes_down_in_mid_stream_costs_its_own_leg_only() {
    skip_unless_available!();
    for send in ["", ",send=frames"] {
        an_interface_goes_down(send);
    }
}

fn an_interface_goes_down(send: &str) {
    let outputs = ["239.2.2.2%r-out1:6000", "239.2.2.2%r-out2:6000"].map(|to| format!("{to}{send}"));
    let mut bed = Bed::new("rlg", 2, &rule("flaps", "239.1.1.1%r-in:5000", &outputs));
    let input = Injector::on(&bed.fan.sender.link).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let sender = thread::spawn(move || {
        let start = Instant::now();
        let until_stopped = (0..).take_while(|_| !stopped.load(Ordering::Relaxed));
        until_stopped
            .map(|number| {
                inject(&input, &[payload(number, 200)]);
                // A thousand a second, so that flaps fall among them.
                thread::sleep(Duration::from_millis(number as u64).saturating_sub(start.elapsed()));
            })
            .count()
    });
    let state = |bed: &Bed| bed.leg("flaps", 1)["state"].as_str().unwrap().to_owned();
    for _ in 0..3 {
        bed.fan.egress[1].link.down().unwrap();
        eventually(SOON, "the leg is pending", || state(&bed) == "pending");
        bed.fan.egress[1].link.up().unwrap();
        eventually(SOON, "the leg is active", || state(&bed) == "active");
    }
    stop.store(true, Ordering::Relaxed);
    let sent = payloads(sender.join().unwrap(), 200);
    assert_arrive(&mut bed.probes[0], &sent, "10.10.2.1", "239.2.2.2:6000");
    let (steady, flapped) = (bed.leg("flaps", 0), bed.leg("flaps", 1));
    let count = sent.len() as u64;
    assert_eq!((&steady["packets"], &steady["errors"]), (&count.into(), &0.into()), "{steady:#}");
    let of = |name: &str| flapped[name].as_u64().unwrap();
    let pending = flapped["drops"]["pending"].as_u64().unwrap();
    assert!(pending > 0, "{flapped:#}");
    assert_eq!(of("packets") + of("errors") + pending, count, "{flapped:#}");
    let account = bed.account();
    assert_eq!(account.total("errors"), of("errors"), "{account:#?}");
    assert_eq!(account.total("sent"), count + of("packets"), "{account:#?}");
    assert_eq!(account.relayed(), count);
    bed.finish();
}

/// Frames carry the hardware address that their interface has, also once it is another.
#[test]
fn frames_follow_a_change_of_the_hardware_address() {
    skip_unless_available!();
    let output = "239.2.2.2%r-out1:6000,send=frames";
    let mut bed = Bed::new("rlg", 1, &rule("frames", "239.1.1.1%r-in:5000", &[output]));
    let link = bed.fan.egress[0].link.clone();
    for (at, mac) in [None, Some("02:00:00:00:77:01")].into_iter().enumerate() {
        if let Some(mac) = mac {
            link.set(&format!("address {mac}")).unwrap();
        }
        let expected = link.mac().unwrap();
        eventually(SOON, "a frame has the interface's address", || {
            let one = payload(at, 100);
            send(&bed, std::slice::from_ref(&one));
            let seen = bed.probes[0].expect_one(SOON);
            assert_eq!((&seen.payload, seen.dst_mac), (&one, Mac::of_group(seen.dst)));
            seen.src_mac == Some(expected)
        });
    }
    let account = bed.finish();
    account.assert_all_relayed(account.total("matched"), 1);
}
