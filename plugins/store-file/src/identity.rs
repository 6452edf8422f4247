//! Which directory this is: the file `identity.json`, made once by whoever first writes config or lease.
//!
//! Reading never makes it: an empty directory may be the mount point of a share that is not there. Without the file the identity is the empty text, and
//! from none to some is no change of store. Only another identity, or one that went away, is another store.

use twill_guest::store::directory::{Entry, Failure};
use twill_guest::store::{Oddity, Trouble};

use crate::cursor::Cursor;
use crate::dir::{self, Dir};
use crate::name::IDENTITY;

/// The text of the file, empty where there is none; and what is odd about it, where it cannot be read.
pub fn read(dir: &impl Dir) -> Result<(String, Option<Oddity>), Trouble> {
    match dir.read(IDENTITY) {
        Ok((content, _)) => Ok((String::from_utf8_lossy(&content).trim().into(), None)),
        Err(Failure::Missing) => Ok((String::new(), None)),
        Err(failure) => Ok((String::new(), Some(Oddity { place: IDENTITY.into(), reason: dir::unreadable(IDENTITY, failure)? }))),
    }
}

/// Makes the file, unless there is one. `by` is the maker's name.
pub fn make(dir: &impl Dir, by: &str) -> Result<(), Trouble> {
    let text = format!("{{\"made\":{},\"by\":{}}}\n", dir.now() as u64, serde_json::Value::from(by));
    match dir.create(IDENTITY, text.as_bytes()) {
        Ok(_) | Err(Failure::Exists) => Ok(()),
        Err(failure) => Err(dir::trouble(IDENTITY, failure)),
    }
}

/// A directory with another identity than at the time of the cursor, or that has lost it, is another store.
pub fn check(cursor: &Cursor, listing: &[Entry]) -> Result<(), Trouble> {
    let known = cursor.0.get(IDENTITY).map(|told| told.version.as_str());
    let found = listing.iter().find(|entry| entry.name == IDENTITY).map(|entry| entry.version.as_str());
    if known.is_none() || known == found { Ok(()) } else { Err(Trouble::LostCursor("the directory was made anew".into())) }
}
