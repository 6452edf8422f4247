//! Reading: everything at once, and what has changed since a cursor.
//!
//! Both come from one function, [`look`], which compares the directory with what the caller has been told; `read` is the case in which it was told nothing. A
//! file that is not what it should be is reported and never spoils the rest; a directory that cannot be read is an error, never an empty answer.

use twill_guest::store::directory::{Entry, Failure};
use twill_guest::store::{Change, Changes, Oddity, Snapshot, Subnets, Trouble};

use crate::cursor::{Cursor, State, Told};
use crate::dir::{self, Dir};
use crate::identity;
use crate::name::{CONFIG, Kind, file_name};
use crate::record::{self, Record};

/// Everything, and the cursor to go on from. Nothing is written.
pub fn read(dir: &impl Dir) -> Result<Snapshot, Trouble> {
    let listing = dir::list(dir)?;
    let (identity, oddity) = identity::read(dir)?;
    let mut cursor = Cursor::default();
    let changes = look(dir, &listing, &mut cursor)?;
    let oddities = oddity.into_iter().collect();
    let mut snapshot = Snapshot { config: None, leases: vec![], oddities, cursor: cursor.encode(), identity };
    for change in changes {
        match change {
            Change::Config(config) => snapshot.config = config,
            Change::Put(lease) => snapshot.leases.push(lease),
            Change::Oddity(oddity) => snapshot.oddities.push(oddity),
            Change::Gone(_) => {}
        }
    }
    Ok(snapshot)
}

/// What has changed since `cursor`, as soon as something has; nothing after `wait_ms` milliseconds.
pub fn watch(dir: &impl Dir, cursor: &str, wait_ms: u32) -> Result<Changes, Trouble> {
    let mut cursor = Cursor::decode(cursor)?;
    let began = dir.now();
    loop {
        let listing = dir::list(dir)?;
        identity::check(&cursor, &listing)?;
        let changes = look(dir, &listing, &mut cursor)?;
        let left = f64::from(wait_ms) - (dir.now() - began);
        if !changes.is_empty() || left < 1.0 {
            return Ok(Changes { changes, cursor: cursor.encode() });
        }
        dir.wait((left as u32).min(next_end(&cursor, &listing)));
    }
}

/// Milliseconds until the next lease that the caller counts on is over; at least one, so that a wait is a wait.
fn next_end(cursor: &Cursor, listing: &[Entry]) -> u32 {
    let ends = listing.iter().filter_map(|entry| record::left(cursor.0.get(&entry.name)?.state.counted()?, entry.age_ms));
    u32::try_from(ends.min().unwrap_or(u64::MAX)).unwrap_or(u32::MAX).max(1)
}

/// The changes between what `cursor` says and the directory; the cursor is brought up to date with them.
fn look(dir: &impl Dir, listing: &[Entry], cursor: &mut Cursor) -> Result<Vec<Change>, Trouble> {
    let mut changes = Vec::new();
    let mut fresh = Cursor::default();
    for entry in listing {
        let kind = Kind::of(&entry.name);
        let told = cursor.0.remove(&entry.name);
        if kind == Kind::Ignored {
            continue;
        }
        let Some((state, version, change)) = file(dir, entry, kind, told.as_ref())? else {
            changes.extend(told.and_then(|told| end_of(&entry.name, &told)));
            continue;
        };
        fresh.tell(&entry.name, &version, state);
        changes.extend(change);
    }
    changes.extend(cursor.0.iter().filter_map(|(name, told)| end_of(name, told)));
    *cursor = fresh;
    Ok(changes)
}

/// What there is to tell of a file that is gone.
fn end_of(name: &str, told: &Told) -> Option<Change> {
    match Kind::of(name) {
        Kind::Config => Some(Change::Config(None)),
        Kind::Lease(subnets) if told.state.counted().is_some() => Some(Change::Gone(subnets.prefixes())),
        _ => None,
    }
}

/// State and version of a file to note in the cursor, and what there is to tell of it.
type News = (State, String, Option<Change>);

