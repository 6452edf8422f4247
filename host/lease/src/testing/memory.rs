//! A store in memory that keeps the contract, for many keepers at once, and that can fail on demand.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use twill_model::{Lease, Lifetime, Prefixes};

use crate::store::{Abilities, AddressHints, Change, Changes, Held, Oddity, Store, StoreError, StoreSnapshot};

#[derive(Default)]
struct State {
    config: Option<String>,
    leases: BTreeMap<Prefixes, (Lease, u64, Option<Instant>)>,
    log: Vec<Change>,
    forgotten: usize,
    identity: String,
    away: bool,
    lose_answers: u32,
    break_watch: bool,
    ready: Vec<Prefixes>,
    oddities: Vec<Oddity>,
    versions: u64,
    is_server: bool,
}

/// What was in a store that is not there now.
pub struct Unmounted(State);

/// The store; clones are the same one.
#[derive(Clone, Default)]
pub struct Memory {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

impl Memory {
    pub fn with_config(text: &str) -> Memory {
        let memory = Memory::default();
        memory.set_identity("first");
        memory.set_config(text);
        memory
    }

    /// As a store that lies in no directory.
    pub fn into_server(self) -> Memory {
        self.change(|state| state.is_server = true);
        self
    }

    /// All data is gone, the config too, and the store is another one.
    pub fn wipe_with_config(&self) {
        self.wipe();
        self.change(|state| {
            state.config = None;
            state.is_server = true;
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().expect("no test panics in here");
        state.expire();
        state
    }

    fn change<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let done = act(&mut self.state());
        self.changed.notify_waiters();
        done
    }

    pub fn set_config(&self, text: &str) {
        self.change(|state| {
            state.config = Some(text.into());
            state.log.push(Change::Config(Some(text.into())));
        });
    }

    /// Writes a lease over whatever is there.
    pub fn put(&self, lease: Lease) {
        self.change(|state| state.put(lease));
    }

    /// Deletes leases in one go.
    pub fn delete(&self, subnets: &[Prefixes]) {
        self.change(|state| subnets.iter().for_each(|subnets| state.delete(subnets)));
    }

    /// Every call fails from now on, or works again.
    pub fn set_away(&self, away: bool) {
        self.change(|state| state.away = away);
    }

    /// Forgets the log: cursors from before are lost.
    pub fn compact(&self) {
        self.change(|state| state.forgotten = state.log.len());
    }

    /// All data is gone and the store is another one; the config was written again.
    pub fn wipe(&self) {
        self.change(|state| {
            let config = state.config.take();
            let forgotten = state.log.len() + 1;
            *state = State { identity: "anew".into(), config, forgotten, log: vec![Change::Config(None); forgotten], ..State::default() };
        });
    }

    /// As a share that is not mounted: an empty store that was never written to. What there was comes back by [`Memory::mount`].
    pub fn unmount(&self) -> Unmounted {
        self.change(|state| {
            let forgotten = state.log.len() + 1;
            let bare = State { identity: "".into(), forgotten, log: vec![Change::Config(None); forgotten], ..State::default() };
            Unmounted(std::mem::replace(state, bare))
        })
    }

    /// The share is back; cursors from before lead on.
    pub fn mount(&self, share: Unmounted) {
        self.change(|state| *state = share.0);
    }

    /// Which store this is.
    pub fn set_identity(&self, identity: &str) {
        self.change(|state| state.identity = identity.into());
    }

    /// The next writes are done, and their answers lost.
    pub fn lose_answers(&self, count: u32) {
        self.change(|state| state.lose_answers = count);
    }

    pub fn leases(&self) -> Vec<Lease> {
        self.state().leases.values().map(|(lease, ..)| lease.clone()).collect()
    }

    /// Writes something that is not a lease, and puts it right without a word.
    pub fn set_odd(&self, place: Option<&str>) {
        self.change(|state| {
            state.oddities = place.map(|place| Oddity { place: place.into(), reason: "half a file".into() }).into_iter().collect();
            state.log.extend(state.oddities.clone().into_iter().map(Change::Oddity));
        });
    }

    /// Deletes a lease such that no watch ever tells.
    pub fn delete_silently(&self, subnets: &Prefixes) {
        self.state().leases.remove(subnets);
    }

    /// The next look of a watch panics.
    pub fn break_watch(&self) {
        self.change(|state| state.break_watch = true);
    }

    /// Of which leases was said that their plan is in force.
    pub fn ready_leases(&self) -> Vec<Prefixes> {
        self.state().ready.clone()
    }

    pub fn writes(&self) -> u64 {
        self.state().versions
    }

    async fn reach(&self) -> Result<(), StoreError> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        if self.state().away { Err(StoreError::Retry("the store is away".into())) } else { Ok(()) }
    }

    /// The way back takes time as well: who is killed now has written and does not know.
    async fn answer(&self, held: Held) -> Result<Held, StoreError> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let lost = self.change(|state| {
            let lost = state.lose_answers > 0;
            state.lose_answers = state.lose_answers.saturating_sub(1);
            lost
        });
        if lost { Err(StoreError::Retry("no answer".into())) } else { Ok(held) }
    }
}

