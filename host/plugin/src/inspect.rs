//! What plugin files say of themselves, for the tools of those who write plugins.

use twill_model::status::PluginStatus;

use crate::folder::{File, Plugin};
use crate::plugins::Plugins;

/// One plugin file, looked at without being put to use.
#[derive(Debug, Clone)]
pub struct Inspected {
    /// Name, version, world, contract, digest, imports, and why it was refused, if it was.
    pub status: PluginStatus,
    /// Its type as a config names it ("udp"), or the store's name; none when it was refused.
    pub kind: Option<String>,
    /// JSON Schema of its options; "" when it was refused.
    pub schema: String,
    /// A store that wants a directory.
    pub directory: bool,
    /// HTTP upstreams that a store wants, by name.
    pub upstreams: Vec<String>,
}

impl Plugins {
    /// All files that were found.
    pub fn inspect(&self) -> Vec<Inspected> {
        let plugins = self.files();
        self.status().into_iter().map(|status| of(status, &plugins)).collect()
    }
}

fn of(status: PluginStatus, files: &[std::sync::Arc<File>]) -> Inspected {
    let file = files.iter().find(|file| file.digest == status.digest && file.path.display().to_string() == status.file);
    let plugin: Option<&Plugin> = file.and_then(|file| file.plugin.as_ref().ok());
    Inspected {
        kind: plugin.map(|plugin| plugin.kind.clone()),
        schema: plugin.map(|plugin| plugin.schema.clone()).unwrap_or_default(),
        directory: plugin.is_some_and(|plugin| plugin.needs.directory),
        upstreams: plugin.map(|plugin| plugin.needs.upstreams.clone()).unwrap_or_default(),
        status,
    }
}
