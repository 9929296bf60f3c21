//! What holds for every datagram and every string of bytes.

use std::net::IpAddr;

use proptest::collection::vec;
use proptest::prelude::*;

use super::checksum::naive;
use super::golden::{IPV4, IPV4_OPTIONS, IPV6};
use crate::wire::ethernet::{EtherType, MacAddress};
use crate::wire::extension::Upper;
use crate::wire::{Addresses, ChecksumTrust, Datagram, Frame, Malformed, Piece, Protocol};
use crate::wire::{datagram, ethernet, frame, ipv4, ipv6, udp, vlan};

const TRUSTS: [ChecksumTrust; 3] = [ChecksumTrust::Verify, ChecksumTrust::Trusted, ChecksumTrust::Partial];

fn addresses() -> impl Strategy<Value = Addresses> {
    prop_oneof![
        any::<([u8; 4], [u8; 4])>()
            .prop_map(|(s, d)| Addresses::V4 { source: s.into(), destination: d.into() }),
        any::<([u8; 16], [u8; 16])>()
            .prop_map(|(s, d)| Addresses::V6 { source: s.into(), destination: d.into() }),
    ]
}

prop_compose! {
    fn tag()(service in any::<bool>(), priority in 0u8..8, drop_eligible in any::<bool>(), vid in 0u16..4096)
        -> vlan::Repr {
        let kind = if service { EtherType::SERVICE_TAG } else { EtherType::CUSTOMER_TAG };
        vlan::Repr { kind, priority, drop_eligible, vid }
    }
}

/// Every parser over the same bytes; what they accept lies within them.
fn parse_all(bytes: &[u8]) {
    for trust in TRUSTS {
        if let Ok(datagram) = Datagram::parse_ip(bytes, trust) {
            assert!(bytes.as_ptr_range().start < datagram.payload.as_ptr_range().start);
            assert!(datagram.payload.as_ptr_range().end <= bytes.as_ptr_range().end);
            assert!(datagram::Repr::parse(&datagram).is_some(), "one family");
        }
        if let Ok(frame) = Frame::parse(bytes, trust) {
            assert!(frame.tags.iter().all(|tag| tag.kind.is_tag()));
        }
        let v4 = Addresses::V4 { source: [0; 4].into(), destination: [0; 4].into() };
        _ = udp::Packet::parse(bytes, &v4, trust).map(|packet| udp::Repr::parse(&packet));
    }
    // What is a fragment to one is a fragment to the other.
    let whole = Datagram::parse_ip(bytes, ChecksumTrust::Partial);
    match Piece::parse_ip(bytes) {
        Ok(Some(piece)) => {
            assert_eq!(whole, Err(Malformed::Fragment));
            assert!(piece.payload.as_ptr_range().end <= bytes.as_ptr_range().end);
            _ = piece.header.datagram(bytes);
        }
        Ok(None) => assert_ne!(whole, Err(Malformed::Fragment)),
        Err(malformed) => assert!(whole == Err(malformed) || whole == Err(Malformed::Fragment)),
    }
    _ = ethernet::Frame::parse(bytes).map(|frame| ethernet::Repr::parse(&frame));
    _ = ipv4::Packet::parse(bytes).map(|packet| ipv4::Repr::parse(&packet));
    _ = ipv6::Packet::parse(bytes).map(|packet| ipv6::Repr::parse(&packet));
    for next in [0, 17, 43, 44, 51, 60] {
        if let Ok(Upper::Whole { payload, .. }) = Upper::walk(Protocol(next), bytes) {
            assert!(bytes.ends_with(payload));
        }
    }
}

/// Bytes that get past the first checks: right version, length and header checksum, the rest by chance.
fn plausible(mut bytes: Vec<u8>, ipv6: bool) -> Vec<u8> {
    let len = u16::try_from(bytes.len()).unwrap();
    if ipv6 && len >= 40 {
        bytes[0] = 0x60;
        bytes[4..6].copy_from_slice(&(len - 40).to_be_bytes());
    } else if len >= 24 {
        bytes[0] = 0x46;
        (bytes[6], bytes[9]) = (0, 17);
        bytes[2..4].copy_from_slice(&len.to_be_bytes());
        bytes[10..12].fill(0);
        let checksum = naive(&bytes[..24]);
        bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        parse_all(&bytes);
    }

    #[test]
    fn plausible_bytes_never_panic(
        bytes in vec(prop_oneof![any::<u8>(), 0u8..4, Just(17), Just(44), Just(60)], 0..200),
        ipv6 in any::<bool>(),
        next in prop::sample::select(vec![0u8, 17, 43, 44, 51, 60]),
    ) {
        let mut bytes = plausible(bytes, ipv6);
        if ipv6 && bytes.len() >= 40 {
            bytes[6] = next;
        }
        parse_all(&bytes);
    }
}

