//! Links of every kind carry what is put on them, and offloads show as they are.

#![expect(clippy::unwrap_used, reason = "what a test sets up fails like the test")]

use std::net::SocketAddr;
use std::time::Duration;

use testbed::{
    Bridge, Injector, Line, Link, Netns, Probe, Sender, Tun, Veth, eventually, skip_unless_available,
};

const SOON: Duration = Duration::from_secs(5);
const QUIET: Duration = Duration::from_millis(200);

fn group(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn inject(link: &Link, payload: &[u8]) {
    Injector::on(link).unwrap().udp("10.0.0.1:1", "239.1.1.1:2", 1, 0, payload).unwrap();
}

#[test]
fn segments_travel_whole_until_the_kernel_must_cut_them() {
    skip_unless_available!();
    let line = Line::new("tbl").unwrap();
    for (from, to) in [
        (SocketAddr::new(line.sender.v4.into(), 0), group("239.1.1.1:5000")),
        (SocketAddr::new(line.sender.v6.into(), 0), group("[ff3e::1]:5000")),
    ] {
        let sender = Sender::open(&line.sender.link, from).unwrap();
        sender.set_ttl(9).unwrap();
        let payload: Vec<u8> = (0..=9).flat_map(|number| [number; 1000]).collect();
        let mut probe = Probe::on(&line.ingress.link).unwrap();
        line.sender.link.offload("tx-udp-segmentation", true).unwrap();
        sender.send_segments(to, &payload, 1000).unwrap();
        let whole = probe.expect_one(SOON);
        assert!(whole.super_frame, "{whole:?}");
        assert_eq!(whole.payload, payload);
        line.sender.link.offload("tx-udp-segmentation", false).unwrap();
        sender.send_segments(to, &payload, 1000).unwrap();
        for (number, seen) in (0..).zip(probe.expect(10, SOON)) {
            assert!(!seen.super_frame, "{seen:?}");
            assert_eq!((seen.payload.as_slice(), seen.ttl), ([number; 1000].as_slice(), 9));
        }
        probe.expect_silence(QUIET);
    }
}

#[test]
fn a_probe_that_lost_frames_says_so() {
    skip_unless_available!();
    let line = Line::new("tbl").unwrap();
    line.sender.link.offload("tx-udp-segmentation", false).unwrap();
    let sender = Sender::open(&line.sender.link, SocketAddr::new(line.sender.v4.into(), 0)).unwrap();
    let mut probe = Probe::with_receive_buffer(line.relay(), "r-in", 1).unwrap();
    let flood = std::panic::AssertUnwindSafe(|| {
        for _ in 0..1000 {
            sender.send_segments(group("239.1.1.1:5000"), &[7; 64_000], 1000).unwrap();
            probe.drain();
        }
    });
    let panic = std::panic::catch_unwind(flood).unwrap_err();
    let message = panic.downcast_ref::<String>().unwrap();
    assert!(message.contains("the probe itself lost"), "{message}");
    let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(probe)));
    assert!(dropped.is_err(), "dropped without a word");
}

#[test]
fn a_probe_outlives_a_flap_of_its_link() {
    skip_unless_available!();
    let line = Line::new("tbl").unwrap();
    let mut probe = Probe::on(&line.receiver.link).unwrap();
    inject(&line.egress.link, b"before");
    assert_eq!(probe.expect_one(SOON).payload, b"before");
    line.receiver.link.down().unwrap();
    eventually(SOON, "carrier lost", || !line.egress.link.carrier().unwrap());
    line.receiver.link.up().unwrap();
    eventually(SOON, "carrier back", || line.egress.link.carrier().unwrap());
    inject(&line.egress.link, b"after");
    assert_eq!(probe.expect_one(SOON).payload, b"after");
    line.egress.link.delete().unwrap();
    assert!(line.receiver.link.index().is_err());
    probe.expect_silence(QUIET);
}

