//! What an operator can ask the running daemon for, over the Unix socket.

use futures_util::future::BoxFuture;
use twill_http::{BackendOrder, Control, PluginOrder};
use twill_lease::keeper::Handle;
use twill_model::status::{PluginState, PluginStatus};
use twill_plugin::Plugins;

use super::change::Changer;

/// Passes requests on to the keeper and the plugins.
pub struct Operator {
    /// The keeper.
    pub keeper: Handle,
    /// The plugins.
    pub plugins: Plugins,
    /// Who changes the backend.
    pub changer: Changer,
}

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
