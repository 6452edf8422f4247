//! What stands behind one instance on the host's side: its account, its log, its clock, its directory, its upstreams, and an empty WASI.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use twill_model::event::{Kind, Tell, Told, Weight};
use wasmtime::component::ResourceTable;
use wasmtime::{Engine, Store, UpdateDeadline};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::counters::Counters;
use crate::directory::Directory;
use crate::engine::Ticker;
use crate::grants::{Grants, Surroundings, World};
use crate::imports::clock::Clock;
use crate::imports::log::Log;
use crate::imports::wasi;
use crate::limits::{Account, Limits};
use crate::upstream::Client;

/// How long a guest that computes without end steps aside each tick. A mere yield would let other tasks run, and neither timers nor
/// sockets where the runtime has one worker.
const PAUSE: Duration = Duration::from_millis(1);

/// The data of an instance's store.
pub(crate) struct Guest {
    pub(crate) account: Account,
    pub(crate) log: Arc<Log>,
    pub(crate) clock: Clock,
    pub(crate) directory: Option<Directory>,
    /// How many bodies of HTTP answers are open.
    pub(crate) open_replies: usize,
    upstreams: Upstreams,
    counters: Arc<Counters>,
    plugin: String,
    tell: Option<Tell>,
    table: ResourceTable,
    wasi: WasiCtx,
}

/// The upstreams that a plugin was granted, by name; its instances share them.
pub(crate) type Upstreams = Arc<BTreeMap<String, Arc<Client>>>;

/// All that a new instance's store is made from.
#[derive(Clone)]
pub(crate) struct Nursery {
    pub(crate) engine: Engine,
    pub(crate) ticker: Ticker,
    pub(crate) limits: Arc<Limits>,
    pub(crate) plugin: String,
    pub(crate) world: World,
    pub(crate) grants: Grants,
    pub(crate) surroundings: Surroundings,
    pub(crate) upstreams: Upstreams,
    pub(crate) counters: Arc<Counters>,
    pub(crate) tell: Option<Tell>,
}

impl Nursery {
    /// An empty store with limits, hook and callback in place.
    pub(crate) fn store(&self) -> Store<Guest> {
        let log = Arc::new(Log::new(&self.plugin, self.limits.log_lines));
        let guest = Guest {
            account: Account::new((*self.limits).clone(), self.ticker.running()),
            clock: Clock::start(),
            directory: self.grants.directory.clone().map(Directory::new),
            open_replies: 0,
            upstreams: self.upstreams.clone(),
            counters: self.counters.clone(),
            plugin: self.plugin.clone(),
            tell: self.tell.clone(),
            table: ResourceTable::new(),
            wasi: wasi::empty(self.world, self.surroundings, &log),
            log,
        };
        let mut store = Store::new(&self.engine, guest);
        store.limiter(|guest| &mut guest.account);
        store.set_hostcall_fuel(self.limits.handed_over);
        store.call_hook(|mut store, turn| {
            if store.data_mut().account.turn(turn)? {
                store.set_epoch_deadline(1);
            }
            Ok(())
        });
        store.epoch_deadline_callback(|mut store| {
            store.data_mut().account.tick()?;
            Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::time::sleep(PAUSE))))
        });
        store
    }
}

impl Guest {
    /// Opens the accounts of a new exported call.
    pub(crate) fn begin(&mut self) {
        self.account.begin();
        self.log.begin();
        self.clock = Clock::start();
    }

    /// The upstream of that name, if the operator has granted it; asking for another is counted.
    pub(crate) fn upstream(&self, name: &str) -> Option<Arc<Client>> {
        let granted = self.upstreams.get(name).cloned();
        if granted.is_none() {
            let name = &name[..name.floor_char_boundary(64)];
            self.violated(&format!("it asked for the server {name:?}, which is not granted"));
        }
        granted
    }

    /// Counts something that the plugin was not to do, and tells it if that is news.
    pub(crate) fn violated(&self, what: &str) {
        if self.counters.violated(what)
            && let Some(tell) = &self.tell
        {
            let plugin = self.plugin.as_str();
            let told = Told::new(Kind::Refused, format!("{plugin}: {what}; it got nothing")).about(plugin).because(what);
            tell(Weight::Warn, told.did("gave it nothing and counted it"));
        }
    }

    /// The open bodies of HTTP answers.
    pub(crate) fn replies(&mut self) -> &mut ResourceTable {
        &mut self.table
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}
