//! `twill plugin …`: what the running daemon has loaded, and what it is to do with it; and the kit of those who write plugins. One file a subcommand.

mod build;
mod check;
mod file;
mod inspect;
mod new;
mod pin;
mod reload;
mod rollback;
mod template;
mod trial;

use clap::{Args, Subcommand};

use super::show::{Show, What};
use crate::exit::Exit;

/// Look at plugins, exchange them, write them.
///
/// A plugin is a file in one of the plugin folders. The running daemon takes up a new file by itself; these commands show what came of it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  twill plugin list
  twill plugin reload backend-udp
  twill plugin rollback backend-udp
  twill plugin pin
  twill plugin new --lang rust my-backend
  twill plugin inspect my-backend.wasm
  twill plugin try my-backend.wasm --example > lease.json
  twill plugin try my-backend.wasm --input lease.json
  twill plugin check my-backend.wasm")]
pub struct Plugin {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the plugins that were found, and how they fare.
    List(Show),
    Reload(reload::Reload),
    Rollback(rollback::Rollback),
    Pin(pin::Pin),
    New(new::New),
    Build(build::Build),
    Inspect(inspect::Inspect),
    Try(trial::Try),
    Check(check::Check),
}

impl Plugin {
    /// Runs the subcommand.
    pub fn main(self) -> Result<(), Exit> {
        match self.command {
            Command::List(show) => show.main(What::Plugins),
            Command::Reload(reload) => reload.main(),
            Command::Rollback(rollback) => rollback.main(),
            Command::Pin(pin) => pin.main(),
            Command::New(new) => new.main(),
            Command::Build(build) => build.main(),
            Command::Inspect(inspect) => inspect.main(),
            Command::Try(trial) => trial.main(),
            Command::Check(check) => check.main(),
        }
    }
}
