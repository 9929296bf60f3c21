//! Frames put on the wire as they are, past the host's IP stack.

use anyhow::{Context as _, Result};

use crate::packet_socket::PacketSocket;
use crate::{Datagram, Link, Mac, Netns};

/// Sends frames on one interface as they are.
#[derive(Debug)]
pub struct Injector {
    socket: PacketSocket,
    mac: Mac,
}

impl Injector {
    /// Opens an injector on an interface with Ethernet headers.
    ///
    /// # Errors
    /// When the interface does not exist or packet sockets are refused.
    pub fn open(netns: &Netns, interface: &str) -> Result<Self> {
        let mac = Link::existing(netns, interface).mac()?;
        Ok(Self { socket: PacketSocket::sender(netns, interface)?, mac })
    }

    /// Opens an injector on a link.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn on(link: &Link) -> Result<Self> {
        Self::open(link.netns(), link.name())
    }

    /// Sends one datagram in one frame.
    ///
    /// # Errors
    /// When the kernel refuses the frame, for instance one larger than the MTU.
    pub fn send(&self, datagram: &Datagram) -> Result<()> {
        self.send_raw(&datagram.frame(self.mac))
    }

    /// Sends one datagram in fragments of at most `size` bytes of IP payload, in order.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn send_fragments(&self, datagram: &Datagram, size: usize) -> Result<()> {
        datagram.fragments(self.mac, size).iter().try_for_each(|frame| self.send_raw(frame))
    }

    /// Sends a plain datagram: `udp("10.1.1.1:5000", "239.1.1.1:5000", 16, 0, b"x")`.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn udp(&self, src: &str, dst: &str, ttl: u8, dscp: u8, payload: &[u8]) -> Result<()> {
        self.send(&Datagram::between(src, dst).ttl(ttl).dscp(dscp).payload(payload))
    }

    /// Sends any bytes as a frame.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn send_raw(&self, frame: &[u8]) -> Result<()> {
        let sent = self.socket.send(frame).with_context(|| format!("inject {} bytes", frame.len()))?;
        anyhow::ensure!(sent == frame.len(), "{sent} of {} bytes injected", frame.len());
        Ok(())
    }

    /// The interface's own MAC, the source of frames that set none.
    #[must_use]
    pub fn mac(&self) -> Mac {
        self.mac
    }
}
