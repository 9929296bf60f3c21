//! Single cases: what the RFCs say of one fragment or another.

use std::time::Duration;

use super::super::{LIFETIME, PIECES_MAX};
use super::{Bench, Fragment, V4, V6, bytes, cut, cut_evenly};
use crate::wire::{Addresses, Malformed, Piece};

#[test]
fn the_longest_datagrams_are_put_together_from_frames_of_1500_bytes() {
    // What the length field of the packet leaves behind the IPv4 header, and in IPv6 all of it.
    for (addresses, size, len) in [(V4, 1480, 65_515), (V6, 1448, 65_535)] {
        let whole = bytes(len);
        let mut fragments = cut_evenly(addresses, 7, &whole, size);
        for _ in 0..2 {
            let mut bench = Bench::new();
            assert!(bench.take_all(&fragments) == [whole.clone()], "{addresses:?}");
            assert_eq!((bench.dropped, bench.reassembler.poll_timeout()), (0, None));
            fragments.reverse();
        }
    }
}

#[test]
fn pieces_beyond_the_longest_packet_are_dropped_alone() {
    for (addresses, most) in [(V4, 65_515), (V6, 65_535)] {
        let whole = bytes(most);
        let good = cut(addresses, 7, &whole, &[65_000]);
        let mut bench = Bench::new();
        let one = |offset, len| Fragment { offset, payload: bytes(len), ..good[1].clone() };
        assert!(bench.take(&good[0]).is_none());
        for beyond in [one(65_000, most - 65_000 + 1), one(65_528, 8), one(65_512, 24)] {
            assert!(bench.take(&beyond).is_none());
        }
        assert_eq!(bench.dropped, 3, "the datagram is not harmed");
        assert_eq!(bench.take(&good[1]).unwrap().1, whole);
    }
}

/// Its headers may be longer than those of the pieces that came before it.
#[test]
fn a_first_piece_whose_headers_leave_no_room_ends_the_datagram() {
    let whole = bytes(64_000);
    let fragments = cut(V4, 7, &whole, &[32_000]);
    for (room, comes) in [(64_000, true), (63_999, false)] {
        let mut bench = Bench::new();
        bench.take(&fragments[1]);
        let packet = fragments[0].packet();
        let first = Piece { room, ..Piece::parse_ip(&packet).unwrap().unwrap() };
        bench.reassembler.handle_piece(1, &first, bench.now);
        bench.handled += 1;
        let made = bench.reassembler.poll_whole(&mut bench.into);
        bench.in_wholes += made.map_or(0, |whole| u64::from(whole.pieces));
        bench.prove();
        assert_eq!((made.is_some(), bench.reassembler.held()), (comes, 0), "{room}");
    }
}

#[test]
fn pieces_of_odd_length_and_empty_ones_are_dropped_alone() {
    for addresses in [V4, V6] {
        let whole = bytes(40);
        let good = cut(addresses, 7, &whole, &[16, 32]);
        let odd = Fragment { payload: bytes(15), ..good[1].clone() };
        let empty = Fragment { payload: Vec::new(), ..good[1].clone() };
        let empty_last = Fragment { more: false, ..empty.clone() };
        let empty_within = Fragment { offset: 8, ..empty.clone() };
        let mut bench = Bench::new();
        bench.take_all(&[good[0].clone(), odd, empty, empty_last, empty_within]);
        assert_eq!((bench.dropped, bench.reassembler.held()), (4, 1));
        assert!(bench.take_all(&good[1..]) == [whole]);
    }
}

#[test]
fn exact_duplicates_are_dropped_alone_and_others_end_the_datagram() {
    for addresses in [V4, V6] {
        let whole = bytes(48);
        let good = cut(addresses, 7, &whole, &[16, 32]);
        for at in 0..3 {
            let mut bench = Bench::new();
            let mut order = good.clone();
            order.remove((at + 1) % 3);
            order.push(good[at].clone());
            order.push(good[(at + 1) % 3].clone());
            assert!(bench.take_all(&order) == [whole.clone()], "{at}");
            assert_eq!(bench.dropped, 1);

            // The same place, other bytes; or the same bytes, said to be the last or not.
            let mut other = good[at].clone();
            other.payload[3] ^= 1;
            let other_end = Fragment { more: !good[at].more, ..good[at].clone() };
            // The first said to be the last is no fragment.
            let is_fragment = |other: &Fragment| other.more || other.offset > 0;
            for overlapping in [other, other_end].into_iter().filter(is_fragment) {
                let mut bench = Bench::new();
                assert!(bench.take(&good[at]).is_none());
                assert!(bench.take(&overlapping).is_none());
                assert_eq!((bench.dropped, bench.reassembler.held()), (2, 0));
                // Also those not yet received (RFC 5722, section 4).
                assert!(bench.take_all(&good).is_empty());
                assert_eq!(bench.dropped, 5);
            }
        }
    }
}