/// None when the file has vanished since it was listed.
fn file(dir: &impl Dir, entry: &Entry, kind: Kind, told: Option<&Told>) -> Result<Option<News>, Trouble> {
    if let Some(known) = told.filter(|told| told.version == entry.version) {
        let subnets = if let Kind::Lease(subnets) = kind { Some(subnets) } else { None };
        if let Some((state, change)) = unchanged(entry, known.state, subnets) {
            return Ok(Some((state, entry.version.clone(), change)));
        }
    }
    match kind {
        Kind::Identity => return Ok(Some((State::Plain, entry.version.clone(), None))),
        Kind::Foreign => return Ok(Some(odd(entry, "neither the config nor a lease".into(), told))),
        Kind::Config | Kind::Lease(_) | Kind::Ignored => {}
    }
    let (content, entry) = match dir.read(&entry.name) {
        Ok(found) => found,
        Err(Failure::Missing) => return Ok(None),
        Err(failure) => return Ok(Some(odd(entry, dir::unreadable(&entry.name, failure)?, told))),
    };
    Ok(Some(match kind {
        Kind::Lease(subnets) => lease(&entry, &content, &subnets, told),
        _ => config(&entry, content, told),
    }))
}

/// A file whose content the caller knows: only time can have made news. None when it has to be read after all.
fn unchanged(entry: &Entry, state: State, subnets: Option<Subnets>) -> Option<(State, Option<Change>)> {
    let Some(subnets) = subnets else { return Some((state, None)) };
    match (state, state.counted()) {
        (State::Over(term), _) => record::left(Some(term), entry.age_ms).is_none().then_some((state, None)),
        (_, Some(Some(term))) if record::left(Some(term), entry.age_ms).is_none() => {
            let over = if matches!(state, State::Odd(_)) { State::Odd(None) } else { State::Over(term) };
            Some((over, Some(Change::Gone(subnets.prefixes()))))
        }
        _ => Some((state, None)),
    }
}

fn config(entry: &Entry, content: Vec<u8>, told: Option<&Told>) -> News {
    match String::from_utf8(content) {
        Ok(text) => (State::Plain, entry.version.clone(), Some(Change::Config(Some(text)))),
        Err(_) => odd(entry, "not UTF-8 text".into(), told),
    }
}

fn lease(entry: &Entry, content: &[u8], subnets: &Subnets, told: Option<&Told>) -> News {
    let record = match Record::decode(content, subnets) {
        Ok(record) => record,
        Err(reason) => return odd(entry, reason, told),
    };
    let version = entry.version.clone();
    match (record.term, record::left(record.term, entry.age_ms)) {
        (Some(term), None) => {
            let was_live = told.is_some_and(|told| told.state.counted().is_some());
            (State::Over(term), version, was_live.then(|| Change::Gone(subnets.prefixes())))
        }
        (term, _) => (State::Live(term), version, Some(Change::Put(record.lease(entry.age_ms)))),
    }
}

fn odd(entry: &Entry, reason: String, told: Option<&Told>) -> News {
    let counted = told.and_then(|told| told.state.counted());
    (State::Odd(counted), entry.version.clone(), Some(Change::Oddity(Oddity { place: entry.name.clone(), reason })))
}

/// Replaces the config, if it still is what the change was made from. `by` is who makes the identity, should there be none yet.
pub fn write_config(dir: &impl Dir, by: &str, config: &str, replacing: Option<&str>) -> Result<(), Trouble> {
    identity::make(dir, by)?;
    let found = dir::read(dir, CONFIG)?;
    let written = match (found, replacing) {
        (None, None) => dir.create(CONFIG, config.as_bytes()),
        (Some((old, entry)), Some(text)) if old == text.as_bytes() => dir.replace(CONFIG, config.as_bytes(), &entry.version),
        (None, Some(_)) => return Err(Trouble::Conflict("the config was removed meanwhile".into())),
        (Some(_), _) => return Err(Trouble::Conflict("somebody else changed the config meanwhile".into())),
    };
    written.map(|_| ()).map_err(|failure| dir::trouble(CONFIG, failure))
}

/// A lease's file: the record in it, or why there is none, and its entry.
pub type LeaseFile = (Result<Record, String>, Entry);

/// The file of these subnets; none when there is no such file.
pub fn lease_file(dir: &impl Dir, subnets: &Subnets) -> Result<Option<LeaseFile>, Trouble> {
    let found = dir::read(dir, &file_name(subnets))?;
    Ok(found.map(|(content, entry)| (Record::decode(&content, subnets), entry)))
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
