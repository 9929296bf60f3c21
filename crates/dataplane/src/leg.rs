//! One leg: the headers its datagrams get, its batch, and what the kernel answers to a send.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::AsFd;

use mcast::wire::Datagram;

use crate::batch::{Batch, SEGMENTS_MAX};
use crate::counters::{LegCounter, WorkerCounter};
use crate::envelope::Envelope;
use crate::legs::Egress;
use crate::raw;
use crate::round::Round;
use crate::sys::error_queue::take_returned;
use crate::sys::ring::Span;
use crate::table::{LegEntry, SourceChoice};

/// The low bits of TOS and traffic class (RFC 3168, section 5): kept as they come.
const ECN_MASK: u8 = 0b11;

/// Single datagrams after which a leg that gave segments up tries them again: what refused them, as an MTU that dipped,
/// may be over without a new table. A refusal costs one system call and no datagram.
const SINGLES_BEFORE_RETRY: u32 = 1 << 12;

/// A leg with what waits to be sent on it.
#[derive(Debug)]
pub struct Leg {
    entry: LegEntry,
    /// Largest payload that leaves unfragmented.
    whole_bytes: usize,
    /// Whether segmented sends work: the device or path may refuse them.
    segments: bool,
    /// Datagrams sent singly since they were refused.
    singles: u32,
    /// Identification of the next datagram that is fragmented here, not by the kernel.
    identification: u32,
    /// What waits; present from the first datagram to the end of the round.
    pub batch: Option<Batch>,
}

impl Leg {
    /// A leg with nothing to send.
    pub fn new(entry: LegEntry) -> Self {
        let headers = if entry.address.is_ipv4() { 20 + 8 } else { 40 + 8 };
        let whole_bytes = (entry.mtu as usize).saturating_sub(headers);
        Self { entry, whole_bytes, segments: true, singles: 0, identification: 0, batch: None }
    }

    /// Its slot among the counters.
    pub fn slot(&self) -> u32 {
        self.entry.slot
    }

    /// The headers a datagram gets here; none where its TTL is used up.
    pub fn envelope(&self, datagram: &Datagram<'_>) -> Option<Envelope> {
        let ttl = match self.entry.ttl {
            Some(ttl) => ttl,
            None => datagram.ttl.checked_sub(1).filter(|&ttl| ttl > 0)?,
        };
        let traffic_class = match self.entry.dscp {
            Some(dscp) => dscp << 2 | datagram.traffic_class & ECN_MASK,
            None => datagram.traffic_class,
        };
        let port = self.entry.port.unwrap_or(datagram.destination_port);
        let source = match self.entry.source {
            SourceChoice::Kernel => None,
            SourceChoice::Keep => Some(datagram.source),
            SourceChoice::Address(source) => Some(source),
        };
        let destination = SocketAddr::new(self.entry.address, port);
        let source_port = self.entry.keeps_port.then_some(datagram.source_port);
        Some(Envelope { destination, ifindex: self.entry.ifindex, source, source_port, ttl, traffic_class })
    }

    /// Queues a datagram, sending first what it cannot join.
    pub fn append(
        &mut self,
        envelope: Envelope,
        payload: Span,
        number: u16,
        round: &mut Round,
        egress: Egress<'_>,
    ) {
        let most = if self.segments && !self.entry.keeps_port && payload.len() <= self.whole_bytes {
            self.entry.batch.map_or(SEGMENTS_MAX, usize::from).min(SEGMENTS_MAX)
        } else {
            1
        };
        if !self.batch.get_or_insert_default().admits(&envelope, payload.len(), most) {
            self.flush(round, egress);
        }
        let batch = self.batch.get_or_insert_default();
        batch.append(envelope, payload, number);
        if most == 1 {
            // A shorter one behind it would make it a segment, which may not exceed the MTU.
            batch.close();
        }
    }

    /// Sends what waits and counts the outcome.
    pub fn flush(&mut self, round: &mut Round, egress: Egress<'_>) {
        let Some(mut batch) = self.batch.take() else { return };
        let all = 0..batch.spans().len();
        if !self.segments {
            self.singles += 1;
            self.segments = self.singles >= SINGLES_BEFORE_RETRY;
        }
        self.identification = self.identification.wrapping_add(1);
        match self.send(&batch, all.clone(), egress) {
            Ok(()) => {
                if all.len() > 1 {
                    // It may be set still from a table before this one.
                    egress.counters.set_leg(self.entry.slot, LegCounter::GsoOff, 0);
                }
                self.took(&batch, all, round, egress);
            }
            Err(error) if all.len() > 1 && refuses_segments(&error) => {
                self.send_apart(&batch, round, egress);
            }
            Err(error) => self.refused(all.len(), &error, egress),
        }
        batch.clear();
        self.batch = Some(batch);
    }

