//! What plugins may use, and which files may be plugins.

use std::path::{Path, PathBuf};

use clap::Args;
use twill_plugin::{Keys, LimitTable, PluginSettings};

/// Settings of the plugin host.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Plugins")]
pub struct PluginFlags {
    /// Folder with plugins (*.wasm); may be given several times. Of two plugins of one name the higher version wins, then the later folder.
    ///
    /// Always looked at first: ../plugins and plugins beside the program, /usr/lib/twill/plugins, /etc/twill/plugins. The daemon takes up what is put there while it runs.
    #[arg(long, env = "TWILL_PLUGIN_DIR", value_name = "DIR", value_delimiter = ':')]
    pub plugin_dir: Vec<PathBuf>,
    /// Folder for compiled plugins; made readable for its owner alone.
    #[arg(long, env = "TWILL_CACHE_DIR", value_name = "DIR", default_value = "/var/cache/twill")]
    pub cache_dir: PathBuf,
    /// A limit of all plugins (memory-mib=256), or of one (backend-udp:memory-mib=256); may be given several times or with commas between.
    ///
    /// memory-mib (128) and output-mib (32: what one call hands to the host) in MiB; table-elements (100000), instances (256: core modules in one component), host-calls (100000 a call), log-lines (1000 a call), items (4096 an answer);
    /// in milliseconds stretch-ms (200: computing without a call to the host), computing-ms (1000: in one call), plan-ms (2000: an answer of a backend, waiting included), store-ms (30000: of a store), watch-slack-ms (10000: of a watch beyond what it
    /// was to wait). What a plugin has is in `twill plugin list --json`.
    #[arg(long, env = "TWILL_PLUGIN_LIMIT", value_name = "[PLUGIN:]KEY=N", value_delimiter = ',')]
    pub plugin_limit: Vec<String>,
    /// Use only the plugin files that the lock file names (`twill plugin pin` writes it); another is refused by name, and what runs stays.
    #[arg(
        long, env = "TWILL_LOCKED", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = false,
        default_missing_value = "true", action = clap::ArgAction::Set
    )]
    pub locked: bool,
    /// The lock file.
    #[arg(long, env = "TWILL_PLUGIN_LOCK", value_name = "FILE", default_value = "/etc/twill/plugins.lock")]
    pub plugin_lock: PathBuf,
    /// Use only plugin files that are signed by this key, a file that `minisign -G` has written; may be given several times, for several keys.
    ///
    /// The signature of backend-x.wasm is backend-x.wasm.minisig beside it, as `minisign -Sm backend-x.wasm` writes it. That holds for the plugins that came with twill too.
    #[arg(long, env = "TWILL_PLUGIN_KEY", value_name = "FILE", value_delimiter = ':')]
    pub plugin_key: Vec<PathBuf>,
}

impl PluginFlags {
    /// The plugin folders, weakest first.
    pub fn folders(&self) -> Vec<PathBuf> {
        let beside = std::env::current_exe().ok().and_then(|program| program.parent().map(Path::to_path_buf));
        let mut folders = Vec::new();
        if let Some(beside) = beside {
            folders.extend(beside.parent().map(|above| above.join("plugins")));
            folders.push(beside.join("plugins"));
        }
        folders.push(PathBuf::from("/usr/lib/twill/plugins"));
        folders.push(PathBuf::from("/etc/twill/plugins"));
        folders.extend(self.plugin_dir.iter().cloned());
        folders
    }

    /// What the plugin room is opened with; copies of files in use go to `kept`.
    ///
    /// # Errors
    /// In words: a limit that is none, a key that is none.
    pub fn host(&self, kept: Option<PathBuf>) -> Result<PluginSettings, String> {
        let limits = LimitTable::parse(self.plugin_limit.iter().map(String::as_str)).map_err(|error| error.to_string())?;
        let keys = Keys::read(&self.plugin_key).map_err(|error| error.to_string())?;
        let lock = self.locked.then(|| self.plugin_lock.clone());
        Ok(PluginSettings { folders: self.folders(), cache: self.cache_dir.clone(), limits, lock, kept, keys })
    }
}
