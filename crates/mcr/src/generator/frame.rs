//! Multicast as whole Ethernet frames through a packet socket: half the kernel's work of a UDP socket's send.
//!
//! The UDP checksum is left to the device, as a UDP socket leaves it. A burst of one flow that is longer than any
//! super-frame a device takes is handed over as one: the kernel then cuts it itself, whatever the device offers,
//! which is cheaper by half again. That it does is seen from the device's packet counter, or it is not done twice.
//! Groups only: a host's link address is the kernel's to know.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

use dataplane::envelope::Envelope;
use dataplane::frame::{Head, Run};
use dataplane::sys::blast;
use dataplane::sys::sendmmsg::{Outgoing, sendmmsg};
use dataplane::sys::transmit_ring::TransmitRing;
use dataplane::vnet;
use mcast::InterfaceName;
use mcast::wire::Addresses;
use rustix::io::Errno;
use socket2::{Domain, Socket, Type};

use super::pacing::BURST_MAX;
use super::target::{Interface, Target};
use super::transmit::Headers;

/// A frame from this length on is cut by the kernel before the device (`gso_max_size` of a device that was not told
/// otherwise).
const CUT_FROM_BYTES: usize = 65_536;

/// Bursts that may be under way in the device.
const RING_BURSTS: usize = 4;

/// A packet socket and each flow's headers.
#[derive(Debug)]
pub(super) struct FrameSocket {
    ring: TransmitRing,
    /// For bursts that are handed over as one frame, which no slot would hold.
    socket: Socket,
    interface: InterfaceName,
    origin: Origin,
    /// One for each size so far, the one in use first.
    layouts: Vec<Layout>,
    cutting: Cutting,
}

/// What each flow's headers are made of, the length apart.
#[derive(Debug)]
struct Origin {
    link: [u8; 6],
    port: u16,
    /// Each flow's addresses and destination port.
    flows: Vec<(Addresses, u16)>,
    headers: Headers,
}

/// Each flow's headers for payloads of one size.
#[derive(Debug)]
struct Layout {
    size: usize,
    prefixes: Vec<Vec<u8>>,
}

/// What is known of over-long bursts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cutting {
    Untried,
    Works,
    Fails,
}

impl FrameSocket {
    /// Opens a packet socket on `interface`, whose own address is `link`. Frames carry the port `udp` is bound
    /// to, so that nobody else takes it.
    pub(super) fn open(
        target: &Target,
        interface: &Interface,
        link: [u8; 6],
        udp: &Socket,
        headers: Headers,
    ) -> io::Result<Self> {
        let source = match headers.source {
            Some(source) => source,
            None => kernel_source(target, interface)?,
        };
        let port = local_address(udp)?.port();
        let flow = |flow| {
            let addresses =
                Addresses::new(source, target.address(flow)).ok_or(io::ErrorKind::InvalidInput)?;
            Ok((addresses, target.port(flow).unwrap_or_default()))
        };
        let flows = (0..target.flows()).map(flow).collect::<io::Result<_>>()?;
        let origin = Origin { link, port, flows, headers };
        let layout = origin.layout(headers.size)?;
        let header_bytes = layout.prefixes.iter().map(Vec::len).max().unwrap_or_default();
        let frame_bytes = header_bytes - vnet::LEN + headers.size;
        Ok(Self {
            ring: TransmitRing::open(interface.index, frame_bytes, RING_BURSTS * BURST_MAX as usize)?,
            socket: blast::frame_socket(interface.index)?,
            interface: interface.name.clone(),
            layouts: vec![layout],
            origin,
            cutting: Cutting::Untried,
        })
    }

    /// From here on payloads have `size` bytes.
    pub(super) fn set_size(&mut self, size: usize) -> io::Result<()> {
        let at = match self.layouts.iter().position(|layout| layout.size == size) {
            Some(at) => at,
            None => {
                self.layouts.push(self.origin.layout(size)?);
                self.layouts.len() - 1
            }
        };
        self.layouts.swap(0, at);
        Ok(())
    }

    /// Sends a frame for each of `flows` with its part of `payloads`; returns how many went.
    pub(super) fn send(&mut self, flows: &[u16], payloads: &[u8]) -> io::Result<usize> {
        let cuts = self.origin.flows.len() == 1 && payloads.len() >= CUT_FROM_BYTES;
        if cuts && self.cutting != Cutting::Fails && self.send_whole(flows.len(), payloads).is_ok() {
            return Ok(flows.len());
        }
        let Layout { size, prefixes } = &self.layouts[0];
        let frames = flows.iter().zip(payloads.chunks_exact(*size));
        let fits = |(flow, payload): (&u16, &[u8])| self.ring.push(&prefixes[usize::from(*flow)], payload);
        if frames.map(fits).take_while(|pushed| *pushed).count() == 0 {
            // All slots are under way still.
            self.ring.wait()?;
            return Ok(0);
        }
        self.ring.send()
    }

