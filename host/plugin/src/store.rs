//! Stores: the implementation of [`twill_lease::store::Store`] by a store plugin.
//!
//! A store runs in two instances, one for ordinary calls and one for the watch, so that a long watch never holds up a renewal. Nothing
//! is kept in either: a watch goes on from its cursor in
//! any instance, also of a newer version of the plugin.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use twill_lease::store::{Abilities, AddressHints, Changes, Held, Store, StoreError, StoreSnapshot};
use twill_model::{Lease, Prefixes};
use wasmtime::Store as Instance;

use crate::actor::{Actor, Boxed, World};
use crate::convert;
use crate::error::CallError;
use crate::grants::Grants;
use crate::guest::Guest;
use crate::limits::Limits;
use crate::wit::store::{Store as StoreWorld, StorePre};
use crate::wit::store_api;

/// What every instance of a store is told first.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// JSON of the plugin's settings.
    pub(crate) options: String,
    pub(crate) node_name: String,
}

impl World for StoreWorld {
    type Linked = StorePre<Guest>;
    type Setup = Setup;

    fn make<'a>(linked: &'a Self::Linked, store: &'a mut Instance<Guest>) -> Boxed<'a, wasmtime::Result<Self>> {
        Box::pin(linked.instantiate_async(store))
    }

    fn configure<'a>(&'a self, store: &'a mut Instance<Guest>, setup: &'a Setup) -> Boxed<'a, wasmtime::Result<Result<(), StoreError>>> {
        Box::pin(async move {
            let configured = self.twill_plugin_store_api().call_configure(store, &setup.options, &setup.node_name).await?;
            Ok(configured.map_err(convert::store_error))
        })
    }
}

/// The two instances of a store.
pub(crate) struct Pair {
    pub(crate) ordinary: Actor<StoreWorld>,
    pub(crate) watching: Actor<StoreWorld>,
    pub(crate) abilities: Abilities,
}

/// A store that was opened; what is needed to open it again with a newer file.
pub(crate) struct Opened {
    pub(crate) kind: String,
    pub(crate) setup: Setup,
    pub(crate) grants: Grants,
    pub(crate) limits: Arc<Limits>,
    pair: RwLock<Arc<Pair>>,
    /// Told at each swap.
    swaps: watch::Sender<()>,
}

impl Opened {
    pub(crate) fn new(kind: String, setup: Setup, grants: Grants, limits: Arc<Limits>, pair: Pair) -> Opened {
        Opened { kind, setup, grants, limits, pair: RwLock::new(Arc::new(pair)), swaps: watch::Sender::new(()) }
    }

    /// Later calls go to `pair`. Calls under way end where they began, except a watch, which goes on from its cursor in the new instance.
    pub(crate) fn swap(&self, pair: Pair) {
        *self.pair.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(pair);
        self.swaps.send_replace(());
    }

