//! What is refused, and as what; and the neighbouring cases that are not.

use super::checksum::naive;
use super::golden::{IPV4, IPV6, V4, V6, repr};
use crate::wire::datagram::Repr;
use crate::wire::ipv4;
use crate::wire::{ChecksumTrust, Datagram, EmitError, Malformed};

const TRUSTS: [ChecksumTrust; 3] = [ChecksumTrust::Verify, ChecksumTrust::Trusted, ChecksumTrust::Partial];

/// The golden IPv4 packet, changed, its header checksum put right again.
fn ipv4_with(change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut packet = IPV4.to_vec();
    change(&mut packet);
    packet[10..12].fill(0);
    let checksum = naive(&packet[..20]);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet
}

fn ipv6_with(change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut packet = IPV6.to_vec();
    change(&mut packet);
    packet
}

fn refused(packet: &[u8], as_what: Malformed) {
    for trust in TRUSTS {
        assert_eq!(Datagram::parse_ip(packet, trust), Err(as_what), "{trust:?} {packet:02x?}");
    }
}

#[test]
fn headers_that_contradict_themselves() {
    for version in [0, 1, 5, 7, 15] {
        refused(&ipv4_with(|p| p[0] = version << 4 | 5), Malformed::Header);
    }
    for header_words in 0..5 {
        refused(&ipv4_with(|p| p[0] = 0x40 | header_words), Malformed::Header);
    }
    refused(&ipv4_with(|p| p[3] = 19), Malformed::Header);
    refused(&ipv4_with(|p| p[3] = 34), Malformed::Truncated);
    refused(&ipv4_with(|p| p[3] = 27), Malformed::Header);
    refused(&ipv6_with(|p| p[5] = 14), Malformed::Truncated);
    refused(&ipv6_with(|p| p[5] = 7), Malformed::Header);
    // A jumbogram states no length.
    refused(&ipv6_with(|p| p[5] = 0), Malformed::Header);
}

#[test]
fn udp_lengths() {
    for length in [0, 7, 14, 255] {
        refused(&ipv4_with(|p| p[25] = length), Malformed::Header);
        refused(&ipv6_with(|p| p[45] = length), Malformed::Header);
    }
    // Shorter than the IP payload is legal: the surplus is not part of the datagram.
    let packet = ipv4_with(|p| (p[25], p[26], p[27]) = (10, 0, 0));
    assert_eq!(Datagram::parse_ip(&packet, ChecksumTrust::Verify).unwrap().payload, b"he");
    let empty = ipv4_with(|p| (p[25], p[26], p[27]) = (8, 0, 0));
    assert_eq!(Datagram::parse_ip(&empty, ChecksumTrust::Verify).unwrap().payload, b"");
}

#[test]
fn other_protocols_are_not_udp() {
    for protocol in [1, 2, 6, 47, 103, 136] {
        refused(&ipv4_with(|p| p[9] = protocol), Malformed::NotUdp);
        // Also as a fragment: it is nothing to reassemble.
        refused(&ipv4_with(|p| (p[9], p[6]) = (protocol, 0x20)), Malformed::NotUdp);
    }
    for protocol in [6, 50, 58, 59, 103, 136] {
        refused(&ipv6_with(|p| p[6] = protocol), Malformed::NotUdp);
    }
}

#[test]
fn ipv4_fragments() {
    refused(&ipv4_with(|p| p[6] = 0x20), Malformed::Fragment);
    refused(&ipv4_with(|p| p[7] = 1), Malformed::Fragment);
    refused(&ipv4_with(|p| (p[6], p[7]) = (0x3f, 0xff)), Malformed::Fragment);
    // DF alone, or the reserved bit, makes no fragment.
    for flags in [0, 0x40, 0x80] {
        assert!(Datagram::parse_ip(&ipv4_with(|p| p[6] = flags), ChecksumTrust::Verify).is_ok());
    }
    let last = ipv4_with(|p| (p[6], p[7]) = (0x1f, 0xff));
    let last = ipv4::Packet::parse(&last).unwrap();
    assert_eq!((last.fragment_offset(), last.more_fragments(), last.is_fragment()), (65528, false, true));
}

