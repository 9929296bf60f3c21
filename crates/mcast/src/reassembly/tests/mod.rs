//! Pieces as they come off the wire, for the tests of what is made of them.

mod cases;
mod flood;
mod properties;

use std::ops::Range;
use std::time::Instant;

use super::{Reassembler, Whole};
use crate::wire::fragment::{LENGTH_MAX, Piece};
use crate::wire::{Addresses, Protocol, extension, ipv4, ipv6};

const V4: Addresses = Addresses::V4 {
    source: std::net::Ipv4Addr::new(10, 0, 0, 1),
    destination: std::net::Ipv4Addr::new(239, 1, 1, 1),
};
const V6: Addresses = Addresses::V6 {
    source: std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
    destination: std::net::Ipv6Addr::new(0xff3e, 0, 0, 0, 0, 0, 0, 1),
};

/// The packet of one fragment.
#[derive(Clone, Debug)]
struct Fragment {
    addresses: Addresses,
    id: u32,
    offset: usize,
    more: bool,
    traffic_class: u8,
    payload: Vec<u8>,
}

impl Fragment {
    fn packet(&self) -> Vec<u8> {
        let offset = u16::try_from(self.offset).unwrap();
        let mut buffer = vec![0; 48 + self.payload.len()];
        let (ttl, traffic_class) = (9, self.traffic_class);
        let (header, rest) = match self.addresses {
            Addresses::V4 { source, destination } => {
                let repr = ipv4::Repr {
                    source,
                    destination,
                    protocol: Protocol::UDP,
                    ttl,
                    traffic_class,
                    identification: self.id as u16,
                    dont_fragment: false,
                    more_fragments: self.more,
                    fragment_offset: offset,
                    options: &[],
                    payload_len: self.payload.len(),
                };
                (ipv4::HEADER_LEN, repr.emit(&mut buffer).unwrap())
            }
            Addresses::V6 { source, destination } => {
                let repr = ipv6::Repr {
                    source,
                    destination,
                    next_header: Protocol::FRAGMENT,
                    hop_limit: ttl,
                    traffic_class,
                    flow_label: 0,
                    payload_len: extension::FRAGMENT_LEN + self.payload.len(),
                };
                let fragment = extension::Fragment {
                    next_header: Protocol::UDP,
                    offset,
                    more: self.more,
                    identification: self.id,
                };
                let rest = repr.emit(&mut buffer).unwrap();
                (ipv6::HEADER_LEN + extension::FRAGMENT_LEN, fragment.emit(rest).unwrap())
            }
        };
        rest[..self.payload.len()].copy_from_slice(&self.payload);
        buffer.truncate(header + self.payload.len());
        buffer
    }
}

/// `whole` cut at these places, which are multiples of eight.
fn cut(addresses: Addresses, id: u32, whole: &[u8], at: &[usize]) -> Vec<Fragment> {
    let ends = at.iter().copied().chain([whole.len()]);
    let starts = [0].into_iter().chain(at.iter().copied());
    let one = |Range { start, end }: Range<usize>| Fragment {
        addresses,
        id,
        offset: start,
        more: end < whole.len(),
        traffic_class: 0,
        payload: whole[start..end].to_vec(),
    };
    starts.zip(ends).map(|(start, end)| one(start..end)).collect()
}

/// `whole` cut into pieces of `size` bytes.
fn cut_evenly(addresses: Addresses, id: u32, whole: &[u8], size: usize) -> Vec<Fragment> {
    cut(addresses, id, whole, &(size..whole.len()).step_by(size).collect::<Vec<_>>())
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at * 7 + at / 251) as u8).collect()
}

/// A reassembler that is handed packets, and proves at each step that it counts every one of them.
struct Bench {
    reassembler: Reassembler,
    into: Box<[u8; LENGTH_MAX]>,
    now: Instant,
    handled: u64,
    dropped: u64,
    in_wholes: u64,
}

impl Bench {
    fn new() -> Self {
        let into = vec![0; LENGTH_MAX].into_boxed_slice().try_into().unwrap();
        let reassembler = Reassembler::default();
        Self { reassembler, into, now: Instant::now(), handled: 0, dropped: 0, in_wholes: 0 }
    }

    /// Takes a fragment; answers the headers and payload it completed.
    fn take(&mut self, fragment: &Fragment) -> Option<(Whole, Vec<u8>)> {
        let packet = fragment.packet();
        let piece = Piece::parse_ip(&packet).unwrap().unwrap();
        self.reassembler.handle_piece(1, &piece, self.now);
        self.handled += 1;
        let whole = self.reassembler.poll_whole(&mut self.into);
        self.in_wholes += whole.map_or(0, |whole| u64::from(whole.pieces));
        self.prove();
        whole.map(|whole| (whole, self.into[..whole.len].to_vec()))
    }

    fn take_all(&mut self, fragments: &[Fragment]) -> Vec<Vec<u8>> {
        fragments.iter().filter_map(|fragment| self.take(fragment)).map(|(_, bytes)| bytes).collect()
    }

    /// Lets time pass.
    fn pass(&mut self, time: std::time::Duration) {
        self.now += time;
        self.reassembler.handle_timeout(self.now);
        self.prove();
    }

    fn prove(&mut self) {
        self.dropped += self.reassembler.take_dropped();
        assert_eq!(self.handled, self.in_wholes + self.dropped + self.reassembler.held());
    }
}
