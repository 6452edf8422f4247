//! A random way through the changes between three backends, and when on it what goes wrong. All of it comes from a seed.

use std::fmt;

use lab::Random;

/// The backends; every walk begins with the first.
const BACKENDS: [&str; 3] = ["udp", "vxlan", "host-gw"];

/// What befalls a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
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
    /// From udp to both backends of the kernel, before a node is frozen: a frozen daemon carries nothing itself, so that the kernel has to carry for it.
    pub approach: [&'static str; 2],
    /// The backends that are gone to while it is frozen, one after the other. The last is another than the one that it froze on, so that it has to move once thawed.
    pub legs: Vec<&'static str>,
    /// One more, once it is thawed.
    pub last: &'static str,
    befall: Vec<(Trouble, usize, Moment)>,
}

impl Walk {
    /// While a node is frozen: through all six changes between the three backends, each once, and one more; or (short) three changes by way of both others.
    pub fn random(random: &mut Random, long: bool) -> Walk {
        loop {
            if let Some(walk) = Walk::tried(random, long) {
                return walk;
            }
        }
    }

    /// A walk; none when chance led to one on which something would be cut off by nature, or has more than one end.
    fn tried(random: &mut Random, long: bool) -> Option<Walk> {
        let mut approach = [BACKENDS[1], BACKENDS[2]];
        random.shuffle(&mut approach);
        let from = approach[1];
        let mut legs = if long { round_trip(from, random) } else { Vec::new() };
        for _ in 0..if long { 1 } else { 3 } {
            legs.push(other_than(legs.last().copied().unwrap_or(from), random));
        }
        let end = *legs.last()?;
        let goes_everywhere = BACKENDS.iter().all(|backend| *backend == from || legs.contains(backend));
        if end == from || !goes_everywhere {
            return None;
        }
        let last = other_than(end, random);
        let mut walk = Walk { approach, legs, last, befall: Vec::new() };
        // A node without VXLAN and the one that was frozen have seen different pasts: where vxlan is wished, they meet on what either had last, if that is the same.
        if end == "vxlan" && without_vxlan(&walk.past(walk.legs.len())) != without_vxlan(&walk.past(0)) {
            return None;
        }
        let early = 0..walk.legs.len() - 1;
        let joins: Vec<(usize, Moment)> = early.flat_map(|leg| [(leg, Moment::Amid), (leg, Moment::After)]).collect();
        let restarts = walk.restarts();
        if restarts.is_empty() {
            return None;
        }
        for (trouble, places) in [(Trouble::Restart, restarts), (Trouble::Join, joins)] {
            let (leg, moment) = random.one_of(&places);
            walk.befall.push((trouble, leg, moment));
        }
        random.shuffle(&mut walk.befall);
        Some(walk)
    }

    /// The daemon of the udp backend carries the packets itself: one is restarted while the kernel carries them on all its pairs, also on that with the node that
    /// has no VXLAN.
    fn restarts(&self) -> Vec<(usize, Moment)> {
        let kernel = |leg: usize| {
            let past = self.past(leg);
            past.last() != Some(&"udp") && without_vxlan(&past) == Some("host-gw")
        };
        let after = (0..self.legs.len()).filter(|leg| kernel(leg + 1)).map(|leg| (leg, Moment::After));
        let amid = (0..self.legs.len()).filter(|leg| kernel(*leg) && kernel(leg + 1)).map(|leg| (leg, Moment::Amid));
        after.chain(amid).collect()
    }

    /// The backends until so many legs are gone.
    fn past(&self, legs: usize) -> Vec<&'static str> {
        BACKENDS[..1].iter().chain(&self.approach).chain(&self.legs[..legs]).copied().collect()
    }

    /// What befalls on that leg at that moment, in order.
    pub fn troubles(&self, leg: usize, moment: Moment) -> Vec<Trouble> {
        self.befall.iter().filter(|(_, on, when)| (*on, *when) == (leg, moment)).map(|(trouble, ..)| *trouble).collect()
    }
}

impl fmt::Display for Walk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}, frozen: {}, thawed: {}", BACKENDS[0], self.approach.join(", "), self.legs.join(", "), self.last)?;
        for (trouble, leg, moment) in &self.befall {
            write!(f, "; {trouble:?} {moment:?} {}. {}", leg + 1, self.legs[*leg])?;
        }
        Ok(())
    }
}

/// The way of a pair without VXLAN that has seen this past.
pub fn without_vxlan(past: &[&'static str]) -> Option<&'static str> {
    past.iter().rev().copied().find(|way| *way != "vxlan")
}

fn other_than(backend: &str, random: &mut Random) -> &'static str {
    let others: Vec<&'static str> = BACKENDS.into_iter().filter(|other| *other != backend).collect();
    random.one_of(&others)
}

/// Each of the six changes once, from that one and back: a wrong turn ends early, and is taken back.
fn round_trip(from: &str, random: &mut Random) -> Vec<&'static str> {
    let all = |from: usize| (0..BACKENDS.len()).filter(move |to| *to != from).map(move |to| (from, to));
    let mut left: Vec<(usize, usize)> = (0..BACKENDS.len()).flat_map(all).collect();
    random.shuffle(&mut left);
    let mut found = Vec::new();
    let begin = BACKENDS.iter().position(|backend| *backend == from).unwrap_or_default();
    assert!(go(begin, &mut left, &mut found), "there is such a round trip");
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
