//! Frames that must not be relayed, each with its one reason.

use std::net::Ipv4Addr;

use testbed::{Checksum, Datagram, Injector, Mac, rule, skip_unless_available};

use crate::bed::{Bed, QUIET, SOON};
use crate::expected::{Expected, payload, payloads};

const RULES: &[(&str, &str, &str)] = &[
    ("four", "239.1.1.1%r-in:5000", "239.2.2.2%r-out1:6000"),
    ("six", "[ff3e::1:1]%r-in:5000", "[ff3e::2:2]%r-out1:6000"),
];

fn bed() -> Bed {
    let rules: String = RULES.iter().map(|(name, input, output)| rule(name, input, &[output])).collect();
    Bed::new("rld", 1, &rules)
}

fn four() -> Datagram {
    Datagram::between("10.10.1.100:4000", "239.1.1.1:5000").payload(payload(0, 100))
}

fn six() -> Datagram {
    Datagram::between("[fd00:1::100]:4000", "[ff3e::1:1]:5000").payload(payload(0, 100))
}

const IP: usize = 14;
const IPV4_PROTOCOL: usize = IP + 9;
const IPV4_LENGTH: usize = IP + 2;
const UDP4_LENGTH: usize = IP + 20 + 4;
const IPV6_LENGTH: usize = IP + 4;
const IPV6_NEXT: usize = IP + 6;
const UDP6_LENGTH: usize = IP + 40 + 4;

/// A frame with some bytes overwritten and, in IPv4, the header checksum made right again.
fn patched(frame: &Datagram, at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut frame = frame.frame(Mac([2, 0, 0, 0, 0, 1]));
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    if frame[12..14] == [0x08, 0x00] {
        frame[IP + 10..IP + 12].fill(0);
        let words = frame[IP..IP + 20].chunks_exact(2);
        let sum: u32 = words.map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
        let folded = (sum & 0xffff) + (sum >> 16);
        let checksum = !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap();
        frame[IP + 10..IP + 12].copy_from_slice(&checksum.to_be_bytes());
    }
    frame
}

/// Sends frames that must be dropped between two good ones, which must be all that leaves.
fn dropped(bed: &mut Bed, frames: &[Vec<u8>]) {
    bed.input.send(&four()).unwrap();
    for frame in frames {
        bed.input.send_raw(frame).unwrap();
    }
    bed.input.send(&six()).unwrap();
    only_good_ones_left(bed);
}

fn only_good_ones_left(bed: &mut Bed) {
    let mut seen = bed.probes[0].expect(2, SOON);
    let (egress, receiver) = (&bed.fan.egress[0], &bed.fan.receivers[0]);
    for to in ["239.2.2.2:6000", "[ff3e::2:2]:6000"] {
        Expected::new(egress, receiver, to).assert(&mut seen, &payloads(1, 100));
    }
    bed.probes[0].expect_silence(QUIET);
}

#[test]
fn other_protocols_than_udp_are_not_relayed() {
    skip_unless_available!();
    let mut bed = bed();
    // IGMP, TCP, a UDP-Lite look-alike; and TCP behind IPv6, also behind an extension header.
    let frames = [
        patched(&four(), IPV4_PROTOCOL, &[2]),
        patched(&four(), IPV4_PROTOCOL, &[6]),
        patched(&four(), IPV4_PROTOCOL, &[136]),
        patched(&six(), IPV6_NEXT, &[6]),
        patched(&six().hop_by_hop(1), IP + 40, &[6]),
    ];
    dropped(&mut bed, &frames);
    let account = bed.finish();
    account.assert_drops(&[("not_udp", 5)]);
    assert_eq!((account.total("matched"), account.total("parse_err")), (2, 0), "{account:#?}");
}

