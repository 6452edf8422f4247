//! The tables that the fast path forwards by, made from a plan's tunnel items. Endpoints that are no longer wanted stay for the drain, unless
//! somebody else has their destination now.
//!
//! Pure; the time is passed in.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::time::Instant;

use ipnet::IpNet;
use twill_model::Addresses;
use twill_model::address::overlap;
use twill_model::item::{Item, Link, LinkKind, LinkName};
use twill_model::state::Desired;

use crate::drain::DRAIN;
use crate::ports::Forwarding;

/// The tunnels of a plan: each link with its table.
pub fn tables(desired: &Desired) -> BTreeMap<LinkName, (Link<LinkName>, Forwarding)> {
    let mut tables = BTreeMap::new();
    for (item, _) in desired.items.values() {
        if let Item::Link(link @ Link { kind: LinkKind::Tunnel { .. }, .. }) = item {
            let empty = Forwarding { endpoints: Vec::new(), senders: Vec::new(), answers_from: Addresses::default(), mtu: link.mtu };
            tables.insert(link.on.clone(), (link.clone(), empty));
        }
    }
    for (item, _) in desired.items.values() {
        let Some((_, table)) = tables.get_mut(item.on()) else { continue };
        match item {
            Item::Endpoint(e) => table.endpoints.push((e.to, e.peer, e.port)),
            Item::Sender(s) => table.senders.push((s.peer, s.inner.clone())),
            Item::Assignment(a) => match a.address.addr() {
                IpAddr::V4(own) => _ = table.answers_from.v4.get_or_insert(own),
                IpAddr::V6(own) => _ = table.answers_from.v6.get_or_insert(own),
            },
            _ => {}
        }
    }
    tables
}

/// Endpoints that are no longer wanted and still served.
#[derive(Debug, Default)]
pub struct Draining(Vec<(LinkName, (IpNet, IpAddr, u16), Instant)>);

impl Draining {
    /// Notes which endpoints of the table in force (`before`) are missing from the next one.
    pub fn note(&mut self, link: &LinkName, before: &Forwarding, next: &Forwarding, now: Instant) {
        // Nearly all stay as they are, and of thousands each is not to be compared with each.
        let same: HashSet<&(IpNet, IpAddr, u16)> = next.endpoints.iter().collect();
        let served =
            |endpoint: &(IpNet, IpAddr, u16)| same.contains(endpoint) || next.endpoints.iter().any(|wanted| overlap(wanted.0, endpoint.0));
        for endpoint in before.endpoints.iter().filter(|endpoint| !served(endpoint)) {
            if !self.0.iter().any(|(on, known, _)| on == link && known == endpoint) {
                self.0.push((link.clone(), *endpoint, now));
            }
        }
        self.0.retain(|(on, endpoint, since)| on != link || (now.duration_since(*since) < DRAIN && !served(endpoint)));
    }

    /// Adds to a table what is still to be served on that link.
    pub fn extend(&self, link: &LinkName, table: &mut Forwarding) {
        table.endpoints.extend(self.0.iter().filter(|(on, ..)| on == link).map(|(_, endpoint, _)| *endpoint));
    }

    /// When the next endpoint goes, after `now`.
    pub fn next(&self, now: Instant) -> Option<Instant> {
        self.0.iter().map(|(.., since)| *since + DRAIN).filter(|end| *end > now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(endpoints: &[(&str, &str)]) -> Forwarding {
        let endpoint = |(to, peer): &(&str, &str)| (to.parse().expect("a prefix"), peer.parse().expect("an address"), 8285);
        Forwarding {
            endpoints: endpoints.iter().map(endpoint).collect(),
            senders: Vec::new(),
            answers_from: Addresses::default(),
            mtu: 1472,
        }
    }

    #[test]
    fn a_lost_endpoint_is_served_for_the_drain() {
        let (link, start) = (LinkName("flannel0".into()), Instant::now());
        let (before, next) = (table(&[("10.1.1.0/24", "192.0.2.1"), ("10.1.2.0/24", "192.0.2.2")]), table(&[("10.1.1.0/24", "192.0.2.1")]));
        let mut draining = Draining::default();
        draining.note(&link, &before, &next, start);
        let mut served = next.clone();
        draining.extend(&link, &mut served);
        assert_eq!(served.endpoints, before.endpoints);
        draining.note(&link, &served, &next, start + DRAIN);
        let mut later = next.clone();
        draining.extend(&link, &mut later);
        assert_eq!(later, next);
    }

    #[test]
    fn a_new_owner_of_the_subnet_wins_at_once() {
        let (link, start) = (LinkName("flannel0".into()), Instant::now());
        let mut draining = Draining::default();
        let next = table(&[("10.1.1.0/24", "192.0.2.9")]);
        draining.note(&link, &table(&[("10.1.1.0/24", "192.0.2.1")]), &next, start);
        assert_eq!(draining.next(start), None);
    }
}
