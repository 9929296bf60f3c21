//! Whole Ethernet frames to groups, sent by a packet socket (packet(7)): the headers are made here, and the kernel is spared
//! a route, a neighbour and the firewall for each.
//!
//! A run of datagrams is one frame that the kernel cuts, or the device: it is told so, and that the UDP checksum is to be
//! filled in, by the [`vnet`] header before it.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::fd::BorrowedFd;

use mcast::wire::ethernet::{self, EtherType};
use mcast::wire::ip::{self, Fragmentation};
use mcast::wire::{Addresses, MacAddress, Protocol, ipv6, udp};

use crate::batch::Batch;
use crate::envelope::{Envelope, FLAGS};
use crate::raw::Identifications;
use crate::sys::sendmmsg::{Outgoing, sendmmsg};
use crate::vnet;

const HEAD_BYTES_MAX: usize = vnet::LEN + ethernet::HEADER_LEN + ipv6::HEADER_LEN + udp::HEADER_LEN;

/// All that stands before the payload of a frame.
#[derive(Debug)]
pub struct Head {
    bytes: [u8; HEAD_BYTES_MAX],
    len: usize,
}

/// A run of datagrams that leave as one frame.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// Payload bytes of all of them.
    pub bytes: usize,
    /// Of each but the last; absent: there is one.
    pub segment: Option<u16>,
    /// What tells fragments of the first of them from another's, should a router make any; the kernel counts on. Absent: no
    /// router may (DF).
    pub identification: Option<u16>,
}

impl Run {
    /// A part of a batch.
    pub fn of(batch: &Batch, part: &Range<usize>, identifications: &Identifications) -> Self {
        let segment = batch.segment_of(part);
        let identification = identifications.draw_run(part.len() as u32) as u16;
        Self { bytes: batch.bytes(part).len(), segment, identification: Some(identification) }
    }
}

impl Head {
    /// The headers of a run from the interface with hardware address `link`.
    ///
    /// # Errors
    /// `InvalidInput` where the envelope's destination is no group, it has no source, or one of another family, or the run
    /// is longer than a packet can be.
    pub fn new(link: [u8; 6], envelope: &Envelope, run: Run) -> io::Result<Self> {
        let mut head = Self { bytes: [0; HEAD_BYTES_MAX], len: 0 };
        head.len = fill(&mut head.bytes, link, envelope, run).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(head)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Sends it with this payload behind it.
    ///
    /// # Errors
    /// Those of sendmsg(2).
    pub fn send(&self, socket: BorrowedFd<'_>, payload: &[u8]) -> io::Result<()> {
        let parts = [self.as_bytes(), payload].map(IoSlice::new);
        sendmmsg(socket, &[Outgoing { to: None, parts: &parts, control: &[] }], FLAGS).map(drop)
    }
}

/// Writes the headers, and answers their length.
fn fill(buffer: &mut [u8; HEAD_BYTES_MAX], link: [u8; 6], envelope: &Envelope, run: Run) -> Option<usize> {
    let (source, source_port) = envelope.source.zip(envelope.source_port)?;
    let addresses = Addresses::new(source, envelope.destination.ip())?;
    let length = u16::try_from(udp::HEADER_LEN + run.bytes).ok()?;
    let (vnet, rest) = buffer.split_at_mut(vnet::LEN);
    let ethernet = ethernet::Repr {
        destination: MacAddress::of_group(envelope.destination.ip())?,
        source: MacAddress(link),
        ethertype: if envelope.destination.is_ipv4() { EtherType::IPV4 } else { EtherType::IPV6 },
    };
    let rest = ethernet.emit(rest).ok()?;
    let ip = ip::Repr {
        addresses,
        protocol: Protocol::UDP,
        ttl: envelope.ttl,
        traffic_class: envelope.traffic_class,
        fragmentation: run.identification.map_or(Fragmentation::ATOMIC, Fragmentation::whole),
        payload_len: length.into(),
    };
    let rest = ip.emit(rest).ok()?;
    rest[..2].copy_from_slice(&source_port.to_be_bytes());
    rest[2..4].copy_from_slice(&envelope.destination.port().to_be_bytes());
    rest[4..6].copy_from_slice(&length.to_be_bytes());
    let partial = addresses.pseudo_header(Protocol::UDP, length).fold();
    rest[6..udp::HEADER_LEN].copy_from_slice(&partial.to_be_bytes());

    let headers = ethernet::HEADER_LEN + ip.header_len() + udp::HEADER_LEN;
    vnet.copy_from_slice(&vnet::of_udp(headers, run.segment));
    Some(vnet::LEN + headers)
}

#[cfg(test)]
mod tests {
    use mcast::wire::checksum::Sum;
    use mcast::wire::{ChecksumTrust, Datagram, ipv4};

