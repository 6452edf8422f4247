//! What must outlive files and restarts: copies of the plugin files in use and of those before them, by digest, and what was decided about them.
//!
//! A folder of its own holds `<digest>.wasm` and `history.json`. A copy counts only while its content has the digest in its name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::DirBuilder;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use semver::Version;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::choice::WentBack;

/// Files that did not do, remembered a plugin.
const UNFIT: usize = 16;

/// One build of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Build {
    pub(crate) version: Version,
    /// SHA-256 of its file in hex.
    pub(crate) digest: String,
}

/// What is remembered of a plugin.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Past {
    /// In use now, or when the daemon ended.
    pub(crate) current: Option<Build>,
    /// In use before that.
    pub(crate) before: Option<Build>,
    /// What the operator went back from; `current` is then what he went back to.
    #[serde(default)]
    pub(crate) went_back_from: Option<Build>,
    /// Digests that were tried and did not do, with the reason.
    #[serde(default)]
    pub(crate) unfit: BTreeMap<String, String>,
}

impl Past {
    pub(crate) fn went_back(&self) -> Option<WentBack> {
        let from = self.went_back_from.clone()?;
        Some(WentBack { to: self.current.as_ref()?.digest.clone(), from: (from.version, from.digest) })
    }
}

/// The folder and what it remembers; without a folder everything is forgotten at the end.
pub(crate) struct Kept {
    folder: Option<PathBuf>,
    pasts: Mutex<BTreeMap<String, Past>>,
}

impl Kept {
    /// Opens the folder, making it where it is missing. One that cannot be used costs the memory and nothing else.
    pub(crate) fn open(folder: Option<&Path>) -> Kept {
        let made = folder.map(|folder| DirBuilder::new().recursive(true).mode(0o700).create(folder).map(|()| folder.to_owned()));
        let folder = made.and_then(|made| {
            made.inspect_err(|error| warn!(cause = %error, "plugin files are not kept: there is no going back to them")).ok()
        });
        let pasts = folder.as_deref().map(read_history).unwrap_or_default();
        Kept { folder, pasts: Mutex::new(pasts) }
    }

    pub(crate) fn past(&self, plugin: &str) -> Past {
        self.pasts().get(plugin).cloned().unwrap_or_default()
    }

    /// Copies that are to be looked at beside the folders' files: what the operator went back to, and what is in use while a better-looking file did not do.
    pub(crate) fn extra(&self) -> Vec<PathBuf> {
        let Some(folder) = &self.folder else { return Vec::new() };
        let pasts = self.pasts();
        let wanted = pasts.values().filter(|past| past.went_back_from.is_some() || !past.unfit.is_empty());
        wanted.filter_map(|past| Some(copy(folder, &past.current.as_ref()?.digest))).filter(|path| path.exists()).collect()
    }

    /// True when there is a folder and no copy of the build in it.
    pub(crate) fn lacks(&self, build: &Build) -> bool {
        self.folder.as_ref().is_some_and(|folder| !copy(folder, &build.digest).exists())
    }

    /// The copy of a build, if it is there.
    pub(crate) fn copy_of(&self, build: &Build) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| copy(folder, &build.digest)).filter(|path| path.exists())
    }

    /// Notes that a build of `plugin` is in use, and keeps its file. Blocks.
    pub(crate) fn in_use(&self, plugin: &str, build: Build, bytes: Option<&[u8]>) {
        self.keep(&build.digest, bytes);
        self.change(plugin, |past| {
            if past.current.as_ref() != Some(&build) {
                past.before = past.current.replace(build);
                past.went_back_from = None;
            }
            past.unfit.retain(|digest, _| past.current.as_ref().is_none_or(|now| now.digest != *digest));
        });
        self.sweep();
    }

    /// Notes that the operator went back to the build before.
    pub(crate) fn went_back(&self, plugin: &str, to: Build) {
        self.change(plugin, |past| {
            past.went_back_from = past.current.replace(to);
            past.before = None;
        });
    }

    /// Ends the going back: the folders' best file may come into use again.
    pub(crate) fn go_on(&self, plugin: &str) {
        self.change(plugin, |past| past.went_back_from = None);
    }

    pub(crate) fn unfit(&self, plugin: &str, digest: &str, why: &str) {
        self.change(plugin, |past| {
            if past.unfit.len() >= UNFIT {
                past.unfit.clear();
            }
            past.unfit.insert(digest.into(), why.into());
        });
    }

    /// Whatever did not do may be tried again: of `plugin`, or of all.
    pub(crate) fn try_again(&self, plugin: Option<&str>) {
        let names: Vec<String> = self.pasts().iter().filter(|(_, past)| !past.unfit.is_empty()).map(|(name, _)| name.clone()).collect();
        for name in names.iter().filter(|name| plugin.is_none_or(|plugin| *name == plugin)) {
            self.change(name, |past| past.unfit.clear());
        }
    }

    fn change(&self, plugin: &str, change: impl FnOnce(&mut Past)) {
        let mut pasts = self.pasts();
        let past = pasts.entry(plugin.into()).or_default();
        let before = past.clone();
        change(past);
        if *past != before
            && let Some(folder) = &self.folder
            && let Err(error) = write_history(folder, &pasts)
        {
            warn!(folder = %folder.display(), cause = %error, "cannot remember which plugin files were in use");
        }
    }

    fn keep(&self, digest: &str, bytes: Option<&[u8]>) {
        let (Some(folder), Some(bytes)) = (&self.folder, bytes) else { return };
        let path = copy(folder, digest);
        if path.metadata().is_ok_and(|meta| meta.len() == bytes.len() as u64) {
            return;
        }
        if let Err(error) = write(&path, bytes) {
            warn!(file = %path.display(), cause = %error, "cannot keep a plugin file: there is no going back to it");
        }
    }

    /// Takes away copies that nothing leads to any more.
    fn sweep(&self) {
        let Some(folder) = &self.folder else { return };
        let pasts = self.pasts();
        let builds = pasts.values().flat_map(|past| past.current.iter().chain(&past.before).chain(&past.went_back_from));
        let wanted: BTreeSet<PathBuf> = builds.map(|build| copy(folder, &build.digest)).collect();
        let Ok(entries) = std::fs::read_dir(folder) else { return };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.extension().is_some_and(|extension| extension == "wasm") && !wanted.contains(&path) {
                // One that stays costs its room and nothing else.
                let _ = std::fs::remove_file(path);
            }
        }
    }

    fn pasts(&self) -> MutexGuard<'_, BTreeMap<String, Past>> {
        self.pasts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn copy(folder: &Path, digest: &str) -> PathBuf {
    folder.join(format!("{digest}.wasm"))
}

