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

/// How many of `count` packets (target and length of each) leave from the front in runs to which nothing comes that follows all of them; the others are a run in which more of
/// their length has room.
pub fn filled(count: usize, packet: impl Fn(usize) -> (u32, usize), most: usize) -> usize {
    let mut at = 0;
    loop {
        let length = run((at..count).map(&packet), most);
        if at + length < count {
            at += length;
            continue;
        }
        let size = |number| packet(number).1;
        let could_grow = length > 0 && length < most && size(count - 1) == size(at) && (length + 1) * size(at) <= LONGEST_PAYLOAD;
        return if could_grow { at } else { count };
    }
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

    #[test]
    fn the_beginning_of_a_run_is_not_filled() {
        let filled = |waiting: &[(u32, usize)], most| filled(waiting.len(), |number| waiting[number], most);
        assert_eq!(filled(&[], MOST), 0);
        assert_eq!(filled(&[(0, 1472); 50], MOST), 44, "six that more may join");
        assert_eq!(filled(&[(0, 1472); 88], MOST), 88, "no room in either");
        assert_eq!(filled(&[(0, 60); 64], MOST), 64, "no packet more");
        assert_eq!(filled(&[(0, 1472), (0, 1472), (0, 40)], MOST), 3, "a shorter one is the last");
        assert_eq!(filled(&[(0, 1472), (1, 1472)], MOST), 1, "of another peer");
        assert_eq!(filled(&[(0, 1472)], 1), 1, "segmenting is off");
    }

    proptest::proptest! {
        #[test]
        fn what_is_filled_leaves_as_it_would_with_more_behind_it(
            waiting in proptest::collection::vec((0u32..2, proptest::prop_oneof![60usize..70, 1_390usize..1_400], 1usize..100), 0..6),
            another in 1usize..100,
        ) {
            let repeated = |(target, len, times): (u32, usize, usize)| std::iter::repeat_n((target, len), times);
            let waiting: Vec<(u32, usize)> = waiting.into_iter().flat_map(repeated).collect();
            let filled = filled(waiting.len(), |number| waiting[number], MOST);
            let (leaving, held) = waiting.split_at(filled);
            proptest::prop_assert!(held.windows(2).all(|pair| pair[0] == pair[1]), "of one length, to one peer");
            let mut at = 0;
            while at < leaving.len() {
                // More of what came last.
                let more = waiting[at..].iter().chain(std::iter::repeat_n(&waiting[waiting.len() - 1], another));
                at += run(more.copied(), MOST);
            }
            proptest::prop_assert_eq!(at, leaving.len());
            if let Some(first) = held.first() {
                proptest::prop_assert!(run(held.iter().chain([first]).copied(), MOST) > held.len(), "one more has room");
            }
        }

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
