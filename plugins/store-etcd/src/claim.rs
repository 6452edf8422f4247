//! Claiming a subnet, and why no two nodes ever hold the same one.
//!
//! A subnet has one key, and it is made only where there is none; every other write names the revision that it was decided on. For subnets that
//! overlap under different keys (after a change of their length) the transaction that writes also lists all keys: of two that overlap the later one sees
//! the earlier and withdraws. A lost race costs the next candidate.

use twill_guest::store::{Held, Lease, Lifetime, Prefixes, Subnets, Trouble, term_of};

use crate::entry::{Entries, Entry, entries, removals, writes};
use crate::etcd::{Etcd, end_unused, grant, list, transact};
use crate::key::{Kind, Layout};
use crate::wire::{Compare, KeyValue, Range, Step, Transaction};

/// How a candidate stands.
enum Standing<'a> {
    /// No key is in its way.
    Free,
    /// This node may have it as it stands: its own, or reserved for it.
    Ours(&'a Entry),
    /// Somebody holds it, or a part of it; who.
    Taken(String),
}

/// Takes the first of `candidates` that nobody holds.
pub fn claim(etcd: &impl Etcd, layout: &Layout, candidates: &[Prefixes], wish: &Lease) -> Result<Held, Trouble> {
    let term = term_of(wish)?;
    let found = entries(layout, &list(etcd, layout.all())?.kvs);
    let mut lease = Unused { etcd, term, id: 0 };
    let mut holders = Vec::new();
    for candidate in candidates {
        let subnets = Subnets::parse(candidate)?;
        match take(etcd, layout, &found, &subnets, wish, &mut lease)? {
            Ok(held) => return Ok(held),
            Err(holder) => holders.push(format!("{} is held by {holder}", subnets.name())),
        }
    }
    lease.end();
    holders.truncate(3);
    Err(Trouble::Conflict(format!("none of the {} candidates is free: {}", candidates.len(), holders.join("; "))))
}

/// An etcd lease that is granted when it is first needed.
pub struct Unused<'a, E> {
    /// Who grants it.
    pub etcd: &'a E,
    /// Seconds; none: no etcd lease at all.
    pub term: Option<u32>,
    /// 0 while there is none.
    pub id: i64,
}

impl<E: Etcd> Unused<'_, E> {
    /// The lease's id. The term becomes what etcd granted.
    pub fn id(&mut self) -> Result<i64, Trouble> {
        if let Some(term) = self.term.filter(|_| self.id == 0) {
            let granted = grant(self.etcd, term)?;
            self.id = granted.id;
            self.term = Some(u32::try_from(granted.ttl).unwrap_or(term));
        }
        Ok(self.id)
    }

    /// Ends it, if it was granted and no key hangs on it.
    pub fn end(&self) {
        end_unused(self.etcd, self.id);
    }
}

/// Tries one candidate; the inner error says who has it.
pub fn take<E: Etcd>(
    etcd: &E,
    layout: &Layout,
    found: &Entries,
    subnets: &Subnets,
    wish: &Lease,
    lease: &mut Unused<'_, E>,
) -> Result<Result<Held, String>, Trouble> {
    let wish = Lease { subnets: subnets.prefixes(), ..wish.clone() };
    let ours = match standing(found, subnets, &wish) {
        Standing::Free => None,
        Standing::Ours(entry) => Some(entry),
        Standing::Taken(holder) => return Ok(Err(holder)),
    };
    let id = if ours.is_some_and(Entry::is_reserved) { 0 } else { lease.id()? };
    let (first, end) = layout.all();
    let all = Range { key: first.into(), range_end: end.into(), keys_only: true, ..Range::default() };
    let mut success = replacement(layout, ours, subnets, &wish, id)?;
    success.push(Step::Read(all));
    let failure = vec![Step::Read(Range::one(layout.place(subnets))), Step::Read(Range::one(layout.record(subnets)))];
    let outcome = transact(etcd, &Transaction { compare: conditions(layout, ours, subnets), success, failure })?;
    let (succeeded, revision) = (outcome.succeeded, outcome.header.revision);
    let read = outcome.read();
    if !succeeded {
        return Ok(Err(holder(layout, &read, subnets)));
    }
    if let Some(rival) = rival(layout, &read, subnets) {
        withdraw(etcd, layout, subnets, revision)?;
        return Ok(Err(rival));
    }
    if let Some(old) = ours {
        end_unused(etcd, old.etcd_lease);
    }
    Ok(Ok(held(wish, id, lease.term, revision)))
}

