//! Reservations: leases without a term, which an operator pins to a node by its public address.

use twill_guest::store::{Lease, Prefixes, Subnets, Trouble};

use crate::claim;
use crate::entry::{look, value};
use crate::own::remove;
use crate::redis::{PUT, Redis};

/// Seconds that a reservation in use lives on when the reservation ends: flannel's term.
const TERM_AFTER_RESERVATION: u32 = 86_400;

/// Reserves the lease's subnets for its node, whether it exists yet or not.
///
/// # Errors
/// Another holds a part of them.
pub fn reserve(redis: &Redis, lease: &Lease) -> Result<(), Trouble> {
    claim::reserve(redis, &Subnets::parse(&lease.subnets)?, lease)
}

/// Ends a reservation. While a node uses it, it becomes an ordinary lease, which that node goes on renewing.
///
/// # Errors
/// There is none of just these subnets.
pub fn unreserve(redis: &Redis, subnets: &Prefixes) -> Result<(), Trouble> {
    let subnets = Subnets::parse(subnets)?;
    let entry = look(redis, &subnets)?.filter(|entry| entry.is_reserved());
    let entry = entry.ok_or_else(|| Trouble::NotFound(format!("{} is not a reservation", subnets.name())))?;
    match entry.lease {
        Ok(lease) if !lease.ways.is_empty() => {
            let (value, term) = (value(&lease, Some(TERM_AFTER_RESERVATION))?, claim::millis(Some(TERM_AFTER_RESERVATION)));
            let answer = redis.run(PUT, &[&subnets.name(), &value, &term, "version", &entry.version, "0", "1"])?;
            let done = answer.first().is_some_and(|done| done == "1");
            if done { Ok(()) } else { Err(Trouble::Conflict(format!("{} was changed meanwhile", subnets.name()))) }
        }
        _ => remove(redis, &subnets, &entry.version),
    }
}
