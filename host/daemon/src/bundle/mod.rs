//! A node in one file: what `twill bundle` writes for a bug report, and `twill replay` plans again elsewhere.
//!
//! It holds the snapshot, the events, and what the last plan was made from. It holds no secret: the node's seed is left out, and so is every value whose key says that it is
//! one ([`twill_model::scrub`]).

pub mod replay;

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use twill_model::event::Event;
use twill_model::node::Node;
use twill_model::proof::{Pair, Proof};
use twill_model::state::{Hop, Observed};
use twill_model::status::Snapshot;
use twill_model::{Lease, Prefixes, scrub};
use twill_reconcile::{Inputs, Settings, SourceCheck};

/// The version of this format.
pub const FORMAT: u32 = 1;

/// The file.
#[derive(Debug, Serialize, Deserialize)]
pub struct Bundle {
    /// [`FORMAT`].
    pub format: u32,
    /// twill's version.
    pub version: String,
    /// Milliseconds since the Unix epoch.
    pub taken_ms: u64,
    /// Everything that was shown.
    pub snapshot: Snapshot,
    /// What happened, oldest first.
    pub events: Vec<Event>,
    /// What the plan was made from; none before there was one.
    pub recipe: Option<Recipe>,
    /// What `twill doctor` found.
    #[serde(default)]
    pub doctor: Value,
}

/// What a plan is made from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Recipe {
    /// The overlay's networks.
    pub networks: Prefixes,
    /// The config's backend.
    pub backend: String,
    /// The node, without its seed.
    pub node: Node,
    /// Its lease.
    pub mine: Lease,
    /// Everybody else's.
    pub peers: Vec<Lease>,
    /// The store was read in full.
    pub complete: bool,
    /// The roads to the peers' addresses.
    pub roads: Vec<(IpAddr, Hop)>,
    /// What the kernel had.
    pub observed: Observed,
    /// The names of own links, as they are kept on disk.
    pub names: Value,
    /// The way in use to each peer, as it is kept on disk.
    #[serde(default)]
    pub ways: Value,
    /// What was proved of the ways.
    #[serde(default)]
    pub proofs: Vec<(Pair, Proof)>,
    /// The protocol that marks own routes.
    pub protocol: u8,
    /// Which inner sources are accepted: "strict", "lease" or "off".
    pub source_check: String,
    /// The forwarding switches are twill's to set.
    pub forwarding: bool,
}

/// What the reconciler keeps on disk.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    /// The names of own links.
    pub names: Value,
    /// The way in use to each peer.
    pub ways: Value,
}

impl Recipe {
    /// What the plan of these inputs is made from.
    pub fn of(inputs: &Inputs, settings: Settings, roads: Vec<(IpAddr, Hop)>, observed: Observed, kept: Kept) -> Recipe {
        let source_check = match settings.source_check {
            SourceCheck::Strict => "strict",
            SourceCheck::Lease => "lease",
            SourceCheck::Off => "off",
        };
        Recipe {
            networks: inputs.networks,
            backend: inputs.backend.clone(),
            node: Node { seed: Default::default(), ..inputs.node.clone() },
            mine: scrub::lease(&inputs.mine),
            peers: inputs.peers.iter().map(|peer| scrub::lease(peer)).collect(),
            complete: inputs.complete,
            roads,
            observed,
            names: kept.names,
            ways: kept.ways,
            proofs: inputs.proofs.iter().map(|(pair, proof)| (pair.clone(), *proof)).collect(),
            protocol: settings.protocol,
            source_check: source_check.into(),
            forwarding: settings.forwarding,
        }
    }

    fn inputs(&self) -> Inputs {
        Inputs {
            networks: self.networks,
            backend: self.backend.clone(),
            node: self.node.clone(),
            mine: self.mine.clone(),
            peers: self.peers.iter().cloned().map(Arc::new).collect(),
            complete: self.complete,
            firewall: None,
            proofs: Arc::new(self.proofs.iter().cloned().collect()),
        }
    }

    fn settings(&self) -> Settings {
        Settings {
            protocol: self.protocol,
            source_check: match self.source_check.as_str() {
                "strict" => SourceCheck::Strict,
                "off" => SourceCheck::Off,
                _ => SourceCheck::Lease,
            },
            forwarding: self.forwarding,
            repairs_per_minute: usize::MAX,
        }
    }
}
