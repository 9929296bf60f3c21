//! The probe and the injector against the kernel: what goes in at one end comes out whole at the other.

#![expect(clippy::unwrap_used, reason = "what a test sets up fails like the test")]

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use testbed::{Checksum, Datagram, Fragment, Injector, Line, Mac, Netns, Probe, Veth, skip_unless_available};

const SOON: Duration = Duration::from_secs(5);
const QUIET: Duration = Duration::from_millis(200);

struct Cable {
    a: testbed::Link,
    b: testbed::Link,
}

fn cable() -> Cable {
    let (near, far) = (Netns::new("tbw").unwrap(), Netns::new("tbw").unwrap());
    let veth = Veth::pair((&near, "a0"), (&far, "b0")).unwrap();
    Cable { a: veth.a, b: veth.b }
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn an_injected_frame_is_seen_whole() {
    skip_unless_available!();
    let Cable { a, b } = cable();
    let mut probe = Probe::open(b.netns(), "b0").unwrap();
    let injector = Injector::on(&a).unwrap();
    let foreign = Mac([2, 0, 0, 0, 0, 7]);
    let sent = Datagram::between("192.0.2.77:4000", "239.129.2.3:5000")
        .ttl(7)
        .dscp(34)
        .ecn(1)
        .id(4242)
        .from_mac(foreign)
        .payload(b"over the wire".to_vec());
    injector.send(&sent).unwrap();
    let seen = probe.expect_one(SOON);
    assert_eq!(
        (seen.source(), seen.destination()),
        (address("192.0.2.77:4000"), address("239.129.2.3:5000"))
    );
    assert_eq!((seen.ttl, seen.dscp, seen.ecn, seen.ip_id), (7, 34, 1, Some(4242)));
    assert_eq!(seen.src_mac, Some(foreign));
    assert_eq!(seen.dst_mac, Some(Mac([0x01, 0x00, 0x5e, 0x01, 0x02, 0x03])));
    assert_eq!(seen.payload, b"over the wire");
    assert_eq!(seen.frame_len, 14 + 20 + 8 + 13);
    assert!(seen.checksums_valid(), "{seen:?}");
    assert!(seen.at_ns > 1_600_000_000_000_000_000, "{seen:?}");
    assert!(!seen.super_frame && !seen.malformed && !seen.checksum_partial, "{seen:?}");
    assert_eq!((seen.fragment, seen.options_len, seen.padding_len), (None, 0, 0));
    probe.expect_silence(QUIET);
}

#[test]
fn ipv6_with_extension_headers_is_seen_whole() {
    skip_unless_available!();
    let Cable { a, b } = cable();
    let mut probe = Probe::open(b.netns(), "b0").unwrap();
    let sent = Datagram::between("[2001:db8::7]:4000", "[ff3e::8000:2]:5000")
        .ttl(9)
        .dscp(46)
        .hop_by_hop(1)
        .destination_options(2)
        .payload(b"six".to_vec());
    Injector::on(&a).unwrap().send(&sent).unwrap();
    let seen = probe.expect_one(SOON);
    assert_eq!(
        (seen.source(), seen.destination()),
        (address("[2001:db8::7]:4000"), address("[ff3e::8000:2]:5000"))
    );
    assert_eq!((seen.ttl, seen.dscp, seen.ip_id, seen.ip_checksum_ok), (9, 46, None, None));
    assert_eq!(seen.dst_mac, Some(Mac([0x33, 0x33, 0x80, 0x00, 0x00, 0x02])));
    assert_eq!((seen.options_len, seen.payload.as_slice()), (24, b"six".as_slice()));
    assert!(seen.checksums_valid(), "{seen:?}");
}

#[test]
fn tags_are_seen_though_the_kernel_takes_them_out() {
    skip_unless_available!();
    let Cable { a, b } = cable();
    let mut probe = Probe::open(b.netns(), "b0").unwrap();
    let injector = Injector::on(&a).unwrap();
    let plain = Datagram::between("10.0.0.1:1", "239.1.1.1:2").payload(b"x".to_vec());
    let service = testbed::Vlan { tpid: 0x88a8, vid: 100, pcp: 0 };
    injector.send(&plain.clone().vlan(0, 5)).unwrap();
    injector.send(&plain.clone().tag(service).vlan(7, 1)).unwrap();
    injector.send(&plain).unwrap();
    let seen = probe.expect(3, SOON);
    let tags: Vec<Vec<(u16, u16, u8)>> =
        seen.iter().map(|s| s.vlans.iter().map(|v| (v.tpid, v.vid, v.pcp)).collect()).collect();
    assert_eq!(tags, [vec![(0x8100, 0, 5)], vec![(0x88a8, 100, 0), (0x8100, 7, 1)], vec![]]);
    let lengths: Vec<usize> = seen.iter().map(|s| s.frame_len).collect();
    assert_eq!(lengths, [47, 51, 43]);
}

#[test]
fn options_padding_and_checksums_are_told_apart() {
    skip_unless_available!();
    let Cable { a, b } = cable();
    let mut probe = Probe::open(b.netns(), "b0").unwrap();
    let injector = Injector::on(&a).unwrap();
    let plain = Datagram::between("10.0.0.1:1", "239.1.1.1:2").payload(b"abc".to_vec());
    let router_alert = [0x94, 4, 0, 0];
    injector.send(&plain.clone().ip_options(router_alert).padded(9)).unwrap();
    injector.send(&plain.clone().without_checksum()).unwrap();
    injector.send(&plain.clone().with_wrong_checksum()).unwrap();
    let mut bad_header = plain.frame(injector.mac());
    bad_header[14 + 10] ^= 0xff;
    injector.send_raw(&bad_header).unwrap();
    let mut short_udp = plain.frame(injector.mac());
    short_udp[14 + 20 + 5] -= 1;
    injector.send_raw(&short_udp).unwrap();
    let seen = probe.expect(5, SOON);
    assert_eq!((seen[0].options_len, seen[0].padding_len, seen[0].payload.len()), (4, 9, 3));
    let udp: Vec<_> = seen[..4].iter().map(|s| s.udp_checksum.unwrap()).collect();
    assert_eq!(udp, [Checksum::Valid, Checksum::Absent, Checksum::Invalid, Checksum::Valid]);
    let ip: Vec<_> = seen.iter().map(|s| s.ip_checksum_ok.unwrap()).collect();
    assert_eq!(ip, [true, true, true, false, true]);
    assert_eq!(seen.iter().map(|s| s.malformed).collect::<Vec<_>>(), [false, false, false, false, true]);
}

#[test]
fn fragments_are_flagged_in_both_families() {
    skip_unless_available!();
    let Cable { a, b } = cable();
    let mut probe = Probe::open(b.netns(), "b0").unwrap();
    let injector = Injector::on(&a).unwrap();
    let payload: Vec<u8> = (0..=255).cycle().take(1000).collect();
    for (src, dst) in [("10.0.0.1:1", "239.1.1.1:2"), ("[fd00::1]:1", "[ff3e::2]:2")] {
        let datagram = Datagram::between(src, dst).id(99).payload(payload.clone());
        injector.send_fragments(&datagram, 400).unwrap();
        let seen = probe.expect(3, SOON);
        let places: Vec<_> = seen.iter().map(|s| s.fragment.unwrap()).collect();
        let place = |offset, more| Fragment { offset, more };
        assert_eq!(places, [place(0, true), place(400, true), place(800, false)]);
        assert!(seen.iter().all(|s| s.udp_checksum.is_none() && s.ip_id == Some(99)), "{seen:#?}");
        assert_eq!(seen.iter().map(|s| s.dport).collect::<Vec<_>>(), [Some(2), None, None]);
        let whole: Vec<u8> = seen.iter().flat_map(|s| s.payload.clone()).collect();
        assert_eq!(whole, payload);
    }
}

#[test]
fn a_sockets_checksum_is_partial_unless_tx_is_off() {
    skip_unless_available!();
    let line = Line::new("tbw").unwrap();
    // The sender's veth leaves the checksum to a device; the relay's egress veth has `tx` off.
    for (from, to, partial) in [(&line.sender, &line.ingress, true), (&line.egress, &line.receiver, false)] {
        for source in [SocketAddr::new(from.v4.into(), 0), SocketAddr::new(from.v6.into(), 0)] {
            let target = if source.is_ipv4() {
                SocketAddr::new(to.v4.into(), 7)
            } else {
                SocketAddr::new(to.v6.into(), 7)
            };
            let mut probe = Probe::open(to.netns(), to.name()).unwrap();
            let socket = from.netns().enter(|| UdpSocket::bind(source).unwrap());
            socket.send_to(b"from a socket", target).unwrap();
            let seen = probe.expect_one(SOON);
            assert_eq!(seen.destination(), target);
            assert_eq!(seen.checksum_partial, partial, "{seen:?}");
            let checksum = if partial { Checksum::Invalid } else { Checksum::Valid };
            assert_eq!(seen.udp_checksum, Some(checksum), "{seen:?}");
            assert_ne!(seen.ip_checksum_ok, Some(false));
            assert_eq!(seen.dst_mac, Some(to.link.mac().unwrap()));
        }
    }
}

#[test]
fn outgoing_frames_and_other_interfaces_are_not_seen() {
    skip_unless_available!();
    let line = Line::new("tbw").unwrap();
    let mut probe = Probe::open(line.relay(), "r-in").unwrap();
    Injector::on(&line.ingress.link).unwrap().udp("10.0.0.1:1", "239.1.1.1:2", 1, 0, b"out").unwrap();
    Injector::on(&line.receiver.link).unwrap().udp("10.0.0.1:1", "239.1.1.1:2", 1, 0, b"elsewhere").unwrap();
    Injector::on(&line.sender.link).unwrap().udp("10.0.0.1:1", "239.1.1.1:2", 1, 0, b"in").unwrap();
    assert_eq!(probe.expect_one(SOON).payload, b"in");
    probe.expect_silence(QUIET);
}

#[test]
#[should_panic(expected = "unexpected packet")]
fn silence_is_not_claimed_over_a_packet() {
    if testbed::netns::skips(module_path!()) {
        panic!("unexpected packet: skipped");
    }
    let Cable { a, b } = cable();
    let mut probe = Probe::open(b.netns(), "b0").unwrap();
    Injector::on(&a).unwrap().udp("10.0.0.1:1", "239.1.1.1:2", 1, 0, b"loud").unwrap();
    probe.expect_silence(SOON);
}

#[test]
fn a_filter_keeps_only_what_it_names() {
    skip_unless_available!();
    let Cable { a, b } = cable();
    let mut probe = Probe::open(b.netns(), "b0").unwrap().only(|seen| seen.dport == Some(3));
    let injector = Injector::on(&a).unwrap();
    injector.udp("10.0.0.1:1", "239.1.1.1:2", 1, 0, b"no").unwrap();
    injector.udp("10.0.0.1:1", "239.1.1.1:3", 1, 0, b"yes").unwrap();
    assert_eq!(probe.expect_one(SOON).payload, b"yes");
    probe.expect_silence(QUIET);
}

#[test]
fn joins_are_seen_as_other_frames() {
    skip_unless_available!();
    let line = Line::new("tbw").unwrap();
    let mut probe = Probe::open(line.relay(), "r-out").unwrap();
    let socket = line.receiver.netns().enter(|| UdpSocket::bind("0.0.0.0:5000").unwrap());
    socket.join_multicast_v4(&"239.9.9.9".parse().unwrap(), &line.receiver.v4).unwrap();
    let report = testbed::eventually(SOON, "an IGMP report", || {
        probe.others().into_iter().find(|other| other.ip.is_some_and(|(_, _, protocol)| protocol == 2))
    });
    // An IGMPv3 report (RFC 3376 §4.2) with the group in its first record.
    assert_eq!(report.payload[0], 0x22);
    assert_eq!(&report.payload[12..16], [239, 9, 9, 9]);
}

#[test]
fn a_burst_arrives_in_order_without_a_loss() {
    skip_unless_available!();
    let Cable { a, b } = cable();
    let mut probe = Probe::open(b.netns(), "b0").unwrap();
    let injector = Injector::on(&a).unwrap();
    for number in 0..20_000_u32 {
        injector.udp("10.0.0.1:1", "239.1.1.1:2", 1, 0, &number.to_be_bytes()).unwrap();
    }
    let seen = probe.expect(20_000, SOON);
    for (number, seen) in (0_u32..).zip(&seen) {
        assert_eq!(seen.payload, number.to_be_bytes());
    }
    assert!(seen.is_sorted_by_key(|seen| seen.at_ns));
    probe.expect_silence(QUIET);
}
