//! Packet sockets with a receive ring: what packet(7) calls `TPACKET_V2`.
//!
//! Opened by who has CAP_NET_RAW, mapped and read by whoever is handed the descriptor. The ring wakes its
//! reader at the first frame (a V3 ring holds a block for its timer, a millisecond at least).
#![expect(unsafe_code, reason = "packet socket options have no safe wrapper")]

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use socket2::{SockFilter, SockRef};

/// Bytes of a ring slot: a 1500-byte frame with its headers fits. Longer frames, super-frames among them,
/// are taken whole from the socket's queue.
pub const SLOT_BYTES: usize = 2048;

/// Bytes the kernel allocates at a time for the ring.
const BLOCK_BYTES: usize = 64 * 1024;

/// Bytes of frames longer than a slot that may wait in the socket's queue.
const LONG_FRAME_QUEUE_BYTES: usize = 16 << 20;

/// Which frames a ring takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// IPv4, after the traffic control hook.
    Ipv4,
    /// IPv6, after the traffic control hook.
    Ipv6,
    /// Every frame, before the traffic control hook and before a VLAN, bridge or bond takes it.
    All,
}

impl Protocol {
    /// The EtherType (IEEE 802 numbers), or what stands for all of them (linux/if_ether.h).
    fn ether_type(self) -> u16 {
        match self {
            Self::Ipv4 => 0x0800,
            Self::Ipv6 => 0x86dd,
            Self::All => libc::ETH_P_ALL as u16,
        }
    }
}

/// A group of rings that share a protocol's frames, unique in the network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fanout {
    group: u16,
}

/// `PACKET_FANOUT_FLAG_UNIQUEID` of linux/if_packet.h.
const FANOUT_FLAG_UNIQUE_ID: u32 = 0x2000;

/// A packet socket with a ring: not yet bound, it takes nothing.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
    ring_bytes: usize,
}

impl PacketSocket {
    /// Opens a socket with a ring of `ring_bytes` (rounded up to whole blocks). Needs CAP_NET_RAW.
    pub fn open(ring_bytes: usize) -> io::Result<Self> {
        // Protocol 0: bound only once the ring stands, or early frames would bypass it.
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)?;
        set(fd.as_fd(), libc::PACKET_VERSION, &libc::tpacket_versions::TPACKET_V2)?;
        set(fd.as_fd(), libc::PACKET_VNET_HDR, &1i32)?;
        set(fd.as_fd(), libc::PACKET_IGNORE_OUTGOING, &1i32)?;
        set(fd.as_fd(), libc::PACKET_COPY_THRESH, &1i32)?;
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&fd, LONG_FRAME_QUEUE_BYTES)?;
        let blocks = ring_bytes.div_ceil(BLOCK_BYTES).max(1);
        let request = libc::tpacket_req {
            tp_block_size: to_u32(BLOCK_BYTES)?,
            tp_block_nr: to_u32(blocks)?,
            tp_frame_size: to_u32(SLOT_BYTES)?,
            tp_frame_nr: to_u32(blocks * BLOCK_BYTES / SLOT_BYTES)?,
        };
        set(fd.as_fd(), libc::PACKET_RX_RING, &request)?;
        Ok(Self { fd, ring_bytes: blocks * BLOCK_BYTES })
    }

    /// Bytes of the ring as granted.
    pub fn ring_bytes(&self) -> usize {
        self.ring_bytes
    }

    /// Takes frames from these interfaces only; from none where the list is empty.
    ///
    /// # Errors
    /// EINVAL where there are more interfaces than a classic filter can hold (some 2,000).
    pub fn accept_interfaces(&self, ifindexes: &[u32]) -> io::Result<()> {
        SockRef::from(&self.fd).attach_filter(&interface_filter(ifindexes))
    }

    /// Starts reception from every interface, or from the one given.
    pub fn bind(&self, protocol: Protocol, ifindex: Option<u32>) -> io::Result<()> {
        bind(self.fd.as_fd(), protocol.ether_type(), ifindex)
    }

    /// Starts a fanout group with this bound ring as its first: frames of one flow always reach the same ring.
    ///
    /// # Errors
    /// Those of packet(7)'s `PACKET_FANOUT`; EINVAL on a socket that is not bound.
    pub fn start_fanout(&self) -> io::Result<Fanout> {
        // The kernel picks the number: one picked here might join the rings of another program.
        let kind = libc::PACKET_FANOUT_HASH | FANOUT_FLAG_UNIQUE_ID;
        set(self.fd.as_fd(), libc::PACKET_FANOUT, &(kind << 16).cast_signed())?;
        let mut group = 0u32;
        read(self.fd.as_fd(), libc::PACKET_FANOUT, &mut group)?;
        // The low half is the number, the high half the kind.
        Ok(Fanout { group: (group & 0xffff) as u16 })
    }

    /// Shares the frames of a group with its other rings, of the same protocol and interfaces.
    pub fn join_fanout(&self, fanout: Fanout) -> io::Result<()> {
        let argument = u32::from(fanout.group) | (libc::PACKET_FANOUT_HASH << 16);
        set(self.fd.as_fd(), libc::PACKET_FANOUT, &argument.cast_signed())
    }

    /// Frames lost for want of a free slot since the last call (`PACKET_STATISTICS` resets on reading).
    pub fn take_losses(&self) -> io::Result<u32> {
        let mut stats = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
        read(self.fd.as_fd(), libc::PACKET_STATISTICS, &mut stats)?;
        Ok(stats.tp_drops)
    }

    /// A second descriptor of the same socket.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { fd: self.fd.try_clone()?, ring_bytes: self.ring_bytes })
    }
}

