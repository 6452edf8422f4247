//! The plugin folders: which files there are, what each is, and which of several with one name is used.
//!
//! A file is known by what its component says of itself, not by its file's name. Its world, contract version and imports are read from
//! the compiled component without running it;
//! only a file whose imports are allowed is then asked to describe itself. One that does not fit is kept with the reason, and the rest
//! load.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use semver::Version;
use sha2::{Digest, Sha256};
use wasmtime::Store as Instance;
use wasmtime::component::Component;

use crate::actor::{begin, why, within};
use crate::cache::hex;
use crate::counters::Counters;
use crate::error::PluginError;
use crate::grants::{Grants, World, check_imports, world_of};
use crate::guest::{Guest, Nursery};
use crate::host::Host;
use crate::signature::Keys;
use crate::wit::backend::BackendPre;
use crate::wit::store::StorePre;
use crate::wit::types::About;

/// Largest plugin file in bytes.
const LARGEST: u64 = 256 << 20;
/// Time for a plugin to describe itself.
const DESCRIBING: Duration = Duration::from_secs(2);
/// A file that was changed less than so many seconds ago may change again without its times telling.
const SETTLED: i64 = 2;

/// One file of a plugin folder.
pub(crate) struct File {
    pub(crate) path: PathBuf,
    /// SHA-256 of the file in hex; empty when it could not be read.
    pub(crate) digest: String,
    /// What could be told before running it.
    pub(crate) sight: Sight,
    /// The plugin, or why it was refused.
    pub(crate) plugin: Result<Plugin, String>,
    /// What it looked like when it was read; none while it may still be changing.
    stamp: Mutex<Option<Stamp>>,
}

/// By which a file is known to be the same without reading it: device, inode, size, and the times of the last change of content and of anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp(u64, u64, u64, (i64, i64), (i64, i64));

impl Stamp {
    fn of(path: &Path) -> Option<Stamp> {
        let meta = std::fs::metadata(path).ok()?;
        Some(Stamp(meta.dev(), meta.ino(), meta.size(), (meta.mtime(), meta.mtime_nsec()), (meta.ctime(), meta.ctime_nsec())))
    }

    /// The stamp, if the file has not been changed for a while.
    fn settled(self) -> Option<Stamp> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
        (self.4.0 + SETTLED < now).then_some(self)
    }
}

impl File {
    fn stamp(&self) -> Option<Stamp> {
        *self.stamp.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_stamp(&self, stamp: Option<Stamp>) {
        *self.stamp.lock().unwrap_or_else(PoisonError::into_inner) = stamp;
    }
}

/// What can be told of a component without running it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sight {
    pub(crate) world: Option<World>,
    pub(crate) imports: Vec<String>,
}

/// A file that fits.
#[derive(Clone)]
pub(crate) struct Plugin {
    pub(crate) world: World,
    /// The backend's type, or the store's name without "store-".
    pub(crate) kind: String,
    pub(crate) version: Version,
    pub(crate) summary: String,
    /// JSON Schema of its options.
    pub(crate) schema: String,
    pub(crate) needs: Needs,
    pub(crate) linked: Linked,
    pub(crate) counters: Arc<Counters>,
}

/// What a store says that it must be granted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Needs {
    pub(crate) directory: bool,
    pub(crate) upstreams: Vec<String>,
}

/// A component with its imports joined to the host.
#[derive(Clone)]
pub(crate) enum Linked {
    Store(StorePre<Guest>),
    Backend(BackendPre<Guest>),
}

impl Plugin {
    /// "store-file", "backend-udp".
    pub(crate) fn name(&self) -> String {
        format!("{}-{}", self.world.word(), self.kind)
    }
}

/// All `*.wasm` files of the folders in order; a folder that is missing is skipped, and what is a file itself is taken whatever its name.
pub(crate) fn files(folders: &[PathBuf]) -> Result<Vec<PathBuf>, PluginError> {
    let mut files = Vec::new();
    for folder in folders {
        if folder.is_file() {
            files.push(folder.clone());
            continue;
        }
        match wasm_files(folder) {
            Ok(found) => files.extend(found),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                tracing::debug!(folder = %folder.display(), "no such plugin folder")
            }
            Err(cause) => return Err(PluginError::Folder { path: folder.clone(), cause }),
        }
    }
    Ok(files)
}

fn wasm_files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut paths = std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "wasm"));
    paths.sort();
    Ok(paths)
}

/// Reads a file and its digest. Blocks.
pub(crate) fn read(path: &Path) -> Result<(Vec<u8>, String), String> {
    let size = std::fs::metadata(path).map_err(|error| format!("it cannot be read: {error}"))?.len();
    if size > LARGEST {
        return Err(format!("it is larger than {} MiB", LARGEST >> 20));
    }
    let bytes = std::fs::read(path).map_err(|error| format!("it cannot be read: {error}"))?;
    let digest = hex(&Sha256::digest(&bytes));
    Ok((bytes, digest))
}

fn read_signed(path: &Path, keys: &Keys) -> Result<(Vec<u8>, String), String> {
    let (bytes, digest) = read(path)?;
    keys.check(path, &bytes)?;
    Ok((bytes, digest))
}

