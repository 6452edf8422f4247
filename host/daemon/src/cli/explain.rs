//! `twill explain ADDRESS`: how a packet for a pod leaves this node, leg by leg, with the first broken one marked.

use std::net::IpAddr;

use clap::Args;
use twill_model::explain::{Explained, Health};

use super::client::get;
use super::wait_for;
use crate::exit::Exit;
use crate::settings::InstanceSettings;

/// Say how a packet for a pod leaves this node: lease, node, ways, the one in use and why, link, route, neighbour, filter, last proof; the first broken leg is marked.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  twill explain 10.244.7.23
  twill explain 10.244.7.23 --json

Exits with 1 when some leg is broken.")]
pub struct Explain {
    /// The pod's address.
    address: IpAddr,
    /// The API's JSON instead of text.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    instance: InstanceSettings,
}

impl Explain {
    /// Asks the daemon and prints what it says.
    pub fn main(self) -> Result<(), Exit> {
        wait_for(async move {
            let explained: Explained = get(&self.instance, &format!("/api/v1/explain/{}", self.address)).await?;
            if self.json {
                println!("{}", serde_json::to_string_pretty(&explained).map_err(Exit::failed)?);
            } else {
                print!("{}", words(&explained));
            }
            if explained.broken.is_some() { Err(Exit::silent(1)) } else { Ok(()) }
        })
    }
}

fn words(explained: &Explained) -> String {
    let line = |(place, step): (usize, &twill_model::explain::Step)| {
        let mark = match step.health {
            Health::Good => "  ",
            Health::Doubtful => "? ",
            Health::Broken if explained.broken == Some(place) => "->",
            Health::Broken => "x ",
        };
        format!("{mark} {:<10} {}\n", step.what, step.says)
    };
    explained.steps.iter().enumerate().map(line).collect()
}
