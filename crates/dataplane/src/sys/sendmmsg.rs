//! Many messages in one system call: sendmmsg(2), for which `socket2` and `rustix` have no wrapper.
//!
//! It takes slices and descriptors and leaves no pointer behind once it returns.
#![expect(unsafe_code, reason = "message vectors have no safe wrapper")]

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

use socket2::SockAddr;

/// Most messages one call of [`sendmmsg`] takes.
pub const MESSAGES_MAX: usize = 64;

/// A message to be sent.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// Where to; absent: where the socket is connected or bound.
    pub to: Option<&'a SockAddr>,
    /// What, one part behind the other.
    pub parts: &'a [IoSlice<'a>],
    /// Control messages as cmsg(3) lays them out; may be empty.
    pub control: &'a [u8],
}

/// Sends messages in order, with `flags` of send(2). Returns how many went, at least one; more than [`MESSAGES_MAX`] are
/// left for the next call. Where fewer went, what the kernel said of the next one is lost.
///
/// # Errors
/// What the kernel said of the first message; none went.
pub fn sendmmsg(socket: BorrowedFd<'_>, messages: &[Outgoing<'_>], flags: i32) -> io::Result<usize> {
    let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; MESSAGES_MAX];
    for (header, message) in headers.iter_mut().zip(messages) {
        // SAFETY: `mmsghdr` is integers and pointers; all zeroes is a valid value of it.
        let header = &mut header.write(unsafe { std::mem::zeroed() }).msg_hdr;
        // `IoSlice` is documented to have the layout of `iovec`; the kernel only reads through these pointers.
        header.msg_iov = message.parts.as_ptr().cast_mut().cast();
        header.msg_iovlen = message.parts.len();
        if let Some(to) = message.to {
            header.msg_name = to.as_ptr().cast_mut().cast();
            header.msg_namelen = to.len();
        }
        if !message.control.is_empty() {
            header.msg_control = message.control.as_ptr().cast_mut().cast();
            header.msg_controllen = message.control.len();
        }
    }
    let count = libc::c_uint::try_from(messages.len().min(MESSAGES_MAX)).unwrap_or(0);
    // SAFETY: the first `count` headers are written, and point into `messages`, which is borrowed for this call.
    let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr().cast(), count, flags) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn messages_arrive_as_single_datagrams() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = SockAddr::from(receiver.local_addr().unwrap());
        let parts = [&[IoSlice::new(b"one")][..], &[IoSlice::new(b"th"), IoSlice::new(b"ree")]];
        let messages = parts.map(|parts| Outgoing { to: Some(&to), parts, control: &[] });
        assert_eq!(sendmmsg(sender.as_fd(), &messages, 0).unwrap(), 2);
        let mut buffer = [0; 16];
        assert_eq!(receiver.recv(&mut buffer).unwrap(), 3);
        assert_eq!(receiver.recv(&mut buffer).unwrap(), 5);
    }

    #[test]
    fn only_the_first_messages_error_is_told() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = SockAddr::from(receiver.local_addr().unwrap());
        let (fits, too_long) = ([IoSlice::new(b"fits")], [0; 65_508]);
        let too_long = [IoSlice::new(&too_long)];
        let message = |parts| Outgoing { to: Some(&to), parts, control: &[] };
        assert_eq!(sendmmsg(sender.as_fd(), &[message(&fits), message(&too_long)], 0).unwrap(), 1);
        let refused = sendmmsg(sender.as_fd(), &[message(&too_long), message(&fits)], 0).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EMSGSIZE));
    }
}
