//! Any split in any order comes out equal, any overlap comes out as nothing, and a model that keeps bytes one by one
//! agrees with every step.

use std::collections::BTreeSet;

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use proptest::sample::Index;

use super::{Bench, Fragment, V4, V6, bytes, cut};

/// A datagram and where to cut it.
fn split() -> impl Strategy<Value = (bool, Vec<u8>, Vec<usize>)> {
    let len = prop_oneof![9..200usize, 9..5000usize, 60_000..65_515usize];
    (any::<bool>(), len).prop_flat_map(|(six, len)| {
        let places = btree_set(1..len.div_ceil(8), 1..40.min(len.div_ceil(8)).max(2));
        let cuts = places.prop_map(|places: BTreeSet<usize>| places.iter().map(|at| 8 * at).collect());
        (Just(six), Just(bytes(len)), cuts)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_split_in_any_order_comes_out_equal(
        (fragments, whole) in split().prop_flat_map(|(six, whole, cuts)| {
            let fragments = cut(if six { V6 } else { V4 }, 7, &whole, &cuts);
            (Just(fragments).prop_shuffle(), Just(whole))
        }),
        repeated in vec(any::<(Index, Index)>(), 0..10),
    ) {
        let mut order = fragments.clone();
        let mut duplicates = 0;
        for (which, later) in repeated {
            // Behind the one it repeats and before the last, or it would begin a datagram of its own.
            let at = which.index(order.len());
            let behind = at + 1..order.len();
            if !behind.is_empty() {
                order.insert(behind.start + later.index(behind.len()), order[at].clone());
                duplicates += 1;
            }
        }
        let mut bench = Bench::new();
        let (last, before) = order.split_last().unwrap();
        prop_assert!(bench.take_all(before).is_empty());
        let (made, payload) = bench.take(last).unwrap();
        prop_assert!(payload == whole);
        prop_assert_eq!((usize::from(made.pieces), made.len), (fragments.len(), whole.len()));
        prop_assert_eq!((bench.dropped, bench.reassembler.held()), (duplicates, 0));
    }

    #[test]
    fn any_overlap_comes_out_as_nothing(
        (fragments, whole) in split().prop_flat_map(|(six, whole, cuts)| {
            let fragments = cut(if six { V6 } else { V4 }, 7, &whole, &cuts);
            (Just(fragments).prop_shuffle(), Just(whole))
        }),
        place in any::<(Index, Index)>(),
        changed in any::<Option<Index>>(),
        when in any::<Index>(),
    ) {
        let start = 8 * place.0.index(whole.len().div_ceil(8));
        let end = start + 8 * (1 + place.1.index((whole.len() - start).div_ceil(8)));
        let end = end.min(whole.len());
        let mut payload = whole[start..end].to_vec();
        if let Some(at) = changed {
            payload[at.index(end - start)] ^= 0x10;
        }
        let overlapping = Fragment { offset: start, more: end < whole.len(), payload, ..fragments[0].clone() };
        let same = |fragment: &&Fragment| {
            (fragment.offset, &fragment.payload) == (overlapping.offset, &overlapping.payload)
        };
        // A duplicate is none, and the whole is no fragment.
        prop_assume!(!fragments.iter().any(|fragment| same(&fragment)));
        prop_assume!(overlapping.more || start > 0);
        // Anywhere between one it overlaps and the last, then all of it once more.
        let mut order = fragments.clone();
        let overlaps = |other: &Fragment| other.offset < end && start < other.offset + other.payload.len();
        let mut behind = order.iter().position(overlaps).unwrap();
        if behind + 1 == order.len() {
            order.swap(0, behind);
            behind = 0;
        }
        order.insert(behind + 1 + when.index(fragments.len() - behind - 1), overlapping);
        order.extend(fragments);
        let mut bench = Bench::new();
        prop_assert!(bench.take_all(&order).is_empty());
        prop_assert_eq!(bench.reassembler.held(), 0);
    }
}

/// The rules said once more, byte by byte.
#[derive(Default)]
struct Model {
    bytes: Vec<Option<u8>>,
    taken: Vec<Fragment>,
    end: Option<usize>,
    dead: bool,
}

impl Model {
    fn take(&mut self, fragment: &Fragment) -> Option<Vec<u8>> {
        let same = |other: &Fragment| {
            (other.offset, other.more, &other.payload) == (fragment.offset, fragment.more, &fragment.payload)
        };
        let (start, end) = (fragment.offset, fragment.offset + fragment.payload.len());
        let odd = fragment.payload.is_empty() || (fragment.more && !fragment.payload.len().is_multiple_of(8));
        if self.dead || odd || self.taken.iter().any(same) {
            return None;
        }
        self.bytes.resize(self.bytes.len().max(end), None);
        let ends = if fragment.more { self.end } else { Some(end) };
        let beyond =
            ends.is_some_and(|ends| self.bytes[ends.min(self.bytes.len())..].iter().any(Option::is_some));
        let second_end = !fragment.more && self.end.is_some();
        if self.bytes[start..end].iter().any(Option::is_some)
            || beyond
            || second_end
            || ends.is_some_and(|ends| end > ends || (fragment.more && end == ends))
        {
            self.dead = true;
            return None;
        }
        for (byte, place) in fragment.payload.iter().zip(&mut self.bytes[start..end]) {
            *place = Some(*byte);
        }
        self.taken.push(fragment.clone());
        self.end = ends;
        let whole = self.bytes[..self.end?].iter().copied().collect::<Option<Vec<u8>>>()?;
        *self = Self::default();
        Some(whole)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn a_model_agrees_with_every_step(
        pieces in vec((0..6usize, 1..25usize, any::<bool>(), 0..8u8), 1..30),
    ) {
        let (mut bench, mut model) = (Bench::new(), Model::default());
        for (offset, len, more, content) in pieces {
            let len = if more && len > 4 { len.next_multiple_of(8) } else { len };
            // Mostly the bytes of one datagram, so that duplicates are among them.
            let mut payload = bytes(80)[8 * offset..8 * offset + len].to_vec();
            payload[0] ^= u8::from(content == 0);
            let fragment = Fragment { addresses: V4, id: 7, offset: 8 * offset, more, traffic_class: 0, payload };
            if fragment.offset == 0 && !more {
                // No fragment at all.
                continue;
            }
            let made = bench.take(&fragment).map(|(_, bytes)| bytes);
            prop_assert_eq!(made, model.take(&fragment), "{:?}", fragment);
        }
    }
}
