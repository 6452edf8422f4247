//! The own lease: adopt, publish, release. Every write names the revision that it was decided on, so that a lease which has passed to another is
//! never written over. A renewal is a new etcd lease; the old one is ended.

use twill_guest::store::{Held, Lease, Subnets, Trouble, term_of};

use crate::claim::{Token, Unused, conditions, held, holder, replacement};
use crate::entry::{Entry, entries, removals, writes};
use crate::etcd::{Etcd, end_unused, time_to_live, transact};
use crate::key::Layout;
use crate::wire::{Compare, Range, Step, Transaction};

/// The lease of just these subnets, with its record, at one revision.
pub fn look(etcd: &impl Etcd, layout: &Layout, subnets: &Subnets) -> Result<Option<Entry>, Trouble> {
    let mut places = vec![layout.place(subnets), layout.record(subnets)];
    if !subnets.has_v4() {
        places.push(layout.flannels_v6(subnets));
    }
    let success = places.into_iter().map(|place| Step::Read(Range::one(place))).collect();
    let mut kvs = transact(etcd, &Transaction { success, ..Transaction::default() })?.read();
    kvs.dedup_by(|a, b| a.key == b.key);
    Ok(entries(layout, &kvs).at(subnets).cloned())
}

/// Takes the lease that the host recognised as this node's, as it stands, for a new term of the length that it has.
pub fn adopt(etcd: &impl Etcd, layout: &Layout, mine: &Lease) -> Result<Held, Trouble> {
    let subnets = Subnets::parse(&mine.subnets)?;
    let name = subnets.name();
    let entry = look(etcd, layout, &subnets)?.ok_or_else(|| Trouble::NotFound(format!("there is no lease {name}")))?;
    if !entry.belongs_to(mine) {
        return Err(Trouble::Conflict(format!("{name} is held by {}", entry.owner())));
    }
    let Ok(found) = &entry.lease else { return Err(Trouble::Conflict(format!("{name} is held by {}", entry.owner()))) };
    let stands = Lease {
        node: mine.node.clone(),
        public: if found.ways.is_empty() { mine.public.clone() } else { found.public.clone() },
        ..found.clone()
    };
    let term = if entry.is_reserved() { None } else { Some(full_term(etcd, &entry, &name)?) };
    let mut lease = Unused { etcd, term, id: 0 };
    let id = lease.id()?;
    let success = replacement(layout, Some(&entry), &subnets, &stands, id)?;
    let outcome = transact(etcd, &Transaction { compare: conditions(layout, Some(&entry), &subnets), success, failure: vec![] })?;
    if !outcome.succeeded {
        lease.end();
        return Err(Trouble::Conflict(format!("{name} was changed meanwhile")));
    }
    end_unused(etcd, entry.etcd_lease);
    Ok(held(stands, id, lease.term, outcome.header.revision))
}

/// The seconds that a lease was taken for.
fn full_term(etcd: &impl Etcd, entry: &Entry, name: &str) -> Result<u32, Trouble> {
    let lease = time_to_live(etcd, entry.etcd_lease)?;
    let term = u32::try_from(lease.granted_ttl).ok().filter(|term| *term > 0 && lease.ttl >= 0);
    term.ok_or_else(|| Trouble::NotFound(format!("the lease {name} has just ended")))
}

/// Renews and republishes, if the lease is still the one of `mine.token`.
pub fn publish(etcd: &impl Etcd, layout: &Layout, mine: &Held) -> Result<Held, Trouble> {
    let subnets = Subnets::parse(&mine.lease.subnets)?;
    let token = Token::decode(&mine.token)?;
    let term = if token.etcd_lease == 0 { None } else { term_of(&mine.lease)? };
    let mut lease = Unused { etcd, term, id: 0 };
    let id = lease.id()?;
    let outcome = transact(
        etcd,
        &Transaction {
            compare: vec![Compare::unchanged(layout.place(&subnets), token.revision)],
            success: writes(layout, &subnets, &mine.lease, id)?,
            failure: vec![Step::Read(Range::one(layout.place(&subnets))), Step::Read(Range::one(layout.record(&subnets)))],
        },
    )?;
    let (succeeded, revision) = (outcome.succeeded, outcome.header.revision);
    if !succeeded {
        lease.end();
        let mut kvs = outcome.read();
        kvs.dedup_by(|a, b| a.key == b.key);
        return Err(lost(entries(layout, &kvs).at(&subnets), &subnets, &mine.lease));
    }
    end_unused(etcd, token.etcd_lease);
    Ok(held(mine.lease.clone(), id, lease.term, revision))
}

/// Whose the lease is now.
fn lost(found: Option<&Entry>, subnets: &Subnets, mine: &Lease) -> Trouble {
    let name = subnets.name();
    let Some(entry) = found else { return Trouble::Conflict(format!("{name} is gone")) };
    let still = entry.lease.as_ref().is_ok_and(|lease| lease.node.is_some() && lease.node == mine.node);
    Trouble::Conflict(match still {
        true => format!("{name} is still this node's, but another hand has changed it"),
        false => format!("{name} is held by {} now", entry.owner()),
    })
}

/// Gives the lease back. A reservation stays, without its user.
pub fn release(etcd: &impl Etcd, layout: &Layout, mine: &Held) -> Result<(), Trouble> {
    let subnets = Subnets::parse(&mine.lease.subnets)?;
    let token = Token::decode(&mine.token)?;
    let place = layout.place(&subnets);
    let success = if token.etcd_lease == 0 {
        writes(layout, &subnets, &Lease { node: None, ways: vec![], ..mine.lease.clone() }, 0)?
    } else {
        removals(layout, &place, &subnets)
    };
    let failure = vec![Step::Read(Range::one(place.clone()))];
    let outcome = transact(etcd, &Transaction { compare: vec![Compare::unchanged(place, token.revision)], success, failure })?;
    if outcome.succeeded {
        end_unused(etcd, token.etcd_lease);
        return Ok(());
    }
    let read = outcome.read();
    if read.is_empty() {
        Ok(())
    } else {
        Err(Trouble::Conflict(format!("{} is held by {} now", subnets.name(), holder(layout, &read, &subnets))))
    }
}