impl State {
    fn put(&mut self, lease: Lease) {
        self.versions += 1;
        let ends = match lease.life {
            Lifetime::Seconds(seconds) => Some(Instant::now() + Duration::from_secs(seconds.into())),
            Lifetime::Reserved | Lifetime::Unknown => None,
        };
        self.leases.insert(lease.subnets, (lease.clone(), self.versions, ends));
        self.log.push(Change::Put(lease));
    }

    fn delete(&mut self, subnets: &Prefixes) {
        if self.leases.remove(subnets).is_some() {
            self.log.push(Change::Gone(*subnets));
        }
    }

    fn expire(&mut self) {
        let now = Instant::now();
        let due: Vec<Prefixes> =
            self.leases.iter().filter(|(_, (_, _, ends))| ends.is_some_and(|ends| ends <= now)).map(|(subnets, _)| *subnets).collect();
        due.iter().for_each(|subnets| self.delete(subnets));
    }

    fn held(&self, subnets: &Prefixes) -> Option<Held> {
        self.leases.get(subnets).map(|(lease, version, _)| Held { lease: lease.clone(), token: version.to_string() })
    }

    fn checked(&self, mine: &Held) -> Result<(), StoreError> {
        match self.held(&mine.lease.subnets) {
            None => Err(StoreError::NotFound("no such lease".into())),
            Some(held) if held.token != mine.token => Err(StoreError::Conflict("it was written by another hand".into())),
            Some(_) => Ok(()),
        }
    }

    fn news(&self, cursor: &str) -> Result<Option<Changes>, StoreError> {
        let from: usize = cursor.parse().map_err(|_| StoreError::Invalid("no cursor".into()))?;
        if from < self.forgotten {
            return Err(StoreError::LostCursor("compacted".into()));
        }
        let changes = self.log.get(from..).unwrap_or_default().to_vec();
        Ok((!changes.is_empty()).then(|| Changes { changes, cursor: self.log.len().to_string() }))
    }
}

impl Store for Memory {
    fn abilities(&self) -> Abilities {
        Abilities { name: "memory".into(), assigns: false, reserves: true, directory: !self.state().is_server }
    }

    async fn hints(&self) -> Result<AddressHints, StoreError> {
        Ok(AddressHints::default())
    }

    async fn write_config(&self, config: String, _replacing: Option<String>) -> Result<(), StoreError> {
        self.set_config(&config);
        Ok(())
    }

    async fn read(&self) -> Result<StoreSnapshot, StoreError> {
        self.reach().await?;
        let leases = self.leases();
        let state = self.state();
        Ok(StoreSnapshot {
            config: state.config.clone(),
            leases,
            oddities: state.oddities.clone(),
            cursor: state.log.len().to_string(),
            identity: state.identity.clone(),
        })
    }

    async fn watch(&self, cursor: String, wait_ms: u32) -> Result<Changes, StoreError> {
        let end = Instant::now() + Duration::from_millis(wait_ms.into());
        loop {
            self.reach().await?;
            let broken = std::mem::take(&mut self.state().break_watch);
            assert!(!broken, "as the test wants it");
            let woken = self.changed.notified();
            let next = {
                let state = self.state();
                if let Some(changes) = state.news(&cursor)? {
                    return Ok(changes);
                }
                state.leases.values().filter_map(|(_, _, ends)| *ends).min()
            };
            if Instant::now() >= end {
                return Ok(Changes { changes: Vec::new(), cursor });
            }
            tokio::select! {
                () = woken => {}
                () = tokio::time::sleep_until(next.unwrap_or(end).min(end)) => {}
            }
        }
    }

    async fn claim(&self, candidates: Vec<Prefixes>, wish: Lease) -> Result<Held, StoreError> {
        self.reach().await?;
        let held = self.change(|state| {
            let free = candidates.into_iter().find(|subnets| state.leases.keys().all(|taken| !taken.overlaps(subnets)))?;
            state.put(Lease { subnets: free, ..wish });
            state.held(&free)
        });
        self.answer(held.ok_or_else(|| StoreError::Conflict("all are taken".into()))?).await
    }

    async fn adopt(&self, mine: Lease) -> Result<Held, StoreError> {
        self.reach().await?;
        self.state().held(&mine.subnets).ok_or_else(|| StoreError::NotFound("no such lease".into()))
    }

    async fn publish(&self, mine: Held) -> Result<Held, StoreError> {
        self.reach().await?;
        let held = self.change(|state| {
            state.checked(&mine)?;
            state.put(mine.lease.clone());
            state.held(&mine.lease.subnets).ok_or_else(|| StoreError::NotFound("just written".into()))
        });
        self.answer(held?).await
    }

    async fn ready(&self, mine: Held) -> Result<(), StoreError> {
        self.reach().await?;
        self.change(|state| state.ready.push(mine.lease.subnets));
        Ok(())
    }

    async fn release(&self, mine: Held) -> Result<(), StoreError> {
        self.reach().await?;
        self.change(|state| {
            state.checked(&mine)?;
            state.delete(&mine.lease.subnets);
            Ok(())
        })
    }

    async fn reserve(&self, lease: Lease) -> Result<(), StoreError> {
        self.put(lease);
        Ok(())
    }

    async fn unreserve(&self, subnets: Prefixes) -> Result<(), StoreError> {
        self.delete(&[subnets]);
        Ok(())
    }
}
