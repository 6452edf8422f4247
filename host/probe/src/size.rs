//! How long a packet one leg carries: what its link says, until such a packet goes missing while small ones come back. Then the size is measured.
//!
//! A round of a measurement sends several sizes at once, spread between the largest that came back and the smallest that did not, and the wanted one beside them,
//! so that a packet that was merely lost does not count. Three rounds tell one size of 576 to 1500 bytes. Afterwards the size that was found proves the leg, and the wanted
//! one is sent beside it: a path that is wide again is noticed with the next round. Pure.

use std::time::{Duration, Instant};

/// Sizes between the known bounds that one round tries.
const BETWEEN: u32 = 9;
/// A measurement does not look below: what every IPv4 host takes in, and every IPv6 link carries.
const FLOOR_V4: u32 = 576;
const FLOOR_V6: u32 = 1280;
/// A path that was found narrow is measured anew after this time, since it may have grown in part.
const AGAIN: Duration = Duration::from_secs(600);

/// What is known of one leg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carries {
    wanted: u32,
    floor: u32,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// All that its link carries.
    Whole,
    /// `came` came back, or is the floor; `missing` did not.
    Measuring { came: u32, missing: u32, proved: bool },
    /// At most `fits`.
    Narrow { fits: u32, since: Instant },
}

/// What a round said of a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// It carries packets of the size that is known.
    Works,
    /// The size is being measured: another round tells more.
    Undecided,
    /// It does not work.
    Fails,
}

impl Carries {
    /// A leg whose link carries `wanted` bytes.
    pub fn new(wanted: u32, is_v4: bool) -> Carries {
        Carries { wanted, floor: if is_v4 { FLOOR_V4 } else { FLOOR_V6 }, state: State::Whole }
    }

    /// The size that is known to be less than the link's.
    pub fn fits(&self) -> Option<u32> {
        if let State::Narrow { fits, .. } = self.state { Some(fits) } else { None }
    }

    /// The size that is known to pass; none while it is measured.
    pub fn known(&self) -> Option<u32> {
        match self.state {
            State::Whole => Some(self.wanted),
            State::Narrow { fits, .. } => Some(fits),
            State::Measuring { .. } => None,
        }
    }

    /// The size of the large echoes that a round sends, the wanted one first.
    pub fn sizes(&self) -> Vec<u32> {
        let mut sizes = vec![self.wanted];
        match self.state {
            State::Whole => {}
            State::Narrow { fits, .. } => sizes.push(fits),
            State::Measuring { came, missing, proved } => {
                sizes.extend((!proved).then_some(came));
                let gap = missing - came;
                sizes.extend((1..=BETWEEN).map(|step| came + (gap * step).div_ceil(BETWEEN + 1)).filter(|size| *size < missing));
                sizes.dedup();
            }
        }
        sizes
    }

    /// A round is over. `small` came back, or not, and of the large echoes those of which `came` is true.
    pub fn judge(&mut self, small: bool, came: impl Fn(u32) -> bool, now: Instant) -> Found {
        if !small {
            // Nothing is learned of sizes where nothing comes back.
            self.state = if let State::Measuring { .. } = self.state { State::Whole } else { self.state };
            return Found::Fails;
        }
        if came(self.wanted) {
            self.state = State::Whole;
            return Found::Works;
        }
        let sizes = self.sizes();
        match self.state {
            State::Whole => self.measure(),
            State::Narrow { fits, .. } if !came(fits) => self.measure(),
            State::Narrow { fits, since } if now.duration_since(since) >= AGAIN => {
                self.state = State::Measuring { came: fits, missing: self.wanted, proved: true };
                Found::Undecided
            }
            State::Narrow { .. } => Found::Works,
            State::Measuring { came: before, missing, proved } => {
                let largest = sizes.iter().copied().filter(|size| came(*size)).max();
                let least = largest.unwrap_or(before).max(before);
                let above = sizes.iter().copied().filter(|size| *size > least && !came(*size)).min().unwrap_or(missing);
                self.narrow(least, above.min(missing), proved || largest.is_some(), now)
            }
        }
    }

