//! Paths: how each peer is reached from here, by which of its ways, and what was proved of them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::address::{Addresses, Prefixes};

/// How the path to a peer stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PathState {
    /// Nothing is known yet of the way that is wanted: it is being tried.
    #[default]
    Proving,
    /// On the way that is wanted.
    Moved,
    /// On another way than the one that is wanted, for a reason.
    Held,
    /// On no way, or on one that does not answer.
    Down,
}

/// What is known of one way to one peer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing yet.
    #[default]
    Unknown,
    /// Echoes of both sizes came back over it.
    Proved,
    /// Echoes were sent and none, or only small ones, came back.
    Failed,
}

/// The path to one peer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PathStatus {
    /// The peer's subnets.
    pub subnets: Prefixes,
    /// The peer's id; none for a real flannel node.
    #[serde(default)]
    pub node: Option<String>,
    /// Where the peer is reached on the underlay.
    pub public: Addresses,
    /// The way in use; none when no way can be used.
    #[serde(default)]
    pub way: Option<String>,
    /// The way that should be in use: the config's, where the peer publishes it, else the peer's first.
    #[serde(default)]
    pub wanted: Option<String>,
    /// How it stands.
    pub state: PathState,
    /// Why it stands so, in one sentence.
    #[serde(default)]
    pub reason: Option<String>,
    /// The leg that does not work, in words ("from here to the peer by vxlan"), as far as it could be told.
    #[serde(default)]
    pub leg: Option<String>,
    /// The same in a few words, for a map: "the route", "UDP port 8472", "the host". Only while the path is down.
    #[serde(default)]
    pub stops_at: Option<String>,
    /// That its path carries less than its link says, and how much: pods' packets are cut, or their senders told, by the route.
    #[serde(default)]
    pub narrow: Option<String>,
    /// Round trip over the way in use, in microseconds, smoothed.
    #[serde(default)]
    pub rtt_us: Option<u32>,
    /// Lost echoes over the way in use, of the last 32, in thousandths.
    #[serde(default)]
    pub loss_permille: Option<u16>,
    /// Every way that the peer publishes, the one that is wanted first.
    #[serde(default)]
    pub ways: Vec<WayStatus>,
}

/// One way to one peer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WayStatus {
    /// Its name: the backend, with "~2" after it for a second way of the same backend.
    pub way: String,
    /// It is the one in use.
    pub in_use: bool,
    /// What is known of it.
    pub verdict: Verdict,
    /// Why it cannot be used, or what did not come back.
    #[serde(default)]
    pub reason: Option<String>,
    /// Largest inner packet that went there and came back, in bytes with its IP header; none before the first.
    #[serde(default)]
    pub proved_bytes: Option<u32>,
    /// Round trip in microseconds, smoothed.
    #[serde(default)]
    pub rtt_us: Option<u32>,
    /// Echoes sent so far.
    #[serde(default)]
    pub sent: u64,
    /// Echoes that came back so far.
    #[serde(default)]
    pub answered: u64,
    /// Milliseconds since the Unix epoch at which an echo last came back.
    #[serde(default)]
    pub proved_ms: Option<u64>,
    /// Milliseconds since the Unix epoch at which it is tried next.
    #[serde(default)]
    pub next_ms: Option<u64>,
}
