//! The IP header of either family, without options or extension headers: what it says whichever it is. To read one is
//! [`ipv4`]'s and [`ipv6`]'s.

use super::{Addresses, EmitError, Protocol, ipv4, ipv6};

/// A header's content. The IPv6 flow label is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repr {
    /// Source and destination.
    pub addresses: Addresses,
    /// What follows.
    pub protocol: Protocol,
    /// TTL or hop limit.
    pub ttl: u8,
    /// IPv4 TOS or IPv6 traffic class: DSCP and ECN.
    pub traffic_class: u8,
    /// Of IPv4 alone: IPv6 has a header of its own for it.
    pub fragmentation: Fragmentation,
    /// Bytes that follow.
    pub payload_len: usize,
}

/// Where in its datagram an IPv4 packet belongs (RFC 791, section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragmentation {
    /// What tells fragments of one datagram from another's.
    pub identification: u16,
    /// No router may fragment it (DF).
    pub dont_fragment: bool,
    /// Others follow (MF).
    pub more_fragments: bool,
    /// Offset in the datagram's payload, bytes.
    pub offset: u16,
}

impl Fragmentation {
    /// An atomic datagram (RFC 6864, section 4.1): whole, and to stay so.
    pub const ATOMIC: Self =
        Self { identification: 0, dont_fragment: true, more_fragments: false, offset: 0 };

    /// A datagram that is whole and that routers may fragment.
    pub fn whole(identification: u16) -> Self {
        Self { identification, dont_fragment: false, ..Self::ATOMIC }
    }
}

impl Repr {
    /// Length in bytes.
    pub fn header_len(&self) -> usize {
        match self.addresses {
            Addresses::V4 { .. } => ipv4::HEADER_LEN,
            Addresses::V6 { .. } => ipv6::HEADER_LEN,
        }
    }

    /// Writes the header at the start of `buffer` and returns the rest.
    ///
    /// # Errors
    /// [`EmitError`], with nothing usable in `buffer`.
    pub fn emit<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b mut [u8], EmitError> {
        let Self { protocol, ttl, traffic_class, payload_len, .. } = *self;
        let Fragmentation { identification, dont_fragment, more_fragments, offset } = self.fragmentation;
        match self.addresses {
            Addresses::V4 { source, destination } => ipv4::Repr {
                source,
                destination,
                protocol,
                ttl,
                traffic_class,
                identification,
                dont_fragment,
                more_fragments,
                fragment_offset: offset,
                options: &[],
                payload_len,
            }
            .emit(buffer),
            Addresses::V6 { source, destination } => ipv6::Repr {
                source,
                destination,
                next_header: protocol,
                hop_limit: ttl,
                traffic_class,
                flow_label: 0,
                payload_len,
            }
            .emit(buffer),
        }
    }
}
