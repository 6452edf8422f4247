//! `twill plugin try`: one plan of a backend, and what the host would make of it.

use std::path::PathBuf;

use clap::Args;
use twill_conformance::trial::{self, Input};

use super::file::{OneFile, misfit, run};
use crate::exit::Exit;

/// Show the plan that a backend makes for one peer.
///
/// Nothing is changed on this machine. The plan goes through the daemon's real policy: what that refuses is shown with the reason, and the exit code is 1. Everything in the
/// input has a default; `--example` prints an input that is complete.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  twill plugin try my-backend.wasm
  twill plugin try my-backend.wasm --example > lease.json
  twill plugin try my-backend.wasm --input lease.json
  echo '{\"road\": {\"v4\": \"routed\"}}' | twill plugin try my-backend.wasm --input -")]
pub struct Try {
    #[command(flatten)]
    one: OneFile,
    /// What the plan is made from, as JSON: network, backend options, this node, the peer, the road to it. "-" is standard input.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Print an input instead, to be changed and given to --input.
    #[arg(long, conflicts_with = "input")]
    example: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Try {
    /// Reads the input, asks, prints.
    pub fn main(self) -> Result<(), Exit> {
        if self.example {
            println!("{}", serde_json::to_string_pretty(&Input::default()).map_err(Exit::failed)?);
            return Ok(());
        }
        let input = self.input.as_ref().map_or_else(|| Ok(Input::default()), read)?;
        run(async {
            let (plugins, inspected) = self.one.load().await?;
            if let Some(exit) = misfit(&self.one.file, &inspected) {
                return Err(exit);
            }
            if inspected.status.world.as_deref() != Some("backend") {
                return Err(Exit::usage(format!("{} is a store, and stores make no plans: try twill plugin check", inspected.status.name)));
            }
            let trial = trial::run(&plugins, &inspected, &input).await;
            if self.json {
                println!("{}", serde_json::to_string_pretty(&trial).map_err(Exit::failed)?)
            } else {
                print!("{trial}")
            }
            let failed = trial.publishes.is_none() || !trial.refused.is_empty();
            if failed { Err(Exit::silent(1)) } else { Ok(()) }
        })
    }
}

fn read(path: &PathBuf) -> Result<Input, Exit> {
    let cannot = |error: std::io::Error| Exit::usage(format!("cannot read {}: {error}", path.display()));
    let text = if path.as_os_str() == "-" { std::io::read_to_string(std::io::stdin()) } else { std::fs::read_to_string(path) };
    Input::read(&text.map_err(cannot)?)
        .map_err(|error| Exit::usage(format!("{} is no input for a plan: {error}; --example prints one", path.display())))
}