/// Has a packet socket take frames of an EtherType from every interface, or from the one given.
pub(super) fn bind(socket: BorrowedFd<'_>, ether_type: u16, ifindex: Option<u32>) -> io::Result<()> {
    // SAFETY: sockaddr_ll is plain data, for which all zeroes is valid.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = ether_type.to_be();
    address.sll_ifindex = ifindex.unwrap_or(0).cast_signed();
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the address is initialised and lives across the call, with its own length.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if bound == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<PacketSocket> for OwnedFd {
    fn from(socket: PacketSocket) -> Self {
        socket.fd
    }
}

/// A classic BPF program: `ret -1` (take all of it) where the ingress interface is listed, else `ret 0`.
fn interface_filter(ifindexes: &[u32]) -> Vec<SockFilter> {
    const LOAD_WORD_ABSOLUTE: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let interface = (libc::SKF_AD_OFF + libc::SKF_AD_IFINDEX).cast_unsigned();
    let mut program = vec![SockFilter::new(LOAD_WORD_ABSOLUTE, 0, 0, interface)];
    for &ifindex in ifindexes {
        program.push(SockFilter::new(JUMP_IF_EQUAL, 0, 1, ifindex));
        program.push(SockFilter::new(RETURN, 0, 0, u32::MAX));
    }
    program.push(SockFilter::new(RETURN, 0, 0, 0));
    program
}

pub(super) fn to_u32(n: usize) -> io::Result<u32> {
    u32::try_from(n).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "ring larger than 4 GiB"))
}

pub(super) fn set<T>(fd: BorrowedFd<'_>, option: i32, value: &T) -> io::Result<()> {
    let length = size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` is initialised, lives across the call and is passed with its own length.
    let done = unsafe {
        libc::setsockopt(fd.as_raw_fd(), libc::SOL_PACKET, option, std::ptr::from_ref(value).cast(), length)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Reads an option whose value is the plain structure `T`, of which every bit pattern is valid.
fn read<T: Copy>(fd: BorrowedFd<'_>, option: i32, value: &mut T) -> io::Result<()> {
    let mut length = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes into `value`, which lives across the call.
    let done = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_PACKET,
            option,
            std::ptr::from_mut(value).cast(),
            &raw mut length,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
