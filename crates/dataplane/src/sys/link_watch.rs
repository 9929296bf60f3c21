//! A link's going down, also where it is up again by the time it is looked at.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use socket2::SockRef;

use super::packet::bind;

/// The EtherType kept for local experiments (IEEE Std 802, "local experimental EtherType 1"): nobody's frames are to come.
const NO_FRAMES: u16 = 0x88b5;

/// Watches one link.
#[derive(Debug)]
pub struct LinkWatch {
    socket: OwnedFd,
}

impl LinkWatch {
    /// Begins to watch. Needs CAP_NET_RAW.
    ///
    /// # Errors
    /// What `socket` or `bind` reported; `ENETDOWN` where it is down.
    pub fn open(ifindex: u32) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::PACKET, SocketType::DGRAM, flags, None)?;
        bind(socket.as_fd(), NO_FRAMES, Some(ifindex))?;
        let watch = Self { socket };
        // The kernel binds to one that is down as well, with the same error.
        if watch.went_down()? { Err(io::ErrorKind::NetworkDown.into()) } else { Ok(watch) }
    }

    /// Whether it went down, or away, since this was last asked: the kernel says so to packet sockets that are bound to it
    /// (`packet_notifier` in its net/packet/af_packet.c).
    ///
    /// # Errors
    /// When the socket has failed otherwise.
    pub fn went_down(&self) -> io::Result<bool> {
        match SockRef::from(&self.socket).take_error()? {
            None => Ok(false),
            Some(error) if error.kind() == io::ErrorKind::NetworkDown => Ok(true),
            Some(error) => Err(error),
        }
    }
}
