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
    /// Nothing may follow, as after a datagram shorter than those before it.
    closed: bool,
    spans: Vec<Span>,
    numbers: Vec<u16>,
}

impl Batch {
    /// Whether a datagram may join those here. An empty one never does: no cut makes it.
    pub fn admits(&self, envelope: &Envelope, bytes: usize, most: usize) -> bool {
        self.spans.is_empty()
            || (!self.closed
                && self.spans.len() < most
                && (1..=self.segment).contains(&bytes)
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
        self.closed = payload.len() < self.segment;
        self.spans.push(payload);
        self.numbers.push(number);
    }

    /// Admits no more until it is cleared.
    pub fn close(&mut self) {
        self.closed = true;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(ttl: u8) -> Envelope {
        Envelope {
            destination: "239.2.2.2:6000".parse().unwrap(),
            ifindex: Some(2),
            source: None,
            source_port: None,
            ttl,
            traffic_class: 0,
        }
    }

    /// How many of these lengths one batch takes.
    fn admitted(lengths: &[u32], most: usize) -> usize {
        let mut batch = Batch::default();
        for (number, length) in lengths.iter().enumerate() {
            if !batch.admits(&envelope(64), *length as usize, most) {
                return number;
            }
            batch.append(envelope(64), Span::of_length(*length), number as u16);
        }
        lengths.len()
    }

    #[test]
    fn a_closed_batch_admits_nothing_until_it_is_cleared() {
        let mut batch = Batch::default();
        batch.append(envelope(1), Span::of_length(100), 0);
        batch.close();
        assert!(!batch.admits(&envelope(1), 50, SEGMENTS_MAX));
        batch.clear();
        assert!(batch.admits(&envelope(1), 50, SEGMENTS_MAX));
    }

    #[test]
    fn what_the_kernel_can_cut_apart_again_goes_together() {
        assert_eq!(admitted(&[100, 100, 100], 64), 3);
        assert_eq!(admitted(&[100, 60, 100], 64), 2, "a shorter one is the last");
        assert_eq!(admitted(&[100, 60, 60], 64), 2, "also before one of its own length");
        assert_eq!(admitted(&[100, 101], 64), 1, "a longer one does not join");
        assert_eq!(admitted(&[100, 0], 64), 1, "no cut makes an empty one");
        assert_eq!(admitted(&[0, 0], 64), 1, "nor two of them");
        assert_eq!(admitted(&[10; 100], 64), 64, "the kernel's limit of datagrams");
        assert_eq!(admitted(&[10; 100], 3), 3, "the leg's limit");
        assert_eq!(admitted(&[1400; 64], 64), 46, "the limit of an IP packet");
    }

    #[test]
    fn other_headers_do_not_join() {
        let mut batch = Batch::default();
        batch.append(envelope(64), Span::of_length(10), 0);
        assert!(!batch.admits(&envelope(63), 10, 64));
        batch.clear();
        assert!(batch.admits(&envelope(63), 10, 64));
    }

    #[test]
    fn a_single_datagram_is_sent_plainly() {
        let mut batch = Batch::default();
        batch.append(envelope(64), Span::of_length(10), 0);
        assert_eq!(batch.segment_of(&(0..1)), None);
        batch.append(envelope(64), Span::of_length(4), 1);
        assert_eq!(batch.segment_of(&(0..2)), Some(10));
    }
}
