//! What the keeper shows and keeps: the [`Cluster`] on the watch channel and the copy on disk.

use std::collections::BTreeSet;
use std::sync::Arc;

use twill_model::Lease;
use twill_model::event::Weight;

use super::fence::Passage;
use super::{Keeper, Own, Wish};
use crate::book::Book;
use crate::clock::Clock;
use crate::cluster::{Cluster, StoreState};
use crate::remembered::{self, End, Remembered};
use crate::store::Store;
use crate::term;

/// The book is written at most so often; a new own lease is written at once.
const SAVE_MS: u64 = 1000;

/// After a write that failed, whatever changes meanwhile.
const SAVE_AGAIN_MS: u64 = 30_000;

impl<S: Store, W: Wish, C: Clock> Keeper<S, W, C> {
    /// Starts with what was known when this node last ran.
    pub(super) fn recall(&mut self) {
        let known = match remembered::read(&self.settings.state_dir) {
            Ok(Some(known)) => known,
            Ok(None) => return,
            Err(error) => return self.say(Weight::Warn, error.to_string()),
        };
        if let Some(text) = known.config {
            self.recall_config(text);
        }
        self.book = Book::recalled(known.leases, known.identity, self.now());
        if let Some(own) = known.own.filter(|own| own.node.as_ref() == Some(&self.settings.node)) {
            self.own_ends = known.own_ends.map_or(0, |end| end.boot_ms(self.clock.as_ref()));
            self.fence.open(self.own_ends, term::lead(self.settings.term));
            self.public = own.public;
            self.previous = Some(own.clone());
            self.own = Own::Unsure(own);
        }
        self.show();
    }

    /// Shows the newest state, and has it written to disk soon.
    pub(super) fn show(&mut self) {
        let next = self.cluster_now();
        let (mut own_changed, mut news) = (false, false);
        self.cluster.send_if_modified(|current| {
            own_changed = current.own.as_ref().map(Lease::timeless) != next.own.as_ref().map(Lease::timeless);
            news = is_news_for_the_disk(current, &next);
            let differs = **current != next;
            if differs {
                *current = Arc::new(next);
            }
            differs
        });
        if news && self.complete {
            self.dirty = true;
            let urgent = own_changed && !self.problems.has("state");
            let at = if urgent { self.now() } else { self.now().max(self.save_from_ms) };
            self.agenda.save = Some(self.agenda.save.map_or(at, |planned| planned.min(at)));
        }
    }

    fn cluster_now(&self) -> Cluster {
        let collisions = self.book.collisions(self.config.config.as_deref());
        let losers: BTreeSet<_> = collisions.iter().map(|collision| collision.loser.subnets).collect();
        let mut problems = self.problems.sentences();
        problems.extend(collisions.iter().map(ToString::to_string));
        let passage = self.fence.passage(self.now());
        problems.extend(self.own.lease().and_then(|_| why_nothing_is_sent(passage)).map(str::to_owned));
        let others = self.book.by_arrival().into_iter().filter(|lease| !self.is_own(lease));
        Cluster {
            config: self.config.config.clone(),
            config_text: self.config.text.clone(),
            config_waiting: self.config.waiting.as_ref().map(|(_, text)| text.clone()),
            own: self.own.lease().cloned(),
            permit: self.own.lease().is_some() && passage == Passage::Open,
            withdrawn: self.withdrawn,
            peers: others.filter(|lease| !losers.contains(&lease.subnets)).cloned().collect(),
            held: self.book.held(),
            told: self.book.told(),
            collisions,
            remembered: !self.complete && (self.config.config.is_some() || self.book.leases().next().is_some()),
            complete: self.complete,
            store: StoreState {
                reachable: self.complete && self.store_error.is_none(),
                error: self.store_error.clone(),
                oddities: self.oddities.clone(),
            },
            problems,
            renewal: self.agenda.renew,
        }
    }

    /// Writes the copy on disk, off the runtime's threads. Where this is broken off, the copy counts as unwritten.
    pub(super) async fn save(&mut self) {
        self.agenda.save = None;
        let content = self.content();
        if let Ok(written) = tokio::task::spawn_blocking(self.disk.job(content)).await {
            self.dirty = written.is_err();
            self.save_from_ms = self.now().saturating_add(if self.dirty { SAVE_AGAIN_MS } else { SAVE_MS });
            self.agenda.save = self.dirty.then_some(self.save_from_ms);
            self.saved(written);
        }
    }

    /// Writes it at the end, when nothing waits any more.
    pub(super) fn save_now(&mut self) {
        if std::mem::take(&mut self.dirty) {
            let content = self.content();
            let written = self.disk.job(content)();
            self.saved(written);
        }
    }

    fn saved(&mut self, written: Result<(), remembered::RememberedError>) {
        match written {
            Ok(()) => {
                self.problems.clear("state");
            }
            Err(error) => {
                let text = format!("{error}; a restart while the store is away will not know the cluster");
                if self.problems.set("state", text.clone()) {
                    self.say(Weight::Warn, text);
                }
            }
        }
    }

    fn content(&self) -> Remembered {
        let own = self.own.lease().cloned();
        Remembered {
            config: self.config.text.clone(),
            own_ends: own.as_ref().map(|_| End::at(self.own_ends, self.clock.as_ref())),
            own,
            identity: self.book.identity().map(str::to_owned),
            leases: self.book.by_arrival().into_iter().map(|lease| Lease::clone(lease)).collect(),
        }
    }
}

/// Why a node that shows an own lease sends nothing.
fn why_nothing_is_sent(passage: Passage) -> Option<&'static str> {
    match passage {
        Passage::Open => None,
        Passage::Ended => Some("the own lease ended while the store was away; nothing is sent until the store has confirmed it"),
        Passage::Shut => Some("the own lease was written by another hand; nothing is sent until the store has confirmed it"),
    }
}

/// True when the copy on disk is out of date. Problems are not kept there: that it cannot be written must not cause the next attempt.
fn is_news_for_the_disk(known: &Cluster, next: &Cluster) -> bool {
    known.complete != next.complete
        || known.config_text != next.config_text
        || known.own != next.own
        || known.renewal != next.renewal
        || known.peers != next.peers
        || known.collisions != next.collisions
}
