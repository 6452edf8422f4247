//! What is known of one pair: rounds of echoes, the verdict, and when to try again. Pure; the time is passed in.

use std::time::{Duration, Instant};

use twill_model::proof::{Leg, Proof, Target, Verdict};

use crate::report::{Datagrams, Missing, Narrow, Report};
use crate::size::{Carries, Found};

/// How long an answer may take.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// So many rounds in a row without all answers, and the way has failed.
const TRIES: u32 = 3;
/// So many rounds in a row with all answers, and a way that had failed is proved again: one that comes and goes is left alone.
const TRIES_AFTER_FAILURE: u32 = 3;
/// The pause between those.
const RECOVERING: Duration = Duration::from_millis(500);
/// The pause after a failure, doubled each time.
const FIRST_BACK_OFF: Duration = Duration::from_secs(2);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(60);
/// The longest pause for the way in use: nothing better is to be had, so its return matters most.
const LONGEST_IN_USE: Duration = Duration::from_secs(5);
/// How much earlier than planned a way that works may be tried again.
pub const TOGETHER: Duration = Duration::from_millis(500);
/// Large datagrams that may go unanswered before the link's checksums are doubted.
const DATAGRAMS: u32 = 3;
/// The small echo, in bytes with its IP header.
pub const SMALL: u32 = 84;

/// What is sent in a round over one leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Size {
    /// A small echo.
    Small,
    /// An echo of so many bytes with its IP header: as large as the link carries, or one of those by which the size is measured.
    Large(u32),
    /// A datagram as large as the leg carries, to a port that nobody listens on.
    Datagram,
}

/// One echo of a round.
#[derive(Debug, Clone)]
struct Flying {
    number: u64,
    leg: usize,
    size: Size,
    /// It should come back, by what is known of the leg: one that only tells the size is no loss.
    expected: bool,
    came: bool,
}

/// A round that is not over.
#[derive(Debug, Clone)]
struct Round {
    since: Instant,
    flying: Vec<Flying>,
}

/// The state of one pair.
#[derive(Debug)]
pub struct Track {
    /// What is tried.
    pub target: Target,
    /// What is known.
    pub report: Report,
    round: Option<Round>,
    /// What each leg carries.
    carries: Vec<Carries>,
    good: u32,
    bad: u32,
    back_off: Duration,
    /// The last 32 echoes: a set bit came back. And how many there were.
    history: (u32, u32),
    unanswered_datagrams: u32,
    /// That large datagrams go unanswered says nothing against the way.
    silence_accepted: bool,
    /// When the next round begins.
    next: Instant,
}

impl Track {
    /// Nothing is known yet; to be tried at once.
    pub fn new(target: Target, now: Instant) -> Track {
        Track {
            carries: carries(&target),
            target,
            report: Report { next: Some(now), ..Report::default() },
            round: None,
            good: 0,
            bad: 0,
            back_off: FIRST_BACK_OFF,
            history: (0, 0),
            unanswered_datagrams: 0,
            silence_accepted: false,
            next: now,
        }
    }

    /// The same pair as it is now. Other links or sizes are tried at once.
    pub fn retarget(&mut self, target: Target, now: Instant) {
        if target.legs != self.target.legs {
            self.round = None;
            self.carries = carries(&target);
            self.set_next(now);
        }
        if target.in_use && !self.target.in_use {
            self.set_next(self.next.min(now + RECOVERING));
        }
        self.target = target;
    }

    /// When something is to be done: a round ends or the next one begins.
    pub fn wake(&self) -> Instant {
        self.round.as_ref().map_or(self.next, |round| round.since + PATIENCE)
    }

    /// True when a round may begin. Of a way that works it may begin a little early, with those of others, so that the processor wakes for many at once.
    pub fn is_due(&self, now: Instant) -> bool {
        let early = if self.is_calm() { TOGETHER } else { Duration::ZERO };
        self.round.is_none() && self.next <= now + early
    }

    /// True while it works and is looked after now and then.
    pub fn is_calm(&self) -> bool {
        self.round.is_none()
            && self.carries.iter().all(|carries| carries.known().is_some())
            && self.report.verdict == Verdict::Proved
            && self.bad == 0
    }

    /// The urgency of the next round, 0 the most: a way in use that went silent, one that may be better, one that had failed, one that is known to work.
    pub fn urgency(&self) -> u8 {
        match (self.report.verdict, self.target.in_use) {
            (Verdict::Proved, true) if self.bad > 0 => 0,
            (Verdict::Unknown, _) => 1,
            (Verdict::Failed, _) => 2,
            (Verdict::Proved, _) => 3,
        }
    }

