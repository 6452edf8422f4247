//! `twill why`: does one node reach another, since when not, and what happened before.

use clap::Args;
use twill_model::event::Event;
use twill_model::status::Snapshot;

use super::client::get;
use super::wait_for;
use crate::clock::now_ms;
use crate::exit::Exit;
use crate::settings::InstanceSettings;
use crate::why::{moment, why};

/// Say whether one node reaches another, since when, and what happened before: from what this node knows and remembers.
///
/// A node is named by a subnet, the address of a pod, its public address, or the beginning of its id; this one is "here". One of the two must be this node. The exit code
/// is 1 when it is not reached.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  twill why here 10.244.7.0/24
  twill why here 10.244.7.23 --at 10:31
  twill why 192.0.2.7 here --at '20m ago' --json")]
pub struct Why {
    /// Who sends.
    a: String,
    /// Who is sent to.
    b: String,
    /// The moment that is asked about: 10:31, 2026-11-28T10:31:00Z, "5m ago" (UTC); now, if none is given.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Print the answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    instance: InstanceSettings,
}

impl Why {
    /// Asks the daemon what it knows, and answers.
    pub fn main(self) -> Result<(), Exit> {
        let now = now_ms();
        let at = self.at.as_deref().map(|text| moment(text, now)).transpose().map_err(Exit::usage)?;
        let (snapshot, events) = wait_for(async {
            let snapshot: Snapshot = get(&self.instance, "/api/v1/snapshot").await?;
            Ok((snapshot, all_events(&self.instance).await?))
        })?;
        let answer = why(&snapshot, &events, &self.a, &self.b, at, now).map_err(Exit::usage)?;
        match self.json {
            true => println!("{}", serde_json::to_string_pretty(&answer).map_err(Exit::failed)?),
            false => print!("{}", answer.words()),
        }
        if answer.reaches == Some(false) { Err(Exit::silent(1)) } else { Ok(()) }
    }
}

/// All events that are kept, oldest first, page by page.
pub async fn all_events(instance: &InstanceSettings) -> Result<Vec<Event>, Exit> {
    let mut events: Vec<Event> = Vec::new();
    loop {
        let after = events.last().map_or(0, |last| last.id);
        let page: Vec<Event> = get(instance, &format!("/api/v1/events?limit=1000&after={after}")).await?;
        if page.is_empty() {
            return Ok(events);
        }
        events.extend(page);
    }
}
