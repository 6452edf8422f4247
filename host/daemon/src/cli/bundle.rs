//! `twill bundle` and `twill replay`: a node in one file, and its plan made again on another machine.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use super::client::get;
use super::table::table;
use super::wait_for;
use crate::bundle::replay::{Replay, replay};
use crate::bundle::{Bundle as File, FORMAT};
use crate::clock::now_ms;
use crate::doctor::{Facts, judge};
use crate::exit::Exit;
use crate::node::store::open_plugins;
use crate::settings::{RunSettings, StoreSettings};
use twill_plugin::Refusals;

/// Write all that this node knows into one file, for a bug report: state, events, what the plan was made from, and what `twill doctor` finds. It holds no secret.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  twill bundle
  twill bundle node-3.json
  twill bundle - | ssh elsewhere twill replay -")]
pub struct Bundle {
    /// The file to write; - is standard output. Without it: twill-HOST-TIME.json here.
    file: Option<String>,
    #[command(flatten)]
    settings: RunSettings,
}

impl Bundle {
    /// Asks the daemon, and writes the file.
    pub fn main(self) -> Result<(), Exit> {
        let bundle = wait_for(async {
            let mut bundle: File = get(&self.settings.instance, "/api/v1/bundle").await?;
            let findings = judge(&Facts::gather(&self.settings, Some(bundle.snapshot.clone())).await);
            bundle.doctor = serde_json::to_value(findings).map_err(Exit::failed)?;
            Ok(bundle)
        })?;
        let text = serde_json::to_string_pretty(&bundle).map_err(Exit::failed)?;
        let file = self.file.unwrap_or_else(|| format!("twill-{}-{}.json", bundle.snapshot.node.hostname, now_ms() / 1_000));
        if file == "-" {
            println!("{text}");
            return Ok(());
        }
        std::fs::write(&file, text).map_err(|error| Exit::failed(format!("cannot write {file}: {error}")))?;
        println!(
            "{file}: {} leases, {} events; look through it before you give it away: it tells addresses and names",
            bundle.snapshot.leases.len(),
            bundle.events.len()
        );
        Ok(())
    }
}

/// Plan again what a bundle's node planned, with the plugins that are here, and say whether the decisions are the same. It needs no root and touches nothing.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  twill replay node-3.json
  twill replay node-3.json --plugin-dir ./my-plugins --json")]
pub struct Replaying {
    /// What `twill bundle` wrote; - is standard input.
    file: String,
    /// Print what came of it as JSON.
    #[arg(long)]
    json: bool,
    /// Folder with plugins (*.wasm); may be given several times.
    #[arg(long, env = "TWILL_PLUGIN_DIR", value_name = "DIR", value_delimiter = ':')]
    plugin_dir: Vec<PathBuf>,
}

impl Replaying {
    /// Plans again, and tells what differs; the exit code is 1 when something does.
    pub fn main(self) -> Result<(), Exit> {
        let bundle = self.read()?;
        let folder = tempfile::tempdir().map_err(Exit::failed)?;
        let settings = StoreSettings::of_plugins(self.plugin_dir, folder.path().join("cache"));
        let replayed = wait_for(async {
            let plugins = open_plugins(&settings, None, None).await?;
            replay(&bundle, plugins.planner(Refusals::to(|_| {})), &plugins.status(), folder.path()).await.map_err(Exit::failed)
        })?;
        match self.json {
            true => println!("{}", serde_json::to_string_pretty(&replayed).map_err(Exit::failed)?),
            false => print!("{}", words(&replayed)),
        }
        if replayed.is_same() { Ok(()) } else { Err(Exit::silent(1)) }
    }

    fn read(&self) -> Result<File, Exit> {
        let wrong = |error: &dyn std::fmt::Display| Exit::failed(format!("cannot read the bundle {}: {error}", self.file));
        let text = match self.file.as_str() {
            "-" => std::io::read_to_string(std::io::stdin()),
            file => std::fs::read_to_string(file),
        };
        let value: Value = serde_json::from_str(&text.map_err(|error| wrong(&error))?).map_err(|error| wrong(&error))?;
        match value["format"].as_u64() {
            Some(format) if format == u64::from(FORMAT) => serde_json::from_value(value).map_err(|error| wrong(&error)),
            Some(format) => Err(wrong(&format!("its format is {format}, and this twill reads {FORMAT}"))),
            None => Err(wrong(&"it is not what `twill bundle` writes")),
        }
    }
}

fn words(replayed: &Replay) -> String {
    let way = |way: &Option<String>| way.clone().unwrap_or_else(|| "none".into());
    let ways = replayed.ways.iter().map(|(peer, [then, now])| vec![peer.clone(), way(then), way(now)]);
    let mut text = table(&["peer", "way then", "way now"], &ways.collect::<Vec<_>>());
    for (place, [then, now]) in &replayed.different {
        text += &format!("different: {place}\n  then  {}\n  now   {}\n", way(then), way(now));
    }
    text += &replayed.notes.iter().map(|note| format!("note: {note}\n")).collect::<String>();
    let verdict = if replayed.is_same() { "every decision is the same" } else { "not every decision is the same" };
    text + &format!("{} items are planned as they were; {verdict}\n", replayed.same)
}
