//! Reading a packet socket's ring, frame by frame, without copying.
//!
//! [`Ring::receive`] hands out frames as [`Span`]s that stay readable until [`Ring::release`] gives their
//! slots back to the kernel. Frames longer than a slot (jumbo frames, and the super-frames of a local or
//! virtual sender) are fetched whole from the socket's queue, in order with the others. What its reader puts together
//! from several frames is kept beside them until then, and is a span like theirs.
#![expect(unsafe_code, reason = "slots are read in memory shared with the kernel")]

use std::io;
use std::mem::{offset_of, size_of};
use std::num::NonZeroU16;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::time::Duration;

use mcast::wire::ChecksumTrust;
use mcast::wire::fragment::LENGTH_MAX;
use rustix::net::{RecvFlags, recv};

use super::mapping::Mapping;
use super::packet::SLOT_BYTES;
use crate::vnet;

/// Super-frames held at a time; when all are in use, the next waits for [`Ring::release`].
const LONG_FRAMES: usize = 16;

/// Bytes kept for one: the largest IP packet with its link header and `virtio_net_hdr`.
const LONG_FRAME_BYTES: usize = 65_536 + 128;

/// Bytes for what is put together from several frames: four datagrams of the greatest length between two releases.
pub const ASSEMBLED_BYTES: usize = 4 * LENGTH_MAX;

/// Offset of `struct sockaddr_ll` in a slot: after the header, aligned as `TPACKET_ALIGN` does.
const ADDRESS_OFFSET: usize = size_of::<libc::tpacket2_hdr>().next_multiple_of(16);

/// The VLAN identifier in a tag's control information (IEEE 802.1Q, 9.6).
const VLAN_ID_MASK: u16 = 0x0fff;

/// How far ahead a slot's headers are asked for: the kernel has written them on another core.
const PREFETCH_SLOTS: u32 = 3;

/// Cache lines of a slot that hold its headers, the ring's and the packet's.
const PREFETCH_LINES: [usize; 3] = [0, 64, 128];

/// How many leading bytes tell a queued long frame from another: link, IP and UDP headers.
const IDENTITY_BYTES: usize = 64;

/// Bytes received and not yet released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    offset: u32,
    len: u32,
}

impl Span {
    #[cfg(test)]
    pub(crate) fn of_length(len: u32) -> Self {
        Self { offset: 0, len }
    }

    /// Length in bytes.
    pub fn len(self) -> usize {
        self.len as usize
    }

    /// Whether it is empty.
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// The part of it at `offset`, `len` bytes long. Panics where it does not reach so far.
    pub fn part(self, offset: usize, len: usize) -> Self {
        assert!(offset <= self.len() && len <= self.len() - offset, "part of a span beyond its end");
        // Both fit: they are at most self.len.
        Self { offset: self.offset + offset as u32, len: len as u32 }
    }
}

/// To whom the link layer addressed a frame, in the words of packet(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkTarget {
    /// This host, a group or all.
    Us,
    /// Another host; seen because the interface is promiscuous, or with a VLAN tag of no interface.
    OtherHost,
    /// Sent by this host and looped back.
    Own,
}

/// A frame as received.
#[derive(Debug, Clone, Copy)]
pub struct Frame {
    /// Ingress interface.
    pub ifindex: u32,
    /// To whom the link layer addressed it.
    pub target: LinkTarget,
    /// What the kernel knows of its checksums.
    pub checksum: ChecksumTrust,
    /// Payload bytes of each datagram, where this is a super-frame of several.
    pub segment: Option<NonZeroU16>,
    /// The packet from its IP header on, link-layer padding included.
    pub packet: Span,
}

/// What the kernel has read of a frame's link header. Of a frame with several VLAN tags it has taken off the outermost;
/// the others are the first bytes of what [`Frame::packet`] spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkHeader {
    /// VLAN identifier of the tag that was taken off, 0 to 4095; absent: there was none.
    pub vlan: Option<u16>,
    /// EtherType of what follows.
    pub ether_type: u16,
}

