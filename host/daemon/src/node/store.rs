//! Opening the plugins and the store that the settings name, with a sentence for every way in which that can go wrong.

use std::path::PathBuf;

use twill_model::event::Tell;
use twill_plugin::{Grants, Plugins, StoreHandle};

use crate::exit::Exit;
use crate::settings::StoreSettings;

/// Name of the store, and of the server that it asks for.
const ETCD: &str = "etcd";

/// Loads the plugins; copies of the files in use go to `kept`, events to `tell`.
///
/// # Errors
/// A limit that is none; a folder, the cache or the lock file cannot be used.
pub async fn open_plugins(settings: &StoreSettings, kept: Option<PathBuf>, tell: Option<Tell>) -> Result<Plugins, Exit> {
    let plugins = settings.plugins.host(kept).map_err(Exit::usage)?;
    Plugins::open_telling(plugins, tell).await.map_err(Exit::lacking)
}

/// Loads the plugins and opens the store.
///
/// # Errors
/// As [`open_plugins`]; no store is named, there is none of that name, or it lacks a grant.
pub async fn open_store(settings: &StoreSettings) -> Result<(Plugins, StoreHandle), Exit> {
    let plugins = open_plugins(settings, None, None).await?;
    let store = choose_store(&plugins, settings).await?;
    Ok((plugins, store))
}

/// Opens the store that is named.
///
/// # Errors
/// No store is named, there is none of that name, it lacks a grant, or a setting of it is wrong.
pub async fn choose_store(plugins: &Plugins, settings: &StoreSettings) -> Result<StoreHandle, Exit> {
    let Some(name) = &settings.store else { return Err(Exit::usage(which_stores(plugins))) };
    let etcd = settings.etcd.upstream().map_err(Exit::usage)?.map(|upstream| (ETCD.to_owned(), upstream));
    let mut upstreams = settings.upstreams.grants().map_err(Exit::usage)?;
    upstreams.extend(etcd);
    let grants = Grants { directory: settings.store_dir.clone(), upstreams };
    let is_etcd = name.strip_prefix("store-").unwrap_or(name) == ETCD;
    let options = if is_etcd { settings.etcd.options(&settings.store_options) } else { settings.store_options.clone() };
    plugins.open_store(name, &options, &super::facts::hostname(), grants).await.map_err(Exit::lacking)
}

fn which_stores(plugins: &Plugins) -> String {
    let stores = plugins.stores();
    if stores.is_empty() {
        return "no store is configured, and no store plugin was found; build the plugins (make build) or name their folder with --plugin-dir".into();
    }
    let list: Vec<String> =
        stores.iter().map(|store| format!("  {} - {}", store.name.trim_start_matches("store-"), store.summary)).collect();
    format!(
        "no store is configured: say where the cluster keeps its config and leases. There are:\n{}\nfor example: --store file --store-dir /srv/twill (or TWILL_STORE, TWILL_STORE_DIR)",
        list.join("\n")
    )
}
