//! One leg: the headers its datagrams get, and what the kernel answers to a send.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustc_hash::FxHashMap;

use crate::batch::{Batch, ECN_MASK, SEGMENTS_MAX};
use crate::counters::{Counters, LegCounter, WorkerCounter};
use crate::envelope::Envelope;
use crate::frame::{Head, Run};
use crate::hosts::Hosts;
use crate::raw::{self, Identifications};
use crate::sys::ring::Ring;
use crate::table::{FramesEntry, LegEntry, SourceChoice};

/// Single datagrams after which a leg that gave segments up tries them again: what refused them, as an MTU that dipped,
/// may be over without a new table. A refusal costs one system call and no datagram.
const SINGLES_BEFORE_RETRY: usize = 1 << 12;

/// Sends of one burst that ICMP errors may keep from being carried out before it counts as refused.
const RETURNED_MAX: usize = 64;

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
    /// For datagrams that are fragmented here, not by the kernel.
    pub identifications: &'a Identifications,
}

impl<'a> Egress<'a> {
    /// The socket of that number.
    ///
    /// # Errors
    /// `EBADF` where there is none.
    pub fn socket(self, number: u32) -> io::Result<BorrowedFd<'a>> {
        let socket = self.sockets.get(&number).map(OwnedFd::as_fd);
        socket.ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))
    }
}

/// A part of a batch that leaves at once.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// The batch.
    pub batch: &'a Batch,
    /// The payloads of all of it, one behind the other.
    pub payloads: &'a [u8],
    /// Which of its datagrams.
    pub range: &'a Range<usize>,
}

impl Part<'_> {
    fn payload(&self) -> &[u8] {
        &self.payloads[self.batch.bytes(self.range)]
    }
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

/// How a batch leaves by a leg.
#[derive(Debug)]
pub enum Way {
    /// Cut by the kernel.
    Bursts(Bursts),
    /// Each datagram by itself, under headers made here.
    Apart,
    /// Not: its source is no address to send from.
    Refused,
    /// Not: its TTL is used up.
    Expired,
}

/// Sends of several datagrams each.
#[derive(Debug)]
pub struct Bursts {
    /// The headers of all of them.
    pub envelope: Envelope,
    /// The hardware address they leave from, as whole frames; absent: as datagrams.
    pub link: Option<[u8; 6]>,
    /// Number of the socket.
    pub socket: u32,
    /// Most datagrams in each, at least 1.
    pub most: usize,
}

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
}

impl Leg {
    /// A leg as the table has it.
    pub fn new(entry: LegEntry) -> Self {
        Self { whole_bytes: whole_bytes(&entry), entry, segments: true, singles: 0 }
    }

    /// The headers datagrams get here; none where their TTL is used up.
    fn envelope(&self, batch: &Batch) -> Option<Envelope> {
        let kept = batch.kept()?;
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
        let source_port = match self.entry.frames {
            Some(_) => Some(self.entry.sport.unwrap_or(kept.source_port)),
            None => self.entry.keeps_port().then_some(kept.source_port),
        };
        Some(Envelope { destination, ifindex: self.entry.ifindex, source, source_port, ttl, traffic_class })
    }

    /// How a batch leaves here; what is known to fail is counted.
    pub fn way(&mut self, batch: &Batch, egress: Egress<'_>) -> Way {
        let Some(envelope) = self.envelope(batch) else {
            egress.counters.add_leg(self.entry.slot, LegCounter::Ttl, batch.count() as u64);
            return Way::Expired;
        };
        // Kept from a host that has no address yet: the kernel would put in its own, in raw packets beside our checksum.
        if envelope.source.is_some_and(|source| source.is_unspecified()) {
            self.refused(batch.count(), &io::Error::from_raw_os_error(libc::EADDRNOTAVAIL), egress);
            return Way::Refused;
        }
        let frames = self.frames(batch);
        if frames.is_none() && self.entry.keeps_port() {
            return Way::Apart;
        }
        if !self.segments {
            self.singles += batch.count();
            self.segments = self.singles >= SINGLES_BEFORE_RETRY;
        }
        // One longer than the MTU leaves alone, to be fragmented; a segment may not exceed the MTU.
        let most = if self.segments && batch.segment() <= self.whole_bytes {
            self.entry.batch.map_or(SEGMENTS_MAX, usize::from).clamp(1, SEGMENTS_MAX)
        } else {
            1
        };
        let link = frames.map(|frames| frames.link);
        let socket = frames.map_or(self.entry.socket, |frames| frames.socket);
        Way::Bursts(Bursts { envelope, link, socket, most })
    }

    /// Whether it sends frames where it can.
    pub fn takes_frames(&self) -> bool {
        self.entry.frames.is_some()
    }

    /// How a batch leaves as frames; absent: it does not, as where its datagrams have to be fragmented.
    fn frames(&self, batch: &Batch) -> Option<FramesEntry> {
        self.entry.frames.filter(|_| batch.segment() <= self.whole_bytes)
    }

    /// Counts a part of a batch as sent.
    pub fn took(&self, batch: &Batch, part: &Range<usize>, egress: Egress<'_>) -> Taken {
        let (counters, count, bytes) = (egress.counters, part.len() as u64, batch.bytes(part).len() as u64);
        counters.add_worker(WorkerCounter::Submitted, count);
        for (leg, worker, n) in
            [(LegCounter::Sent, WorkerCounter::Sent, count), (LegCounter::Bytes, WorkerCounter::Bytes, bytes)]
        {
            counters.add_leg(self.entry.slot, leg, n);
            counters.add_worker(worker, n);
        }
        if count > 1 {
            // It may be set still from a table before this one.
            counters.set_leg(self.entry.slot, LegCounter::GsoOff, 0);
        }
        Taken::part(part)
    }

