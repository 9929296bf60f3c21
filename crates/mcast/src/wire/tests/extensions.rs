//! Chains of IPv6 extension headers.

use super::golden::{IPV6, V6, repr};
use crate::wire::datagram::Repr;
use crate::wire::extension::{Fragment, HEADERS_MAX};
use crate::wire::{ChecksumTrust, Datagram, Malformed, Protocol};

const UDP: u8 = 17;
/// Destination options, one PadN of four, then UDP.
const OPTIONS: [u8; 8] = [UDP, 0, 1, 4, 0, 0, 0, 0];

/// The golden packet with these headers between IPv6 and UDP; `next` is the first one's kind.
fn with(next: u8, headers: &[u8]) -> Vec<u8> {
    let (ip, segment) = IPV6.split_at(40);
    let mut packet = [ip, headers, segment].concat();
    let length = u16::try_from(packet.len() - 40).unwrap();
    packet[4..6].copy_from_slice(&length.to_be_bytes());
    packet[6] = next;
    packet
}

fn parse(next: u8, headers: &[u8]) -> Result<Option<Repr<'static>>, Malformed> {
    let packet = with(next, headers).leak();
    Datagram::parse_ip(packet, ChecksumTrust::Verify).map(|datagram| Repr::parse(&datagram))
}

fn fragment(next: u8, offset: u16, more: bool) -> [u8; 8] {
    let mut buffer = [0xaa; 8];
    let fragment = Fragment { next_header: Protocol(next), offset, more, identification: 0x0102_0304 };
    fragment.emit(&mut buffer).unwrap();
    assert_eq!(Fragment::parse(&buffer), Ok((fragment, &[][..])));
    buffer
}

#[test]
fn each_kind_is_skipped() {
    let whole = Ok(Some(repr(V6)));
    // Hop-by-hop: router alert (RFC 2711) and PadN; destination options, two units long, with Pad1s.
    assert_eq!(parse(0, &[UDP, 0, 5, 2, 0, 0, 1, 0]), whole);
    assert_eq!(parse(60, &[UDP, 1, 0, 0, 0, 0, 0, 0, 1, 6, 0, 0, 0, 0, 0, 0]), whole);
    // Routing, arrived: type 2 and an unknown type, no segments left.
    assert_eq!(parse(43, &[&[UDP, 2, 2, 0, 0, 0, 0, 0][..], &[7; 16]].concat()), whole);
    assert_eq!(parse(43, &[UDP, 0, 99, 0, 0, 0, 0, 0]), whole);
    // Authentication: twelve fixed bytes and an ICV of twelve, which is 24 / 4 - 2.
    assert_eq!(parse(51, &[&[UDP, 4][..], &[9; 22]].concat()), whole);
    let chain = [&[60, 0, 1, 4, 0, 0, 0, 0][..], &[43, 0, 1, 4, 0, 0, 0, 0], &[44, 0, 0, 0, 0, 0, 0, 0]];
    let chain = [&chain.concat()[..], &fragment(60, 0, false), &OPTIONS].concat();
    assert_eq!(parse(0, &chain), whole);
}

#[test]
fn fragments() {
    assert_eq!(fragment(UDP, 0xfff8, true), [UDP, 0, 0xff, 0xf9, 1, 2, 3, 4]);
    assert_eq!(parse(44, &fragment(UDP, 0, false)), Ok(Some(repr(V6))), "atomic");
    assert_eq!(parse(44, &fragment(UDP, 0, true)), Err(Malformed::Fragment));
    assert_eq!(parse(44, &fragment(UDP, 8, false)), Err(Malformed::Fragment));
    assert_eq!(parse(44, &fragment(60, 8, true)), Err(Malformed::Fragment));
    assert_eq!(parse(44, &fragment(6, 8, false)), Err(Malformed::NotUdp));
    assert_eq!(parse(44, &fragment(6, 0, false)), Err(Malformed::NotUdp), "atomic TCP");
    // Reserved bits are no part of it (RFC 8200, section 4.5).
    let mut reserved = fragment(UDP, 0, false);
    (reserved[1], reserved[3]) = (0xff, 0b110);
    assert_eq!(parse(44, &reserved), Ok(Some(repr(V6))));
}

#[test]
fn malformed_chains() {
    let malformed = Err(Malformed::Header);
    assert_eq!(parse(0, &[0, 0, 1, 4, 0, 0, 0, 0, UDP, 0, 1, 4, 0, 0, 0, 0]), malformed, "twice hop-by-hop");
    assert_eq!(parse(0, &[UDP, 0, 0xc2, 4, 0, 1, 0, 0]), malformed, "jumbo");
    assert_eq!(parse(0, &[UDP, 0, 1, 5, 0, 0, 0, 0]), malformed, "option beyond its header");
    assert_eq!(parse(0, &[UDP, 0, 1, 3, 0, 0, 0, 5]), malformed, "option without a length");
    assert_eq!(parse(43, &[UDP, 0, 0, 1, 0, 0, 0, 0]), malformed, "segments left");
    for next in [0, 43, 51, 60] {
        assert_eq!(parse(next, &[UDP, 255, 0, 0, 0, 0, 0, 0]), malformed, "{next} beyond the packet");
    }
    assert_eq!(parse(59, &[]), Err(Malformed::NotUdp), "nothing follows");
    assert_eq!(parse(50, &OPTIONS), Err(Malformed::NotUdp), "ESP hides what follows");
}

#[test]
fn a_chain_is_bounded() {
    let chain = |headers: usize| {
        let mut bytes = OPTIONS.repeat(headers);
        bytes.iter_mut().step_by(8).take(headers - 1).for_each(|next| *next = 60);
        parse(60, &bytes)
    };
    assert_eq!(chain(HEADERS_MAX), Ok(Some(repr(V6))));
    assert_eq!(chain(HEADERS_MAX + 1), Err(Malformed::Header));
}

#[test]
fn every_cut_through_a_chain_is_refused() {
    // Lengths put right for each cut: the headers themselves must notice.
    let chain = [&[43, 0, 5, 2, 0, 0, 1, 0][..], &[51, 0, 1, 0, 0, 0, 0, 0], &[44, 4], &[9; 22]].concat();
    let whole = with(0, &[&chain[..], &fragment(UDP, 0, false)].concat());
    assert!(Datagram::parse_ip(&whole, ChecksumTrust::Verify).is_ok());
    for len in 40..whole.len() {
        let mut cut = whole[..len].to_vec();
        let length = u16::try_from(len - 40).unwrap();
        cut[4..6].copy_from_slice(&length.to_be_bytes());
        assert_eq!(Datagram::parse_ip(&cut, ChecksumTrust::Trusted), Err(Malformed::Header), "{len}");
    }
}