#[test]
fn attributes_are_set_and_read() {
    skip_unless_available!();
    let netns = Netns::new("tbl").unwrap();
    let Veth { a, .. } = Veth::pair((&netns, "a0"), (&netns, "b0")).unwrap();
    a.set_mtu(9000).unwrap();
    assert_eq!(a.mtu().unwrap(), 9000);
    a.add_address("10.1.2.3".parse().unwrap(), 24).unwrap();
    a.remove_address("10.1.2.3".parse().unwrap(), 24).unwrap();
    assert!(a.remove_address("10.1.2.3".parse().unwrap(), 24).is_err());
    let before = a.counter("tx", "packets").unwrap();
    inject(&a, b"one");
    eventually(SOON, "the frame is counted", || a.counter("tx", "packets").unwrap() > before);
    assert!(Veth::pair((&netns, "a0"), (&netns, "c0")).is_err(), "a name twice");
}

#[test]
fn a_bridge_floods_until_it_snoops() {
    skip_unless_available!();
    let switch = Netns::new("tbl-sw").unwrap();
    let bridge = Bridge::new(&switch, "br0").unwrap();
    let hosts: Vec<Netns> = (0..3).map(|_| Netns::new("tbl-h").unwrap()).collect();
    let links: Vec<Link> = (1..)
        .zip(&hosts)
        .map(|(number, host)| {
            let link = bridge.connect(&format!("p{number}"), (host, "e0")).unwrap();
            link.add_address(format!("10.20.0.{number}").parse().unwrap(), 24).unwrap();
            link
        })
        .collect();
    let mut joined = Probe::on(&links[1]).unwrap();
    let mut other = Probe::on(&links[2]).unwrap();
    inject(&links[0], b"flooded");
    assert_eq!(joined.expect_one(SOON).payload, b"flooded");
    assert_eq!(other.expect_one(SOON).payload, b"flooded");

    bridge.snooping(true).unwrap();
    let socket = hosts[1].enter(|| std::net::UdpSocket::bind("0.0.0.0:2").unwrap());
    socket.join_multicast_v4(&"239.1.1.1".parse().unwrap(), &"10.20.0.2".parse().unwrap()).unwrap();
    eventually(SOON, "the join in the bridge", || bridge.groups().unwrap().to_string().contains("239.1.1.1"));
    // A querier that has just begun floods for its response time.
    eventually(SOON, "an end of flooding", || {
        inject(&links[0], b"snooped");
        joined.expect_one(SOON);
        other.collect_until(1, QUIET).is_empty()
    });
}

#[test]
fn a_macvlan_sends_through_its_parent() {
    skip_unless_available!();
    let line = Line::new("tbl").unwrap();
    let netns = Netns::new("tbl").unwrap();
    let macvlan = line.egress.link.macvlan(&netns, "mv0", "bridge").unwrap();
    let mut probe = Probe::on(&line.receiver.link).unwrap();
    inject(&macvlan, b"above");
    assert_eq!(probe.expect_one(SOON).src_mac, Some(macvlan.mac().unwrap()));
}

#[test]
fn a_tunnel_carries_bare_ip_packets() {
    skip_unless_available!();
    let (near, far) = (Netns::new("tbl").unwrap(), Netns::new("tbl").unwrap());
    let tun = Tun::pair((&near, "t0"), (&far, "t1")).unwrap();
    tun.a.add_address("10.30.0.1".parse().unwrap(), 24).unwrap();
    tun.a.add_address("fd00:30::1".parse().unwrap(), 64).unwrap();
    let mut probe = Probe::on(&tun.b).unwrap();
    for (from, to) in [("10.30.0.1:5", "239.1.1.1:6"), ("[fd00:30::1]:5", "[ff3e::1]:6")] {
        let sender = Sender::open(&tun.a, group(from)).unwrap();
        sender.send(group(to), b"through").unwrap();
        let seen = probe.expect_one(SOON);
        assert_eq!((seen.source(), seen.destination()), (group(from), group(to)));
        assert_eq!((seen.dst_mac, seen.payload.as_slice()), (None, b"through".as_slice()));
        assert!(seen.checksums_valid(), "{seen:?}");
    }
}
