//! Wire formats from Ethernet to UDP, one file per format.
//!
//! Each format is a borrowed view with one accessor per field and a small `Repr` with `parse` and `emit`.
//! A view exists only over bytes whose lengths and checksum were found right, so its accessors cannot fail.
//! Nothing here allocates, and no input makes it panic. A relay with an IP packet in hand needs only
//! [`Datagram::parse_ip`], and [`Piece::parse_ip`] for fragments, a tap with a frame [`Frame::parse`]. What a
//! field *means* (whether a source may be multicast) is left to callers.

mod addresses;
pub mod checksum;
pub mod datagram;
pub mod ethernet;
pub mod extension;
pub mod fragment;
pub mod frame;
pub mod ip;
pub mod ipv4;
pub mod ipv6;
pub mod udp;
pub mod vlan;

pub use addresses::Addresses;
pub use datagram::Datagram;
pub use ethernet::MacAddress;
pub use fragment::Piece;
pub use frame::Frame;

/// What is known about a packet's UDP checksum before it is parsed. The IPv4 header's own checksum is
/// verified in every case: no device vouches for it, and it is always filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChecksumTrust {
    /// Nothing is known: verify it.
    Verify,
    /// The receiving device found it valid (`TP_STATUS_CSUM_VALID`, packet(7)).
    Trusted,
    /// The field holds no checksum yet, its sender left it to a device (`TP_STATUS_CSUMNOTREADY`, packet(7)).
    Partial,
}

/// Why bytes hold no whole, sound UDP datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Malformed {
    /// The bytes end before the header, or before the length the IP header states.
    #[error("the packet ends before the length its headers state: it was cut on its way or while captured")]
    Truncated,
    /// A header contradicts itself, its container or its standard.
    #[error("a header is malformed: a version, length or option contradicts the rest of the packet")]
    Header,
    /// The IPv4 header's checksum is wrong (RFC 791, section 3.1).
    #[error("the IPv4 header checksum is wrong: the packet was damaged on its way")]
    Ipv4Checksum,
    /// The UDP checksum is wrong, or zero in IPv6 (RFC 768; RFC 8200, section 8.1).
    #[error("the UDP checksum is wrong: the packet was damaged on its way")]
    UdpChecksum,
    /// A sound packet as far as it was read, but of another protocol than UDP over IP: not an error.
    #[error("the packet carries another protocol than UDP")]
    NotUdp,
    /// A sound piece of a UDP datagram: not an error, but needs reassembly (RFC 791, section 3.2; RFC 8200,
    /// section 4.5). For IPv6 the protocol may be hidden behind further headers and prove not to be UDP.
    #[error("the packet is a fragment and must be reassembled first")]
    Fragment,
}

/// An IPv4 protocol or IPv6 next-header number; both share one registry (RFC 5237; RFC 7045, section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Protocol(pub u8);

impl Protocol {
    /// IPv6 hop-by-hop options (RFC 8200, section 4.3).
    pub const HOP_BY_HOP: Self = Self(0);
    /// User Datagram Protocol (RFC 768).
    pub const UDP: Self = Self(17);
    /// IPv6 routing header (RFC 8200, section 4.4).
    pub const ROUTING: Self = Self(43);
    /// IPv6 fragment header (RFC 8200, section 4.5).
    pub const FRAGMENT: Self = Self(44);
    /// Authentication header (RFC 4302).
    pub const AUTHENTICATION: Self = Self(51);
    /// IPv6: nothing follows (RFC 8200, section 4.7).
    pub const NO_NEXT_HEADER: Self = Self(59);
    /// IPv6 destination options (RFC 8200, section 4.6).
    pub const DESTINATION_OPTIONS: Self = Self(60);
}

/// Why a packet could not be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum EmitError {
    /// The buffer is too small.
    #[error(
        "a header or payload of {needed} bytes does not fit the {available} bytes left: enlarge the buffer"
    )]
    Buffer {
        /// Bytes the part takes.
        needed: usize,
        /// Bytes the buffer had left for it.
        available: usize,
    },
    /// The payload exceeds what the header's 16-bit length can state.
    #[error("{length} bytes exceed the header's 16-bit length field: shorten the payload")]
    Payload {
        /// The length to be stated, in bytes.
        length: usize,
    },
    /// IPv4 options exceed the 40 bytes a header has for them (RFC 791, section 3.1).
    #[error("{length} bytes of IPv4 options do not fit the 40 a header has: shorten them")]
    Options {
        /// The options' length in bytes.
        length: usize,
    },
}

/// Splits a fixed-size header off a buffer to be filled.
fn split_header<const N: usize>(buffer: &mut [u8]) -> Result<(&mut [u8; N], &mut [u8]), EmitError> {
    let available = buffer.len();
    buffer.split_first_chunk_mut().ok_or(EmitError::Buffer { needed: N, available })
}

/// States a length in a 16-bit field.
fn length_field(length: usize) -> Result<u16, EmitError> {
    u16::try_from(length).map_err(|_| EmitError::Payload { length })
}

#[cfg(test)]
mod tests;
