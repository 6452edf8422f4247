//! How plugins fare, for the API and for error texts.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use twill_model::status::{PluginGrants, PluginState, PluginStatus};

use crate::folder::{File, Plugin};
use crate::grants::{Grants, World};
use crate::limit_table::{LimitTable, shown};
use crate::plugins::Table;
use crate::wit::CONTRACT;

/// One entry a file, and one for each plugin in use whose file is gone. `stores` are the kinds of the stores in use, and what they are granted.
pub(crate) fn of(table: &Table, stores: &[(String, Grants)], limits: &LimitTable) -> Vec<PluginStatus> {
    let gone = table.active.values().map(|active| &active.file).filter(|file| !table.files.iter().any(|one| Arc::ptr_eq(one, file)));
    table.files.iter().chain(gone).map(|file| of_file(table, file, stores, limits)).collect()
}

fn of_file(table: &Table, file: &Arc<File>, stores: &[(String, Grants)], limits: &LimitTable) -> PluginStatus {
    let world = file.sight.world;
    let blank = PluginStatus {
        name: file.path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        version: String::new(),
        summary: String::new(),
        world: world.map(|world| world.word().to_owned()),
        contract: world.map(|_| CONTRACT.to_owned()),
        file: file.path.display().to_string(),
        digest: file.digest.clone(),
        imports: file.sight.imports.clone(),
        state: PluginState::Refused,
        error: None,
        calls: 0,
        failures: 0,
        restarts: 0,
        guest_us: 0,
        memory: 0,
        violations: 0,
        violation: None,
        limits: None,
        granted: None,
    };
    match &file.plugin {
        Ok(plugin) => of_plugin(table, file, plugin, stores, PluginStatus { limits: Some(shown(&limits.of(&plugin.name()))), ..blank }),
        Err(reason) => PluginStatus { error: Some(reason.clone()), ..blank },
    }
}

fn of_plugin(table: &Table, file: &Arc<File>, plugin: &Plugin, stores: &[(String, Grants)], blank: PluginStatus) -> PluginStatus {
    let count = plugin.counters.read();
    let active = table.active.get(&(plugin.world, plugin.kind.clone()));
    let barred = table.notes.get(&file.path).cloned();
    let (chosen, note) = match active {
        Some(active) if Arc::ptr_eq(&active.file, file) => (true, active.note.clone()),
        Some(active) => (false, barred.clone().or_else(|| Some(format!("passed over for {}", active.file.path.display())))),
        None => (false, barred.clone()),
    };
    let store = stores.iter().find(|(kind, _)| plugin.world == World::Store && *kind == plugin.kind);
    let used = chosen && if plugin.world == World::Store { store.is_some() } else { count.calls > 0 };
    let resting = count.rests_until.is_some_and(|until| until > Instant::now());
    PluginStatus {
        name: plugin.name(),
        version: plugin.version.to_string(),
        summary: plugin.summary.clone(),
        state: if barred.is_some() && !chosen {
            PluginState::Refused
        } else if resting || (used && count.failing) {
            PluginState::Backoff
        } else if used {
            PluginState::Active
        } else {
            PluginState::Idle
        },
        error: note.or(count.last_failure),
        calls: count.calls,
        failures: count.failures,
        restarts: count.restarts,
        guest_us: count.guest_us,
        memory: count.memory,
        violations: count.violations,
        violation: count.last_violation,
        granted: store.filter(|_| chosen).map(|(_, grants)| granted(grants)),
        ..blank
    }
}

fn granted(grants: &Grants) -> PluginGrants {
    let endpoints = |upstream: &crate::Upstream| upstream.endpoints.iter().map(ToString::to_string).collect();
    PluginGrants {
        directory: grants.directory.as_ref().map(|path| path.display().to_string()),
        servers: grants.upstreams.iter().map(|(name, upstream)| (name.clone(), endpoints(upstream))).collect(),
    }
}

/// What there is instead of the store that was asked for, in words.
pub(crate) fn instead_of(table: &Table, kind: &str, folders: &[PathBuf]) -> String {
    let named = |file: &&std::sync::Arc<File>| {
        file.path.file_stem().is_some_and(|stem| stem == kind || stem.to_str() == Some(&format!("store-{kind}")))
    };
    if let Some((file, reason)) = table.files.iter().filter(named).find_map(|file| Some((file, file.plugin.as_ref().err()?))) {
        return format!("{} was refused: {reason}", file.path.display());
    }
    let stores: Vec<&str> = table.active.keys().filter(|(world, _)| *world == World::Store).map(|(_, kind)| kind.as_str()).collect();
    if stores.is_empty() {
        let folders: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
        return format!("there is none in {}", folders.join(", "));
    }
    format!("there are: {}", stores.join(", "))
}