    /// Sends a part of which the kernel took nothing, as far as that may help, and counts the outcome.
    pub fn failed(&mut self, error: io::Error, part: Part<'_>, egress: Egress<'_>) -> Taken {
        if self.frames(part.batch).is_none() {
            return self.datagrams_failed(error, part, egress);
        }
        if part.range.len() > 1 && refuses_segments(&error) {
            return self.unsegmented(part, egress);
        }
        // The device's MTU is smaller than that of the table, so it has to be fragmented.
        if error.raw_os_error() == Some(libc::EMSGSIZE) {
            return match self.submit_datagrams(part, egress) {
                Ok(()) => self.took(part.batch, part.range, egress),
                Err(error) => self.datagrams_failed(error, part, egress),
            };
        }
        self.refused(part.range.len(), &error, egress)
    }

    /// The same of what did not leave as frames.
    fn datagrams_failed(&mut self, error: io::Error, part: Part<'_>, egress: Egress<'_>) -> Taken {
        let mut error = error;
        // The socket is shared by legs, and each ICMP error that came back for any of them is reported once, by
        // whichever send comes next, which is then not carried out. It is sent again, and while more of them come again.
        for attempt in 0..RETURNED_MAX {
            if is_for_want_of_room(&error) {
                break;
            }
            let returned = charge_returned(self.entry.socket, egress);
            if returned == 0 && attempt > 0 {
                break;
            }
            error = match self.submit_datagrams(part, egress) {
                Ok(()) => return self.took(part.batch, part.range, egress),
                Err(error) => error,
            };
        }
        if self.cuts_smaller(&error) {
            // Of its own refusal the kernel tells the socket by ICMP as well.
            charge_returned(self.entry.socket, egress);
            if self.submit_datagrams(part, egress).is_ok() {
                return self.took(part.batch, part.range, egress);
            }
        }
        if part.range.len() > 1 && refuses_segments(&error) {
            return self.unsegmented(part, egress);
        }
        self.refused(part.range.len(), &error, egress)
    }

    /// Sends each datagram of a part whose segmented send was refused, and gives such sends up if that helps.
    fn unsegmented(&mut self, part: Part<'_>, egress: Egress<'_>) -> Taken {
        let taken = self.send_apart(part, egress);
        if taken != Taken::default() {
            (self.segments, self.singles) = (false, 0);
            egress.counters.set_leg(self.entry.slot, LegCounter::GsoOff, 1);
        }
        taken
    }

    /// Sends each datagram by itself, and counts the outcome.
    pub fn send_apart(&mut self, part: Part<'_>, egress: Egress<'_>) -> Taken {
        let mut taken = Taken::default();
        for at in part.range.clone() {
            let range = at..at + 1;
            let one = Part { range: &range, ..part };
            taken.0 |= match self.submit(one, egress) {
                Ok(()) => self.took(one.batch, one.range, egress).0,
                Err(error) => self.failed(error, one, egress).0,
            };
        }
        taken
    }

    fn submit(&self, part: Part<'_>, egress: Egress<'_>) -> io::Result<()> {
        let Some(frames) = self.frames(part.batch) else { return self.submit_datagrams(part, egress) };
        let envelope = self.envelope(part.batch).ok_or(io::ErrorKind::InvalidInput)?;
        let run = Run::of(part.batch, part.range, egress.identifications);
        Head::new(frames.link, &envelope, run)?.send(egress.socket(frames.socket)?, part.payload())
    }

    fn submit_datagrams(&self, part: Part<'_>, egress: Egress<'_>) -> io::Result<()> {
        let envelope = self.envelope(part.batch).ok_or(io::ErrorKind::InvalidInput)?;
        let socket = egress.socket(self.entry.socket)?;
        if !self.entry.keeps_port() {
            return envelope.send(socket, part.payload(), part.batch.segment_of(part.range));
        }
        let identification = egress.identifications.draw();
        raw::send(&envelope, socket, part.payload(), self.entry.mtu as usize, identification)
    }

    /// What is fragmented here and was too long for the path is cut to the least MTU of any (RFC 8200, section 5; RFC 791,
    /// section 3.2) from now on, until the next table; answers whether that is news.
    fn cuts_smaller(&mut self, error: &io::Error) -> bool {
        let least = if self.entry.address.is_ipv4() { 576 } else { 1280 };
        let news =
            self.entry.keeps_port() && error.raw_os_error() == Some(libc::EMSGSIZE) && self.entry.mtu > least;
        if news {
            self.entry.mtu = least;
            self.whole_bytes = whole_bytes(&self.entry);
        }
        news
    }

    fn refused(&self, count: usize, error: &io::Error, egress: Egress<'_>) -> Taken {
        let (counters, slot, count) = (egress.counters, self.entry.slot, count as u64);
        counters.add_leg(slot, LegCounter::Errors, count);
        counters.add_worker(WorkerCounter::Submitted, count);
        counters.add_worker(WorkerCounter::Errors, count);
        let errno = error.raw_os_error().unwrap_or(libc::EIO).unsigned_abs().into();
        counters.set_leg(slot, LegCounter::LastError, errno);
        Taken::default()
    }
}

/// Takes the ICMP errors off a socket's error queue and charges the legs they belong to; answers how many they were.
pub fn charge_returned(socket: u32, egress: Egress<'_>) -> usize {
    egress.socket(socket).map_or(0, |fd| egress.hosts.charge(socket, fd, egress.counters))
}

/// Largest payload that leaves unfragmented.
fn whole_bytes(entry: &LegEntry) -> usize {
    let headers = if entry.address.is_ipv4() { 20 + 8 } else { 40 + 8 };
    (entry.mtu as usize).saturating_sub(headers)
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
