//! Fragments, byte by byte, and what is refused of them.

use super::golden::{IPV4, IPV6, V4, V6};
use crate::wire::fragment::{Header, Piece};
use crate::wire::{Malformed, Protocol};

/// The golden IPv4 packet with its option, in two pieces: its UDP header, and "hello", which carries no option.
#[rustfmt::skip]
const FIRST: [u8; 32] = [
    0x46, 0xb8, 0x00, 0x20, 0x12, 0x34, 0x20, 0x00, 0x10, 0x11, 0xe7, 0x6c, 0x0a, 0x0a, 0x01, 0x64,
    0xef, 0x01, 0x01, 0x01, 0x94, 0x04, 0x00, 0x00, 0x17, 0x70, 0x13, 0x88, 0x00, 0x0d, 0x95, 0x99,
];
#[rustfmt::skip]
const LAST: [u8; 25] = [
    0x45, 0xb8, 0x00, 0x19, 0x12, 0x34, 0x00, 0x01, 0x10, 0x11, 0x9c, 0x77, 0x0a, 0x0a, 0x01, 0x64,
    0xef, 0x01, 0x01, 0x01, 0x68, 0x65, 0x6c, 0x6c, 0x6f,
];

const UDP: u8 = 17;

/// A fragment header at `offset` with the identification 0x01020304.
fn fragment_header(next: u8, offset: u16, more: bool) -> [u8; 8] {
    let [high, low] = (offset | u16::from(more)).to_be_bytes();
    [next, 0, high, low, 1, 2, 3, 4]
}

/// The golden IPv6 header before `headers`, the first of kind `next`, and `rest`.
fn ipv6(next: u8, headers: &[u8], rest: &[u8]) -> Vec<u8> {
    let mut packet = [&IPV6[..40], headers, rest].concat();
    let length = u16::try_from(headers.len() + rest.len()).unwrap();
    packet[4..6].copy_from_slice(&length.to_be_bytes());
    packet[6] = next;
    packet
}

fn header(addresses: crate::wire::Addresses) -> Header {
    Header { addresses, next_header: Protocol::UDP, ttl: 16, traffic_class: 0xb8 }
}

#[test]
fn ipv4_pieces_are_read() {
    let padded = [&LAST[..], &[0xee; 21]].concat();
    let first = Piece::parse_ip(&FIRST).unwrap().unwrap();
    let expected = Piece {
        header: header(V4),
        identification: 0x1234,
        offset: 0,
        more: true,
        room: 65_535 - 24,
        payload: &IPV4[20..28],
    };
    assert_eq!(first, expected);
    let last = Piece::parse_ip(&padded).unwrap().unwrap();
    let expected = Piece { offset: 8, more: false, room: 65_535 - 20, payload: b"hello", ..expected };
    assert_eq!(last, expected);
    let datagram = first.header.datagram(&IPV4[20..]).unwrap();
    assert_eq!((datagram.payload, datagram.destination_port), (&b"hello"[..], 5000));
}

#[test]
fn ipv6_pieces_are_read() {
    let first = ipv6(44, &fragment_header(UDP, 0, true), &IPV6[40..48]);
    let padded = [&ipv6(44, &fragment_header(UDP, 8, false), b"hello")[..], &[0xee; 3]].concat();
    let first = Piece::parse_ip(&first).unwrap().unwrap();
    let expected = Piece {
        header: header(V6),
        identification: 0x0102_0304,
        offset: 0,
        more: true,
        room: 65_535,
        payload: &IPV6[40..48],
    };
    assert_eq!(first, expected);
    let last = Piece::parse_ip(&padded).unwrap().unwrap();
    assert_eq!(last, Piece { offset: 8, more: false, payload: b"hello", ..expected });
    assert_eq!(first.header.datagram(&IPV6[40..]).unwrap().payload, b"hello");
}

