//! `twill plugin reload`: has the daemon look through its plugin folders again.

use clap::Args;

use crate::cli::client::post;
use crate::cli::wait_for;
use crate::exit::Exit;
use crate::settings::InstanceSettings;

/// Have the daemon look through its plugin folders again, and say what it uses then.
///
/// It does so by itself when a file comes or goes. This tries files again that did not do, and puts the named plugin's best file in charge even if that is older
/// than what runs.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  twill plugin reload
  twill plugin reload backend-udp")]
pub struct Reload {
    /// Only this plugin, such as backend-udp.
    #[arg(value_name = "PLUGIN")]
    plugin: Option<String>,
    /// Let it take over even if links are made anew and traffic breaks off.
    #[arg(long, requires = "plugin")]
    allow_disruption: bool,
    #[command(flatten)]
    instance: InstanceSettings,
}

impl Reload {
    /// Asks the daemon and prints what it says.
    pub fn main(self) -> Result<(), Exit> {
        let path = match &self.plugin {
            Some(plugin) if self.allow_disruption => format!("/api/v1/plugins/{plugin}/reload/disrupting"),
            Some(plugin) => format!("/api/v1/plugins/{plugin}/reload"),
            None => "/api/v1/plugins/reload".to_owned(),
        };
        wait_for(async {
            println!("{}", post(&self.instance, &path).await?);
            Ok(())
        })
    }
}
