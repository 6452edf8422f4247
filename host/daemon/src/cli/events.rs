//! `twill events`: what happened, from before the daemon's start too, and what happens.

use clap::Args;
use http_body_util::BodyExt;
use hyper::Method;
use hyper::body::Incoming;
use serde_json::Value;
use twill_model::event::Event;

use super::client::{get, open};
use super::table::table;
use super::wait_for;
use crate::clock::now_ms;
use crate::exit::Exit;
use crate::settings::InstanceSettings;

/// List what happened, oldest first.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  twill events
  twill events --limit 1000 --json
  twill events --after 512
  twill events --follow            (ends with Ctrl-C)")]
pub struct Events {
    /// Go on and tell events as they happen.
    #[arg(long, short)]
    follow: bool,
    /// How many of the newest: 1 to 1000.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Only events after the one with this number.
    #[arg(long, value_name = "ID")]
    after: Option<u64>,
    /// Print the API's JSON instead of a table; with --follow an event a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    instance: InstanceSettings,
}

impl Events {
    /// Asks the daemon and prints its answer.
    pub fn main(self) -> Result<(), Exit> {
        wait_for(async {
            let after = self.after.map_or_else(String::new, |after| format!("&after={after}"));
            let listed: Value = get(&self.instance, &format!("/api/v1/events?limit={}{after}", self.limit)).await?;
            let events: Vec<Event> = serde_json::from_value(listed.clone()).map_err(Exit::failed)?;
            match (self.follow, self.json) {
                (false, true) => println!("{listed:#}"),
                (false, false) => print!("{}", words(&events)),
                (true, _) => {
                    events.iter().try_for_each(|event| self.print(event))?;
                    let last = events.last().map(|event| event.id).or(self.after);
                    self.follow(last).await?;
                }
            }
            Ok(())
        })
    }

    /// Prints events as they happen, until the daemon ends.
    async fn follow(&self, last: Option<u64>) -> Result<(), Exit> {
        let query = last.map_or_else(String::new, |last| format!("?after={last}"));
        let mut body = open(&self.instance, Method::GET, &format!("/api/v1/events/stream{query}"), None).await?.into_body();
        let mut lines = Lines::default();
        while let Some(text) = next_piece(&mut body).await? {
            for line in lines.add(&text) {
                if let Some(data) = line.strip_prefix("data: ") {
                    self.print(&serde_json::from_str(data).map_err(Exit::failed)?)?;
                }
            }
        }
        Err(Exit::failed("the daemon ended, and with it the stream of events"))
    }

    fn print(&self, event: &Event) -> Result<(), Exit> {
        let line = if self.json { serde_json::to_string(event).map_err(Exit::failed)? } else { line(event) };
        println!("{line}");
        Ok(())
    }
}

async fn next_piece(body: &mut Incoming) -> Result<Option<Vec<u8>>, Exit> {
    match body.frame().await {
        Some(Ok(frame)) => Ok(Some(frame.into_data().map(|data| data.to_vec()).unwrap_or_default())),
        Some(Err(_)) | None => Ok(None),
    }
}

/// Whole lines out of pieces of text.
#[derive(Debug, Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn add(&mut self, piece: &[u8]) -> Vec<String> {
        self.0.extend_from_slice(piece);
        let whole = self.0.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let lines: Vec<u8> = self.0.drain(..whole).collect();
        String::from_utf8_lossy(&lines).lines().map(str::to_owned).collect()
    }
}

fn words(events: &[Event]) -> String {
    let now = now_ms();
    let row = |event: &Event| {
        let weight = format!("{:?}", event.weight).to_lowercase();
        vec![event.id.to_string(), ago(now.saturating_sub(event.at_ms)), weight, event.room.clone(), event.text.clone()]
    };
    table(&["no.", "when", "weight", "room", "what happened"], &events.iter().map(row).collect::<Vec<_>>())
}

/// An event as it is told while following.
fn line(event: &Event) -> String {
    let seconds = event.at_ms / 1_000 % 86_400;
    let clock = format!("{:02}:{:02}:{:02}.{:03}Z", seconds / 3_600, seconds / 60 % 60, seconds % 60, event.at_ms % 1_000);
    format!("{clock} {:5} {}: {}", format!("{:?}", event.weight).to_lowercase(), event.room, event.text)
}

/// "12 s ago", "5 min ago", "3 h ago", "2 d ago".
pub fn ago(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0..120 => format!("{seconds} s ago"),
        120..7_200 => format!("{} min ago", seconds / 60),
        7_200..172_800 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_whatever_the_pieces() {
        let mut lines = Lines::default();
        assert!(lines.add(b"data: {\"te").is_empty());
        assert_eq!(lines.add(b"xt\":\"\xc3"), Vec::<String>::new());
        assert_eq!(lines.add(b"\xa4\"}\n\nda"), ["data: {\"text\":\"ä\"}", ""]);
    }

    #[test]
    fn ages_are_told_in_the_unit_that_suits() {
        assert_eq!(
            ["0 s ago", "2 min ago", "2 h ago", "2 d ago"],
            [900, 120_000, 7_200_000, 172_800_000].map(ago).each_ref().map(String::as_str)
        );
    }
}
