//! The UDP header (RFC 768) and its checksum over IPv4 and IPv6.
//!
//! A [`Packet`] is as long as its own length field says, which may be less than the IP payload: the surplus
//! is ignored. Length zero, which RFC 2675 gives to jumbograms, is refused.

use super::checksum::Sum;
use super::{Addresses, ChecksumTrust, EmitError, Malformed, Protocol};

/// Length of the header in bytes.
pub const HEADER_LEN: usize = 8;

/// A view of one UDP datagram.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    header: &'a [u8; HEADER_LEN],
    payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// The datagram in `segment`, the payload of an IP packet with these addresses.
    ///
    /// # Errors
    /// [`Malformed::Header`] when the length field is below eight or exceeds `segment`;
    /// [`Malformed::UdpChecksum`] unless it is right, or zero in IPv4 (none was made), or
    /// [`ChecksumTrust`] makes it a matter of trust; zero in IPv6 is refused then too, unless partial.
    #[inline]
    pub fn parse(segment: &'a [u8], addresses: &Addresses, trust: ChecksumTrust) -> Result<Self, Malformed> {
        let (header, _) = segment.split_first_chunk::<HEADER_LEN>().ok_or(Malformed::Header)?;
        let length = u16::from_be_bytes([header[4], header[5]]);
        let datagram = segment.get(..usize::from(length)).ok_or(Malformed::Header)?;
        let payload = datagram.get(HEADER_LEN..).ok_or(Malformed::Header)?;
        let sound = match (trust, u16::from_be_bytes([header[6], header[7]]), addresses) {
            (ChecksumTrust::Partial, _, _) => true,
            (_, 0, Addresses::V4 { .. }) => true,
            (_, 0, Addresses::V6 { .. }) => false,
            (ChecksumTrust::Trusted, _, _) => true,
            (ChecksumTrust::Verify, _, _) => {
                addresses.pseudo_header(Protocol::UDP, length).plus(Sum::of(datagram)).checksum() == 0
            }
        };
        if sound { Ok(Self { header, payload }) } else { Err(Malformed::UdpChecksum) }
    }

    /// Source port; zero when the sender expects no answer.
    #[inline]
    pub fn source_port(&self) -> u16 {
        u16::from_be_bytes([self.header[0], self.header[1]])
    }

    /// Destination port.
    #[inline]
    pub fn destination_port(&self) -> u16 {
        u16::from_be_bytes([self.header[2], self.header[3]])
    }

    /// The checksum field.
    #[inline]
    pub fn checksum(&self) -> u16 {
        u16::from_be_bytes([self.header[6], self.header[7]])
    }

    /// The payload.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// A UDP header's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repr {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
}

impl Repr {
    /// The content of a datagram's header.
    pub fn parse(packet: &Packet<'_>) -> Self {
        Self { source_port: packet.source_port(), destination_port: packet.destination_port() }
    }

    /// Writes header, checksum and payload at the start of `buffer` and returns the rest.
    ///
    /// # Errors
    /// [`EmitError`], with nothing usable in `buffer`.
    pub fn emit<'b>(
        &self,
        addresses: &Addresses,
        payload: &[u8],
        buffer: &'b mut [u8],
    ) -> Result<&'b mut [u8], EmitError> {
        let (needed, available) = (HEADER_LEN + payload.len(), buffer.len());
        let header = self.header(addresses, payload)?;
        let short = EmitError::Buffer { needed, available };
        let (datagram, rest) = buffer.split_at_mut_checked(needed).ok_or(short)?;
        datagram[..HEADER_LEN].copy_from_slice(&header);
        datagram[HEADER_LEN..].copy_from_slice(payload);
        Ok(rest)
    }

    /// The header, with its checksum, of a datagram with this payload.
    ///
    /// # Errors
    /// [`EmitError::Length`] where the payload is longer than a datagram can be.
    pub fn header(&self, addresses: &Addresses, payload: &[u8]) -> Result<[u8; HEADER_LEN], EmitError> {
        let length = super::length_field(HEADER_LEN + payload.len())?;
        let mut header = [0; HEADER_LEN];
        header[..2].copy_from_slice(&self.source_port.to_be_bytes());
        header[2..4].copy_from_slice(&self.destination_port.to_be_bytes());
        header[4..6].copy_from_slice(&length.to_be_bytes());
        let sum = addresses.pseudo_header(Protocol::UDP, length).plus(Sum::of_array(&header));
        // Zero says "none was made", so a sum of zero is written as its other form (RFC 768).
        let checksum = match sum.plus(Sum::of(payload)).checksum() {
            0 => 0xffff,
            checksum => checksum,
        };
        header[6..].copy_from_slice(&checksum.to_be_bytes());
        Ok(header)
    }
}
