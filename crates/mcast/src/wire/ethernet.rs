//! The Ethernet II header (IEEE 802.3, clause 3; RFC 894, RFC 2464), without preamble and check sequence.
//!
//! What the type says the payload is, tags included, is left to [`vlan`](super::vlan) and [`frame`](super::frame).

use std::fmt;
use std::net::IpAddr;

use super::{EmitError, Malformed};

/// Length of the header in bytes.
pub const HEADER_LEN: usize = 14;

/// A hardware address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// The address a group's frames are sent to; absent if `group` is not multicast (RFC 1112, section 6.4;
    /// RFC 2464, section 7). Several groups share one.
    pub fn of_group(group: IpAddr) -> Option<Self> {
        match group {
            IpAddr::V4(group) if group.is_multicast() => {
                let [_, b, c, d] = group.octets();
                Some(Self([0x01, 0x00, 0x5e, b & 0x7f, c, d]))
            }
            IpAddr::V6(group) if group.is_multicast() => {
                let [.., a, b, c, d] = group.octets();
                Some(Self([0x33, 0x33, a, b, c, d]))
            }
            _ => None,
        }
    }

    /// Whether it is a group's; broadcast is one (IEEE 802, clause 8.2.2).
    pub fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// What a frame carries; below 0x600 it is an IEEE 802.3 length instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EtherType(pub u16);

impl EtherType {
    /// IPv4 (RFC 894).
    pub const IPV4: Self = Self(0x0800);
    /// A customer VLAN tag (IEEE 802.1Q).
    pub const CUSTOMER_TAG: Self = Self(0x8100);
    /// IPv6 (RFC 2464).
    pub const IPV6: Self = Self(0x86dd);
    /// A service VLAN tag (IEEE 802.1ad, in 802.1Q since 2011).
    pub const SERVICE_TAG: Self = Self(0x88a8);

    /// Whether a VLAN tag follows.
    pub fn is_tag(self) -> bool {
        matches!(self, Self::CUSTOMER_TAG | Self::SERVICE_TAG)
    }
}

/// A view of one frame.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    header: &'a [u8; HEADER_LEN],
    payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The frame in `bytes`.
    ///
    /// # Errors
    /// [`Malformed::Truncated`].
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (header, payload) = bytes.split_first_chunk().ok_or(Malformed::Truncated)?;
        Ok(Self { header, payload })
    }

    /// Destination address.
    #[inline]
    pub fn destination(&self) -> MacAddress {
        MacAddress(std::array::from_fn(|i| self.header[i]))
    }

    /// Source address.
    #[inline]
    pub fn source(&self) -> MacAddress {
        MacAddress(std::array::from_fn(|i| self.header[6 + i]))
    }

    /// What the payload is, or begins with.
    #[inline]
    pub fn ethertype(&self) -> EtherType {
        EtherType(u16::from_be_bytes([self.header[12], self.header[13]]))
    }

    /// What follows the header: tags, packet, padding.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// An Ethernet header's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repr {
    /// Destination address.
    pub destination: MacAddress,
    /// Source address.
    pub source: MacAddress,
    /// What follows.
    pub ethertype: EtherType,
}

impl Repr {
    /// The content of a frame's header.
    pub fn parse(frame: &Frame<'_>) -> Self {
        Self { destination: frame.destination(), source: frame.source(), ethertype: frame.ethertype() }
    }

    /// Writes the header at the start of `buffer` and returns the rest.
    ///
    /// # Errors
    /// [`EmitError::Buffer`].
    pub fn emit<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b mut [u8], EmitError> {
        let (header, rest) = super::split_header::<HEADER_LEN>(buffer)?;
        header[..6].copy_from_slice(&self.destination.0);
        header[6..12].copy_from_slice(&self.source.0);
        header[12..].copy_from_slice(&self.ethertype.0.to_be_bytes());
        Ok(rest)
    }
}
