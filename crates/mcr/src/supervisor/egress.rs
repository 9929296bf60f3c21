//! The egress sockets: one for each family, way out and source port, shared by all workers and kept as long
//! as a table names it.

use std::collections::HashMap;
use std::num::NonZeroU16;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::net::sockopt::socket_send_buffer_size;
use socket2::Domain;

use super::sockets::{self, SocketError, frame_socket, raw_socket};

/// Bytes of send buffer a socket asks for: a burst of super-frames to a slow device waits here, not in the ring.
pub const SEND_BUFFER_BYTES: usize = 8 << 20;

/// What tells one egress socket from another. Legs that leave by different interfaces have different sockets,
/// so that a device that stalls holds up none but its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EgressKey {
    /// Whether it sends IPv6.
    pub ipv6: bool,
    /// Egress interface; absent: the kernel routes.
    pub ifindex: Option<u32>,
    /// Source port; absent: the daemon's own.
    pub sport: Option<NonZeroU16>,
    /// Whether it may send from addresses that are not the host's.
    pub transparent: bool,
    /// What it takes.
    pub kind: Kind,
}

/// What an egress socket takes of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Payloads.
    Udp,
    /// IP packets: it has no port, and any source.
    Ip,
    /// Whole frames of either family. They leave by its interface, unless its holder names another.
    Frames,
}

#[derive(Debug, Clone)]
struct Numbered {
    number: u32,
    fd: Arc<OwnedFd>,
}

/// All egress sockets.
#[derive(Debug)]
pub struct EgressSockets {
    /// They hold the daemon's own source port from start to end.
    _holders: [OwnedFd; 2],
    port: NonZeroU16,
    sockets: HashMap<EgressKey, Numbered>,
    next: u32,
}

impl EgressSockets {
    /// Takes a source port for the daemon, the same for both families.
    pub fn open() -> Result<Self, SocketError> {
        let ipv4 = open(false, None, false)?;
        let port = ipv4.port;
        let ipv6 = open(true, Some(port), false)?;
        Ok(Self { _holders: [ipv4.fd, ipv6.fd], port, sockets: HashMap::new(), next: 0 })
    }

    /// The daemon's own source port.
    pub fn port(&self) -> NonZeroU16 {
        self.port
    }

    /// The number of the socket for a key, which is opened if it is new.
    pub fn number(&mut self, key: EgressKey) -> Result<u32, SocketError> {
        if let Some(socket) = self.sockets.get(&key) {
            return Ok(socket.number);
        }
        let fd = match key.kind {
            Kind::Udp => open(key.ipv6, Some(key.sport.unwrap_or(self.port)), key.transparent)?.fd,
            Kind::Ip => raw_socket(key.ipv6, SEND_BUFFER_BYTES)?,
            Kind::Frames => frame_socket(key.ifindex.unwrap_or(0), SEND_BUFFER_BYTES)?,
        };
        let number = self.next;
        self.next += 1;
        self.sockets.insert(key, Numbered { number, fd: Arc::new(fd) });
        Ok(number)
    }

    /// All of them by number.
    pub fn numbered(&self) -> impl Iterator<Item = (u32, Arc<OwnedFd>)> {
        self.sockets.values().map(|socket| (socket.number, socket.fd.clone()))
    }

    /// Bytes of send buffer of the socket that was granted least, as asked for; absent: there is none.
    pub fn least_send_buffer(&self) -> Option<usize> {
        // The kernel keeps and tells twice what it was asked for (socket(7)).
        let granted = |socket: &Numbered| socket_send_buffer_size(&socket.fd).ok().map(|bytes| bytes / 2);
        self.sockets.values().filter_map(granted).min()
    }

    /// Closes those whose number is not among `used`.
    pub fn retain(&mut self, used: &std::collections::HashSet<u32>) {
        self.sockets.retain(|_, socket| used.contains(&socket.number));
    }

    /// Source ports in use, the daemon's own among them.
    pub fn ports(&self) -> impl Iterator<Item = NonZeroU16> {
        self.sockets.keys().filter_map(|key| key.sport).chain([self.port])
    }
}

fn open(
    ipv6: bool,
    port: Option<NonZeroU16>,
    transparent: bool,
) -> Result<sockets::EgressSocket, SocketError> {
    let domain = if ipv6 { Domain::IPV6 } else { Domain::IPV4 };
    sockets::Egress { domain, port, transparent, send_buffer: SEND_BUFFER_BYTES }.open()
}