    /// Sends `packets` of the one flow as a frame for the kernel to cut. On an error nothing went.
    fn send_whole(&mut self, packets: usize, payloads: &[u8]) -> io::Result<()> {
        let Layout { size, prefixes } = &self.layouts[0];
        // IP and UDP headers stay those of one packet, which is what the kernel makes of them when it cuts.
        let mut prefix = prefixes[0].clone();
        let headers = prefix.len() - vnet::LEN;
        prefix[..vnet::LEN].copy_from_slice(&vnet::of_udp(headers, u16::try_from(*size).ok()));
        let before = match self.cutting {
            Cutting::Untried => Some(transmitted(&self.interface)),
            Cutting::Works | Cutting::Fails => None,
        };
        let parts = [IoSlice::new(&prefix), IoSlice::new(payloads)];
        let frame = Outgoing { to: None, parts: &parts, control: &[] };
        if let Err(error) = sendmmsg(self.socket.as_fd(), &[frame], 0) {
            // What passes says nothing of that.
            let passes = [Errno::NETDOWN, Errno::NXIO, Errno::NOBUFS];
            if Errno::from_io_error(&error).is_none_or(|errno| !passes.contains(&errno)) {
                self.cutting = Cutting::Fails;
            }
            return Err(error);
        }
        if let Some(before) = before {
            let frames = transmitted(&self.interface)
                .zip(before)
                .map_or(0, |(after, before)| after.saturating_sub(before));
            self.cutting = if frames >= packets as u64 { Cutting::Works } else { Cutting::Fails };
        }
        Ok(())
    }
}

impl Origin {
    fn layout(&self, size: usize) -> io::Result<Layout> {
        let headers = Headers { size, ..self.headers };
        let prefix = |flow: &(Addresses, u16)| prefix(self.link, flow.0, (self.port, flow.1), headers);
        Ok(Layout { size, prefixes: self.flows.iter().map(prefix).collect::<io::Result<_>>()? })
    }
}

/// Packets the interface has sent so far by the kernel's count; absent when it does not say.
fn transmitted(interface: &InterfaceName) -> Option<u64> {
    const TRANSMITTED_FIELD: usize = 9;
    let table = std::fs::read_to_string("/proc/thread-self/net/dev").ok()?;
    let line = table.lines().find_map(|line| {
        let (name, fields) = line.split_once(':')?;
        (name.trim() == interface.as_str()).then_some(fields)
    })?;
    line.split_whitespace().nth(TRANSMITTED_FIELD)?.parse().ok()
}

/// All that stands before a flow's payload.
fn prefix(link: [u8; 6], addresses: Addresses, ports: (u16, u16), headers: Headers) -> io::Result<Vec<u8>> {
    let envelope = Envelope {
        destination: SocketAddr::new(addresses.destination(), ports.1),
        ifindex: None,
        source: Some(addresses.source()),
        source_port: Some(ports.0),
        ttl: headers.ttl,
        traffic_class: headers.dscp.value() << 2,
    };
    let run = Run { bytes: headers.size, segment: None, identification: None };
    Ok(Head::new(link, &envelope, run)?.as_bytes().to_vec())
}

/// The source address the kernel would send the first flow from.
fn kernel_source(target: &Target, interface: &Interface) -> io::Result<IpAddr> {
    let first = target.socket_address(0).map_err(io::Error::other)?;
    let socket = Socket::new(Domain::for_address(first), Type::DGRAM, None)?;
    socket.bind_device(Some(interface.name.as_str().as_bytes()))?;
    socket.connect(&first.into())?;
    Ok(local_address(&socket)?.ip())
}

fn local_address(socket: &Socket) -> io::Result<SocketAddr> {
    socket.local_addr()?.as_socket().ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use mcast::wire::{ChecksumTrust, Datagram};

    use super::*;

    #[test]
    fn prefix_and_payload_make_a_datagram() {
        let headers = Headers { source: None, ttl: 7, dscp: mcast::Dscp::new(34).unwrap(), size: 20 };
        for (source, group) in [("192.0.2.1", "239.129.2.3"), ("2001:db8::1", "ff3e::8000:1")] {
            let addresses = Addresses::new(source.parse().unwrap(), group.parse().unwrap()).unwrap();
            let mut frame = prefix([2; 6], addresses, (1000, 5000), headers).unwrap().split_off(vnet::LEN);
            frame.extend_from_slice(&[9; 20]);
            let datagram = Datagram::parse_ip(&frame[14..], ChecksumTrust::Partial).unwrap();
            assert_eq!((datagram.ttl, datagram.dscp(), datagram.destination_port), (7, 34, 5000));
            assert_eq!(datagram.payload, [9; 20]);
        }
    }
}
