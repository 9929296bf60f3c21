//! Datagrams that leave in one send: equal headers, equal length but for a shorter last one.

use std::ops::Range;

use crate::envelope::Envelope;
use crate::sys::ring::Span;

/// Most datagrams in one send (`UDP_MAX_SEGMENTS`: 64 in older kernels, 128 in newer).
pub const SEGMENTS_MAX: usize = 64;

/// Most payload bytes in one send: what an IPv4 packet holds behind its IP and UDP headers.
const SEND_BYTES_MAX: usize = 65_507;

/// A run of datagrams to be sent at once. Payloads stay in the ring.
#[derive(Debug, Default)]
pub struct Batch {
    envelope: Option<Envelope>,
    /// Payload bytes of each datagram but the last.
    segment: usize,
    bytes: usize,
    /// A shorter datagram came, so it is the last.
    closed: bool,
    spans: Vec<Span>,
    numbers: Vec<u16>,
}

impl Batch {
    /// Whether a datagram may join those here.
    pub fn admits(&self, envelope: &Envelope, bytes: usize, most: usize) -> bool {
        self.spans.is_empty()
            || (!self.closed
                && self.spans.len() < most
                && bytes <= self.segment
                && self.bytes + bytes <= SEND_BYTES_MAX
                && self.envelope.as_ref() == Some(envelope))
    }

    /// Adds a datagram, by its number in the round, to a batch that admits it.
    pub fn append(&mut self, envelope: Envelope, payload: Span, number: u16) {
        if self.spans.is_empty() {
            self.envelope = Some(envelope);
            self.segment = payload.len();
        }
        self.bytes += payload.len();
        // An empty datagram cannot be cut from a longer send.
        self.closed = payload.len() < self.segment || payload.is_empty();
        self.spans.push(payload);
        self.numbers.push(number);
    }

    /// Headers of all of them; absent while empty.
    pub fn envelope(&self) -> Option<Envelope> {
        self.envelope
    }

    /// `UDP_SEGMENT` for a send of this part; absent where it is a single datagram.
    pub fn segment_of(&self, part: &Range<usize>) -> Option<u16> {
        if part.len() > 1 { u16::try_from(self.segment).ok() } else { None }
    }

    /// Payloads, in order.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Their numbers in the round.
    pub fn numbers(&self) -> &[u16] {
        &self.numbers
    }

    /// Empties it, keeping its memory.
    pub fn clear(&mut self) {
        self.envelope = None;
        self.bytes = 0;
        self.closed = false;
        self.spans.clear();
        self.numbers.clear();
    }
}
