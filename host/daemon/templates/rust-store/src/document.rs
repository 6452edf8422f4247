//! What the file holds, and the contract's rules on it. Pure: time is an argument, in milliseconds by the directory's own clock.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use twill_guest::record::{Pair, WayRecord};
use twill_guest::store::*;

/// Changes that are kept for those who watch.
const LOG: usize = 1_000;
/// Seconds that a reservation in use lives on when the reservation ends.
const TERM_AFTER_RESERVATION: u32 = 86_400;

/// Everything.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Document {
    /// Another one when the store was made anew.
    pub identity: String,
    /// The time of the last write; the time now is the file's age later.
    pub clock: u64,
    /// The number of the last change.
    pub number: u64,
    config: Option<String>,
    leases: BTreeMap<String, Stored>,
    /// Numbers and what changed: "" for the config, else the name of a lease.
    log: Vec<(u64, String)>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Stored {
    node: Option<String>,
    public: Pair,
    ways: Vec<WayRecord>,
    /// In seconds; none: a reservation.
    term: Option<u32>,
    /// When it is over.
    until: Option<u64>,
    /// The number of its last write.
    version: u64,
}

impl Stored {
    fn lease(&self, subnets: &Subnets, now: u64) -> Lease {
        let left = |until: u64| u32::try_from(until.saturating_sub(now) / 1_000).unwrap_or(u32::MAX);
        Lease {
            subnets: subnets.prefixes(),
            public: self.public.clone().into(),
            ways: self.ways.iter().cloned().map(Way::from).collect(),
            node: self.node.clone(),
            life: self.until.map_or(Lifetime::Reserved, |until| Lifetime::Seconds(left(until))),
        }
    }

    /// By id, or where there is none by public address.
    fn belongs_to(&self, lease: &Lease) -> bool {
        match &self.node {
            Some(node) => lease.node.as_ref() == Some(node),
            None => self.public == Pair::from(lease.public.clone()),
        }
    }

    fn owner(&self) -> String {
        self.node.clone().or_else(|| self.public.v4.clone()).unwrap_or_else(|| "another node".into())
    }
}

impl Document {
    /// An empty one, with a mark of its own.
    pub fn new(identity: String) -> Document {
        Document { identity, ..Document::default() }
    }

    fn note(&mut self, what: &str) -> u64 {
        self.number += 1;
        self.log.push((self.number, what.to_owned()));
        let surplus = self.log.len().saturating_sub(LOG);
        self.log.drain(..surplus);
        self.number
    }

    /// Removes the leases whose term is over.
    pub fn end_what_is_over(&mut self, now: u64) {
        let over = |stored: &Stored| stored.until.is_some_and(|until| until <= now);
        let names: Vec<String> =
            self.leases.iter().filter(|(_, stored)| over(stored)).map(|(name, _)| name.clone()).collect();
        names.iter().for_each(|name| self.remove(name));
    }

    fn remove(&mut self, name: &str) {
        self.leases.remove(name);
        self.note(name);
    }

    /// Milliseconds until the next lease is over.
    pub fn next_end(&self, now: u64) -> Option<u64> {
        self.leases.values().filter_map(|stored| stored.until).min().map(|until| until.saturating_sub(now))
    }

    fn put(&mut self, subnets: &Subnets, lease: &Lease, term: Option<u32>, now: u64) -> Held {
        let version = self.note(&subnets.name());
        let until = term.map(|term| now + u64::from(term) * 1_000);
        let ways = lease.ways.iter().cloned().map(WayRecord::from).collect();
        let stored =
            Stored { node: lease.node.clone(), public: lease.public.clone().into(), ways, term, until, version };
        let lease = stored.lease(subnets, now);
        self.leases.insert(subnets.name(), stored);
        Held { lease, token: version.to_string() }
    }

    /// The config in the place of `replacing`.
    pub fn write_config(&mut self, config: &str, replacing: Option<&str>) -> Result<(), Trouble> {
        if self.config.as_deref() != replacing {
            return Err(Trouble::Conflict("the config was changed meanwhile".into()));
        }
        self.config = Some(config.into());
        self.note("");
        Ok(())
    }