    fn measure(&mut self) -> Found {
        if self.wanted <= self.floor {
            self.state = State::Whole;
            return Found::Fails;
        }
        self.state = State::Measuring { came: self.floor, missing: self.wanted, proved: false };
        Found::Undecided
    }

    fn narrow(&mut self, came: u32, missing: u32, proved: bool, now: Instant) -> Found {
        match (proved, missing > came + 1) {
            (false, _) => {
                // Not even the least size: that is no narrow path.
                self.state = State::Whole;
                Found::Fails
            }
            (true, true) => {
                self.state = State::Measuring { came, missing, proved };
                Found::Undecided
            }
            (true, false) => {
                self.state = State::Narrow { fits: came, since: now };
                Found::Works
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goes on until something is found; gives that, and the rounds that it took.
    fn found(carries: &mut Carries, path: u32, now: Instant) -> (Found, usize) {
        for round in 1..20 {
            match carries.judge(true, |size| size <= path, now) {
                Found::Undecided => {}
                found => return (found, round),
            }
        }
        panic!("it never ends: {carries:?}");
    }

    #[test]
    fn a_link_that_carries_all_it_says_is_not_measured() {
        let mut carries = Carries::new(1450, true);
        assert_eq!((found(&mut carries, 1450, Instant::now()), carries.sizes()), ((Found::Works, 1), vec![1450]));
    }

    #[test]
    fn a_narrow_path_is_measured_to_the_byte_in_four_rounds() {
        for path in [576, 577, 1000, 1280, 1371, 1372, 1471] {
            let mut carries = Carries::new(1472, true);
            let (found, rounds) = found(&mut carries, path, Instant::now());
            assert_eq!((found, carries.fits()), (Found::Works, Some(path)));
            assert!(rounds <= 4, "{rounds} rounds for {path}");
        }
    }

    #[test]
    fn a_path_that_is_wide_again_is_noticed_at_once_and_one_that_shrinks_is_measured_again() {
        let (mut carries, now) = (Carries::new(1472, true), Instant::now());
        found(&mut carries, 1372, now);
        assert_eq!(carries.sizes(), [1472, 1372]);
        found(&mut carries, 1300, now);
        assert_eq!(carries.fits(), Some(1300));
        assert_eq!(carries.judge(true, |size| size <= 1400, now), Found::Works, "grown in part: seen when it is measured anew");
        let later = now + AGAIN;
        assert_eq!(found(&mut carries, 1400, later), (Found::Works, 4));
        assert_eq!(carries.fits(), Some(1400));
        assert_eq!((found(&mut carries, 1472, later), carries.fits()), ((Found::Works, 1), None));
    }

    #[test]
    fn a_lost_packet_is_no_narrow_path() {
        let (mut carries, now) = (Carries::new(1472, true), Instant::now());
        assert_eq!(carries.judge(true, |_| false, now), Found::Undecided);
        assert_eq!((found(&mut carries, 1472, now), carries.fits()), ((Found::Works, 1), None));
    }

    #[test]
    fn what_carries_no_packet_of_the_least_size_fails() {
        let mut carries = Carries::new(1472, false);
        assert_eq!(found(&mut carries, 1279, Instant::now()).0, Found::Fails);
        assert_eq!(carries.judge(false, |_| true, Instant::now()), Found::Fails, "small ones are missing");
        let mut tight = Carries::new(1280, false);
        assert_eq!(found(&mut tight, 1000, Instant::now()), (Found::Fails, 1), "there is nothing to measure");
    }

    proptest::proptest! {
        #[test]
        fn every_size_is_found_whatever_the_link_says(wanted in 577u32..9001, part in 0.0f64..1.0) {
            let path = 576 + (f64::from(wanted - 576) * part) as u32;
            let mut carries = Carries::new(wanted, true);
            let (found, rounds) = found(&mut carries, path, Instant::now());
            proptest::prop_assert_eq!(found, Found::Works);
            proptest::prop_assert_eq!(carries.fits().unwrap_or(wanted), path);
            proptest::prop_assert!(rounds <= 5);
        }
    }
}
