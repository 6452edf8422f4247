//! A directory in memory, with the contract's rules for names, sizes and versions.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::clock::{millis, pass_until};
use crate::bindings::store::twill::plugin::directory::{Entry, Failure};

/// Largest file in bytes.
const LARGEST: usize = 1 << 20;

#[derive(Default)]
struct Directory {
    granted: bool,
    files: BTreeMap<String, File>,
    writes: u64,
    /// Writes that `wait` has told of.
    told: u64,
}

struct File {
    content: Vec<u8>,
    version: u64,
    written: u64,
}

thread_local! {
    static DIRECTORY: RefCell<Directory> = RefCell::default();
}

/// Grants the plugin an empty directory.
pub fn grant() {
    DIRECTORY.with_borrow_mut(|directory| directory.granted = true);
}

/// Takes the grant away; the files stay.
pub fn withdraw() {
    DIRECTORY.with_borrow_mut(|directory| directory.granted = false);
}

/// Writes a file past the plugin, as another node or program does; the version that it has now.
pub fn put(name: &str, content: &[u8]) -> String {
    DIRECTORY.with_borrow_mut(|directory| directory.write(name, content)).version
}

/// Removes a file past the plugin.
pub fn delete(name: &str) {
    DIRECTORY.with_borrow_mut(|directory| {
        directory.writes += 1;
        directory.files.remove(name);
    });
}

/// A file's content.
pub fn get(name: &str) -> Option<Vec<u8>> {
    DIRECTORY.with_borrow(|directory| directory.files.get(name).map(|file| file.content.clone()))
}

/// The names of all files.
pub fn names() -> Vec<String> {
    DIRECTORY.with_borrow(|directory| directory.files.keys().cloned().collect())
}

impl Directory {
    fn write(&mut self, name: &str, content: &[u8]) -> Entry {
        self.writes += 1;
        let file = File { content: content.to_vec(), version: self.writes, written: millis() };
        let entry = file.entry(name);
        self.files.insert(name.to_owned(), file);
        entry
    }

    fn versioned(&self, name: &str, version: &str) -> Result<(), Failure> {
        match self.files.get(name) {
            None => Err(Failure::Missing),
            Some(file) if file.version.to_string() != version => Err(Failure::Changed),
            Some(_) => Ok(()),
        }
    }
}

impl File {
    fn entry(&self, name: &str) -> Entry {
        let age = u32::try_from(millis().saturating_sub(self.written)).unwrap_or(u32::MAX);
        Entry { name: name.to_owned(), version: self.version.to_string(), age_ms: age }
    }
}

/// Does something with the directory, if it is granted and the name may be one.
fn with<T>(name: Option<&str>, act: impl FnOnce(&mut Directory) -> Result<T, Failure>) -> Result<T, Failure> {
    DIRECTORY.with_borrow_mut(|directory| match name {
        _ if !directory.granted => Err(Failure::NotGranted),
        Some(name) if !is_name(name) => Err(Failure::Denied(format!("\"{name}\" is no name for a file"))),
        _ => act(directory),
    })
}

fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._&:-".contains(&byte);
    (1..=200).contains(&name.len()) && name.bytes().all(allowed) && !name.starts_with('.')
}

fn fits(content: &[u8]) -> Result<(), Failure> {
    if content.len() <= LARGEST { Ok(()) } else { Err(Failure::Denied("a file holds at most 1 MiB".into())) }
}

pub(crate) fn listing() -> Result<Vec<Entry>, Failure> {
    with(None, |directory| Ok(directory.files.iter().filter(|(name, _)| is_name(name)).map(|(name, file)| file.entry(name)).collect()))
}

pub(crate) fn read(name: &str) -> Result<(Vec<u8>, Entry), Failure> {
    with(Some(name), |directory| {
        let file = directory.files.get(name).ok_or(Failure::Missing)?;
        Ok((file.content.clone(), file.entry(name)))
    })
}

pub(crate) fn create(name: &str, content: &[u8]) -> Result<Entry, Failure> {
    fits(content)?;
    with(Some(name), |directory| if directory.files.contains_key(name) { Err(Failure::Exists) } else { Ok(directory.write(name, content)) })
}

pub(crate) fn replace(name: &str, content: &[u8], version: &str) -> Result<Entry, Failure> {
    fits(content)?;
    with(Some(name), |directory| directory.versioned(name, version).map(|()| directory.write(name, content)))
}

pub(crate) fn remove(name: &str, version: &str) -> Result<(), Failure> {
    with(Some(name), |directory| {
        directory.versioned(name, version)?;
        directory.writes += 1;
        directory.files.remove(name);
        Ok(())
    })
}

pub(crate) fn wait(milliseconds: u32) -> bool {
    let changed = pass_until(millis() + u64::from(milliseconds), || DIRECTORY.with_borrow(|directory| directory.writes != directory.told));
    DIRECTORY.with_borrow_mut(|directory| directory.told = directory.writes);
    changed
}

pub(super) fn reset() {
    DIRECTORY.take();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_there_without_a_grant() {
        assert!(matches!(listing(), Err(Failure::NotGranted)));
        assert!(matches!(create("a", b""), Err(Failure::NotGranted)));
    }

    #[test]
    fn writes_are_conditional() {
        grant();
        let made = create("a", b"1").expect("made");
        assert!(matches!(create("a", b"2"), Err(Failure::Exists)));
        let changed = replace("a", b"2", &made.version).expect("changed");
        assert!(matches!(replace("a", b"3", &made.version), Err(Failure::Changed)));
        assert!(matches!(remove("a", &made.version), Err(Failure::Changed)));
        assert!(matches!(remove("b", &made.version), Err(Failure::Missing)));
        assert_eq!(get("a"), Some(b"2".to_vec()));
        remove("a", &changed.version).expect("removed");
        assert_eq!(names(), [""; 0]);
        assert!(matches!(create(".a", b""), Err(Failure::Denied(_))));
    }

    #[test]
    fn ages_are_the_clocks() {
        grant();
        create("a", b"1").expect("made");
        super::super::clock::pass(250);
        assert_eq!(listing().expect("listed")[0].age_ms, 250);
        assert!(wait(100), "the first look");
        assert!(!wait(100), "nothing new");
    }
}
