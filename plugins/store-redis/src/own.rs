//! The own lease: adopt, publish, release. Every write names the version that it was decided on.

use twill_guest::store::{Held, Lease, Subnets, Trouble, term_of};

use crate::claim::millis;
use crate::entry::{Entry, held, look, value};
use crate::redis::{PUT, REMOVE, Redis};

/// Takes the lease that the host recognised as this node's, as it stands, for a new term of the length that it has.
///
/// # Errors
/// It is another's, gone, or was changed meanwhile.
pub fn adopt(redis: &Redis, mine: &Lease) -> Result<Held, Trouble> {
    let subnets = Subnets::parse(&mine.subnets)?;
    let entry = look(redis, &subnets)?.ok_or_else(|| Trouble::NotFound(format!("there is no lease {}", subnets.name())))?;
    let taken = || Trouble::Conflict(format!("{} is held by {}", subnets.name(), entry.owner()));
    if !entry.belongs_to(mine) {
        return Err(taken());
    }
    let Ok(found) = &entry.lease else { return Err(taken()) };
    let public = if found.ways.is_empty() { mine.public.clone() } else { found.public.clone() };
    let stands = Lease { node: mine.node.clone(), public, ..found.clone() };
    write(redis, &subnets, stands, entry.term, &entry.version, true)
}

/// Renews and republishes, if the lease is still the one of `mine.token`.
///
/// # Errors
/// It was changed, taken or is gone.
pub fn publish(redis: &Redis, mine: &Held) -> Result<Held, Trouble> {
    let subnets = Subnets::parse(&mine.lease.subnets)?;
    let term = term_of(&mine.lease)?;
    write(redis, &subnets, mine.lease.clone(), term, &mine.token, false)
}

/// Gives the lease back. A reservation stays, without its user.
///
/// # Errors
/// It is another's by now.
pub fn release(redis: &Redis, mine: &Held) -> Result<(), Trouble> {
    let subnets = Subnets::parse(&mine.lease.subnets)?;
    let Some(entry) = look(redis, &subnets)? else { return Ok(()) };
    if entry.is_reserved() {
        let unused = Lease { node: None, ways: vec![], ..mine.lease.clone() };
        return write(redis, &subnets, unused, None, &mine.token, true).map(drop);
    }
    remove(redis, &subnets, &mine.token)
}

/// Removes a lease of just that version; that it is gone is a success.
///
/// # Errors
/// It is of another version.
pub fn remove(redis: &Redis, subnets: &Subnets, version: &str) -> Result<(), Trouble> {
    let answer = redis.run(REMOVE, &[&subnets.name(), version])?;
    match &answer[..] {
        [done] if done == "1" => Ok(()),
        [_, there @ ..] => lost(subnets, there).map_or(Ok(()), Err),
        [] => Err(Trouble::Retry("Redis answered with too little".into())),
    }
}

/// Writes a lease of just that version; a reservation stays one.
///
/// # Errors
/// It is of another version, or gone.
pub fn write(redis: &Redis, subnets: &Subnets, lease: Lease, term: Option<u32>, version: &str, other_owner: bool) -> Result<Held, Trouble> {
    if version.is_empty() {
        return Err(Trouble::Conflict("the token is none of this store's".into()));
    }
    let (value, owner) = (value(&lease, term)?, if other_owner { "1" } else { "0" });
    let answer = redis.run(PUT, &[&subnets.name(), &value, &millis(term), "version", version, "1", owner])?;
    match &answer[..] {
        [done, version, reserved] if done == "1" => Ok(held(lease, version, reserved == "1", term)),
        [_, there @ ..] => Err(lost(subnets, there).unwrap_or_else(|| Trouble::NotFound(format!("{} is gone", subnets.name())))),
        [] => Err(Trouble::Retry("Redis answered with too little".into())),
    }
}

/// Whose the lease is now; none when it is gone.
fn lost(subnets: &Subnets, there: &[String]) -> Option<Trouble> {
    match Entry::of(&subnets.name(), there) {
        Ok(None) => None,
        Ok(Some(entry)) => Some(Trouble::Conflict(format!("{} was changed meanwhile; it is held by {}", subnets.name(), entry.owner()))),
        Err(why) => Some(Trouble::Retry(why)),
    }
}
