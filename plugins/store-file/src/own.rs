//! The own lease: adopt, publish, release. Every write names the version that it was decided on, so that a lease which has passed to another
//! is never written over.

use twill_guest::store::directory::Failure;
use twill_guest::store::{Held, Lease, Subnets, Trouble, term_of};

use crate::claim::held;
use crate::dir::{self, Dir};
use crate::name::file_name;
use crate::record::Record;
use crate::view::{LeaseFile, lease_file};

/// Takes the lease that the host recognised as this node's, as it stands, for a new term of the length that it has.
pub fn adopt(dir: &impl Dir, mine: &Lease) -> Result<Held, Trouble> {
    let subnets = Subnets::parse(&mine.subnets)?;
    let name = file_name(&subnets);
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
    match dir.remove(&file_name(&subnets), &mine.token) {
        Ok(()) | Err(Failure::Missing) => Ok(()),
        Err(failure) => Err(dir::trouble(&file_name(&subnets), failure)),
    }
}

fn is_reserved(dir: &impl Dir, subnets: &Subnets, mine: &Held) -> Result<bool, Trouble> {
    let gone = || Trouble::NotFound(format!("{} is gone", file_name(subnets)));
    let found = lease_file(dir, subnets)?.ok_or_else(gone)?;
    Ok(still_mine(subnets, found, mine)?.term.is_none())
}

/// The record, if it is the one that this node wrote last; else a conflict that says whose it is now.
fn still_mine(subnets: &Subnets, (record, entry): LeaseFile, mine: &Held) -> Result<Record, Trouble> {
    let name = file_name(subnets);
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
    match dir.replace(&file_name(subnets), &record.encode()?, version) {
        Ok(entry) => Ok(held(&record, entry)),
        Err(Failure::Missing) => Err(Trouble::NotFound(format!("{} is gone", file_name(subnets)))),
        Err(failure) => Err(dir::trouble(&file_name(subnets), failure)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{Memory, claimed, conflict, lease};
    use crate::view;
    use twill_guest::store::Lifetime;

    const X: &str = "10.1.1.0/24";
    const Y: &str = "10.1.2.0/24";
    const FILE: &str = "10.1.1.0-24.lease";

    #[test]
    fn adopting_renews_for_the_lease_s_own_term() {
        let dir = Memory::default();
        claimed(&dir, "a", &[X]).expect("free");
        dir.pass(50_000);
        let read = view::read(&dir).expect("readable").leases.remove(0);
        assert_eq!(read.life, Lifetime::Seconds(10));
        assert_eq!(adopt(&dir, &read).expect("own").lease.life, Lifetime::Seconds(60));
        conflict(adopt(&dir, &lease("bb", X)));
        assert!(matches!(adopt(&dir, &lease("a", Y)), Err(Trouble::NotFound(_))));
    }

    #[test]
    fn publishing_is_conditional_and_says_who_was_faster() {
        let dir = Memory::default();
        let mine = claimed(&dir, "a", &[X]).expect("free");
        let renewed = publish(&dir, &mine).expect("still mine");
        assert!(conflict(publish(&dir, &mine)).contains("still this node's"));
        dir.pass(120_000);
        claimed(&dir, "bb", &[X]).expect("abandoned");
        assert!(conflict(publish(&dir, &renewed)).contains("is held by node bb"));
        dir.delete(FILE);
        assert!(matches!(publish(&dir, &renewed), Err(Trouble::NotFound(_))), "gone is not somebody else's");
    }

    #[test]
    fn a_renewal_starts_the_term_anew_and_may_change_it() {
        let dir = Memory::default();
        let mut mine = claimed(&dir, "a", &[X]).expect("free");
        dir.pass(50_000);
        mine.lease.life = Lifetime::Seconds(30);
        assert_eq!(publish(&dir, &mine).expect("mine").lease.life, Lifetime::Seconds(30));
        dir.pass(29_000);
        assert_eq!(view::read(&dir).expect("readable").leases[0].life, Lifetime::Seconds(1));
    }

    #[test]
    fn releasing_removes_the_file_but_never_anothers() {
        let dir = Memory::default();
        let mine = claimed(&dir, "a", &[X]).expect("free");
        dir.pass(120_000);
        let theirs = claimed(&dir, "bb", &[X]).expect("abandoned");
        conflict(release(&dir, &mine));
        release(&dir, &theirs).expect("own");
        assert_eq!(dir.text(FILE), None);
        release(&dir, &theirs).expect("already gone");
    }
}
