//! Events: what happened on this node, in words and with a cause.

use serde::{Deserialize, Serialize};

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// Worth knowing.
    Info,
    /// Something is not as it should be, and is being dealt with.
    Warn,
    /// Something is broken that twill cannot mend by itself.
    Error,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Counts up from 1 in this run of the daemon.
    pub id: u64,
    /// Milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// How much it matters.
    pub weight: Weight,
    /// The room it comes from: "lease", "reconcile", "plugin", "fastpath", ….
    pub room: String,
    /// One sentence for people.
    pub text: String,
}
