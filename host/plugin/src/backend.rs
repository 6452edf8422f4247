//! Backends: the implementation of [`Planner`] by the loaded backend plugins.
//!
//! A call carries all that it depends on; nothing hidden reaches a backend. Items that make no sense are left out of the answer and told
//! to [`Refusals`].

use std::collections::BTreeMap;
use std::sync::Arc;

use twill_model::node::Node;
use twill_model::state::Road;
use twill_model::{Item, Lease, Mac, Prefixes, Way};
use twill_reconcile::ports::{Base, Context, Network, PlanError, Planner};
use wasmtime::Store;

use crate::actor::{Actor, Boxed, World};
use crate::convert;
use crate::error::CallError;
use crate::guest::Guest;
use crate::limits::Limits;
use crate::plugins::Shared;
use crate::wit::backend::{Backend, BackendPre};
use crate::wit::backend_api;
use twill_lease::store::StoreError;

impl World for Backend {
    type Linked = BackendPre<Guest>;
    type Setup = ();

    fn make<'a>(linked: &'a Self::Linked, store: &'a mut Store<Guest>) -> Boxed<'a, wasmtime::Result<Self>> {
        Box::pin(linked.instantiate_async(store))
    }

    fn configure<'a>(&'a self, _store: &'a mut Store<Guest>, (): &'a ()) -> Boxed<'a, wasmtime::Result<Result<(), StoreError>>> {
        Box::pin(async { Ok(Ok(())) })
    }
}

/// An item of a plan that makes no sense, and was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedItem {
    /// The backend's type.
    pub backend: String,
    /// The peer's subnets; none for what is there whoever the peers are.
    pub lease: Option<Prefixes>,
    /// The item in the plugin's words.
    pub item: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Where refused items are told; called at most once an item of each answer.
#[derive(Clone)]
pub struct Refusals(Arc<dyn Fn(RefusedItem) + Send + Sync>);

impl Refusals {
    /// Tells them to `tell`, which must not block.
    pub fn to(tell: impl Fn(RefusedItem) + Send + Sync + 'static) -> Refusals {
        Refusals(Arc::new(tell))
    }
}

impl Default for Refusals {
    /// Tells them to the log.
    fn default() -> Refusals {
        Refusals::to(|refused| {
            let lease = refused.lease.map(|lease| lease.to_string()).unwrap_or_default();
            tracing::warn!(backend = refused.backend, lease, item = refused.item, reason = refused.reason, "an item of a plan was refused");
        })
    }
}

/// The loaded backends, asked by their type ("udp"). Whatever is in charge answers, unless it was asked for [`Planner::as_of_now`].
#[derive(Clone)]
pub struct Backends {
    source: Source,
    refusals: Refusals,
}

/// Where the backend of a type is looked for.
#[derive(Clone)]
enum Source {
    /// Among those in charge at the moment of asking.
    InCharge(Arc<Shared>),
    /// Among these.
    Fixed(Arc<View>),
}

/// Backends by type.
pub(crate) type View = BTreeMap<String, Charged>;

/// A backend in charge of its type.
#[derive(Clone)]
pub(crate) struct Charged {
    /// The digest of its file.
    pub(crate) digest: String,
    pub(crate) actor: Arc<BackendActor>,
    pub(crate) limits: Arc<Limits>,
}

impl Backends {
    pub(crate) fn new(shared: Arc<Shared>, refusals: Refusals) -> Backends {
        Backends { source: Source::InCharge(shared), refusals }
    }

    /// These backends and no others.
    pub(crate) fn of(view: View, refusals: Refusals) -> Backends {
        Backends { source: Source::Fixed(Arc::new(view)), refusals }
    }

    fn charged(&self, backend: &str) -> Result<Charged, PlanError> {
        let found = match &self.source {
            Source::InCharge(shared) => shared.charged(backend),
            Source::Fixed(view) => view.get(backend).cloned(),
        };
        found.ok_or_else(|| PlanError::Absent(backend.into()))
    }

    async fn ask<T, F>(&self, backend: &str, ask: F) -> Result<T, PlanError>
    where
        T: Send + 'static,
        F: for<'a> FnOnce(&'a mut Store<Guest>, &'a backend_api::Guest) -> Boxed<'a, wasmtime::Result<Result<T, backend_api::Refusal>>>
            + Send
            + 'static,
    {
        let Charged { actor, limits, .. } = self.charged(backend)?;
        let answer = actor.call(limits.plan_wall, move |store, world: &Backend| ask(store, world.twill_plugin_backend_api())).await;
        answer.map_err(plugin_failed)?.map_err(convert::plan_error)
    }