#[test]
fn malformed_packets_are_named_so() {
    skip_unless_available!();
    let mut bed = bed();
    let frames = [
        // Longer by their headers than the frame.
        patched(&four(), IPV4_LENGTH, &[0x05, 0x00]),
        patched(&six(), IPV6_LENGTH, &[0x05, 0x00]),
        // A UDP datagram longer than its packet, and one shorter than its header.
        patched(&four(), UDP4_LENGTH, &[0x05, 0x00]),
        patched(&six(), UDP6_LENGTH, &[0x05, 0x00]),
        patched(&four(), UDP4_LENGTH, &[0, 7]),
        patched(&six(), UDP6_LENGTH, &[0, 7]),
        // A header of four words, and the wrong version for the EtherType.
        patched(&four(), IP, &[0x44]),
        patched(&four(), IP, &[0x55]),
        // Cut off in the middle of the headers.
        four().frame(bed.input.mac())[..IP + 12].to_vec(),
        six().frame(bed.input.mac())[..IP + 43].to_vec(),
    ];
    let count = frames.len() as u64;
    dropped(&mut bed, &frames);
    let account = bed.finish();
    account.assert_drops(&[("malformed", count)]);
    assert_eq!((account.total("matched"), account.total("parse_err")), (2, count), "{account:#?}");
}

/// Nobody's port, so that an output which keeps it could not be sent to, and would be blamed.
#[test]
fn packets_to_port_zero_are_malformed() {
    skip_unless_available!();
    let mut bed = Bed::new("rld", 1, &rule("any", "239.1.1.1%r-in", &["239.2.2.2%r-out1"]));
    for to in ["239.1.1.1:0", "239.1.1.1:5000"] {
        bed.input.udp("10.10.1.100:4000", to, 16, 0, b"x").unwrap();
    }
    assert_eq!(bed.probes[0].expect_one(SOON).dport, Some(5000));
    assert_eq!(bed.rule("any")["state"], "active");
    let account = bed.finish();
    account.assert_drops(&[("malformed", 1)]);
    assert_eq!((account.total("sent"), account.total("errors")), (1, 0), "{account:#?}");
}

/// A host without an address yet sends so: the kernel would put the relay's own in, and the checksum would be wrong.
#[test]
fn an_unspecified_source_cannot_be_kept() {
    skip_unless_available!();
    let outputs = ["239.2.2.2%r-out1:6000,source=keep", "239.2.2.3%r-out1:6000,source=keep,sport=99"];
    let mut bed = Bed::new("rld", 1, &rule("keeps", "239.1.1.1%r-in:5000", &outputs));
    for from in ["0.0.0.0:4000", "10.10.1.100:4000"] {
        bed.input.udp(from, "239.1.1.1:5000", 16, 0, b"x").unwrap();
    }
    let seen = bed.probes[0].expect(2, SOON);
    assert!(seen.iter().all(|seen| seen.src.to_string() == "10.10.1.100"), "{seen:#?}");
    bed.probes[0].expect_silence(QUIET);
    for leg in [0, 1] {
        let leg = bed.leg("keeps", leg);
        assert_eq!((&leg["packets"], &leg["errors"]), (&1.into(), &1.into()), "{leg:#}");
    }
    bed.finish();
}

#[test]
fn bad_checksums_never_become_good() {
    skip_unless_available!();
    let mut bed = bed();
    let mut bad_header = four().frame(bed.input.mac());
    bad_header[IP + 10] ^= 0x5a;
    let frames = [
        four().with_wrong_checksum().frame(bed.input.mac()),
        six().with_wrong_checksum().frame(bed.input.mac()),
        bad_header,
        // Zero means "none" in IPv4 alone (RFC 8200, 8.1).
        six().without_checksum().frame(bed.input.mac()),
    ];
    dropped(&mut bed, &frames);
    let account = bed.finish();
    account.assert_drops(&[("bad_checksum", 4)]);
    assert_eq!((account.total("matched"), account.total("parse_err")), (2, 4), "{account:#?}");
}

#[test]
fn an_absent_ipv4_checksum_is_relayed_and_made() {
    skip_unless_available!();
    let mut bed = bed();
    bed.input.send(&four().without_checksum()).unwrap();
    let seen = bed.probes[0].expect_one(SOON);
    assert_eq!(seen.udp_checksum, Some(Checksum::Valid), "{seen:?}");
    Expected::new(&bed.fan.egress[0], &bed.fan.receivers[0], "239.2.2.2:6000")
        .assert(&mut vec![seen], &payloads(1, 100));
    bed.finish().assert_all_relayed(1, 1);
}

