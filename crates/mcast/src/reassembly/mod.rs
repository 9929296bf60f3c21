//! Fragments put together again, without a clock or a socket: RFC 791, section 3.2, and RFC 8200, section 4.5.
//!
//! Pieces may come in any order. One that overlaps another without repeating it ends its datagram, in both
//! families, pieces still to come included (RFC 5722, section 4); an exact duplicate is dropped alone, as RFC 8200
//! allows. What is not whole two seconds after its first piece is given up. Each piece handled is in the end part
//! of one [`Whole`] or counted by [`Reassembler::take_dropped`].
//!
//! Memory is bounded whatever arrives. Where it is short, the datagram goes that has been longest without a new
//! piece: a flood of pieces that never become whole ages at once, while a sender's next piece keeps its datagram
//! young. To refuse the newest instead would let a flood shut out everybody else for two seconds.

mod blocks;
mod pending;
mod queue;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use self::blocks::{BLOCK_COST, Blocks, NONE, blocks_for};
use self::pending::{Fit, Key, Pending};
use self::queue::{Order, QUEUE_COST, Queue};
use crate::wire::fragment::{Header, LENGTH_MAX, Piece};

/// How long a datagram waits for its pieces.
pub const LIFETIME: Duration = Duration::from_secs(2);

/// Bytes of memory a reassembler takes at most, for pieces and for what is known of them.
pub const MEMORY_MAX: usize = 3584 << 10;

/// Most pieces of one datagram: the longest one of a path with an MTU of 296 bytes has 241. More are sent only to
/// make their order costly to find.
pub const PIECES_MAX: usize = 256;

const BLOCKS: usize = (MEMORY_MAX - size_of::<Reassembler>() - QUEUE_COST) / BLOCK_COST;

const _: () = assert!(BLOCKS < NONE as usize);
const _: () = assert!(queue::DATAGRAMS_MAX < NONE as usize);
// All others gone, there is room for any one datagram.
const _: () = assert!(BLOCKS > blocks_for(LENGTH_MAX) + PIECES_MAX);

/// A datagram's headers, and how its payload was put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whole {
    /// What the first piece's headers say; ECN as all pieces together have it (RFC 3168, section 5.3).
    pub header: Header,
    /// Bytes of the IP payload.
    pub len: usize,
    /// Number of its pieces.
    pub pieces: u16,
}

/// Datagrams that wait for pieces.
#[derive(Debug)]
pub struct Reassembler {
    blocks: Blocks,
    queue: Queue,
    /// Place of the one the last piece made whole.
    whole: Option<u16>,
    /// Pieces in memory.
    held: u64,
    dropped: u64,
}

impl Default for Reassembler {
    fn default() -> Self {
        Self { blocks: Blocks::new(BLOCKS), queue: Queue::new(), whole: None, held: 0, dropped: 0 }
    }
}

impl Reassembler {
    /// Takes a piece that arrived on the interface `ifindex`. If it was the last one missing,
    /// [`Reassembler::poll_whole`] has the datagram next. `now` never goes back.
    pub fn handle_piece(&mut self, ifindex: u32, piece: &Piece<'_>, now: Instant) {
        self.handle_timeout(now);
        if let Some(unclaimed) = self.whole.take() {
            self.drop_datagram(unclaimed);
        }
        if !is_sound(piece) {
            self.dropped += 1;
            return;
        }
        let (addresses, identification) = (piece.header.addresses, piece.identification);
        let at = self.find_or_begin(Key { ifindex, addresses, identification }, now);
        match self.queue.at(at).place(&self.blocks, piece) {
            Fit::Behind(behind) => self.keep(at, behind, piece),
            Fit::Unwanted => self.dropped += 1,
            Fit::Conflict => {
                self.dropped += 1;
                self.discard(at);
            }
        }
    }

    /// Gives up what has waited too long.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(at) = self.queue.earliest(Order::Begun).filter(|&at| self.queue.at(at).deadline <= now)
        {
            self.drop_datagram(at);
        }
    }

    /// Gives up everything.
    pub fn abandon(&mut self) {
        while let Some(at) = self.queue.earliest(Order::Begun) {
            self.drop_datagram(at);
        }
    }

    /// The datagram that the last piece completed, its IP payload written to the start of `into`.
    pub fn poll_whole(&mut self, into: &mut [u8; LENGTH_MAX]) -> Option<Whole> {
        let at = self.whole.take()?;
        let pending = self.queue.at_mut(at);
        let header = pending.header()?;
        let len = pending.copy(&self.blocks, into);
        let pieces = pending.discard(&mut self.blocks);
        self.held -= u64::from(pieces);
        self.queue.remove(at);
        Some(Whole { header, len, pieces })
    }

    /// When [`Reassembler::handle_timeout`] is to be called; `None` while nothing waits.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.queue.earliest(Order::Begun).map(|at| self.queue.at(at).deadline)
    }

    /// Pieces in memory: handled, and neither part of a [`Whole`] nor dropped.
    pub fn held(&self) -> u64 {
        self.held
    }

    /// Pieces dropped since this was last asked.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    fn find_or_begin(&mut self, key: Key, now: Instant) -> u16 {
        if let Some(at) = self.queue.find(&key) {
            return at;
        }
        if self.queue.is_full()
            && let Some(idle) = self.queue.earliest(Order::Touched)
        {
            self.drop_datagram(idle);
        }
        self.queue.push(Pending::new(key, now + LIFETIME))
    }

    fn keep(&mut self, at: u16, behind: u16, piece: &Piece<'_>) {
        self.queue.touch(at);
        while self.blocks.available() < blocks_for(piece.payload.len())
            && let Some(idle) = self.queue.earliest(Order::Touched).filter(|&idle| idle != at)
        {
            self.drop_datagram(idle);
        }
        let Some(block) = self.blocks.keep(piece.offset, piece.payload) else {
            self.dropped += 1;
            return;
        };
        let pending = self.queue.at_mut(at);
        pending.add(&mut self.blocks, behind, block, piece);
        self.held += 1;
        if pending.is_whole() {
            if pending.header().is_some() {
                self.whole = Some(at);
            } else {
                self.discard(at);
            }
        }
    }

    /// Drops a datagram's pieces and remembers it, so that those still to come are dropped too.
    fn discard(&mut self, at: u16) {
        let pieces = u64::from(self.queue.at_mut(at).discard(&mut self.blocks));
        self.held -= pieces;
        self.dropped += pieces;
    }

    fn drop_datagram(&mut self, at: u16) {
        self.discard(at);
        self.queue.remove(at);
        self.whole = self.whole.filter(|&whole| whole != at);
    }
}

/// Whether a piece can be part of a datagram at all. RFC 8200, section 4.5 has those that cannot dropped alone.
fn is_sound(piece: &Piece<'_>) -> bool {
    let len = piece.payload.len();
    len > 0 && (!piece.more || len.is_multiple_of(8)) && usize::from(piece.offset) + len <= piece.room.into()
}
