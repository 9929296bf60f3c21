//! One datagram of which pieces are missing: where each piece belongs, and whether it may.

use std::time::Instant;

use super::PIECES_MAX;
use super::blocks::{Blocks, NONE};
use crate::wire::Addresses;
use crate::wire::fragment::{Header, Piece};

/// Both ECN bits: congestion was met (RFC 3168, section 5).
const ECN_CONGESTION: u8 = 0b11;

/// What all pieces of a datagram have in common, and no other's at the same time (RFC 791, section 3.2; RFC 8200,
/// section 4.5). IPv4 has the protocol beside: here it is always UDP. An identification is the sender's for one
/// destination, so pieces that come by several interfaces are several datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) ifindex: u32,
    pub(super) addresses: Addresses,
    pub(super) identification: u32,
}

/// Where a piece belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// Behind this piece, or in front of all where it is [`NONE`].
    Behind(u16),
    /// Nowhere, and the others are as good as before: an exact duplicate, or one of a datagram given up.
    Unwanted,
    /// Nowhere, and none of the others can be trusted any more.
    Conflict,
}

/// The pieces there are, in order of their place, none overlapping another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pending {
    pub(super) key: Key,
    /// When it is given up.
    pub(super) deadline: Instant,
    /// What the first piece says, and how long the whole may be by it.
    opening: Option<(Header, u16)>,
    first: u16,
    last: u16,
    pieces: u16,
    bytes: u32,
    /// Where the last piece ends.
    total: Option<u32>,
    /// One bit for each ECN codepoint seen.
    codepoints: u8,
    discarded: bool,
}

impl Pending {
    /// One without a piece.
    pub(super) fn new(key: Key, deadline: Instant) -> Self {
        Self {
            key,
            deadline,
            opening: None,
            first: NONE,
            last: NONE,
            pieces: 0,
            bytes: 0,
            total: None,
            codepoints: 0,
            discarded: false,
        }
    }

    /// Where this piece, which is not empty, belongs.
    pub(super) fn place(&self, blocks: &Blocks, piece: &Piece<'_>) -> Fit {
        if self.discarded {
            return Fit::Unwanted;
        }
        let (start, end) = range(piece);
        let (before, after) = self.neighbours(blocks, start);
        if after.is_some_and(|after| self.duplicates(blocks, after, piece)) {
            return Fit::Unwanted;
        }
        let overlaps = before.is_some_and(|before| blocks.range(before).1 > start)
            || after.is_some_and(|after| blocks.range(after).0 < end);
        let beyond = match (self.total, piece.more) {
            (Some(total), true) => end > total,
            (Some(_), false) => true,
            (None, true) => false,
            (None, false) => self.last != NONE && blocks.range(self.last).1 > end,
        };
        if overlaps || beyond || usize::from(self.pieces) >= PIECES_MAX {
            return Fit::Conflict;
        }
        Fit::Behind(before.unwrap_or(NONE))
    }

    /// Adds a piece, kept in blocks from `block` on, where [`Pending::place`] said.
    pub(super) fn add(&mut self, blocks: &mut Blocks, behind: u16, block: u16, piece: &Piece<'_>) {
        if behind == NONE {
            blocks.set_following(block, self.first);
            self.first = block;
        } else {
            blocks.set_following(block, blocks.following(behind));
            blocks.set_following(behind, block);
        }
        if behind == self.last {
            self.last = block;
        }
        let (start, end) = range(piece);
        if start == 0 {
            self.opening = Some((piece.header, piece.room));
        }
        if !piece.more {
            self.total = Some(end);
        }
        self.pieces += 1;
        self.bytes += end - start;
        self.codepoints |= 1 << (piece.header.traffic_class & ECN_CONGESTION);
    }

    /// Whether no piece is missing: they do not overlap, so their lengths tell.
    pub(super) fn is_whole(&self) -> bool {
        self.total == Some(self.bytes)
    }

    /// The headers of the whole; `None` where it makes no packet: its length cannot be stated behind the first
    /// piece's headers, or it met congestion and its sender does not know the mark (RFC 3168, section 5.3).
    pub(super) fn header(&self) -> Option<Header> {
        let (mut header, room) = self.opening?;
        if self.bytes > u32::from(room) {
            return None;
        }
        if self.codepoints & 1 << ECN_CONGESTION != 0 {
            if self.codepoints & 1 != 0 {
                return None;
            }
            header.traffic_class |= ECN_CONGESTION;
        }
        Some(header)
    }

    /// Writes the whole to the start of `into`; answers its length in bytes.
    pub(super) fn copy(&self, blocks: &Blocks, into: &mut [u8]) -> usize {
        let mut piece = self.first;
        while piece != NONE {
            let (start, end) = blocks.range(piece);
            blocks.copy(piece, &mut into[start as usize..end as usize]);
            piece = blocks.following(piece);
        }
        self.bytes as usize
    }

    /// Gives back the memory of all pieces and takes no more; answers how many they were.
    pub(super) fn discard(&mut self, blocks: &mut Blocks) -> u16 {
        let mut piece = self.first;
        while piece != NONE {
            piece = blocks.release(piece);
        }
        let pieces = self.pieces;
        *self = Self { discarded: true, ..Self::new(self.key, self.deadline) };
        pieces
    }

    /// The last piece that begins before `start`, and the first that does not.
    fn neighbours(&self, blocks: &Blocks, start: u32) -> (Option<u16>, Option<u16>) {
        let some = |piece| Some(piece).filter(|&piece| piece != NONE);
        // Most come in order.
        if self.last != NONE && blocks.range(self.last).0 < start {
            return (some(self.last), None);
        }
        let (mut before, mut after) = (NONE, self.first);
        while after != NONE && blocks.range(after).0 < start {
            (before, after) = (after, blocks.following(after));
        }
        (some(before), some(after))
    }

    /// Whether a piece is there just as this one: place, bytes, and what it says of the end. The network repeats
    /// packets, and RFC 8200, section 4.5 allows to tell that from an overlap.
    fn duplicates(&self, blocks: &Blocks, there: u16, piece: &Piece<'_>) -> bool {
        let (start, end) = range(piece);
        let ends_there = self.total == Some(end);
        blocks.range(there) == (start, end) && ends_there != piece.more && blocks.holds(there, piece.payload)
    }
}

/// Where in the payload a piece begins and ends.
fn range(piece: &Piece<'_>) -> (u32, u32) {
    let start = u32::from(piece.offset);
    // A piece is part of a packet of at most 64 KiB.
    (start, start + piece.payload.len() as u32)
}
