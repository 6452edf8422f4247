//! The own lease: adopt the one that is there, claim one, publish it anew, renew it, lose it.
//!
//! The rules. A lease that the store gave to somebody else is lost at once: nothing is sent from it, and another is claimed. A lease that merely vanished is claimed
//! again on the same subnet. A write that ended without an answer may have been done, so the next thing is to read. Every write is conditional on the
//! token of the one before.

use std::sync::Arc;

use twill_model::event::{Kind, Told, Weight};
use twill_model::{Lease, Lifetime, NetworkConfig, Prefixes, Way};

use super::{Keeper, Own, Wish, millis};
use crate::choice::{Full, candidates};
use crate::clock::Clock;
use crate::fit::{Recognised, fit, recognise};
use crate::store::{Change, Held, Store, StoreError};
use crate::term::{lead, renewal_after, seed_of};

/// Why there is no own lease yet.
#[derive(Debug, thiserror::Error)]
pub(super) enum Setback {
    #[error("cannot keep a lease: {0}")]
    Store(#[from] StoreError),
    #[error("cannot say how this node is reached: {0}")]
    Wish(String),
    #[error("cannot get a lease: {0}")]
    Full(#[from] Full),
}

impl<S: Store, W: Wish, C: Clock> Keeper<S, W, C> {
    /// Brings the own lease in line with the store, the config and the wish; what fails is tried again later.
    pub(super) async fn settle(&mut self) {
        self.agenda.settle = None;
        let Some(config) = self.config.config.clone() else { return };
        if let Some(twin) = self.twin() {
            return self.step_aside(&twin);
        }
        self.problems.clear("node id");
        match self.settle_by(&config).await {
            Ok(()) => {
                self.problems.clear("lease");
                self.backoff.reset();
            }
            Err(setback) => self.set_back(setback),
        }
    }

    async fn settle_by(&mut self, config: &NetworkConfig) -> Result<(), Setback> {
        let ways = self.ask_wish(config).await?;
        let stands = |lease: &Lease| self.book.at(&lease.subnets).is_some_and(|found| found.node.as_ref() == Some(&self.settings.node));
        let fits = |lease: &Lease| self.store.abilities().assigns || fit(config, &lease.subnets).is_ok();
        match self.own.clone() {
            Own::Held(held) if stands(&held.lease) && fits(&held.lease) => self.bring_up_to_date(held, ways).await,
            _ => self.acquire(config, ways).await,
        }
    }

    async fn ask_wish(&mut self, config: &NetworkConfig) -> Result<Vec<Way>, Setback> {
        let (public, ways) = self.wish.wish(config, self.previous.as_ref(), &self.others()).await.map_err(Setback::Wish)?;
        self.public = public;
        Ok(ways)
    }

    async fn bring_up_to_date(&mut self, held: Held, ways: Vec<Way>) -> Result<(), Setback> {
        let wanted = self.wanted(held.lease.subnets, ways, held.lease.life);
        if wanted.timeless() == held.lease.timeless() {
            return Ok(());
        }
        let text = format!("lease {} is published anew: this node is now reached otherwise", wanted.subnets);
        self.say(Weight::Info, Told::new(Kind::OwnLease, text).about(wanted.subnets));
        self.write(Held { lease: wanted, ..held }).await
    }

    async fn acquire(&mut self, config: &NetworkConfig, ways: Vec<Way>) -> Result<(), Setback> {
        let found = self.recognised(config);
        match found.mine {
            Some(mine) => self.adopt(config, mine, ways).await?,
            None => self.claim(config, ways).await?,
        }
        for surplus in found.surplus.into_iter().filter(|lease| lease.life != Lifetime::Reserved) {
            self.give_back(surplus).await;
        }
        Ok(())
    }

    fn recognised(&self, config: &NetworkConfig) -> Recognised {
        let previous = self.previous.as_ref().map(|lease| &lease.subnets);
        let found = recognise(config, self.book.standing(), &self.settings.node, &self.public, previous);
        if found.mine.is_some() || !self.store.abilities().assigns {
            return found;
        }
        Recognised { mine: found.surplus.into_iter().next(), surplus: Vec::new() }
    }

    async fn adopt(&mut self, config: &NetworkConfig, mine: Lease, mut ways: Vec<Way>) -> Result<(), Setback> {
        if self.previous.as_ref().map(|lease| &lease.ways) != Some(&mine.ways) {
            self.previous = Some(mine.clone());
            ways = self.ask_wish(config).await?;
        }
        self.written.note(&mine);
        let held = self.store.adopt(mine).await.inspect_err(|_| self.unclear = true)?;
        let lease = self.wanted(held.lease.subnets, ways, held.lease.life);
        let told = Told::new(Kind::OwnLease, format!("lease {} is this node's and is taken up again", lease.subnets));
        self.say(Weight::Info, told.about(lease.subnets));
        self.write(Held { lease, ..held }).await
    }

    async fn claim(&mut self, config: &NetworkConfig, ways: Vec<Way>) -> Result<(), Setback> {
        self.yield_to_others();
        let candidates = if self.store.abilities().assigns { Vec::new() } else { self.candidates(config)? };
        let wish = self.wanted(candidates.first().copied().unwrap_or_default(), ways, Lifetime::Unknown);
        let asked = self.now();
        self.unclear = true;
        let held = self.store.claim(candidates.clone(), wish).await?;
        if !candidates.is_empty() && !candidates.contains(&held.lease.subnets) {
            return Err(StoreError::Plugin(format!("the store gave {}, which nobody asked for", held.lease.subnets)).into());
        }
        match self.previous.as_ref().filter(|previous| previous.subnets != held.lease.subnets) {
            Some(previous) => {
                let text = format!("lease {} is this node's now, in place of {}", held.lease.subnets, previous.subnets);
                self.say(Weight::Warn, Told::new(Kind::OwnLease, text).about(held.lease.subnets));
            }
            None => {
                let text = format!("lease {} is this node's", held.lease.subnets);
                self.say(Weight::Info, Told::new(Kind::OwnLease, text).about(held.lease.subnets));
            }
        }
        self.hold(held, asked);
        if self.book.identity() == Some("") {
            // The store had no identity before something was written to it.
            self.agenda.refresh = Some(self.now());
        }
        Ok(())
    }

    /// The previous subnet first, then that of the file for CNI, then free ones. Subnets of held peers are spared as long as there are others.
    fn candidates(&mut self, config: &NetworkConfig) -> Result<Vec<Prefixes>, Full> {
        let wanted: Vec<Prefixes> = self.previous.iter().map(|lease| lease.subnets).chain([self.settings.from_file]).collect();
        let seed = seed_of(&self.settings.node.0) ^ self.now();
        let others: Vec<&Lease> = self.book.leases().map(Arc::as_ref).filter(|lease| !self.is_own(lease)).collect();
        candidates(config, &others, &wanted, seed).or_else(|_| {
            let standing: Vec<&Lease> = self.book.standing().filter(|lease| !self.is_own(lease)).collect();
            candidates(config, &standing, &wanted, seed)
        })
    }

    /// An own lease that is not in the store any more, and whose subnet somebody else now holds, is lost.
    fn yield_to_others(&mut self) {
        let Some(own) = self.own.lease().cloned() else { return };
        let other = self.book.standing().find(|lease| !self.is_own(lease) && lease.subnets.overlaps(&own.subnets)).cloned();
        if let Some(other) = other {
            self.lose(&format!("{} holds {}", other.owner(), other.subnets));
        }
    }

    /// Renews the own lease as it stands.
    pub(super) async fn renew(&mut self) {
        self.agenda.renew = None;
        let Own::Held(held) = self.own.clone() else { return };
        let lease = Lease { life: self.life(held.lease.life), ..held.lease.clone() };
        match self.write(Held { lease, ..held }).await {
            Ok(()) => {
                self.problems.clear("renewal");
            }
            Err(setback) => {
                let text = format!("the own lease could not be renewed: {setback}");
                if self.problems.set("renewal", text.clone()) {
                    self.say(Weight::Warn, text);
                }
                let later = self.later();
                self.agenda.renew = self.agenda.renew.or(Some(later));
            }
        }
    }

    /// One conditional write of the own lease.
    async fn write(&mut self, held: Held) -> Result<(), Setback> {
        let asked = self.now();
        self.written.note(&held.lease);
        match self.store.publish(held).await {
            Ok(held) => {
                self.store_answered();
                self.hold(held, asked);
                Ok(())
            }
            Err(error) => {
                self.not_written(&error);
                Err(error.into())
            }
        }
    }

    fn not_written(&mut self, error: &StoreError) {
        match error {
            StoreError::Conflict(_) if self.unclear => {
                // Perhaps it was this node's own unanswered write that moved the token: stop sending, look, then decide.
                self.fence.shut();
                self.doubt();
            }
            StoreError::Conflict(why) => self.lose(why),
            StoreError::NotFound(_) => self.doubt(),
            StoreError::Denied(_) | StoreError::Invalid(_) | StoreError::Unsupported(_) => return,
            _ => {
                self.unclear = true;
                return self.store_failed(error);
            }
        }
        // Soon, not at once: a store that contradicts itself must not be asked in a circle.
        self.agenda.read = Some(self.later());
    }

    fn doubt(&mut self) {
        if let Some(lease) = self.own.lease().cloned() {
            self.own = Own::Unsure(lease);
        }
    }

    /// The lease is ours by the store's word, from the moment before it was asked.
    fn hold(&mut self, held: Held, asked_ms: u64) {
        let term = match held.lease.life {
            Lifetime::Reserved => None,
            Lifetime::Unknown => Some(self.settings.term),
            Lifetime::Seconds(seconds) => Some(std::time::Duration::from_secs(u64::from(seconds.max(1)))),
        };
        self.own_ends = term.map_or(u64::MAX, |term| asked_ms.saturating_add(millis(term)));
        self.agenda.renew = term.map(|term| asked_ms.saturating_add(millis(renewal_after(term, self.settings.renew_margin))));
        self.fence.open(self.own_ends, lead(term.unwrap_or(self.settings.term)));
        self.unclear = false;
        self.written.note(&held.lease);
        self.book.note(held.lease.clone(), self.clock.boot_ms());
        self.previous = Some(held.lease.clone());
        self.own = Own::Held(held);
    }

    /// Somebody else has it: nothing is sent from it from now on, everybody is told, and another is claimed.
    pub(super) fn lose(&mut self, why: &str) {
        let Some(lease) = self.own.lease().cloned() else { return };
        self.fence.shut();
        self.own = Own::None;
        self.agenda.renew = None;
        let text = format!("lease {} is no longer this node's: {why}; nothing is sent from it, and another one is claimed", lease.subnets);
        let told = Told::new(Kind::OwnLease, text).about(lease.subnets);
        self.say(Weight::Error, told.because(why).did("stopped sending from it and claims another"));
        self.show();
    }

    /// What changes of the watch mean for the own lease.
    pub(super) fn mind_the_own(&mut self, changes: &[Change]) {
        let now = self.now();
        let Some(own) = self.own.lease().map(|lease| lease.subnets) else {
            self.agenda.settle = Some(now);
            return;
        };
        for change in changes {
            match change {
                Change::Put(lease) if lease.subnets == own && !self.is_own(lease) => {
                    self.lose(&format!("{} has it", lease.owner()));
                    self.agenda.read = Some(now);
                }
                Change::Put(lease) if lease.subnets == own && self.is_reserved_otherwise(lease) => {
                    // An operator pinned it, or ended that: it is ours as before, by another token.
                    self.doubt();
                    self.agenda.settle = Some(now);
                }
                Change::Put(lease) if lease.subnets == own && self.is_twins(lease) => return self.step_aside(&lease.clone()),
                Change::Put(lease) if lease.subnets == own && lease.node.is_none() => self.agenda.read = Some(now),
                Change::Gone(subnets) if *subnets == own => self.agenda.read = Some(now),
                _ => {}
            }
        }
    }

    fn is_reserved_otherwise(&self, lease: &Lease) -> bool {
        let reserved = |lease: &Lease| lease.life == Lifetime::Reserved;
        let own = if let Own::Held(held) = &self.own { Some(&held.lease) } else { None };
        own.is_some_and(|own| reserved(own) != reserved(lease) && own.timeless() == lease.timeless())
    }

    async fn give_back(&mut self, surplus: Lease) {
        let subnets = surplus.subnets;
        let released = match self.store.adopt(surplus).await {
            Ok(held) => self.store.release(held).await,
            Err(error) => Err(error),
        };
        match released {
            Ok(()) => {
                self.book.strike(&subnets);
                let text = format!("lease {subnets}, this node's from before, was given back");
                self.say(Weight::Info, Told::new(Kind::OwnLease, text).about(subnets));
            }
            Err(error) => self.say(Weight::Warn, format!("cannot give back lease {subnets}, this node's from before: {error}")),
        }
    }

    fn set_back(&mut self, setback: Setback) {
        match &setback {
            Setback::Store(error @ (StoreError::Retry(_) | StoreError::Plugin(_))) => self.store_failed(error),
            _ => {
                let text = setback.to_string();
                if self.problems.set("lease", text.clone()) {
                    let weight = if matches!(setback, Setback::Store(StoreError::Conflict(_))) { Weight::Info } else { Weight::Error };
                    self.say(weight, text);
                }
            }
        }
        let later = self.later();
        match setback {
            Setback::Store(_) => self.agenda.read = Some(self.agenda.read.map_or(later, |at| at.min(later))),
            Setback::Wish(_) | Setback::Full(_) => self.agenda.settle = Some(later),
        }
    }

    fn wanted(&self, subnets: Prefixes, ways: Vec<Way>, life: Lifetime) -> Lease {
        Lease { subnets, public: self.public, ways, node: Some(self.settings.node.clone()), life: self.life(life) }
    }

    /// A reservation stays one; everything else is asked for the whole term.
    fn life(&self, current: Lifetime) -> Lifetime {
        match current {
            Lifetime::Reserved => Lifetime::Reserved,
            _ => Lifetime::Seconds(u32::try_from(self.settings.term.as_secs().max(1)).unwrap_or(u32::MAX)),
        }
    }
}
