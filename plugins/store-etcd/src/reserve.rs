//! Reservations: keys without an etcd lease, which an operator pins to a node by its public address.
//!
//! A reservation that nobody uses has neither owner nor ways. The node that it waits for takes it and keeps its lack of a term.

use twill_guest::store::{Lease, Prefixes, Subnets, Trouble};

use crate::claim::{Unused, conditions, replacement, take};
use crate::entry::{Entry, entries, removals};
use crate::etcd::{Etcd, end_unused, list, transact};
use crate::key::Layout;
use crate::own::look;
use crate::wire::{Compare, Transaction};

/// Seconds that a reservation in use lives on when the reservation ends: flannel's term.
const TERM_AFTER_RESERVATION: u32 = 86_400;

/// Reserves the lease's subnets for its node: makes the key, or turns the node's lease into a reservation.
pub fn reserve(etcd: &impl Etcd, layout: &Layout, lease: &Lease) -> Result<(), Trouble> {
    let subnets = Subnets::parse(&lease.subnets)?;
    let found = entries(layout, &list(etcd, layout.all())?.kvs);
    if let Some(entry) = found.at(&subnets).filter(|entry| entry.belongs_to(lease) || entry.same_public(lease)) {
        return rewrite(etcd, layout, entry, None);
    }
    let mut none = Unused { etcd, term: None, id: 0 };
    let unused = Lease { node: None, ways: vec![], ..lease.clone() };
    match take(etcd, layout, &found, &subnets, &unused, &mut none)? {
        Ok(_) => Ok(()),
        Err(holder) => Err(Trouble::Conflict(format!("{} is held by {holder}", subnets.name()))),
    }
}

/// Ends a reservation. While a node uses it, it becomes an ordinary lease, which that node goes on renewing.
pub fn unreserve(etcd: &impl Etcd, layout: &Layout, subnets: &Prefixes) -> Result<(), Trouble> {
    let subnets = Subnets::parse(subnets)?;
    let entry = look(etcd, layout, &subnets)?.filter(|entry| entry.is_reserved() && entry.lease.is_ok());
    let entry = entry.ok_or_else(|| Trouble::NotFound(format!("{} is not a reservation", subnets.name())))?;
    if entry.lease.as_ref().is_ok_and(|lease| !lease.ways.is_empty()) {
        return rewrite(etcd, layout, &entry, Some(TERM_AFTER_RESERVATION));
    }
    let compare = vec![Compare::unchanged(entry.place.clone(), entry.revision)];
    let outcome = transact(etcd, &Transaction { compare, success: removals(layout, &entry.place, &subnets), failure: vec![] })?;
    if outcome.succeeded { Ok(()) } else { Err(changed(&subnets)) }
}

/// Writes a lease as it stands, for another term.
fn rewrite(etcd: &impl Etcd, layout: &Layout, entry: &Entry, term: Option<u32>) -> Result<(), Trouble> {
    let Ok(lease) = &entry.lease else { return Err(changed(&entry.subnets)) };
    let mut granted = Unused { etcd, term, id: 0 };
    let id = granted.id()?;
    let success = replacement(layout, Some(entry), &entry.subnets, lease, id)?;
    let compare = conditions(layout, Some(entry), &entry.subnets);
    if !transact(etcd, &Transaction { compare, success, failure: vec![] })?.succeeded {
        granted.end();
        return Err(changed(&entry.subnets));
    }
    end_unused(etcd, entry.etcd_lease);
    Ok(())
}

fn changed(subnets: &Subnets) -> Trouble {
    Trouble::Conflict(format!("{} was changed meanwhile", subnets.name()))
}
