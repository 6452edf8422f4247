//! What this node wants to publish: its addresses, and a way for each backend in use, as that backend's plugin advertises it.

use std::sync::Arc;

use tokio::sync::watch;
use twill_lease::keeper::Wish;
use twill_model::node::Node;
use twill_model::{Addresses, Lease, Mac, NetworkConfig, Way};
use twill_reconcile::ports::{Kernel, Network, Planner};

use super::inputs::networks;

/// Asks the config's backend.
pub struct Advertised<P, K> {
    /// The backends.
    pub planner: P,
    /// Where links that may be taken over are looked for.
    pub kernel: Arc<K>,
    /// This node, as it is now.
    pub node: watch::Receiver<Arc<Node>>,
}

impl<P: Planner, K: Kernel> Wish for Advertised<P, K> {
    async fn wish(&self, config: &NetworkConfig, previous: Option<&Lease>) -> Result<(Addresses, Vec<Way>), String> {
        let node = self.node.borrow().clone();
        let network = Network { ranges: networks(config).iter().collect(), backend: config.backend.clone() };
        let before = previous.and_then(|lease| lease.ways.iter().find(|way| way.backend == config.backend)).cloned();
        let options = config.options.clone();
        let way = self.planner.advertise(&config.backend, network, (*node).clone(), options, before, self.links().await);
        let way = way.await.map_err(|error| format!("backend \"{}\" cannot be published: {error}", config.backend))?;
        Ok((node.public, vec![way]))
    }
}

impl<P, K: Kernel> Advertised<P, K> {
    /// Links found on the machine, for taking over. That there are none is no reason to fail: a backend then derives its MAC from the seed.
    async fn links(&self) -> Vec<(String, Mac)> {
        let observed = self.kernel.observe(Vec::new()).await.unwrap_or_default();
        observed.links.into_iter().filter_map(|link| Some((link.name.0, link.mac?))).collect()
    }
}
