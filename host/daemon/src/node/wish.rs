//! What this node wants to publish: its addresses, and its ways as the backends' plugins advertise them. The config's backend goes first, then the ways of before
//! that somebody still needs.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use twill_lease::keeper::Wish;
use twill_lease::ways::{Need, alike, put_first};
use twill_model::event::{Kind, Told, Weight};
use twill_model::item::{Item, Link};
use twill_model::node::Node;
use twill_model::{Addresses, Lease, Mac, NetworkConfig, Way};
use twill_reconcile::disruption::remade;
use twill_reconcile::ports::{Context, Kernel, Network, PlanError, Planner};

use super::alone::Alone;
use super::events::Events;
use super::inputs::networks;
use super::usage::Usage;

/// Asks the backends.
pub struct Advertised<P, K> {
    /// The backends.
    pub planner: P,
    /// Where links that may be taken over are looked for.
    pub kernel: Arc<K>,
    /// This node, as it is now.
    pub node: watch::Receiver<Arc<Node>>,
    /// Backends that this node cannot have.
    pub without: BTreeSet<String>,
    /// Which ways were used lately.
    pub usage: Arc<Usage>,
    /// Where it is told that the config's backend cannot be had.
    pub events: Arc<Events>,
    /// What was told of that last.
    pub told: Mutex<String>,
}

/// The same wish, for a daemon that is alone on the network: nothing is published where another one serves it.
pub struct OnlyAlone<W> {
    /// What is wished.
    pub wish: W,
    /// The daemon's claim to be alone.
    pub alone: Arc<Alone>,
}

impl<W: Wish> Wish for OnlyAlone<W> {
    async fn wish(&self, config: &NetworkConfig, previous: Option<&Lease>, others: &[Arc<Lease>]) -> Result<(Addresses, Vec<Way>), String> {
        self.alone.on(networks(config)).await.map_err(|company| company.to_string())?;
        self.wish.wish(config, previous, others).await
    }

    async fn disruption(&self, current: &NetworkConfig, own: &Lease, config: &NetworkConfig) -> Option<String> {
        self.wish.disruption(current, own, config).await
    }
}

impl<P: Planner, K: Kernel> Wish for Advertised<P, K> {
    async fn wish(&self, config: &NetworkConfig, previous: Option<&Lease>, others: &[Arc<Lease>]) -> Result<(Addresses, Vec<Way>), String> {
        let node = self.node.borrow().clone();
        let asked = Asked { wish: self, node, config, previous, links: links_found(&*self.kernel).await };
        let first = match asked.advertise(&config.backend, &config.options, asked.before(&config.backend)).await {
            Ok(way) => Ok(way),
            // "Unsuitable" is a normal answer: the node goes on by what it can have.
            Err(PlanError::Unsuitable(why)) => Err(why),
            Err(error) => return Err(format!("backend \"{}\" cannot be published: {error}", config.backend)),
        };
        let published = previous.map(|lease| lease.ways.as_slice()).unwrap_or_default();
        let need = Need {
            first: first.as_ref().ok(),
            config: &config.backend,
            previous: published,
            others,
            recently: |way: &Way| self.usage.recently(way),
            can: |backend: &str| self.can(backend),
        };
        let mut ways: Vec<Way> = first.as_ref().ok().cloned().into_iter().collect();
        for old in need.others() {
            let before = published.iter().find(|way| alike(way, &old)).cloned();
            // What a node cannot have any more is not published; that it was is no reason to publish nothing.
            if let Ok(way) = asked.advertise(&old.backend, &old.options, before).await
                && asked.runs_beside(&ways, &way).await
            {
                ways.push(way);
            }
        }
        if let Some(backend) = need.flannels() {
            put_first(&mut ways, &backend);
        }
        match (ways.is_empty(), first) {
            (true, Err(why)) => Err(format!("backend \"{}\" cannot be published: unsuitable: {why}", config.backend)),
            (false, Err(why)) => {
                self.tell_lacking(&config.backend, &why, &ways[0].backend);
                Ok((of_families(asked.node.public, config), ways))
            }
            (_, Ok(_)) => Ok((of_families(asked.node.public, config), ways)),
        }
    }

    async fn disruption(&self, _: &NetworkConfig, own: &Lease, config: &NetworkConfig) -> Option<String> {
        let old = own.ways.iter().find(|way| way.backend == config.backend)?;
        let node = self.node.borrow().clone();
        let asked = Asked { wish: self, node, config, previous: Some(own), links: links_found(&*self.kernel).await };
        let new = asked.advertise(&config.backend, &config.options, Some(old.clone())).await.ok()?;
        if asked.runs_beside(std::slice::from_ref(old), &new).await {
            return None;
        }
        let remade: Vec<String> = remade(&asked.base(old).await?, &asked.base(&new).await?).iter().map(ToString::to_string).collect();
        (!remade.is_empty()).then(|| remade.join("; "))
    }
}