/// What [`Ring::receive`] found.
#[derive(Debug, Clone, Copy)]
pub enum Arrival {
    /// A frame.
    Frame(Frame),
    /// A frame longer than a slot for which the socket's queue had no room: its bytes are lost.
    Truncated,
}

/// The reading side of a ring.
#[derive(Debug)]
pub struct Ring {
    fd: OwnedFd,
    map: Mapping,
    slots: u32,
    /// The next slot to read.
    next: u32,
    /// Slots read and not released: those before `next`.
    held: u32,
    /// Long frames, and behind them what was put together.
    long: Box<[u8]>,
    long_used: usize,
    assembled: usize,
    /// A long frame fetched from the queue for a slot that is still to come.
    early: Option<usize>,
}

impl Ring {
    /// Maps the ring of `ring_bytes` behind a packet socket, to be read from slot `next` on (0 for a fresh
    /// ring; a successor goes on where [`Ring::position`] stood at the last release).
    pub fn map(fd: OwnedFd, ring_bytes: usize, next: u32) -> io::Result<Self> {
        let slots = u32::try_from(ring_bytes / SLOT_BYTES)
            .ok()
            .filter(|&n| n > 0)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not the size of a ring"))?;
        let map = Mapping::new(&fd, ring_bytes)?;
        let long = vec![0; LONG_FRAMES * LONG_FRAME_BYTES + ASSEMBLED_BYTES].into_boxed_slice();
        let next = next % slots;
        Ok(Self { fd, map, slots, next, held: 0, long, long_used: 0, assembled: 0, early: None })
    }

    /// The next frame, if one is there and can be held.
    pub fn receive(&mut self) -> Option<Arrival> {
        if self.held == self.slots {
            return None;
        }
        let slot = self.next as usize * SLOT_BYTES;
        let status = self.map.atomic_u32(slot).load(Ordering::Acquire);
        if status & libc::TP_STATUS_USER == 0 {
            return None;
        }
        let ahead = (self.next + PREFETCH_SLOTS) % self.slots;
        PREFETCH_LINES.iter().for_each(|line| self.map.prefetch(ahead as usize * SLOT_BYTES + line));
        let arrival = if status & libc::TP_STATUS_COPY == 0 {
            self.short_frame(slot, status)
        } else {
            self.long_frame(slot, status)?
        };
        self.next = (self.next + 1) % self.slots;
        self.held += 1;
        Some(arrival)
    }

    /// The bytes of a span taken from this ring since the last release. Panics on any other beyond the ring.
    pub fn bytes(&self, span: Span) -> &[u8] {
        let offset = span.offset as usize;
        match offset.checked_sub(self.map.len()) {
            // SAFETY: spans are made for slots the kernel has handed over, which it does not write until
            // `release`; that takes `&mut self`, so no slice handed out here outlives it.
            None => unsafe { self.map.bytes(offset, span.len()) },
            Some(long) => &self.long[long..long + span.len()],
        }
    }

    /// Room for one thing more to be put together; `None` where that must wait for [`Ring::release`].
    pub fn room(&mut self) -> Option<&mut [u8; LENGTH_MAX]> {
        let start = LONG_FRAMES * LONG_FRAME_BYTES + self.assembled;
        self.long.get_mut(start..).and_then(|room| room.first_chunk_mut())
    }

    /// Whether [`Ring::room`] has any.
    pub fn has_room(&self) -> bool {
        self.assembled <= ASSEMBLED_BYTES - LENGTH_MAX
    }

    /// Keeps the first `len` bytes of [`Ring::room`] until the next release. Panics beyond it.
    pub fn keep(&mut self, len: usize) -> Span {
        assert!(len <= ASSEMBLED_BYTES - self.assembled, "{len} bytes kept beyond the room for them");
        let offset = self.map.len() + LONG_FRAMES * LONG_FRAME_BYTES + self.assembled;
        self.assembled += len;
        Span { offset: offset as u32, len: len as u32 }
    }

