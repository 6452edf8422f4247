//! Events as they happen, for programs that must not miss one: each carries its id, and a client that was cut off goes on after the last one it had.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{Stream, unfold};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use twill_model::event;

use crate::history::{EventLog, Page};
use crate::problem::Problem;

/// How many events are fetched at once.
const BATCH: usize = 200;

/// A comment goes out after this much silence, so that a dead connection is noticed.
const SILENCE: Duration = Duration::from_secs(15);

/// The id that a client had last, if it says so.
///
/// # Errors
/// It says something that is no id.
pub fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    let id = value.to_str().ok().and_then(|text| text.parse().ok());
    id.map(Some).ok_or_else(|| Problem::bad_request("the header Last-Event-ID is no event's id; ids are whole numbers"))
}

/// The events after that id, or from now on; ends when `shutdown` is cancelled.
pub fn events(log: Arc<EventLog>, after: Option<u64>, shutdown: CancellationToken) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let newest = log.newest();
    let last = after.unwrap_or_else(|| *newest.borrow());
    let client = Client { log, newest, last, fetched: VecDeque::new(), shutdown };
    let stream = unfold(client, |client| async { client.next().await.map(|(event, client)| (Ok(event), client)) });
    Sse::new(stream).keep_alive(KeepAlive::new().interval(SILENCE))
}

struct Client {
    log: Arc<EventLog>,
    newest: watch::Receiver<u64>,
    /// The id of the last event that was sent.
    last: u64,
    fetched: VecDeque<event::Event>,
    shutdown: CancellationToken,
}

impl Client {
    async fn next(mut self) -> Option<(Event, Client)> {
        loop {
            if let Some(event) = self.fetched.pop_front() {
                self.last = event.id;
                let text = serde_json::to_string(&event).expect("an event has text keys only");
                return Some((Event::default().id(event.id.to_string()).event("event").data(text), self));
            }
            self.newest.mark_unchanged();
            self.fetched = self.log.page(Page { after: Some(self.last), before: None, limit: BATCH }).into();
            if self.fetched.is_empty() {
                tokio::select! {
                    () = self.shutdown.cancelled() => return None,
                    changed = self.newest.changed() => changed.ok()?,
                }
            }
        }
    }
}
