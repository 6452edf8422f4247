//! How plugins fare, for the API and for error texts.

use std::path::PathBuf;
use std::time::Instant;

use twill_model::status::{PluginState, PluginStatus};

use crate::folder::{File, Plugin};
use crate::grants::World;
use crate::plugins::Table;
use crate::wit::CONTRACT;

/// One entry a file, and one for each plugin in use whose file is gone. `stores` are the kinds of the stores in use.
pub(crate) fn of(table: &Table, stores: &[String]) -> Vec<PluginStatus> {
    let gone = table.active.values().map(|active| &active.file).filter(|file| !table.files.iter().any(|one| one.digest == file.digest));
    table.files.iter().chain(gone).map(|file| of_file(table, file, stores)).collect()
}

fn of_file(table: &Table, file: &File, stores: &[String]) -> PluginStatus {
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
    };
    match &file.plugin {
        Ok(plugin) => of_plugin(table, file, plugin, stores, blank),
        Err(reason) => PluginStatus { error: Some(reason.clone()), ..blank },
    }
}

fn of_plugin(table: &Table, file: &File, plugin: &Plugin, stores: &[String], blank: PluginStatus) -> PluginStatus {
    let count = plugin.counters.read();
    let active = table.active.get(&(plugin.world, plugin.kind.clone()));
    let (chosen, note) = match active {
        Some(active) if active.file.digest == file.digest => (true, active.note.clone()),
        Some(active) => (false, Some(format!("passed over for {}", active.file.path.display()))),
        None => (false, None),
    };
    let used = chosen && if plugin.world == World::Store { stores.contains(&plugin.kind) } else { count.calls > 0 };
    let resting = count.rests_until.is_some_and(|until| until > Instant::now());
    PluginStatus {
        name: plugin.name(),
        version: plugin.version.to_string(),
        summary: plugin.summary.clone(),
        state: if resting || (used && count.failing) {
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
        ..blank
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
