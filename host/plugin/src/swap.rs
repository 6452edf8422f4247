//! Putting another file in charge: compiled beside the running one, tried, and swapped in at once. Whatever does not do leaves the running one where it is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::task::JoinSet;
use twill_lease::store::{StoreError, StoreSnapshot};
use twill_model::Prefixes;
use twill_model::event::Weight;

use crate::actor::Actor;
use crate::backend::{BackendActor, Backends, Charged, Refusals};
use crate::choice::{Entry, Rules, order};
use crate::convert;
use crate::error::PluginError;
use crate::folder::{self, File, Linked, Plugin};
use crate::grants::{Grants, World};
use crate::kept::Build;
use crate::lock::Lock;
use crate::plugins::{Active, Name, Shared, plugin_name};
use crate::signature::Keys;
use crate::store::{Opened, Pair, ask_instance};

/// What a look through the folders is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Look {
    /// Something may have changed.
    #[default]
    Quiet,
    /// An operator asks: what did not do is tried again. The plugin that he names may become an older one, and may break traffic off if he allows it.
    Again { plugin: Option<String>, disrupt: bool },
}

impl Look {
    /// The operator named this very plugin.
    fn names(&self, name: &str) -> bool {
        matches!(self, Look::Again { plugin: Some(plugin), .. } if plugin == name)
    }

    fn disrupts(&self, name: &str) -> bool {
        self.names(name) && matches!(self, Look::Again { disrupt: true, .. })
    }
}

/// A file that did well, ready to take over.
enum Ready {
    Backend(Arc<BackendActor>),
    Store(Vec<(Arc<Opened>, Pair)>),
}

/// Why a file of a name is not used, by its path.
pub(crate) type Notes = BTreeMap<PathBuf, String>;

impl Shared {
    /// Looks through the folders, and puts the best file of each name in charge if it does.
    pub(crate) async fn look(&self, look: Look) -> Result<(), PluginError> {
        let lock = self.settings.lock.as_deref().map(Lock::read).transpose()?;
        if let Look::Again { plugin, .. } = &look {
            self.kept.try_again(plugin.as_deref());
        }
        let files = self.load_all().await?;
        let mut names: BTreeSet<Name> = self.table().active.keys().cloned().collect();
        names.extend(files.iter().filter_map(|file| file.plugin.as_ref().ok()).map(|plugin| (plugin.world, plugin.kind.clone())));
        let mut notes = Notes::new();
        for name in names {
            self.settle(&name, &files, lock.as_ref(), &look, &mut notes).await;
        }
        self.put_away(files, notes);
        self.publish();
        Ok(())
    }

    /// Sees to one name: the best file that does is in charge afterwards.
    async fn settle(&self, name: &Name, files: &[Arc<File>], lock: Option<&Lock>, look: &Look, notes: &mut Notes) {
        let plugin = full_name(name);
        let of_name: Vec<(usize, Entry)> =
            files.iter().enumerate().filter_map(|(place, file)| entry(name, file).map(|entry| (place, entry))).collect();
        let past = self.kept.past(&plugin);
        let went_back = past.went_back();
        let rules = Rules { lock, went_back: went_back.as_ref(), unfit: Some(&past.unfit) };
        let mut running = self.table().active.get(name).map(|active| active.file.clone());
        if let Some(file) = &running
            && !files.iter().any(|one| one.path == file.path)
            && !of_name.iter().any(|(_, entry)| entry.digest == file.digest)
            && !self.needed(name)
        {
            self.retire(name, file);
            running = None;
        }
        let now = running.as_deref().and_then(|file| entry(name, file));
        let barred = |rules: &Rules, entry| rules.bar(&plugin, entry).filter(|_| now.is_none_or(|now| now.digest != entry.digest));
        let mut open: Vec<(usize, Entry)> = of_name.iter().copied().filter(|(_, entry)| barred(&rules, *entry).is_none()).collect();
        if now.is_none() && open.is_empty() {
            // Rather one that did not do once than none at all.
            let lenient = Rules { unfit: None, ..rules };
            open = of_name.iter().copied().filter(|(_, entry)| barred(&lenient, *entry).is_none()).collect();
        }
        for (place, entry) in of_name.iter().filter(|(place, _)| !open.iter().any(|(open, _)| open == place)) {
            self.note(notes, &files[*place], barred(&rules, *entry).unwrap_or_default());
        }
        for place in order(&open, now, look.names(&plugin)) {
            let file = &files[place];
            if now.is_some_and(|now| now.digest == file.digest) {
                break;
            }
            let tried = match &running {
                Some(_) => self.try_on(name, file, look.disrupts(&plugin)).await,
                None => Ok((self.start(file), String::new())),
            };
            match tried {
                Ok((ready, changes)) => return self.put_in_charge(name, file, ready, running.as_ref(), &changes).await,
                Err(why) => {
                    let why = format!("{why}; `twill plugin reload {plugin}` tries it again");
                    self.kept.unfit(&plugin, &file.digest, &why);
                    self.note(notes, file, why);
                }
            }
        }
        if let Some(file) = running {
            self.remark(name, &file, files, went_back.map(|back| back.from.0.to_string()));
        }
    }

