//! The event stream: what is there at once, and then each change.
//!
//! The first event, `snapshot`, holds all parts of the snapshot; each `change` holds those that differ from what was sent before. Both
//! carry `at_ms`, this node's clock, by which a page shows ages and countdowns. Changes that follow each other quickly are sent as one; a
//! `change` without parts says every few seconds that the connection is alive. A client that connects again starts anew.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::response::sse::{Event, Sse};
use futures_util::stream::{Stream, unfold};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::Api;
use crate::encoded::Encoded;

/// Least time between two events to one client, and the longest that a large one puts off the next.
const PACE: Duration = Duration::from_millis(250);
const LONGEST_PACE: Duration = Duration::from_secs(2);
/// What one client is sent in a second at most, in bytes: thousands of leases would keep a page busy with reading.
const BYTES: u64 = 1_000_000;
/// A sign of life goes out after this much silence. Pages that hear nothing for three times as long take the connection for lost.
const SILENCE: Duration = Duration::from_secs(4);

/// The stream for one client; it ends when `shutdown` is cancelled.
pub fn snapshots(api: Api, shutdown: CancellationToken) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let client = Client { api, shutdown, sent: None };
    Sse::new(unfold(client, |client| async { client.next().await.map(|(event, client)| (Ok(event), client)) }))
}

struct Client {
    api: Api,
    shutdown: CancellationToken,
    /// What the client has, and when it may have more.
    sent: Option<(Arc<Encoded>, Instant)>,
}

impl Client {
    async fn next(mut self) -> Option<(Event, Client)> {
        let Some((has, earliest)) = self.sent.take() else {
            let first = self.newest();
            return Some(self.send("snapshot", first, None));
        };
        let newest = tokio::select! {
            () = self.shutdown.cancelled() => return None,
            newest = differing(&mut self.api, &has, earliest) => newest?,
            () = sleep(SILENCE) => has.clone(),
        };
        Some(self.send("change", newest, Some(&has)))
    }

    fn newest(&mut self) -> Arc<Encoded> {
        let snapshot = self.api.snapshots.borrow_and_update().clone();
        self.api.encoder.encode(&snapshot)
    }

    fn send(mut self, name: &str, newest: Arc<Encoded>, before: Option<&Encoded>) -> (Event, Client) {
        let text = String::from_utf8(newest.changes(before, now_ms())).expect("JSON is UTF-8");
        self.sent = Some((newest, Instant::now() + pause(text.len())));
        (Event::default().event(name).data(text), self)
    }
}

/// The pause after an event of so many bytes.
fn pause(bytes: usize) -> Duration {
    let fair = Duration::from_micros(u64::try_from(bytes).unwrap_or(u64::MAX).saturating_mul(1_000_000 / BYTES));
    fair.clamp(PACE, LONGEST_PACE)
}

/// The newest snapshot, once it differs from `has` and `earliest` has come; none when there will be no more.
async fn differing(api: &mut Api, has: &Encoded, earliest: Instant) -> Option<Arc<Encoded>> {
    loop {
        api.snapshots.changed().await.ok()?;
        sleep_until(earliest).await;
        let snapshot = api.snapshots.borrow_and_update().clone();
        let newest = api.encoder.encode(&snapshot);
        if !newest.same(has) {
            return Some(newest);
        }
    }
}

/// Milliseconds since the Unix epoch.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_events_put_off_the_next_and_not_for_long() {
        assert_eq!(pause(0), PACE);
        assert_eq!(pause(9_000), PACE);
        assert_eq!(pause(1_200_000), Duration::from_millis(1_200));
        assert_eq!(pause(50_000_000), LONGEST_PACE);
    }
}
