//! Which packets that wait for a peer leave in one send: a run, laid out as UDP_SEGMENT wants it.
//!
//! The kernel cuts a send of a run into datagrams of equal size, of which only the last may be shorter. It takes at most
//! UDP_MAX_SEGMENTS of them (64; 128 since Linux 6.10, linux/udp.h) and as many bytes as one datagram could have.

use crate::peer::LONGEST_PAYLOAD;

/// The most packets in a run, on every kernel.
pub const MOST: usize = 64;

/// How many packets from the front of `waiting` (target and length of each) leave together: at least one where there is one, at most `most`.
pub fn run(mut waiting: impl Iterator<Item = (u32, usize)>, most: usize) -> usize {
    let Some((target, size)) = waiting.next() else { return 0 };
    let (mut count, mut bytes) = (1, size);
    for (other, len) in waiting {
        if count == most || other != target || len > size || bytes + len > LONGEST_PAYLOAD {
            break;
        }
        (count, bytes) = (count + 1, bytes + len);
        if len < size {
            break;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(waiting: &[(u32, usize)]) -> usize {
        run(waiting.iter().copied(), MOST)
    }

    #[test]
    fn a_run_ends_at_the_first_that_differs() {
        assert_eq!(count(&[]), 0);
        assert_eq!(count(&[(0, 100)]), 1);
        assert_eq!(count(&[(0, 100), (0, 100), (1, 100)]), 2, "another peer");
        assert_eq!(count(&[(0, 100), (0, 101)]), 1, "a longer one");
        assert_eq!(count(&[(0, 100), (0, 40), (0, 40)]), 2, "a shorter one is the last");
    }

    #[test]
    fn a_run_keeps_the_kernels_limits() {
        assert_eq!(count(&[(0, 60); 200]), 64);
        assert_eq!(count(&[(0, 1472); 200]), 44, "65 507 bytes");
        assert_eq!(run([(0, 60); 9].into_iter(), 1), 1, "segmenting is off");
    }

    proptest::proptest! {
        #[test]
        fn every_run_is_one_that_the_kernel_takes(waiting in proptest::collection::vec((0u32..2, 20usize..2000), 1..100)) {
            let count = count(&waiting);
            let run = &waiting[..count];
            let (last, equal) = run.split_last().expect("at least one");
            proptest::prop_assert!(count <= MOST && run.iter().map(|(_, len)| len).sum::<usize>() <= LONGEST_PAYLOAD);
            proptest::prop_assert!(run.iter().all(|(target, _)| *target == run[0].0));
            proptest::prop_assert!(equal.iter().all(|(_, len)| *len == run[0].1) && last.1 <= run[0].1);
        }
    }
}
