//! For tests: a directory in memory with a clock of its own, and leases to put into it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};

use twill_guest::store::directory::{Entry, Failure};
use twill_guest::store::{Addresses, Held, Lease, Lifetime, Prefixes, Trouble, Way};

use crate::claim;
use crate::dir::Dir;

/// Something that happens to the directory while a store waits.
pub type Happening = Box<dyn FnOnce(&Memory) + Send>;

#[derive(Clone)]
struct File {
    content: Vec<u8>,
    version: u64,
    written: u64,
}

/// The directory.
#[derive(Default)]
pub struct Memory {
    files: RefCell<BTreeMap<String, File>>,
    versions: Cell<u64>,
    clock: Cell<u64>,
    /// What happens at the next waits, one a wait.
    pub happenings: RefCell<VecDeque<Happening>>,
    /// How long each wait was to be.
    pub waits: RefCell<Vec<u32>>,
    /// When set, every call fails so.
    pub broken: RefCell<Option<Failure>>,
    /// Files that cannot be read, and why.
    spoilt: RefCell<BTreeMap<String, Failure>>,
}

impl Memory {
    /// Lets time pass.
    pub fn pass(&self, milliseconds: u64) {
        self.clock.set(self.clock.get() + milliseconds);
    }

    /// Writes a file as another program would, without conditions.
    pub fn drop_in(&self, name: &str, content: &[u8]) -> Entry {
        self.versions.set(self.versions.get() + 1);
        let file = File { content: content.into(), version: self.versions.get(), written: self.clock.get() };
        self.files.borrow_mut().insert(name.into(), file.clone());
        self.entry(name, &file)
    }

    /// Removes a file as another program would.
    pub fn delete(&self, name: &str) {
        self.files.borrow_mut().remove(name);
    }

    /// From now on the file cannot be read, as if it were a directory or belonged to somebody else.
    pub fn spoil(&self, name: &str, failure: Failure) {
        self.spoilt.borrow_mut().insert(name.into(), failure);
    }

    /// Another directory of the same content.
    pub fn copied(&self) -> Memory {
        Memory { files: self.files.clone(), versions: self.versions.clone(), clock: self.clock.clone(), ..Memory::default() }
    }

    /// The text of a file.
    pub fn text(&self, name: &str) -> Option<String> {
        self.files.borrow().get(name).map(|file| String::from_utf8(file.content.clone()).expect("text"))
    }

    fn entry(&self, name: &str, file: &File) -> Entry {
        let age = self.clock.get() - file.written;
        Entry { name: name.into(), version: file.version.to_string(), age_ms: u32::try_from(age).unwrap_or(u32::MAX) }
    }

    fn works(&self) -> Result<(), Failure> {
        self.broken.borrow().clone().map_or(Ok(()), Err)
    }

    fn expect(&self, name: &str, version: &str) -> Result<(), Failure> {
        match self.files.borrow().get(name) {
            None => Err(Failure::Missing),
            Some(file) if file.version.to_string() != version => Err(Failure::Changed),
            Some(_) => Ok(()),
        }
    }
}

impl Dir for Memory {
    fn listing(&self) -> Result<Vec<Entry>, Failure> {
        self.works()?;
        Ok(self.files.borrow().iter().map(|(name, file)| self.entry(name, file)).collect())
    }

    fn read(&self, name: &str) -> Result<(Vec<u8>, Entry), Failure> {
        self.works()?;
        self.spoilt.borrow().get(name).cloned().map_or(Ok(()), Err)?;
        let file = self.files.borrow().get(name).cloned().ok_or(Failure::Missing)?;
        Ok((file.content.clone(), self.entry(name, &file)))
    }

    fn create(&self, name: &str, content: &[u8]) -> Result<Entry, Failure> {
        self.works()?;
        if self.files.borrow().contains_key(name) { Err(Failure::Exists) } else { Ok(self.drop_in(name, content)) }
    }

    fn replace(&self, name: &str, content: &[u8], version: &str) -> Result<Entry, Failure> {
        self.works()?;
        self.expect(name, version).map(|()| self.drop_in(name, content))
    }

    fn remove(&self, name: &str, version: &str) -> Result<(), Failure> {
        self.works()?;
        self.expect(name, version).map(|()| self.delete(name))
    }

    fn wait(&self, milliseconds: u32) -> bool {
        self.waits.borrow_mut().push(milliseconds);
        let happening = self.happenings.borrow_mut().pop_front();
        match happening {
            Some(happening) => happening(self),
            None => self.pass(milliseconds.into()),
        }
        true
    }

    fn now(&self) -> f64 {
        self.clock.get() as f64
    }
}

/// An IPv4 subnet.
pub fn v4(subnet: &str) -> Prefixes {
    Prefixes { v4: Some(subnet.into()), v6: None }
}

/// A lease of `subnet` as the node `node` wishes for it, with a term of 60 s.
pub fn lease(node: &str, subnet: &str) -> Lease {
    let way = Way { backend: "udp".into(), options: r#"{ "Port" : 8285 }"#.into(), data_v4: Some(r#"{"a":1 }"#.into()), data_v6: None };
    Lease {
        subnets: v4(subnet),
        public: Addresses { v4: Some(format!("192.0.2.{}", node.len())), v6: None },
        ways: vec![way],
        node: Some(node.into()),
        life: Lifetime::Seconds(60),
    }
}

/// Claims the first free one of `subnets` for `node`.
pub fn claimed(dir: &Memory, node: &str, subnets: &[&str]) -> Result<Held, Trouble> {
    let candidates: Vec<Prefixes> = subnets.iter().map(|subnet| v4(subnet)).collect();
    claim::claim(dir, &candidates, &lease(node, subnets[0]))
}

/// The text of a conflict.
pub fn conflict<T: std::fmt::Debug>(outcome: Result<T, Trouble>) -> String {
    match outcome {
        Err(Trouble::Conflict(text)) => text,
        other => panic!("expected a conflict, got {other:?}"),
    }
}
