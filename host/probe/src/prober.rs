//! What to send when: all pairs, a common budget, and what answers mean. Pure; the time is passed in.
//!
//! The budget bounds what a node sends, however many peers there are: first come ways in use that went silent, then those that may be better, then those that had
//! failed, and what is left goes to looking after what works, the more seldom the more peers there are.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use twill_model::item::LinkName;
use twill_model::proof::{Leg, Pair, Proofs, Target, Verdict};

use crate::packet::Answer;
use crate::report::{Datagrams, Report};
use crate::track::{Size, TOGETHER, Track};

/// Packets a second at most.
pub const RATE: u32 = 60;
/// Packets at once at most: a second's worth.
const BURST: f64 = RATE as f64;
/// The time in which the budget grows by a few packets.
const ROOM: Duration = Duration::from_millis(133);
/// The pause until a way that works is tried again, in a cluster small enough for it.
const CALM: Duration = Duration::from_secs(5);
/// It is never longer than this: what breaks is noticed in the end, in whatever cluster.
const LONGEST_CALM: Duration = Duration::from_secs(300);
/// The part of the rate that looking after working ways may take.
const CALM_PART: f64 = 0.15;
/// The first destination port of datagrams, traceroute's, and how many are used: nobody listens on these.
const FIRST_PORT: u16 = 33_434;
const PORTS: u16 = 90;

/// A packet to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shot {
    /// Its number, for an echo.
    pub number: u64,
    /// Where it goes.
    pub leg: Leg,
    /// What it is.
    pub size: Size,
    /// Bytes of the packet with its IP header.
    pub bytes: u32,
    /// Destination port, for a datagram.
    pub port: u16,
}

/// What became of a round that ended with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// A verdict changed.
    pub changed: bool,
    /// When the pair's next round begins.
    pub next: Instant,
}

/// All pairs that are tried.
#[derive(Debug)]
pub struct Prober {
    tracks: BTreeMap<Pair, Track>,
    /// Packets of a round over all pairs that work.
    packets: usize,
    /// Packets under way: by number, and datagrams by where they went.
    flying: HashMap<u64, Pair>,
    datagrams: HashMap<(IpAddr, u16), u64>,
    tokens: f64,
    filled: Instant,
    number: u64,
}

impl Prober {
    /// Nothing to try yet. `seed` begins the numbers of echoes, so that those of another run are not taken for ours.
    pub fn new(seed: u64, now: Instant) -> Prober {
        Prober {
            tracks: BTreeMap::new(),
            packets: 0,
            flying: HashMap::new(),
            datagrams: HashMap::new(),
            tokens: BURST,
            filled: now,
            number: seed,
        }
    }

    /// Takes over what is to be tried from now on; what is known of pairs that stay stays.
    pub fn retarget(&mut self, targets: Vec<Target>, now: Instant) {
        let mut before = std::mem::take(&mut self.tracks);
        for target in targets {
            let track = match before.remove(&target.pair) {
                Some(mut track) => {
                    track.retarget(target, now);
                    track
                }
                None => Track::new(target, now),
            };
            self.tracks.insert(track.target.pair.clone(), track);
        }
        self.packets = self.tracks.values().map(|track| track.target.legs.len()).sum();
        let tracks = &self.tracks;
        self.flying.retain(|_, pair| tracks.contains_key(pair));
        self.datagrams.retain(|_, number| self.flying.contains_key(number));
    }

    /// Ends what is over and gives what is to be sent now. True when some verdict changed.
    pub fn turn(&mut self, now: Instant) -> (Vec<Shot>, bool) {
        let calm = self.calm();
        let mut changed = false;
        for track in self.tracks.values_mut() {
            changed |= track.end(now, calm);
        }
        self.fill(now);
        let mut shots = Vec::new();
        for pair in self.due(now) {
            let Some(track) = self.tracks.get_mut(&pair) else { continue };
            let sizes = track.sizes();
            if self.tokens < sizes.len() as f64 {
                break;
            }
            self.tokens -= sizes.len() as f64;
            let numbers: Vec<u64> = (1..=sizes.len() as u64).map(|step| self.number.wrapping_add(step)).collect();
            self.number = self.number.wrapping_add(sizes.len() as u64);
            track.begin(&numbers, now);
            for ((leg, size), number) in sizes.into_iter().zip(numbers) {
                let bytes = track.bytes(leg, size);
                let leg = track.target.legs[leg].clone();
                let port = FIRST_PORT + (number % u64::from(PORTS)) as u16;
                if size == Size::Datagram {
                    self.datagrams.insert((leg.to, port), number);
                }
                self.flying.insert(number, pair.clone());
                shots.push(Shot { number, leg, size, bytes, port });
            }
        }
        self.forget_old();
        (shots, changed)
    }

