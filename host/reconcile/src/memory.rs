//! What the reconciler must find again after a restart: the interface names that it gave out. One small JSON file, written atomically.

use std::io;
use std::path::PathBuf;

use crate::links::Names;

/// The file of names.
#[derive(Debug, Clone)]
pub struct NamesFile(pub PathBuf);

impl NamesFile {
    /// The names as kept; none when the file is missing or not ours.
    pub fn load(&self) -> Names {
        let Ok(text) = std::fs::read_to_string(&self.0) else { return Names::default() };
        serde_json::from_str(&text).unwrap_or_else(|error| {
            tracing::warn!(file = %self.0.display(), %error, "cannot read the names of own links; links will be named anew");
            Names::default()
        })
    }

    /// Keeps the names.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, names: &Names) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(names)?;
        let beside = self.0.with_extension("new");
        std::fs::write(&beside, text)?;
        std::fs::rename(beside, &self.0)
    }
}
