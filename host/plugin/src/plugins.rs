//! All plugins of a daemon: opened once, looked through again on request.
//!
//! [`Plugins::open`] loads every file of the folders; [`Plugins::rescan`] loads what is new and swaps it in, while a file that went or
//! broke leaves the loaded one in place.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, Weak};

use tokio::sync::watch;
use tokio::task::JoinSet;
use twill_lease::store::Abilities;
use twill_model::status::PluginStatus;

use crate::actor::Actor;
use crate::backend::{BackendActor, Backends, Refusals};
use crate::error::PluginError;
use crate::folder::{self, File, Linked, Plugin};
use crate::grants::{Grants, Surroundings, World};
use crate::host::Host;
use crate::limits::Limits;
use crate::status;
use crate::store::{Opened, Pair, Setup, StoreHandle, ask_instance};

/// Where plugins are and what they may use.
#[derive(Debug, Clone)]
pub struct PluginSettings {
    /// Folders with `*.wasm` files, or single files; of two of one name and version the one in the later folder is used. A missing folder is skipped.
    pub folders: Vec<PathBuf>,
    /// Folder of compiled plugins; made with mode 0700 when it is missing.
    pub cache: PathBuf,
    /// Limits of every instance.
    pub limits: Limits,
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

/// All plugins. Clones share them.
#[derive(Clone)]
pub struct Plugins(Arc<Shared>);

/// What handles share.
pub(crate) struct Shared {
    pub(crate) settings: PluginSettings,
    host: Arc<Host>,
    table: RwLock<Table>,
    opened: Mutex<Vec<Weak<Opened>>>,
    digests: watch::Sender<Digests>,
    /// One rescan at a time.
    scanning: tokio::sync::Mutex<()>,
}

/// The files that were found and the plugins in use.
#[derive(Default)]
pub(crate) struct Table {
    pub(crate) files: Vec<Arc<File>>,
    pub(crate) active: BTreeMap<(World, String), Active>,
}

/// The file in use for one name.
#[derive(Clone)]
pub(crate) struct Active {
    pub(crate) file: Arc<File>,
    /// The backend's task; stores have theirs in their handles.
    actor: Option<Arc<BackendActor>>,
    /// Why it is still this file.
    pub(crate) note: Option<String>,
}

impl Plugins {
    /// Loads all plugins of the folders, compiling what was never compiled before. A file that does not fit is refused by name (see
    /// [`Plugins::status`]) and the rest load.
    pub async fn open(settings: PluginSettings) -> Result<Plugins, PluginError> {
        Plugins::open_in(settings, Surroundings::default()).await
    }

