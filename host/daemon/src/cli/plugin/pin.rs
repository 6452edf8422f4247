//! `twill plugin pin`: writes the lock file that `twill run --locked` insists on.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use twill_model::status::{PluginState, PluginStatus};
use twill_plugin::{Lock, Locked};

use crate::cli::client::{get, post};
use crate::cli::wait_for;
use crate::exit::Exit;
use crate::settings::InstanceSettings;

/// Write down which plugin files are approved: those that the daemon uses now, or the named ones beside what was approved before.
///
/// `twill run --locked` uses these files and no others.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  twill plugin pin                                 (all that are loaded, nothing else)
  twill plugin pin backend-udp                     (the loaded one, beside what was approved before)
  twill plugin pin backend-udp@3f2a91c04b7d        (the file of that digest, though it is refused now)")]
pub struct Pin {
    /// A plugin, with the beginning of a digest when it is not the loaded one.
    #[arg(value_name = "PLUGIN[@DIGEST]")]
    plugins: Vec<String>,
    /// The lock file.
    #[arg(long, env = "TWILL_PLUGIN_LOCK", value_name = "FILE", default_value = "/etc/twill/plugins.lock")]
    plugin_lock: PathBuf,
    #[command(flatten)]
    instance: InstanceSettings,
}

impl Pin {
    /// Asks the daemon what there is, writes the file, and has the daemon look at it.
    pub fn main(self) -> Result<(), Exit> {
        wait_for(async {
            let found: Vec<PluginStatus> = get(&self.instance, "/api/v1/plugins").await?;
            let mut lock = if self.plugins.is_empty() || !self.plugin_lock.exists() {
                Lock::default()
            } else {
                Lock::read(&self.plugin_lock).map_err(Exit::failed)?
            };
            for plugin in chosen(&found, &self.plugins)? {
                lock.approve(&plugin.name, Locked { version: plugin.version.clone(), digest: plugin.digest.clone() });
                println!("{} {} ({})", plugin.name, plugin.version, plugin.digest);
            }
            write(&self.plugin_lock, &lock.text())
                .map_err(|error| Exit::failed(format!("cannot write {}: {error}", self.plugin_lock.display())))?;
            println!("written to {}; `twill run --locked` uses no others", self.plugin_lock.display());
            post(&self.instance, "/api/v1/plugins/reload").await.map(drop)
        })
    }
}

/// The files that are meant: all that are loaded, or for each wish the one that fits it.
fn chosen<'a>(found: &'a [PluginStatus], wishes: &[String]) -> Result<Vec<&'a PluginStatus>, Exit> {
    let loaded = |plugin: &&PluginStatus| plugin.world.is_some() && plugin.state != PluginState::Refused && !is_passed_over(plugin);
    if wishes.is_empty() {
        return Ok(found.iter().filter(loaded).collect());
    }
    wishes.iter().map(|wish| one(found, wish)).collect()
}

fn one<'a>(found: &'a [PluginStatus], wish: &str) -> Result<&'a PluginStatus, Exit> {
    let (name, digest) = wish.split_once('@').map_or((wish, None), |(name, digest)| (name, Some(digest)));
    let of_name: Vec<&PluginStatus> = found.iter().filter(|plugin| plugin.name == name && !plugin.version.is_empty()).collect();
    let fits: Vec<&PluginStatus> = match digest {
        Some(digest) => of_name.iter().copied().filter(|plugin| plugin.digest.starts_with(digest)).collect(),
        None => of_name.iter().copied().filter(|plugin| plugin.state != PluginState::Refused && !is_passed_over(plugin)).collect(),
    };
    let list = || of_name.iter().map(|plugin| format!("{} ({})", plugin.version, plugin.digest)).collect::<Vec<_>>().join(", ");
    match fits[..] {
        [plugin] => Ok(plugin),
        [] if of_name.is_empty() => Err(Exit::failed(format!("there is no plugin file of the name {name}; `twill plugin list` shows all"))),
        [] => Err(Exit::failed(format!("none of the files of {name} is meant by \"{wish}\": {}", list()))),
        [first, ..] if fits.iter().all(|plugin| plugin.digest == first.digest) => Ok(first),
        _ => Err(Exit::failed(format!("\"{wish}\" means several files: {}", list()))),
    }
}

/// Another file of the name is in use.
fn is_passed_over(plugin: &PluginStatus) -> bool {
    plugin.error.as_deref().is_some_and(|error| error.starts_with("passed over"))
}

/// Writes the file whole.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plugin(name: &str, digest: &str, state: PluginState, error: Option<&str>) -> PluginStatus {
        let text = format!(
            r#"{{"name":"{name}","version":"1.0.0","summary":"","world":"backend","contract":"0.1.0","file":"","digest":"{digest}","imports":[],
            "state":"idle","error":null,"calls":0,"failures":0,"restarts":0,"guest_us":0,"memory":0}}"#
        );
        let status: PluginStatus = serde_json::from_str(&text).expect("a status");
        PluginStatus { state, error: error.map(str::to_owned), ..status }
    }

    #[test]
    fn what_is_loaded_is_approved_unless_a_digest_is_named() {
        let found = [
            plugin("backend-udp", "aa11", PluginState::Active, None),
            plugin("backend-udp", "bb22", PluginState::Refused, Some("plugins.lock names another file")),
            plugin("backend-udp", "cc33", PluginState::Idle, Some("passed over for /x")),
            plugin("store-file", "dd44", PluginState::Active, None),
        ];
        let digests = |wishes: &[&str]| {
            let wishes: Vec<String> = wishes.iter().map(|wish| (*wish).to_owned()).collect();
            chosen(&found, &wishes).map(|plugins| plugins.iter().map(|plugin| plugin.digest.clone()).collect::<Vec<_>>())
        };
        assert_eq!(digests(&[]).expect("chosen"), ["aa11", "dd44"]);
        assert_eq!(digests(&["backend-udp"]).expect("chosen"), ["aa11"]);
        assert_eq!(digests(&["backend-udp@bb"]).expect("chosen"), ["bb22"]);
        assert!(digests(&["backend-udp@ee"]).is_err() && digests(&["backend-vxlan"]).is_err() && digests(&["backend-udp@"]).is_err());
    }
}
