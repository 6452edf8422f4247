//! What an operator can ask the running daemon for, over the API.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{Notify, watch};
use twill_http::{BackendOrder, Control, PluginOrder};
use twill_lease::keeper::Handle;
use twill_model::event::{Kind, Told, Weight};
use twill_model::status::{PluginState, PluginStatus, Standing};
use twill_model::{Addresses, Prefixes};
use twill_plugin::{Plugins, StoreHandle};
use twill_reconcile::view::Outcome;

use super::change::Changer;
use super::events::Events;
use super::report::Report;
use super::reservations;

/// Passes requests on to the keeper and the plugins.
pub struct Operator {
    /// The keeper.
    pub keeper: Handle,
    /// The plugins.
    pub plugins: Plugins,
    /// Where reservations are written.
    pub store: Arc<StoreHandle>,
    /// Who changes the backend.
    pub changer: Changer,
    /// Asks the reconciler for a pass.
    pub again: Arc<Notify>,
    /// What came of the last one.
    pub outcome: watch::Receiver<Arc<Outcome>>,
    /// Rung at the end of a drain.
    pub drained: Arc<Notify>,
    /// Where operators' wishes are told.
    pub events: Arc<Events>,
    /// What bundles are made of.
    pub report: Report,
}

/// How long a pass that was asked for may take to answer.
const PASS: Duration = Duration::from_secs(20);

impl Control for Operator {
    fn release(&self) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async {
            let cluster = self.keeper.cluster();
            let subnets = cluster.borrow().own.as_ref().map(|own| own.subnets);
            self.keeper.release().await.map_err(|error| format!("cannot give the lease back: {error}"))?;
            let subnets = subnets.map_or_else(|| "the lease".into(), |subnets| subnets.to_string());
            Ok(format!("{subnets} was given back and the daemon ends; `twill down` takes its network state away"))
        })
    }

    fn accept_config(&self) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async {
            self.keeper.accept_config().await.map_err(|error| format!("cannot put the config in force: {error}"))?;
            Ok("the config in the store is in force; the own subnet changes where it no longer fits".to_owned())
        })
    }

    fn backend(&self, order: BackendOrder) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(self.changer.order(order))
    }

    fn reserve(&self, wanted: Option<(Prefixes, Addresses)>) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async move {
            let (subnets, public) = wanted.map_or_else(|| self.own(), Ok)?;
            reservations::reserve(&*self.store, subnets, public).await.map_err(|error| error.to_string())
        })
    }

    fn unreserve(&self, subnets: Prefixes) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async move { reservations::unreserve(&*self.store, subnets).await.map_err(|error| error.to_string()) })
    }

    fn bundle(&self) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(self.report.bundle())
    }

    fn reconcile(&self) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async {
            let mut outcome = self.outcome.clone();
            outcome.mark_unchanged();
            self.again.notify_one();
            match tokio::time::timeout(PASS, outcome.changed()).await {
                Ok(Ok(())) => pass_words(&outcome.borrow()),
                Ok(Err(_)) => Err("the daemon is stopping".to_owned()),
                Err(_) if self.has_work() => {
                    Err(format!("the pass goes on for more than {} s; `twill status` shows its end", PASS.as_secs()))
                }
                Err(_) => Err("there is nothing to compare yet: this node has no lease or no config (see `twill status`)".to_owned()),
            }
        })
    }

    fn drain(&self, seconds: u32) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async move {
            let cluster = self.keeper.cluster();
            let subnets = cluster.borrow().own.as_ref().map(|own| own.subnets.to_string());
            self.keeper.withdraw().await.map_err(|error| format!("cannot withdraw the lease: {error}"))?;
            let what = subnets.unwrap_or_else(|| "the lease".into());
            let told =
                Told::new(Kind::Operator, format!("this node is being drained: {what} is withdrawn, and in {seconds} s the daemon ends"));
            self.events.tell(Weight::Warn, "node", told.about(&what).because("an operator asked for it"));
            let drained = Arc::clone(&self.drained);
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(seconds.into())).await;
                drained.notify_one();
            });
            Ok(format!(
                "{what} is withdrawn: peers stop sending here; what is under way is received for {seconds} s, then the daemon ends and takes its network state away"
            ))
        })
    }

    fn plugins(&self, order: PluginOrder) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async move {
            match order {
                PluginOrder::Reload(plugin) => self.reload(plugin, false).await,
                PluginOrder::ReloadDisrupting(plugin) => self.reload(Some(plugin), true).await,
                PluginOrder::Rollback(plugin) => {
                    self.plugins.go_back(&plugin).await.map_err(|error| error.to_string())?;
                    self.say(Some(&plugin))
                }
                PluginOrder::ClearRollback(plugin) => {
                    self.plugins.go_on(&plugin).await.map_err(|error| error.to_string())?;
                    self.say(Some(&plugin))
                }
            }
        })
    }
}