    pub(crate) fn pair(&self) -> Arc<Pair> {
        self.pair.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A store in use. Clones share its instances.
#[derive(Clone)]
pub struct StoreHandle(pub(crate) Arc<Opened>);

impl StoreHandle {
    async fn ask<T, F>(&self, ask: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'a> FnOnce(&'a mut Instance<Guest>, &'a store_api::Guest) -> Boxed<'a, Answer<T>> + Send + 'static,
    {
        ask_instance(&self.0.pair().ordinary, self.0.limits.store_wall, ask).await
    }

    fn nonsense(&self, bad: &convert::Bad) -> StoreError {
        StoreError::Plugin(format!("store-{} answered nonsense: {bad}", self.0.kind))
    }
}

type Answer<T> = wasmtime::Result<Result<T, store_api::Trouble>>;

/// Asks one instance of a store.
pub(crate) async fn ask_instance<T, F>(instance: &Actor<StoreWorld>, wall: Duration, ask: F) -> Result<T, StoreError>
where
    T: Send + 'static,
    F: for<'a> FnOnce(&'a mut Instance<Guest>, &'a store_api::Guest) -> Boxed<'a, Answer<T>> + Send + 'static,
{
    match instance.call(wall, move |store, world: &StoreWorld| ask(store, world.twill_plugin_store_api())).await {
        Ok(answer) => answer.map_err(convert::store_error),
        Err(CallError::Configure(error)) => Err(error),
        Err(failed) => Err(StoreError::Plugin(failed.to_string())),
    }
}

impl Store for StoreHandle {
    fn abilities(&self) -> Abilities {
        self.0.pair().abilities.clone()
    }

    async fn hints(&self) -> Result<AddressHints, StoreError> {
        let hints = self.ask(|store, guest| Box::pin(guest.call_hints(store))).await?;
        convert::hints(hints).map_err(|bad| self.nonsense(&bad))
    }

    async fn write_config(&self, config: String, replacing: Option<String>) -> Result<(), StoreError> {
        self.ask(move |store, guest| Box::pin(async move { guest.call_write_config(store, &config, replacing.as_ref()).await })).await
    }

    async fn read(&self) -> Result<StoreSnapshot, StoreError> {
        Ok(convert::snapshot(self.ask(|store, guest| Box::pin(guest.call_read(store))).await?))
    }

    async fn watch(&self, cursor: String, wait_ms: u32) -> Result<Changes, StoreError> {
        let end = Instant::now() + Duration::from_millis(wait_ms.into());
        let mut swaps = self.0.swaps.subscribe();
        loop {
            // In this order: a swap between the two lines is noticed below.
            swaps.borrow_and_update();
            let (pair, cursor) = (self.0.pair(), cursor.clone());
            let left = end.saturating_duration_since(Instant::now());
            let wait_ms = u32::try_from(left.as_millis()).unwrap_or(wait_ms);
            let asked = ask_instance(&pair.watching, left + self.0.limits.watch_slack, move |store, guest| {
                Box::pin(async move { guest.call_watch(store, &cursor, wait_ms).await })
            });
            tokio::select! {
                biased;
                changes = asked => return Ok(convert::changes(changes?)),
                // The old plugin's watch is given up. It had answered nothing, so the new one begins where it did.
                Ok(()) = swaps.changed() => {}
            }
        }
    }

    async fn claim(&self, candidates: Vec<Prefixes>, wish: Lease) -> Result<Held, StoreError> {
        let candidates: Vec<_> = candidates.iter().map(convert::to_prefixes).collect();
        let wish = convert::to_lease(&wish);
        let held = self.ask(move |store, guest| Box::pin(async move { guest.call_claim(store, &candidates, &wish).await })).await?;
        convert::held(held).map_err(|bad| self.nonsense(&bad))
    }

    async fn adopt(&self, mine: Lease) -> Result<Held, StoreError> {
        let mine = convert::to_lease(&mine);
        let held = self.ask(move |store, guest| Box::pin(async move { guest.call_adopt(store, &mine).await })).await?;
        convert::held(held).map_err(|bad| self.nonsense(&bad))
    }

    async fn publish(&self, mine: Held) -> Result<Held, StoreError> {
        let mine = to_held(&mine);
        let held = self.ask(move |store, guest| Box::pin(async move { guest.call_publish(store, &mine).await })).await?;
        convert::held(held).map_err(|bad| self.nonsense(&bad))
    }

    async fn ready(&self, mine: Held) -> Result<(), StoreError> {
        let mine = to_held(&mine);
        self.ask(move |store, guest| Box::pin(async move { guest.call_ready(store, &mine).await })).await
    }

    async fn release(&self, mine: Held) -> Result<(), StoreError> {
        let mine = to_held(&mine);
        self.ask(move |store, guest| Box::pin(async move { guest.call_release(store, &mine).await })).await
    }

    async fn reserve(&self, lease: Lease) -> Result<(), StoreError> {
        let lease = convert::to_lease(&lease);
        self.ask(move |store, guest| Box::pin(async move { guest.call_reserve(store, &lease).await })).await
    }

    async fn unreserve(&self, subnets: Prefixes) -> Result<(), StoreError> {
        let subnets = convert::to_prefixes(&subnets);
        self.ask(move |store, guest| Box::pin(async move { guest.call_unreserve(store, &subnets).await })).await
    }
}

fn to_held(held: &Held) -> store_api::Held {
    store_api::Held { lease: convert::to_lease(&held.lease), token: held.token.clone() }
}
