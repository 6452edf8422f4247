//! Taking turns: what is used to reach a peer while all of its ways have failed.
//!
//! An answer comes back by the way that the peer has in use. Where two nodes have a failed way in use, each towards the other, no proof of another way can
//! arrive, although one might work. So both go through all ways, one at another pace than the other: while the slow one stays with a way, the fast one
//! stays with each of its own for long enough to prove it. Once the slow one's works, the fast one finds one that works and stays, and then so does the slow one. They
//! need no common clock and no common order for that. A peer that is gone costs ever fewer turns.
//!
//! Pure; the time is passed in.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use twill_model::Prefixes;
use twill_model::proof::{Proof, Verdict};

/// How long the fast one stays with a way in its first circle: longer than the prober's pause between tries of a failed way in use and a proof after failure together.
const SHORTEST: Duration = Duration::from_secs(8);
/// How often turns become twice as long, each time after the slow one's circle.
const DOUBLINGS: u32 = 3;

/// The peers whose ways have all failed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turns(BTreeMap<Prefixes, Turn>);

/// The turn of one way of a peer.
#[derive(Debug, Clone, Copy)]
struct Turn {
    until: Instant,
    /// Turns before this one.
    taken: u32,
}

impl Turns {
    /// The way to use instead of `chosen`, a place in `proofs`: that one, unless all have failed and its turn is over. `mine` are the own subnets.
    pub fn take(&mut self, mine: &Prefixes, peer: Prefixes, proofs: &[Proof], chosen: usize, now: Instant) -> usize {
        if proofs.len() < 2 || proofs.iter().any(|proof| proof.verdict != Verdict::Failed) {
            self.0.remove(&peer);
            return chosen;
        }
        // What is in use has just failed when the first turn begins, and no other way could be proved by it.
        let taken = match self.0.get(&peer) {
            Some(turn) if now < turn.until => return chosen,
            Some(turn) => turn.taken + 1,
            None => 0,
        };
        self.0.insert(peer, Turn { until: now + length(mine > &peer, taken, proofs.len()), taken });
        (chosen + 1) % proofs.len()
    }

    /// When the next turn is over.
    pub fn next(&self) -> Option<Instant> {
        self.0.values().map(|turn| turn.until).min()
    }

    /// Forgets peers that are gone.
    pub fn keep_only(&mut self, wanted: impl Fn(&Prefixes) -> bool) {
        self.0.retain(|peer, _| wanted(peer));
    }
}

/// How long a turn is. The slow one's takes as long as all of the fast one's and one more: somewhere in it each of them lies whole. Both double theirs after the
/// same time, which is one circle of the slow one.
fn length(slow: bool, taken: u32, ways: usize) -> Duration {
    let ways = u32::try_from(ways).unwrap_or(u32::MAX);
    let longer = ways.saturating_add(1);
    let circle = if slow { ways } else { ways.saturating_mul(longer) };
    let short = SHORTEST * 2_u32.pow((taken / circle).min(DOUBLINGS));
    if slow { short.saturating_mul(longer) } else { short }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::lease;

    /// Goes on in steps of a second. Answers with the places taken, second by second.
    fn places(slow: bool, ways: usize, seconds: u64) -> Vec<usize> {
        let (mine, peer) = if slow { (lease(9), lease(2)) } else { (lease(1), lease(2)) };
        let (mut turns, start, mut place) = (Turns::default(), Instant::now(), 0);
        let proofs = vec![Proof::from(Verdict::Failed); ways];
        let at = |second| {
            place = turns.take(&mine.subnets, peer.subnets, &proofs, place, start + Duration::from_secs(second));
            place
        };
        (0..seconds).map(at).collect()
    }

    /// The longest stretch of seconds that both stay with `way`.
    fn longest_together(slow: &[usize], fast: &[usize], of_slow: usize, of_fast: usize) -> usize {
        let both: Vec<bool> = slow.iter().zip(fast).map(|(slow, fast)| *slow == of_slow && *fast == of_fast).collect();
        both.split(|both| !both).map(<[bool]>::len).max().unwrap_or(0)
    }

    #[test]
    fn whatever_works_is_in_use_on_both_sides_at_once_within_five_minutes_wherever_each_began() {
        for ways in 2..=3 {
            for late in 0..30 {
                let (slow, fast) = (places(true, ways, 300), places(false, ways, 300 + late));
                for (of_slow, of_fast) in (0..ways).flat_map(|slow| (0..ways).map(move |fast| (slow, fast))) {
                    let together = longest_together(&slow, &fast[late as usize..], of_slow, of_fast);
                    // A pause of five seconds before the next try, and three answers half a second apart.
                    assert!(together >= 7, "{ways} ways, {late} s: {of_slow} and {of_fast} only for {together} s");
                }
            }
        }
    }

    #[test]
    fn a_peer_that_comes_back_after_an_hour_is_found_within_half_an_hour() {
        let (hour, most) = (3600, 1800);
        for ways in 2..=3 {
            for slow_waited in [true, false] {
                let (long, fresh) = (places(slow_waited, ways, hour + most), places(!slow_waited, ways, most));
                let long = &long[hour as usize..];
                for (of_long, of_fresh) in (0..ways).flat_map(|long| (0..ways).map(move |fresh| (long, fresh))) {
                    let together = longest_together(long, &fresh, of_long, of_fresh);
                    assert!(together >= 7, "{ways} ways: {of_long} and {of_fresh} only for {together} s");
                }
            }
        }
    }

    #[test]
    fn a_peer_that_is_gone_costs_ever_fewer_turns() {
        let moves = |places: &[usize]| places.windows(2).filter(|pair| pair[0] != pair[1]).count();
        let fast = places(false, 3, 3600);
        assert!(moves(&fast[..60]) >= 5 && moves(&fast[3000..]) <= 11, "{} and {}", moves(&fast[..60]), moves(&fast[3000..]));
    }

    #[test]
    fn nothing_takes_turns_while_a_way_is_open_or_there_is_no_other() {
        let (mine, peer) = (lease(1).subnets, lease(2).subnets);
        let (mut turns, start) = (Turns::default(), Instant::now());
        let failed = Proof::from(Verdict::Failed);
        for second in 0..100 {
            let now = start + Duration::from_secs(second);
            assert_eq!(turns.take(&mine, peer, &[failed, Verdict::Unknown.into()], 1, now), 1);
            assert_eq!(turns.take(&mine, peer, &[failed], 0, now), 0);
            assert_eq!(turns.next(), None);
        }
        assert_eq!(turns.take(&mine, peer, &[failed, failed], 1, start), 0, "the next one at once");
        assert_eq!(turns.next(), Some(start + SHORTEST));
        turns.keep_only(|_| false);
        assert_eq!(turns.next(), None);
    }
}