#[test]
fn pieces_that_disagree_about_the_end_end_the_datagram() {
    let whole = bytes(64);
    let good = cut(V6, 7, &whole, &[16, 32, 48]);
    let end = |offset: usize| Fragment { offset, more: false, payload: bytes(8), ..good[0].clone() };
    // Behind the end, at it, and an end before what is there.
    for contradiction in [end(64), end(48), end(8), Fragment { offset: 64, ..good[0].clone() }] {
        let mut bench = Bench::new();
        bench.take_all(&[good[3].clone(), good[1].clone()]);
        assert!(bench.take(&contradiction).is_none());
        assert!(bench.take_all(&good).is_empty(), "{contradiction:?}");
        assert_eq!(bench.dropped, 7);
    }
}

#[test]
fn datagrams_are_told_apart_by_all_of_their_key() {
    let other = match V4 {
        Addresses::V4 { source, .. } => Addresses::V4 { source, destination: [239, 1, 1, 2].into() },
        v6 @ Addresses::V6 { .. } => v6,
    };
    let parts = [(V4, 7), (V4, 8), (other, 7), (V6, 7), (V6, 0x1_0007)];
    let wholes: Vec<_> = (0..parts.len()).map(|number| vec![number as u8; 32]).collect();
    let all: Vec<_> =
        parts.iter().zip(&wholes).map(|((to, id), whole)| cut(*to, *id, whole, &[16])).collect();
    let mut bench = Bench::new();
    for half in 0..2 {
        for fragments in &all {
            let made = bench.take(&fragments[half]);
            assert_eq!(made.map(|(_, bytes)| bytes), (half == 1).then(|| fragments[0].payload.repeat(2)));
        }
    }
    // The interface counts too.
    let [first, last] = &all[0][..] else { unreachable!() };
    let (first, last) = (first.packet(), last.packet());
    for (ifindex, packet) in [(1, first), (2, last)] {
        let piece = Piece::parse_ip(&packet).unwrap().unwrap();
        bench.reassembler.handle_piece(ifindex, &piece, bench.now);
        assert_eq!(bench.reassembler.poll_whole(&mut bench.into), None);
    }
}

#[test]
fn what_is_not_whole_after_two_seconds_is_given_up() {
    let fragments = cut(V4, 7, &bytes(48), &[16, 32]);
    let mut bench = Bench::new();
    assert!(bench.take(&fragments[2]).is_none());
    bench.pass(Duration::from_millis(1500));
    assert!(bench.take(&fragments[0]).is_none());
    assert_eq!(bench.reassembler.poll_timeout(), Some(bench.now + Duration::from_millis(500)));
    bench.pass(Duration::from_millis(499));
    assert_eq!((bench.dropped, bench.reassembler.held()), (0, 2), "the time runs from the first piece");
    bench.pass(Duration::from_millis(1));
    assert_eq!((bench.dropped, bench.reassembler.held(), bench.reassembler.poll_timeout()), (2, 0, None));
    // A piece that comes too late begins anew, also where nobody looked at the time meanwhile.
    assert!(bench.take_all(&fragments[..2]).is_empty());
    bench.now += LIFETIME;
    assert!(bench.take(&fragments[2]).is_none());
    assert_eq!((bench.dropped, bench.reassembler.held()), (4, 1));
}

#[test]
fn a_datagram_of_too_many_pieces_is_given_up() {
    let most = cut_evenly(V4, 7, &bytes(8 * PIECES_MAX), 8);
    let more = cut_evenly(V4, 8, &bytes(8 * PIECES_MAX + 8), 8);
    let mut bench = Bench::new();
    assert_eq!(bench.take_all(&most).len(), 1);
    assert_eq!(bench.take_all(&more).len(), 0);
    assert_eq!((bench.dropped, bench.reassembler.held()), (PIECES_MAX as u64 + 1, 0));
}

