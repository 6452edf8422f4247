//! `twill plugin reload`: has the daemon look through its plugin folders again.

use clap::Args;

use crate::cli::client::post;
use crate::cli::wait_for;
use crate::exit::Exit;
use crate::settings::InstanceSettings;

/// Have the daemon look through its plugin folders again, and say what it uses then.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  twill plugin reload
  twill plugin reload backend-udp")]
pub struct Reload {
    /// Say only how this plugin fares.
    #[arg(value_name = "PLUGIN")]
    plugin: Option<String>,
    #[command(flatten)]
    instance: InstanceSettings,
}

impl Reload {
    /// Asks the daemon and prints what it says.
    pub fn main(self) -> Result<(), Exit> {
        let path = match &self.plugin {
            Some(plugin) => format!("/api/v1/plugins/{plugin}/reload"),
            None => "/api/v1/plugins/reload".to_owned(),
        };
        wait_for(async {
            println!("{}", post(&self.instance, &path).await?);
            Ok(())
        })
    }
}
