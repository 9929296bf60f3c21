//! AF_PACKET sockets, without unsafe code of our own.
//!
//! `nix` provides them: it is the one safe binding that has `sockaddr_ll` and unknown control messages. Two
//! options it does not name are declared with its own `sockopt_impl!`. A link address from `getifaddrs` carries
//! protocol 0, with which bind(2) keeps the protocol the socket was opened with. A link without a MAC has no such
//! address: its socket stays unbound and sorts out the frames of other interfaces.

use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, GetSockOpt as _, LinkAddr, MsgFlags, SetSockOpt as _, SockFlag,
    SockProtocol, SockType, UnknownCmsg, bind, recvmsg, sendto, socket, sockopt,
};

use crate::Netns;
use crate::interface::{index, link_address};
use crate::seen::Vlan;

/// The largest frame: a GSO super-frame of 64 KiB with its link header.
const FRAME_MAX: usize = (64 << 10) + 64;

const TP_STATUS_CSUMNOTREADY: u32 = 1 << 3;
const TP_STATUS_VLAN_VALID: u32 = 1 << 4;
const TP_STATUS_VLAN_TPID_VALID: u32 = 1 << 6;
const TPID_8021Q: u16 = 0x8100;
const PKTTYPE_OUTGOING: u8 = 4;

mod options {
    use nix::{getsockopt_impl, setsockopt_impl, sockopt_impl};
    sockopt_impl!(
        /// Asks for a `tpacket_auxdata` with each frame (packet(7)).
        Auxdata, SetOnly, libc::SOL_PACKET, libc::PACKET_AUXDATA, bool);
    sockopt_impl!(
        /// Frames and drops since the last reading (packet(7)).
        Statistics, GetOnly, libc::SOL_PACKET, libc::PACKET_STATISTICS, libc::tpacket_stats);
}

/// One frame as the kernel handed it over, with what the kernel said of it.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// Arrival, nanoseconds since 1970 by the kernel's clock.
    pub(crate) at_ns: u64,
    /// From the link header on; a tag the kernel took out is in `vlan`.
    pub(crate) bytes: Vec<u8>,
    pub(crate) vlan: Option<Vlan>,
    /// The kernel says that the transport checksum is left for a device to compute.
    pub(crate) partial: bool,
}

/// A socket on one interface.
#[derive(Debug)]
pub(crate) struct PacketSocket {
    fd: OwnedFd,
    index: usize,
    address: Option<LinkAddr>,
}

impl PacketSocket {
    /// Opens a socket that receives every frame of the interface, from the moment this returns. `buffer` is
    /// the kernel's receive buffer in bytes.
    pub(crate) fn receiver(netns: &Netns, interface: &str, buffer: usize) -> Result<Self> {
        let (index, address) = (index(netns, interface)?, link_address(netns, interface)?);
        let all = SockProtocol::EthAll;
        let open = || socket(AddressFamily::Packet, SockType::Raw, flags(), all);
        let fd = netns.enter(open).context("open a packet socket")?;
        if let Some(address) = &address {
            bind(fd.as_raw_fd(), address).with_context(|| format!("bind a packet socket to {interface}"))?;
        }
        sockopt::RcvBufForce.set(&fd, &buffer).context("SO_RCVBUFFORCE")?;
        sockopt::ReceiveTimestampns.set(&fd, &true).context("SO_TIMESTAMPNS")?;
        options::Auxdata.set(&fd, &true).context("PACKET_AUXDATA")?;
        let opened = Self { fd, index: usize::try_from(index)?, address };
        opened.discard_queued()?;
        Ok(opened)
    }

