//! A random way through the changes between three backends, and when on it what goes wrong. All of it comes from a seed.

use std::fmt;

use lab::Random;

/// The backends; every walk begins and ends with the first.
const BACKENDS: [&str; 3] = ["udp", "vxlan", "host-gw"];

/// What befalls a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// A daemon is frozen until the end.
    Freeze,
    /// A daemon is killed and started again.
    Restart,
    /// A node joins.
    Join,
}

/// When, on a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// While nodes and pairs move.
    Amid,
    /// Once all have.
    After,
}

/// A walk.
#[derive(Debug)]
pub struct Walk {
    /// The backends that are gone to, one after the other.
    pub legs: Vec<&'static str>,
    befall: Vec<(Trouble, usize, Moment)>,
}

impl Walk {
    /// Through all six changes between the three backends, each once, or (short) through all three backends.
    pub fn random(random: &mut Random, long: bool) -> Walk {
        let legs = if long { round_trip(random) } else { triangle(random) };
        // The daemon of the udp backend carries the packets itself: what befalls one does so while the kernel carries them.
        let kernel = |leg: usize| legs[leg] != "udp";
        let after: Vec<(usize, Moment)> = (0..legs.len()).filter(|leg| kernel(*leg)).map(|leg| (leg, Moment::After)).collect();
        let amid = (1..legs.len()).filter(|leg| kernel(*leg) && kernel(*leg - 1)).map(|leg| (leg, Moment::Amid));
        let restarts: Vec<(usize, Moment)> = after.iter().copied().chain(amid).collect();
        let joins: Vec<(usize, Moment)> = (0..legs.len()).flat_map(|leg| [(leg, Moment::Amid), (leg, Moment::After)]).collect();
        let mut befall: Vec<(Trouble, usize, Moment)> = Vec::new();
        let mut add = |trouble, (leg, moment)| befall.push((trouble, leg, moment));
        // Not at the very last moment, so that something happens after it.
        let early = |places: &[(usize, Moment)]| places.iter().copied().filter(|(leg, _)| leg + 1 < legs.len()).collect::<Vec<_>>();
        add(Trouble::Freeze, random.one_of(&early(&after)));
        add(Trouble::Restart, random.one_of(&restarts));
        add(Trouble::Join, random.one_of(&early(&joins)));
        random.shuffle(&mut befall);
        Walk { legs, befall }
    }

    /// What befalls on that leg at that moment, in order.
    pub fn troubles(&self, leg: usize, moment: Moment) -> Vec<Trouble> {
        self.befall.iter().filter(|(_, on, when)| (*on, *when) == (leg, moment)).map(|(trouble, ..)| *trouble).collect()
    }
}

impl fmt::Display for Walk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", BACKENDS[0], self.legs.join(", "))?;
        for (trouble, leg, moment) in &self.befall {
            write!(f, "; {trouble:?} {moment:?} {}. {}", leg + 1, self.legs[*leg])?;
        }
        Ok(())
    }
}

/// The backends of a past, each once, the newest first: in this order nodes publish their ways.
pub fn newest_first(past: &[&'static str]) -> Vec<&'static str> {
    let mut ways = Vec::new();
    for backend in past.iter().rev() {
        if !ways.contains(backend) {
            ways.push(*backend);
        }
    }
    ways
}

/// All three, from the first and back.
fn triangle(random: &mut Random) -> Vec<&'static str> {
    let mut others = [BACKENDS[1], BACKENDS[2]];
    random.shuffle(&mut others);
    others.into_iter().chain([BACKENDS[0]]).collect()
}

/// Each of the six changes once, from the first and back: a wrong turn ends early, and is taken back.
fn round_trip(random: &mut Random) -> Vec<&'static str> {
    let all = |from: usize| (0..BACKENDS.len()).filter(move |to| *to != from).map(move |to| (from, to));
    let mut left: Vec<(usize, usize)> = (0..BACKENDS.len()).flat_map(all).collect();
    random.shuffle(&mut left);
    let mut found = Vec::new();
    assert!(go(0, &mut left, &mut found), "there is such a round trip");
    found.into_iter().map(|backend: usize| BACKENDS[backend]).collect()
}

fn go(from: usize, left: &mut Vec<(usize, usize)>, found: &mut Vec<usize>) -> bool {
    if left.is_empty() {
        return true;
    }
    for place in 0..left.len() {
        if left[place].0 != from {
            continue;
        }
        let (_, to) = left.remove(place);
        found.push(to);
        if go(to, left, found) {
            return true;
        }
        found.pop();
        left.insert(place, (from, to));
    }
    false
}