    /// Notes why a file is not used, and tells it if that is new.
    fn note(&self, notes: &mut Notes, file: &File, why: String) {
        if self.table().notes.get(&file.path) != Some(&why) {
            let version = file.plugin.as_ref().map(|plugin| plugin.version.to_string()).unwrap_or_default();
            let name = plugin_name(file);
            self.tell(Weight::Warn, &name, format!("{name} {version} ({}) is not used: {why}", short(&file.digest)));
        }
        notes.insert(file.path.clone(), why);
    }

    /// Says of the running file how it stands to the files that were found.
    fn remark(&self, name: &Name, running: &Arc<File>, files: &[Arc<File>], went_back_from: Option<String>) {
        let same = files.iter().find(|file| file.path == running.path && file.digest == running.digest);
        let moved = files.iter().find(|file| file.digest == running.digest);
        let note = match (same.or(moved), files.iter().any(|file| file.path == running.path), went_back_from) {
            (_, _, Some(from)) => {
                let plugin = full_name(name);
                Some(format!("an operator went back to it from {from}; a newer file or `twill plugin rollback --clear {plugin}` ends that"))
            }
            (Some(_), ..) => None,
            (None, true, _) => Some("its file is broken or older now; the loaded one stays in use".to_owned()),
            (None, false, _) => Some("its file is gone; it stays in use until nothing needs it".to_owned()),
        };
        let mut table = self.table_mut();
        let Some(active) = table.active.get_mut(name) else { return };
        if let Some(file) = same.or(moved) {
            active.file = file.clone();
        }
        let news = note.clone().filter(|_| active.note != note);
        active.note = note;
        drop(table);
        if let Some(news) = news {
            self.tell(Weight::Warn, &full_name(name), format!("{}: {news}", full_name(name)));
        }
    }

    fn retire(&self, name: &Name, file: &File) {
        self.table_mut().active.remove(name);
        let plugin = full_name(name);
        self.tell(Weight::Info, &plugin, format!("{plugin} ({}) is retired: its file is gone and nothing needs it", short(&file.digest)));
    }

    /// Starts what a file needs to be asked; nothing is asked of it yet.
    fn start(&self, file: &File) -> Ready {
        match &file.plugin {
            Ok(Plugin { linked: Linked::Backend(linked), counters, world, .. }) => {
                let nursery = self.host.nursery(plugin_name(file), *world, Grants::default(), counters.clone());
                Ready::Backend(Arc::new(Actor::spawn(nursery, linked.clone(), (), counters.clone())))
            }
            // A store's instances belong to whoever opens it.
            _ => Ready::Store(Vec::new()),
        }
    }

    /// Tries a file beside the running one; answers with what it would change, in words.
    async fn try_on(&self, name: &Name, file: &Arc<File>, disrupt: bool) -> Result<(Ready, String), String> {
        match self.start(file) {
            Ready::Backend(actor) => {
                let changes = self.try_backend(&name.1, file, actor.clone(), disrupt).await?;
                Ok((Ready::Backend(actor), changes))
            }
            Ready::Store(_) => {
                let mut pairs = Vec::new();
                for opened in self.alive().into_iter().filter(|opened| opened.kind == name.1) {
                    let pair = self.pair(file, &opened.setup, &opened.grants).await.map_err(|error| error.to_string())?;
                    try_store(&opened, &pair).await?;
                    pairs.push((opened, pair));
                }
                Ok((Ready::Store(pairs), "it reads the same leases".into()))
            }
        }
    }

