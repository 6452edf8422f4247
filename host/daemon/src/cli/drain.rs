//! `twill drain`: takes this node out of the network without losing what is under way.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::client::post_with;
use super::telling::Telling;
use super::wait_for;
use crate::exit::Exit;
use crate::settings::{InstanceSettings, duration};

/// Take this node out of the network: withdraw its lease, go on receiving for a while, then end the daemon and take its network state away.
///
/// Move or stop the containers of this host first. Peers stop sending here as soon as they hear that the lease is gone; what they sent before still arrives.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  twill drain
  twill drain --for 2m")]
pub struct Drain {
    /// How long to go on receiving, such as 30s or 2m.
    #[arg(long = "for", value_name = "TIME", default_value = "30s", value_parser = duration)]
    time: Duration,
    #[command(flatten)]
    telling: Telling,
    #[command(flatten)]
    instance: InstanceSettings,
}

impl Drain {
    /// Asks the daemon and prints what it says.
    pub fn main(self) -> Result<(), Exit> {
        wait_for(async {
            self.telling.done(&post_with(&self.instance, "/api/v1/drain", &json!({ "seconds": self.time.as_secs() })).await?);
            Ok(())
        })
    }
}
