//! Reservations: leases without a term, which an operator pins to a node by its public address.
//!
//! A reservation nobody uses has neither owner nor ways. The node that it waits for adopts it and keeps its lack of a term.

use twill_guest::store::{Lease, Prefixes, Subnets, Trouble};

use crate::claim::{remove, take};
use crate::dir::Dir;
use crate::name::file_name;
use crate::own::write;
use crate::view::lease_file;

/// Seconds that a reservation in use lives on when the reservation ends: flannel's term.
const TERM_AFTER_RESERVATION: u32 = 86_400;

/// Reserves the lease's subnets for its node: makes the file, or turns the node's lease into a reservation.
pub fn reserve(dir: &impl Dir, lease: &Lease) -> Result<(), Trouble> {
    let subnets = Subnets::parse(&lease.subnets)?;
    if let Some((Ok(record), entry)) = lease_file(dir, &subnets)?
        && (record.belongs_to(lease) || record.same_public(lease))
    {
        return write(dir, &subnets, &record.lease(0), None, &entry.version).map(|_| ());
    }
    match take(dir, &subnets, lease, None)? {
        Ok(_) => Ok(()),
        Err(holder) => Err(Trouble::Conflict(format!("{} is held by {holder}", file_name(&subnets)))),
    }
}

/// Ends a reservation. While a node uses it, it becomes an ordinary lease, which that node goes on renewing.
pub fn unreserve(dir: &impl Dir, subnets: &Prefixes) -> Result<(), Trouble> {
    let subnets = Subnets::parse(subnets)?;
    let name = file_name(&subnets);
    let (record, entry) = match lease_file(dir, &subnets)? {
        Some((Ok(record), entry)) if record.term.is_none() => (record, entry),
        _ => return Err(Trouble::NotFound(format!("{name} is not a reservation"))),
    };
    if record.node.is_some() {
        return write(dir, &subnets, &record.lease(0), Some(TERM_AFTER_RESERVATION), &entry.version).map(|_| ());
    }
    if remove(dir, &entry)? { Ok(()) } else { Err(Trouble::Conflict(format!("{name} was changed meanwhile"))) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{Memory, claimed, conflict, lease, v4};
    use crate::own::{adopt, publish, release};
    use twill_guest::store::{Held, Lifetime};

    const X: &str = "10.1.1.0/24";

    #[test]
    fn a_reservation_waits_for_its_node_and_outlives_its_use() {
        let dir = Memory::default();
        reserve(&dir, &Lease { node: None, ways: vec![], life: Lifetime::Reserved, ..lease("a", X) }).expect("free");
        dir.pass(u64::from(u32::MAX));
        conflict(claimed(&dir, "bb", &[X]));
        let held = claimed(&dir, "a", &[X]).expect("reserved for its address");
        assert_eq!(held.lease.life, Lifetime::Reserved);
        let held = publish(&dir, &Held { lease: lease("a", X), ..held }).expect("mine");
        assert_eq!(held.lease.life, Lifetime::Reserved, "a reservation stays one");
        release(&dir, &held).expect("mine");
        conflict(claimed(&dir, "bb", &[X]));
        unreserve(&dir, &v4(X)).expect("a reservation");
        claimed(&dir, "bb", &[X]).expect("free");
        assert!(matches!(unreserve(&dir, &v4(X)), Err(Trouble::NotFound(_))));
    }

    #[test]
    fn a_lease_in_use_can_be_reserved_and_back() {
        let dir = Memory::default();
        let mine = claimed(&dir, "a", &[X]).expect("free");
        reserve(&dir, &Lease { node: None, ways: vec![], ..lease("a", X) }).expect("the same node");
        assert!(conflict(publish(&dir, &mine)).contains("another hand"));
        let mine = adopt(&dir, &mine.lease).expect("still this node's");
        assert_eq!((mine.lease.life, mine.lease.ways.len()), (Lifetime::Reserved, 1));
        unreserve(&dir, &v4(X)).expect("a reservation");
        assert_eq!(adopt(&dir, &mine.lease).expect("mine").lease.life, Lifetime::Seconds(86_400));
        conflict(reserve(&dir, &lease("bb", X)));
    }
}
