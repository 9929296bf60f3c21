//! A UDP socket that sends out of one interface: what an ordinary program's packets look like, offloads included.

use std::io::IoSlice;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;

use anyhow::{Context as _, Result};
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg};
use socket2::{Domain, Protocol, Socket, Type};

use crate::Link;

/// A sending socket bound to an address and an interface. Its multicast is not looped back.
#[derive(Debug)]
pub struct Sender {
    socket: Socket,
}

impl Sender {
    /// Opens a socket on `link` with the source address and port `from`; port 0 lets the kernel choose.
    ///
    /// # Errors
    /// When the address is not local, or the interface does not exist.
    pub fn open(link: &Link, from: SocketAddr) -> Result<Self> {
        let kind = Domain::for_address(from);
        let socket = link.netns().enter(|| Socket::new(kind, Type::DGRAM, Some(Protocol::UDP)))?;
        socket.bind_device(Some(link.name().as_bytes())).context("SO_BINDTODEVICE")?;
        if from.is_ipv4() {
            socket.set_multicast_loop_v4(false)?;
        } else {
            socket.set_multicast_loop_v6(false)?;
        }
        socket.bind(&from.into()).with_context(|| format!("bind {from} on {}", link.name()))?;
        Ok(Self { socket })
    }

    /// Sets TTL or hop limit of unicast and multicast.
    ///
    /// # Errors
    /// When the kernel refuses the value.
    pub fn set_ttl(&self, ttl: u8) -> Result<()> {
        let ttl = u32::from(ttl);
        if self.local()?.is_ipv4() {
            self.socket.set_ttl_v4(ttl)?;
            self.socket.set_multicast_ttl_v4(ttl)?;
        } else {
            self.socket.set_unicast_hops_v6(ttl)?;
            self.socket.set_multicast_hops_v6(ttl)?;
        }
        Ok(())
    }

    /// The address and port it sends from.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn local(&self) -> Result<SocketAddr> {
        self.socket.local_addr()?.as_socket().context("an IP address")
    }

    /// Sends one datagram.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn send(&self, to: SocketAddr, payload: &[u8]) -> Result<()> {
        let sent = self.socket.send_to(payload, &to.into()).with_context(|| format!("send to {to}"))?;
        anyhow::ensure!(sent == payload.len(), "{sent} of {} bytes sent", payload.len());
        Ok(())
    }

    /// Hands over many datagrams in one call (`UDP_SEGMENT`): `payload` cut every `segment` bytes, at most 64
    /// pieces. While the interface has `tx-udp-segmentation` on they travel as one super-frame.
    ///
    /// # Errors
    /// When the kernel refuses them.
    pub fn send_segments(&self, to: SocketAddr, payload: &[u8], segment: u16) -> Result<()> {
        let slices = [IoSlice::new(payload)];
        let control = [ControlMessage::UdpGsoSegments(&segment)];
        let to = SockaddrStorage::from(to);
        let sent = sendmsg(self.socket.as_raw_fd(), &slices, &control, MsgFlags::empty(), Some(&to))?;
        anyhow::ensure!(sent == payload.len(), "{sent} of {} bytes sent", payload.len());
        Ok(())
    }
}