    /// Gives all frames received back to the kernel.
    pub fn release(&mut self) {
        let first = (self.next + self.slots - self.held) % self.slots;
        for i in 0..self.held {
            let slot = ((first + i) % self.slots) as usize * SLOT_BYTES;
            self.map.atomic_u32(slot).store(libc::TP_STATUS_KERNEL, Ordering::Release);
        }
        self.held = 0;
        self.long_used = 0;
        self.assembled = 0;
        if let Some(early) = self.early.take() {
            self.long.copy_within(early..early + LONG_FRAME_BYTES, 0);
            self.early = Some(0);
            self.long_used = 1;
        }
    }

    /// Gives back the slots from the one the next frame arrives in up to `next`, unread: what a predecessor had
    /// relayed and not released when it died.
    pub fn skip_to(&mut self, next: u32) {
        let next = next % self.slots;
        self.held = (next + self.slots - self.next) % self.slots;
        self.next = next;
        self.release();
    }

    /// Whether no frame waits to be received. Meaningful after a [`Ring::release`].
    pub fn is_empty(&self) -> bool {
        let slot = self.next as usize * SLOT_BYTES;
        self.map.atomic_u32(slot).load(Ordering::Acquire) & libc::TP_STATUS_USER == 0
    }

    /// How many frames it can hold.
    pub fn slots(&self) -> usize {
        self.slots as usize
    }

    /// The slot the next frame arrives in.
    pub fn position(&self) -> u32 {
        self.next
    }

    /// When the last frame received arrived, on `CLOCK_REALTIME` since its epoch. Meaningful from the first
    /// [`Ring::receive`] that found a frame until the next [`Ring::release`].
    pub fn arrived(&self) -> Duration {
        let last = (self.next + self.slots - 1) % self.slots;
        let header = self.header(last as usize * SLOT_BYTES);
        Duration::new(header.tp_sec.into(), header.tp_nsec)
    }

    /// The link header of the last frame received. Meaningful as long as [`Ring::arrived`] is.
    pub fn link_header(&self) -> LinkHeader {
        let slot = ((self.next + self.slots - 1) % self.slots) as usize * SLOT_BYTES;
        let header = self.header(slot);
        let tagged = header.tp_status & libc::TP_STATUS_VLAN_VALID != 0;
        let at = offset_of!(libc::sockaddr_ll, sll_protocol);
        let address = self.link_address(slot);
        LinkHeader {
            vlan: tagged.then_some(header.tp_vlan_tci & VLAN_ID_MASK),
            ether_type: u16::from_be_bytes([address[at], address[at + 1]]),
        }
    }