#[test]
fn congestion_met_by_any_piece_is_kept() {
    const NOT_CAPABLE: u8 = 0b00;
    const CAPABLE: [u8; 2] = [0b01, 0b10];
    const MET: u8 = 0b11;
    let dscp = 46 << 2;
    let made = |codepoints: [u8; 3]| {
        let mut fragments = cut(V4, 7, &bytes(48), &[16, 32]);
        for (fragment, codepoint) in fragments.iter_mut().zip(codepoints) {
            fragment.traffic_class = dscp | codepoint;
        }
        let mut bench = Bench::new();
        let made = fragments.iter().filter_map(|fragment| bench.take(fragment)).next();
        assert_eq!(bench.reassembler.held(), 0);
        made.map(|(whole, _)| whole.header.traffic_class)
    };
    for capable in CAPABLE {
        assert_eq!(made([capable; 3]), Some(dscp | capable));
        for at in 0..3 {
            let mut codepoints = [capable; 3];
            codepoints[at] = MET;
            assert_eq!(made(codepoints), Some(dscp | MET), "{codepoints:?}");
        }
    }
    assert_eq!(made([MET; 3]), Some(dscp | MET));
    assert_eq!(made([NOT_CAPABLE; 3]), Some(dscp));
    // RFC 3168, section 5.3: that must not come out as met, and must not be lost.
    for at in 0..3 {
        let mut codepoints = [NOT_CAPABLE; 3];
        codepoints[at] = MET;
        assert_eq!(made(codepoints), None, "{codepoints:?}");
    }
}

#[test]
fn what_is_given_up_counts_and_leaves_room() {
    let mut bench = Bench::new();
    bench.take_all(&cut(V4, 7, &bytes(48), &[16, 32])[..2]);
    bench.take_all(&cut(V6, 7, &bytes(48), &[16, 32])[1..]);
    bench.reassembler.abandon();
    bench.prove();
    assert_eq!((bench.dropped, bench.reassembler.held(), bench.reassembler.poll_timeout()), (4, 0, None));
}

/// One nobody asked for is dropped, not leaked.
#[test]
fn a_whole_that_is_not_polled_is_dropped() {
    let mut bench = Bench::new();
    let fragments = cut(V4, 7, &bytes(32), &[16]);
    for fragment in fragments.iter().chain(&fragments[..1]) {
        let packet = fragment.packet();
        let piece = Piece::parse_ip(&packet).unwrap().unwrap();
        bench.reassembler.handle_piece(1, &piece, bench.now);
        bench.handled += 1;
    }
    bench.prove();
    assert_eq!((bench.dropped, bench.reassembler.held()), (2, 1));
    assert_eq!(bench.reassembler.poll_whole(&mut bench.into), None);
}

#[test]
fn the_udp_checksum_is_over_the_whole() {
    for addresses in [V4, V6] {
        let mut whole = vec![0; 8 + 100];
        let udp = crate::wire::udp::Repr { source_port: 4000, destination_port: 5000 };
        udp.emit(&addresses, &bytes(100), &mut whole).unwrap();
        for flipped in [None, Some(20), Some(107)] {
            let mut sent = whole.clone();
            if let Some(at) = flipped {
                sent[at] ^= 4;
            }
            let mut bench = Bench::new();
            let fragments = cut(addresses, 7, &sent, &[16, 32]);
            let made = fragments.iter().filter_map(|fragment| bench.take(fragment)).next();
            let (made, payload) = made.unwrap();
            match (flipped, made.header.datagram(&payload)) {
                (None, Ok(datagram)) => {
                    assert_eq!(datagram.payload, bytes(100));
                    assert_eq!((datagram.source_port, datagram.destination_port), (4000, 5000));
                    assert_eq!((datagram.source, datagram.ttl), (addresses.source(), 9));
                }
                (flipped, result) => {
                    assert_eq!((flipped.is_some(), result), (true, Err(Malformed::UdpChecksum)));
                }
            }
        }
    }
}
