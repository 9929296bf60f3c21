//! Ethernet frames, tagged and not.

use std::net::IpAddr;

use super::golden::{IPV4, IPV6, V4, V6, repr};
use crate::wire::ethernet::{EtherType, MacAddress};
use crate::wire::frame::{Frame, Repr};
use crate::wire::{ChecksumTrust, EmitError, Malformed, datagram, vlan};

const SOURCE: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const PLAIN: [u8; 14] = [1, 0, 0x5e, 1, 1, 1, 2, 0, 0, 0, 0, 1, 8, 0];
/// 802.1ad service tag, priority 5, VLAN 100; customer tag, drop eligible, VLAN 4094; IPv6.
const STACKED: [u8; 22] =
    [0x33, 0x33, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xa8, 0xa0, 100, 0x81, 0, 0x1f, 0xfe, 0x86, 0xdd];
const TAGS: [vlan::Repr; 2] = [
    vlan::Repr { kind: EtherType::SERVICE_TAG, priority: 5, drop_eligible: false, vid: 100 },
    vlan::Repr { kind: EtherType::CUSTOMER_TAG, priority: 0, drop_eligible: true, vid: 4094 },
];

fn check(header: &[u8], packet: &[u8], repr: Repr<'_>) {
    let bytes = [header, packet].concat();
    let mut buffer = vec![0xaa; bytes.len()];
    assert_eq!(repr.emit(&mut buffer).unwrap(), []);
    assert_eq!(buffer, bytes);
    assert_eq!(repr.frame_len(), bytes.len());
    for len in 0..bytes.len() {
        assert!(matches!(repr.emit(&mut buffer[..len]), Err(EmitError::Buffer { .. })), "{len}");
    }
    let padded = [&bytes[..], &[0; 18]].concat();
    let frame = Frame::parse(&padded, ChecksumTrust::Verify).unwrap();
    assert_eq!((frame.destination, frame.source), (repr.destination, repr.source));
    assert_eq!(frame.tags.iter().collect::<Vec<_>>(), repr.tags);
    assert_eq!(datagram::Repr::parse(&frame.datagram), Some(repr.datagram));
}

fn group(repr: &datagram::Repr<'_>) -> MacAddress {
    MacAddress::of_group(repr.addresses.destination()).unwrap()
}

#[test]
fn untagged_both_ways() {
    let datagram = repr(V4);
    check(&PLAIN, &IPV4, Repr { destination: group(&datagram), source: SOURCE, tags: &[], datagram });
}

#[test]
fn stacked_tags_both_ways() {
    let datagram = repr(V6);
    check(&STACKED, &IPV6, Repr { destination: group(&datagram), source: SOURCE, tags: &TAGS, datagram });
}

#[test]
fn tags_are_bounded() {
    let mut buffer = [0; 200];
    let tags = [vlan::Repr { kind: EtherType::CUSTOMER_TAG, priority: 7, drop_eligible: false, vid: 0 }; 9];
    for (count, expected) in [(1, Ok(())), (8, Ok(())), (9, Err(Malformed::Header))] {
        let datagram = repr(V4);
        let frame = Repr { destination: SOURCE, source: SOURCE, tags: &tags[..count], datagram };
        frame.emit(&mut buffer).unwrap();
        assert_eq!(Frame::parse(&buffer, ChecksumTrust::Verify).map(|_| ()), expected, "{count} tags");
    }
}

#[test]
fn other_types_and_versions() {
    let parse = |high, low, packet: &[u8]| {
        let bytes = [&PLAIN[..12], &[high, low], packet].concat();
        Frame::parse(&bytes, ChecksumTrust::Verify).map(|_| ())
    };
    assert_eq!(parse(8, 0, &IPV4), Ok(()));
    assert_eq!(parse(8, 6, &IPV4), Err(Malformed::NotUdp), "ARP");
    assert_eq!(parse(0, 33, &IPV4), Err(Malformed::NotUdp), "802.3 length");
    assert_eq!(parse(8, 0, &IPV6), Err(Malformed::Header));
    assert_eq!(parse(0x86, 0xdd, &IPV4), Err(Malformed::Truncated), "33 bytes hold no IPv6 header");
    assert_eq!(parse(0x86, 0xdd, &[&IPV4[..], &[0; 40]].concat()), Err(Malformed::Header));
}

#[test]
fn every_prefix_is_truncated() {
    for bytes in [[&PLAIN[..], &IPV4].concat(), [&STACKED[..], &IPV6].concat()] {
        for len in 0..bytes.len() {
            for trust in [ChecksumTrust::Verify, ChecksumTrust::Trusted, ChecksumTrust::Partial] {
                let result = Frame::parse(&bytes[..len], trust);
                assert_eq!(result, Err(Malformed::Truncated), "{len} of {} bytes", bytes.len());
            }
        }
    }
}

#[test]
fn group_addresses() {
    let of = |group: &str| MacAddress::of_group(group.parse::<IpAddr>().unwrap()).map(|mac| mac.to_string());
    assert_eq!(of("239.129.2.3").as_deref(), Some("01:00:5e:01:02:03"));
    assert_eq!(of("224.255.0.251").as_deref(), Some("01:00:5e:7f:00:fb"));
    assert_eq!(of("ff3e::8000:2").as_deref(), Some("33:33:80:00:00:02"));
    assert_eq!(of("10.0.0.1"), None);
    assert_eq!(of("2001:db8::1"), None);
    assert!(MacAddress([1, 0, 0x5e, 0, 0, 1]).is_multicast());
    assert!(!SOURCE.is_multicast());
}
