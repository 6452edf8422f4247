//! What the keeper hears of the store, from the watch or a reading: taken over into the book, and told a sentence a peer.

use twill_model::Lease;
use twill_model::event::{Kind, Told, Weight};

use super::follow::News;
use super::{Keeper, Wish};
use crate::book::Difference;
use crate::clock::Clock;
use crate::store::{Change, Oddity, Store};

/// How often everything is read anew though nothing happened.
const REFRESH_MS: u64 = 600_000;

/// The same while something in the store is not a lease.
const ODD_MS: u64 = 30_000;

impl<S: Store, W: Wish, C: Clock> Keeper<S, W, C> {
    /// Takes over what the watch brought.
    pub(super) async fn hear(&mut self, generation: u64, news: News) {
        if !self.follower.is_current(generation) {
            return;
        }
        match news {
            News::Trouble(error) => self.store_failed(&error),
            News::Broken => {
                self.say(Weight::Error, "the task that follows the store broke down; it is started anew");
                self.follower.start(self.store.clone());
                self.agenda.read = Some(self.later());
            }
            News::LostPlace(error) => {
                self.say(Weight::Info, format!("{error}; everything is read anew"));
                self.agenda.read = Some(self.now());
            }
            News::Changes(changes) => self.follow_changes(changes).await,
        }
    }

    async fn follow_changes(&mut self, changes: Vec<Change>) {
        self.store_answered();
        self.hurry();
        let own = Self::owns(self.settings.node.clone(), self.public);
        let difference = self.book.apply(&changes, own, self.clock.boot_ms());
        self.tell_of(&difference);
        self.mind_the_own(&changes);
        for change in changes {
            match change {
                Change::Config(text) => self.offer(text, false).await,
                Change::Oddity(oddity) => {
                    let known = self.oddities.iter().filter(|known| known.place != oddity.place).cloned();
                    self.note_oddities(known.chain([oddity.clone()]).collect());
                }
                Change::Put(_) | Change::Gone(_) => {}
            }
        }
    }

    /// Takes over what is not a lease, tells what is new, and plans when to look again: soon, where something may have been half-written, else now and then,
    /// since a watch may wait for ever at a place that a restored store never reaches.
    pub(super) fn note_oddities(&mut self, oddities: Vec<Oddity>) {
        for oddity in oddities.iter().filter(|oddity| !self.oddities.contains(oddity)) {
            self.say(Weight::Warn, format!("{} in the store cannot be used and is passed over: {}", oddity.place, oddity.reason));
        }
        let pause = if oddities.is_empty() { REFRESH_MS } else { ODD_MS };
        self.agenda.refresh = Some(self.now().saturating_add(pause));
        self.oddities = oddities;
    }

    /// Something in the store is not as it should be: it is read anew before long.
    pub(super) fn look_again_soon(&mut self) {
        let soon = self.now().saturating_add(ODD_MS);
        self.agenda.refresh = Some(self.agenda.refresh.map_or(soon, |at| at.min(soon)));
    }

    /// The store answers: what waits for a retry need not wait longer.
    fn hurry(&mut self) {
        let now = self.now();
        self.backoff.reset();
        self.agenda.read = self.agenda.read.map(|at| at.min(now));
        if self.problems.clear("renewal") {
            self.agenda.renew = self.agenda.renew.map(|at| at.min(now));
        }
    }

    /// A sentence for each peer that came, changed or went; in great numbers one for all.
    pub(super) fn tell_of(&self, difference: &Difference) {
        self.tell_each(Kind::Joined, "joined", &difference.joined);
        self.tell_each(Kind::Changed, "changed", &difference.altered);
        self.tell_each(Kind::Left, "left", &difference.left);
        if !difference.held.is_empty() {
            let count = difference.held.len();
            self.say(
                Weight::Warn,
                format!("{count} leases vanished from the store at once; they are held for a minute in case they come back"),
            );
        }
    }

    fn tell_each(&self, kind: Kind, verb: &str, leases: &[Lease]) {
        const MANY: usize = 5;
        let peers: Vec<&Lease> = leases.iter().filter(|lease| !self.is_own(lease)).collect();
        if peers.len() > MANY {
            return self.say(Weight::Info, Told::new(kind, format!("{} peers {verb}", peers.len())));
        }
        for lease in peers {
            self.say(Weight::Info, Told::new(kind, format!("{} {verb}: {}", lease.owner(), lease.subnets)).about(lease.subnets));
        }
    }
}
