//! A worker's slow path: fragments that wait for others, and the time that passes meanwhile.
//!
//! A fragment is counted as received when it is settled: as part of a datagram, or as dropped. Until then it is
//! `held`, in the shared counters too, so that a successor counts what its predecessor took off a ring and had not
//! settled when it died. The clock is read once in a round with fragments, and never while none waits.

use std::time::{Duration, Instant};

use mcast::reassembly::{MEMORY_MAX, Reassembler, Whole};
use mcast::wire::Piece;

use crate::counters::{Counters, WorkerCounter};
use crate::drop_reason::DropReason;
use crate::sys::ring::{ASSEMBLED_BYTES, Ring, Span};

/// Bytes all of reassembly may take in a worker, what it makes for the two rings included.
const BYTES_MAX: usize = 4 << 20;

const _: () = assert!(MEMORY_MAX + 2 * ASSEMBLED_BYTES <= BYTES_MAX);

/// Fragments of one worker, of both families.
#[derive(Debug, Default)]
pub struct Fragments {
    reassembler: Reassembler,
    /// The time, in a round that asked for it.
    now: Option<Instant>,
}

impl Fragments {
    /// None yet; what a predecessor held is lost and counted.
    pub fn succeed(counters: &Counters) -> Self {
        count(counters, counters.worker(WorkerCounter::Held), 0);
        Self::default()
    }

    /// The time is to be read anew.
    pub fn begin_round(&mut self) {
        self.now = None;
    }

    /// Takes a fragment that arrived on `ifindex`.
    pub fn take(&mut self, ifindex: u32, piece: &Piece<'_>) {
        let now = *self.now.get_or_insert_with(Instant::now);
        self.reassembler.handle_piece(ifindex, piece, now);
    }

    /// The datagram the last fragment made whole, with its IP payload. It is dropped where the ring has no room.
    pub fn poll_whole(&mut self, ring: &mut Ring) -> Option<(Whole, Span)> {
        let whole = self.reassembler.poll_whole(ring.room()?)?;
        let payload = ring.keep(whole.len);
        Some((whole, payload))
    }

    /// Fragments taken and not settled.
    pub fn held(&self) -> u64 {
        self.reassembler.held()
    }

    /// Fragments dropped since this was last asked, for the caller to count.
    pub fn take_dropped(&mut self) -> u64 {
        self.reassembler.take_dropped()
    }

    /// Drops and counts what has waited too long; answers how long until there may be more, `None` where nothing
    /// waits.
    pub fn expire(&mut self, counters: &Counters) -> Option<Duration> {
        self.reassembler.poll_timeout()?;
        let now = Instant::now();
        self.reassembler.handle_timeout(now);
        count(counters, self.take_dropped(), self.held());
        self.reassembler.poll_timeout().map(|due| due.saturating_duration_since(now))
    }

    /// Drops and counts everything.
    pub fn abandon(&mut self, counters: &Counters) {
        self.reassembler.abandon();
        count(counters, self.take_dropped(), self.held());
    }
}

fn count(counters: &Counters, dropped: u64, held: u64) {
    counters.add_worker(WorkerCounter::Received, dropped);
    counters.add_dropped(DropReason::Fragment, dropped);
    counters.set_worker(WorkerCounter::Held, held);
}
