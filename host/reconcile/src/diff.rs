//! The difference between what there should be and what there is, as steps in a lawful order.
//!
//! Order law: make link, address, neighbour, FDB entry, endpoint, route; then break route, endpoint, FDB entry, neighbour, address, link.
//! So a route never points at what is not there yet, and nothing a packet may still need goes before its route. Equal state gives no step.
//! Endpoints and senders are not the kernel's: [`crate::tunnel`] hands them to the fast path as whole tables.
//!
//! Pure.

use std::collections::BTreeSet;

use twill_model::Prefixes;
use twill_model::item::{Assignment, Item, Link, LinkKind, LinkName, PROOF_METRIC, PROOF_METRICS, Route};
use twill_model::state::{Desired, HostItem, Observed, ObservedRoute, Step};

use crate::seen::Seen;

/// What flannel's routes carry (`RTPROT_BOOT`, linux/rtnetlink.h), as all do that name no protocol.
const FLANNELS_PROTOCOL: u8 = 3;

/// Where the host holds the own base address while no link of a way carries it.
pub const LOOPBACK: &str = "lo";

/// What is ours to remove: routes with our protocol inside our networks, flannel's on links taken over from it, and whatever else stands on our links.
#[derive(Debug, Clone, Copy)]
pub struct Ownership<'a> {
    /// Our route protocol.
    pub protocol: u8,
    /// The cluster's networks, and those it had before in this run.
    pub networks: &'a [Prefixes],
    /// The links that we made.
    pub links: &'a BTreeSet<LinkName>,
    /// Tunnel links that the fast path holds open as planned.
    pub held: &'a BTreeSet<LinkName>,
}

/// The steps from what was seen to `desired`.
pub fn diff(desired: &Desired, seen: &Seen<'_>, own: &Ownership) -> Vec<Step> {
    let observed = seen.observed;
    let mut steps: Vec<Step> = Vec::new();
    for sysctl in &desired.sysctls {
        // A setting whose path is missing belongs to a link that is not there yet.
        if observed.sysctls.get(&sysctl.path).is_some_and(|value| *value != sysctl.value) {
            steps.push(Step::Set(sysctl.clone()));
        }
    }
    let wanted = desired.items.values().map(|(item, _)| item);
    steps.extend(wanted.filter(|item| !present(item, seen, own)).cloned().map(Step::Make));
    steps.extend(unwanted(desired, observed, own).into_iter().map(Step::Break));
    steps.sort_by_key(rank);
    steps
}

/// True when the kernel has the item as planned. Tunnel tables are always taken for present: they are swapped whole.
pub fn present(item: &HostItem, seen: &Seen<'_>, own: &Ownership) -> bool {
    match item {
        Item::Link(link) => link_present(link, seen.observed, own),
        Item::Assignment(wanted) => seen.has_address(wanted),
        Item::Route(wanted) => {
            let mut there = seen.routes(wanted.to, wanted.metric).iter();
            // One that a predecessor made is made again with our mark, in one request, or nobody would ever take it away.
            there.any(|there| same_route(&there.route, wanted) && plain(there) && there.protocol == own.protocol)
        }
        Item::Neighbour(wanted) => seen.has_neighbour(wanted),
        Item::Fdb(wanted) => seen.has_fdb(wanted),
        Item::Endpoint(_) | Item::Sender(_) => true,
        Item::Wireguard(_) => false,
    }
}

fn link_present(wanted: &Link<LinkName>, observed: &Observed, own: &Ownership) -> bool {
    let Some(there) = observed.link(&wanted.on) else { return false };
    let kind = match wanted.kind {
        LinkKind::Tunnel { .. } => own.held.contains(&wanted.on),
        _ => there.kind.as_ref() == Some(&wanted.kind),
    };
    kind && there.up && there.mtu == wanted.mtu && wanted.mac.is_none_or(|mac| there.mac == Some(mac))
}

fn same_route(there: &Route<LinkName>, wanted: &Route<LinkName>) -> bool {
    // With a gateway the scope is global anyway, so the wish for it says nothing.
    let scope = wanted.via.is_some() || wanted.to.addr().is_ipv6() || there.scope_global == wanted.scope_global;
    scope && there.via == wanted.via && there.on == wanted.on && there.onlink == wanted.onlink && there.mtu == wanted.mtu
}

/// A route that the host can have made: unicast, without a metric or with one of those by which ways are proved.
fn plain(there: &ObservedRoute) -> bool {
    let metric = there.route.metric;
    !there.special && (metric == 0 || (PROOF_METRIC..PROOF_METRIC + PROOF_METRICS).contains(&metric))
}

fn unwanted(desired: &Desired, observed: &Observed, own: &Ownership) -> Vec<HostItem> {
    let routes = observed.routes.iter().filter(|there| ours(there, own)).map(|there| Item::Route(there.route.clone()));
    let addresses = observed.addresses.iter().filter(|a| inside(a, own)).cloned().map(Item::Assignment);
    let neighbours = observed.neighbours.iter().filter(|n| own.links.contains(&n.on)).cloned().map(Item::Neighbour);
    let fdb = observed.fdb.iter().filter(|f| own.links.contains(&f.on)).cloned().map(Item::Fdb);
    let links = observed.links.iter().filter(|l| own.links.contains(&l.name)).map(|l| {
        let kind = l.kind.clone().unwrap_or(LinkKind::Tunnel { port: 0, local: Default::default() });
        Item::Link(Link { on: l.name.clone(), name: l.name.0.clone(), kind, mtu: l.mtu, mac: l.mac })
    });
    let all = routes.chain(addresses).chain(neighbours).chain(fdb).chain(links);
    all.filter(|item| !desired.items.contains_key(&item.key())).collect()
}

fn ours(there: &ObservedRoute, own: &Ownership) -> bool {
    let made = there.protocol == own.protocol || left_by_flannel(there, own);
    plain(there) && made && own.networks.iter().any(|networks| networks.cover(there.route.to))
}

/// flannel forgets peers that left while it was stopped: their routes stay on the device that was taken over from it.
fn left_by_flannel(there: &ObservedRoute, own: &Ownership) -> bool {
    let route = &there.route;
    let shape = route.onlink && route.via == Some(route.to.network());
    shape && there.protocol == FLANNELS_PROTOCOL && own.links.contains(&route.on)
}

/// Ours on a foreign link are only base addresses that the host holds on loopback: of the networks, and a prefix of their own.
fn inside(there: &Assignment<LinkName>, own: &Ownership) -> bool {
    let held = there.on.0 == LOOPBACK && there.address.prefix_len() == there.address.max_prefix_len();
    (held || own.links.contains(&there.on)) && own.networks.iter().any(|networks| networks.contains(there.address.addr()))
}

/// Where a step stands in the order law.
pub fn rank(step: &Step) -> u8 {
    match step {
        Step::Make(item) => make_rank(item),
        Step::Set(_) => 1,
        Step::Break(item) => 20 - make_rank(item),
    }
}

/// The first rank of a step that must come after the tunnels' tables: routes, and everything that is taken away.
pub const AFTER_TABLES: u8 = 7;

fn make_rank(item: &HostItem) -> u8 {
    match item {
        Item::Link(_) => 0,
        Item::Assignment(_) => 2,
        Item::Neighbour(_) => 3,
        Item::Fdb(_) | Item::Wireguard(_) => 4,
        Item::Sender(_) => 5,
        Item::Endpoint(_) => 6,
        Item::Route(_) => AFTER_TABLES,
    }
}

#[cfg(test)]
#[path = "diff_tests.rs"]
mod tests;
