//! All plugins of a daemon: opened once, looked through again whenever their folders change or somebody asks.
//!
//! [`Plugins::open`] loads every file of the folders; [`Plugins::rescan`] and [`Plugins::follow_folders`] load what is new and put it in charge, while a file that
//! went, broke or does not do leaves the running one in place (how that is decided: `swap`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

use tokio::sync::watch;
use twill_lease::store::Abilities;
use twill_model::event::{Kind, Tell, Told, Weight};
use twill_model::status::PluginStatus;

use crate::actor::{Actor, Boxed};
use crate::backend::{BackendActor, Backends, Charged, Refusals, View};
use crate::error::PluginError;
use crate::folder::{File, Linked, Plugin};
use crate::grants::{Grants, Surroundings, World};
use crate::host::Host;
use crate::kept::Kept;
use crate::limit_table::LimitTable;
use crate::limits::Limits;
use crate::signature::Keys;
use crate::status;
use crate::store::{Opened, Pair, Setup, StoreHandle, ask_instance};
use crate::swap::{Look, Notes, full_name};
use crate::watch::Watch;

/// Where plugins are and what they may use.
#[derive(Debug, Clone)]
pub struct PluginSettings {
    /// Folders with `*.wasm` files, or single files; of two of one name and version the one in the later folder is used. A missing folder is skipped.
    pub folders: Vec<PathBuf>,
    /// Folder of compiled plugins; made with mode 0700 when it is missing.
    pub cache: PathBuf,
    /// Limits of every instance.
    pub limits: LimitTable,
    /// The lock file; with one nothing comes into use that it does not name.
    pub lock: Option<PathBuf>,
    /// Folder for copies of the files in use, so that there is a way back; none keeps no copies.
    pub kept: Option<PathBuf>,
    /// Keys one of which must have signed a file before it comes into use; none: no signature is asked for.
    pub keys: Keys,
}

/// A store plugin that could be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreOffer {
    /// Its name, without "store-": "file".
    pub name: String,
    /// One line on what it does.
    pub summary: String,
    /// It needs a directory.
    pub directory: bool,
    /// HTTP upstreams that it needs, by name.
    pub upstreams: Vec<String>,
}

/// Name of a plugin ("backend-udp") to the digest of the file that is used for it.
pub type Digests = BTreeMap<String, String>;

/// Makes a trial plan: of the backend type that is named, by these backends, which answer for it with the candidate. Links may be broken when the last argument is
/// true. Answers with what would change, or with why it must not.
pub type TryOut = Arc<dyn Fn(String, Backends, bool) -> Boxed<'static, Result<String, String>> + Send + Sync>;

/// World and name without the world's prefix.
pub(crate) type Name = (World, String);

/// All plugins. Clones share them.
#[derive(Clone)]
pub struct Plugins(Arc<Shared>);

/// What handles share.
pub(crate) struct Shared {
    pub(crate) settings: PluginSettings,
    pub(crate) host: Arc<Host>,
    pub(crate) kept: Arc<Kept>,
    table: RwLock<Table>,
    opened: Mutex<Vec<Weak<Opened>>>,
    digests: watch::Sender<Digests>,
    daemon: RwLock<Daemon>,
    /// One look at a time.
    looking: tokio::sync::Mutex<()>,
}

/// What the daemon around has told.
#[derive(Default)]
struct Daemon {
    tell: Option<Tell>,
    try_out: Option<TryOut>,
    /// The backends that it needs; none while it has not said.
    needs: Option<BTreeSet<String>>,
}

/// The files that were found and the plugins in use.
#[derive(Default)]
pub(crate) struct Table {
    pub(crate) files: Vec<Arc<File>>,
    pub(crate) active: BTreeMap<Name, Active>,
    pub(crate) notes: Notes,
}

/// The file in use for one name.
#[derive(Clone)]
pub(crate) struct Active {
    pub(crate) file: Arc<File>,
    /// The backend's task; stores have theirs in their handles.
    pub(crate) actor: Option<Arc<BackendActor>>,
    /// How it stands to the files that were found, where that is remarkable.
    pub(crate) note: Option<String>,
}

impl Plugins {
    /// Loads all plugins of the folders, compiling what was never compiled before. A file that does not fit is refused by name (see
    /// [`Plugins::status`]) and the rest load.
    ///
    /// # Errors
    /// A folder or the lock file cannot be read.
    pub async fn open(settings: PluginSettings) -> Result<Plugins, PluginError> {
        Plugins::open_with(settings, Surroundings::default(), None).await
    }