    /// Opens a socket that only sends on the interface.
    pub(crate) fn sender(netns: &Netns, interface: &str) -> Result<Self> {
        let (index, address) = (index(netns, interface)?, link_address(netns, interface)?);
        // Protocol 0 (no `SockProtocol`): nothing is ever queued for reading.
        let open = || socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None);
        let fd = netns.enter(open).context("open a packet socket")?;
        Ok(Self { fd, index: usize::try_from(index)?, address })
    }

    /// Sends one whole frame, link header included.
    pub(crate) fn send(&self, frame: &[u8]) -> nix::Result<usize> {
        let address = self.address.as_ref().ok_or(Errno::EADDRNOTAVAIL)?;
        sendto(self.fd.as_raw_fd(), frame, address, MsgFlags::empty())
    }

    /// The next incoming frame; `None` when none is queued.
    pub(crate) fn receive(&self, buffer: &mut Buffer) -> Result<Option<Frame>> {
        loop {
            match self.receive_any(buffer) {
                Ok((frame, from)) if self.is_incoming(&from) => return Ok(Some(frame)),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(None),
                // Reported once when the interface goes down; the socket stays bound and hears it come up.
                Err(Errno::ENETDOWN) => {}
                Err(error) => return Err(error).context("receive from a packet socket"),
            }
        }
    }

    /// Frames that found the receive buffer full since the last call.
    pub(crate) fn drops(&self) -> Result<u32> {
        Ok(options::Statistics.get(&self.fd).context("PACKET_STATISTICS")?.tp_drops)
    }

    fn is_incoming(&self, from: &LinkAddr) -> bool {
        // Between socket(2) and bind(2) frames of every interface are queued.
        from.ifindex() == self.index && from.pkttype() != PKTTYPE_OUTGOING
    }

    fn receive_any(&self, buffer: &mut Buffer) -> nix::Result<(Frame, LinkAddr)> {
        let mut slices = [IoSliceMut::new(&mut buffer.bytes)];
        let control = Some(buffer.control.as_mut_slice());
        let flags = MsgFlags::MSG_TRUNC;
        let message = recvmsg::<LinkAddr>(self.fd.as_raw_fd(), &mut slices, control, flags)?;
        let (length, from) = (message.bytes, message.address.ok_or(Errno::EINVAL)?);
        let mut frame = Frame { at_ns: 0, bytes: Vec::new(), vlan: None, partial: false };
        for control in message.cmsgs()? {
            match control {
                ControlMessageOwned::ScmTimestampns(at) => frame.at_ns = nanoseconds(at),
                ControlMessageOwned::Unknown(unknown) => frame.read_auxdata(&unknown),
                _ => {}
            }
        }
        frame.bytes = buffer.bytes.get(..length).ok_or(Errno::EMSGSIZE)?.to_vec();
        Ok((frame, from))
    }

    fn discard_queued(&self) -> Result<()> {
        let mut buffer = Buffer::default();
        while self.receive(&mut buffer)?.is_some() {}
        self.drops().map(drop)
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Frame {
    /// Takes the VLAN tag and the checksum state out of a `struct tpacket_auxdata` (linux/if_packet.h).
    fn read_auxdata(&mut self, message: &UnknownCmsg) {
        let header = &message.cmsg_header;
        if header.cmsg_level != libc::SOL_PACKET || header.cmsg_type != libc::PACKET_AUXDATA {
            return;
        }
        let half = |at: usize| message.data_bytes.get(at..at + 2).map(|b| u16::from_ne_bytes([b[0], b[1]]));
        let bytes = message.data_bytes.first_chunk::<4>();
        let (Some(status), Some(tci), Some(tpid)) =
            (bytes.map(|b| u32::from_ne_bytes(*b)), half(16), half(18))
        else {
            return;
        };
        self.partial = status & TP_STATUS_CSUMNOTREADY != 0;
        if status & TP_STATUS_VLAN_VALID != 0 {
            let tpid = if status & TP_STATUS_VLAN_TPID_VALID != 0 { tpid } else { TPID_8021Q };
            self.vlan = Some(Vlan::from_tci(tpid, tci));
        }
    }
}

/// Memory one reader reuses for all its frames.
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    control: Vec<u8>,
}

impl Default for Buffer {
    fn default() -> Self {
        Self { bytes: vec![0; FRAME_MAX], control: vec![0; 256] }
    }
}

fn flags() -> SockFlag {
    SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK
}

fn nanoseconds(at: nix::sys::time::TimeSpec) -> u64 {
    let seconds = u64::try_from(at.tv_sec()).unwrap_or_default();
    seconds * 1_000_000_000 + u64::try_from(at.tv_nsec()).unwrap_or_default()
}

/// Opens a packet socket in the calling thread's namespace and closes it.
pub(crate) fn try_out() -> Result<()> {
    socket(AddressFamily::Packet, SockType::Raw, flags(), None)?;
    Ok(())
}