#[test]
fn frames_to_other_hosts_are_not_taken() {
    skip_unless_available!();
    let mut bed = bed();
    let other = Mac([2, 0, 0, 0, 0, 99]);
    let frames = [four().to_mac(other).frame(bed.input.mac()), six().to_mac(other).frame(bed.input.mac())];
    dropped(&mut bed, &frames);
    bed.finish().assert_drops(&[("other_host", 2)]);
}

#[test]
fn tagged_frames_are_not_taken_and_priority_tagged_ones_are() {
    skip_unless_available!();
    let mut bed = bed();
    let tagged = [
        four().vlan(5, 0).frame(bed.input.mac()),
        six().vlan(4094, 7).frame(bed.input.mac()),
        four().vlan(0, 3).vlan(5, 0).frame(bed.input.mac()),
    ];
    bed.input.send(&four().vlan(0, 6)).unwrap();
    tagged.iter().for_each(|frame| bed.input.send_raw(frame).unwrap());
    bed.input.send(&six().vlan(0, 0)).unwrap();
    only_good_ones_left(&mut bed);
    let account = bed.finish();
    account.assert_drops(&[("other_host", 3)]);
    assert_eq!(account.relayed(), 2, "{account:#?}");
}

#[test]
fn what_no_rule_names_is_counted_and_left() {
    skip_unless_available!();
    let mut bed = bed();
    let others = [
        ("10.10.1.100:4000", "239.1.1.1:5001"),
        ("10.10.1.100:4000", "239.1.1.2:5000"),
        // Of the same MAC as the group.
        ("10.10.1.100:4000", "239.129.1.1:5000"),
        ("[fd00:1::100]:4000", "[ff3e::1:2]:5000"),
    ];
    let frames: Vec<_> = others
        .iter()
        .map(|(from, to)| Datagram::between(from, to).payload(*b"x").frame(bed.input.mac()))
        .collect();
    dropped(&mut bed, &frames);
    bed.finish().assert_drops(&[("no_rule", 4)]);
}

/// Two segments that exchange a group, as discovery needs it: what comes back is not sent round again.
#[test]
fn own_frames_that_come_back_are_dropped() {
    skip_unless_available!();
    let rules = rule("there", "239.1.1.1%r-in:5000", &["239.1.1.1%r-out1:5000,ttl=decrement"])
        + &rule("back", "239.1.1.1%r-out1:5000", &["239.1.1.1%r-in:5000,ttl=decrement"]);
    let mut bed = Bed::new("rld", 1, &rules);
    let mut before = testbed::Probe::on(&bed.fan.sender.link).unwrap();
    bed.input.udp("10.10.1.100:5000", "239.1.1.1:5000", 16, 0, b"who is there").unwrap();
    let sent = bed.probes[0].expect_one(SOON);
    // As a loop beyond the receiver would return it, to either side.
    let looped = Datagram::new(sent.source(), sent.destination()).ttl(14).payload(sent.payload);
    bed.input.send(&looped).unwrap();
    Injector::on(&bed.fan.receivers[0].link).unwrap().send(&looped).unwrap();
    // Only address and port together make a frame the relay's own.
    let port = sent.sport.unwrap();
    bed.input.udp(&format!("10.10.1.100:{port}"), "239.1.1.1:5000", 16, 0, b"same port").unwrap();
    bed.input.udp("10.10.2.1:5000", "239.1.1.1:5000", 16, 0, b"same address").unwrap();
    let mut payloads: Vec<_> = bed.probes[0].expect(2, SOON).into_iter().map(|seen| seen.payload).collect();
    // Order is kept within a flow, not between them.
    payloads.sort();
    assert_eq!(payloads, [b"same address".to_vec(), b"same port".to_vec()]);
    bed.probes[0].expect_silence(QUIET);
    before.expect_silence(QUIET);
    let stats = bed.relay.wait_stats(SOON, |stats| testbed::Relay::workers_sum(stats, "own_frame") == 2);
    assert_eq!(stats["totals"]["sent"], 3, "{stats:#}");
}