    /// The same; events go to `tell`.
    ///
    /// # Errors
    /// As [`Plugins::open`].
    pub async fn open_telling(settings: PluginSettings, tell: Option<Tell>) -> Result<Plugins, PluginError> {
        Plugins::open_with(settings, Surroundings::default(), tell).await
    }

    /// The same for tests of plugins, which want to see that a backend's answers do not depend on what is around it.
    ///
    /// # Errors
    /// As [`Plugins::open`].
    pub async fn open_in(settings: PluginSettings, surroundings: Surroundings) -> Result<Plugins, PluginError> {
        Plugins::open_with(settings, surroundings, None).await
    }

    async fn open_with(settings: PluginSettings, surroundings: Surroundings, tell: Option<Tell>) -> Result<Plugins, PluginError> {
        let host = Arc::new(Host::new(&settings.cache, settings.limits.clone(), surroundings)?.telling(tell.clone()));
        let shared = Shared {
            kept: Arc::new(Kept::open(settings.kept.as_deref())),
            settings,
            host,
            table: RwLock::default(),
            opened: Mutex::default(),
            digests: watch::Sender::new(Digests::new()),
            daemon: RwLock::new(Daemon { tell, ..Daemon::default() }),
            looking: tokio::sync::Mutex::default(),
        };
        let plugins = Plugins(Arc::new(shared));
        plugins.rescan().await?;
        Ok(plugins)
    }

    /// From now on a backend takes over from a running one only after `try_out` has agreed.
    pub fn try_out_with(&self, try_out: TryOut) {
        self.0.daemon_mut().try_out = Some(try_out);
    }

    /// Says which backend types are needed now. One whose file is gone goes when it is needed no more.
    ///
    /// # Errors
    /// As [`Plugins::rescan`].
    pub async fn need(&self, backends: BTreeSet<String>) -> Result<(), PluginError> {
        let before = self.0.daemon_mut().needs.replace(backends.clone());
        let less = before.is_none_or(|before| !before.is_subset(&backends));
        if less { self.rescan().await } else { Ok(()) }
    }

    /// The store plugins that are loaded.
    pub fn stores(&self) -> Vec<StoreOffer> {
        let table = self.0.table();
        let stores =
            table.active.values().filter_map(|active| active.file.plugin.as_ref().ok()).filter(|plugin| plugin.world == World::Store);
        stores.map(offer).collect()
    }

    /// Opens the store of that name ("file" or "store-file") with the JSON text of its options. It is configured at once; nothing is
    /// asked of it yet.
    ///
    /// # Errors
    /// There is none of that name, it needs what was not granted, or it refuses its options.
    pub async fn open_store(&self, name: &str, options: &str, node_name: &str, grants: Grants) -> Result<StoreHandle, PluginError> {
        let kind = name.strip_prefix("store-").unwrap_or(name);
        // Not while a new file is tried: it would not know of this handle.
        let _alone = self.0.looking.lock().await;
        let file = self.0.store_file(kind)?;
        let setup = Setup { options: options.into(), node_name: node_name.into() };
        let pair = self.0.pair(&file, &setup, &grants).await?;
        let limits = self.0.limits(&full_name(&(World::Store, kind.into())));
        let opened = Arc::new(Opened::new(kind.into(), setup, grants, limits, pair));
        self.0.opened().push(Arc::downgrade(&opened));
        Ok(StoreHandle(opened))
    }

    /// The backends, as a planner; items that make no sense are told to `refusals`.
    pub fn planner(&self, refusals: Refusals) -> Backends {
        Backends::new(self.0.clone(), refusals)
    }

    /// How every file fares.
    pub fn status(&self) -> Vec<PluginStatus> {
        let used: Vec<(String, Grants)> = self.0.alive().iter().map(|opened| (opened.kind.clone(), opened.grants.clone())).collect();
        status::of(&self.0.table(), &used, &self.0.settings.limits)
    }

    /// The files that were found.
    pub(crate) fn files(&self) -> Vec<Arc<File>> {
        self.0.table().files.clone()
    }

    /// Told when a file comes into use or another takes its place.
    pub fn changed(&self) -> watch::Receiver<Digests> {
        self.0.digests.subscribe()
    }

