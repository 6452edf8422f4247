//! What the reconciler must find again after a restart: the interface names that it gave out, and the way in use to each peer. Small JSON files, written
//! atomically.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use twill_model::Prefixes;

use crate::links::Names;

/// The file of names.
#[derive(Debug, Clone)]
pub struct NamesFile(pub PathBuf);

impl NamesFile {
    /// The names as kept; none when the file is missing or not ours.
    pub fn load(&self) -> Names {
        load(&self.0, "links will be named anew")
    }

    /// Keeps the names.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, names: &Names) -> io::Result<()> {
        save(&self.0, names)
    }

    /// The file of ways, which lies beside it.
    pub fn ways(&self) -> WaysFile {
        WaysFile(self.0.with_file_name("ways.json"))
    }
}

/// The file of ways in use.
#[derive(Debug, Clone)]
pub struct WaysFile(PathBuf);

impl WaysFile {
    /// The way in use to each peer, by name; none when the file is missing or not ours.
    pub fn load(&self) -> BTreeMap<Prefixes, String> {
        let kept: Vec<(Prefixes, String)> = load(&self.0, "ways will be chosen anew");
        kept.into_iter().collect()
    }

    /// Keeps them.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, ways: &BTreeMap<Prefixes, String>) -> io::Result<()> {
        save(&self.0, &ways.iter().collect::<Vec<_>>())
    }
}

fn load<T: DeserializeOwned + Default>(path: &Path, instead: &str) -> T {
    let Ok(text) = std::fs::read_to_string(path) else { return T::default() };
    serde_json::from_str(&text).unwrap_or_else(|error| {
        tracing::warn!(file = %path.display(), %error, "cannot read what was kept; {instead}");
        T::default()
    })
}

fn save(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_vec_pretty(value)?;
    let beside = path.with_extension("new");
    std::fs::write(&beside, text)?;
    std::fs::rename(beside, path)
}