    /// Everything.
    pub fn snapshot(&self, now: u64) -> Snapshot {
        let named = self.leases.iter().filter_map(|(name, stored)| Some((Subnets::from_name(name)?, stored)));
        let leases = named.map(|(subnets, stored)| stored.lease(&subnets, now)).collect();
        let cursor = format!("{}:{}", self.identity, self.number);
        Snapshot { config: self.config.clone(), leases, oddities: vec![], cursor, identity: self.identity.clone() }
    }

    /// What has changed since a cursor, each thing as it is now.
    pub fn since(&self, cursor: &str, now: u64) -> Result<Changes, Trouble> {
        let lost = || Trouble::LostCursor(format!("the cursor {cursor:?} is none of this store's, or too old"));
        let (identity, number) = cursor.rsplit_once(':').ok_or_else(lost)?;
        let from: u64 = number.parse().map_err(|_| lost())?;
        let oldest = self.log.first().map_or(self.number, |(number, _)| number - 1);
        if identity != self.identity || from > self.number || from < oldest {
            return Err(lost());
        }
        let mut changed: Vec<&String> = Vec::new();
        for (_, what) in self.log.iter().filter(|(number, _)| *number > from) {
            changed.retain(|earlier| *earlier != what);
            changed.push(what);
        }
        let changes = changed.into_iter().filter_map(|what| self.change(what, now)).collect();
        Ok(Changes { changes, cursor: format!("{}:{}", self.identity, self.number) })
    }

    fn change(&self, what: &str, now: u64) -> Option<Change> {
        if what.is_empty() {
            return Some(Change::Config(self.config.clone()));
        }
        let subnets = Subnets::from_name(what)?;
        Some(
            self.leases
                .get(what)
                .map_or(Change::Gone(subnets.prefixes()), |stored| Change::Put(stored.lease(&subnets, now))),
        )
    }

    /// Takes the first candidate that overlaps nobody else's lease.
    pub fn claim(&mut self, candidates: &[Prefixes], wish: &Lease, now: u64) -> Result<Held, Trouble> {
        let term = term_of(wish)?;
        for candidate in candidates {
            let subnets = Subnets::parse(candidate)?;
            if self.holder(&subnets, wish).is_none() {
                let reserved = self.leases.get(&subnets.name()).is_some_and(|stored| stored.until.is_none());
                return Ok(self.put(&subnets, wish, if reserved { None } else { term }, now));
            }
        }
        Err(Trouble::Conflict(format!("none of the {} candidates is free", candidates.len())))
    }

    /// Who else holds these subnets, or a part of them.
    fn holder(&self, subnets: &Subnets, wish: &Lease) -> Option<String> {
        let overlapping =
            self.leases.iter().filter(|(name, _)| Subnets::from_name(name).is_some_and(|other| other.overlap(subnets)));
        let foreign = |(name, stored): &(&String, &Stored)| **name != subnets.name() || !stored.belongs_to(wish);
        overlapping.filter(foreign).map(|(_, stored)| stored.owner()).next()
    }

    /// The lease of just these subnets, if it is of the version of this token.
    fn held(&self, subnets: &Subnets, token: &str) -> Result<&Stored, Trouble> {
        let name = subnets.name();
        let stored = self.leases.get(&name).ok_or_else(|| Trouble::NotFound(format!("{name} is gone")))?;
        if stored.version.to_string() == token {
            return Ok(stored);
        }
        Err(Trouble::Conflict(format!("{name} was changed meanwhile; it is held by {}", stored.owner())))
    }

    /// Takes the node's own lease as it stands, for the term that it has.
    pub fn adopt(&mut self, mine: &Lease, now: u64) -> Result<Held, Trouble> {
        let subnets = Subnets::parse(&mine.subnets)?;
        let name = subnets.name();
        let stored = self.leases.get(&name).ok_or_else(|| Trouble::NotFound(format!("there is no lease {name}")))?;
        if !stored.belongs_to(mine) {
            return Err(Trouble::Conflict(format!("{name} is held by {}", stored.owner())));
        }
        let (term, stands) = (stored.term, stored.lease(&subnets, now));
        Ok(self.put(&subnets, &Lease { node: mine.node.clone(), ..stands }, term, now))
    }

