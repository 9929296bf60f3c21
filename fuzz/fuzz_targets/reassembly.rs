//! Fragments of a few datagrams, and time: each piece comes to one end, memory is bounded, and what becomes whole is
//! made of bytes that were sent for it, at the place they were sent for.
#![no_main]

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use mcast::reassembly::{LIFETIME, PIECES_MAX, Reassembler};
use mcast::wire::fragment::{Header, LENGTH_MAX, Piece};
use mcast::wire::{Addresses, Protocol};

/// Bytes of input to one piece.
const STEP: usize = 8;

/// The payload byte at a place of a datagram; the top bit may differ from piece to piece.
fn byte(identification: u32, at: usize) -> u8 {
    (at as u8 ^ (at >> 8) as u8 ^ identification as u8) & 0x7f
}

fuzz_target!(|input: &[u8]| {
    let mut reassembler = Reassembler::default();
    let mut into: Box<[u8; LENGTH_MAX]> =
        vec![0; LENGTH_MAX].into_boxed_slice().try_into().expect("its own length");
    let mut now = Instant::now();
    let (mut handled, mut settled) = (0, 0);
    let mut bytes = vec![0; LENGTH_MAX];
    for &[what, id, offset_high, offset_low, len_high, len_low, traffic_class, pause] in
        input.as_chunks::<STEP>().0
    {
        now += Duration::from_millis(u64::from(pause));
        let identification = u32::from(id);
        let addresses = if what & 1 == 0 {
            Addresses::V4 { source: Ipv4Addr::LOCALHOST, destination: Ipv4Addr::BROADCAST }
        } else {
            Addresses::V6 { source: Ipv6Addr::LOCALHOST, destination: Ipv6Addr::UNSPECIFIED }
        };
        let offset = u16::from_be_bytes([offset_high, offset_low]) & !7;
        let len = usize::from(u16::from_be_bytes([len_high, len_low]));
        for (at, byte_at) in bytes[..len].iter_mut().enumerate() {
            *byte_at = byte(identification, usize::from(offset) + at) | (what & 2) << 6;
        }
        let header = Header { addresses, next_header: Protocol::UDP, ttl: 1, traffic_class };
        let room = (LENGTH_MAX - usize::from(what >> 4) * 4) as u16;
        let piece =
            Piece { header, identification, offset, more: what & 4 == 0, room, payload: &bytes[..len] };
        reassembler.handle_piece(u32::from(what >> 3 & 1), &piece, now);
        handled += 1;
        if let Some(whole) = reassembler.poll_whole(&mut into) {
            settled += u64::from(whole.pieces);
            assert!(whole.pieces as usize <= PIECES_MAX && whole.len <= LENGTH_MAX);
            let right = |(at, byte_at): (usize, &u8)| byte_at & 0x7f == byte(identification, at);
            assert!(into[..whole.len].iter().enumerate().all(right));
            let _ = whole.header.datagram(&into[..whole.len]);
        }
        settled += reassembler.take_dropped();
        assert_eq!(handled, settled + reassembler.held());
    }
    reassembler.handle_timeout(now + LIFETIME);
    assert_eq!((reassembler.held(), reassembler.poll_timeout()), (0, None));
    assert_eq!(handled, settled + reassembler.take_dropped());
});
