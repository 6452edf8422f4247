//! What there is to tell of a pair, in figures and in words.

use std::time::Instant;

use twill_model::proof::{Proof, Verdict};

/// Whether large datagrams arrive whole: a link whose checksums are mangled on the way lets echoes pass and drops these.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Datagrams {
    /// Not known yet, or not asked.
    #[default]
    Unknown,
    /// The peer refused one: it arrived whole.
    Arrive,
    /// Echoes of the same size are answered and datagrams are not.
    Silent,
}

/// What there is to tell of a pair.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The verdict.
    pub verdict: Verdict,
    /// Echoes sent.
    pub sent: u64,
    /// Echoes answered.
    pub answered: u64,
    /// Smoothed round trip in microseconds.
    pub rtt_us: Option<u32>,
    /// Lost among the last 32 echoes, in thousandths.
    pub loss_permille: Option<u16>,
    /// The largest packet that came back, in bytes.
    pub proved_bytes: Option<u32>,
    /// When an answer last came.
    pub heard: Option<Instant>,
    /// When it is tried next.
    pub next: Option<Instant>,
    /// What was missing in the last round that was not whole.
    pub missing: Option<Missing>,
    /// Whether large datagrams arrive.
    pub datagrams: Datagrams,
    /// The largest packets that come back, where those are smaller than the link's.
    pub narrow: Option<Narrow>,
}

/// A path that carries less than the link says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Narrow {
    /// What it carries, by address family.
    pub fits: Proof,
    /// What its link carries, in bytes.
    pub wanted: u32,
}

/// What did not come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    /// Rounds in a row.
    pub rounds: u32,
    /// Small echoes came back in every family; none when none was sent.
    pub small_came: Option<bool>,
    /// Nothing of IPv4 came back, where it was tried.
    pub v4: bool,
    /// Nothing of IPv6 came back, where it was tried.
    pub v6: bool,
    /// The size that was tried, in bytes.
    pub bytes: u32,
}

impl Narrow {
    /// In words, for people.
    pub fn words(&self) -> String {
        let of = |bytes: Option<u32>, family: &str| bytes.map(|bytes| format!("{bytes}{family}"));
        let both = self.fits.v4.is_some() && self.fits.v6.is_some();
        let family = |words: &'static str| if both { words } else { "" };
        let sizes: Vec<String> = [of(self.fits.v4, family(" (IPv4)")), of(self.fits.v6, family(" (IPv6)"))].into_iter().flatten().collect();
        format!("packets of up to {} bytes come back, those of {} do not: the route says so", sizes.join(" and "), self.wanted)
    }
}

impl Missing {
    /// In words, for people.
    pub fn words(&self) -> String {
        let family = match (self.v4, self.v6) {
            (true, false) => " of IPv4",
            (false, true) => " of IPv6",
            _ => "",
        };
        if self.small_came == Some(true) {
            format!("small packets come back, those of {} bytes do not", self.bytes)
        } else if self.rounds == 1 {
            format!("an echo{family} did not come back")
        } else {
            format!("{} echoes{family} in a row did not come back", self.rounds)
        }
    }
}