impl Operator {
    /// True when there is something to make the node by.
    fn has_work(&self) -> bool {
        let cluster = self.keeper.cluster();
        let cluster = cluster.borrow();
        cluster.own.is_some() && cluster.config.is_some()
    }

    /// What this node holds.
    fn own(&self) -> Result<(Prefixes, Addresses), String> {
        let cluster = self.keeper.cluster();
        let own = cluster.borrow().own.as_ref().map(|own| (own.subnets, own.public));
        own.ok_or_else(|| "this node has no lease yet; name the subnets and the node's addresses".to_owned())
    }

    async fn reload(&self, plugin: Option<String>, disrupt: bool) -> Result<String, String> {
        self.plugins.reload(plugin.as_deref(), disrupt).await.map_err(|error| error.to_string())?;
        self.say(plugin.as_deref())
    }

    /// How all plugins fare, or those files that are the one of that name.
    fn say(&self, plugin: Option<&str>) -> Result<String, String> {
        let found = self.plugins.status();
        let asked = |status: &&PluginStatus| plugin.is_none_or(|name| status.name == name);
        let lines: Vec<String> = found.iter().filter(asked).map(words).collect();
        match plugin {
            Some(name) if lines.is_empty() => Err(format!("no plugin is called \"{name}\"; `twill plugin list` shows what there is")),
            _ => Ok(lines.join("\n")),
        }
    }
}

/// What came of a pass, in one sentence; or why it could not even look.
fn pass_words(outcome: &Outcome) -> Result<String, String> {
    if let Some(refused) = &outcome.no_look {
        return Err(format!("plan and kernel could not be compared: {refused}"));
    }
    let count = |standing: Standing| outcome.items.iter().filter(|item| item.standing == standing).count();
    let rest =
        [(Standing::Missing, "missing"), (Standing::Failed, "failed"), (Standing::Refused, "refused"), (Standing::Leaving, "leaving")];
    let rest: Vec<String> = rest
        .iter()
        .map(|(standing, word)| (count(*standing), word))
        .filter(|(n, _)| *n > 0)
        .map(|(n, word)| format!("{n} {word}"))
        .collect();
    let rest = if rest.is_empty() { "nothing differs".to_owned() } else { rest.join(", ") };
    Ok(format!("plan and kernel were compared: {} items are as planned, {rest}", count(Standing::Present)))
}

/// One plugin file in one line.
fn words(plugin: &PluginStatus) -> String {
    let digest: String = plugin.digest.chars().take(12).collect();
    let state = match plugin.state {
        PluginState::Active => "in use",
        PluginState::Idle => "loaded, not in use",
        PluginState::Backoff => "failing",
        PluginState::Refused => "refused",
    };
    let why = plugin.error.as_ref().map_or_else(String::new, |why| format!(": {why}"));
    format!("{} {} ({digest}): {state}{why}", plugin.name, plugin.version).replace("  ", " ")
}
