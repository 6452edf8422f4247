//! What passes keep on disk for the next daemon, each as last written: the names of links, and the way in use to each peer.

use std::collections::BTreeMap;
use std::io;

use twill_model::Prefixes;

use crate::files::NamesFile;
use crate::links::Names;

/// The two files, and what is in them.
pub(crate) struct Keeping {
    file: NamesFile,
    names: Names,
    ways: BTreeMap<Prefixes, String>,
    /// Why the names could not be written.
    unkept: Option<String>,
}

impl Keeping {
    /// Reads both.
    pub fn load(file: NamesFile) -> Keeping {
        Keeping { names: file.load(), ways: file.ways().load(), file, unkept: None }
    }

    /// The names as last written.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The way in use to each peer, as last written.
    pub fn ways(&self) -> &BTreeMap<Prefixes, String> {
        &self.ways
    }

    /// Why names cannot be kept: a link under such a name would not be found again by `twill down`.
    pub fn unkept(&self) -> Option<&str> {
        self.unkept.as_deref()
    }

    /// Writes the names, where they are others.
    pub fn keep_names(&mut self, names: &Names) {
        if self.names == *names {
            return;
        }
        match self.file.save(names) {
            Ok(()) => (self.names, self.unkept) = (names.clone(), None),
            Err(error) => self.unkept = Some(format!("its name cannot be kept in {}: {error}", self.file.0.display())),
        }
    }

    /// Writes the ways in use, where they are others.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn keep_ways(&mut self, ways: &BTreeMap<Prefixes, String>) -> io::Result<()> {
        if self.ways != *ways {
            self.file.ways().save(ways)?;
            self.ways.clone_from(ways);
        }
        Ok(())
    }
}
