//! What this node wants to publish: its addresses, and a way for each backend in use, as that backend's plugin advertises it.

use std::sync::Arc;

use tokio::sync::watch;
use twill_lease::keeper::Wish;
use twill_model::node::Node;
use twill_model::{Addresses, Lease, Mac, NetworkConfig, Way};
use twill_reconcile::disruption::remade;
use twill_reconcile::ports::{Context, Kernel, Network, Planner};

use super::alone::Alone;
use super::inputs::networks;

/// Asks the config's backend.
pub struct Advertised<P, K> {
    /// The backends.
    pub planner: P,
    /// Where links that may be taken over are looked for.
    pub kernel: Arc<K>,
    /// This node, as it is now.
    pub node: watch::Receiver<Arc<Node>>,
    /// Nothing is published on a network that another daemon serves.
    pub alone: Arc<Alone>,
}

impl<P: Planner, K: Kernel> Wish for Advertised<P, K> {
    async fn wish(&self, config: &NetworkConfig, previous: Option<&Lease>) -> Result<(Addresses, Vec<Way>), String> {
        self.alone.on(networks(config)).await.map_err(|company| company.to_string())?;
        let node = self.node.borrow().clone();
        let before = previous.and_then(|lease| lease.ways.iter().find(|way| way.backend == config.backend)).cloned();
        let options = config.options.clone();
        let way = self.planner.advertise(&config.backend, network(config), (*node).clone(), options, before, self.links().await);
        let way = way.await.map_err(|error| format!("backend \"{}\" cannot be published: {error}", config.backend))?;
        Ok((of_families(node.public, config), vec![way]))
    }

    async fn disruption(&self, current: &NetworkConfig, own: &Lease, config: &NetworkConfig) -> Option<String> {
        if current.backend != config.backend {
            return None;
        }
        let way = own.ways.iter().find(|way| way.backend == config.backend)?.clone();
        let (_, next) = self.wish(config, Some(own)).await.ok()?;
        let before = self.planner.local(&config.backend, self.context(current, own, way)).await.ok()?;
        let after = self.planner.local(&config.backend, self.context(config, own, next.into_iter().next()?)).await.ok()?;
        let remade: Vec<String> = remade(&before.items, &after.items).iter().map(ToString::to_string).collect();
        (!remade.is_empty()).then(|| remade.join("; "))
    }
}

fn network(config: &NetworkConfig) -> Network {
    Network { ranges: networks(config).iter().collect(), backend: config.backend.clone() }
}

/// The addresses that the network has a use for: no more is published.
fn of_families(public: Addresses, config: &NetworkConfig) -> Addresses {
    Addresses { v4: public.v4.filter(|_| config.v4.is_some()), v6: public.v6.filter(|_| config.v6.is_some()) }
}

impl<P, K: Kernel> Advertised<P, K> {
    /// What the config's backend is asked in when this node publishes `way`.
    fn context(&self, config: &NetworkConfig, own: &Lease, way: Way) -> Context {
        let node = (**self.node.borrow()).clone();
        Context { network: network(config), node, mine: own.timeless(), way, primary: true }
    }

    /// Links found on the machine, for taking over. That there are none is no reason to fail: a backend then derives its MAC from the seed.
    async fn links(&self) -> Vec<(String, Mac)> {
        let observed = self.kernel.observe(Vec::new()).await.unwrap_or_default();
        observed.links.into_iter().filter_map(|link| Some((link.name.0, link.mac?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_networks_families_are_published() {
        let public = Addresses { v4: "192.0.2.1".parse().ok(), v6: "fd98::1".parse().ok() };
        let published = |text: &str| of_families(public, &NetworkConfig::parse(text).expect("a good config")).to_string();
        assert_eq!(published(r#"{"Network":"10.1.0.0/16"}"#), "192.0.2.1");
        let v6 = r#""EnableIPv6":true,"IPv6Network":"fd10::/48""#;
        assert_eq!(published(&format!(r#"{{"Network":"10.1.0.0/16",{v6}}}"#)), "192.0.2.1 and fd98::1");
        assert_eq!(published(&format!(r#"{{"EnableIPv4":false,{v6}}}"#)), "fd98::1");
    }
}