fn read_history(folder: &Path) -> BTreeMap<String, Past> {
    let Ok(text) = std::fs::read_to_string(folder.join("history.json")) else { return BTreeMap::new() };
    serde_json::from_str(&text).unwrap_or_else(|error| {
        warn!(folder = %folder.display(), cause = %error, "history.json cannot be understood: which plugins were in use is forgotten");
        BTreeMap::new()
    })
}

fn write_history(folder: &Path, pasts: &BTreeMap<String, Past>) -> io::Result<()> {
    write(&folder.join("history.json"), &serde_json::to_vec_pretty(pasts)?)
}

/// Writes a file whole, readable for its owner alone.
fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(content)?;
    std::fs::rename(beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(patch: u64) -> Build {
        Build { version: Version::new(1, 0, patch), digest: format!("d{patch}") }
    }

    fn copies(folder: &Path) -> Vec<String> {
        let names = std::fs::read_dir(folder).expect("the folder").flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| name.ends_with(".wasm")).collect();
        names.sort();
        names
    }

    #[test]
    fn the_build_in_use_and_the_one_before_are_kept_over_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let kept = Kept::open(Some(folder.path()));
        for patch in 1..=3 {
            kept.in_use("backend-x", build(patch), Some(b"bytes"));
        }
        assert_eq!(copies(folder.path()), ["d2.wasm", "d3.wasm"]);
        let kept = Kept::open(Some(folder.path()));
        let past = kept.past("backend-x");
        assert_eq!((past.current, past.before), (Some(build(3)), Some(build(2))));
        assert!(kept.extra().is_empty(), "nobody went back");
    }

    #[test]
    fn going_back_stands_until_it_is_ended_or_something_newer_comes() {
        let folder = tempfile::tempdir().expect("a folder");
        let kept = Kept::open(Some(folder.path()));
        kept.in_use("backend-x", build(1), Some(b"bytes"));
        kept.in_use("backend-x", build(2), Some(b"bytes"));
        kept.went_back("backend-x", build(1));
        kept.in_use("backend-x", build(1), None);
        let kept = Kept::open(Some(folder.path()));
        let back = kept.past("backend-x").went_back().expect("it stands after a restart");
        assert_eq!((back.to.as_str(), back.from), ("d1", (Version::new(1, 0, 2), "d2".into())));
        assert_eq!(kept.extra(), [folder.path().join("d1.wasm")]);
        kept.in_use("backend-x", build(3), Some(b"bytes"));
        assert_eq!(kept.past("backend-x").went_back(), None);
    }

    #[test]
    fn what_did_not_do_is_remembered_until_it_may_be_tried_again() {
        let folder = tempfile::tempdir().expect("a folder");
        Kept::open(Some(folder.path())).unfit("backend-x", "d9", "it trapped");
        let kept = Kept::open(Some(folder.path()));
        assert_eq!(kept.past("backend-x").unfit.get("d9").map(String::as_str), Some("it trapped"));
        kept.try_again(Some("backend-y"));
        assert!(!kept.past("backend-x").unfit.is_empty());
        kept.try_again(None);
        assert!(Kept::open(Some(folder.path())).past("backend-x").unfit.is_empty());
    }

    #[test]
    fn without_a_folder_it_works_until_the_end() {
        let kept = Kept::open(None);
        kept.in_use("backend-x", build(1), Some(b"bytes"));
        assert_eq!(kept.past("backend-x").current, Some(build(1)));
        assert_eq!(kept.copy_of(&build(1)), None);
    }
}