    /// Reads the folders again: loads files that are new or changed and puts them into use. Calls under way end in the old instance.
    ///
    /// # Errors
    /// A folder or the lock file cannot be read; everything stays as it is.
    pub async fn rescan(&self) -> Result<(), PluginError> {
        let _alone = self.0.looking.lock().await;
        self.0.look(Look::Quiet).await
    }

    /// The same for an operator: what did not do is tried again. The plugin that he names may also become an older one, and with `disrupt` break traffic off.
    ///
    /// # Errors
    /// As [`Plugins::rescan`].
    pub async fn reload(&self, plugin: Option<&str>, disrupt: bool) -> Result<(), PluginError> {
        let _alone = self.0.looking.lock().await;
        self.0.look(Look::Again { plugin: plugin.map(str::to_owned), disrupt }).await
    }

    /// Has the version before of `plugin` ("backend-udp") take over again. It stays until something newer than what it takes over from is found, or [`Plugins::go_on`].
    ///
    /// # Errors
    /// There is no version before, it is not kept any more, or it does not do.
    pub async fn go_back(&self, plugin: &str) -> Result<(), PluginError> {
        let _alone = self.0.looking.lock().await;
        self.0.go_back(plugin).await
    }

    /// Ends [`Plugins::go_back`]: the best file takes over.
    ///
    /// # Errors
    /// As [`Plugins::rescan`].
    pub async fn go_on(&self, plugin: &str) -> Result<(), PluginError> {
        let _alone = self.0.looking.lock().await;
        self.0.kept.go_on(plugin);
        self.0.look(Look::Again { plugin: Some(plugin.into()), disrupt: false }).await
    }

    /// Counts a violation of the policy by the backend of that type, which others found in its plan.
    pub fn violated(&self, backend: &str, what: &str) {
        let table = self.0.table();
        let active = table.active.get(&(World::Backend, backend.into()));
        if let Some(Ok(plugin)) = active.map(|active| active.file.plugin.as_ref()) {
            plugin.counters.violated(what);
        }
    }

    /// Looks through the folders whenever something in them may have changed. Never returns.
    pub async fn follow_folders(&self) {
        let mut watch = Watch::new(self.0.settings.folders.clone());
        let mut told = None;
        loop {
            // What changed between the first look and the first watch is seen now.
            let failed = self.rescan().await.err().map(|error| error.to_string());
            if let Some(error) = failed.as_ref().filter(|_| told != failed) {
                self.0.tell(Weight::Error, "plugin folders", error.clone());
            }
            told = failed;
            watch.changed().await;
        }
    }
}

fn offer(plugin: &Plugin) -> StoreOffer {
    let needs = &plugin.needs;
    StoreOffer {
        name: plugin.kind.clone(),
        summary: plugin.summary.clone(),
        directory: needs.directory,
        upstreams: needs.upstreams.clone(),
    }
}

impl Shared {
    /// The backend in charge of that type.
    pub(crate) fn charged(&self, kind: &str) -> Option<Charged> {
        let name = (World::Backend, kind.to_owned());
        let table = self.table();
        let active = table.active.get(&name)?;
        Some(Charged { digest: active.file.digest.clone(), actor: active.actor.clone()?, limits: self.limits(&full_name(&name)) })
    }

    pub(crate) fn backend_digest(&self, kind: &str) -> Option<String> {
        self.table().active.get(&(World::Backend, kind.into())).map(|active| active.file.digest.clone())
    }

    /// All backends in charge.
    pub(crate) fn view(&self) -> View {
        let kinds: Vec<String> =
            self.table().active.keys().filter(|(world, _)| *world == World::Backend).map(|(_, kind)| kind.clone()).collect();
        kinds.into_iter().filter_map(|kind| self.charged(&kind).map(|charged| (kind, charged))).collect()
    }

    pub(crate) fn limits(&self, plugin: &str) -> Arc<Limits> {
        self.settings.limits.of(plugin)
    }

