use mcast::wire::Addresses;
use mcast::wire::datagram::Repr;

use super::*;
use crate::generator::header::fill_pattern;

fn target(endpoint: &str, flows: u16) -> Target {
    Target::new(endpoint.parse().unwrap(), NonZeroU16::new(flows).unwrap()).unwrap()
}

fn payload(flow: u16, sequence: u64, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    fill_pattern(flow, sequence, &mut bytes);
    Header { flow, sequence, sent_ns: 1000 }.emit(&mut bytes);
    bytes
}

fn packet(to: &str, port: u16, payload: &[u8]) -> Vec<u8> {
    let source = if to.contains(':') { "2001:db8::9" } else { "192.0.2.9" };
    let repr: Repr<'_> = Repr {
        addresses: Addresses::new(source.parse().unwrap(), to.parse().unwrap()).unwrap(),
        source_port: 7,
        destination_port: port,
        ttl: 5,
        traffic_class: 34 << 2,
        payload,
    };
    let mut bytes = vec![0; repr.packet_len()];
    repr.emit(&mut bytes).unwrap();
    bytes
}

fn take(tally: &mut Tally, packet: &[u8]) {
    tally.take(packet, ChecksumTrust::Verify, None, 26_000);
}

#[test]
fn a_clean_run_of_either_family() {
    for (base, groups) in [("239.1.1.1", ["239.1.1.1", "239.1.1.2"]), ("[ff3e::1]", ["ff3e::1", "ff3e::2"])] {
        let mut tally = Tally::new(&target(&format!("{base}%lo:5000"), 2));
        for n in 0..10 {
            let flow = n as u16 % 2;
            take(
                &mut tally,
                &packet(groups[usize::from(flow)], 5000, &payload(flow, n / 2, 18 + n as usize)),
            );
        }
        let report = tally.report(Some(10));
        assert!(report.is_clean(), "{report:?}");
        assert_eq!((report.received, report.flows.len()), (10, 2));
        assert_eq!((&report.ttls[..], &report.dscps[..], report.sources.len()), (&[5][..], &[34][..], 1));
        let latency = report.latency_us.unwrap();
        assert!((latency.p50 - 25.0).abs() < 0.1 && (latency.max - 25.0).abs() < 0.1, "{latency:?}");
    }
}

#[test]
fn others_are_passed_over_or_foreign() {
    let mut tally = Tally::new(&target("192.0.2.9@239.1.1.1%lo:5000", 1));
    take(&mut tally, &packet("239.1.1.2", 5000, &payload(0, 0, 100)));
    take(&mut tally, &packet("239.1.1.1", 5001, &payload(0, 0, 100)));
    take(&mut tally, &packet("239.1.1.1", 5000, b"somebody else's"));
    take(&mut tally, &packet("239.1.1.1", 5000, b""));
    let mut other_source = Tally::new(&target("192.0.2.8@239.1.1.1%lo:5000", 1));
    take(&mut other_source, &packet("239.1.1.1", 5000, &payload(0, 0, 100)));
    assert_eq!((tally.report(None).received, tally.report(None).foreign), (0, 2));
    assert_eq!(other_source.report(None).received, 0);
    assert_eq!(other_source.report(None).silent, ["239.1.1.1"]);
}

#[test]
fn damage_is_told_apart() {
    let mut tally = Tally::new(&target("239.1.1.1%lo:5000", 1));
    let good = packet("239.1.1.1", 5000, &payload(0, 0, 100));
    let mut flipped = good.clone();
    flipped[70] ^= 1;
    take(&mut tally, &flipped);
    // The same damage under a checksum that was made after it.
    let mut wrong = payload(0, 1, 100);
    wrong[50] ^= 1;
    take(&mut tally, &packet("239.1.1.1", 5000, &wrong));
    let mut bad_ip = good.clone();
    bad_ip[8] = 77;
    take(&mut tally, &bad_ip);
    take(&mut tally, &good[..100]);
    let mut partial = good;
    partial[26] ^= 0xff;
    tally.take(&partial, ChecksumTrust::Partial, None, 2000);
    let report = tally.report(Some(2));
    assert_eq!((report.bad_checksum, report.corrupted, report.received, report.lost), (2, 2, 1, 1));
    assert!(!report.is_clean());
}

#[test]
fn a_super_frame_is_its_segments() {
    let mut tally = Tally::new(&target("127.0.0.1:5000", 1));
    let segments: Vec<_> = (0..3).flat_map(|n| payload(0, n, 100)).collect();
    let whole = packet("127.0.0.1", 5000, &segments);
    tally.take(&whole, ChecksumTrust::Partial, NonZeroU16::new(100), 2000);
    assert_eq!((tally.received(), tally.distinct()), (3, 3));
    assert!(tally.report(None).is_clean());
}

#[test]
fn a_window_keeps_strays_apart() {
    let mut tally = Tally::within(&target("239.1.1.1%lo:5000", 2), 10..20);
    for (to, flow, sequence) in [
        ("239.1.1.1", 0, 10),
        ("239.1.1.2", 1, 19),
        ("239.1.1.1", 0, 9),
        ("239.1.1.1", 0, 20),
        ("239.1.1.1", 1, 11),
    ] {
        take(&mut tally, &packet(to, 5000, &payload(flow, sequence, 100)));
    }
    let report = tally.report(None);
    assert_eq!((report.received, report.lost, tally.strays()), (2, 0, 3));
    assert_eq!(tally.latencies().len(), 2);
}

#[test]
fn packets_to_nobodys_port_are_strays() {
    let mut tally = Tally::within(&target("239.1.1.1%lo:5000", 2), 10..20);
    let whole = [payload(0, 10, 100), payload(1, 9, 100), vec![0; 100]].concat();
    for to in ["239.1.1.2", "239.1.1.3"] {
        let packet = packet(to, 5001, &whole);
        let datagram = Datagram::parse_ip(&packet, ChecksumTrust::Verify).unwrap();
        tally.take_stray(&datagram, NonZeroU16::new(100));
    }
    assert_eq!(
        (tally.strays(), tally.received()),
        (2, 0),
        "those of others and to other groups are not ours"
    );
}
