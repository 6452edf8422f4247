//! The content of a lease's file, and its age.
//!
//! JSON for people as much as for twill; the JSON texts inside a way stay strings, byte for byte. Unknown fields are passed over, so that a newer
//! twill may add some. How old a lease is says the file's age by the directory's own clock; the field `written` is there for people, and so
//! that no two writes are ever alike.

use serde::{Deserialize, Serialize};
use twill_guest::store::directory::Entry;
use twill_guest::store::{Addresses, Lease, Lifetime, Prefixes, Trouble, Way};

use crate::name::Subnets;

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

/// One value a family.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Pair {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    v4: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    v6: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct WayRecord {
    backend: String,
    options: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data_v4: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data_v6: Option<String>,
}

impl Record {
    /// The record of `lease`, of which `term` is the term, written at `now` (Unix milliseconds).
    pub fn new(lease: &Lease, subnets: &Subnets, term: Option<u32>, now: f64) -> Self {
        let subnets = subnets.prefixes();
        let way = |way: &Way| WayRecord {
            backend: way.backend.clone(),
            options: way.options.clone(),
            data_v4: way.data_v4.clone(),
            data_v6: way.data_v6.clone(),
        };
        Record {
            version: VERSION,
            node: lease.node.clone(),
            subnets: Pair { v4: subnets.v4, v6: subnets.v6 },
            public: Pair { v4: lease.public.v4.clone(), v6: lease.public.v6.clone() },
            ways: lease.ways.iter().map(way).collect(),
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
        let inside = Prefixes { v4: record.subnets.v4.clone(), v6: record.subnets.v6.clone() };
        if Subnets::parse(&inside).as_ref() != Ok(subnets) {
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
        let way = |way: &WayRecord| Way {
            backend: way.backend.clone(),
            options: way.options.clone(),
            data_v4: way.data_v4.clone(),
            data_v6: way.data_v6.clone(),
        };
        Lease {
            subnets: Prefixes { v4: self.subnets.v4.clone(), v6: self.subnets.v6.clone() },
            public: Addresses { v4: self.public.v4.clone(), v6: self.public.v6.clone() },
            ways: self.ways.iter().map(way).collect(),
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
