//! `twill plugin rollback`: has the version before take over again.

use clap::Args;

use crate::cli::client::post;
use crate::cli::wait_for;
use crate::exit::Exit;
use crate::settings::InstanceSettings;

/// Have the version of a plugin that was in use before take over again, whatever lies in the folders.
///
/// It stays until a file is found that is newer than the one it takes over from, also over restarts, or until --clear.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  twill plugin rollback backend-udp
  twill plugin rollback --clear backend-udp")]
pub struct Rollback {
    /// The plugin, such as backend-udp.
    #[arg(value_name = "PLUGIN")]
    plugin: String,
    /// End it: the best file in the folders takes over.
    #[arg(long)]
    clear: bool,
    #[command(flatten)]
    instance: InstanceSettings,
}

impl Rollback {
    /// Asks the daemon and prints what it says.
    pub fn main(self) -> Result<(), Exit> {
        let act = if self.clear { "rollback/clear" } else { "rollback" };
        let path = format!("/api/v1/plugins/{}/{act}", self.plugin);
        wait_for(async {
            println!("{}", post(&self.instance, &path).await?);
            Ok(())
        })
    }
}