    /// An answer came from that address. Says so when it was the last one of a round.
    pub fn heard(&mut self, from: IpAddr, answer: Answer, now: Instant) -> Option<Ended> {
        let (number, bytes) = match answer {
            Answer::Echo { number, bytes } => (number, bytes),
            Answer::Refused { to, .. } => (self.datagrams.remove(&(from, to))?, 0),
        };
        let calm = self.calm();
        let track = self.flying.get(&number).and_then(|pair| self.tracks.get_mut(pair))?;
        if !track.target.legs.iter().any(|leg| leg.to == from) {
            return None;
        }
        let over = track.heard(number, bytes, now);
        self.flying.remove(&number);
        over.then(|| Ended { changed: track.end(now, calm), next: track.wake() })
    }

    /// When to turn again, asked after a turn, if nothing comes before.
    pub fn wake(&self, now: Instant) -> Option<Instant> {
        let (calm, other): (Vec<&Track>, Vec<&Track>) = self.tracks.values().partition(|track| track.is_calm());
        // What is due and was not sent waits for the budget. Of what works all that is due before long was sent, or waits for a larger part of it.
        let other = other.into_iter().map(Track::wake).min().map(|next| if next <= now { now + ROOM } else { next });
        let calm = calm.into_iter().map(Track::wake).min().map(|next| next.max(now + TOGETHER));
        other.into_iter().chain(calm).min()
    }

    /// All verdicts that there are.
    pub fn proofs(&self) -> Proofs {
        let known = self.tracks.iter().filter(|(_, track)| track.report.verdict != Verdict::Unknown);
        known.map(|(pair, track)| (pair.clone(), track.proof())).collect()
    }

    /// How many pairs there are.
    pub fn pairs(&self) -> usize {
        self.tracks.len()
    }

    /// What there is to tell, a pair each.
    pub fn reports(&self) -> BTreeMap<Pair, Report> {
        self.tracks.iter().map(|(pair, track)| (pair.clone(), track.report.clone())).collect()
    }

    /// Links by which echoes come back and datagrams of the same size do not.
    pub fn silent_links(&self) -> Vec<LinkName> {
        let silent = self.tracks.values().filter(|track| track.report.datagrams == Datagrams::Silent);
        let mut links: Vec<LinkName> = silent.flat_map(|track| checked(track).map(|leg| leg.link.clone())).collect();
        links.sort();
        links.dedup();
        links
    }

    /// True when a large datagram arrived by that link.
    pub fn arrives_by(&self, link: &LinkName) -> bool {
        let by = |track: &&Track| checked(track).any(|leg| leg.link == *link);
        self.tracks.values().filter(by).any(|track| track.report.datagrams == Datagrams::Arrive)
    }

    /// The checksums of that link are made otherwise now: its datagrams are tried again.
    pub fn try_datagrams_again(&mut self, link: &LinkName, now: Instant) {
        self.silent_by(link).for_each(|track| track.try_datagrams_again(now));
    }

    /// Datagrams that go unanswered on that link say nothing against it.
    pub fn accept_silence(&mut self, link: &LinkName, now: Instant) {
        self.silent_by(link).for_each(|track| track.accept_silence(now));
    }

    fn silent_by(&mut self, link: &LinkName) -> impl Iterator<Item = &mut Track> {
        let silent = |track: &&mut Track| track.report.datagrams == Datagrams::Silent && checked(track).any(|leg| leg.link == *link);
        self.tracks.values_mut().filter(silent)
    }

    /// The more pairs there are, the longer the pause until each is looked at again.
    fn calm(&self) -> Duration {
        Duration::from_secs_f64(self.packets as f64 / (f64::from(RATE) * CALM_PART)).clamp(CALM, LONGEST_CALM)
    }

    /// The pairs whose rounds begin now, the most urgent first: not more than the budget has packets for. Of thousands that wait few are looked at closely.
    fn due(&self, now: Instant) -> Vec<Pair> {
        let room = self.tokens as usize;
        if room == 0 {
            return Vec::new();
        }
        let mut due: Vec<(u8, Instant, &Pair)> = self.tracks.values().filter(|track| track.is_due(now)).map(place).collect();
        if due.len() > room {
            due.select_nth_unstable(room);
            due.truncate(room);
        }
        due.sort();
        due.into_iter().map(|(_, _, pair)| pair.clone()).collect()
    }

    fn fill(&mut self, now: Instant) {
        let since = now.duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + since * f64::from(RATE)).min(BURST);
        self.filled = now;
    }

    /// Echoes whose round is over may still come; there is no use in knowing more than a few seconds' worth.
    fn forget_old(&mut self) {
        let newest = self.number;
        let recent = |number: u64| newest.wrapping_sub(number) < u64::from(RATE) * 10;
        self.flying.retain(|number, _| recent(*number));
        self.datagrams.retain(|_, number| recent(*number));
    }
}

fn checked(track: &Track) -> impl Iterator<Item = &Leg> {
    track.target.legs.iter().filter(|leg| leg.checksum)
}

fn place(track: &Track) -> (u8, Instant, &Pair) {
    (track.urgency(), track.wake(), &track.target.pair)
}

#[cfg(test)]
#[path = "prober_tests.rs"]
mod tests;
