//! One leg: the headers its datagrams get, and what the kernel answers to a send.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};

use rustc_hash::FxHashMap;

use crate::batch::{Batch, ECN_MASK, Kept, SEGMENTS_MAX};
use crate::counters::{Counters, LegCounter, WorkerCounter};
use crate::envelope::Envelope;
use crate::hosts::Hosts;
use crate::raw;
use crate::sys::error_queue::take_returned;
use crate::sys::ring::Ring;
use crate::table::{LegEntry, SourceChoice};

/// Single datagrams after which a leg that gave segments up tries them again: what refused them, as an MTU that dipped,
/// may be over without a new table. A refusal costs one system call and no datagram.
const SINGLES_BEFORE_RETRY: usize = 1 << 12;

/// What sending takes, apart from the legs themselves.
#[derive(Debug, Clone, Copy)]
pub struct Egress<'a> {
    /// The ring the payloads are in.
    pub ring: &'a Ring,
    /// Where results are counted.
    pub counters: &'a Counters,
    /// The egress sockets, by the number the supervisor gave them.
    pub sockets: &'a FxHashMap<u32, OwnedFd>,
    /// To whom an ICMP error belongs.
    pub hosts: &'a Hosts,
}

/// Which datagrams of a batch a leg's kernel took, bit by bit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Taken(pub u64);

impl Taken {
    fn part(part: &Range<usize>) -> Self {
        let up_to = |end: usize| if end >= SEGMENTS_MAX { u64::MAX } else { (1 << end) - 1 };
        Self(up_to(part.end) & !up_to(part.start))
    }
}

const _: () = assert!(SEGMENTS_MAX == u64::BITS as usize);

/// A leg.
#[derive(Debug)]
pub struct Leg {
    entry: LegEntry,
    /// Largest payload that leaves unfragmented.
    whole_bytes: usize,
    /// Whether segmented sends work: the device or path may refuse them.
    segments: bool,
    /// Datagrams sent singly since they were refused.
    singles: usize,
    /// Identification of the next datagram that is fragmented here, not by the kernel.
    identification: u32,
}

impl Leg {
    /// A leg as the table has it.
    pub fn new(entry: LegEntry) -> Self {
        let headers = if entry.address.is_ipv4() { 20 + 8 } else { 40 + 8 };
        let whole_bytes = (entry.mtu as usize).saturating_sub(headers);
        Self { entry, whole_bytes, segments: true, singles: 0, identification: 0 }
    }

    /// The headers datagrams get here; none where their TTL is used up.
    fn envelope(&self, kept: &Kept) -> Option<Envelope> {
        let ttl = match self.entry.ttl {
            Some(ttl) => ttl,
            None => kept.ttl.checked_sub(1).filter(|&ttl| ttl > 0)?,
        };
        let traffic_class = match self.entry.dscp {
            Some(dscp) => dscp << 2 | kept.traffic_class & ECN_MASK,
            None => kept.traffic_class,
        };
        let port = self.entry.port.unwrap_or(kept.destination_port);
        let source = match self.entry.source {
            SourceChoice::Kernel => None,
            SourceChoice::Keep => kept.source,
            SourceChoice::Address(source) => Some(source),
        };
        let destination = SocketAddr::new(self.entry.address, port);
        let source_port = self.entry.keeps_port.then_some(kept.source_port);
        Some(Envelope { destination, ifindex: self.entry.ifindex, source, source_port, ttl, traffic_class })
    }

    /// Sends a batch, whose payloads these are, and counts the outcome. `None`: its TTL is used up.
    pub fn send(&mut self, batch: &Batch, payloads: &[u8], egress: Egress<'_>) -> Option<Taken> {
        let kept = batch.kept()?;
        let Some(envelope) = self.envelope(kept) else {
            egress.counters.add_leg(self.entry.slot, LegCounter::Ttl, batch.count() as u64);
            return None;
        };
        if !self.segments {
            self.singles += batch.count();
            self.segments = self.singles >= SINGLES_BEFORE_RETRY;
        }
        let (mut taken, most) = (Taken::default(), self.burst_max(batch));
        for start in (0..batch.count()).step_by(most) {
            let part = start..(start + most).min(batch.count());
            taken.0 |= self.send_part(&envelope, batch, payloads, &part, egress).0;
        }
        Some(taken)
    }

