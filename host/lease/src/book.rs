//! The book of leases: who holds what, the own lease included. Pure; time is passed in as boot-clock milliseconds.
//!
//! Peers that vanish in great numbers at once, or because the store was made anew, are not struck out but held for [`HOLD_MS`]: a wiped store must not take a
//! cluster down with it. A new owner of a held subnet wins at once. Overlaps are settled in [`crate::collision`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use twill_model::{Lease, NetworkConfig, Prefixes};

use crate::collision::{Claimant, Collision, collisions};
use crate::fit::is_one_subnet;
use crate::store::Change;

/// How long vanished peers are held, in milliseconds.
pub const HOLD_MS: u64 = 60_000;

/// One lease with what the book knows of it.
#[derive(Debug, Clone)]
struct Entry {
    lease: Arc<Lease>,
    arrival: u64,
    told_ms: u64,
    held_until: Option<u64>,
}

/// What changed among the peers, lifetimes left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// Leases that were not there.
    pub joined: Vec<Lease>,
    /// Leases whose attributes changed, as they are now.
    pub altered: Vec<Lease>,
    /// Leases that ended.
    pub left: Vec<Lease>,
    /// Leases that vanished and are kept for a while.
    pub held: Vec<Lease>,
}

impl Difference {
    /// True when nothing changed that anybody plans with.
    pub fn is_empty(&self) -> bool {
        self.joined.is_empty() && self.altered.is_empty() && self.left.is_empty() && self.held.is_empty()
    }
}

/// The leases by their subnets.
#[derive(Debug, Clone, Default)]
pub struct Book {
    entries: BTreeMap<Prefixes, Entry>,
    arrivals: u64,
    identity: Option<String>,
}

impl Book {
    /// A book from leases that were kept on disk, the oldest first, with the identity of the store that they came from.
    pub fn recalled(leases: Vec<Lease>, identity: Option<String>, now_ms: u64) -> Book {
        let mut book = Book { identity, ..Book::default() };
        for lease in leases {
            book.put(lease, now_ms, &mut Difference::default());
        }
        book
    }

    /// Takes over a complete snapshot. `own` tells this node's leases, which are never held.
    pub fn replace(&mut self, leases: Vec<Lease>, identity: &str, own: impl Fn(&Lease) -> bool, now_ms: u64) -> Difference {
        // From no identity to some is the same store, to which somebody has written since.
        let anew = self.identity.as_deref().is_some_and(|known| !known.is_empty() && known != identity);
        self.identity = Some(identity.to_owned());
        let present: BTreeSet<Prefixes> = leases.iter().map(|lease| lease.subnets).collect();
        let vanished = self.entries.keys().filter(|subnets| !present.contains(subnets)).copied().collect();
        let mut difference = Difference::default();
        self.vanish(vanished, anew, own, now_ms, &mut difference);
        for lease in leases {
            self.put(lease, now_ms, &mut difference);
        }
        difference
    }

    /// Takes over changes; of several to one lease the last counts. Those that end many leases at once are treated as a snapshot without them is.
    pub fn apply(&mut self, changes: &[Change], own: impl Fn(&Lease) -> bool, now_ms: u64) -> Difference {
        let mut last: BTreeMap<Prefixes, Option<&Lease>> = BTreeMap::new();
        for change in changes {
            match change {
                Change::Put(lease) => last.insert(lease.subnets, Some(lease)),
                Change::Gone(subnets) => last.insert(*subnets, None),
                Change::Config(_) | Change::Oddity(_) => continue,
            };
        }
        let mut difference = Difference::default();
        let vanished = last.iter().filter(|(_, lease)| lease.is_none()).map(|(subnets, _)| *subnets).collect();
        self.vanish(vanished, false, own, now_ms, &mut difference);
        for lease in last.into_values().flatten() {
            self.put(lease.clone(), now_ms, &mut difference);
        }
        difference
    }

    /// Writes in one lease, such as the own one after a claim.
    pub fn note(&mut self, lease: Lease, now_ms: u64) {
        self.put(lease, now_ms, &mut Difference::default());
    }

    /// Strikes out one lease at once, such as the own one when it was given back.
    pub fn strike(&mut self, subnets: &Prefixes) {
        self.entries.remove(subnets);
    }

    /// Strikes out what was held long enough.
    pub fn end_holds(&mut self, now_ms: u64) -> Vec<Lease> {
        let due = |entry: &Entry| entry.held_until.is_some_and(|until| until <= now_ms);
        self.entries.extract_if(.., |_, entry| due(entry)).map(|(_, entry)| Arc::unwrap_or_clone(entry.lease)).collect()
    }

    /// When the next hold ends.
    pub fn next_hold_end(&self) -> Option<u64> {
        self.entries.values().filter_map(|entry| entry.held_until).min()
    }

