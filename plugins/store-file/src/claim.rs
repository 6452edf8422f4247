//! Writing leases: claim, adopt, publish, release, reserve.
//!
//! Two nodes never hold one subnet, however they race or die, because
//! * a subnet has one file name, and a file is made only where there is none;
//! * every other write or removal names the version that it was decided on;
//! * whoever has made a file looks again, and withdraws when a file of another name overlaps it: of two that look at the same time both may
//!   withdraw, but never neither, since each looks after its own file is there.
//!
//! A lease whose term is over is kept for its owner for the same time again (at most an hour): only then may another node take its subnet. The file
//! stays until somebody does.

use twill_guest::store::directory::{Entry, Failure};
use twill_guest::store::{Held, Lease, Lifetime, Prefixes, Trouble};

use crate::dir::{self, Dir};
use crate::name::{Kind, Subnets};
use crate::record::{self, Record};
use crate::view::{as_written, lease_file};

/// Seconds that a reservation in use lives on when the reservation ends: flannel's term.
const TERM_AFTER_RESERVATION: u32 = 86_400;

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
    let mut holders = Vec::new();
    for candidate in candidates {
        let subnets = Subnets::parse(candidate)?;
        match take(dir, &subnets, wish, term)? {
            Ok(held) => return Ok(held),
            Err(holder) => holders.push(format!("{} is held by {holder}", subnets.file_name())),
        }
    }
    holders.truncate(3);
    Err(Trouble::Conflict(format!("none of the {} candidates is free: {}", candidates.len(), holders.join("; "))))
}

/// Tries one candidate; the inner error says who has it.
fn take(dir: &impl Dir, subnets: &Subnets, wish: &Lease, term: Option<u32>) -> Result<Result<Held, String>, Trouble> {
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
    for (entry, other) in overlapping(&dir::list(dir)?, subnets) {
        let Some((record, entry)) = lease_file(dir, &other)? else { continue };
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
    let (name, content) = (subnets.file_name(), record.encode()?);
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
    for (_, other) in overlapping(&dir::list(dir)?, subnets).filter(|(_, other)| other != subnets) {
        match lease_file(dir, &other)? {
            Some((Ok(record), entry)) if !record::is_abandoned(record.term, &entry) => return Ok(Some(record.owner())),
            Some((Err(reason), entry)) => return Ok(Some(format!("the file {}, which is {reason}", entry.name))),
            _ => {}
        }
    }
    Ok(None)
}

fn overlapping<'a>(listing: &'a [Entry], subnets: &'a Subnets) -> impl Iterator<Item = (&'a Entry, Subnets)> {
    listing.iter().filter_map(move |entry| match Kind::of(&entry.name) {
        Kind::Lease(other) if other.overlap(subnets) => Some((entry, other)),
        _ => None,
    })
}

/// Removes a file if it still has that version; false when it has changed.
fn remove(dir: &impl Dir, entry: &Entry) -> Result<bool, Trouble> {
    match dir.remove(&entry.name, &entry.version) {
        Ok(()) | Err(Failure::Missing) => Ok(true),
        Err(Failure::Changed) => Ok(false),
        Err(failure) => Err(dir::trouble(&entry.name, failure)),
    }
}

fn held(record: &Record, entry: Entry) -> Held {
    Held { lease: as_written(record), token: entry.version }
}

/// The term in `lease.life`.
fn term_of(lease: &Lease) -> Result<Option<u32>, Trouble> {
    match lease.life {
        Lifetime::Seconds(0) => Err(Trouble::Invalid("a lease needs a term of at least a second".into())),
        Lifetime::Seconds(term) => Ok(Some(term)),
        Lifetime::Reserved => Ok(None),
        Lifetime::Unknown => Err(Trouble::Invalid("this store needs to know a lease's term".into())),
    }
}

/// Takes the lease that the host recognised as this node's, as it stands, for a new term of the length that it has.
pub fn adopt(dir: &impl Dir, mine: &Lease) -> Result<Held, Trouble> {
    let subnets = Subnets::parse(&mine.subnets)?;
    let name = subnets.file_name();
    let Some((record, entry)) = lease_file(dir, &subnets)? else { return Err(Trouble::NotFound(format!("{name} does not exist"))) };
    let record = record.map_err(|reason| Trouble::Conflict(format!("{name} is {reason}")))?;
    if !record.belongs_to(mine) {
        return Err(Trouble::Conflict(format!("{name} is held by {}", record.owner())));
    }
    let stands = Lease { node: mine.node.clone(), ..record.lease(0) };
    write(dir, &subnets, &stands, record.term, &entry.version)
}