    fn header(&self, slot: usize) -> libc::tpacket2_hdr {
        // SAFETY: the slot's status said USER, so the kernel does not write it now.
        let bytes = unsafe { self.map.bytes(slot, size_of::<libc::tpacket2_hdr>()) };
        // SAFETY: the slice has the size of the structure, for which every bit pattern is valid.
        unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast()) }
    }

    /// The slot's `sockaddr_ll`.
    fn link_address(&self, slot: usize) -> &[u8] {
        // SAFETY: as in `header`.
        unsafe { self.map.bytes(slot + ADDRESS_OFFSET, size_of::<libc::sockaddr_ll>()) }
    }

    /// Ingress interface and link target of a slot.
    fn link(&self, slot: usize) -> (u32, LinkTarget) {
        let address = self.link_address(slot);
        let at = offset_of!(libc::sockaddr_ll, sll_ifindex);
        let ifindex = u32::from_ne_bytes([address[at], address[at + 1], address[at + 2], address[at + 3]]);
        let target = match address[offset_of!(libc::sockaddr_ll, sll_pkttype)] {
            libc::PACKET_OTHERHOST => LinkTarget::OtherHost,
            libc::PACKET_OUTGOING | libc::PACKET_LOOPBACK => LinkTarget::Own,
            _ => LinkTarget::Us,
        };
        (ifindex, target)
    }

    fn short_frame(&self, slot: usize, status: u32) -> Arrival {
        let header = self.header(slot);
        let (mac, net) = (usize::from(header.tp_mac), usize::from(header.tp_net));
        if header.tp_snaplen != header.tp_len || net < mac {
            return Arrival::Truncated;
        }
        let len = (header.tp_snaplen as usize).saturating_sub(net - mac);
        let packet = Span { offset: (slot + net) as u32, len: len as u32 };
        let header = Span { offset: (slot + mac - vnet::LEN) as u32, len: vnet::LEN as u32 };
        let segment = vnet::segment(self.bytes(header));
        let (ifindex, target) = self.link(slot);
        Arrival::Frame(Frame { ifindex, target, checksum: trust(status), segment, packet })
    }

    /// A frame longer than its slot. `None`: it must wait for a release.
    fn long_frame(&mut self, slot: usize, status: u32) -> Option<Arrival> {
        let header = self.header(slot);
        let (mac, net) = (usize::from(header.tp_mac), usize::from(header.tp_net));
        let vnet = slot + mac - vnet::LEN;
        let in_slot = vnet::LEN + (header.tp_snaplen as usize).min(IDENTITY_BYTES);
        let identity = Span { offset: vnet as u32, len: in_slot as u32 };
        let udp = vnet::is_udp_or_plain(self.bytes(identity));
        let buffer = match self.early.take() {
            Some(buffer) => buffer,
            None if !udp => {
                // No datagram of ours: taken off the queue, not copied.
                let mut scrap = [0; vnet::LEN];
                let _ = recv(&self.fd, &mut scrap[..], RecvFlags::DONTWAIT | RecvFlags::TRUNC);
                let (ifindex, target) = self.link(slot);
                let len = (header.tp_snaplen as usize).saturating_sub(net - mac);
                let packet = Span { offset: (slot + net) as u32, len: len as u32 };
                let checksum = trust(status);
                return Some(Arrival::Frame(Frame { ifindex, target, checksum, segment: None, packet }));
            }
            None if self.long_used == LONG_FRAMES => return None,
            None => {
                let buffer = self.long_used * LONG_FRAME_BYTES;
                let into = &mut self.long[buffer..buffer + LONG_FRAME_BYTES];
                if recv(&self.fd, into, RecvFlags::DONTWAIT | RecvFlags::TRUNC).is_err() {
                    return Some(Arrival::Truncated);
                }
                self.long_used += 1;
                buffer
            }
        };
        // A predecessor that died between fetching and releasing leaves slots whose frame is gone from the
        // queue: the queue is then ahead of the ring, and what was fetched belongs to a later slot.
        if self.bytes(identity) != &self.long[buffer..buffer + in_slot] {
            self.early = Some(buffer);
            return Some(Arrival::Truncated);
        }
        let base = self.map.len() + buffer;
        let segment = vnet::segment(&self.long[buffer..buffer + vnet::LEN]);
        let link_bytes = vnet::LEN + net - mac;
        let len = (header.tp_len as usize).min(LONG_FRAME_BYTES - vnet::LEN) - (net - mac);
        let packet = Span { offset: (base + link_bytes) as u32, len: len as u32 };
        let (ifindex, target) = self.link(slot);
        Some(Arrival::Frame(Frame { ifindex, target, checksum: trust(status), segment, packet }))
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn trust(status: u32) -> ChecksumTrust {
    if status & libc::TP_STATUS_CSUMNOTREADY != 0 {
        ChecksumTrust::Partial
    } else if status & libc::TP_STATUS_CSUM_VALID != 0 {
        ChecksumTrust::Trusted
    } else {
        ChecksumTrust::Verify
    }
}