    async fn try_backend(&self, kind: &str, file: &File, actor: Arc<BackendActor>, disrupt: bool) -> Result<String, String> {
        let Some(try_out) = self.try_out() else { return Ok("not tried".into()) };
        let nonsense = Arc::new(std::sync::Mutex::new(None));
        let heard = nonsense.clone();
        let refusals = Refusals::to(move |refused| {
            let said = format!("it plans nonsense: {}: {}", refused.item, refused.reason);
            heard.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get_or_insert(said);
        });
        let mut view = self.view();
        let limits = self.limits(&format!("{}-{kind}", World::Backend.word()));
        view.insert(kind.into(), Charged { digest: file.digest.clone(), actor, limits });
        let changes = try_out(kind.into(), Backends::of(view, refusals), disrupt).await?;
        let nonsense = nonsense.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        nonsense.map_or(Ok(changes), Err)
    }

    async fn put_in_charge(&self, name: &Name, file: &Arc<File>, ready: Ready, before: Option<&Arc<File>>, changes: &str) {
        let actor = match ready {
            Ready::Backend(actor) => Some(actor),
            Ready::Store(pairs) => {
                pairs.into_iter().for_each(|(opened, pair)| opened.swap(pair));
                None
            }
        };
        self.table_mut().active.insert(name.clone(), Active { file: file.clone(), actor, note: None });
        let (plugin, now) = (full_name(name), build(file));
        match (before.and_then(|before| build(before)), &now) {
            (Some(old), Some(new)) => {
                let takes_over =
                    format!("{plugin} {} ({}) takes over from {} ({})", new.version, short(&new.digest), old.version, short(&old.digest));
                self.tell(Weight::Info, &plugin, format!("{takes_over}: {changes}"));
            }
            _ => tracing::info!(plugin, file = %file.path.display(), digest = short(&file.digest), "plugin loaded"),
        }
        if let Some(now) = now {
            self.remember(plugin, now, file.path.clone()).await;
        }
    }

    /// Keeps the file for going back to it, and notes that it is in use.
    async fn remember(&self, plugin: String, build: Build, path: PathBuf) {
        let kept = self.kept.clone();
        let kept = tokio::task::spawn_blocking(move || {
            // A file that became another meanwhile is no copy of what is in use.
            let bytes = kept.lacks(&build).then(|| folder::read(&path).ok()).flatten().filter(|(_, digest)| *digest == build.digest);
            kept.in_use(&plugin, build, bytes.as_ref().map(|(bytes, _)| bytes.as_slice()));
        });
        if let Err(ended) = kept.await {
            tracing::warn!(cause = %ended, "a plugin file was not kept");
        }
    }

    /// Has the version before of `plugin` take over again.
    pub(crate) async fn go_back(&self, plugin: &str) -> Result<(), PluginError> {
        let refused = |why: String| PluginError::GoingBack { plugin: plugin.into(), why };
        let name = self.table().active.keys().find(|name| full_name(name) == plugin).cloned();
        let name = name.ok_or_else(|| refused("no plugin of that name is loaded".into()))?;
        let past = self.kept.past(plugin);
        if let Some(from) = past.went_back_from {
            return Err(refused(format!("that was done already, from {}; `twill plugin rollback --clear {plugin}` ends it", from.version)));
        }
        let before = past.before.ok_or_else(|| refused("there is no version before".into()))?;
        let copy = self.kept.copy_of(&before).ok_or_else(|| refused(format!("the file of {} is not kept any more", before.version)))?;
        let file = folder::load_one(self.host.clone(), copy, Keys::default(), self.known()).await;
        if file.digest != before.digest {
            return Err(refused(format!("the kept file of {} was changed", before.version)));
        }
        if let Err(why) = &file.plugin {
            return Err(refused(why.clone()));
        }
        let lock = self.settings.lock.as_deref().map(Lock::read).transpose()?;
        if let Some(why) = lock.and_then(|lock| lock.bar(plugin, &before.version, &before.digest)) {
            return Err(refused(why));
        }
        let running = self.table().active.get(&name).map(|active| active.file.clone());
        // The operator asks for it: a link made anew is what he gets.
        let (ready, changes) = self.try_on(&name, &file, true).await.map_err(refused)?;
        self.kept.went_back(plugin, before);
        self.put_in_charge(&name, &file, ready, running.as_ref(), &changes).await;
        self.look(Look::Quiet).await
    }

