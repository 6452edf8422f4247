//! A store to rehearse on: it begins as the real one is, keeps the contract in memory, and leaves the real one as it is. `twill plan` runs the keeper on it, and then looks
//! at which leases became different.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use twill_model::{Lease, Prefixes};

use crate::store::{Abilities, AddressHints, Changes, Held, Store, StoreError, StoreSnapshot};

/// A store in memory, in front of the real one.
#[derive(Debug)]
pub struct Rehearsal<S> {
    real: Arc<S>,
    /// A config in the place of the stored one.
    config: Option<String>,
    state: Mutex<Rehearsed>,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rehearsed {
    /// The leases as they are, by subnets.
    pub before: BTreeMap<Prefixes, Lease>,
    /// As they would be.
    pub after: BTreeMap<Prefixes, Lease>,
    /// How often the own lease was written.
    pub writes: usize,
    /// How many subnets were free to choose from when one was claimed; 0 when none was.
    pub choices: usize,
}

impl<S: Store> Rehearsal<S> {
    /// A rehearsal before `real`, with `config` in the place of the stored one.
    pub fn new(real: Arc<S>, config: Option<String>) -> Self {
        Rehearsal { real, config, state: Mutex::default() }
    }

    /// What came of it so far.
    pub fn told(&self) -> Rehearsed {
        self.state().clone()
    }

    fn state(&self) -> MutexGuard<'_, Rehearsed> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, lease: Lease) -> Held {
        let mut state = self.state();
        state.writes += 1;
        state.after.insert(lease.subnets, lease.clone());
        Held { lease, token: "rehearsed".to_owned() }
    }
}

impl<S: Store> Store for Rehearsal<S> {
    fn abilities(&self) -> Abilities {
        self.real.abilities()
    }

    async fn hints(&self) -> Result<AddressHints, StoreError> {
        self.real.hints().await
    }

    async fn write_config(&self, _: String, _: Option<String>) -> Result<(), StoreError> {
        Err(StoreError::Unsupported("no config is written in a rehearsal".to_owned()))
    }

    async fn read(&self) -> Result<StoreSnapshot, StoreError> {
        let mut snapshot = self.real.read().await?;
        let mut state = self.state();
        if state.before.is_empty() && state.after.is_empty() {
            state.before = snapshot.leases.iter().map(|lease| (lease.subnets, lease.clone())).collect();
            state.after = state.before.clone();
        }
        snapshot.leases = state.after.values().cloned().collect();
        snapshot.config = self.config.clone().or(snapshot.config);
        Ok(snapshot)
    }

    /// Nothing happens during a rehearsal.
    async fn watch(&self, _: String, _: u32) -> Result<Changes, StoreError> {
        std::future::pending().await
    }

    async fn claim(&self, candidates: Vec<Prefixes>, wish: Lease) -> Result<Held, StoreError> {
        let mut state = self.state();
        let free: Vec<&Prefixes> = candidates.iter().filter(|wanted| !state.after.keys().any(|taken| taken.overlaps(wanted))).collect();
        let Some(first) = free.first().copied().copied() else {
            return Err(StoreError::Unsupported("the store gives subnets out by itself; which one is known at the start alone".to_owned()));
        };
        let choices = free.len();
        state.choices = choices;
        drop(state);
        Ok(self.write(Lease { subnets: first, ..wish }))
    }

    async fn adopt(&self, mine: Lease) -> Result<Held, StoreError> {
        Ok(Held { lease: mine, token: "rehearsed".to_owned() })
    }

    async fn publish(&self, mine: Held) -> Result<Held, StoreError> {
        Ok(self.write(mine.lease))
    }

    async fn ready(&self, _: Held) -> Result<(), StoreError> {
        Ok(())
    }

    async fn release(&self, mine: Held) -> Result<(), StoreError> {
        self.state().after.remove(&mine.lease.subnets);
        Ok(())
    }

    async fn reserve(&self, _: Lease) -> Result<(), StoreError> {
        Err(StoreError::Unsupported("nothing is reserved in a rehearsal".to_owned()))
    }

    async fn unreserve(&self, _: Prefixes) -> Result<(), StoreError> {
        Err(StoreError::Unsupported("nothing is reserved in a rehearsal".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::memory::Memory;
    use crate::testing::{lease, lease_of_flannel, net};

    const CONFIG: &str = r#"{"Network": "10.3.0.0/16"}"#;

    #[tokio::test]
    async fn what_is_written_is_seen_here_and_nowhere_else() {
        let real = Memory::with_config(CONFIG);
        real.put(lease_of_flannel("10.3.1.0/24", "192.0.2.1"));
        let writes = real.writes();
        let store = Rehearsal::new(Arc::new(real.clone()), Some("{}".to_owned()));
        assert_eq!(store.read().await.expect("read").config.as_deref(), Some("{}"));
        let wish = lease("me", "10.3.9.0/24", "192.0.2.9");
        let held = store.claim(vec![net("10.3.1.0/24"), net("10.3.4.0/24"), net("10.3.5.0/24")], wish).await.expect("claimed");
        assert_eq!((held.lease.subnets, store.told().choices), (net("10.3.4.0/24"), 2));
        let other = store.adopt(lease_of_flannel("10.3.1.0/24", "192.0.2.1")).await.expect("adopted");
        store.release(other).await.expect("given back");
        assert_eq!(store.read().await.expect("read").leases, std::slice::from_ref(&held.lease));
        let told = store.told();
        assert_eq!(
            (told.before.keys().collect::<Vec<_>>(), told.after.keys().collect::<Vec<_>>()),
            (vec![&net("10.3.1.0/24")], vec![&net("10.3.4.0/24")])
        );
        assert_eq!((real.writes(), real.leases().len()), (writes, 1), "the real one was written to");
    }
}