    pub(crate) fn table(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn table_mut(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn daemon_mut(&self) -> RwLockWriteGuard<'_, Daemon> {
        self.daemon.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn opened(&self) -> MutexGuard<'_, Vec<Weak<Opened>>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The stores in use.
    pub(crate) fn alive(&self) -> Vec<Arc<Opened>> {
        let mut opened = self.opened();
        opened.retain(|one| one.strong_count() > 0);
        opened.iter().filter_map(Weak::upgrade).collect()
    }

    pub(crate) fn try_out(&self) -> Option<TryOut> {
        self.daemon.read().unwrap_or_else(PoisonError::into_inner).try_out.clone()
    }

    /// True while somebody needs the plugin of that name; before the daemon has said what it needs, all are.
    pub(crate) fn needed(&self, (world, kind): &Name) -> bool {
        match world {
            World::Store => self.alive().iter().any(|opened| opened.kind == *kind),
            World::Backend => {
                let daemon = self.daemon.read().unwrap_or_else(PoisonError::into_inner);
                daemon.needs.as_ref().is_none_or(|needs| needs.contains(kind))
            }
        }
    }

    /// Tells what happened to a plugin, or to a file.
    pub(crate) fn tell(&self, weight: Weight, whom: &str, text: String) {
        let tell = self.daemon.read().unwrap_or_else(PoisonError::into_inner).tell.clone();
        match (tell, weight) {
            (Some(tell), _) => tell(weight, Told::new(Kind::Plugin, text).about(whom)),
            (None, Weight::Info) => tracing::info!("{text}"),
            (None, Weight::Warn) => tracing::warn!("{text}"),
            (None, Weight::Error) => tracing::error!("{text}"),
        }
    }

    pub(crate) fn put_away(&self, files: Vec<Arc<File>>, notes: Notes) {
        let mut table = self.table_mut();
        (table.files, table.notes) = (files, notes);
    }

    /// Tells who listens which files are in use, if that changed.
    pub(crate) fn publish(&self) {
        let digests: Digests = self.table().active.iter().map(|(name, active)| (full_name(name), active.file.digest.clone())).collect();
        self.digests.send_if_modified(|now| {
            let differs = *now != digests;
            *now = digests;
            differs
        });
    }

    fn store_file(&self, kind: &str) -> Result<Arc<File>, PluginError> {
        let table = self.table();
        if let Some(active) = table.active.get(&(World::Store, kind.into())) {
            return Ok(active.file.clone());
        }
        Err(PluginError::NoStore { name: kind.into(), found: status::instead_of(&table, kind, &self.settings.folders) })
    }

    /// Starts a store's two instances and configures the ordinary one.
    pub(crate) async fn pair(&self, file: &File, setup: &Setup, grants: &Grants) -> Result<Pair, PluginError> {
        let name = plugin_name(file);
        let Ok(plugin @ Plugin { linked: Linked::Store(linked), counters, .. }) = &file.plugin else {
            return Err(PluginError::NoStore { name, found: "the file of that name is no store".into() });
        };
        granted(&name, plugin, grants)?;
        let nursery = self.host.nursery(name.clone(), World::Store, grants.clone(), counters.clone());
        let spawn = || Actor::spawn(nursery.clone(), linked.clone(), setup.clone(), counters.clone());
        let (ordinary, watching) = (spawn(), spawn());
        let asked = ask_instance(&ordinary, self.limits(&name).store_wall, |store, guest| {
            Box::pin(async move { Ok(Ok(guest.call_describe(store).await?)) })
        });
        let abilities = asked.await.map_err(|cause| PluginError::Configure { plugin: name.clone(), cause })?;
        let abilities = Abilities { name, assigns: abilities.assigns, reserves: abilities.reserves, directory: abilities.directory };
        Ok(Pair { ordinary, watching, abilities })
    }
}

fn granted(name: &str, plugin: &Plugin, grants: &Grants) -> Result<(), PluginError> {
    let refused = |what: String, advice: &str| Err(PluginError::NotGranted { plugin: name.into(), what, advice: advice.into() });
    if let Some(upstream) = plugin.needs.upstreams.iter().find(|name| !has_endpoint(grants, name)) {
        let flag = if upstream == "etcd" { "--etcd-endpoints <URL>".to_owned() } else { format!("--upstream {upstream}=<URL>") };
        return refused(format!("the server \"{upstream}\""), &format!("say where it is with {flag}"));
    }
    if plugin.needs.directory && grants.directory.is_none() {
        return refused("a directory".into(), "name one with --store-dir <path>");
    }
    Ok(())
}

fn has_endpoint(grants: &Grants, upstream: &str) -> bool {
    grants.upstreams.get(upstream).is_some_and(|upstream| !upstream.endpoints.is_empty())
}

pub(crate) fn plugin_name(file: &File) -> String {
    file.plugin.as_ref().map_or_else(|_| file.path.display().to_string(), Plugin::name)
}