    /// What the next round sends. A way that works is looked after by its large echo: when that comes back, small ones do.
    pub fn sizes(&self) -> Vec<(usize, Size)> {
        let asks = self.report.datagrams == Datagrams::Unknown;
        let of = |(place, (leg, carries)): (usize, (&Leg, &Carries))| {
            let small = (!self.is_calm() || carries.fits().is_some()).then_some((place, Size::Small)).into_iter();
            let large = carries.sizes().into_iter().map(move |bytes| (place, Size::Large(bytes)));
            let datagram = (leg.checksum && asks).then_some((place, Size::Datagram));
            small.chain(large).chain(datagram).collect::<Vec<_>>()
        };
        self.target.legs.iter().zip(&self.carries).enumerate().flat_map(of).collect()
    }

    /// Bytes of a packet of that size, with its IP header.
    pub fn bytes(&self, leg: usize, size: Size) -> u32 {
        let most = self.target.legs.get(leg).map_or(0, |leg| leg.bytes);
        match size {
            Size::Small => SMALL.min(most),
            Size::Large(bytes) => bytes,
            Size::Datagram => self.carries.get(leg).and_then(Carries::fits).unwrap_or(most),
        }
    }

    /// What is proved so far.
    pub fn proof(&self) -> Proof {
        let fits = self.report.narrow.map(|narrow| narrow.fits).unwrap_or_default();
        Proof { verdict: self.report.verdict, ..fits }
    }

    /// A round begins with these numbers, in the order of [`Track::sizes`].
    pub fn begin(&mut self, numbers: &[u64], now: Instant) {
        let fly = |((leg, size), number): ((usize, Size), &u64)| {
            let expected = !matches!(size, Size::Large(bytes) if self.carries[leg].known() != Some(bytes));
            Flying { number: *number, leg, size, expected, came: false }
        };
        let flying: Vec<Flying> = self.sizes().into_iter().zip(numbers).map(fly).collect();
        self.report.sent += flying.iter().filter(|flying| flying.expected).count() as u64;
        self.round = Some(Round { since: now, flying });
    }

    /// An answer came. True when the round is over with it.
    pub fn heard(&mut self, number: u64, bytes: u32, now: Instant) -> bool {
        let Some(round) = &mut self.round else { return false };
        let Some(flying) = round.flying.iter_mut().find(|flying| flying.number == number && !flying.came) else { return false };
        flying.came = true;
        let since = round.since;
        let (size, expected) = (flying.size, flying.expected);
        let over = round.flying.iter().all(|flying| flying.came);
        self.report.heard = Some(now);
        if expected {
            self.report.answered += 1;
            self.note_history(true);
        }
        if size != Size::Datagram {
            self.report.proved_bytes = self.report.proved_bytes.max(Some(bytes));
            let took = u32::try_from(now.duration_since(since).as_micros()).unwrap_or(u32::MAX);
            self.report.rtt_us = Some(self.report.rtt_us.map_or(took, |before| before - before / 8 + took / 8));
        } else {
            self.report.datagrams = Datagrams::Arrive;
        }
        over
    }

    /// Ends the round, if all answers are there or the patience is over. `calm` is the pause until a proved way is tried again. True when the verdict changed.
    pub fn end(&mut self, now: Instant, calm: Duration) -> bool {
        let over = |round: &mut Round| round.flying.iter().all(|flying| flying.came) || now >= round.since + PATIENCE;
        let Some(round) = self.round.take_if(over) else { return false };
        let before = self.report.verdict;
        for _ in round.flying.iter().filter(|flying| flying.expected && !flying.came) {
            self.note_history(false);
        }
        let before = (before, self.report.narrow);
        match self.judge(&round, now) {
            Found::Works => {
                self.doubt_datagrams(&round);
                self.note_narrow();
                self.succeed(now, calm);
            }
            Found::Undecided => self.set_next(now),
            Found::Fails => self.fail(&round, now),
        }
        (self.report.verdict, self.report.narrow) != before
    }

    /// The checksums of its link are made otherwise now: datagrams are tried again.
    pub fn try_datagrams_again(&mut self, now: Instant) {
        (self.report.datagrams, self.unanswered_datagrams) = (Datagrams::Unknown, 0);
        self.set_next(now);
    }

    /// Nothing can be done about the silence, or it has other reasons (the peer filters refusals): it no longer keeps the way from being proved.
    pub fn accept_silence(&mut self, now: Instant) {
        self.silence_accepted = true;
        self.set_next(now);
    }

