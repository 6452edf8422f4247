//! The watch, in a task of its own: long polls from a cursor, what they bring goes to the keeper.
//!
//! The keeper may set another cursor at any time, after having read everything anew. A poll under way is not broken off for that; what it brings is of the generation
//! before and is dropped, since it lies before the new cursor or will be told again after it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{FIRST_WAIT, LONGEST_WAIT};
use crate::store::{Change, Store, StoreError};
use crate::term::Backoff;

const WAIT_MS: u32 = 30_000;

/// What the watch brings.
#[derive(Debug)]
pub(super) enum News {
    /// Changes in the store's order; none after a time of trouble, just to say that the store answers.
    Changes(Vec<Change>),
    /// The watch cannot go on: everything is to be read anew.
    LostPlace(StoreError),
    /// The task itself broke down: it is to be started anew.
    Broken,
    /// The store does not answer; the task goes on trying.
    Trouble(StoreError),
}

#[derive(Debug, Clone, Default)]
struct Place {
    generation: u64,
    cursor: Option<String>,
}

/// The watch task and the way to and from it.
pub(super) struct Follower {
    place: watch::Sender<Place>,
    sender: mpsc::Sender<(u64, News)>,
    receiver: mpsc::Receiver<(u64, News)>,
    tasks: JoinSet<()>,
}

impl Follower {
    pub(super) fn new() -> Follower {
        let (sender, receiver) = mpsc::channel(16);
        Follower { place: watch::Sender::default(), sender, receiver, tasks: JoinSet::new() }
    }

    /// Starts the task; it waits for the first cursor.
    pub(super) fn start<S: Store>(&mut self, store: Arc<S>) {
        self.tasks.spawn(follow(store, self.place.subscribe(), self.sender.clone()));
    }

    /// Everything up to `cursor` is known.
    pub(super) fn go_on_from(&self, cursor: String) {
        self.place.send_modify(|place| *place = Place { generation: place.generation + 1, cursor: Some(cursor) });
    }

    /// True when news of that generation is still news.
    pub(super) fn is_current(&self, generation: u64) -> bool {
        self.place.borrow().generation == generation
    }

    /// The next news with its generation. Cancel-safe.
    pub(super) async fn news(&mut self) -> (u64, News) {
        tokio::select! {
            biased;
            Some(news) = self.receiver.recv() => news,
            Some(_) = self.tasks.join_next() => (self.place.borrow().generation, News::Broken),
        }
    }
}

async fn follow<S: Store>(store: Arc<S>, mut place: watch::Receiver<Place>, news: mpsc::Sender<(u64, News)>) {
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT, 0);
    let mut here = Place::default();
    let mut troubled = false;
    loop {
        if place.has_changed().unwrap_or(false) {
            here = place.borrow_and_update().clone();
        }
        let Some(cursor) = here.cursor.clone() else {
            if place.changed().await.is_err() {
                return;
            }
            here = place.borrow_and_update().clone();
            continue;
        };
        let asked = Instant::now();
        // After trouble an answer is wanted at once, whether there is news or not: it says that the store is back.
        let wait_ms = if troubled { 0 } else { WAIT_MS };
        let found = match store.watch(cursor, wait_ms).await {
            Ok(changes) => {
                here.cursor = Some(changes.cursor);
                // The next failure is told of again, whatever this answer brought.
                let was_troubled = std::mem::take(&mut troubled);
                let quiet = changes.changes.is_empty() && !was_troubled;
                backoff.reset();
                rest(asked, quiet).await;
                (!quiet).then_some(News::Changes(changes.changes))
            }
            Err(error @ StoreError::LostCursor(_)) => {
                here.cursor = None;
                Some(News::LostPlace(error))
            }
            Err(error) => {
                let first = !std::mem::replace(&mut troubled, true);
                tokio::time::sleep(backoff.wait()).await;
                first.then_some(News::Trouble(error))
            }
        };
        if let Some(found) = found
            && news.send((here.generation, found)).await.is_err()
        {
            return;
        }
    }
}

/// A store that answers "nothing" at once, again and again, must not keep a processor busy.
async fn rest(asked: Instant, quiet: bool) {
    const SOON: Duration = Duration::from_millis(20);
    if quiet && asked.elapsed() < SOON {
        tokio::time::sleep(SOON).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keeper::tests::CONFIG;
    use crate::testing::lease;
    use crate::testing::memory::Memory;

    #[tokio::test(start_paused = true)]
    async fn every_failure_of_the_store_is_told_of_also_after_an_answer_that_brought_changes() {
        let store = Arc::new(Memory::with_config(CONFIG));
        let mut follower = Follower::new();
        follower.start(Arc::clone(&store));
        follower.go_on_from(store.read().await.expect("a snapshot").cursor);
        let mut next = async || tokio::time::timeout(Duration::from_secs(3600), follower.news()).await.expect("told within an hour").1;
        for number in 1..=3 {
            store.set_away(true);
            let told = next().await;
            assert!(matches!(told, News::Trouble(_)), "failure {number}: {told:?}");
            store.put(lease("b", &format!("10.3.{number}.0/24"), "192.0.2.9"));
            store.set_away(false);
            let told = next().await;
            assert!(matches!(&told, News::Changes(changes) if changes.len() == 1), "answer {number}: {told:?}");
        }
    }
}
