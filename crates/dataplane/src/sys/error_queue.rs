//! The error queue of an egress socket: ICMP errors that came back for datagrams already sent (ip(7),
//! `IP_RECVERR`), each with the destination it belongs to.
#![expect(unsafe_code, reason = "control messages arrive in uninitialised memory")]

use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use socket2::{MaybeUninitSlice, MsgHdrMut, SockAddr, SockRef};

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
        let mut scrap = [MaybeUninit::<u8>::uninit(); 1];
        let mut buffers = [MaybeUninitSlice::new(&mut scrap)];
        // SockAddr::from sets the length to the family's; the larger one leaves room for either.
        let mut destination = SockAddr::from(SocketAddr::from(([0u16; 8], 0)));
        let mut message = MsgHdrMut::new()
            .with_addr(&mut destination)
            .with_buffers(&mut buffers)
            .with_control(&mut control);
        let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
        SockRef::from(&socket).recvmsg(&mut message, flags).ok()?;
        let used = message.control_len();
        let (errno, origin) = extended_error(&control[..used])?;
        let destination = destination.as_socket();
        if let (Some(destination), true) = (destination, ORIGIN_ICMP.contains(&origin)) {
            return Some(Returned { destination, errno });
        }
    }
}

/// Error number and origin of the first control message, which the kernel writes as `sock_extended_err`.
fn extended_error(control: &[MaybeUninit<u8>]) -> Option<(i32, u8)> {
    // cmsghdr is 16 bytes; ee_errno is the first word after it, ee_origin the byte behind that.
    let head = control.get(..21)?;
    // SAFETY: `control` is the part the kernel says it wrote.
    let byte = |at: usize| unsafe { head[at].assume_init() };
    Some((i32::from_ne_bytes([byte(16), byte(17), byte(18), byte(19)]), byte(20)))
}
