//! VLAN tags (IEEE 802.1Q, clause 9), also stacked (802.1ad), as they follow an Ethernet header.
//!
//! The type that announces a tag lies in the header before it, so it is an argument here. Tags a device has
//! stripped into a descriptor are never seen; what a VLAN means is left to callers.

use super::ethernet::EtherType;
use super::{EmitError, Malformed};

/// Length of a tag in bytes.
pub const TAG_LEN: usize = 4;

/// Most tags in one stack; the Linux kernel goes as deep (`VLAN_MAX_DEPTH`).
pub const STACK_MAX: usize = 8;

/// A view of one tag and what follows it.
#[derive(Debug, Clone, Copy)]
pub struct Tag<'a> {
    tag: &'a [u8; TAG_LEN],
    payload: &'a [u8],
}

impl<'a> Tag<'a> {
    /// The tag at the start of `bytes`.
    ///
    /// # Errors
    /// [`Malformed::Truncated`].
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (tag, payload) = bytes.split_first_chunk().ok_or(Malformed::Truncated)?;
        Ok(Self { tag, payload })
    }

    /// Priority code point, 0 to 7.
    #[inline]
    pub fn priority(&self) -> u8 {
        self.tag[0] >> 5
    }

    /// Drop eligible indicator.
    #[inline]
    pub fn drop_eligible(&self) -> bool {
        self.tag[0] & 0x10 != 0
    }

    /// VLAN identifier, 0 to 4095; 0 is a priority tag, of no VLAN.
    #[inline]
    pub fn vid(&self) -> u16 {
        u16::from_be_bytes([self.tag[0] & 0x0f, self.tag[1]])
    }

    /// What the payload is, or begins with.
    #[inline]
    pub fn ethertype(&self) -> EtherType {
        EtherType(u16::from_be_bytes([self.tag[2], self.tag[3]]))
    }

    /// What follows the tag.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// A tag's content, with the type that announces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Repr {
    /// [`EtherType::CUSTOMER_TAG`] or [`EtherType::SERVICE_TAG`].
    pub kind: EtherType,
    /// Priority code point, 0 to 7; higher bits are cut off.
    pub priority: u8,
    /// Drop eligible indicator.
    pub drop_eligible: bool,
    /// VLAN identifier, 0 to 4095; higher bits are cut off.
    pub vid: u16,
}

impl Repr {
    /// The content of a tag that `kind` announced.
    pub fn parse(kind: EtherType, tag: &Tag<'_>) -> Self {
        Self { kind, priority: tag.priority(), drop_eligible: tag.drop_eligible(), vid: tag.vid() }
    }

    /// Writes the tag, announcing `next`, at the start of `buffer` and returns the rest. Its own kind
    /// belongs in the header before.
    ///
    /// # Errors
    /// [`EmitError::Buffer`].
    pub fn emit<'b>(&self, next: EtherType, buffer: &'b mut [u8]) -> Result<&'b mut [u8], EmitError> {
        let (tag, rest) = super::split_header::<TAG_LEN>(buffer)?;
        let priority = u16::from(self.priority & 0b111) << 13;
        let control = priority | u16::from(self.drop_eligible) << 12 | self.vid & 0x0fff;
        tag[..2].copy_from_slice(&control.to_be_bytes());
        tag[2..].copy_from_slice(&next.0.to_be_bytes());
        Ok(rest)
    }
}

/// A frame's tags, outermost first; possibly none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stack<'a> {
    first: EtherType,
    tags: &'a [u8],
}

impl<'a> Stack<'a> {
    /// The tags at the start of `bytes`, announced by `first`; the type behind them; and what follows.
    ///
    /// # Errors
    /// [`Malformed::Truncated`], or [`Malformed::Header`] beyond [`STACK_MAX`] tags.
    #[inline]
    pub fn parse(first: EtherType, bytes: &'a [u8]) -> Result<(Self, EtherType, &'a [u8]), Malformed> {
        let (mut ethertype, mut rest) = (first, bytes);
        for _ in 0..=STACK_MAX {
            if !ethertype.is_tag() {
                let (tags, _) = bytes.split_at(bytes.len() - rest.len());
                return Ok((Self { first, tags }, ethertype, rest));
            }
            let tag = Tag::parse(rest)?;
            (ethertype, rest) = (tag.ethertype(), tag.payload());
        }
        Err(Malformed::Header)
    }

    /// The tags, outermost first.
    pub fn iter(&self) -> impl Iterator<Item = Repr> + use<'a> {
        let (tags, _) = self.tags.as_chunks();
        tags.iter().scan(self.first, |kind, bytes| {
            let tag = Tag { tag: bytes, payload: &[] };
            let repr = Repr::parse(*kind, &tag);
            *kind = tag.ethertype();
            Some(repr)
        })
    }
}
