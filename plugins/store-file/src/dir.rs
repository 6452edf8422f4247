//! The directory as this store sees it: the trait [`Dir`], its implementation by the host, and what its failures mean to a caller.
//!
//! Everything else in the plugin is written against the trait, so that tests can use a directory in memory and order every step.

use twill_guest::store::directory::{self, Entry, Failure};
use twill_guest::store::{Trouble, clock};

/// A flat directory whose writes are whole, atomic and conditional. The functions are those of the contract's interface `directory`.
pub trait Dir {
    /// All files.
    fn listing(&self) -> Result<Vec<Entry>, Failure>;
    /// A file and the entry that belongs to just this content.
    fn read(&self, name: &str) -> Result<(Vec<u8>, Entry), Failure>;
    /// Makes a file that must not exist.
    fn create(&self, name: &str, content: &[u8]) -> Result<Entry, Failure>;
    /// Replaces a file that must still have that version.
    fn replace(&self, name: &str, content: &[u8], version: &str) -> Result<Entry, Failure>;
    /// Removes a file that must still have that version.
    fn remove(&self, name: &str, version: &str) -> Result<(), Failure>;
    /// Returns when something may have changed, or after so many milliseconds.
    fn wait(&self, milliseconds: u32) -> bool;
    /// Unix time in milliseconds, by this node's clock.
    fn now(&self) -> f64;
}

/// The directory that the operator granted.
pub struct Granted;

impl Dir for Granted {
    fn listing(&self) -> Result<Vec<Entry>, Failure> {
        directory::listing()
    }

    fn read(&self, name: &str) -> Result<(Vec<u8>, Entry), Failure> {
        directory::read(name)
    }

    fn create(&self, name: &str, content: &[u8]) -> Result<Entry, Failure> {
        directory::create(name, content)
    }

    fn replace(&self, name: &str, content: &[u8], version: &str) -> Result<Entry, Failure> {
        directory::replace(name, content, version)
    }

    fn remove(&self, name: &str, version: &str) -> Result<(), Failure> {
        directory::remove(name, version)
    }

    fn wait(&self, milliseconds: u32) -> bool {
        directory::wait(milliseconds)
    }

    fn now(&self) -> f64 {
        clock::now()
    }
}

/// All files, or `retry`: a directory that cannot be listed says nothing about what is in it.
pub fn list(dir: &impl Dir) -> Result<Vec<Entry>, Trouble> {
    dir.listing().map_err(|failure| match failure {
        Failure::NotGranted => trouble("the directory", failure),
        other => Trouble::Retry(format!("cannot list the directory: {}", words(&other))),
    })
}

/// A file, or none when there is no such file.
pub fn read(dir: &impl Dir, name: &str) -> Result<Option<(Vec<u8>, Entry)>, Trouble> {
    match dir.read(name) {
        Ok(found) => Ok(Some(found)),
        Err(Failure::Missing) => Ok(None),
        Err(failure) => Err(trouble(name, failure)),
    }
}

/// What a failure with `what` means to the host.
pub fn trouble(what: &str, failure: Failure) -> Trouble {
    let text = format!("cannot use {what}: {}", words(&failure));
    match failure {
        Failure::NotGranted | Failure::Denied(_) => Trouble::Denied(text),
        Failure::Exists | Failure::Changed => Trouble::Conflict(text),
        Failure::Missing => Trouble::NotFound(text),
        Failure::Full(_) | Failure::Broken(_) => Trouble::Retry(text),
    }
}

/// Why one file cannot be read, in words: only what is wrong with the directory itself is trouble for all the others.
pub fn unreadable(name: &str, failure: Failure) -> Result<String, Trouble> {
    match failure {
        Failure::NotGranted => Err(trouble(name, failure)),
        other => Ok(format!("not readable: {}", words(&other))),
    }
}

fn words(failure: &Failure) -> &str {
    match failure {
        Failure::NotGranted => "no directory is granted to this store",
        Failure::Exists => "it exists",
        Failure::Changed => "somebody else changed it",
        Failure::Missing => "it does not exist",
        Failure::Denied(text) | Failure::Full(text) | Failure::Broken(text) => text,
    }
}
