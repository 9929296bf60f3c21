//! Datagrams of one flow that leave together: equal as far as its legs keep their headers, and of equal length but for a
//! shorter last one, so that the kernel can cut one send into them. Each of the flow's legs sends the same batch.

use std::net::IpAddr;
use std::ops::Range;

use mcast::wire::Datagram;

use crate::sys::ring::Span;
use crate::table::{LegEntry, SourceChoice};

/// Most datagrams in one send (`UDP_MAX_SEGMENTS`: 64 in older kernels, 128 in newer).
pub const SEGMENTS_MAX: usize = 64;

/// Most payload bytes in one send: what an IPv4 packet holds behind its IP and UDP headers.
pub const SEND_BYTES_MAX: usize = 65_507;

/// The low bits of TOS and traffic class (RFC 3168, section 5): kept as they come.
pub const ECN_MASK: u8 = 0b11;

/// What a flow's legs keep of its datagrams' headers. Datagrams that differ in nothing of it differ on no leg.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keeps {
    source: bool,
    source_port: bool,
    destination_port: bool,
    ttl: bool,
    dscp: bool,
}

/// A datagram's headers as far as they are kept; what is not is blank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Source address.
    pub source: Option<IpAddr>,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// TTL or hop limit.
    pub ttl: u8,
    /// DSCP and ECN.
    pub traffic_class: u8,
}

impl Keeps {
    /// What these legs keep, all of them together.
    pub fn of(legs: &[LegEntry]) -> Self {
        let any = |keeps: fn(&LegEntry) -> bool| legs.iter().any(keeps);
        Self {
            source: any(|leg| leg.source == SourceChoice::Keep),
            source_port: any(LegEntry::keeps_port),
            destination_port: any(|leg| leg.port.is_none()),
            ttl: any(|leg| leg.ttl.is_none()),
            dscp: any(|leg| leg.dscp.is_none()),
        }
    }

    /// That part of a datagram's headers.
    pub fn of_datagram(self, datagram: &Datagram<'_>) -> Kept {
        let Datagram { source, source_port, destination_port, ttl, traffic_class, .. } = *datagram;
        Kept {
            source: self.source.then_some(source),
            source_port: if self.source_port { source_port } else { 0 },
            destination_port: if self.destination_port { destination_port } else { 0 },
            ttl: if self.ttl { ttl } else { 0 },
            traffic_class: if self.dscp { traffic_class } else { traffic_class & ECN_MASK },
        }
    }
}

/// A run of datagrams. Payloads stay in the ring.
#[derive(Debug, Default)]
pub struct Batch {
    /// Absent while it is empty.
    kept: Option<Kept>,
    /// Payload bytes of each datagram but the last.
    segment: usize,
    bytes: usize,
    count: usize,
    /// Nothing may follow, as after a datagram shorter than those before it.
    closed: bool,
    /// Each holds whole datagrams: one, or those of a super-frame.
    spans: Vec<Span>,
}

impl Batch {
    /// Takes the first datagrams of a payload that is cut into `segment` bytes each, as many as can join those here;
    /// answers their bytes, `None` if not one can. An empty batch takes at least one.
    pub fn take(&mut self, kept: &Kept, payload: Span, segment: usize) -> Option<usize> {
        let first = payload.len().min(segment);
        let room = if self.count == 0 {
            (self.kept, self.segment) = (Some(*kept), first);
            // One of IPv6 may be longer than what an IPv4 packet holds: it is alone then.
            first.max(SEND_BYTES_MAX)
        } else if self.closed || first > self.segment || self.kept.as_ref() != Some(kept) {
            return None;
        } else {
            SEND_BYTES_MAX.saturating_sub(self.bytes)
        };
        if first == 0 {
            // No cut makes an empty datagram, so it is alone.
            return (self.count == 0).then(|| self.push(payload, 1, true));
        }
        let count = if first < self.segment || payload.len() == first {
            usize::from(first <= room)
        } else {
            (room / first).min(payload.len().div_ceil(first))
        };
        let count = count.min(SEGMENTS_MAX - self.count);
        let bytes = payload.len().min(count * first);
        (count > 0).then(|| self.push(payload.part(0, bytes), count, bytes < count * self.segment))
    }

    fn push(&mut self, part: Span, count: usize, closed: bool) -> usize {
        self.spans.push(part);
        self.bytes += part.len();
        self.count += count;
        self.closed = closed;
        part.len()
    }

    /// What its datagrams' headers have in common; absent while it is empty.
    pub fn kept(&self) -> Option<&Kept> {
        self.kept.as_ref()
    }

    /// Number of datagrams, at most [`SEGMENTS_MAX`].
    pub fn count(&self) -> usize {
        self.count
    }

    /// Payload bytes of the longest.
    pub fn segment(&self) -> usize {
        self.segment
    }

    /// Payload bytes of each of these datagrams but the last, for the kernel to cut them by; absent where it is one.
    pub fn segment_of(&self, part: &Range<usize>) -> Option<u16> {
        if part.len() > 1 { u16::try_from(self.segment).ok() } else { None }
    }

    /// Where in all payloads, one behind the other, those of some datagrams are.
    pub fn bytes(&self, part: &Range<usize>) -> Range<usize> {
        (part.start * self.segment).min(self.bytes)..(part.end * self.segment).min(self.bytes)
    }