/// How the keys stand to a claim of `subnets`.
fn standing<'a>(found: &'a Entries, subnets: &Subnets, wish: &Lease) -> Standing<'a> {
    let mut own = None;
    for other in found.entries.iter().filter(|other| other.subnets.overlap(subnets)) {
        if other.subnets == *subnets && other.belongs_to(wish) {
            own = Some(other);
        } else {
            return Standing::Taken(other.owner());
        }
    }
    own.map_or(Standing::Free, Standing::Ours)
}

/// What must still be so when `subnets` are written in the place of `ours`, or where nothing is.
pub fn conditions(layout: &Layout, ours: Option<&Entry>, subnets: &Subnets) -> Vec<Compare> {
    match ours {
        None => vec![Compare::absent(layout.place(subnets))],
        Some(entry) if entry.place == layout.place(subnets) => vec![Compare::unchanged(entry.place.clone(), entry.revision)],
        Some(entry) => vec![Compare::unchanged(entry.place.clone(), entry.revision), Compare::absent(layout.place(subnets))],
    }
}

/// The steps that write `lease`, and remove `ours` where it lies under flannel's key for leases without IPv4.
pub fn replacement(layout: &Layout, ours: Option<&Entry>, subnets: &Subnets, lease: &Lease, etcd_lease: i64) -> Result<Vec<Step>, Trouble> {
    let mut steps = writes(layout, subnets, lease, etcd_lease)?;
    steps.extend(ours.filter(|entry| entry.place != layout.place(subnets)).map(|entry| Step::Delete { key: entry.place.clone().into() }));
    Ok(steps)
}

/// Who has the key that was to be written.
pub fn holder(layout: &Layout, read: &[KeyValue], subnets: &Subnets) -> String {
    entries(layout, read).at(subnets).map_or_else(|| "nobody any more".into(), Entry::owner)
}

/// The key of somebody who holds a part of `subnets`.
fn rival(layout: &Layout, keys: &[KeyValue], subnets: &Subnets) -> Option<String> {
    let others = keys.iter().filter(|kv| match layout.kind(&kv.key.0) {
        Kind::Lease(other) => other != *subnets && other.overlap(subnets),
        Kind::Record(other) => !other.has_v4() && other != *subnets && other.overlap(subnets),
        _ => false,
    });
    others.map(|kv| format!("{}, which overlaps it and was faster", kv.key.words())).next()
}

fn withdraw(etcd: &impl Etcd, layout: &Layout, subnets: &Subnets, revision: i64) -> Result<(), Trouble> {
    let place = layout.place(subnets);
    let success = removals(layout, &place, subnets);
    transact(etcd, &Transaction { compare: vec![Compare::unchanged(place, revision)], success, failure: vec![] }).map(|_| ())
}

/// A lease that this node has just written.
pub fn held(lease: Lease, etcd_lease: i64, term: Option<u32>, revision: i64) -> Held {
    let life = if etcd_lease == 0 { Lifetime::Reserved } else { term.map_or(Lifetime::Unknown, Lifetime::Seconds) };
    Held { lease: Lease { life, ..lease }, token: Token { revision, etcd_lease }.encode() }
}

/// A held lease's token: the revision of its last write, and the etcd lease that it ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// The revision.
    pub revision: i64,
    /// 0: none, a reservation.
    pub etcd_lease: i64,
}

impl Token {
    fn encode(self) -> String {
        format!("{}:{}", self.revision, self.etcd_lease)
    }

    /// From text.
    pub fn decode(text: &str) -> Result<Self, Trouble> {
        let parts = text.split_once(':').and_then(|(revision, lease)| Some((revision.parse().ok()?, lease.parse().ok()?)));
        let (revision, etcd_lease) = parts.ok_or_else(|| Trouble::Conflict("the token is none of this store's".into()))?;
        Ok(Token { revision, etcd_lease })
    }
}
