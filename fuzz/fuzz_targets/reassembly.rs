//! Fragments of a few datagrams, and time: each piece comes to one end, memory is bounded, and what becomes whole is
//! made of bytes that were sent for it, at the place they were sent for.
#![no_main]

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use mcast::reassembly::{LIFETIME, PIECES_MAX, Reassembler};
use mcast::wire::fragment::{Header, LENGTH_MAX, Piece};
use mcast::wire::{Addresses, Protocol};

/// Bytes of input to one piece.
const STEP: usize = 8;

/// Kinds of datagrams with bytes of their own.
const KINDS: usize = 4;

/// Where a piece may differ from another of the same place.
const TOP: u8 = 0x80;

/// The payload bytes of each kind of datagram, and the same with their top bit set.
static BYTES: LazyLock<[[Vec<u8>; 2]; KINDS]> = LazyLock::new(|| {
    let byte = |kind: usize, at: usize| (at ^ (at >> 8) ^ (kind * 31)) as u8 & !TOP;
    std::array::from_fn(|kind| {
        [0, TOP].map(|top| (0..2 * LENGTH_MAX).map(|at| byte(kind, at) | top).collect())
    })
});

fuzz_target!(|input: &[u8]| {
    let mut reassembler = Reassembler::default();
    let mut into: Box<[u8; LENGTH_MAX]> =
        vec![0; LENGTH_MAX].into_boxed_slice().try_into().expect("its own length");
    let mut now = Instant::now();
    let (mut handled, mut settled) = (0, 0);
    for &[what, id, offset_high, offset_low, len_high, len_low, traffic_class, pause] in
        input.as_chunks::<STEP>().0
    {
        now += Duration::from_millis(u64::from(pause));
        let addresses = if what & 1 == 0 {
            Addresses::V4 { source: Ipv4Addr::LOCALHOST, destination: Ipv4Addr::BROADCAST }
        } else {
            Addresses::V6 { source: Ipv6Addr::LOCALHOST, destination: Ipv6Addr::UNSPECIFIED }
        };
        let offset = u16::from_be_bytes([offset_high, offset_low]) & !7;
        let len = u16::from_be_bytes([len_high, len_low]);
        let bytes = &BYTES[usize::from(id) % KINDS];
        let payload = &bytes[usize::from(what >> 1 & 1)][offset.into()..][..len.into()];
        let header = Header { addresses, next_header: Protocol::UDP, ttl: 1, traffic_class };
        let room = (LENGTH_MAX - usize::from(what >> 4) * 4) as u16;
        let piece = Piece { header, identification: id.into(), offset, more: what & 4 == 0, room, payload };
        reassembler.handle_piece(u32::from(what >> 3 & 1), &piece, now);
        handled += 1;
        if let Some(whole) = reassembler.poll_whole(&mut into) {
            settled += u64::from(whole.pieces);
            assert!(usize::from(whole.pieces) <= PIECES_MAX && whole.len <= LENGTH_MAX);
            let same = |(got, sent): (&u8, &u8)| got & !TOP == *sent;
            assert!(into[..whole.len].iter().zip(&bytes[0]).all(same));
            let _ = whole.header.datagram(&into[..whole.len]);
        }
        settled += reassembler.take_dropped();
        assert_eq!(handled, settled + reassembler.held());
    }
    reassembler.handle_timeout(now + LIFETIME);
    assert_eq!((reassembler.held(), reassembler.poll_timeout()), (0, None));
    assert_eq!(handled, settled + reassembler.take_dropped());
});
