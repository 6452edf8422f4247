//! `twill plugin check`: the conformance suite on one file.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use twill_conformance::{CheckError, Wishes, check, rules};
use twill_plugin::{Grants, PluginError};

use super::file::{OneFile, run, unusable};
use crate::exit::Exit;
use crate::settings::UpstreamSettings;

/// Check that a plugin keeps the rules of the contract.
///
/// A backend is asked the same questions in two instances, at different times, with different random numbers and in another order, and what it plans goes through the daemon's
/// real policy. A store is written to by several nodes at once: it must be empty, and keeps the config that the suite wrote. A store that wants a directory gets a temporary one.
///
/// The exit code is 0 when the plugin conforms, 1 when it breaks a rule.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  twill plugin check target/plugins/backend-udp.wasm
  twill plugin check --options '{\"Port\": 9000}' my-backend.wasm
  twill plugin check --upstream etcd=http://127.0.0.1:2379 target/plugins/store-etcd.wasm
  twill plugin check --rules")]
pub struct Check {
    #[command(flatten)]
    one: MaybeFile,
    /// Options of the plugin, as JSON: for a backend the config's `Backend` object, for a store its --store-options.
    #[arg(long, value_name = "JSON", default_value = "{}")]
    options: String,
    /// An empty directory that a store may use [default: a temporary one].
    #[arg(long, value_name = "DIR")]
    store_dir: Option<PathBuf>,
    #[command(flatten)]
    upstreams: UpstreamSettings,
    /// Seconds of computing that plans for 5 000 peers may take [default: 1 for Rust, 10 for languages that bring a runtime].
    #[arg(long, value_name = "SECONDS")]
    within: Option<u64>,
    /// Put only the rule of that name; may be given several times.
    #[arg(long, value_name = "RULE")]
    only: Vec<String>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    /// List the rules instead.
    #[arg(long)]
    rules: bool,
}

/// The file, which `--rules` does without.
#[derive(Debug, Args)]
struct MaybeFile {
    /// The plugin: a WebAssembly component (*.wasm).
    #[arg(value_name = "FILE", required_unless_present = "rules")]
    file: Option<PathBuf>,
    /// Folder for compiled plugins [default: twill in the user's cache folder].
    #[arg(long, env = "TWILL_CACHE_DIR", value_name = "DIR", hide_env_values = true)]
    cache_dir: Option<PathBuf>,
}

impl Check {
    /// Puts the rules to the file and prints what came of it.
    pub fn main(self) -> Result<(), Exit> {
        let (Some(file), false) = (self.one.file.clone(), self.rules) else {
            rules::ALL.iter().for_each(|(world, rule)| println!("{:22} {world:8} {}", rule.name, rule.demands));
            return Ok(());
        };
        if let Some(unknown) = self.only.iter().find(|name| !rules::ALL.iter().any(|(_, rule)| rule.name == **name)) {
            return Err(Exit::usage(format!("there is no rule \"{unknown}\"; twill plugin check --rules lists them")));
        }
        let one = OneFile::at(file, self.one.cache_dir.clone());
        let grants = Grants { directory: self.store_dir.clone(), upstreams: self.upstreams.grants().map_err(Exit::usage)? };
        let within = self.within.map(Duration::from_secs);
        let wishes = Wishes { cache: one.cache(), options: self.options.clone(), grants, within, only: self.only.clone() };
        run(async {
            let report = check(&one.file, &wishes).await.map_err(advised)?;
            if self.json {
                println!("{}", serde_json::to_string_pretty(&report).map_err(Exit::failed)?)
            } else {
                print!("{report}")
            }
            if report.conforms { Ok(()) } else { Err(Exit::silent(1)) }
        })
    }
}

fn advised(error: CheckError) -> Exit {
    match error {
        CheckError::Host(PluginError::NotGranted { plugin, what, .. }) => {
            let name = what.split('"').nth(1).unwrap_or("NAME");
            Exit::usage(format!(
                "{plugin} needs {what}: start one that may be written to, and name it with --upstream {name}=http://HOST:PORT"
            ))
        }
        CheckError::InUse(..) => Exit::usage(error),
        other => unusable(other),
    }
}