/// The file as it is now: the known one when it has not changed, else loaded, if one of the keys has signed it.
pub(crate) async fn load_one(host: Arc<Host>, path: PathBuf, keys: Keys, known: Vec<Arc<File>>) -> Arc<File> {
    let before = known.iter().find(|one| one.path == path).cloned();
    let (file, old) = (path.clone(), before.as_ref().and_then(|before| before.stamp()));
    let read = tokio::task::spawn_blocking(move || {
        // Taken before the reading: a change amid it leaves another stamp.
        let stamp = Stamp::of(&file);
        if stamp.is_some() && stamp == old { None } else { Some((read_signed(&file, &keys), stamp.and_then(Stamp::settled))) }
    });
    let (read, stamp) = match (read.await, before.clone()) {
        (Ok(None), Some(same)) => return same,
        // A signature may come later, and leaves the file as it is: it is looked at again.
        (Ok(Some((Err(reason), _))), _) => (Err(reason), None),
        (Ok(Some(read)), _) => read,
        (Ok(None), None) => (Err("it went away".into()), None),
        (Err(ended), _) => (Err(format!("reading it did not end: {ended}")), None),
    };
    let loaded = match read {
        Ok((bytes, digest)) => match (before, known.iter().find(|one| one.digest == digest)) {
            (Some(same), _) if same.digest == digest => {
                same.set_stamp(stamp);
                return same;
            }
            // It lay elsewhere before.
            (_, Some(same)) => File { path, digest, sight: same.sight.clone(), plugin: same.plugin.clone(), stamp: Mutex::default() },
            _ => load(host, path, bytes, digest).await,
        },
        Err(reason) => match before {
            Some(same) if same.plugin.as_ref().err() == Some(&reason) => return same,
            _ => File { path, digest: String::new(), sight: Sight::default(), plugin: Err(reason), stamp: Mutex::default() },
        },
    };
    loaded.set_stamp(stamp);
    Arc::new(loaded)
}

/// Loads one file: compile, look, link, describe.
async fn load(host: Arc<Host>, path: PathBuf, bytes: Vec<u8>, digest: String) -> File {
    let (shared, file, sum) = (host.clone(), path.clone(), digest.clone());
    let compiled = tokio::task::spawn_blocking(move || compile(&shared, &file, &bytes, &sum)).await;
    let component = compiled.unwrap_or_else(|ended| Err(format!("compiling it did not end: {ended}")));
    let mut sight = Sight::default();
    let plugin = match component {
        Ok(component) => fit(&host, &component, &mut sight).await,
        Err(reason) => Err(reason),
    };
    File { path, digest, sight, plugin, stamp: Mutex::default() }
}

fn compile(host: &Host, path: &Path, bytes: &[u8], digest: &str) -> Result<Component, String> {
    match bytes {
        [b'\0', b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => {}
        [b'\0', b'a', b's', b'm', 1, 0, 0, 0, ..] => {
            return Err("it is a core WebAssembly module and not a component: turn it into one with wasm-tools component new".into());
        }
        [b'\0', b'a', b's', b'm', ..] => return Err("it is WebAssembly of a kind that this twill does not know".into()),
        _ => return Err("it is not WebAssembly, or only the beginning of a file".into()),
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    host.cache
        .component(&host.engine, &name, digest, bytes)
        .map_err(|error| format!("it cannot be compiled, perhaps it was cut off: {}", error.root_cause()))
}

/// Checks a component against its world and asks it to describe itself.
async fn fit(host: &Host, component: &Component, sight: &mut Sight) -> Result<Plugin, String> {
    let kind = component.component_type();
    sight.imports = kind.imports(&host.engine).map(|(name, _)| name.to_owned()).collect();
    let world = world_of(kind.exports(&host.engine).map(|(name, _)| name)).map_err(|misfit| misfit.to_string())?;
    sight.world = Some(world);
    check_imports(world, sight.imports.iter().map(String::as_str)).map_err(|misfit| misfit.to_string())?;
    let linked =
        host.link(world, component).map_err(|error| format!("it does not fit the world \"{}\": {}", world.word(), error.root_cause()))?;
    let nursery = host.nursery(format!("the new {}", world.word()), world, Grants::default(), Arc::default());
    let (about, needs) = describe(&nursery, &linked).await.map_err(|cause| format!("it cannot describe itself: {cause}"))?;
    let (name, version) = named(world, &about)?;
    Ok(Plugin { world, kind: name, version, summary: about.summary, schema: about.options_schema, needs, linked, counters: Arc::default() })
}

async fn describe(nursery: &Nursery, linked: &Linked) -> Result<(About, Needs), String> {
    let mut store = nursery.store();
    begin(&mut store);
    let asked = match linked {
        Linked::Backend(linked) => within(DESCRIBING, describe_backend(linked, &mut store)).await,
        Linked::Store(linked) => within(DESCRIBING, describe_store(linked, &mut store)).await,
    };
    asked.map_err(|error| why(&store, &error))
}

async fn describe_backend(linked: &BackendPre<Guest>, store: &mut Instance<Guest>) -> wasmtime::Result<(About, Needs)> {
    let backend = linked.instantiate_async(&mut *store).await?;
    Ok((backend.twill_plugin_backend_api().call_describe(store).await?, Needs::default()))
}

async fn describe_store(linked: &StorePre<Guest>, instance: &mut Instance<Guest>) -> wasmtime::Result<(About, Needs)> {
    let store = linked.instantiate_async(&mut *instance).await?;
    let can = store.twill_plugin_store_api().call_describe(instance).await?;
    Ok((can.about, Needs { directory: can.directory, upstreams: can.upstreams }))
}

/// Name without the world's prefix, and version.
fn named(world: World, about: &About) -> Result<(String, Version), String> {
    let prefix = format!("{}-", world.word());
    let name = about.name.strip_prefix(&prefix).unwrap_or(&about.name);
    let fits =
        (1..=32).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if !fits {
        return Err(format!("its name {:?} is not 1 to 32 of a-z 0-9 -", &about.name[..about.name.floor_char_boundary(64)]));
    }
    let version = Version::parse(&about.version).map_err(|error| format!("its version {:?} is not like 1.2.3: {error}", about.version))?;
    Ok((name.into(), version))
}