/// Renews and republishes, if the file is still the one of `mine.token`.
pub fn publish(dir: &impl Dir, mine: &Held) -> Result<Held, Trouble> {
    let subnets = Subnets::parse(&mine.lease.subnets)?;
    let term = if is_reserved(dir, &subnets, mine)? { None } else { term_of(&mine.lease)? };
    write(dir, &subnets, &mine.lease, term, &mine.token)
}

/// Gives the lease back. A reservation stays, without its user.
pub fn release(dir: &impl Dir, mine: &Held) -> Result<(), Trouble> {
    let subnets = Subnets::parse(&mine.lease.subnets)?;
    let Some(found) = lease_file(dir, &subnets)? else { return Ok(()) };
    if still_mine(&subnets, found, mine)?.term.is_none() {
        let unused = Lease { node: None, ways: vec![], ..mine.lease.clone() };
        return write(dir, &subnets, &unused, None, &mine.token).map(|_| ());
    }
    match dir.remove(&subnets.file_name(), &mine.token) {
        Ok(()) | Err(Failure::Missing) => Ok(()),
        Err(failure) => Err(dir::trouble(&subnets.file_name(), failure)),
    }
}

fn is_reserved(dir: &impl Dir, subnets: &Subnets, mine: &Held) -> Result<bool, Trouble> {
    let gone = || Trouble::Conflict(format!("{} is gone", subnets.file_name()));
    let found = lease_file(dir, subnets)?.ok_or_else(gone)?;
    Ok(still_mine(subnets, found, mine)?.term.is_none())
}

/// The record, if it is the one that this node wrote last; else a conflict that says whose it is now.
fn still_mine(subnets: &Subnets, (record, entry): (Result<Record, String>, Entry), mine: &Held) -> Result<Record, Trouble> {
    let name = subnets.file_name();
    match record {
        Ok(record) if entry.version == mine.token => Ok(record),
        Ok(record) if record.node.is_some() && record.node == mine.lease.node => {
            Err(Trouble::Conflict(format!("{name} is still this node's, but another hand has changed it")))
        }
        Ok(record) => Err(Trouble::Conflict(format!("{name} is held by {} now", record.owner()))),
        Err(reason) => Err(Trouble::Conflict(format!("{name} was overwritten: {reason}"))),
    }
}

/// Replaces the file of `subnets` if it still has that version.
pub fn write(dir: &impl Dir, subnets: &Subnets, lease: &Lease, term: Option<u32>, version: &str) -> Result<Held, Trouble> {
    let record = Record::new(lease, subnets, term, dir.now());
    match dir.replace(&subnets.file_name(), &record.encode()?, version) {
        Ok(entry) => Ok(held(&record, entry)),
        Err(Failure::Missing) => Err(Trouble::Conflict(format!("{} is gone", subnets.file_name()))),
        Err(failure) => Err(dir::trouble(&subnets.file_name(), failure)),
    }
}

/// Reserves the lease's subnets for its node: makes the file, or turns the node's lease into a reservation.
pub fn reserve(dir: &impl Dir, lease: &Lease) -> Result<(), Trouble> {
    let subnets = Subnets::parse(&lease.subnets)?;
    if let Some((Ok(record), entry)) = lease_file(dir, &subnets)? {
        if record.belongs_to(lease) || record.same_public(lease) {
            return write(dir, &subnets, &record.lease(0), None, &entry.version).map(|_| ());
        }
    }
    match take(dir, &subnets, lease, None)? {
        Ok(_) => Ok(()),
        Err(holder) => Err(Trouble::Conflict(format!("{} is held by {holder}", subnets.file_name()))),
    }
}

/// Ends a reservation. While a node uses it, it becomes an ordinary lease, which that node goes on renewing.
pub fn unreserve(dir: &impl Dir, subnets: &Prefixes) -> Result<(), Trouble> {
    let subnets = Subnets::parse(subnets)?;
    let name = subnets.file_name();
    let (record, entry) = match lease_file(dir, &subnets)? {
        Some((Ok(record), entry)) if record.term.is_none() => (record, entry),
        _ => return Err(Trouble::NotFound(format!("{name} is not a reservation"))),
    };
    if record.node.is_some() {
        return write(dir, &subnets, &record.lease(0), Some(TERM_AFTER_RESERVATION), &entry.version).map(|_| ());
    }
    if remove(dir, &entry)? { Ok(()) } else { Err(Trouble::Conflict(format!("{name} was changed meanwhile"))) }
}