    /// The same for tests of plugins, which want to see that a backend's answers do not depend on what is around it.
    pub async fn open_in(settings: PluginSettings, surroundings: Surroundings) -> Result<Plugins, PluginError> {
        let host = Arc::new(Host::new(&settings.cache, settings.limits.clone(), surroundings)?);
        let shared = Shared {
            settings,
            host,
            table: RwLock::default(),
            opened: Mutex::default(),
            digests: watch::Sender::new(Digests::new()),
            scanning: tokio::sync::Mutex::default(),
        };
        let plugins = Plugins(Arc::new(shared));
        plugins.rescan().await?;
        Ok(plugins)
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
    pub async fn open_store(&self, name: &str, options: &str, node_name: &str, grants: Grants) -> Result<StoreHandle, PluginError> {
        let kind = name.strip_prefix("store-").unwrap_or(name);
        let file = self.0.store_file(kind)?;
        let setup = Setup { options: options.into(), node_name: node_name.into() };
        let pair = self.0.pair(&file, &setup, &grants).await?;
        let limits = self.0.settings.limits.clone();
        let opened = Arc::new(Opened { kind: kind.into(), setup, grants, limits, pair: RwLock::new(Arc::new(pair)) });
        self.0.opened().push(Arc::downgrade(&opened));
        Ok(StoreHandle(opened))
    }

    /// The backends, as a planner; items that make no sense are told to `refusals`.
    pub fn planner(&self, refusals: Refusals) -> Backends {
        Backends::new(self.0.clone(), refusals)
    }

    /// How every file fares.
    pub fn status(&self) -> Vec<PluginStatus> {
        let used: Vec<String> = self.0.alive().iter().map(|opened| opened.kind.clone()).collect();
        status::of(&self.0.table(), &used)
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
    pub async fn rescan(&self) -> Result<(), PluginError> {
        let _alone = self.0.scanning.lock().await;
        let files = self.0.load_all().await?;
        let fresh = self.0.choose(files);
        for opened in self.0.alive() {
            if fresh.contains(&(World::Store, opened.kind.clone())) {
                self.0.reopen(&opened).await;
            }
        }
        let digests = self
            .0
            .table()
            .active
            .iter()
            .map(|((world, kind), active)| (format!("{}-{kind}", world.word()), active.file.digest.clone()))
            .collect();
        self.0.digests.send_if_modified(|now| {
            let differs = *now != digests;
            *now = digests;
            differs
        });
        Ok(())
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
    pub(crate) fn backend(&self, kind: &str) -> Option<Arc<BackendActor>> {
        self.table().active.get(&(World::Backend, kind.into()))?.actor.clone()
    }

    pub(crate) fn backend_digest(&self, kind: &str) -> Option<String> {
        self.table().active.get(&(World::Backend, kind.into())).map(|active| active.file.digest.clone())
    }

    fn table(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn opened(&self) -> MutexGuard<'_, Vec<Weak<Opened>>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The stores in use.
    fn alive(&self) -> Vec<Arc<Opened>> {
        let mut opened = self.opened();
        opened.retain(|one| one.strong_count() > 0);
        opened.iter().filter_map(Weak::upgrade).collect()
    }

    /// Loads what is not loaded yet, each file on a thread of its own.
    async fn load_all(&self) -> Result<Vec<Arc<File>>, PluginError> {
        let mut loading = JoinSet::new();
        for (place, path) in folder::files(&self.settings.folders)?.into_iter().enumerate() {
            let (host, known) = (self.host.clone(), self.table().files.clone());
            loading.spawn(async move { (place, load_one(host, path, known).await) });
        }
        let mut files = loading.join_all().await;
        files.sort_by_key(|(place, _)| *place);
        Ok(files.into_iter().map(|(_, file)| file).collect())
    }

    /// Puts the best file of each name into use; answers with the names whose file changed.
    fn choose(&self, files: Vec<Arc<File>>) -> Vec<(World, String)> {
        let mut names: BTreeMap<(World, String), Vec<&Arc<File>>> = BTreeMap::new();
        for file in &files {
            if let Ok(plugin) = &file.plugin {
                names.entry((plugin.world, plugin.kind.clone())).or_default().push(file);
            }
        }
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        for (name, active) in &mut table.active {
            let lost = !names.contains_key(name);
            active.note = lost.then(|| "its file is gone or broken; the loaded one stays in use until the daemon ends".into());
        }
        let mut fresh = Vec::new();
        for (name, file) in names.into_iter().filter_map(|(name, files)| folder::best(files).cloned().map(|file| (name, file))) {
            match table.active.get_mut(&name) {
                Some(active) if active.file.digest == file.digest => {}
                _ => {
                    table.active.insert(name.clone(), self.activate(file));
                    fresh.push(name);
                }
            }
        }
        table.files = files;
        fresh
    }

    fn activate(&self, file: Arc<File>) -> Active {
        let actor = match &file.plugin {
            Ok(Plugin { linked: Linked::Backend(linked), counters, world, .. }) => {
                let nursery = self.host.nursery(plugin_name(&file), *world, Grants::default());
                Some(Arc::new(Actor::spawn(nursery, linked.clone(), (), counters.clone())))
            }
            _ => None,
        };
        tracing::info!(plugin = plugin_name(&file), file = %file.path.display(), digest = &file.digest[..12.min(file.digest.len())], "plugin loaded");
        Active { file, actor, note: None }
    }

    fn store_file(&self, kind: &str) -> Result<Arc<File>, PluginError> {
        let table = self.table();
        if let Some(active) = table.active.get(&(World::Store, kind.into())) {
            return Ok(active.file.clone());
        }
        Err(PluginError::NoStore { name: kind.into(), found: status::instead_of(&table, kind, &self.settings.folders) })
    }

    /// Starts a store's two instances and configures the ordinary one.
    async fn pair(&self, file: &File, setup: &Setup, grants: &Grants) -> Result<Pair, PluginError> {
        let name = plugin_name(file);
        let Ok(plugin @ Plugin { linked: Linked::Store(linked), counters, .. }) = &file.plugin else {
            return Err(PluginError::NoStore { name, found: "the file of that name is no store".into() });
        };
        granted(&name, plugin, grants)?;
        let nursery = self.host.nursery(name.clone(), World::Store, grants.clone());
        let spawn = || Actor::spawn(nursery.clone(), linked.clone(), setup.clone(), counters.clone());
        let (ordinary, watching) = (spawn(), spawn());
        let asked = ask_instance(&ordinary, self.settings.limits.store_wall, |store, guest| {
            Box::pin(async move { Ok(Ok(guest.call_describe(store).await?)) })
        });
        let abilities = asked.await.map_err(|cause| PluginError::Configure { plugin: name.clone(), cause })?;
        let abilities = Abilities { name, assigns: abilities.assigns, reserves: abilities.reserves, directory: abilities.directory };
        Ok(Pair { ordinary, watching, abilities })
    }

    /// Gives an open store the instances of its new file; when that refuses its options, the old ones go on.
    async fn reopen(&self, opened: &Opened) {
        let pair = match self.store_file(&opened.kind) {
            Ok(file) => self.pair(&file, &opened.setup, &opened.grants).await,
            Err(error) => Err(error),
        };
        match pair {
            Ok(pair) => opened.swap(pair),
            Err(error) => {
                tracing::warn!(store = opened.kind, cause = %error, "the new file of the store is not used, the old one goes on");
                let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
                if let Some(active) = table.active.get_mut(&(World::Store, opened.kind.clone())) {
                    active.note = Some(format!("not in use, the previous file goes on: {error}"));
                }
            }
        }
    }
}

async fn load_one(host: Arc<Host>, path: PathBuf, known: Vec<Arc<File>>) -> Arc<File> {
    let file = path.clone();
    let read = tokio::task::spawn_blocking(move || folder::read(&file)).await;
    let loaded = match read.unwrap_or_else(|ended| Err(format!("reading it did not end: {ended}"))) {
        Ok((_, digest)) if let Some(same) = known.iter().find(|one| one.path == path && one.digest == digest) => return same.clone(),
        Ok((bytes, digest)) => folder::load(host, path, bytes, digest).await,
        Err(reason) => File { path, digest: String::new(), sight: folder::Sight::default(), plugin: Err(reason) },
    };
    if let Err(reason) = &loaded.plugin {
        tracing::warn!(file = %loaded.path.display(), reason, "a plugin file was refused");
    }
    Arc::new(loaded)
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

fn plugin_name(file: &File) -> String {
    file.plugin.as_ref().map_or_else(|_| file.path.display().to_string(), Plugin::name)
}
