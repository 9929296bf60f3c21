//! IPv6 extension headers (RFC 8200, section 4): found, bounded and skipped, up to the protocol they precede.
//!
//! Only what decides whether the packet is whole and at its destination is read: fragment fields, segments
//! left, the jumbo option. Other options' meaning and the authentication header's value are left to others.

use super::{EmitError, Malformed, Protocol};

/// Most extension headers walked in one packet. RFC 8200, section 4.1 has seven in its recommended order;
/// a longer chain costs a relay time and is refused, as RFC 8883, section 2 provides for.
pub const HEADERS_MAX: usize = 8;

/// Length of a fragment header in bytes.
pub const FRAGMENT_LEN: usize = 8;

const OPTION_PAD1: u8 = 0;
const OPTION_JUMBO: u8 = 0xc2;

/// What lies behind a packet's extension headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upper<'a> {
    /// A whole payload; also that of an atomic fragment (RFC 6946, section 4).
    Whole {
        /// The payload's protocol.
        protocol: Protocol,
        /// The payload.
        payload: &'a [u8],
    },
    /// One of several pieces.
    Fragment {
        /// The fragment header.
        fragment: Fragment,
        /// The piece: the bytes after the fragment header.
        payload: &'a [u8],
    },
}

impl<'a> Upper<'a> {
    /// Walks the extension headers at the start of `rest`, the first of them of the kind `next`.
    ///
    /// # Errors
    /// [`Malformed::Header`] when one exceeds the packet, they are more than [`HEADERS_MAX`], hop-by-hop
    /// options are not first, a jumbo option is among them, or a routing header has segments left.
    #[inline]
    pub fn walk(next: Protocol, rest: &'a [u8]) -> Result<Self, Malformed> {
        if next == Protocol::UDP {
            return Ok(Self::Whole { protocol: next, payload: rest });
        }
        Self::walk_extensions(next, rest)
    }

    fn walk_extensions(mut next: Protocol, mut rest: &'a [u8]) -> Result<Self, Malformed> {
        for depth in 0..=HEADERS_MAX {
            (next, rest) = match next {
                Protocol::HOP_BY_HOP if depth > 0 => return Err(Malformed::Header),
                Protocol::HOP_BY_HOP => {
                    let (next, body, rest) = split(rest, 8)?;
                    check_hop_by_hop(body)?;
                    (next, rest)
                }
                Protocol::DESTINATION_OPTIONS => {
                    let (next, _, rest) = split(rest, 8)?;
                    (next, rest)
                }
                Protocol::ROUTING => {
                    let (next, body, rest) = split(rest, 8)?;
                    check_routing(body)?;
                    (next, rest)
                }
                // Counted in words of four bytes, less two (RFC 4302, section 2.2).
                Protocol::AUTHENTICATION => {
                    let (next, _, rest) = split(rest, 4)?;
                    (next, rest)
                }
                Protocol::FRAGMENT => {
                    let (fragment, rest) = Fragment::parse(rest)?;
                    if !fragment.is_atomic() {
                        return Ok(Self::Fragment { fragment, payload: rest });
                    }
                    (fragment.next_header, rest)
                }
                protocol => return Ok(Self::Whole { protocol, payload: rest }),
            };
        }
        Err(Malformed::Header)
    }
}

/// Whether a header of this kind is one [`Upper::walk`] walks past.
pub fn is_extension(protocol: Protocol) -> bool {
    matches!(
        protocol,
        Protocol::HOP_BY_HOP
            | Protocol::ROUTING
            | Protocol::FRAGMENT
            | Protocol::AUTHENTICATION
            | Protocol::DESTINATION_OPTIONS
    )
}

/// A fragment header's content (RFC 8200, section 4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fragment {
    /// What the reassembled packet continues with.
    pub next_header: Protocol,
    /// Where in the reassembled payload this piece begins, in bytes; a multiple of eight.
    pub offset: u16,
    /// Whether fragments follow this one.
    pub more: bool,
    /// Identification, shared by a packet's fragments.
    pub identification: u32,
}

impl Fragment {
    /// The header at the start of `bytes`, and what follows it.
    ///
    /// # Errors
    /// [`Malformed::Header`] when fewer than [`FRAGMENT_LEN`] bytes are there.
    pub fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), Malformed> {
        let (header, rest) = bytes.split_first_chunk::<FRAGMENT_LEN>().ok_or(Malformed::Header)?;
        let [next_header, _, high, low, a, b, c, d] = *header;
        let word = u16::from_be_bytes([high, low]);
        let fragment = Self {
            next_header: Protocol(next_header),
            offset: word & !0b111,
            more: word & 1 != 0,
            identification: u32::from_be_bytes([a, b, c, d]),
        };
        Ok((fragment, rest))
    }

    /// Whether it is its packet's only fragment (RFC 6946, section 2).
    pub fn is_atomic(&self) -> bool {
        self.offset == 0 && !self.more
    }

    /// Writes the header at the start of `buffer` and returns the rest, for the piece.
    ///
    /// # Errors
    /// [`EmitError::Buffer`].
    pub fn emit<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b mut [u8], EmitError> {
        let (header, rest) = super::split_header::<FRAGMENT_LEN>(buffer)?;
        let [high, low] = (self.offset & !0b111 | u16::from(self.more)).to_be_bytes();
        let [a, b, c, d] = self.identification.to_be_bytes();
        *header = [self.next_header.0, 0, high, low, a, b, c, d];
        Ok(rest)
    }
}

/// Splits one header off: what comes next, its bytes after the first two, and the rest. Its length field
/// counts units of `unit` bytes beyond the first eight.
fn split(bytes: &[u8], unit: usize) -> Result<(Protocol, &[u8], &[u8]), Malformed> {
    let [next, length, ..] = *bytes else { return Err(Malformed::Header) };
    let (header, rest) = bytes.split_at_checked(8 + usize::from(length) * unit).ok_or(Malformed::Header)?;
    Ok((Protocol(next), header.get(2..).ok_or(Malformed::Header)?, rest))
}

/// With segments left the packet is not at its destination, and the UDP checksum is over an address other
/// than the header's (RFC 8200, section 8.1).
fn check_routing(body: &[u8]) -> Result<(), Malformed> {
    match body {
        [_kind, 0, ..] => Ok(()),
        _ => Err(Malformed::Header),
    }
}

/// Refuses options that exceed their header, and the jumbo option: with it the header's length is not the
/// packet's (RFC 2675, section 3).
fn check_hop_by_hop(mut options: &[u8]) -> Result<(), Malformed> {
    while let [kind, after @ ..] = options {
        options = match (*kind, after) {
            (OPTION_PAD1, after) => after,
            (OPTION_JUMBO, _) => return Err(Malformed::Header),
            (_, [length, data @ ..]) => data.get(usize::from(*length)..).ok_or(Malformed::Header)?,
            (_, []) => return Err(Malformed::Header),
        };
    }
    Ok(())
}