proptest! {
    #[test]
    fn frames_round_trip(
        addresses in addresses(),
        macs in any::<([u8; 6], [u8; 6])>(),
        tags in vec(tag(), 0..=vlan::STACK_MAX),
        ports in any::<(u16, u16)>(),
        ttl in any::<u8>(),
        traffic_class in any::<u8>(),
        payload in vec(any::<u8>(), 0..300),
        padding in 0usize..50,
    ) {
        let (source_port, destination_port) = ports;
        let datagram = datagram::Repr {
            addresses, source_port, destination_port, ttl, traffic_class, payload: &payload,
        };
        let (destination, source) = (MacAddress(macs.0), MacAddress(macs.1));
        let repr = frame::Repr { destination, source, tags: &tags, datagram };
        let mut buffer = vec![0xaa; repr.frame_len() + padding];
        let rest = repr.emit(&mut buffer).unwrap();
        prop_assert_eq!(rest, vec![0xaa; padding]);
        for trust in TRUSTS {
            let frame = Frame::parse(&buffer, trust).unwrap();
            prop_assert_eq!((frame.destination, frame.source), (destination, source));
            prop_assert_eq!(frame.tags.iter().collect::<Vec<_>>(), &tags[..]);
            prop_assert_eq!(datagram::Repr::parse(&frame.datagram), Some(datagram));
        }
        let len = repr.frame_len();
        for cut in 0..len {
            prop_assert_eq!(Frame::parse(&buffer[..cut], ChecksumTrust::Partial), Err(Malformed::Truncated));
        }
    }

    #[test]
    fn ipv4_headers_round_trip(
        addresses in any::<([u8; 4], [u8; 4])>(),
        bytes in any::<[u8; 3]>(),
        identification in any::<u16>(),
        flags in any::<(bool, bool)>(),
        offset in 0u16..0x2000,
        options in vec(any::<u8>(), 0..=ipv4::OPTIONS_MAX),
        payload in vec(any::<u8>(), 0..100),
    ) {
        let repr = ipv4::Repr {
            source: addresses.0.into(), destination: addresses.1.into(),
            protocol: Protocol(bytes[0]), ttl: bytes[1], traffic_class: bytes[2],
            identification, dont_fragment: flags.0, more_fragments: flags.1, fragment_offset: offset * 8,
            options: &options, payload_len: payload.len(),
        };
        let mut buffer = vec![0xaa; repr.header_len() + payload.len()];
        repr.emit(&mut buffer).unwrap().copy_from_slice(&payload);
        let packet = ipv4::Packet::parse(&buffer).unwrap();
        prop_assert_eq!(packet.payload(), &payload[..]);
        prop_assert_eq!(usize::from(packet.total_len()), buffer.len());
        let mut padded = options.clone();
        padded.resize(options.len().next_multiple_of(4), 0);
        prop_assert_eq!(ipv4::Repr::parse(&packet), ipv4::Repr { options: &padded, ..repr });
    }

    #[test]
    fn ipv6_headers_round_trip(
        addresses in any::<([u8; 16], [u8; 16])>(),
        bytes in any::<[u8; 3]>(),
        flow_label in 0u32..0x10_0000,
        payload in vec(any::<u8>(), 0..100),
    ) {
        let repr = ipv6::Repr {
            source: addresses.0.into(), destination: addresses.1.into(),
            next_header: Protocol(bytes[0]), hop_limit: bytes[1], traffic_class: bytes[2],
            flow_label, payload_len: payload.len(),
        };
        let mut buffer = vec![0xaa; ipv6::HEADER_LEN + payload.len()];
        repr.emit(&mut buffer).unwrap().copy_from_slice(&payload);
        let packet = ipv6::Packet::parse(&buffer).unwrap();
        prop_assert_eq!(packet.payload(), &payload[..]);
        prop_assert_eq!(ipv6::Repr::parse(&packet), repr);
    }

    #[test]
    fn one_flipped_payload_bit_is_caught(
        addresses in addresses(),
        payload in vec(any::<u8>(), 1..1500),
        at in any::<prop::sample::Index>(),
        bit in 0u8..8,
    ) {
        let repr = datagram::Repr {
            addresses, source_port: 1, destination_port: 2, ttl: 3, traffic_class: 4, payload: &payload,
        };
        let mut buffer = vec![0; repr.packet_len()];
        repr.emit(&mut buffer).unwrap();
        let last = buffer.len() - 1 - at.index(payload.len());
        buffer[last] ^= 1 << bit;
        prop_assert_eq!(Datagram::parse_ip(&buffer, ChecksumTrust::Verify), Err(Malformed::UdpChecksum));
    }
}

#[test]
fn every_flipped_bit_of_ipv4_is_caught() {
    for golden in [&IPV4[..], &IPV4_OPTIONS] {
        for bit in 0..golden.len() * 8 {
            let mut packet = golden.to_vec();
            packet[bit / 8] ^= 1 << (bit % 8);
            assert!(Datagram::parse_ip(&packet, ChecksumTrust::Verify).is_err(), "bit {bit}");
        }
    }
}

#[test]
fn every_flipped_bit_of_ipv6_is_caught_where_a_checksum_covers_it() {
    for bit in 0..IPV6.len() * 8 {
        let mut packet = IPV6;
        packet[bit / 8] ^= 1 << (bit % 8);
        // Traffic class, flow label and hop limit are covered by none (RFC 8200, section 8.1).
        let covered = !matches!((bit / 8, bit % 8), (0, 0..4) | (1..4 | 7, _));
        let result = Datagram::parse_ip(&packet, ChecksumTrust::Verify);
        assert_eq!(result.is_err(), covered, "bit {bit}: {result:?}");
    }
}

#[test]
fn addresses_are_of_one_family() {
    let (v4, v6): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [0x2001, 0, 0, 0, 0, 0, 0, 1].into());
    assert_eq!(Addresses::new(v4, v6), None);
    assert_eq!(Addresses::new(v6, v4), None);
    for (source, destination) in [(v4, v4), (v6, v6)] {
        let pair = Addresses::new(source, destination).unwrap();
        assert_eq!((pair.source(), pair.destination()), (source, destination));
    }
}