    /// Renews and republishes; a reservation stays one.
    pub fn publish(&mut self, mine: &Held, now: u64) -> Result<Held, Trouble> {
        let subnets = Subnets::parse(&mine.lease.subnets)?;
        let reserved = self.held(&subnets, &mine.token)?.until.is_none();
        let term = if reserved { None } else { term_of(&mine.lease)? };
        Ok(self.put(&subnets, &mine.lease, term, now))
    }

    /// Gives the lease back; a reservation stays, unused.
    pub fn release(&mut self, mine: &Held) -> Result<(), Trouble> {
        let subnets = Subnets::parse(&mine.lease.subnets)?;
        match self.held(&subnets, &mine.token) {
            Err(Trouble::NotFound(_)) => Ok(()),
            Err(other) => Err(other),
            Ok(stored) if stored.until.is_none() => {
                self.put(&subnets, &Lease { node: None, ways: vec![], ..mine.lease.clone() }, None, 0);
                Ok(())
            }
            Ok(_) => {
                self.remove(&subnets.name());
                Ok(())
            }
        }
    }

    /// Pins the subnets to the node with the lease's public address; who holds them there keeps them.
    pub fn reserve(&mut self, lease: &Lease, now: u64) -> Result<(), Trouble> {
        let subnets = Subnets::parse(&lease.subnets)?;
        let there = self
            .leases
            .get(&subnets.name())
            .filter(|stored| stored.public == Pair::from(lease.public.clone()))
            .cloned();
        let wanted = match &there {
            Some(stored) => stored.lease(&subnets, now),
            None => Lease { node: None, ways: vec![], ..lease.clone() },
        };
        match self.holder(&subnets, &wanted) {
            Some(holder) => Err(Trouble::Conflict(format!("{} is held by {holder}", subnets.name()))),
            None => {
                self.put(&subnets, &wanted, None, now);
                Ok(())
            }
        }
    }

    /// Ends a reservation; in use, it becomes an ordinary lease.
    pub fn unreserve(&mut self, subnets: &Prefixes, now: u64) -> Result<(), Trouble> {
        let subnets = Subnets::parse(subnets)?;
        let reserved = self.leases.get(&subnets.name()).filter(|stored| stored.until.is_none());
        let lease = reserved.map(|stored| stored.lease(&subnets, now));
        let lease = lease.ok_or_else(|| Trouble::NotFound(format!("{} is not a reservation", subnets.name())))?;
        if lease.ways.is_empty() {
            self.remove(&subnets.name());
        } else {
            self.put(&subnets, &lease, Some(TERM_AFTER_RESERVATION), now);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
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

    fn net(text: &str) -> Prefixes {
        Prefixes { v4: Some(text.into()), v6: None }
    }

    #[test]
    fn what_overlaps_is_not_given_out() {
        let mut document = Document::default();
        document.claim(&[net("10.1.2.0/24")], &wish("a"), 0).expect("free");
        let refused = document.claim(&[net("10.1.2.0/23"), net("10.1.2.128/25")], &wish("bb"), 0);
        assert!(matches!(refused, Err(Trouble::Conflict(_))), "{refused:?}");
        let next = document.claim(&[net("10.1.2.0/24"), net("10.1.3.0/24")], &wish("bb"), 0).expect("the second");
        assert_eq!(next.lease.subnets, net("10.1.3.0/24"));
    }

    #[test]
    fn a_write_on_an_old_token_is_refused() {
        let mut document = Document::default();
        let first = document.claim(&[net("10.1.2.0/24")], &wish("a"), 0).expect("free");
        let second = document.publish(&first, 10).expect("renewed");
        assert!(matches!(document.publish(&first, 20), Err(Trouble::Conflict(_))));
        document.release(&second).expect("given back");
        assert!(matches!(document.publish(&second, 30), Err(Trouble::NotFound(_))));
    }

    #[test]
    fn a_reservation_waits_for_its_node() {
        let mut document = Document::default();
        document.reserve(&Lease { subnets: net("10.1.2.0/24"), node: None, ..wish("a") }, 0).expect("reserved");
        assert!(document.claim(&[net("10.1.2.0/24")], &wish("bb"), 0).is_err());
        let held = document.claim(&[net("10.1.2.0/24")], &wish("a"), 0).expect("its own");
        assert_eq!(held.lease.life, Lifetime::Reserved);
        document.end_what_is_over(u64::MAX);
        assert_eq!(document.snapshot(0).leases.len(), 1);
    }
}
