//! Fragments that are heard, put together as a worker does it.

use std::fmt;
use std::time::Instant;

use mcast::reassembly::Reassembler;
use mcast::wire::fragment::LENGTH_MAX;
use mcast::wire::{Datagram, Malformed, Piece};

/// Those that wait for others.
pub(super) struct Pieces {
    reassembler: Reassembler,
    room: Box<[u8; LENGTH_MAX]>,
}

impl Default for Pieces {
    fn default() -> Self {
        Self { reassembler: Reassembler::default(), room: Box::new([0; LENGTH_MAX]) }
    }
}

impl fmt::Debug for Pieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pieces").field("held", &self.reassembler.held()).finish_non_exhaustive()
    }
}

impl Pieces {
    /// Takes a fragment; answers what it makes whole, and of how many fragments. What can be no fragment of UDP is left.
    pub(super) fn take(
        &mut self,
        ifindex: u32,
        packet: &[u8],
    ) -> Option<(u64, Result<Datagram<'_>, Malformed>)> {
        let piece = Piece::parse_ip(packet).ok()??;
        self.reassembler.handle_piece(ifindex, &piece, Instant::now());
        let whole = self.reassembler.poll_whole(&mut self.room)?;
        Some((whole.pieces.into(), whole.header.datagram(&self.room[..whole.len])))
    }
}
