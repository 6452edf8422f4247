//! `twill release`: gives this node's lease back, so that another node may have the subnet.

use clap::Args;

use super::client::post;
use super::telling::Telling;
use super::wait_for;
use crate::exit::Exit;
use crate::settings::InstanceSettings;

/// Give this node's lease back and end the daemon. Kernel state stays until `twill down`.
#[derive(Debug, Args)]
pub struct Release {
    #[command(flatten)]
    telling: Telling,
    #[command(flatten)]
    instance: InstanceSettings,
}

impl Release {
    /// Asks the daemon and prints what it says.
    pub fn main(self) -> Result<(), Exit> {
        wait_for(async {
            self.telling.done(&post(&self.instance, "/api/v1/release").await?);
            Ok(())
        })
    }
}
