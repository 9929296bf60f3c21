//! What the generator sends by, beside plain sockets: segmented sends and whole frames.
//!
//! Every function takes slices and descriptors and leaves no pointer behind once it returns.
#![expect(unsafe_code, reason = "packet socket addresses and these options have no safe wrapper")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use socket2::{Domain, SockAddr, SockAddrStorage, Socket, Type};

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
    fn a_segmented_send_arrives_cut() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        set_udp_segment(sender.as_fd(), 4).unwrap();
        sender.send_to(b"0123456789", receiver.local_addr().unwrap()).unwrap();
        let mut buffer = [0; 16];
        assert_eq!([(); 3].map(|()| receiver.recv(&mut buffer).unwrap()), [4, 4, 2]);
    }
}
