//! What strangers send takes no more than its share, and good datagrams come through it.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::blocks::BLOCK_COST;
use super::super::queue::DATAGRAMS_MAX;
use super::super::{BLOCKS, LIFETIME, MEMORY_MAX, Reassembler};
use super::{Bench, Fragment, V4, V6, bytes, cut_evenly};

/// First pieces of `len` bytes, of a datagram each.
fn flood(first_id: u32, count: u32, len: usize) -> impl Iterator<Item = Fragment> {
    (first_id..first_id + count).map(move |id| Fragment {
        addresses: V6,
        id,
        offset: 8 * (id as usize % 100),
        more: true,
        traffic_class: 0,
        payload: vec![id as u8; len],
    })
}

#[test]
fn what_is_said_to_be_taken_is_what_is_taken() {
    let reassembler = Reassembler::default();
    let (bytes, links) = reassembler.blocks.capacities();
    assert_eq!((bytes, links), (BLOCKS, BLOCKS));
    let taken = size_of::<Reassembler>() + BLOCKS * BLOCK_COST + reassembler.queue.memory();
    assert!((MEMORY_MAX - BLOCK_COST..=MEMORY_MAX).contains(&taken), "{taken} bytes in {BLOCKS} blocks");
}

#[test]
fn a_flood_takes_its_bound_and_no_more() {
    for len in [8, 256, 1448, 8192] {
        let mut bench = Bench::new();
        let capacities = bench.reassembler.blocks.capacities();
        for fragment in flood(0, 3 * DATAGRAMS_MAX as u32, len) {
            assert!(bench.take(&fragment).is_none());
        }
        assert_eq!(bench.reassembler.blocks.capacities(), capacities, "memory has grown");
        let blocks = len.div_ceil(256);
        let most = DATAGRAMS_MAX.min(BLOCKS / blocks) as u64;
        assert_eq!(bench.reassembler.held(), most, "{len}");
        bench.pass(LIFETIME);
        assert_eq!((bench.reassembler.held(), bench.reassembler.blocks.available()), (0, BLOCKS));
    }
}

/// Between any two pieces of a good datagram nearly as many strange ones come as there is room for.
#[test]
fn good_datagrams_come_through_a_flood() {
    for len in [8, 1448] {
        let between = DATAGRAMS_MAX.min(BLOCKS / usize::div_ceil(len, 256)) as u32 - 300;
        let whole = bytes(20_000);
        let (mut bench, mut id) = (Bench::new(), 0);
        for good in 0..3 {
            let fragments = cut_evenly(V4, good, &whole, 1480);
            let (last, before) = fragments.split_last().unwrap();
            for fragment in before {
                assert!(bench.take(fragment).is_none());
                flood(id, between, len).for_each(|strange| assert!(bench.take(&strange).is_none()));
                id += between;
            }
            assert_eq!(bench.take(last).unwrap().1, whole);
        }
    }
}

fn strange() -> impl Strategy<Value = Fragment> {
    let id = prop_oneof![0..20u32, 0..10_000u32];
    let len = prop_oneof![0..40usize, 1..1500usize, 1..9000usize, 60_000..65_000usize];
    let offset = prop_oneof![0..10usize, 0..8192usize];
    (any::<bool>(), id, offset, any::<bool>(), 0..4u8, len).prop_map(
        |(six, id, offset, more, traffic_class, len)| {
            let len = if more { len.next_multiple_of(8) } else { len };
            // At the start, one piece of many; in IPv6 with all headers, or it is malformed.
            let offset = if more && len > 0 { offset } else { offset + 1 };
            let addresses = if six { V6 } else { V4 };
            Fragment {
                addresses,
                id,
                offset: 8 * offset.min(8191),
                more,
                traffic_class,
                payload: vec![id as u8; len],
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn bounds_and_counts_hold_whatever_comes(
        seed in vec(strange(), 1..300),
        repeats in 1..20u32,
        pauses in vec(0..700u64, 1..20),
    ) {
        let mut bench = Bench::new();
        let capacities = bench.reassembler.blocks.capacities();
        for repeat in 0..repeats {
            for fragment in &seed {
                // Bench proves that every piece is counted once.
                bench.take(&Fragment { id: fragment.id + 977 * repeat, ..fragment.clone() });
            }
            prop_assert!(bench.reassembler.queue.len() <= DATAGRAMS_MAX);
            let pause = pauses[repeat as usize % pauses.len()];
            bench.pass(std::time::Duration::from_millis(pause));
        }
        prop_assert_eq!(bench.reassembler.blocks.capacities(), capacities);
        bench.pass(LIFETIME);
        prop_assert_eq!(bench.reassembler.held(), 0);
        prop_assert_eq!(bench.reassembler.blocks.available(), BLOCKS);
        prop_assert_eq!(bench.reassembler.queue.len(), 0);
        prop_assert_eq!(bench.reassembler.poll_timeout(), None);
    }
}
