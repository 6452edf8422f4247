//! `twill reconcile`: has the daemon compare plan and kernel now.

use clap::Args;

use super::client::post;
use super::telling::Telling;
use super::wait_for;
use crate::exit::Exit;
use crate::settings::InstanceSettings;

/// Have the daemon compare the plan with the kernel now, and mend what differs.
///
/// It does so by itself whenever the kernel tells of a change, and every half minute in any case.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  twill reconcile")]
pub struct Reconcile {
    #[command(flatten)]
    telling: Telling,
    #[command(flatten)]
    instance: InstanceSettings,
}

impl Reconcile {
    /// Asks the daemon and prints what it says.
    pub fn main(self) -> Result<(), Exit> {
        wait_for(async {
            self.telling.done(&post(&self.instance, "/api/v1/reconcile").await?);
            Ok(())
        })
    }
}
