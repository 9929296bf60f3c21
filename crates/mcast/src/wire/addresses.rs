//! A packet's two addresses, of one family by construction, and the pseudo-header they make.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Protocol;
use super::checksum::Sum;

/// Source and destination of one IP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Addresses {
    /// IPv4.
    V4 {
        /// Source address.
        source: Ipv4Addr,
        /// Destination address.
        destination: Ipv4Addr,
    },
    /// IPv6.
    V6 {
        /// Source address.
        source: Ipv6Addr,
        /// Destination address.
        destination: Ipv6Addr,
    },
}

impl Addresses {
    /// The pair, if both are of one family.
    pub fn new(source: IpAddr, destination: IpAddr) -> Option<Self> {
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => Some(Self::V4 { source, destination }),
            (IpAddr::V6(source), IpAddr::V6(destination)) => Some(Self::V6 { source, destination }),
            _ => None,
        }
    }

    /// Source address.
    #[inline]
    pub fn source(&self) -> IpAddr {
        match *self {
            Self::V4 { source, .. } => source.into(),
            Self::V6 { source, .. } => source.into(),
        }
    }

    /// Destination address.
    #[inline]
    pub fn destination(&self) -> IpAddr {
        match *self {
            Self::V4 { destination, .. } => destination.into(),
            Self::V6 { destination, .. } => destination.into(),
        }
    }

    /// The pseudo-header's sum, for a transport header and payload of `length` bytes (RFC 768; RFC 8200,
    /// section 8.1).
    #[inline]
    pub fn pseudo_header(&self, protocol: Protocol, length: u16) -> Sum {
        let sum = match self {
            Self::V4 { source, destination } => {
                Sum::of_array(&source.octets()).plus(Sum::of_array(&destination.octets()))
            }
            Self::V6 { source, destination } => {
                Sum::of_array(&source.octets()).plus(Sum::of_array(&destination.octets()))
            }
        };
        sum.plus_u16(u16::from(protocol.0)).plus_u16(length)
    }
}
