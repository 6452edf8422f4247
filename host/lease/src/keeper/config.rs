//! Which config is in force: the last good one, until a better one comes that does not tear the network down.

use std::sync::Arc;

use twill_model::NetworkConfig;
use twill_model::event::{Kind, Told, Weight};

use super::{CommandError, Fatal, Keeper, Wish};
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
    /// The store holds a good one whose backend cannot be used yet.
    pub(super) untried: bool,
}

impl<S: Store, W: Wish, C: Clock> Keeper<S, W, C> {
    /// A node that is started with a bad config, and never had a good one, says so and ends, unless it shall wait. Later a bad one may be half of a good one that is being written.
    pub(super) fn refuse_to_start_with(&self, first: bool, text: Option<&str>) -> Result<(), Fatal> {
        if first && self.config.config.is_none() && !self.settings.wait_for_config {
            text.map(NetworkConfig::parse).transpose()?;
        }
        Ok(())
    }

    /// Weighs what the store holds as config now. At the start of a daemon (`at_start`) it may interrupt traffic: a restart is an operator's consent.
    pub(super) async fn offer(&mut self, text: Option<String>, at_start: bool) {
        self.config.waiting = None;
        self.config.untried = false;
        let Some(text) = text else { return self.config_is_missing() };
        if self.config.text.as_ref() == Some(&text) {
            self.problems.clear("config");
            return;
        }
        match NetworkConfig::parse(&text) {
            Ok(config) => self.weigh(Arc::new(config), text, at_start || self.settings.allow_disruption).await,
            Err(error) => {
                let instead = if self.config.config.is_some() { "the last good one stays in force" } else { "a better one is waited for" };
                self.look_again_soon();
                self.complain(format!("the network config in the store is not usable: {error}; {instead}"));
            }
        }
    }

    /// Puts the waiting config in force, if its backend can be used.
    pub(super) async fn accept_waiting(&mut self) -> Result<(), CommandError> {
        let (config, text) = self.config.waiting.clone().ok_or(CommandError::NoConfig)?;
        self.try_backend(&config).await.map_err(CommandError::Backend)?;
        self.config.waiting = None;
        self.put_in_force(config, text);
        Ok(())
    }

    /// Takes the remembered config, if it is still readable.
    pub(super) fn recall_config(&mut self, text: String) {
        if let Ok(config) = NetworkConfig::parse(&text) {
            self.config.config = Some(Arc::new(config));
            self.config.text = Some(text);
        }
    }

    async fn weigh(&mut self, config: Arc<NetworkConfig>, text: String, may_disrupt: bool) {
        if let Some(why) = self.objection(&config) {
            self.config.waiting = Some((config, text));
            return self
                .complain(format!("the network config in the store waits for an operator: {why}; the last good one stays in force"));
        }
        match self.try_backend(&config).await {
            Ok(()) => match self.disruption(&config, may_disrupt).await {
                None => self.put_in_force(config, text),
                Some(why) => self.hold_back(config, text, &why),
            },
            Err(why) => {
                self.config.untried = true;
                self.look_again_soon();
                self.complain(format!("{why}; the last good config stays in force"));
            }
        }
    }

    /// What putting it in force would interrupt that may not be, where there is traffic.
    async fn disruption(&self, config: &NetworkConfig, may_disrupt: bool) -> Option<String> {
        let (Some(current), Some(own), false) = (&self.config.config, self.own.lease(), may_disrupt) else { return None };
        self.wish.disruption(current, own, config).await
    }

    fn hold_back(&mut self, config: Arc<NetworkConfig>, text: String, why: &str) {
        self.config.waiting = Some((config, text));
        self.complain(format!(
            "the network config in the store waits for --allow-disruption or a restart, because it interrupts traffic on this node: {why}; put it in force now with \
             `twill config accept`; the last good one stays in force"
        ));
    }

    /// Where a config is in force, another backend must first show that it can be used: the network of the last one is taken down for it.
    async fn try_backend(&self, config: &NetworkConfig) -> Result<(), String> {
        let same = |current: &Arc<NetworkConfig>| current.backend == config.backend && current.options == config.options;
        if self.config.config.as_ref().is_none_or(same) {
            return Ok(());
        }
        let asked = self.wish.wish(config, self.previous.as_ref(), &self.others()).await;
        asked.map(|_| ()).map_err(|why| format!("backend \"{}\" cannot be used: {why}", config.backend))
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
        let text_in_force = format!("the network config is in force: {}, backend {}", networks(&config), config.backend);
        self.say(Weight::Info, Told::new(Kind::Config, text_in_force).about("config"));
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
            self.say(Weight::Warn, Told::new(Kind::Config, text).about("config"));
        }
    }
}

fn networks(config: &NetworkConfig) -> String {
    let v4 = config.v4.map(|range| range.network.to_string());
    let v6 = config.v6.map(|range| range.network.to_string());
    v4.into_iter().chain(v6).collect::<Vec<_>>().join(" and ")
}
