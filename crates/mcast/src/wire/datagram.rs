//! A whole UDP datagram with what its IP header says: all a relay matches, rewrites and republishes.
//!
//! Guarantees that lengths agree, the IPv4 header's checksum is right, and the UDP checksum is as
//! [`ChecksumTrust`] demands. Reassembly and link headers are left to others.

use std::net::IpAddr;

use super::extension::{Upper, is_extension};
use super::ip::{self, Fragmentation};
use super::{Addresses, ChecksumTrust, EmitError, Malformed, Protocol, ipv4, ipv6, udp};

/// A received UDP datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Source address.
    pub source: IpAddr,
    /// Destination address, a group or a host; of the source's family.
    pub destination: IpAddr,
    /// Source port; zero when the sender gave none.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// TTL (IPv4) or hop limit (IPv6).
    pub ttl: u8,
    /// Traffic class (IPv6) or type of service (IPv4): DSCP and ECN.
    pub traffic_class: u8,
    /// UDP payload; that of all segments when the kernel hands over a GSO super-frame.
    pub payload: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// The datagram in `packet`, which begins at the IP header. The IP header's length counts: bytes
    /// beyond it (Ethernet padding) are ignored.
    ///
    /// # Errors
    /// [`Malformed`]; a packet that is both a fragment and not UDP is [`Malformed::NotUdp`]. A fragment's
    /// UDP header is not looked at. An atomic IPv6 fragment is no fragment (RFC 6946), a jumbogram is
    /// malformed.
    #[inline]
    pub fn parse_ip(packet: &'a [u8], checksum: ChecksumTrust) -> Result<Self, Malformed> {
        match packet.first().ok_or(Malformed::Truncated)? >> 4 {
            4 => Self::parse_ipv4(packet, checksum),
            6 => Self::parse_ipv6(packet, checksum),
            _ => Err(Malformed::Header),
        }
    }

    /// The differentiated services code point, 0 to 63 (RFC 2474, section 3).
    #[inline]
    pub fn dscp(&self) -> u8 {
        self.traffic_class >> 2
    }

    /// The explicit congestion notification bits, 0 to 3 (RFC 3168, section 5).
    #[inline]
    pub fn ecn(&self) -> u8 {
        self.traffic_class & 0b11
    }

    #[inline]
    pub(super) fn parse_ipv4(packet: &'a [u8], checksum: ChecksumTrust) -> Result<Self, Malformed> {
        let packet = ipv4::Packet::parse(packet)?;
        if packet.protocol() != Protocol::UDP {
            return Err(Malformed::NotUdp);
        }
        if packet.is_fragment() {
            return Err(Malformed::Fragment);
        }
        let addresses = Addresses::V4 { source: packet.source(), destination: packet.destination() };
        let udp = udp::Packet::parse(packet.payload(), &addresses, checksum)?;
        Ok(Self::new(&addresses, packet.ttl(), packet.traffic_class(), &udp))
    }

    #[inline]
    pub(super) fn parse_ipv6(packet: &'a [u8], checksum: ChecksumTrust) -> Result<Self, Malformed> {
        let packet = ipv6::Packet::parse(packet)?;
        let segment = match Upper::walk(packet.next_header(), packet.payload())? {
            Upper::Whole { protocol: Protocol::UDP, payload } => payload,
            Upper::Fragment { fragment, .. }
                if fragment.next_header == Protocol::UDP || is_extension(fragment.next_header) =>
            {
                return Err(Malformed::Fragment);
            }
            Upper::Whole { .. } | Upper::Fragment { .. } => return Err(Malformed::NotUdp),
        };
        let addresses = Addresses::V6 { source: packet.source(), destination: packet.destination() };
        let udp = udp::Packet::parse(segment, &addresses, checksum)?;
        Ok(Self::new(&addresses, packet.hop_limit(), packet.traffic_class(), &udp))
    }

    #[inline]
    pub(super) fn new(addresses: &Addresses, ttl: u8, traffic_class: u8, udp: &udp::Packet<'a>) -> Self {
        Self {
            source: addresses.source(),
            destination: addresses.destination(),
            source_port: udp.source_port(),
            destination_port: udp.destination_port(),
            ttl,
            traffic_class,
            payload: udp.payload(),
        }
    }
}

/// A UDP datagram to be written: no options, no extension headers, not fragmented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repr<'a> {
    /// Source and destination address.
    pub addresses: Addresses,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// TTL or hop limit.
    pub ttl: u8,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// UDP payload.
    pub payload: &'a [u8],
}

impl<'a> Repr<'a> {
    /// What a received datagram's headers say; absent if its addresses are of two families, which a parsed
    /// one's never are.
    pub fn parse(datagram: &Datagram<'a>) -> Option<Self> {
        Some(Self {
            addresses: Addresses::new(datagram.source, datagram.destination)?,
            source_port: datagram.source_port,
            destination_port: datagram.destination_port,
            ttl: datagram.ttl,
            traffic_class: datagram.traffic_class,
            payload: datagram.payload,
        })
    }

    /// Length in bytes from the IP header on.
    pub fn packet_len(&self) -> usize {
        self.ip().header_len() + udp::HEADER_LEN + self.payload.len()
    }

    fn ip(&self) -> ip::Repr {
        ip::Repr {
            addresses: self.addresses,
            protocol: Protocol::UDP,
            ttl: self.ttl,
            traffic_class: self.traffic_class,
            fragmentation: Fragmentation::ATOMIC,
            payload_len: udp::HEADER_LEN + self.payload.len(),
        }
    }

    /// Writes IP header, UDP header and payload at the start of `buffer` and returns the rest. The IPv4
    /// identification is zero and DF is set, an atomic datagram (RFC 6864, section 4.1); the IPv6 flow label
    /// is zero.
    ///
    /// # Errors
    /// [`EmitError`], with nothing usable in `buffer`.
    pub fn emit<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b mut [u8], EmitError> {
        let rest = self.ip().emit(buffer)?;
        let udp = udp::Repr { source_port: self.source_port, destination_port: self.destination_port };
        udp.emit(&self.addresses, self.payload, rest)
    }
}
