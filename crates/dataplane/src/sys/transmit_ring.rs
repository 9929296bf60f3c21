//! Whole Ethernet frames, many of them with one system call: the transmit ring of packet(7), `PACKET_TX_RING`.
//!
//! A frame that is sent by sendmmsg(2) has a message header, an address and parts to be fetched and checked by the
//! kernel; one in the ring has a length. Each is copied whole at once. Unless told otherwise the kernel refers to the
//! slot, and a virtual device then has to copy it to pages of their own, which costs more than the ring gains.
#![expect(unsafe_code, reason = "slots are written in memory shared with the kernel")]

use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SendFlags, send};
use socket2::Socket;

use super::blast::frame_socket;
use super::mapping::Mapping;
use super::packet::{set, to_u32};
use crate::vnet;

/// Where a slot's frame begins (`TPACKET2_HDRLEN` less the address that only received frames have).
const FRAME_OFFSET: usize = size_of::<libc::tpacket2_hdr>().next_multiple_of(16);

/// Least bytes of the blocks that the kernel allocates.
const BLOCK_BYTES: usize = 64 * 1024;

/// The longest frame: what the header's field for the bytes copied can name.
const FRAME_BYTES_MAX: usize = u16::MAX as usize;

/// Longest that frames under way are waited for.
const STALLED: Duration = Duration::from_secs(1);

/// A packet socket that sends what is put in its ring, on one device, and receives nothing.
#[derive(Debug)]
pub struct TransmitRing {
    socket: Socket,
    map: Mapping,
    slot_bytes: usize,
    slots: usize,
    /// The first slot pushed and not yet handed over.
    first: usize,
    /// How many those are.
    pushed: usize,
}

impl TransmitRing {
    /// Opens a ring of at least `slots` slots for frames of up to `frame_bytes`, the link header included, on the device
    /// with index `interface`.
    ///
    /// # Errors
    /// Those of socket(2), setsockopt(2), mmap(2) and bind(2): `EPERM` without `CAP_NET_RAW`; `InvalidInput` where
    /// frames could be longer than 65,535 bytes.
    pub fn open(interface: u32, frame_bytes: usize, slots: usize) -> io::Result<Self> {
        if frame_bytes > FRAME_BYTES_MAX {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // Powers of two, so that slots fill blocks without a rest.
        let slot_bytes = (FRAME_OFFSET + vnet::LEN + frame_bytes).next_power_of_two();
        let block_bytes = slot_bytes.max(BLOCK_BYTES);
        let blocks = (slots * slot_bytes).div_ceil(block_bytes).max(1);
        let slots = blocks * block_bytes / slot_bytes;
        let socket = frame_socket(interface)?;
        set(socket.as_fd(), libc::PACKET_VERSION, &libc::tpacket_versions::TPACKET_V2)?;
        let request = libc::tpacket_req {
            tp_block_size: to_u32(block_bytes)?,
            tp_block_nr: to_u32(blocks)?,
            tp_frame_size: to_u32(slot_bytes)?,
            tp_frame_nr: to_u32(slots)?,
        };
        set(socket.as_fd(), libc::PACKET_TX_RING, &request)?;
        socket.set_write_timeout(Some(STALLED))?;
        let map = Mapping::new(&socket, blocks * block_bytes)?;
        Ok(Self { socket, map, slot_bytes, slots, first: 0, pushed: 0 })
    }

    /// Puts a frame, a `virtio_net_hdr` before it, in the next slot: `head` with `tail` behind it. Answers whether there
    /// was a free slot.
    ///
    /// # Panics
    /// Where `head` is shorter than that header, or the frame longer than the ring was opened for.
    pub fn push(&mut self, head: &[u8], tail: &[u8]) -> bool {
        let slot = (self.first + self.pushed) % self.slots * self.slot_bytes;
        if self.pushed == self.slots || self.status(slot) != libc::TP_STATUS_AVAILABLE {
            return false;
        }
        let length = head.len() + tail.len();
        // SAFETY: an available slot is ours until its status says otherwise.
        let bytes = unsafe { self.map.bytes_mut(slot, self.slot_bytes) };
        let at = offset_of!(libc::tpacket2_hdr, tp_len);
        bytes[at..at + 4].copy_from_slice(&(length as u32).to_ne_bytes());
        let frame = &mut bytes[FRAME_OFFSET..FRAME_OFFSET + length];
        frame[..head.len()].copy_from_slice(head);
        frame[head.len()..].copy_from_slice(tail);
        vnet::set_copied(frame, (length - vnet::LEN) as u16);
        self.set_status(slot, libc::TP_STATUS_SEND_REQUEST);
        self.pushed += 1;
        true
    }

    /// Hands over what was pushed, in order; answers how many frames the kernel took. Those behind the first that it
    /// refused are taken back, and why it did is lost if it took any before. A device that stalls is waited for a second.
    ///
    /// # Errors
    /// What the kernel said of the first frame: `ENOBUFS` where a queue was full, those of send(2) else; none went.
    pub fn send(&mut self) -> io::Result<usize> {
        let mut sent = send(&self.socket, &[], SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        if sent == Err(rustix::io::Errno::AGAIN) {
            // No room for frames under way, so those are waited for.
            sent = send(&self.socket, &[], SendFlags::NOSIGNAL);
        }
        let (first, pushed) = (self.first, std::mem::take(&mut self.pushed));
        let slots = (0..pushed).map(|at| (first + at) % self.slots * self.slot_bytes);
        let refused = |slot: &usize| {
            matches!(self.status(*slot), libc::TP_STATUS_SEND_REQUEST | libc::TP_STATUS_WRONG_FORMAT)
        };
        let taken = slots.clone().take_while(|slot| !refused(slot)).count();
        slots.skip(taken).for_each(|slot| self.set_status(slot, libc::TP_STATUS_AVAILABLE));
        self.first = (first + taken) % self.slots;
        match sent {
            Err(error) if taken == 0 => Err(error.into()),
            _ => Ok(taken),
        }
    }

    /// Waits for a free slot.
    ///
    /// # Errors
    /// `TimedOut` where the device sends nothing for a second; those of poll(2).
    pub fn wait(&self) -> io::Result<()> {
        let most = Timespec { tv_sec: STALLED.as_secs().cast_signed(), tv_nsec: 0 };
        match poll(&mut [PollFd::new(&self.socket, PollFlags::OUT)], Some(&most))? {
            0 => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the device sends none of the frames it was given",
            )),
            _ => Ok(()),
        }
    }

    fn status(&self, slot: usize) -> u32 {
        // What the kernel has written over it, a time stamp among them, is of no interest.
        self.map.atomic_u32(slot).load(Ordering::Acquire) & STATUS_MASK
    }

    fn set_status(&self, slot: usize, status: u32) {
        self.map.atomic_u32(slot).store(status, Ordering::Release);
    }
}

/// The bits of a slot's status that say whose it is (`TP_STATUS_SEND_REQUEST`, `SENDING`, `WRONG_FORMAT`).
const STATUS_MASK: u32 =
    libc::TP_STATUS_SEND_REQUEST | libc::TP_STATUS_SENDING | libc::TP_STATUS_WRONG_FORMAT;

impl AsFd for TransmitRing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