    /// The payloads, each span those of one datagram or of a super-frame.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Bytes to be copied to have them in one piece.
    pub fn gathered_bytes(&self) -> usize {
        if self.spans.len() > 1 { self.bytes } else { 0 }
    }

    /// Empties it, keeping its memory.
    pub fn clear(&mut self) {
        (self.kept, self.bytes, self.count, self.closed) = (None, 0, 0, false);
        self.spans.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(ttl: u8) -> Kept {
        Kept { source: None, source_port: 0, destination_port: 0, ttl, traffic_class: 0 }
    }

    /// How many of these single datagrams one batch takes.
    fn taken(lengths: &[u32]) -> usize {
        let mut batch = Batch::default();
        let takes = |length: &u32| batch.take(&kept(64), Span::of_length(*length), usize::MAX).is_some();
        lengths.iter().map(takes).take_while(|taken| *taken).count()
    }

    #[test]
    fn what_the_kernel_can_cut_apart_again_goes_together() {
        assert_eq!(taken(&[100, 100, 100]), 3);
        assert_eq!(taken(&[100, 60, 100]), 2, "a shorter one is the last");
        assert_eq!(taken(&[100, 60, 60]), 2, "also before one of its own length");
        assert_eq!(taken(&[100, 101]), 1, "a longer one does not join");
        assert_eq!(taken(&[100, 0]), 1, "no cut makes an empty one");
        assert_eq!(taken(&[0, 0]), 1, "nor two of them");
        assert_eq!(taken(&[10; 100]), 64, "the kernel's limit of datagrams");
        assert_eq!(taken(&[1400; 64]), 46, "the limit of an IP packet");
        assert_eq!(taken(&[65_527, 65_527]), 1, "longer than that is alone");
    }

    #[test]
    fn other_headers_do_not_join() {
        let mut batch = Batch::default();
        let one = Span::of_length(10);
        assert_eq!(batch.take(&kept(64), one, usize::MAX), Some(10));
        assert_eq!(batch.take(&kept(63), one, usize::MAX), None);
        batch.clear();
        assert_eq!(batch.take(&kept(63), one, usize::MAX), Some(10));
    }

    /// A super-frame is taken in as few batches as its datagrams need, cut between them.
    #[test]
    fn super_frames_are_taken_whole_as_far_as_they_fit() {
        let batches = |before: u32, payload: u32, segment: usize| {
            let (mut batch, mut payload, mut counts) =
                (Batch::default(), Span::of_length(payload), Vec::new());
            if before > 0 {
                batch.take(&kept(1), Span::of_length(before), usize::MAX).unwrap();
            }
            while !payload.is_empty() {
                match batch.take(&kept(1), payload, segment) {
                    Some(bytes) => payload = payload.part(bytes, payload.len() - bytes),
                    None => {
                        counts.push(batch.count());
                        batch.clear();
                    }
                }
            }
            counts.push(batch.count());
            counts
        };
        assert_eq!(batches(0, 46 * 1400, 1400), [46]);
        assert_eq!(batches(1400, 46 * 1400, 1400), [46, 1]);
        assert_eq!(batches(0, 1400 * 2 + 7, 1400), [3]);
        assert_eq!(batches(7, 1400 * 2, 1400), [1, 2]);
        assert_eq!(batches(2000, 1400 * 2, 1400), [2, 1], "a shorter one is the last");
        assert_eq!(batches(0, 128 * 10, 10), [64, 64]);
        assert_eq!(batches(10, 128 * 10 - 3, 10), [64, 64, 1]);
    }

    #[test]
    fn parts_are_those_of_their_datagrams() {
        let mut batch = Batch::default();
        batch.take(&kept(1), Span::of_length(100), usize::MAX);
        batch.take(&kept(1), Span::of_length(250), 100);
        assert_eq!(batch.count(), 4);
        assert_eq!(
            [0..1, 1..3, 3..4, 0..4].map(|part| batch.bytes(&part)),
            [0..100, 100..300, 300..350, 0..350]
        );
    }

    #[test]
    fn only_what_some_leg_keeps_tells_datagrams_apart() {
        let leg = LegEntry {
            slot: 1,
            socket: 1,
            address: "239.2.2.2".parse().unwrap(),
            port: Some(6000),
            ifindex: Some(2),
            source: SourceChoice::Kernel,
            from: None,
            sport: Some(4000),
            ttl: Some(64),
            dscp: Some(34),
            batch: None,
            mtu: 1500,
            frames: None,
        };
        let datagram = Datagram {
            source: "10.0.0.1".parse().unwrap(),
            destination: "239.1.1.1".parse().unwrap(),
            source_port: 7,
            destination_port: 8,
            ttl: 9,
            traffic_class: 0xb9,
            payload: b"x",
        };
        let nothing = Keeps::of(std::slice::from_ref(&leg));
        assert_eq!(nothing.of_datagram(&datagram), Kept { traffic_class: 0x01, ..kept(0) }, "ECN always");
        let all = [
            LegEntry { source: SourceChoice::Keep, ttl: None, ..leg.clone() },
            LegEntry { sport: None, port: None, dscp: None, ..leg },
        ];
        let (source, source_port, destination_port) = (Some(datagram.source), 7, 8);
        let everything = Kept { source, source_port, destination_port, ttl: 9, traffic_class: 0xb9 };
        assert_eq!(Keeps::of(&all).of_datagram(&datagram), everything);
    }
}
