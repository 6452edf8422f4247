//! Claiming a subnet, and why no two nodes ever hold the same one.
//!
//! However nodes race or die:
//! * a subnet has one file name, and a file is made only where there is none;
//! * every other write or removal names the version that it was decided on;
//! * whoever has made a file looks again, and withdraws when a file of another name overlaps it: of two that look at the same time both may
//!   withdraw, but never neither, since each looks after its own file is there.
//!
//! A lease whose term is over is kept for its owner for the same time again (at most an hour): only then may another node take its subnet. The file
//! stays until somebody does.

use twill_guest::store::directory::{Entry, Failure};
use twill_guest::store::{Held, Lease, Prefixes, Subnets, Trouble, term_of};

use crate::dir::{self, Dir};
use crate::identity;
use crate::name::{Kind, file_name};
use crate::record::{self, Record};
use crate::view::LeaseFile;

/// How a candidate stands.
enum Standing {
    /// No file is in its way.
    Free,
    /// A file of that name, which this node may replace: its own, reserved for it, or abandoned.
    Ours(Record, Entry),
    /// Somebody holds it, or a part of it; who.
    Taken(String),
}

/// Takes the first of `candidates` that nobody holds.
pub fn claim(dir: &impl Dir, candidates: &[Prefixes], wish: &Lease) -> Result<Held, Trouble> {
    let term = term_of(wish)?;
    identity::make(dir, wish.node.as_deref().unwrap_or_default())?;
    let mut holders = Vec::new();
    for candidate in candidates {
        let subnets = Subnets::parse(candidate)?;
        match take(dir, &subnets, wish, term)? {
            Ok(held) => return Ok(held),
            Err(holder) => holders.push(format!("{} is held by {holder}", file_name(&subnets))),
        }
    }
    holders.truncate(3);
    Err(Trouble::Conflict(format!("none of the {} candidates is free: {}", candidates.len(), holders.join("; "))))
}

/// Tries one candidate; the inner error says who has it.
pub fn take(dir: &impl Dir, subnets: &Subnets, wish: &Lease, term: Option<u32>) -> Result<Result<Held, String>, Trouble> {
    let (term, found) = match standing(dir, subnets, wish)? {
        Standing::Free => (term, None),
        Standing::Ours(record, entry) => (if reserved_for(&record, wish) { None } else { term }, Some(entry)),
        Standing::Taken(holder) => return Ok(Err(holder)),
    };
    let record = Record::new(wish, subnets, term, dir.now());
    let entry = match put(dir, subnets, &record, found.as_ref())? {
        Some(entry) => entry,
        None => return Ok(Err("somebody who was faster".into())),
    };
    match rival(dir, subnets)? {
        None => Ok(Ok(held(&record, entry))),
        Some(holder) => remove(dir, &entry).map(|_| Err(holder)),
    }
}

fn reserved_for(record: &Record, wish: &Lease) -> bool {
    record.term.is_none() && record.belongs_to(wish)
}

/// How the files of the directory stand to a claim of `subnets`. Abandoned files of other names are cleared away.
fn standing(dir: &impl Dir, subnets: &Subnets, wish: &Lease) -> Result<Standing, Trouble> {
    let mut own = None;
    for other in overlapping(&dir::list(dir)?, subnets) {
        let Some((record, entry)) = whatever(dir, &other)? else { continue };
        let record = match record {
            Ok(record) => record,
            Err(reason) => return Ok(Standing::Taken(format!("the file {}, which is {reason}", entry.name))),
        };
        let same = other == *subnets;
        if same && (record.belongs_to(wish) || record::is_abandoned(record.term, &entry)) {
            own = Some((record, entry));
        } else if !record::is_abandoned(record.term, &entry) || !remove(dir, &entry)? {
            return Ok(Standing::Taken(record.owner()));
        }
    }
    Ok(own.map_or(Standing::Free, |(record, entry)| Standing::Ours(record, entry)))
}

/// Writes `record` where no file is, or in the place of `found`; none when somebody was faster.
fn put(dir: &impl Dir, subnets: &Subnets, record: &Record, found: Option<&Entry>) -> Result<Option<Entry>, Trouble> {
    let (name, content) = (file_name(subnets), record.encode()?);
    let written = match found {
        None => dir.create(&name, &content),
        Some(entry) => dir.replace(&name, &content, &entry.version),
    };
    match written {
        Ok(entry) => Ok(Some(entry)),
        Err(Failure::Exists | Failure::Changed | Failure::Missing) => Ok(None),
        Err(failure) => Err(dir::trouble(&name, failure)),
    }
}

/// Who holds a part of `subnets` by a file of another name.
fn rival(dir: &impl Dir, subnets: &Subnets) -> Result<Option<String>, Trouble> {
    for other in overlapping(&dir::list(dir)?, subnets).filter(|other| other != subnets) {
        match whatever(dir, &other)? {
            Some((Ok(record), entry)) if !record::is_abandoned(record.term, &entry) => return Ok(Some(record.owner())),
            Some((Err(reason), entry)) => return Ok(Some(format!("the file {}, which is {reason}", entry.name))),
            _ => {}
        }
    }
    Ok(None)
}

