//! The error queue of an egress socket: ICMP errors that came back for datagrams already sent (ip(7),
//! `IP_RECVERR`), each with the destination it belongs to.
#![expect(unsafe_code, reason = "control messages arrive in uninitialised memory")]

use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use mcast::wire::ipv6;
use socket2::{MaybeUninitSlice, MsgHdrMut, SockAddr, SockRef};

/// Bytes of the returned datagram that are read: an IPv4 header with options, or an IPv6 one, and the ports behind.
const QUOTED_BYTES: usize = 64;

/// `sock_extended_err.ee_origin` of errors the network reported: `SO_EE_ORIGIN_ICMP`, `…_ICMP6`.
const ORIGIN_ICMP: [u8; 2] = [2, 3];

/// An ICMP error for a datagram sent before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Returned {
    /// Where the datagram was going.
    pub destination: SocketAddr,
    /// What became of it, as an error number.
    pub errno: i32,
}

/// Takes the next ICMP error off the queue, leaving out errors the local stack reported (those `sendmsg`
/// returned already).
pub fn take_returned(socket: BorrowedFd<'_>) -> Option<Returned> {
    loop {
        let mut control = [MaybeUninit::<u8>::uninit(); 256];
        let mut quoted = [MaybeUninit::<u8>::uninit(); QUOTED_BYTES];
        let mut buffers = [MaybeUninitSlice::new(&mut quoted)];
        // SockAddr::from sets the length to the family's; the larger one leaves room for either.
        let mut destination = SockAddr::from(SocketAddr::from(([0u16; 8], 0)));
        let mut message = MsgHdrMut::new()
            .with_addr(&mut destination)
            .with_buffers(&mut buffers)
            .with_control(&mut control);
        let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
        let bytes = SockRef::from(&socket).recvmsg(&mut message, flags).ok()?;
        let used = message.control_len();
        let (errno, origin) = extended_error(&control[..used])?;
        let Some(mut destination) = destination.as_socket() else { continue };
        if destination.port() == 0 {
            // Of a raw socket: its datagrams come back with their headers.
            destination.set_port(quoted_port(&quoted[..bytes.min(QUOTED_BYTES)]).unwrap_or(0));
        }
        if ORIGIN_ICMP.contains(&origin) {
            return Some(Returned { destination, errno });
        }
    }
}

/// The destination port of a packet that begins at its IP header, where it is UDP without extension headers.
fn quoted_port(quoted: &[MaybeUninit<u8>]) -> Option<u16> {
    // SAFETY: `quoted` is the part the kernel says it wrote.
    let byte = |at: usize| quoted.get(at).map(|byte| unsafe { byte.assume_init() });
    let udp = match byte(0)? >> 4 {
        4 => usize::from(byte(0)? & 0x0f) * 4,
        _ => ipv6::HEADER_LEN,
    };
    Some(u16::from_be_bytes([byte(udp + 2)?, byte(udp + 3)?]))
}

/// Error number and origin of the first control message, which the kernel writes as `sock_extended_err`.
fn extended_error(control: &[MaybeUninit<u8>]) -> Option<(i32, u8)> {
    // cmsghdr is 16 bytes; ee_errno is the first word after it, ee_origin the byte behind that.
    let head = control.get(..21)?;
    // SAFETY: `control` is the part the kernel says it wrote.
    let byte = |at: usize| unsafe { head[at].assume_init() };
    Some((i32::from_ne_bytes([byte(16), byte(17), byte(18), byte(19)]), byte(20)))
}
