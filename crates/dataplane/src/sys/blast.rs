//! Sending generated packets in batches: what `socket2` and `rustix` have no call for.
//!
//! Every function takes slices and descriptors and leaves no pointer behind once it returns.
#![expect(unsafe_code, reason = "message vectors and packet socket addresses have no safe wrapper")]

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use socket2::{Domain, SockAddr, SockAddrStorage, Socket, Type};

/// Most messages one call of [`send_batch`] takes.
pub const BATCH_MAX: usize = 64;

/// Sends each of `packets`, gathered from its parts, as a message of its own: to the address of the same index in `to`, or with `to`
/// empty to where the socket is connected or bound. Returns how many went, at least one; more than
/// [`BATCH_MAX`] are left for the next call.
///
/// # Errors
/// What `sendmmsg` reported for the first message; none went.
///
/// # Panics
/// If `to` is neither empty nor as long as `packets`.
pub fn send_batch(socket: BorrowedFd<'_>, packets: &[&[IoSlice<'_>]], to: &[SockAddr]) -> io::Result<usize> {
    assert!(to.is_empty() || to.len() == packets.len(), "an address for each packet or for none");
    // SAFETY: `mmsghdr` is integers and pointers; all zeroes is a valid value of it.
    let mut messages: [libc::mmsghdr; BATCH_MAX] = unsafe { std::mem::zeroed() };
    let count = packets.len().min(BATCH_MAX);
    for (message, packet) in messages.iter_mut().zip(packets) {
        // `IoSlice` is documented to have the layout of `iovec`; the kernel only reads through it.
        message.msg_hdr.msg_iov = packet.as_ptr().cast_mut().cast();
        message.msg_hdr.msg_iovlen = packet.len();
    }
    for (message, address) in messages.iter_mut().zip(to) {
        message.msg_hdr.msg_name = address.as_ptr().cast_mut().cast();
        message.msg_hdr.msg_namelen = address.len();
    }
    let count = libc::c_uint::try_from(count).unwrap_or(0);
    // SAFETY: the first `count` messages point into `packets` and `to`, which are borrowed for this call.
    let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), count, 0) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Makes each send on a UDP socket leave as datagrams of `size` bytes, the last one as long as what remains
/// (`UDP_SEGMENT`, udp(7)).
///
/// # Errors
/// What `setsockopt` reported.
pub fn set_udp_segment(socket: BorrowedFd<'_>, size: u16) -> io::Result<()> {
    set_option(socket, libc::SOL_UDP, libc::UDP_SEGMENT, size.into())
}

/// A packet socket that sends whole Ethernet frames, each behind a `virtio_net_hdr` of ten bytes, on the
/// device with index `interface`, and receives nothing.
///
/// # Errors
/// What `socket`, `setsockopt` or `bind` reported: `EPERM` without `CAP_NET_RAW`.
pub fn frame_socket(interface: u32) -> io::Result<Socket> {
    let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
    set_option(socket.as_fd(), libc::SOL_PACKET, libc::PACKET_VNET_HDR, 1)?;
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: `sockaddr_ll` is one of the address types the storage is made for: plain integers.
    let link = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    link.sll_family = libc::AF_PACKET as u16;
    link.sll_ifindex = interface.cast_signed();
    // SAFETY: the storage holds the `sockaddr_ll` written above, of exactly this length.
    let address = unsafe { SockAddr::new(storage, size_of::<libc::sockaddr_ll>() as u32) };
    socket.bind(&address)?;
    Ok(socket)
}

fn set_option(socket: BorrowedFd<'_>, level: i32, option: i32, value: i32) -> io::Result<()> {
    let length = size_of::<i32>() as libc::socklen_t;
    // SAFETY: the value is an `i32` that outlives the call, and its length is passed with it.
    let answer =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), length) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn a_batch_arrives_as_single_datagrams() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = SockAddr::from(receiver.local_addr().unwrap());
        let packets = [&[IoSlice::new(b"one")][..], &[IoSlice::new(b"th"), IoSlice::new(b"ree")]];
        assert_eq!(send_batch(sender.as_fd(), &packets, &[to.clone(), to]).unwrap(), 2);
        let mut buffer = [0; 16];
        assert_eq!(receiver.recv(&mut buffer).unwrap(), 3);
        assert_eq!(receiver.recv(&mut buffer).unwrap(), 5);
    }

    #[test]
    fn a_segmented_send_arrives_cut() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        set_udp_segment(sender.as_fd(), 4).unwrap();
        sender.send_to(b"0123456789", receiver.local_addr().unwrap()).unwrap();
        let mut buffer = [0; 16];
        assert_eq!([(); 3].map(|()| receiver.recv(&mut buffer).unwrap()), [4, 4, 2]);
    }
}
