//! The fast sum against a word-by-word one.

use proptest::prelude::*;

use crate::wire::checksum::{Sum, update};

/// RFC 1071, section 4.1, as written there: big-endian words, one at a time.
pub(super) fn naive(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[test]
fn rfc_1071_example() {
    // Section 3: 00 01 f2 03 f4 f5 f6 f7 sums to ddf2.
    let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
    assert_eq!(Sum::of(&bytes).fold(), 0xddf2);
    assert_eq!(Sum::of_array(&bytes).fold(), 0xddf2);
    assert_eq!(Sum::of(&bytes).checksum(), !0xddf2);
}

#[test]
fn carries_at_every_word_survive() {
    for len in 0..600 {
        let ones = vec![0xff; len];
        assert_eq!(Sum::of(&ones).checksum(), naive(&ones), "{len} bytes of ff");
        let mut carry = ones.clone();
        if let Some(last) = carry.last_mut() {
            *last = 1;
        }
        assert_eq!(Sum::of(&carry).checksum(), naive(&carry), "{len} bytes of ff, then 01");
    }
}

#[test]
fn every_length_and_alignment() {
    let bytes: Vec<u8> = (0..400u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for start in 0..16 {
        for end in start..bytes.len() {
            assert_eq!(Sum::of(&bytes[start..end]).checksum(), naive(&bytes[start..end]), "{start}..{end}");
        }
    }
}

proptest! {
    #[test]
    fn as_the_naive_one(bytes in proptest::collection::vec(any::<u8>(), 0..3000), start in 0usize..16) {
        let bytes = &bytes[start.min(bytes.len())..];
        prop_assert_eq!(Sum::of(bytes).checksum(), naive(bytes));
    }

    #[test]
    fn sums_of_parts_are_the_sum(bytes in proptest::collection::vec(any::<u8>(), 0..300), at in 0usize..300) {
        let (head, tail) = bytes.split_at(at.min(bytes.len()));
        let tail = if head.len() % 2 == 1 { Sum::of(tail).at_odd_offset() } else { Sum::of(tail) };
        prop_assert_eq!(Sum::of(head).plus(tail).checksum(), naive(&bytes));
    }

    #[test]
    fn fixed_size_as_slices(bytes in any::<[u8; 27]>()) {
        prop_assert_eq!(Sum::of_array(&bytes).checksum(), naive(&bytes));
    }

    #[test]
    fn updated_as_computed_anew(mut header in any::<[u8; 20]>(), word in 1usize..10, new in any::<u16>()) {
        // A header is never all zero, which alone has two representations.
        header[0] = 0x45;
        let old = u16::from_be_bytes([header[word * 2], header[word * 2 + 1]]);
        let before = naive(&header);
        header[word * 2..word * 2 + 2].copy_from_slice(&new.to_be_bytes());
        prop_assert_eq!(update(before, old, new), naive(&header));
    }
}