    /// The lease on exactly these subnets, unless it has vanished and is merely held.
    pub fn at(&self, subnets: &Prefixes) -> Option<&Lease> {
        self.entries.get(subnets).filter(|entry| entry.held_until.is_none()).map(|entry| &*entry.lease)
    }

    /// All leases, also held ones.
    pub fn leases(&self) -> impl Iterator<Item = &Arc<Lease>> {
        self.entries.values().map(|entry| &entry.lease)
    }

    /// All leases, the oldest first: [`Book::recalled`] from them keeps who was there first.
    pub fn by_arrival(&self) -> Vec<&Arc<Lease>> {
        let mut entries: Vec<&Entry> = self.entries.values().collect();
        entries.sort_by_key(|entry| entry.arrival);
        entries.into_iter().map(|entry| &entry.lease).collect()
    }

    /// The leases that the store still has.
    pub fn standing(&self) -> impl Iterator<Item = &Lease> {
        self.entries.values().filter(|entry| entry.held_until.is_none()).map(|entry| &*entry.lease)
    }

    /// Subnets of leases that vanished and are held.
    pub fn held(&self) -> Vec<Prefixes> {
        self.entries.iter().filter(|(_, entry)| entry.held_until.is_some()).map(|(subnets, _)| *subnets).collect()
    }

    /// When the store last spoke of each lease, in boot-clock milliseconds.
    pub fn told(&self) -> BTreeMap<Prefixes, u64> {
        self.entries.iter().map(|(subnets, entry)| (*subnets, entry.told_ms)).collect()
    }

    /// The store that the leases come from.
    pub fn identity(&self) -> Option<&str> {
        self.identity.as_deref()
    }

    /// Leases that overlap one that goes before them. Without a config the length of subnets is not known, and only age counts.
    pub fn collisions(&self, config: Option<&NetworkConfig>) -> Vec<Collision> {
        collisions(self.entries.values().map(|entry| Claimant {
            lease: &entry.lease,
            held: entry.held_until.is_some(),
            fits: config.is_none_or(|config| is_one_subnet(config, &entry.lease.subnets)),
            arrival: entry.arrival,
        }))
    }

    fn put(&mut self, lease: Lease, now_ms: u64, difference: &mut Difference) {
        let overlaps = |entry: &Entry| {
            entry.held_until.is_some() && entry.lease.subnets != lease.subnets && entry.lease.subnets.overlaps(&lease.subnets)
        };
        difference.left.extend(self.entries.extract_if(.., |_, entry| overlaps(entry)).map(|(_, entry)| Arc::unwrap_or_clone(entry.lease)));
        let known = self.entries.get(&lease.subnets);
        match known {
            None => difference.joined.push(lease.clone()),
            Some(entry) if !entry.lease.plans_like(&lease) => difference.altered.push(lease.clone()),
            Some(_) => {}
        }
        let kept = known.filter(|entry| same_owner(&entry.lease, &lease)).map(|entry| entry.arrival);
        let arrival = kept.unwrap_or_else(|| {
            self.arrivals += 1;
            self.arrivals
        });
        self.entries.insert(lease.subnets, Entry { lease: Arc::new(lease), arrival, told_ms: now_ms, held_until: None });
    }

    fn vanish(&mut self, vanished: Vec<Prefixes>, anew: bool, own: impl Fn(&Lease) -> bool, now_ms: u64, difference: &mut Difference) {
        let peers = self.entries.values().filter(|entry| entry.held_until.is_none() && !own(&entry.lease)).count();
        let fresh = |subnets: &&Prefixes| self.entries.get(subnets).is_some_and(|entry| entry.held_until.is_none() && !own(&entry.lease));
        // This node is there, and so its lease cannot have ended by itself: somebody clears the store, and the peers that go with it are there as well.
        let with_the_own = vanished.iter().any(|subnets| self.entries.get(subnets).is_some_and(|entry| own(&entry.lease)));
        let hold = anew || with_the_own || is_mass(vanished.iter().filter(fresh).count(), peers);
        for subnets in vanished {
            let Some(entry) = self.entries.get_mut(&subnets).filter(|entry| entry.held_until.is_none()) else { continue };
            if hold && !own(&entry.lease) {
                entry.held_until = Some(now_ms.saturating_add(HOLD_MS));
                difference.held.push(Lease::clone(&entry.lease));
            } else {
                difference.left.push(Lease::clone(&entry.lease));
                self.entries.remove(&subnets);
            }
        }
    }
}

/// At least three, and more than a fifth of the peers.
fn is_mass(vanished: usize, peers: usize) -> bool {
    vanished >= 3 && vanished * 5 > peers
}

fn same_owner(a: &Lease, b: &Lease) -> bool {
    match (&a.node, &b.node) {
        (Some(a), Some(b)) => a == b,
        _ => a.public == b.public,
    }
}

#[cfg(test)]
mod tests;