#[test]
fn headers_before_the_fragment_header_take_room_and_are_checked() {
    let hop_by_hop = |option: [u8; 6]| [&[44, 0][..], &option, &fragment_header(UDP, 8, true)].concat();
    let packet = ipv6(0, &hop_by_hop([1, 4, 0, 0, 0, 0]), &[7; 16]);
    assert_eq!(Piece::parse_ip(&packet).unwrap().unwrap().room, 65_535 - 8);
    let jumbo = ipv6(0, &hop_by_hop([0xc2, 4, 0, 1, 0, 0]), &[7; 16]);
    assert_eq!(Piece::parse_ip(&jumbo), Err(Malformed::Header));
    let routing = [&[44, 0, 0, 1, 0, 0, 0, 0][..], &fragment_header(UDP, 8, true)].concat();
    assert_eq!(Piece::parse_ip(&ipv6(43, &routing, &[7; 16])), Err(Malformed::Header), "segments left");
}

#[test]
fn whole_packets_are_no_pieces() {
    let atomic = ipv6(44, &fragment_header(UDP, 0, false), &IPV6[40..]);
    for packet in [&IPV4[..], &IPV6, &atomic] {
        assert_eq!(Piece::parse_ip(packet), Ok(None));
    }
}

#[test]
fn pieces_of_other_protocols_are_told_where_they_say_so() {
    let mut tcp = LAST;
    (tcp[9], tcp[11]) = (6, 0x82);
    assert_eq!(Piece::parse_ip(&tcp), Err(Malformed::NotUdp));
    assert_eq!(Piece::parse_ip(&ipv6(44, &fragment_header(6, 8, true), &[7; 8])), Err(Malformed::NotUdp));
    // Behind destination options nobody knows before all is there.
    let options = [6, 0, 1, 4, 0, 0, 0, 0];
    let hidden = ipv6(44, &fragment_header(60, 0, true), &options);
    let hidden = Piece::parse_ip(&hidden).unwrap().unwrap();
    assert_eq!(hidden.header.datagram(&[&options[..], &[7; 20]].concat()), Err(Malformed::NotUdp));
}

/// RFC 7112, section 5.
#[test]
fn a_first_piece_shows_all_headers() {
    let options = [UDP, 1, 1, 4, 0, 0, 0, 0, 1, 6, 0, 0, 0, 0, 0, 0];
    let with_udp = [&options[..], &IPV6[40..48]].concat();
    let first = |next, payload: &[u8]| {
        Piece::parse_ip(&ipv6(44, &fragment_header(next, 0, true), payload)).map(|piece| piece.is_some())
    };
    assert_eq!(first(60, &with_udp), Ok(true));
    for cut in 0..with_udp.len() {
        assert_eq!(first(60, &with_udp[..cut]), Err(Malformed::Header), "{cut}");
    }
    assert_eq!(first(UDP, &IPV6[40..47]), Err(Malformed::Header));
    assert_eq!(first(0, &with_udp), Err(Malformed::Header), "hop-by-hop options are the packet's");
    // One in another; an atomic one is none.
    let nested = |more| [&fragment_header(UDP, 0, more)[..], &IPV6[40..48]].concat();
    assert_eq!(first(44, &nested(true)), Err(Malformed::Header));
    assert_eq!(first(44, &nested(false)), Ok(true));
    // Later pieces show nothing.
    let later = ipv6(44, &fragment_header(60, 8, true), &[0xff; 8]);
    assert!(Piece::parse_ip(&later).unwrap().is_some());
}

#[test]
fn a_whole_that_is_itself_a_piece_is_refused() {
    let header = Header { next_header: Protocol::FRAGMENT, ..header(V6) };
    let payload = [&fragment_header(UDP, 8, false)[..], b"hello"].concat();
    assert_eq!(header.datagram(&payload), Err(Malformed::Header));
}

#[test]
fn every_cut_is_refused() {
    for packet in [&FIRST[..], &LAST, &ipv6(44, &fragment_header(UDP, 8, true), &[7; 16])] {
        assert!(Piece::parse_ip(packet).is_ok());
        for len in 0..packet.len() {
            assert_eq!(Piece::parse_ip(&packet[..len]), Err(Malformed::Truncated), "{len}");
        }
    }
    let mut damaged = FIRST;
    damaged[8] ^= 1;
    assert_eq!(Piece::parse_ip(&damaged), Err(Malformed::Ipv4Checksum));
    assert_eq!(Piece::parse_ip(&[0x50; 40]), Err(Malformed::Header));
}