#[test]
fn trust_decides_what_a_wrong_checksum_means() {
    let wrong_v4 = ipv4_with(|p| p[27] ^= 1);
    let wrong_v6 = ipv6_with(|p| p[47] ^= 1);
    for packet in [&wrong_v4[..], &wrong_v6[..]] {
        assert_eq!(Datagram::parse_ip(packet, ChecksumTrust::Verify), Err(Malformed::UdpChecksum));
        assert!(Datagram::parse_ip(packet, ChecksumTrust::Trusted).is_ok());
        assert!(Datagram::parse_ip(packet, ChecksumTrust::Partial).is_ok());
    }
    let mut header = IPV4;
    header[11] ^= 1;
    refused(&header, Malformed::Ipv4Checksum);
}

#[test]
fn zero_is_no_checksum_in_ipv4_and_wrong_in_ipv6() {
    let none = ipv4_with(|p| p[26..28].fill(0));
    for trust in TRUSTS {
        assert!(Datagram::parse_ip(&none, trust).is_ok());
    }
    let none = ipv6_with(|p| p[46..48].fill(0));
    assert_eq!(Datagram::parse_ip(&none, ChecksumTrust::Verify), Err(Malformed::UdpChecksum));
    assert_eq!(Datagram::parse_ip(&none, ChecksumTrust::Trusted), Err(Malformed::UdpChecksum));
    assert!(Datagram::parse_ip(&none, ChecksumTrust::Partial).is_ok());
}

#[test]
fn a_sum_of_zero_is_written_as_ones() {
    for addresses in [V4, V6] {
        let mut buffer = [0; 100];
        let found = (0..=u16::MAX).find(|filler| {
            let payload = filler.to_be_bytes();
            let repr = Repr { payload: &payload, ..repr(addresses) };
            repr.emit(&mut buffer).unwrap();
            let at = repr.packet_len() - 4;
            buffer[at..at + 2] == [0xff, 0xff]
        });
        assert!(found.is_some(), "some payload makes the sum zero");
        assert!(Datagram::parse_ip(&buffer, ChecksumTrust::Verify).is_ok());
    }
}

#[test]
fn what_cannot_be_written() {
    let large = vec![0; 65_536];
    let mut buffer = vec![0; 70_000];
    let too_long = Repr { payload: &large[..65_508], ..repr(V4) };
    assert_eq!(too_long.emit(&mut buffer), Err(EmitError::Payload { length: 65_536 }));
    let too_long = Repr { payload: &large[..65_528], ..repr(V6) };
    assert_eq!(too_long.emit(&mut buffer), Err(EmitError::Payload { length: 65_536 }));
    // The longest of each: what a GSO super-frame may come to.
    for (payload, addresses) in [(&large[..65_507], V4), (&large[..65_527], V6)] {
        Repr { payload, ..repr(addresses) }.emit(&mut buffer).unwrap();
        let datagram = Datagram::parse_ip(&buffer, ChecksumTrust::Verify).unwrap();
        assert_eq!(datagram.payload, payload);
    }
    for len in 0..IPV4.len() {
        assert!(matches!(repr(V4).emit(&mut buffer[..len]), Err(EmitError::Buffer { .. })), "{len}");
    }
    for len in 0..IPV6.len() {
        assert!(matches!(repr(V6).emit(&mut buffer[..len]), Err(EmitError::Buffer { .. })), "{len}");
    }
    let parsed = ipv4::Packet::parse(&IPV4).unwrap();
    let options = ipv4::Repr { options: &large[..41], ..ipv4::Repr::parse(&parsed) };
    assert_eq!(options.emit(&mut buffer), Err(EmitError::Options { length: 41 }));
}