/// A lease's file, whatever it is: what cannot be read holds its subnet as what cannot be understood does.
fn whatever(dir: &impl Dir, subnets: &Subnets) -> Result<Option<LeaseFile>, Trouble> {
    let name = file_name(subnets);
    match dir.read(&name) {
        Ok((content, entry)) => Ok(Some((Record::decode(&content, subnets), entry))),
        Err(Failure::Missing) => Ok(None),
        Err(failure) => Ok(Some((Err(dir::unreadable(&name, failure)?), Entry { name, version: String::new(), age_ms: 0 }))),
    }
}

fn overlapping<'a>(listing: &'a [Entry], subnets: &'a Subnets) -> impl Iterator<Item = Subnets> {
    listing.iter().filter_map(move |entry| match Kind::of(&entry.name) {
        Kind::Lease(other) if other.overlap(subnets) => Some(other),
        _ => None,
    })
}

/// Removes a file if it still has that version; false when it has changed.
pub fn remove(dir: &impl Dir, entry: &Entry) -> Result<bool, Trouble> {
    match dir.remove(&entry.name, &entry.version) {
        Ok(()) | Err(Failure::Missing) => Ok(true),
        Err(Failure::Changed) => Ok(false),
        Err(failure) => Err(dir::trouble(&entry.name, failure)),
    }
}

/// The record and the token that an entry is.
pub fn held(record: &Record, entry: Entry) -> Held {
    Held { lease: record.lease(0), token: entry.version }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{Memory, claimed, conflict, lease, v4};
    use crate::view;
    use twill_guest::store::Lifetime;

    const X: &str = "10.1.1.0/24";
    const Y: &str = "10.1.2.0/24";
    const FILE: &str = "10.1.1.0-24.lease";

    #[test]
    fn the_first_free_candidate_is_taken_and_others_leases_are_left() {
        let dir = Memory::default();
        claimed(&dir, "a", &[X]).expect("free");
        let held = claimed(&dir, "bb", &[X, Y]).expect("the second is free");
        assert_eq!(held.lease.subnets, v4(Y));
        assert_eq!(held.lease.life, Lifetime::Seconds(60));
        let text = conflict(claimed(&dir, "ccc", &[X, Y]));
        assert!(text.contains("10.1.1.0-24.lease is held by node a at 192.0.2.1"), "{text}");
    }

    #[test]
    fn a_way_is_kept_byte_for_byte() {
        let dir = Memory::default();
        let held = claimed(&dir, "a", &[X]).expect("free");
        assert_eq!(held.lease, lease("a", X));
        assert_eq!(view::read(&dir).expect("readable").leases, [lease("a", X)]);
    }

    #[test]
    fn a_node_gets_its_own_lease_again_even_when_it_is_over() {
        let dir = Memory::default();
        let first = claimed(&dir, "a", &[X]).expect("free");
        dir.pass(61_000);
        let second = claimed(&dir, "a", &[X, Y]).expect("its own");
        assert_eq!(second.lease.subnets, v4(X));
        assert_ne!(second.token, first.token);
    }

    #[test]
    fn a_lease_that_is_over_waits_for_its_owner_and_then_is_anybodys() {
        let dir = Memory::default();
        claimed(&dir, "a", &[X]).expect("free");
        dir.pass(119_999);
        conflict(claimed(&dir, "bb", &[X]));
        dir.pass(1);
        claimed(&dir, "bb", &[X]).expect("abandoned");
    }

    #[test]
    fn the_grace_is_at_most_an_hour() {
        let entry = |age_ms| Entry { name: String::new(), version: String::new(), age_ms };
        assert!(!record::is_abandoned(Some(86_400), &entry(89_999_999)));
        assert!(record::is_abandoned(Some(86_400), &entry(90_000_000)));
        assert!(!record::is_abandoned(None, &entry(u32::MAX)));
    }

    #[test]
    fn what_overlaps_is_taken_until_it_is_abandoned() {
        let dir = Memory::default();
        claimed(&dir, "a", &["10.1.0.0/23"]).expect("free");
        conflict(claimed(&dir, "bb", &[X]));
        dir.pass(120_000);
        claimed(&dir, "bb", &[X]).expect("abandoned");
        assert_eq!(dir.text("10.1.0.0-23.lease"), None, "the abandoned file is cleared away");
    }

    #[test]
    fn a_broken_file_keeps_its_subnet() {
        let dir = Memory::default();
        dir.drop_in(FILE, b"{\"version\":1,");
        assert!(conflict(claimed(&dir, "a", &[X])).contains("not a lease"));
    }

    #[test]
    fn what_cannot_be_read_keeps_its_subnet_and_no_other() {
        let dir = Memory::default();
        dir.drop_in(FILE, b"");
        dir.spoil(FILE, Failure::Broken("not a plain file".into()));
        assert!(conflict(claimed(&dir, "a", &[X])).contains("not readable: not a plain file"));
        assert_eq!(claimed(&dir, "a", &[X, Y]).expect("the second is free").lease.subnets, v4(Y));
    }

    #[test]
    fn a_term_must_be_told() {
        let dir = Memory::default();
        for life in [Lifetime::Unknown, Lifetime::Seconds(0)] {
            let outcome = claim(&dir, &[v4(X)], &Lease { life, ..lease("a", X) });
            assert!(matches!(outcome, Err(Trouble::Invalid(_))));
        }
    }
}
