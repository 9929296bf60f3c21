//! One fragment of a UDP datagram, of either family: all that putting it together again needs to know.
//!
//! Guarantees that the packet is as sound as one piece can show: lengths agree, the IPv4 header's checksum is
//! right, IPv6 extension headers are bounded. What several pieces make of each other is left to
//! [`reassembly`](crate::reassembly), UDP's own header and checksum to [`Header::datagram`] once all are there.

use super::extension::{Upper, is_extension};
use super::{Addresses, ChecksumTrust, Datagram, Malformed, Protocol, ipv4, ipv6, udp};

/// Most bytes that the length field of an IP packet states: in IPv4 with its header, in IPv6 without.
pub const LENGTH_MAX: usize = 65_535;

/// What a packet's headers say beside its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Source and destination address.
    pub addresses: Addresses,
    /// What the payload begins with: UDP, or in IPv6 an extension header.
    pub next_header: Protocol,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Traffic class or type of service: DSCP and ECN.
    pub traffic_class: u8,
}

impl Header {
    /// The datagram whose IP payload, all pieces together, is `payload`. Its UDP checksum is verified: no device
    /// can vouch for pieces.
    ///
    /// # Errors
    /// [`Malformed`]; [`Malformed::Header`] also where the payload is itself a fragment.
    pub fn datagram<'a>(&self, payload: &'a [u8]) -> Result<Datagram<'a>, Malformed> {
        let segment = match Upper::walk(self.next_header, payload)? {
            Upper::Whole { protocol: Protocol::UDP, payload } => payload,
            Upper::Whole { .. } => return Err(Malformed::NotUdp),
            Upper::Fragment { .. } => return Err(Malformed::Header),
        };
        let udp = udp::Packet::parse(segment, &self.addresses, ChecksumTrust::Verify)?;
        Ok(Datagram::new(&self.addresses, self.ttl, self.traffic_class, &udp))
    }
}

/// A view of one fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a> {
    /// What this piece's headers say. Those of the first piece are the datagram's.
    pub header: Header,
    /// Shared by all pieces of a datagram, and by no other of these addresses for a while.
    pub identification: u32,
    /// Where in the datagram's payload this piece begins, in bytes; a multiple of eight.
    pub offset: u16,
    /// Whether pieces follow this one.
    pub more: bool,
    /// Most bytes the whole payload may have behind this piece's headers, so that the packet's length can be
    /// stated.
    pub room: u16,
    /// The piece, without padding.
    pub payload: &'a [u8],
}

impl<'a> Piece<'a> {
    /// The fragment in `packet`, which begins at the IP header; `None` where that is no fragment. Bytes beyond
    /// the length in the IP header are ignored.
    ///
    /// # Errors
    /// [`Malformed`]: [`Malformed::NotUdp`] where the piece shows that it is none of UDP, and
    /// [`Malformed::Header`] also for a first IPv6 fragment without its whole header chain (RFC 7112, section 5).
    pub fn parse_ip(packet: &'a [u8]) -> Result<Option<Self>, Malformed> {
        match packet.first().ok_or(Malformed::Truncated)? >> 4 {
            4 => Self::parse_ipv4(packet),
            6 => Self::parse_ipv6(packet),
            _ => Err(Malformed::Header),
        }
    }

    fn parse_ipv4(packet: &'a [u8]) -> Result<Option<Self>, Malformed> {
        let packet = ipv4::Packet::parse(packet)?;
        if packet.protocol() != Protocol::UDP {
            return Err(Malformed::NotUdp);
        }
        if !packet.is_fragment() {
            return Ok(None);
        }
        let header = Header {
            addresses: Addresses::V4 { source: packet.source(), destination: packet.destination() },
            next_header: Protocol::UDP,
            ttl: packet.ttl(),
            traffic_class: packet.traffic_class(),
        };
        Ok(Some(Self {
            header,
            identification: packet.identification().into(),
            offset: packet.fragment_offset(),
            more: packet.more_fragments(),
            room: room(ipv4::HEADER_LEN + packet.options().len()),
            payload: packet.payload(),
        }))
    }

    fn parse_ipv6(packet: &'a [u8]) -> Result<Option<Self>, Malformed> {
        let packet = ipv6::Packet::parse(packet)?;
        let upper = Upper::walk(packet.next_header(), packet.payload())?;
        let Upper::Fragment { fragment, payload } = upper else { return Ok(None) };
        if fragment.next_header != Protocol::UDP && !is_extension(fragment.next_header) {
            return Err(Malformed::NotUdp);
        }
        if fragment.offset == 0 {
            check_first(fragment.next_header, payload)?;
        }
        let header = Header {
            addresses: Addresses::V6 { source: packet.source(), destination: packet.destination() },
            next_header: fragment.next_header,
            ttl: packet.hop_limit(),
            traffic_class: packet.traffic_class(),
        };
        let unfragmented = packet.payload().len() - payload.len() - super::extension::FRAGMENT_LEN;
        Ok(Some(Self {
            header,
            identification: fragment.identification,
            offset: fragment.offset,
            more: fragment.more,
            room: room(unfragmented),
            payload,
        }))
    }
}

/// Bytes left of a packet's length behind headers that count in it.
fn room(headers: usize) -> u16 {
    // It fits: headers are part of a packet of at most that length.
    LENGTH_MAX.saturating_sub(headers) as u16
}

/// Refuses a first piece that hides what it is a piece of.
fn check_first(next_header: Protocol, payload: &[u8]) -> Result<(), Malformed> {
    if next_header == Protocol::HOP_BY_HOP {
        return Err(Malformed::Header);
    }
    match Upper::walk(next_header, payload)? {
        Upper::Whole { protocol: Protocol::UDP, payload } if payload.len() < udp::HEADER_LEN => {
            Err(Malformed::Header)
        }
        // Another protocol comes out when all are there, for all pieces alike.
        Upper::Whole { .. } => Ok(()),
        Upper::Fragment { .. } => Err(Malformed::Header),
    }
}