    /// What the round says of all legs together: the worst.
    fn judge(&mut self, round: &Round, now: Instant) -> Found {
        let mut worst = Found::Works;
        for (place, carries) in self.carries.iter_mut().enumerate() {
            let came = |size: Size| round.flying.iter().any(|flying| flying.leg == place && flying.size == size && flying.came);
            let sent_small = round.flying.iter().any(|flying| flying.leg == place && flying.size == Size::Small);
            let small = if sent_small { came(Size::Small) } else { carries.known().is_some_and(|bytes| came(Size::Large(bytes))) };
            let found = carries.judge(small, |bytes| came(Size::Large(bytes)), now);
            worst = match (worst, found) {
                (Found::Fails, _) | (_, Found::Fails) => Found::Fails,
                (Found::Undecided, _) | (_, Found::Undecided) => Found::Undecided,
                (Found::Works, Found::Works) => Found::Works,
            };
        }
        worst
    }

    fn note_narrow(&mut self) {
        let mut fits = Proof::default();
        for (leg, carries) in self.target.legs.iter().zip(&self.carries) {
            let place = if leg.to.is_ipv4() { &mut fits.v4 } else { &mut fits.v6 };
            *place = carries.fits();
        }
        let wanted = self.target.legs.iter().map(|leg| leg.bytes).max().unwrap_or(0);
        self.report.narrow = (fits != Proof::default()).then_some(Narrow { fits, wanted });
        if self.report.narrow.is_some() {
            self.report.proved_bytes = fits.v4.max(fits.v6);
        }
    }

    fn doubt_datagrams(&mut self, round: &Round) {
        let silent = round.flying.iter().any(|flying| flying.size == Size::Datagram && !flying.came);
        if silent && self.report.datagrams == Datagrams::Unknown {
            self.unanswered_datagrams += 1;
            if self.unanswered_datagrams >= DATAGRAMS {
                self.report.datagrams = Datagrams::Silent;
            }
        }
    }

    fn succeed(&mut self, now: Instant, calm: Duration) {
        self.good += 1;
        self.bad = 0;
        self.report.missing = None;
        let asked = self.target.legs.iter().any(|leg| leg.checksum);
        let open = match self.report.datagrams {
            Datagrams::Unknown => asked,
            Datagrams::Silent => asked && !self.silence_accepted,
            Datagrams::Arrive => false,
        };
        let enough = if self.report.verdict == Verdict::Failed { TRIES_AFTER_FAILURE } else { 1 };
        if open && self.report.verdict != Verdict::Proved {
            // Not known yet whether datagrams arrive, or the link's checksums are being doubted.
            self.set_next(now + RECOVERING);
        } else if self.good >= enough {
            self.report.verdict = Verdict::Proved;
            self.back_off = FIRST_BACK_OFF;
            self.set_next(now + calm);
        } else {
            self.set_next(now + RECOVERING);
        }
    }

    fn fail(&mut self, round: &Round, now: Instant) {
        self.good = 0;
        self.bad += 1;
        let came = |wanted: &dyn Fn(&Flying) -> bool| round.flying.iter().filter(|flying| wanted(flying)).any(|flying| flying.came);
        let family = |v4: bool| {
            let of = |flying: &Flying| self.target.legs.get(flying.leg).is_some_and(|leg| leg.to.is_ipv4() == v4);
            round.flying.iter().any(of) && !came(&of)
        };
        self.report.missing = Some(Missing {
            rounds: self.bad,
            small_came: round
                .flying
                .iter()
                .filter(|flying| flying.size == Size::Small)
                .map(|flying| flying.came)
                .reduce(|all, came| all && came),
            v4: family(true),
            v6: family(false),
            bytes: self.target.legs.iter().map(|leg| leg.bytes).min().unwrap_or(0),
        });
        if self.bad < TRIES {
            return self.set_next(now);
        }
        self.report.verdict = Verdict::Failed;
        let longest = if self.target.in_use { LONGEST_IN_USE } else { LONGEST_BACK_OFF };
        self.set_next(now + self.back_off.min(longest));
        self.back_off = (self.back_off * 2).min(LONGEST_BACK_OFF);
    }

    fn set_next(&mut self, next: Instant) {
        self.next = next;
        self.report.next = Some(next);
    }

    fn note_history(&mut self, came: bool) {
        let (bits, count) = self.history;
        self.history = (bits << 1 | u32::from(came), (count + 1).min(32));
        let lost = self.history.1 - self.history.0.count_ones().min(self.history.1);
        self.report.loss_permille = u16::try_from(lost * 1000 / self.history.1).ok();
    }
}

fn carries(target: &Target) -> Vec<Carries> {
    target.legs.iter().map(|leg| Carries::new(leg.bytes, leg.to.is_ipv4())).collect()
}
