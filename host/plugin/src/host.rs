//! What all plugins share: engine, ticker, cache, and a linker for each world.

use std::sync::Arc;

use twill_model::event::Tell;
use wasmtime::Engine;
use wasmtime::component::{Component, HasSelf, Linker};

use crate::cache::Cache;
use crate::counters::Counters;
use crate::engine::{Ticker, engine};
use crate::error::PluginError;
use crate::folder::Linked;
use crate::grants::{Grants, Surroundings, World};
use crate::guest::{Guest, Nursery};
use crate::limit_table::LimitTable;
use crate::upstream::Client;
use crate::wit::backend::{Backend, BackendPre};
use crate::wit::store::{Store, StorePre};

/// The shared parts; made once.
pub(crate) struct Host {
    pub(crate) engine: Engine,
    pub(crate) cache: Cache,
    ticker: Ticker,
    limits: LimitTable,
    surroundings: Surroundings,
    /// Where events go.
    tell: Option<Tell>,
    stores: Linker<Guest>,
    backends: Linker<Guest>,
}

impl Host {
    pub(crate) fn new(cache: &std::path::Path, limits: LimitTable, surroundings: Surroundings) -> Result<Host, PluginError> {
        let engine = engine()?;
        let failed = |error: wasmtime::Error| PluginError::Engine(error.root_cause().to_string());
        let (mut stores, mut backends) = (Linker::new(&engine), Linker::new(&engine));
        wasmtime_wasi::p2::add_to_linker_async(&mut stores).map_err(failed)?;
        wasmtime_wasi::p2::add_to_linker_async(&mut backends).map_err(failed)?;
        Store::add_to_linker::<_, HasSelf<_>>(&mut stores, |guest| guest).map_err(failed)?;
        Backend::add_to_linker::<_, HasSelf<_>>(&mut backends, |guest| guest).map_err(failed)?;
        let ticker = Ticker::start(&engine)?;
        Ok(Host { cache: Cache::open(cache, &engine), engine, ticker, limits, surroundings, tell: None, stores, backends })
    }

    /// The same; what plugins ask for and were not granted is told to `tell`.
    pub(crate) fn telling(self, tell: Option<Tell>) -> Host {
        Host { tell, ..self }
    }

    /// Joins a component's imports to the host.
    pub(crate) fn link(&self, world: World, component: &Component) -> wasmtime::Result<Linked> {
        Ok(match world {
            World::Store => Linked::Store(StorePre::new(self.stores.instantiate_pre(component)?)?),
            World::Backend => Linked::Backend(BackendPre::new(self.backends.instantiate_pre(component)?)?),
        })
    }

    /// What instances of the plugin of that name are made from.
    pub(crate) fn nursery(&self, plugin: String, world: World, grants: Grants, counters: Arc<Counters>) -> Nursery {
        let clients = grants.upstreams.iter().map(|(name, upstream)| (name.clone(), Arc::new(Client::new(upstream.clone()))));
        let upstreams = Arc::new(clients.collect());
        let (engine, ticker, limits) = (self.engine.clone(), self.ticker.clone(), self.limits.of(&plugin));
        Nursery {
            engine,
            ticker,
            limits,
            plugin,
            world,
            grants,
            surroundings: self.surroundings,
            upstreams,
            counters,
            tell: self.tell.clone(),
        }
    }
}