/// One wish.
struct Asked<'a, P, K> {
    wish: &'a Advertised<P, K>,
    node: Arc<Node>,
    config: &'a NetworkConfig,
    previous: Option<&'a Lease>,
    links: Vec<(String, Mac)>,
}

impl<P: Planner, K> Asked<'_, P, K> {
    fn network(&self) -> Network {
        network(self.config)
    }

    /// The way of that backend as it was published last.
    fn before(&self, backend: &str) -> Option<Way> {
        self.previous.and_then(|lease| lease.ways.iter().find(|way| way.backend == backend)).cloned()
    }

    async fn advertise(&self, backend: &str, options: &str, before: Option<Way>) -> Result<Way, PlanError> {
        if self.wish.without.contains(backend) {
            return Err(PlanError::Unsuitable("it is switched off on this node (--without)".into()));
        }
        if let Some(why) = self.wish.usage.refused(backend) {
            return Err(PlanError::Unsuitable(why));
        }
        let node = (*self.node).clone();
        self.wish.planner.advertise(backend, self.network(), node, options.to_owned(), before, self.links.clone()).await
    }

    /// True when `way` can be received on beside `others`: one of the same backend must have links of its own. Without a lease there is none to run yet.
    async fn runs_beside(&self, others: &[Way], way: &Way) -> bool {
        let Some(other) = others.iter().find(|other| other.backend == way.backend) else { return true };
        match (self.links_of(other).await, self.links_of(way).await) {
            (Some(a), Some(b)) => !a.is_empty() && a.is_disjoint(&b),
            _ => false,
        }
    }

    /// The names of the links that a way makes. A pattern finds a name of its own, unless the link is the same in all that makes its kind.
    async fn links_of(&self, way: &Way) -> Option<BTreeSet<String>> {
        let name = |item: &Item| match item {
            Item::Link(Link { name, kind, .. }) if name.contains('%') => Some(format!("{name} {kind:?}")),
            Item::Link(Link { name, .. }) => Some(name.clone()),
            _ => None,
        };
        Some(self.base(way).await?.iter().filter_map(name).collect())
    }

    /// What a way takes whoever the peers are.
    async fn base(&self, way: &Way) -> Option<Vec<Item>> {
        let context = context(&self.node, self.config, self.previous?, way.clone());
        self.wish.planner.local(&way.backend, context).await.ok().map(|base| base.items)
    }
}

/// What a backend is asked in when this node has the lease `own` and publishes `way`.
pub fn context(node: &Node, config: &NetworkConfig, own: &Lease, way: Way) -> Context {
    Context { network: network(config), node: node.clone(), mine: own.timeless(), way, primary: false }
}

/// The network of a config, as backends see it.
pub fn network(config: &NetworkConfig) -> Network {
    Network { ranges: networks(config).iter().collect(), backend: config.backend.clone() }
}

/// The addresses that the network has a use for: no more is published.
fn of_families(public: Addresses, config: &NetworkConfig) -> Addresses {
    Addresses { v4: public.v4.filter(|_| config.v4.is_some()), v6: public.v6.filter(|_| config.v6.is_some()) }
}

/// Links found on the machine, for taking over. That there are none is no reason to fail: a backend then derives its MAC from the seed.
pub async fn links_found(kernel: &impl Kernel) -> Vec<(String, Mac)> {
    let observed = kernel.observe(Vec::new()).await.unwrap_or_default();
    observed.links.into_iter().filter_map(|link| Some((link.name.0, link.mac?))).collect()
}

impl<P: Planner, K: Kernel> Advertised<P, K> {
    /// Tells once in a row that this node cannot have the config's backend.
    fn tell_lacking(&self, backend: &str, why: &str, instead: &str) {
        let text = format!("backend \"{backend}\" cannot be had on this node: {why}; it is reached by {instead} instead");
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if *told == text {
            return;
        }
        told.clone_from(&text);
        self.events.tell(Weight::Warn, "lease", Told::new(Kind::OwnLease, text));
    }

    /// True for a backend that there is a plugin for, and that is not switched off.
    fn can(&self, backend: &str) -> bool {
        !self.without.contains(backend) && self.usage.refused(backend).is_none() && self.planner.digest(backend).is_some()
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
