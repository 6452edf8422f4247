//! The daemon's part of a bundle: what is shown, what happened, and what the plan was made from.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::watch;
use twill_http::{EventLog, Page};
use twill_kernel::Netlink;
use twill_model::state::Hop;
use twill_model::status::Snapshot;
use twill_reconcile::ports::Kernel;
use twill_reconcile::{Inputs, Settings};

use crate::bundle::{Bundle, FORMAT, Kept, Recipe};
use crate::clock::now_ms;

/// Where the parts of a bundle come from.
pub struct Report {
    /// What is shown.
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    /// What happened.
    pub events: Arc<EventLog>,
    /// What the plan is made from.
    pub inputs: watch::Receiver<Option<Arc<Inputs>>>,
    /// The kernel.
    pub kernel: Arc<Netlink>,
    /// The reconciler's settings.
    pub settings: Settings,
    /// The file of own links' names.
    pub names: PathBuf,
}

impl Report {
    /// The bundle of this moment, as JSON.
    ///
    /// # Errors
    /// The kernel cannot be read.
    pub async fn bundle(&self) -> Result<String, String> {
        let inputs = self.inputs.borrow().clone();
        let recipe = match inputs {
            Some(inputs) => Some(self.recipe(&inputs).await?),
            None => None,
        };
        let bundle = Bundle {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").into(),
            taken_ms: now_ms(),
            snapshot: (**self.snapshots.borrow()).clone(),
            events: self.events.page(Page { after: None, before: None, limit: usize::MAX }),
            recipe,
            doctor: serde_json::Value::Null,
        };
        serde_json::to_string(&bundle).map_err(|error| format!("cannot write the bundle: {error}"))
    }

    async fn recipe(&self, inputs: &Inputs) -> Result<Recipe, String> {
        let observed = self.kernel.observe(Vec::new()).await.map_err(|refused| refused.to_string())?;
        let addresses: Vec<IpAddr> = inputs.peers.iter().flat_map(|peer| peer.public.iter()).collect();
        let mut roads: Vec<(IpAddr, Hop)> = Vec::with_capacity(addresses.len());
        for address in addresses {
            if let Ok(hop) = self.kernel.road(address).await {
                roads.push((address, hop));
            }
        }
        let kept = Kept { names: json(&self.names), ways: json(&self.names.with_file_name("ways.json")) };
        Ok(Recipe::of(inputs, self.settings, roads, observed, kept))
    }
}

/// What a file holds; null when it is missing.
fn json(file: &Path) -> Value {
    std::fs::read_to_string(file).ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}
