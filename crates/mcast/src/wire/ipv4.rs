//! The IPv4 header with its options (RFC 791).
//!
//! A [`Packet`] is as long as its header says; bytes beyond (Ethernet padding) are left out. Options are
//! bounded but not interpreted, and fragments are told, not reassembled.

use std::net::Ipv4Addr;

use super::checksum::Sum;
use super::{EmitError, Malformed, Protocol};

/// Length of a header without options, in bytes.
pub const HEADER_LEN: usize = 20;

/// Most options a header holds, in bytes: its length field counts to 15 words.
pub const OPTIONS_MAX: usize = 40;

const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET_MASK: u16 = 0x1fff;

/// A view of one IPv4 packet.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    header: &'a [u8; HEADER_LEN],
    options: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// The packet at the start of `bytes`; trailing bytes are ignored.
    ///
    /// # Errors
    /// [`Malformed::Truncated`], [`Malformed::Header`] or [`Malformed::Ipv4Checksum`].
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (header, _) = bytes.split_first_chunk::<HEADER_LEN>().ok_or(Malformed::Truncated)?;
        let header_len = usize::from(header[0] & 0x0f) * 4;
        let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if header[0] >> 4 != 4 || header_len < HEADER_LEN {
            return Err(Malformed::Header);
        }
        let packet = bytes.get(..total).ok_or(Malformed::Truncated)?;
        let options = packet.get(HEADER_LEN..header_len).ok_or(Malformed::Header)?;
        let payload = packet.get(header_len..).ok_or(Malformed::Header)?;
        let mut sum = Sum::of_array(header);
        if !options.is_empty() {
            sum = sum.plus(Sum::of(options));
        }
        if sum.checksum() != 0 {
            return Err(Malformed::Ipv4Checksum);
        }
        Ok(Self { header, options, payload })
    }

    /// Traffic class: DSCP and ECN (RFC 2474, section 3).
    #[inline]
    pub fn traffic_class(&self) -> u8 {
        self.header[1]
    }

    /// Header and payload, in bytes.
    #[inline]
    pub fn total_len(&self) -> u16 {
        self.word(2)
    }

    /// Identification, shared by a datagram's fragments.
    #[inline]
    pub fn identification(&self) -> u16 {
        self.word(4)
    }

    /// Whether routers may not fragment it.
    #[inline]
    pub fn dont_fragment(&self) -> bool {
        self.word(6) & DONT_FRAGMENT != 0
    }

    /// Whether fragments follow this one.
    #[inline]
    pub fn more_fragments(&self) -> bool {
        self.word(6) & MORE_FRAGMENTS != 0
    }

    /// Where in the datagram this fragment's payload begins, in bytes.
    #[inline]
    pub fn fragment_offset(&self) -> u16 {
        (self.word(6) & OFFSET_MASK) * 8
    }

    /// Whether this is one of several pieces of a datagram.
    #[inline]
    pub fn is_fragment(&self) -> bool {
        self.word(6) & (MORE_FRAGMENTS | OFFSET_MASK) != 0
    }

    /// Time to live.
    #[inline]
    pub fn ttl(&self) -> u8 {
        self.header[8]
    }

    /// The payload's protocol.
    #[inline]
    pub fn protocol(&self) -> Protocol {
        Protocol(self.header[9])
    }

    /// The header's checksum, which is right.
    #[inline]
    pub fn checksum(&self) -> u16 {
        self.word(10)
    }

    /// Source address.
    #[inline]
    pub fn source(&self) -> Ipv4Addr {
        let [.., a, b, c, d, _, _, _, _] = *self.header;
        Ipv4Addr::new(a, b, c, d)
    }

    /// Destination address.
    #[inline]
    pub fn destination(&self) -> Ipv4Addr {
        let [.., a, b, c, d] = *self.header;
        Ipv4Addr::new(a, b, c, d)
    }

    /// The options, padding included: 0 to 40 bytes, a multiple of four.
    #[inline]
    pub fn options(&self) -> &'a [u8] {
        self.options
    }

    /// What follows the header.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    #[inline]
    fn word(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.header[at], self.header[at + 1]])
    }
}

/// An IPv4 header's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repr<'a> {
    /// Source address.
    pub source: Ipv4Addr,
    /// Destination address.
    pub destination: Ipv4Addr,
    /// The payload's protocol.
    pub protocol: Protocol,
    /// Time to live.
    pub ttl: u8,
    /// Traffic class: DSCP and ECN.
    pub traffic_class: u8,
    /// Identification.
    pub identification: u16,
    /// Whether routers may not fragment it.
    pub dont_fragment: bool,
    /// Whether fragments follow this one.
    pub more_fragments: bool,
    /// Where in the datagram the payload begins, in bytes; a multiple of eight (the rest is cut off).
    pub fragment_offset: u16,
    /// Options, at most 40 bytes; `emit` pads them with zero (end of options) to a multiple of four.
    pub options: &'a [u8],
    /// Payload length in bytes.
    pub payload_len: usize,
}

impl<'a> Repr<'a> {
    /// The content of a packet's header.
    pub fn parse(packet: &Packet<'a>) -> Self {
        Self {
            source: packet.source(),
            destination: packet.destination(),
            protocol: packet.protocol(),
            ttl: packet.ttl(),
            traffic_class: packet.traffic_class(),
            identification: packet.identification(),
            dont_fragment: packet.dont_fragment(),
            more_fragments: packet.more_fragments(),
            fragment_offset: packet.fragment_offset(),
            options: packet.options(),
            payload_len: packet.payload().len(),
        }
    }

    /// Length of the header in bytes, options and their padding included.
    pub fn header_len(&self) -> usize {
        HEADER_LEN + self.options.len().next_multiple_of(4)
    }

    /// Writes the header with its checksum at the start of `buffer` and returns the rest, for the payload.
    ///
    /// # Errors
    /// [`EmitError`], with nothing usable in `buffer`.
    pub fn emit<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b mut [u8], EmitError> {
        if self.options.len() > OPTIONS_MAX {
            return Err(EmitError::Options { length: self.options.len() });
        }
        let (needed, available) = (self.header_len(), buffer.len());
        let total = super::length_field(needed.saturating_add(self.payload_len))?;
        let short = EmitError::Buffer { needed, available };
        let (header, rest) = buffer.split_at_mut_checked(needed).ok_or(short)?;
        let (fixed, options) = super::split_header::<HEADER_LEN>(header)?;
        let more = if self.more_fragments { MORE_FRAGMENTS } else { 0 };
        let flags = more | if self.dont_fragment { DONT_FRAGMENT } else { 0 };
        // At most 60 bytes: the length in words fits its four bits.
        fixed[0] = 0x40 | (needed / 4) as u8;
        fixed[1] = self.traffic_class;
        fixed[2..4].copy_from_slice(&total.to_be_bytes());
        fixed[4..6].copy_from_slice(&self.identification.to_be_bytes());
        fixed[6..8].copy_from_slice(&(flags | (self.fragment_offset / 8)).to_be_bytes());
        fixed[8..12].copy_from_slice(&[self.ttl, self.protocol.0, 0, 0]);
        fixed[12..16].copy_from_slice(&self.source.octets());
        fixed[16..20].copy_from_slice(&self.destination.octets());
        options.fill(0);
        options[..self.options.len()].copy_from_slice(self.options);
        let checksum = Sum::of_array(fixed).plus(Sum::of(options)).checksum();
        fixed[10..12].copy_from_slice(&checksum.to_be_bytes());
        Ok(rest)
    }
}
