//! What a start of the daemon would change on a node: the answer of `twill plan`.

use serde::{Deserialize, Serialize};

use crate::address::{Addresses, Prefixes};

/// What would be changed, and what it is planned from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The node's id; none before its first start.
    pub node: Option<String>,
    /// The underlay interface.
    pub underlay: String,
    /// Where peers would reach this node.
    pub public: Addresses,
    /// The overlay's ranges, once there is a config.
    pub networks: Vec<String>,
    /// The config's backend.
    pub backend: Option<String>,
    /// The own subnets.
    pub subnets: Option<Prefixes>,
    /// MTU for pods in bytes.
    pub pod_mtu: Option<u32>,
    /// The changes: the store's first, then the kernel's in the order in which they are made, then rules and files.
    pub changes: Vec<PlannedChange>,
    /// What the changes do not say by themselves, one sentence each.
    pub notes: Vec<String>,
    /// What would be wrong afterwards, one sentence each.
    pub problems: Vec<String>,
}

/// What is done to a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Act {
    /// It is not there now.
    Add,
    /// It is there otherwise.
    Change,
    /// It is taken away.
    Remove,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedChange {
    /// What is done.
    pub act: Act,
    /// To what kind of thing: "lease", "link", "address", "sysctl", "neighbour", "fdb", "endpoint", "sender", "route", "rule" or "file".
    pub kind: String,
    /// Which one: a prefix, a name, a path.
    pub what: String,
    /// How it is now; none when it is added.
    pub before: Option<String>,
    /// How it would be; none when it is removed.
    pub after: Option<String>,
    /// Why traffic is interrupted by it; none when it is not.
    pub disruption: Option<String>,
}

impl PlannedChange {
    /// A lossless change from `before` to `after`; none when they are the same.
    pub fn between(kind: &str, what: String, before: Option<String>, after: Option<String>) -> Option<PlannedChange> {
        let act = match (&before, &after) {
            (before, after) if before == after => return None,
            (None, _) => Act::Add,
            (_, None) => Act::Remove,
            _ => Act::Change,
        };
        Some(PlannedChange { act, kind: kind.to_owned(), what, before, after, disruption: None })
    }
}