    /// One by one, where a segmented send was refused; if that works, segments are given up.
    fn send_apart(&mut self, batch: &Batch, round: &mut Round, egress: Egress<'_>) {
        for at in 0..batch.spans().len() {
            match self.send(batch, at..at + 1, egress) {
                Ok(()) => {
                    self.took(batch, at..at + 1, round, egress);
                    (self.segments, self.singles) = (false, 0);
                    egress.counters.set_leg(self.entry.slot, LegCounter::GsoOff, 1);
                }
                Err(error) => self.refused(1, &error, egress),
            }
        }
    }

    fn send(&self, batch: &Batch, part: Range<usize>, egress: Egress<'_>) -> io::Result<()> {
        let Some(envelope) = batch.envelope() else { return Ok(()) };
        // Kept from a host that has no address yet: the kernel would put in its own, beside our checksum.
        if envelope.source.is_some_and(|source| source.is_unspecified()) {
            return Err(io::Error::from_raw_os_error(libc::EADDRNOTAVAIL));
        }
        let Some(socket) = egress.sockets.get(&self.entry.socket) else {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        };
        let mut slices = [IoSlice::new(&[]); SEGMENTS_MAX];
        let spans = &batch.spans()[part.clone()];
        for (slice, span) in slices.iter_mut().zip(spans) {
            *slice = IoSlice::new(egress.ring.bytes(*span));
        }
        let segment = batch.segment_of(&part);
        let send = || match spans {
            [only] if self.entry.keeps_port => {
                let mtu = self.entry.mtu as usize;
                raw::send(&envelope, socket.as_fd(), egress.ring.bytes(*only), mtu, self.identification)
            }
            _ => envelope.send(socket.as_fd(), &slices[..spans.len()], segment).map(drop),
        };
        match send() {
            Ok(()) => Ok(()),
            Err(error) if is_for_want_of_room(&error) => Err(error),
            // The socket is shared by legs, and an ICMP error that came back for any of them is reported
            // once, by whichever send comes next, which is then not carried out.
            Err(_) => {
                while let Some(returned) = take_returned(socket.as_fd()) {
                    if let Some(slot) = egress.hosts.slot(returned.destination) {
                        egress.counters.add_leg(slot, LegCounter::Unreachable, 1);
                        let errno = returned.errno.unsigned_abs().into();
                        egress.counters.set_leg(slot, LegCounter::LastError, errno);
                    }
                }
                send()
            }
        }
    }

    fn took(&self, batch: &Batch, part: Range<usize>, round: &mut Round, egress: Egress<'_>) {
        let counters = egress.counters;
        let count = part.len() as u64;
        let bytes: usize = batch.spans()[part.clone()].iter().map(|span| span.len()).sum();
        batch.numbers()[part].iter().for_each(|&number| round.taken(number));
        counters.add_worker(WorkerCounter::Submitted, count);
        for (leg, worker, n) in [
            (LegCounter::Sent, WorkerCounter::Sent, count),
            (LegCounter::Bytes, WorkerCounter::Bytes, bytes as u64),
        ] {
            counters.add_leg(self.entry.slot, leg, n);
            counters.add_worker(worker, n);
        }
    }

    fn refused(&self, count: usize, error: &io::Error, egress: Egress<'_>) {
        let (counters, slot, count) = (egress.counters, self.entry.slot, count as u64);
        counters.add_leg(slot, LegCounter::Errors, count);
        counters.add_worker(WorkerCounter::Submitted, count);
        counters.add_worker(WorkerCounter::Errors, count);
        let errno = error.raw_os_error().unwrap_or(libc::EIO).unsigned_abs().into();
        counters.set_leg(slot, LegCounter::LastError, errno);
    }
}

/// The kernel had no room: a full qdisc or send buffer. Trying again at once would find none either.
fn is_for_want_of_room(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM))
}

/// What a device without checksum offload (EIO), IPsec (EIO) or a smaller path MTU (EINVAL, EMSGSIZE)
/// answers to a segmented send.
fn refuses_segments(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EIO | libc::EINVAL | libc::EMSGSIZE))
}