    use super::*;

    fn envelope(source: &str, to: &str) -> Envelope {
        Envelope {
            destination: to.parse().unwrap(),
            ifindex: Some(2),
            source: Some(source.parse().unwrap()),
            source_port: Some(4000),
            ttl: 7,
            traffic_class: 0xb9,
        }
    }

    #[test]
    fn head_and_payload_make_a_frame() {
        for (source, to, link) in [
            ("192.0.2.1", "239.129.2.3:5000", [1, 0, 0x5e, 1, 2, 3]),
            ("2001:db8::1", "[ff3e::8000:1]:5000", [0x33, 0x33, 0x80, 0, 0, 1]),
        ] {
            let run = Run { bytes: 20, segment: None, identification: Some(9) };
            let head = Head::new([2; 6], &envelope(source, to), run).unwrap();
            let (vnet, frame) = head.as_bytes().split_at(vnet::LEN);
            assert_eq!((vnet[0], vnet[1], &frame[..6], &frame[6..12]), (1, 0, &link[..], &[2; 6][..]));
            let mut packet = [&frame[ethernet::HEADER_LEN..], &[8; 20]].concat();
            // What the device does: the sum from the UDP header on, the pseudo-header's being in its place.
            let start = usize::from(u16::from_ne_bytes([vnet[6], vnet[7]])) - ethernet::HEADER_LEN;
            let checksum = Sum::of(&packet[start..]).checksum();
            packet[start + 6..start + 8].copy_from_slice(&checksum.to_be_bytes());
            let datagram = Datagram::parse_ip(&packet, ChecksumTrust::Verify).unwrap();
            if let Ok(ip) = ipv4::Packet::parse(&packet) {
                assert_eq!((ip.identification(), ip.dont_fragment()), (9, false));
            }
            assert_eq!(datagram.source, source.parse::<std::net::IpAddr>().unwrap());
            assert_eq!((datagram.source_port, datagram.destination_port), (4000, 5000));
            assert_eq!((datagram.ttl, datagram.traffic_class, datagram.payload), (7, 0xb9, &[8; 20][..]));
        }
    }

    #[test]
    fn a_run_says_how_it_is_cut() {
        let run = Run { bytes: 2900, segment: Some(1400), identification: None };
        let head = Head::new([2; 6], &envelope("192.0.2.1", "239.1.1.1:5000"), run).unwrap();
        let word = |at: usize| u16::from_ne_bytes([head.as_bytes()[at], head.as_bytes()[at + 1]]);
        assert_eq!((head.as_bytes()[1], word(2), word(4)), (5, 42, 1400));
    }

    #[test]
    fn what_makes_no_frame_is_refused() {
        let run = |bytes| Run { bytes, segment: None, identification: None };
        let group = envelope("192.0.2.1", "239.1.1.1:5000");
        let sourceless = Envelope { source: None, ..group };
        for (envelope, bytes) in [
            (envelope("192.0.2.1", "192.0.2.2:5000"), 1),
            (envelope("2001:db8::1", "239.1.1.1:5000"), 1),
            (sourceless, 1),
            (group, 65_508),
        ] {
            assert!(Head::new([2; 6], &envelope, run(bytes)).is_err(), "{envelope:?}, {bytes} bytes");
        }
    }
}
