//! A ring as the kernel leaves it, full of datagrams, and what relays them.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::unix::fs::FileExt as _;

use dataplane::counters::Counters;
use dataplane::forward::{Forwarder, Shared};
use dataplane::fragments::Fragments;
use dataplane::raw::Identifications;
use dataplane::sys::packet::SLOT_BYTES;
use dataplane::sys::ring::Ring;
use dataplane::table::{FlowEntry, FlowKey, LegEntry, SourceChoice, Table};
use rustc_hash::FxHashMap;
use rustix::fs::{MemfdFlags, memfd_create};

/// Slots of the ring, as many as a worker's IPv4 ring has by default.
const SLOTS: usize = 12_288;

/// Datagrams in it: those of a worker's longest round.
const DATAGRAMS: usize = 4096;

/// UDP payload of each.
const PAYLOAD: usize = 1400;

/// Where the link header begins in a slot, and the IP header behind it.
const MAC: u16 = 96;
const NET: u16 = MAC + 14;

const IFINDEX: u32 = 7;
const PORT: u16 = 5000;

/// What is relayed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) rules: u32,
    /// Flows of the datagrams, in turn; at most as many as rules.
    pub(crate) flows: u32,
    pub(crate) outputs: u32,
    /// Whether the device has said that checksums are right.
    pub(crate) checksum_verified: bool,
}

/// Everything a worker has when frames have arrived.
pub(crate) struct Recorded {
    ring: Ring,
    forwarder: Forwarder,
    fragments: Fragments,
    counters: Counters,
    sockets: FxHashMap<u32, std::os::fd::OwnedFd>,
    identifications: Identifications,
    /// Takes what is sent, and never reads it.
    _sink: UdpSocket,
}

impl Recorded {
    /// Makes it, and relays one round beforehand, so that all memory is had.
    pub(crate) fn new(shape: Shape) -> Self {
        let memory = File::from(memfd_create("ring", MemfdFlags::CLOEXEC).expect("memory for a ring"));
        memory.set_len((SLOTS * SLOT_BYTES) as u64).expect("memory for a ring");
        let ring = memory.try_clone().expect("a second descriptor");
        let ring = Ring::map(ring.into(), SLOTS * SLOT_BYTES, 0).expect("a ring");
        let sink = UdpSocket::bind("127.0.0.1:0").expect("a sink");
        let port = sink.local_addr().expect("its address").port();
        let out = UdpSocket::bind("127.0.0.1:0").expect("a socket to send from");
        let slots = shape.rules * (1 + shape.outputs);
        let (counters, _memory) = Counters::create(slots).expect("counters");
        let fragments = Fragments::succeed(&counters);
        let forwarder = Forwarder::new(table(shape, port));
        let sockets = FxHashMap::from_iter([(0, out.into())]);
        let identifications = Identifications::new(0, 1);
        let mut recorded =
            Self { ring, forwarder, fragments, counters, sockets, identifications, _sink: sink };
        fill(&memory, 0, shape);
        recorded.relay();
        fill(&memory, DATAGRAMS, shape);
        recorded
    }

    /// Relays and gives back all that is in the ring.
    pub(crate) fn relay(&mut self) {
        let mut frames = 0;
        // With many outputs a round ends before the ring does.
        while frames < DATAGRAMS {
            let shared = Shared {
                counters: &self.counters,
                sockets: &self.sockets,
                identifications: &self.identifications,
            };
            frames += self.forwarder.round(&mut self.ring, &mut self.fragments, shared);
            self.ring.release();
        }
        assert_eq!(frames, DATAGRAMS, "frames were left, or came from nowhere");
    }
}

fn group(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(239, 1, 0, 0).to_bits() + number)
}

fn table(shape: Shape, port: u16) -> Table {
    let flows = (0..shape.rules).map(|rule| {
        let first = rule * (1 + shape.outputs);
        let leg = |number| LegEntry {
            slot: first + 1 + number,
            socket: 0,
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: Some(port),
            ifindex: None,
            source: SourceChoice::Kernel,
            from: None,
            sport: Some(4000),
            ttl: Some(64),
            dscp: None,
            batch: None,
            mtu: 65_535,
            frames: None,
        };
        let key = FlowKey { ifindex: IFINDEX, address: group(rule).into(), source: None, port: Some(PORT) };
        FlowEntry { key, slot: first, legs: (0..shape.outputs).map(leg).collect(), pending: Vec::new() }
    });
    Table { generation: 1, flows: flows.collect(), own: Vec::new() }
}

/// Puts a datagram into each slot from one on, and hands it over.
fn fill(memory: &File, first: usize, shape: Shape) {
    for number in 0..DATAGRAMS {
        let frame = slot_bytes(shape, number as u32);
        memory.write_all_at(&frame, ((first + number) * SLOT_BYTES) as u64).expect("write a slot");
    }
}

/// A slot as packet(7) and linux/if_packet.h have it: `tpacket2_hdr`, `sockaddr_ll`, `virtio_net_hdr`, the frame.
fn slot_bytes(shape: Shape, number: u32) -> Vec<u8> {
    let trust = if shape.checksum_verified { libc::TP_STATUS_CSUM_VALID } else { 0 };
    let datagram = datagram(group(number % shape.flows));
    let length = 14 + datagram.len() as u32;
    let mut slot = Vec::with_capacity(SLOT_BYTES);
    for word in [libc::TP_STATUS_USER | trust, length, length] {
        slot.extend(word.to_ne_bytes());
    }
    slot.extend([MAC, NET].map(u16::to_ne_bytes).concat());
    // Arrival time, VLAN tag, padding.
    slot.extend([0; 16]);
    slot.extend((libc::AF_PACKET as u16).to_ne_bytes());
    slot.extend(0x0800u16.to_be_bytes());
    slot.extend(IFINDEX.to_ne_bytes());
    // Hardware type, packet type "to a group", address of 6 bytes.
    slot.extend(1u16.to_ne_bytes());
    slot.extend([libc::PACKET_MULTICAST, 6]);
    slot.resize(usize::from(NET), 0);
    slot.extend(datagram);
    slot
}

fn datagram(to: Ipv4Addr) -> Vec<u8> {
    let from = Ipv4Addr::new(10, 0, 0, 1);
    let udp_length = (8 + PAYLOAD) as u16;
    let mut ip = vec![0x45, 0];
    ip.extend((20 + udp_length).to_be_bytes());
    // Identification, flags and offset, TTL, UDP, checksum to come.
    ip.extend([0, 0, 0, 0, 16, 17, 0, 0]);
    ip.extend(from.octets());
    ip.extend(to.octets());
    let checksum = internet_checksum(&[&ip]);
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    let mut udp = [4000u16, PORT, udp_length, 0].map(u16::to_be_bytes).concat();
    udp.extend((0..PAYLOAD).map(|at| at as u8));
    let pseudo = [&from.octets()[..], &to.octets(), &[0, 17], &udp_length.to_be_bytes()].concat();
    let checksum = internet_checksum(&[&pseudo, &udp]);
    udp[6..8].copy_from_slice(&checksum.to_be_bytes());
    ip.extend(udp);
    ip
}

/// RFC 1071, for parts of even length.
fn internet_checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks_exact(2));
    let mut sum: u32 = words.map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
