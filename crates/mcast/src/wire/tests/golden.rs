//! Known packets, byte by byte; their checksums were computed by other means than this crate.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::wire::datagram::{self, Datagram};
use crate::wire::{Addresses, ChecksumTrust, ipv4};

/// 10.10.1.100:6000 to 239.1.1.1:5000, "hello", TTL 16, DSCP 46, DF.
#[rustfmt::skip]
pub(super) const IPV4: [u8; 33] = [
    0x45, 0xb8, 0x00, 0x21, 0x00, 0x00, 0x40, 0x00, 0x10, 0x11, 0x6e, 0xa4, 0x0a, 0x0a, 0x01, 0x64,
    0xef, 0x01, 0x01, 0x01, 0x17, 0x70, 0x13, 0x88, 0x00, 0x0d, 0x95, 0x99, 0x68, 0x65, 0x6c, 0x6c,
    0x6f,
];

/// The same with a router alert option (RFC 2113), identification 0x1234, no DF.
#[rustfmt::skip]
pub(super) const IPV4_OPTIONS: [u8; 37] = [
    0x46, 0xb8, 0x00, 0x25, 0x12, 0x34, 0x00, 0x00, 0x10, 0x11, 0x07, 0x68, 0x0a, 0x0a, 0x01, 0x64,
    0xef, 0x01, 0x01, 0x01, 0x94, 0x04, 0x00, 0x00, 0x17, 0x70, 0x13, 0x88, 0x00, 0x0d, 0x95, 0x99,
    0x68, 0x65, 0x6c, 0x6c, 0x6f,
];

/// 2001:db8::1 port 6000 to ff3e::2 port 5000, "hello", hop limit 16, DSCP 46.
#[rustfmt::skip]
pub(super) const IPV6: [u8; 53] = [
    0x6b, 0x80, 0x00, 0x00, 0x00, 0x0d, 0x11, 0x10, 0x20, 0x01, 0x0d, 0xb8, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0xff, 0x3e, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x17, 0x70, 0x13, 0x88, 0x00, 0x0d, 0x64, 0x0f,
    0x68, 0x65, 0x6c, 0x6c, 0x6f,
];

pub(super) const V4: Addresses =
    Addresses::V4 { source: Ipv4Addr::new(10, 10, 1, 100), destination: Ipv4Addr::new(239, 1, 1, 1) };

pub(super) const V6: Addresses = Addresses::V6 {
    source: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
    destination: Ipv6Addr::new(0xff3e, 0, 0, 0, 0, 0, 0, 2),
};

pub(super) fn repr(addresses: Addresses) -> datagram::Repr<'static> {
    let (source_port, destination_port) = (6000, 5000);
    datagram::Repr {
        addresses,
        source_port,
        destination_port,
        ttl: 16,
        traffic_class: 0xb8,
        payload: b"hello",
    }
}

fn check(packet: &[u8], addresses: Addresses) {
    for trust in [ChecksumTrust::Verify, ChecksumTrust::Trusted, ChecksumTrust::Partial] {
        let datagram = Datagram::parse_ip(packet, trust).unwrap();
        assert_eq!(datagram::Repr::parse(&datagram), Some(repr(addresses)));
        assert_eq!((datagram.dscp(), datagram.ecn()), (46, 0));
    }
}

#[test]
fn ipv4_both_ways() {
    check(&IPV4, V4);
    let mut buffer = [0xaa; IPV4.len() + 3];
    assert_eq!(repr(V4).emit(&mut buffer).unwrap(), [0xaa; 3]);
    assert_eq!(buffer[..IPV4.len()], IPV4);
    assert_eq!(repr(V4).packet_len(), IPV4.len());
}

#[test]
fn ipv6_both_ways() {
    check(&IPV6, V6);
    let mut buffer = [0xaa; IPV6.len()];
    assert_eq!(repr(V6).emit(&mut buffer).unwrap(), []);
    assert_eq!(buffer, IPV6);
    assert_eq!(repr(V6).packet_len(), IPV6.len());
}

#[test]
fn ipv4_options_both_ways() {
    check(&IPV4_OPTIONS, V4);
    let packet = ipv4::Packet::parse(&IPV4_OPTIONS).unwrap();
    assert_eq!(packet.options(), [0x94, 4, 0, 0]);
    let repr = ipv4::Repr::parse(&packet);
    assert_eq!((repr.identification, repr.dont_fragment, repr.payload_len), (0x1234, false, 13));
    let mut buffer = [0xaa; IPV4_OPTIONS.len()];
    repr.emit(&mut buffer).unwrap().copy_from_slice(packet.payload());
    assert_eq!(buffer, IPV4_OPTIONS);
}

#[test]
fn trailing_padding_is_ignored() {
    for (packet, addresses) in [(&IPV4[..], V4), (&IPV6[..], V6)] {
        let padded = [packet, &[0xee; 40]].concat();
        check(&padded, addresses);
        let datagram = Datagram::parse_ip(&padded, ChecksumTrust::Verify).unwrap();
        assert_eq!(datagram.source, addresses.source());
    }
}