    /// Datagrams of a batch that may leave in one send.
    fn burst_max(&self, batch: &Batch) -> usize {
        // One longer than the MTU leaves alone, to be fragmented; a segment may not exceed the MTU.
        if self.segments && !self.entry.keeps_port && batch.segment() <= self.whole_bytes {
            self.entry.batch.map_or(SEGMENTS_MAX, usize::from).clamp(1, SEGMENTS_MAX)
        } else {
            1
        }
    }

    fn send_part(
        &mut self,
        envelope: &Envelope,
        batch: &Batch,
        payloads: &[u8],
        part: &Range<usize>,
        egress: Egress<'_>,
    ) -> Taken {
        let segment = if part.len() > 1 { u16::try_from(batch.segment()).ok() } else { None };
        match self.submit(envelope, &payloads[batch.bytes(part)], segment, egress) {
            Ok(()) => {
                if segment.is_some() {
                    // It may be set still from a table before this one.
                    egress.counters.set_leg(self.entry.slot, LegCounter::GsoOff, 0);
                }
                self.took(part.len(), batch.bytes(part).len(), egress);
                Taken::part(part)
            }
            Err(error) if segment.is_some() && refuses_segments(&error) => {
                self.send_apart(envelope, batch, payloads, part, egress)
            }
            Err(error) => {
                self.refused(part.len(), &error, egress);
                Taken::default()
            }
        }
    }

    /// One by one, where a segmented send was refused; if that works, segments are given up.
    fn send_apart(
        &mut self,
        envelope: &Envelope,
        batch: &Batch,
        payloads: &[u8],
        part: &Range<usize>,
        egress: Egress<'_>,
    ) -> Taken {
        let mut taken = Taken::default();
        for at in part.clone() {
            let one = at..at + 1;
            match self.submit(envelope, &payloads[batch.bytes(&one)], None, egress) {
                Ok(()) => {
                    taken.0 |= Taken::part(&one).0;
                    self.took(1, batch.bytes(&one).len(), egress);
                    (self.segments, self.singles) = (false, 0);
                    egress.counters.set_leg(self.entry.slot, LegCounter::GsoOff, 1);
                }
                Err(error) => self.refused(1, &error, egress),
            }
        }
        taken
    }

    fn submit(
        &mut self,
        envelope: &Envelope,
        payload: &[u8],
        segment: Option<u16>,
        egress: Egress<'_>,
    ) -> io::Result<()> {
        // Kept from a host that has no address yet: the kernel would put in its own, beside our checksum.
        if envelope.source.is_some_and(|source| source.is_unspecified()) {
            return Err(io::Error::from_raw_os_error(libc::EADDRNOTAVAIL));
        }
        let Some(socket) = egress.sockets.get(&self.entry.socket) else {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        };
        self.identification = self.identification.wrapping_add(1);
        let send = || {
            if self.entry.keeps_port {
                let mtu = self.entry.mtu as usize;
                raw::send(envelope, socket.as_fd(), payload, mtu, self.identification)
            } else {
                envelope.send(socket.as_fd(), payload, segment)
            }
        };
        match send() {
            Ok(()) => Ok(()),
            Err(error) if is_for_want_of_room(&error) => Err(error),
            // The socket is shared by legs, and an ICMP error that came back for any of them is reported
            // once, by whichever send comes next, which is then not carried out.
            Err(_) => {
                charge_returned(socket, egress);
                send()
            }
        }
    }

    fn took(&self, count: usize, bytes: usize, egress: Egress<'_>) {
        let (counters, count) = (egress.counters, count as u64);
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

/// Empties a socket's error queue, each error counted on the leg that sends to its destination.
fn charge_returned(socket: &OwnedFd, egress: Egress<'_>) {
    while let Some(returned) = take_returned(socket.as_fd()) {
        if let Some(slot) = egress.hosts.slot(returned.destination) {
            egress.counters.add_leg(slot, LegCounter::Unreachable, 1);
            egress.counters.set_leg(slot, LegCounter::LastError, returned.errno.unsigned_abs().into());
        }
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

#[cfg(test)]
mod tests {
    use super::Taken;

    #[test]
    fn parts_are_bits_in_order() {
        assert_eq!(Taken::part(&(0..1)), Taken(1));
        assert_eq!(Taken::part(&(2..4)), Taken(0b1100));
        assert_eq!(Taken::part(&(0..64)), Taken(u64::MAX));
        assert_eq!(Taken::part(&(63..64)), Taken(1 << 63));
    }
}
