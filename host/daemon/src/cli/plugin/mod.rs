//! `twill plugin …`: what the running daemon has loaded, and what it is to do with it. One file a subcommand.

mod reload;

use clap::{Args, Subcommand};

use super::show::{Show, What};
use crate::exit::Exit;

/// Look at plugins and exchange them.
///
/// A plugin is a file in one of the plugin folders. The running daemon takes up a new file by itself; these commands show what came of it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  twill plugin list
  twill plugin reload backend-udp")]
pub struct Plugin {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the plugins that were found, and how they fare.
    List(Show),
    Reload(reload::Reload),
}

impl Plugin {
    /// Runs the subcommand.
    pub fn main(self) -> Result<(), Exit> {
        match self.command {
            Command::List(show) => show.main(What::Plugins),
            Command::Reload(reload) => reload.main(),
        }
    }
}
