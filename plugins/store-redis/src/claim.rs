//! Claiming a subnet. The choice is made here, on a view of all leases, and written on the condition that no lease has come, gone or changed hands since that view; else the view is
//! old, and everything begins again. So no two nodes ever hold parts of the same range.

use twill_guest::store::{Held, Lease, Prefixes, Subnets, Trouble, term_of};

use crate::entry::{Entry, held, value};
use crate::redis::{PUT, Redis};
use crate::view::{Whole, whole};

/// Views that may turn out to be old before the host is asked to try again later.
const ATTEMPTS: usize = 64;

/// How a candidate stands.
enum Standing<'a> {
    Free,
    Ours(&'a Entry),
    Taken(String),
}

/// Takes the first of `candidates` that nobody holds.
///
/// # Errors
/// None is free, or Redis cannot be asked.
pub fn claim(redis: &Redis, candidates: &[Prefixes], wish: &Lease) -> Result<Held, Trouble> {
    let term = term_of(wish)?;
    let candidates: Vec<Subnets> = candidates.iter().map(Subnets::parse).collect::<Result<_, _>>()?;
    for _ in 0..ATTEMPTS {
        let seen = whole(redis)?;
        let Some((subnets, ours)) = choose(&seen, &candidates, wish)? else { continue };
        let lease = Lease { subnets: subnets.prefixes(), ..wish.clone() };
        let reserved = ours.is_some_and(Entry::is_reserved);
        if let Some(written) = write(redis, &seen.owners, &subnets, lease, if reserved { None } else { term })? {
            return Ok(written);
        }
    }
    Err(Trouble::Retry("other nodes claim faster than this one can look".into()))
}

/// The first candidate that may be taken, and what is there of this node's.
fn choose<'a>(seen: &'a Whole, candidates: &[Subnets], wish: &Lease) -> Result<Option<(Subnets, Option<&'a Entry>)>, Trouble> {
    let mut holders = Vec::new();
    for subnets in candidates {
        match standing(seen, subnets, wish) {
            Standing::Free => return Ok(Some((*subnets, None))),
            Standing::Ours(entry) => return Ok(Some((*subnets, Some(entry)))),
            Standing::Taken(holder) => holders.push(format!("{} is held by {holder}", subnets.name())),
        }
    }
    holders.truncate(3);
    Err(Trouble::Conflict(format!("none of the {} candidates is free: {}", candidates.len(), holders.join("; "))))
}

fn standing<'a>(seen: &'a Whole, subnets: &Subnets, wish: &Lease) -> Standing<'a> {
    let mut own = None;
    for entry in seen.entries.iter().filter(|entry| entry.subnets.overlap(subnets)) {
        if entry.subnets == *subnets && entry.belongs_to(wish) {
            own = Some(entry);
        } else {
            return Standing::Taken(entry.owner());
        }
    }
    own.map_or(Standing::Free, Standing::Ours)
}

/// Writes a lease if no owner has changed since `owners`; none when one has.
///
/// # Errors
/// Redis cannot be asked.
pub fn write(redis: &Redis, owners: &str, subnets: &Subnets, lease: Lease, term: Option<u32>) -> Result<Option<Held>, Trouble> {
    let (value, milliseconds) = (value(&lease, term)?, millis(term));
    let answer = redis.run(PUT, &[&subnets.name(), &value, &milliseconds, "owners", owners, "0", "1"])?;
    Ok(match &answer[..] {
        [done, version, reserved] if done == "1" => Some(held(lease, version, reserved == "1", term)),
        _ => None,
    })
}

/// A term as scripts take it: milliseconds, "0" for none.
pub fn millis(term: Option<u32>) -> String {
    (u64::from(term.unwrap_or(0)) * 1_000).to_string()
}

/// Reserves for the node of `lease`: writes it without a term, if nobody else holds a part of it.
///
/// # Errors
/// Another holds a part of it, or Redis cannot be asked.
pub fn reserve(redis: &Redis, subnets: &Subnets, lease: &Lease) -> Result<(), Trouble> {
    for _ in 0..ATTEMPTS {
        let seen = whole(redis)?;
        let standing = standing(&seen, subnets, &Lease { node: owner_there(&seen, subnets, lease), ..lease.clone() });
        let wanted = match standing {
            Standing::Taken(holder) => return Err(Trouble::Conflict(format!("{} is held by {holder}", subnets.name()))),
            Standing::Ours(Entry { lease: Ok(there), .. }) => there.clone(),
            _ => Lease { node: None, ways: vec![], ..lease.clone() },
        };
        if write(redis, &seen.owners, subnets, wanted, None)?.is_some() {
            return Ok(());
        }
    }
    Err(Trouble::Retry("other nodes claim faster than this one can look".into()))
}

/// An operator names a node by its public address alone: the id of who holds the subnets at that address.
fn owner_there(seen: &Whole, subnets: &Subnets, lease: &Lease) -> Option<String> {
    let there = seen.entries.iter().find(|entry| entry.subnets == *subnets)?.lease.as_ref().ok()?;
    if there.public.v4 == lease.public.v4 { there.node.clone() } else { lease.node.clone() }
}

#[cfg(test)]
mod tests {
    use twill_guest::store::{Addresses, Lifetime};

    use super::*;

    fn wish(node: &str) -> Lease {
        Lease {
            subnets: Prefixes { v4: None, v6: None },
            public: Addresses { v4: Some(format!("192.0.2.{}", node.len())), v6: None },
            ways: vec![],
            node: Some(node.into()),
            life: Lifetime::Seconds(60),
        }
    }

    fn subnets(text: &str) -> Subnets {
        Subnets::parse(&Prefixes { v4: Some(text.into()), v6: None }).expect("subnets")
    }

    fn holding(text: &str, node: &str) -> Whole {
        let value = value(&wish(node), Some(60)).expect("a value");
        let entry = Entry::of(&subnets(text).name(), &[value, "1".into(), "1".into()]).expect("a name").expect("an entry");
        let (identity, number, owners) = ("i".into(), "1".into(), "1".into());
        Whole { identity, number, owners, config: None, entries: vec![entry], strange: vec![] }
    }

    #[test]
    fn what_overlaps_is_taken_and_the_next_is_not() {
        let seen = holding("10.1.2.0/24", "a");
        let candidates = ["10.1.2.0/23", "10.1.2.128/25", "10.1.3.0/24"].map(subnets);
        let chosen = choose(&seen, &candidates, &wish("bb")).expect("one is free").expect("chosen");
        assert_eq!(chosen.0, subnets("10.1.3.0/24"));
        let refused = choose(&seen, &candidates[..2], &wish("bb")).expect_err("none is free");
        assert!(matches!(refused, Trouble::Conflict(text) if text.contains("held by node a at 192.0.2.1")));
    }

    #[test]
    fn the_own_lease_is_found_again() {
        let seen = holding("10.1.2.0/24", "a");
        let (_, ours) = choose(&seen, &[subnets("10.1.2.0/24")], &wish("a")).expect("its own").expect("chosen");
        assert!(ours.is_some());
    }
}