    /// The good items. An answer with more than the cap is refused whole; so is one of nothing but nonsense, and one with any nonsense in it that no peer brought,
    /// since without a part of the links and addresses the rest is no plan.
    fn items(&self, backend: &str, lease: Option<Prefixes>, items: Vec<backend_api::Item>) -> Result<Vec<Item>, PlanError> {
        let Charged { actor, limits, .. } = self.charged(backend)?;
        let most = limits.items;
        if items.len() > most {
            actor.violated(&format!("{} items in one answer, more than {most}", items.len()));
            return Err(PlanError::Plugin(format!(
                "backend-{backend} planned {} items in one answer, more than {most}: all are refused",
                items.len()
            )));
        }
        let (good, refused) = convert::items(items);
        if let Some((item, reason)) = refused.first() {
            actor.violated(&format!("{item}: {reason}"));
        }
        if let Some((item, reason)) = refused.first().filter(|_| lease.is_none() || good.is_empty()) {
            let whom = lease.map_or_else(|| "this node".into(), |lease| lease.to_string());
            return Err(PlanError::Plugin(format!("backend-{backend} planned nonsense for {whom}: {item}: {reason}")));
        }
        for (item, reason) in refused {
            (self.refusals.0)(RefusedItem { backend: backend.into(), lease, item, reason: reason.to_string() });
        }
        Ok(good)
    }
}

fn plugin_failed(error: CallError) -> PlanError {
    match error {
        CallError::BackingOff { .. } => PlanError::Resting(error.to_string()),
        error => PlanError::Plugin(error.to_string()),
    }
}

impl Planner for Backends {
    fn digest(&self, backend: &str) -> Option<String> {
        match &self.source {
            Source::InCharge(shared) => shared.backend_digest(backend),
            Source::Fixed(view) => view.get(backend).map(|charged| charged.digest.clone()),
        }
    }

    fn as_of_now(&self) -> Self {
        match &self.source {
            Source::InCharge(shared) => Backends::of(shared.view(), self.refusals.clone()),
            Source::Fixed(_) => self.clone(),
        }
    }

    async fn advertise(
        &self,
        backend: &str,
        network: Network,
        node: Node,
        options: String,
        previous: Option<Way>,
        existing: Vec<(String, Mac)>,
    ) -> Result<Way, PlanError> {
        let (network, node) = (convert::to_network(&network), convert::to_node(&node));
        let previous = previous.as_ref().map(convert::to_way);
        let existing: Vec<(String, String)> = existing.into_iter().map(|(name, mac)| (name, mac.to_string())).collect();
        let way = self
            .ask(backend, move |store, guest| {
                Box::pin(async move { guest.call_advertise(store, &network, &node, &options, previous.as_ref(), &existing).await })
            })
            .await?;
        Ok(convert::way_from(way))
    }

    async fn local(&self, backend: &str, context: Context) -> Result<Base, PlanError> {
        let context = convert::to_context(&context);
        let base = self.ask(backend, move |store, guest| Box::pin(async move { guest.call_local(store, &context).await })).await?;
        let pod_mtu =
            convert::pod_mtu(base.pod_mtu).map_err(|bad| PlanError::Plugin(format!("backend-{backend} answered nonsense: {bad}")))?;
        Ok(Base { items: self.items(backend, None, base.items)?, pod_mtu })
    }

    async fn send_to(&self, backend: &str, context: Context, peer: Lease, over: Way, road: Road) -> Result<Vec<Item>, PlanError> {
        let subnets = peer.subnets;
        let (context, peer) = (convert::to_context(&context), convert::to_lease(&peer));
        let (over, road) = (convert::to_way(&over), convert::to_road(road));
        let items = self
            .ask(backend, move |store, guest| Box::pin(async move { guest.call_send_to(store, &context, &peer, &over, road).await }))
            .await?;
        self.items(backend, Some(subnets), items)
    }

    async fn receive_from(&self, backend: &str, context: Context, peer: Lease) -> Result<Vec<Item>, PlanError> {
        let subnets = peer.subnets;
        let (context, peer) = (convert::to_context(&context), convert::to_lease(&peer));
        let items =
            self.ask(backend, move |store, guest| Box::pin(async move { guest.call_receive_from(store, &context, &peer).await })).await?;
        self.items(backend, Some(subnets), items)
    }
}

/// The task of a loaded backend.
pub(crate) type BackendActor = Actor<Backend>;