/// Addresses of one family: the groups of two opposite rules and of a third, the senders on both sides, the
/// addresses of others that the three rules send from.
struct Foreign {
    group: &'static str,
    third: &'static str,
    senders: [&'static str; 2],
    sources: [&'static str; 3],
}

const FOREIGN: [Foreign; 2] = [
    Foreign {
        group: "239.1.1.1",
        third: "239.1.1.3",
        senders: ["10.10.1.100", "10.10.2.100"],
        sources: ["192.0.2.71", "192.0.2.72", "192.0.2.73"],
    },
    Foreign {
        group: "[ff3e::1:1]",
        third: "[ff3e::1:3]",
        senders: ["[fd00:1::100]", "[fd00:2::100]"],
        sources: ["[2001:db8::71]", "[2001:db8::72]", "[2001:db8::73]"],
    },
];

/// What a rule sends in the name of another host comes back under that name. Only a rule that takes in that one
/// source, to speak for it, hears it all the same.
#[test]
fn own_frames_under_foreign_sources_are_dropped_but_where_just_that_source_is_wanted() {
    skip_unless_available!();
    for Foreign { group, third, senders: [near, distant], sources: [first, second, wanted] } in FOREIGN {
        let option = |source: &str| source.trim_matches(['[', ']']).to_owned();
        let rules = rule(
            "there",
            &format!("{group}%r-in:5000"),
            &[format!("{group}%r-out1:5000,ttl=decrement,source={}", option(first))],
        ) + &rule(
            "back",
            &format!("{group}%r-out1:5000"),
            &[format!("{group}%r-in:5000,ttl=decrement,source={},sport=7000", option(second))],
        ) + &rule(
            "speaks",
            &format!("{wanted}@{third}%r-in:5000"),
            &[format!("{third}%r-out1:6000,source={},sport=7000", option(wanted))],
        );
        let mut bed = Bed::new("rld", 1, &rules);
        let mut before = testbed::Probe::on(&bed.fan.sender.link).unwrap();
        let behind = Injector::on(&bed.fan.receivers[0].link).unwrap();
        let to = format!("{group}:5000");
        bed.input.udp(&format!("{near}:4000"), &to, 16, 0, b"there").unwrap();
        let there = bed.probes[0].expect_one(SOON).source();
        behind.udp(&format!("{distant}:4000"), &to, 16, 0, b"back").unwrap();
        let back = before.expect_one(SOON).source();
        assert_eq!(there.ip().to_string(), option(first));
        assert_eq!(back, format!("{second}:7000").parse().unwrap());
        // As loops beyond the links would return them, to either side.
        for own in [there, back] {
            let looped = Datagram::new(own, to.parse().unwrap()).ttl(14).payload(*b"looped");
            bed.input.send(&looped).unwrap();
            behind.send(&looped).unwrap();
        }
        // The address of one and the port of the other: not the relay's.
        bed.input.udp(&format!("{first}:7000"), &to, 16, 0, b"other port").unwrap();
        assert_eq!(bed.probes[0].expect_one(SOON).payload, b"other port");
        let from = format!("{wanted}:7000");
        bed.input.udp(&from, &format!("{third}:5000"), 16, 0, b"wanted").unwrap();
        let spoken = bed.probes[0].expect_one(SOON);
        assert_eq!((spoken.source(), spoken.payload), (from.parse().unwrap(), b"wanted".to_vec()));
        let stats = bed.relay.wait_stats(SOON, |stats| testbed::Relay::workers_sum(stats, "own_frame") == 4);
        assert_eq!(stats["totals"]["sent"], 4, "{stats:#}");
        bed.probes[0].expect_silence(QUIET);
        before.expect_silence(QUIET);
    }
}

/// A program on the relay's own host sends out of the input's interface: not an arrival.
#[test]
fn senders_on_the_relays_host_are_not_seen() {
    skip_unless_available!();
    let mut bed = bed();
    let local =
        bed.fan.relay().enter(|| std::net::UdpSocket::bind((Ipv4Addr::new(10, 10, 1, 1), 0))).unwrap();
    local.set_multicast_loop_v4(true).unwrap();
    // A listener, so that the copy is looped at all.
    let _listener = crate::bed::listen(&bed.fan.ingress, "239.1.1.1:5000");
    bed.fan.ingress.link.route_multicast().unwrap();
    local.send_to(b"from here", "239.1.1.1:5000").unwrap();
    dropped(&mut bed, &[]);
    bed.finish().assert_all_relayed(2, 1);
}
