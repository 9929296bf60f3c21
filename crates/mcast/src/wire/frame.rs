//! A whole Ethernet frame down to its UDP payload: what a tap sees and a generator writes.
//!
//! A frame is a [`Datagram`] in its VLAN tags and Ethernet header, with all that those guarantee.

use super::ethernet::{self, EtherType, MacAddress};
use super::{Addresses, ChecksumTrust, Datagram, EmitError, Malformed, datagram, vlan};

/// A received frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Destination hardware address.
    pub destination: MacAddress,
    /// Source hardware address.
    pub source: MacAddress,
    /// VLAN tags that lie in the frame, outermost first.
    pub tags: vlan::Stack<'a>,
    /// What it carries.
    pub datagram: Datagram<'a>,
}

impl<'a> Frame<'a> {
    /// The frame in `bytes`, from its destination address on; padding and check sequence are ignored.
    ///
    /// # Errors
    /// As [`Datagram::parse_ip`]; besides, [`Malformed::NotUdp`] for other types than IP, and
    /// [`Malformed::Header`] when the type and the packet's IP version differ or the tags are too many.
    #[inline]
    pub fn parse(bytes: &'a [u8], checksum: ChecksumTrust) -> Result<Self, Malformed> {
        let frame = ethernet::Frame::parse(bytes)?;
        let (tags, ethertype, packet) = vlan::Stack::parse(frame.ethertype(), frame.payload())?;
        let datagram = match ethertype {
            EtherType::IPV4 => Datagram::parse_ipv4(packet, checksum)?,
            EtherType::IPV6 => Datagram::parse_ipv6(packet, checksum)?,
            _ => return Err(Malformed::NotUdp),
        };
        Ok(Self { destination: frame.destination(), source: frame.source(), tags, datagram })
    }
}

/// A frame to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repr<'a> {
    /// Destination hardware address; [`MacAddress::of_group`] for a group.
    pub destination: MacAddress,
    /// Source hardware address.
    pub source: MacAddress,
    /// VLAN tags, outermost first.
    pub tags: &'a [vlan::Repr],
    /// What it carries.
    pub datagram: datagram::Repr<'a>,
}

impl Repr<'_> {
    /// Length in bytes, without padding.
    pub fn frame_len(&self) -> usize {
        ethernet::HEADER_LEN + vlan::TAG_LEN * self.tags.len() + self.datagram.packet_len()
    }

    /// Writes the frame at the start of `buffer` and returns the rest. It is not padded: devices do that.
    ///
    /// # Errors
    /// [`EmitError`], with nothing usable in `buffer`.
    pub fn emit<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b mut [u8], EmitError> {
        let ip = match self.datagram.addresses {
            Addresses::V4 { .. } => EtherType::IPV4,
            Addresses::V6 { .. } => EtherType::IPV6,
        };
        let kind = |tags: &[vlan::Repr]| tags.first().map_or(ip, |tag| tag.kind);
        let (destination, source) = (self.destination, self.source);
        let header = ethernet::Repr { destination, source, ethertype: kind(self.tags) };
        let mut rest = header.emit(buffer)?;
        let mut tags = self.tags;
        while let [tag, inner @ ..] = tags {
            rest = tag.emit(kind(inner), rest)?;
            tags = inner;
        }
        self.datagram.emit(rest)
    }
}
