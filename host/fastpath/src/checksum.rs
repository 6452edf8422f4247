//! The Internet checksum (RFC 1071): the complement of the ones' complement sum of 16-bit big-endian words.
//!
//! Sums are kept unfolded in a `u32`, so that pieces (pseudo header, header, data) can be added up; only a piece of even length may be
//! followed by another. Inputs are at most 64 KiB, so that 32 bits suffice.

/// Adds the words of `bytes` to `sum`; an odd last byte counts as the high half of a word.
pub fn add(sum: u32, bytes: &[u8]) -> u32 {
    let words = bytes.chunks_exact(2);
    let rest = words.remainder().first().map_or(0, |&last| u32::from(last) << 8);
    words.fold(sum + rest, |sum, word| sum + u32::from(u16::from_be_bytes([word[0], word[1]])))
}

/// The checksum of what was added up: folded to 16 bits and complemented.
pub fn finish(sum: u32) -> u16 {
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    !(folded as u16)
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
    }
}
