//! The content of a lease's file, and its age.
//!
//! JSON for people as much as for twill; the JSON texts inside a way stay strings, byte for byte. Unknown fields are passed over, so that a newer
//! twill may add some. How old a lease is says the file's age by the directory's own clock; the field `written` is there for people, and so
//! that no two writes are ever alike.

use serde::{Deserialize, Serialize};
use twill_guest::record::{Pair, WayRecord};
use twill_guest::store::directory::Entry;
use twill_guest::store::{Lease, Lifetime, Subnets, Trouble, Way};

/// The only version of the format.
const VERSION: u32 = 1;
/// After its term a lease is kept for the same time again, at most this long, for its owner to come back.
const LONGEST_GRACE_MS: u64 = 3_600_000;

/// A lease as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    version: u32,
    /// The owner's id; none in a reservation that nobody uses yet.
    pub node: Option<String>,
    subnets: Pair,
    public: Pair,
    ways: Vec<WayRecord>,
    /// Seconds from the file's last write to its end; none for a reservation.
    pub term: Option<u32>,
    /// Milliseconds since the Unix epoch by the writer's clock.
    #[serde(default)]
    written: u64,
}

impl Record {
    /// The record of `lease`, of which `term` is the term, written at `now` (Unix milliseconds).
    pub fn new(lease: &Lease, subnets: &Subnets, term: Option<u32>, now: f64) -> Self {
        Record {
            version: VERSION,
            node: lease.node.clone(),
            subnets: subnets.prefixes().into(),
            public: lease.public.clone().into(),
            ways: lease.ways.iter().cloned().map(WayRecord::from).collect(),
            term,
            written: now as u64,
        }
    }

    /// Reads the file of `subnets`; the reason in words when it is not a lease of just these.
    pub fn decode(content: &[u8], subnets: &Subnets) -> Result<Self, String> {
        let record: Record = serde_json::from_slice(content).map_err(|error| format!("not a lease: {error}"))?;
        if record.version != VERSION {
            return Err(format!("written in format {}, which this twill does not know", record.version));
        }
        if Subnets::parse(&record.subnets.clone().into()).as_ref() != Ok(subnets) {
            return Err("the subnets inside are not those of the file's name".into());
        }
        Ok(record)
    }

    /// The file's content.
    pub fn encode(&self) -> Result<Vec<u8>, Trouble> {
        let mut text = serde_json::to_vec_pretty(self).map_err(|error| Trouble::Invalid(format!("cannot write the lease: {error}")))?;
        text.push(b'\n');
        Ok(text)
    }

    /// The lease, `age` milliseconds after it was written.
    pub fn lease(&self, age: u32) -> Lease {
        Lease {
            subnets: self.subnets.clone().into(),
            public: self.public.clone().into(),
            ways: self.ways.iter().cloned().map(Way::from).collect(),
            node: self.node.clone(),
            life: life(self.term, age),
        }
    }

    /// True when the node of `lease` owns this record: by id, or by public address where the record has no id.
    pub fn belongs_to(&self, lease: &Lease) -> bool {
        match &self.node {
            Some(owner) => Some(owner) == lease.node.as_ref(),
            None => self.same_public(lease),
        }
    }

    /// True when both have the same public address (IPv4 where there is one, as flannel compares).
    pub fn same_public(&self, lease: &Lease) -> bool {
        match (&self.public.v4, &lease.public.v4) {
            (None, None) => self.public.v6.is_some() && self.public.v6 == lease.public.v6,
            (ours, theirs) => ours == theirs,
        }
    }

    /// The owner in words.
    pub fn owner(&self) -> String {
        let public = self.public.v4.as_deref().or(self.public.v6.as_deref()).unwrap_or("an unknown address");
        self.node.as_ref().map_or_else(|| format!("the node at {public}"), |node| format!("node {node} at {public}"))
    }
}

/// Milliseconds that a lease of this term and age lives on; none when it is over.
pub fn left(term: Option<u32>, age: u32) -> Option<u64> {
    let Some(term) = term else { return Some(u64::MAX) };
    (u64::from(term) * 1000).checked_sub(u64::from(age)).filter(|left| *left > 0)
}

/// True when another node may take the subnet: the lease is over, and its owner's grace too.
pub fn is_abandoned(term: Option<u32>, entry: &Entry) -> bool {
    let Some(term) = term else { return false };
    let term = u64::from(term) * 1000;
    u64::from(entry.age_ms) >= term + term.min(LONGEST_GRACE_MS)
}

/// Whole seconds, rounded down: an owner must never think that it has longer.
fn life(term: Option<u32>, age: u32) -> Lifetime {
    match (term, left(term, age)) {
        (None, _) => Lifetime::Reserved,
        (Some(_), left) => Lifetime::Seconds(u32::try_from(left.unwrap_or(0) / 1000).unwrap_or(u32::MAX)),
    }
}