    /// All files that are loaded, those in charge whose files are gone too.
    fn known(&self) -> Vec<Arc<File>> {
        let table = self.table();
        table.files.iter().chain(table.active.values().map(|active| &active.file)).cloned().collect()
    }

    /// Loads what is not loaded yet, each file on a thread of its own.
    async fn load_all(&self) -> Result<Vec<Arc<File>>, PluginError> {
        // What was kept was in use before, and is known by its digest: it has no signature beside it.
        let kept = self.kept.extra().into_iter().map(|path| (path, Keys::default()));
        let found = folder::files(&self.settings.folders)?.into_iter().map(|path| (path, self.settings.keys.clone()));
        let known = self.known();
        let mut loading = JoinSet::new();
        for (place, (path, keys)) in kept.chain(found).enumerate() {
            let (host, known) = (self.host.clone(), known.clone());
            loading.spawn(async move { (place, folder::load_one(host, path, keys, known).await) });
        }
        let mut files = loading.join_all().await;
        files.sort_by_key(|(place, _)| *place);
        let files: Vec<Arc<File>> = files.into_iter().map(|(_, file)| file).collect();
        for file in files.iter().filter(|file| !known.iter().any(|one| Arc::ptr_eq(one, file))) {
            if let Err(reason) = &file.plugin {
                let path = file.path.display().to_string();
                self.tell(Weight::Warn, &path, format!("the plugin file {path} was refused: {reason}"));
            }
        }
        Ok(files)
    }
}

/// Reads by both, and compares: a store that does not see what the running one sees would take leases away. A lease may come or go between two reads, so what
/// counts is what is missing again and again.
async fn try_store(opened: &Opened, new: &Pair) -> Result<(), String> {
    const READS: usize = 3;
    let mut lost: Option<BTreeSet<Prefixes>> = None;
    for _ in 0..READS {
        let by_new = match read(opened, new).await {
            Ok(snapshot) => snapshot,
            Err(StoreError::Plugin(why)) => return Err(why),
            // The server is away; that is not the plugin's fault, and it says so itself.
            Err(_) => return Ok(()),
        };
        let Ok(by_old) = read(opened, &opened.pair()).await else { return Ok(()) };
        if by_old.identity != by_new.identity {
            return Err("it takes the store for another one than the running plugin does".into());
        }
        let missing: BTreeSet<Prefixes> =
            missing(&by_old, &by_new).into_iter().filter(|one| lost.as_ref().is_none_or(|lost| lost.contains(one))).collect();
        if missing.is_empty() {
            return Ok(());
        }
        lost = Some(missing);
    }
    let lost: Vec<String> = lost.iter().flatten().take(5).map(ToString::to_string).collect();
    Err(format!("it does not see leases that the running one sees: {}", lost.join(", ")))
}

async fn read(opened: &Opened, pair: &Pair) -> Result<StoreSnapshot, StoreError> {
    let asked = ask_instance(&pair.ordinary, opened.limits.store_wall, |store, guest| Box::pin(guest.call_read(store)));
    asked.await.map(convert::snapshot)
}

/// Leases of the one that the other does not have.
fn missing(of: &StoreSnapshot, within: &StoreSnapshot) -> Vec<Prefixes> {
    let there: BTreeSet<Prefixes> = within.leases.iter().map(|lease| lease.subnets).collect();
    of.leases.iter().map(|lease| lease.subnets).filter(|subnets| !there.contains(subnets)).collect()
}

/// "backend-udp".
pub(crate) fn full_name((world, kind): &Name) -> String {
    format!("{}-{kind}", world.word())
}

fn entry<'a>((world, kind): &Name, file: &'a File) -> Option<Entry<'a>> {
    let plugin = file.plugin.as_ref().ok().filter(|plugin| plugin.world == *world && plugin.kind == *kind)?;
    Some(Entry { version: &plugin.version, digest: &file.digest })
}

fn build(file: &File) -> Option<Build> {
    let plugin = file.plugin.as_ref().ok()?;
    Some(Build { version: plugin.version.clone(), digest: file.digest.clone() })
}

/// The beginning of a digest, enough to tell files apart.
pub(crate) fn short(digest: &str) -> &str {
    &digest[..digest.len().min(12)]
}
