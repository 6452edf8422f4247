//! On which leg a path that carries nothing stops: on this node, on the road to the peer's host, at the tunnel's port, or at a size. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::Value;
use twill_model::status::{ItemStatus, Standing, WayStatus};
use twill_model::{Lease, Prefixes};
use twill_reconcile::way_names::backend_of;

/// Whether hosts of peers that no way reaches answer an echo on the underlay.
pub type HostsAlive = BTreeMap<IpAddr, bool>;

/// A leg that does not work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leg {
    /// In a sentence.
    pub says: String,
    /// In a few words.
    pub short: String,
}

impl Leg {
    fn new(short: impl Into<String>, says: impl Into<String>) -> Leg {
        Leg { says: says.into(), short: short.into() }
    }
}

/// The pieces of this node's own network state that are not as they should be and that packets to peers need.
#[derive(Debug, Default)]
pub struct Broken<'a> {
    of_peers: BTreeMap<Prefixes, Vec<&'a ItemStatus>>,
    /// Links, and routes that all peers of a way share.
    shared: Vec<&'a ItemStatus>,
}

/// The kinds that packets need, in the order in which they meet them.
const NEEDED: [&str; 5] = ["route", "neighbour", "fdb", "endpoint", "sender"];

impl<'a> Broken<'a> {
    /// Picks them out of all items.
    pub fn of(items: &'a [ItemStatus]) -> Broken<'a> {
        let mut broken = Broken::default();
        let amiss = |item: &&ItemStatus| matches!(item.standing, Standing::Missing | Standing::Failed | Standing::Refused);
        // Routes with a metric are taken by proofs only.
        let proofs = |item: &ItemStatus| item.kind == "route" && item.desired.as_deref().is_some_and(|words| words.contains(" metric "));
        for item in items.iter().filter(amiss).filter(|item| !proofs(item)) {
            match item.lease {
                Some(lease) if NEEDED.contains(&item.kind.as_str()) => broken.of_peers.entry(lease).or_default().push(item),
                None if matches!(item.kind.as_str(), "link" | "route") => broken.shared.push(item),
                _ => {}
            }
        }
        broken
    }

    /// The first that packets to `peer` by `way` meet.
    pub fn on_the_way(&self, peer: &Prefixes, way: &str) -> Option<Leg> {
        let shared = |kind: &str| self.shared.iter().find(|item| item.backend == way && item.kind == kind);
        let mine = || self.of_peers.get(peer).into_iter().flatten().filter(|item| item.backend == way);
        let first = NEEDED.iter().find_map(|kind| mine().find(|item| item.kind == *kind));
        shared("link").or_else(|| shared("route")).or(first).map(|item| here(item))
    }
}

fn here(item: &ItemStatus) -> Leg {
    let how = match item.standing {
        Standing::Failed => "was refused by the kernel",
        Standing::Refused => "was refused by policy",
        _ if item.observed.is_some() => "was replaced by another hand",
        _ => "is missing",
    };
    let found = item.observed.as_deref().map_or_else(String::new, |found| format!(": there is {found}"));
    let why = item.reason.as_deref().map_or_else(String::new, |reason| format!(": {reason}"));
    Leg::new(format!("the {} here", item.kind), format!("on this node: the {} {} {how}{found}{why}", item.kind, item.what))
}

/// Where a way in use stops over which nothing, or nothing large, comes back.
pub fn silent(way: &WayStatus, small_came: bool, peer: &Lease, roads: &HostsAlive) -> Leg {
    let public = peer.public;
    if small_came {
        let missing = way.reason.as_deref().unwrap_or("large packets do not come back");
        return Leg::new(
            "the packet size",
            format!("between here and {public}: {missing}; the MTU on the road is smaller than this node's"),
        );
    }
    let hosts: Vec<bool> = public.iter().filter_map(|address| roads.get(&address).copied()).collect();
    let door = port(peer, &way.way).map_or_else(|| format!("packets of {}", way.way), |port| format!("UDP port {port}"));
    if hosts.contains(&true) {
        return Leg::new(
            door.clone(),
            format!(
                "between here and {public}: the host answers and nothing comes back by {}: {door} is filtered, or nobody listens there",
                way.way
            ),
        );
    }
    if hosts.contains(&false) {
        return Leg::new("the host", format!("the host {public} does not answer on the underlay either: it is down, or cut off from here"));
    }
    Leg::new("the road or the peer", format!("between here and {public}: no way answers, {} is kept", way.way))
}

/// The UDP port by which a peer receives on a way, as it publishes it; none for what goes bare.
fn port(peer: &Lease, way: &str) -> Option<u64> {
    let backend = backend_of(way);
    let usual = match backend {
        "udp" => 8285,
        "vxlan" => 8472,
        _ => return None,
    };
    let published = peer.ways.iter().find(|published| published.backend == backend || (published.backend.is_empty() && backend == "udp"));
    let options = published.and_then(|way| serde_json::from_str::<Value>(&way.options).ok());
    Some(options.and_then(|options| options.get("Port")?.as_u64()).filter(|port| *port != 0).unwrap_or(usual))
}
