//! The Internet checksum (RFC 1071): the complement of the ones' complement sum of 16-bit big-endian words.
//!
//! Sums are kept unfolded in a `u32`, so that pieces (pseudo header, header, data) can be added up; only a piece of even length may be
//! followed by another. A piece adds at most 16 bits to the sum, so that thousands of them fit.

use multiversion::multiversion;

/// Adds the words of `bytes` to `sum`; an odd last byte counts as the high half of a word.
///
/// The sum may be made of wider words in any byte order, if it is folded and turned round in the end (RFC 1071, section 2).
pub fn add(sum: u32, bytes: &[u8]) -> u32 {
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    let (words, last) = rest.as_chunks::<4>();
    let mut odd = [0; 4];
    odd[..last.len()].copy_from_slice(last);
    let first = if blocks.is_empty() { 0 } else { add_blocks(blocks) };
    let total = words.iter().chain([&odd]).fold(first, |total, word| total + wide(word));
    let folded = (total & 0xffff) + (total >> 16 & 0xffff) + (total >> 32 & 0xffff) + (total >> 48);
    sum + u32::from(u16::from_be(fold(folded as u32)))
}

const BLOCK: usize = 64;

/// Sixteen sums side by side, which processors with wide registers add at once: a segment's data takes half the time. With less than 2^28 blocks none overflows.
#[multiversion(targets("x86_64+avx2"))]
fn add_blocks(blocks: &[[u8; BLOCK]]) -> u64 {
    let mut sums = [0; BLOCK / 4];
    for block in blocks {
        for (sum, word) in sums.iter_mut().zip(block.as_chunks::<4>().0) {
            *sum += wide(word);
        }
    }
    sums.iter().sum()
}

fn wide(word: &[u8; 4]) -> u64 {
    u64::from(u32::from_ne_bytes(*word))
}

/// Adds one word.
pub fn add_word(sum: u32, word: u16) -> u32 {
    sum + u32::from(word)
}

/// The sum in 16 bits, not complemented: what a checksum's place holds before it is completed.
pub fn fold(sum: u32) -> u16 {
    let folded = (sum & 0xffff) + (sum >> 16);
    ((folded & 0xffff) + (folded >> 16)) as u16
}

/// The checksum of what was added up: folded to 16 bits and complemented.
pub fn finish(sum: u32) -> u16 {
    !fold(sum)
}

/// The checksum of `bytes`. Zero for bytes that already hold their right checksum.
pub fn of(bytes: &[u8]) -> u16 {
    finish(add(0, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn example_of_rfc_1071() {
        assert_eq!(of(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    }

    #[test]
    fn an_odd_byte_is_padded_with_zero() {
        assert_eq!(of(&[0x12, 0x34, 0x56]), of(&[0x12, 0x34, 0x56, 0x00]));
    }

    #[test]
    fn the_largest_input_does_not_overflow() {
        assert_eq!(of(&vec![0xff; 65_536]), 0);
    }

    proptest::proptest! {
        #[test]
        fn bytes_with_their_checksum_sum_to_zero(mut bytes in proptest::collection::vec(proptest::num::u8::ANY, 2..200)) {
            bytes[0] = 0;
            bytes[1] = 0;
            let sum = of(&bytes);
            bytes[..2].copy_from_slice(&sum.to_be_bytes());
            proptest::prop_assert_eq!(of(&bytes), 0);
        }

        #[test]
        fn agrees_with_adding_word_by_word(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..3000)) {
            let word = |pair: &[u8]| u64::from(pair[0]) * 256 + pair.get(1).map_or(0, |&low| u64::from(low));
            let mut sum: u64 = bytes.chunks(2).map(word).sum();
            while sum > 0xffff {
                sum = sum % 0x1_0000 + sum / 0x1_0000;
            }
            proptest::prop_assert_eq!(fold(add(0, &bytes)), sum as u16);
        }
    }
}
