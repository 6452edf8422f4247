//! Proofs: what is tried before a way is taken, and what came of it. The reconciler says what to try, the prober tries it, and the verdicts are
//! what the reconciler chooses by.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::address::Prefixes;
use crate::item::LinkName;
pub use crate::path::Verdict;

/// One way to one peer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pair {
    /// The peer's subnets.
    pub peer: Prefixes,
    /// Name of the own way that it is sent by.
    pub way: String,
    /// A fingerprint of what the peer publishes of the way, and of its addresses: what was proved of others does not count.
    pub over: u64,
}

/// What was proved. A pair that is not in it is unknown.
pub type Proofs = BTreeMap<Pair, Proof>;

/// What was proved of one way to one peer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Proof {
    /// Whether it works.
    pub verdict: Verdict,
    /// The longest IPv4 packet that its path carries, in bytes, where that is less than its link says.
    #[serde(default)]
    pub v4: Option<u32>,
    /// The same for IPv6.
    #[serde(default)]
    pub v6: Option<u32>,
}

impl Proof {
    /// The longest packet of that family that the path carries, where it is less than the link says.
    pub fn fits(&self, is_v4: bool) -> Option<u32> {
        if is_v4 { self.v4 } else { self.v6 }
    }

    /// True when the path carries less than the link says.
    pub fn is_narrow(&self) -> bool {
        self.v4.is_some() || self.v6.is_some()
    }
}

impl From<Verdict> for Proof {
    fn from(verdict: Verdict) -> Proof {
        Proof { verdict, v4: None, v6: None }
    }
}

/// The try of one address family.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Leg {
    /// The link that it leaves by, whatever the routes say.
    pub link: LinkName,
    /// Source: the own base address, so that answers come as pods' packets do.
    pub from: IpAddr,
    /// Who answers: the peer's base address, or its public one where that is not held.
    pub to: IpAddr,
    /// The largest packet that the link carries whole, in bytes with its IP header.
    pub bytes: u32,
    /// The link computes checksums that a network card may have to mend: a large datagram is tried too.
    pub checksum: bool,
}

/// A pair to try.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// What is tried.
    pub pair: Pair,
    /// Its place among the peer's usable ways, 0 the one that is wanted.
    pub rank: u32,
    /// The peer is reached by it now.
    pub in_use: bool,
    /// One a family; the way is proved when all answer.
    pub legs: Vec<Leg>,
}
