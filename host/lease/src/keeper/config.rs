//! Which config is in force: the last good one, until a better one comes that does not tear the network down.

use std::sync::Arc;

use twill_model::NetworkConfig;
use twill_model::event::Weight;

use super::{Fatal, Keeper, Wish};
use crate::clock::Clock;
use crate::fit::{fit, same_networks};
use crate::store::Store;

const HOW_TO_WRITE: &str = "write one, for example with: twill config set '{\"Network\":\"10.244.0.0/16\"}'";

/// The config in force and the one that waits.
#[derive(Debug, Default)]
pub(super) struct InForce {
    /// The last good one.
    pub(super) config: Option<Arc<NetworkConfig>>,
    /// Its text.
    pub(super) text: Option<String>,
    /// A good one that would tear the network down.
    pub(super) waiting: Option<(Arc<NetworkConfig>, String)>,
}

impl<S: Store, W: Wish, C: Clock> Keeper<S, W, C> {
    /// Weighs what the store holds as config now.
    pub(super) fn offer(&mut self, text: Option<String>) -> Result<(), Fatal> {
        self.config.waiting = None;
        let Some(text) = text else {
            self.config_is_missing();
            return Ok(());
        };
        if self.config.text.as_ref() == Some(&text) {
            self.problems.clear("config");
            return Ok(());
        }
        match NetworkConfig::parse(&text) {
            Ok(config) => self.weigh(Arc::new(config), text),
            Err(error) if self.config.config.is_none() => return Err(error.into()),
            Err(error) => {
                self.complain(format!("the network config in the store is not usable: {error}; the last good one stays in force"))
            }
        }
        Ok(())
    }

    /// Puts the waiting config in force; false when none waits.
    pub(super) fn accept_waiting(&mut self) -> bool {
        let Some((config, text)) = self.config.waiting.take() else { return false };
        self.put_in_force(config, text);
        true
    }

    /// Takes the remembered config, if it is still readable.
    pub(super) fn recall_config(&mut self, text: String) {
        if let Ok(config) = NetworkConfig::parse(&text) {
            self.config.config = Some(Arc::new(config));
            self.config.text = Some(text);
        }
    }

    fn weigh(&mut self, config: Arc<NetworkConfig>, text: String) {
        match self.objection(&config) {
            None => self.put_in_force(config, text),
            Some(why) => {
                self.config.waiting = Some((config, text));
                self.complain(format!("the network config in the store waits for an operator: {why}; the last good one stays in force"));
            }
        }
    }

    /// Why a good config must not simply be taken: there is an own lease, and it could not stay.
    fn objection(&self, config: &NetworkConfig) -> Option<String> {
        let own = self.own.lease()?;
        let current = self.config.config.as_ref()?;
        if !same_networks(current, config) {
            return Some("it changes the overlay network".to_owned());
        }
        if self.store.abilities().assigns {
            return None;
        }
        fit(config, &own.subnets).err().map(|misfit| format!("this node's lease does not fit it ({misfit})"))
    }

    fn put_in_force(&mut self, config: Arc<NetworkConfig>, text: String) {
        self.problems.clear("config");
        let unknown = NetworkConfig::unknown_keys(&text);
        if unknown.is_empty() {
            self.problems.clear("config keys");
        } else {
            let text = format!("the network config has keys that mean nothing: {}", unknown.join(", "));
            if self.problems.set("config keys", text.clone()) {
                self.say(Weight::Warn, text);
            }
        }
        self.say(Weight::Info, format!("the network config is in force: {}, backend {}", networks(&config), config.backend));
        self.config.config = Some(config);
        self.config.text = Some(text);
        self.agenda.settle = Some(self.now());
    }

    fn config_is_missing(&mut self) {
        if self.config.config.is_some() {
            self.complain(format!("the network config is gone from the store; the last good one stays in force; {HOW_TO_WRITE}"));
        } else {
            self.complain(format!("the store holds no network config yet; {HOW_TO_WRITE}"));
        }
    }

    fn complain(&mut self, text: String) {
        if self.problems.set("config", text.clone()) {
            self.say(Weight::Warn, text);
        }
    }
}

fn networks(config: &NetworkConfig) -> String {
    let v4 = config.v4.map(|range| range.network.to_string());
    let v6 = config.v6.map(|range| range.network.to_string());
    v4.into_iter().chain(v6).collect::<Vec<_>>().join(" and ")
}
