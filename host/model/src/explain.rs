//! How a packet for one pod address leaves this node, leg by leg, with the first broken one marked. Made from a snapshot; pure.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::lease::Lifetime;
use crate::peers::peers;
use crate::status::{ItemStatus, LeaseStatus, PathState, PathStatus, Snapshot, Standing, Verdict};

/// How one leg stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// As it should be.
    Good,
    /// Not as it should be: packets stop here.
    Broken,
    /// It works, and not as well as it should; or it is not known.
    Doubtful,
}

/// One leg of the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Step {
    /// What it is: "lease", "way", "route", ….
    pub what: String,
    /// How it is, in one sentence.
    pub says: String,
    /// How it stands.
    pub health: Health,
}

/// The whole way to one address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Explained {
    /// The address that was asked about.
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// The legs, from the lease to the last proof.
    pub steps: Vec<Step>,
    /// The place of the first broken leg; none when all are good.
    pub broken: Option<usize>,
}

/// Explains the way to `address`.
pub fn explain(snapshot: &Snapshot, address: IpAddr) -> Explained {
    let lease = snapshot.leases.iter().find(|lease| lease.subnets.contains(address));
    let steps = match lease {
        None => vec![nobodys(snapshot, address)],
        Some(lease) if lease.own => at_home(snapshot, lease),
        Some(lease) => abroad(snapshot, lease, address),
    };
    let broken = steps.iter().position(|step| step.health == Health::Broken);
    Explained { address, steps, broken }
}

fn step(what: &str, health: Health, says: impl Into<String>) -> Step {
    Step { what: what.into(), says: says.into(), health }
}

fn good(what: &str, says: impl Into<String>) -> Step {
    step(what, Health::Good, says)
}

fn nobodys(snapshot: &Snapshot, address: IpAddr) -> Step {
    let inside = snapshot.node.networks.iter().filter_map(|range| range.parse::<IpNet>().ok()).any(|range| range.contains(&address));
    let says = match inside {
        true => "nobody holds a subnet with this address: there is no lease of it in the store",
        false => "this address is outside the cluster's networks: packets for it leave by this host's own routes",
    };
    step("lease", Health::Broken, says)
}

/// Packets flow without the store; what is told of the lease may be old.
fn store(snapshot: &Snapshot) -> Option<Step> {
    let store = &snapshot.node.store;
    let why = store.error.as_deref().map_or_else(String::new, |error| format!(": {error}"));
    let away = !store.name.is_empty() && !store.reachable;
    away.then(|| step("store", Health::Doubtful, format!("{} does not answer{why}; what follows is as it was last read", store.name)))
}

fn held(lease: &LeaseStatus) -> Step {
    let life = match lease.life {
        Lifetime::Reserved => "for ever (reserved)".into(),
        Lifetime::Unknown => "until the store ends it".into(),
        Lifetime::Seconds(seconds) => format!("for {} min more", seconds / 60),
    };
    let who = match (&lease.node, lease.own) {
        (_, true) => "this node".to_owned(),
        (Some(id), _) => format!("node {id}"),
        (None, _) => "a real flannel node".to_owned(),
    };
    good("lease", format!("{} is held by {who}, {life}", lease.subnets))
}

fn at_home(snapshot: &Snapshot, lease: &LeaseStatus) -> Vec<Step> {
    let place = match snapshot.node.ready {
        true => good("place", "it is a pod of this very node: packets for it go to the local bridge, by no tunnel"),
        false => step("place", Health::Doubtful, "it is a pod of this very node, which is not ready"),
    };
    vec![held(lease), place]
}

fn abroad(snapshot: &Snapshot, lease: &LeaseStatus, address: IpAddr) -> Vec<Step> {
    let path = snapshot.paths.iter().find(|path| path.subnets == lease.subnets);
    let mut steps: Vec<Step> = store(snapshot).into_iter().collect();
    steps.extend([held(lease), node(lease), published(lease)]);
    steps.extend(path.map(way));
    let name = path.and_then(|path| path.way.clone());
    if let Some(name) = &name {
        steps.extend(links(snapshot, name));
    }
    let of_family = |text: &str| {
        text.split('/').next().and_then(|first| first.parse::<IpAddr>().ok()).is_none_or(|other| other.is_ipv4() == address.is_ipv4())
    };
    steps.push(route(snapshot, lease, address));
    for kind in ["neighbour", "fdb", "endpoint", "sender"] {
        let mine = |item: &&ItemStatus| item.kind == kind && item.lease == Some(lease.subnets) && of_family(&item.what);
        steps.extend(
            snapshot
                .state
                .iter()
                .filter(mine)
                .filter(|item| kind == "sender" || name.as_ref().is_none_or(|name| item.backend == *name))
                .map(item),
        );
    }
    steps.extend(snapshot.state.iter().filter(|item| item.kind == "rules").map(item));
    steps.extend(snapshot.state.iter().filter(|item| item.kind == "firewall").map(firewall));
    steps.extend(path.and_then(proof));
    steps.extend(drops(snapshot, lease));
    steps
}

fn node(lease: &LeaseStatus) -> Step {
    good("node", format!("it is reached at {} on the underlay", lease.public))
}

fn published(lease: &LeaseStatus) -> Step {
    let ways: Vec<&str> = lease.ways.iter().map(|way| if way.backend.is_empty() { "udp" } else { way.backend.as_str() }).collect();
    match ways.is_empty() {
        true => step("ways", Health::Broken, "it publishes no way: a reservation that no node uses"),
        false => good("ways", format!("it receives by {}", ways.join(", then "))),
    }
}

fn way(path: &PathStatus) -> Step {
    let why = path.reason.as_deref().map_or_else(String::new, |reason| format!(": {reason}"));
    match (&path.way, path.state) {
        (None, _) => step("way", Health::Broken, format!("none can be used{why}")),
        (Some(way), PathState::Moved) => good("way", format!("{way}, the one that is wanted, and proved")),
        (Some(way), PathState::Proving) => {
            step("way", Health::Doubtful, format!("{way}, while the one that is wanted is being proved{why}"))
        }
        (Some(way), PathState::Held) => {
            step("way", Health::Doubtful, format!("{way}, held back from {}{why}", path.wanted.as_deref().unwrap_or("another")))
        }
        // What answers nothing may be in order up to here: the proof, further down, is the broken leg.
        (Some(way), PathState::Down) => step("way", Health::Doubtful, format!("{way}, which does not answer{why}")),
    }
}

fn links(snapshot: &Snapshot, way: &str) -> Vec<Step> {
    let own: Vec<Step> = snapshot.state.iter().filter(|item| item.kind == "link" && item.backend == way).map(item).collect();
    if own.is_empty() { vec![good("link", format!("{}, the underlay itself: packets go bare", snapshot.node.underlay))] } else { own }
}

fn route(snapshot: &Snapshot, lease: &LeaseStatus, address: IpAddr) -> Step {
    let to = |item: &&ItemStatus| item.what.parse::<IpNet>().ok().filter(|to| to.contains(&address));
    let planned = snapshot.state.iter().filter(|item| item.kind == "route" && item.standing != Standing::Leaving);
    // Those that only proofs take have a metric.
    let plain = planned.filter(|item| item.desired.as_deref().is_none_or(|words| !words.contains(" metric ")));
    let exact = plain.filter_map(|item| to(&item).map(|to| (to.prefix_len(), item))).max_by_key(|(length, _)| *length);
    match exact {
        Some((_, found)) => item(found),
        None => step("route", Health::Broken, format!("there is none to {}, and none is planned", lease.subnets)),
    }
}

fn item(item: &ItemStatus) -> Step {
    let planned = item.desired.as_deref().unwrap_or(&item.what);
    let why = item.reason.as_deref().map_or_else(String::new, |reason| format!(" ({reason})"));
    let found = item.observed.as_deref().map_or_else(String::new, |found| format!("; found instead: {found}"));
    match item.standing {
        Standing::Present => good(&item.kind, planned),
        Standing::Missing => step(&item.kind, Health::Broken, format!("{planned} is not in place{found}{why}")),
        Standing::Failed => step(&item.kind, Health::Broken, format!("{planned} was refused by the kernel{why}")),
        Standing::Refused => step(&item.kind, Health::Broken, format!("{planned} was refused by policy{why}")),
        Standing::Leaving => step(&item.kind, Health::Doubtful, format!("{} goes before long", item.what)),
    }
}

/// A chain of somebody else's that drops what pods send.
fn firewall(item: &ItemStatus) -> Step {
    let says = item.reason.clone().unwrap_or_else(|| format!("{} drops pods' packets", item.what));
    step("firewall", Health::Broken, says)
}

fn proof(path: &PathStatus) -> Option<Step> {
    let used = path.ways.iter().find(|way| way.in_use)?;
    let counts = format!("{} of {} echoes came back", used.answered, used.sent);
    let leg = path.leg.as_deref().map_or_else(String::new, |leg| format!("; {leg}"));
    Some(match used.verdict {
        Verdict::Proved => {
            let rtt = used.rtt_us.map_or_else(String::new, |rtt| format!(", {:.2} ms there and back", f64::from(rtt) / 1000.0));
            let bytes = used.proved_bytes.map_or_else(String::new, |bytes| format!(", packets of up to {bytes} bytes"));
            match &path.narrow {
                Some(narrow) => {
                    step("proof", Health::Doubtful, format!("the MTU on the road is smaller than the link's: {narrow}; {counts}{rtt}"))
                }
                None => good("proof", format!("{counts}{rtt}{bytes}")),
            }
        }
        Verdict::Unknown => step("proof", Health::Doubtful, format!("not proved yet; {counts}")),
        Verdict::Failed => {
            let missing = used.reason.as_deref().unwrap_or("echoes do not come back");
            step("proof", Health::Broken, format!("{missing}; {counts}{leg}"))
        }
    })
}

/// What twill's own tunnel dropped of the peer's packets.
fn drops(snapshot: &Snapshot, lease: &LeaseStatus) -> Option<Step> {
    let its = peers(snapshot).into_iter().find(|peer| peer.subnets == lease.subnets)?;
    let dropped: Vec<String> = its.drops.iter().map(|(why, count)| format!("{count} {why}")).collect();
    (!dropped.is_empty()).then(|| {
        step("drops", Health::Doubtful, format!("dropped on this node of what goes there or comes from there: {}", dropped.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::address::{Addresses, Prefixes};
    use crate::lease::Way;
    use crate::status::WayStatus;

    fn subnets() -> Prefixes {
        Prefixes { v4: "10.1.2.0/24".parse().ok(), v6: None }
    }

    fn item(kind: &str, what: &str, backend: &str, standing: Standing) -> ItemStatus {
        let lease = (kind != "link").then(subnets);
        let desired = Some(format!("{kind} {what}"));
        ItemStatus { kind: kind.into(), what: what.into(), desired, observed: None, standing, backend: backend.into(), lease, reason: None }
    }

    fn snapshot() -> Snapshot {
        let way = Way { backend: "vxlan".into(), options: "{}".into(), data_v4: None, data_v6: None };
        let lease = LeaseStatus {
            subnets: subnets(),
            public: Addresses { v4: "192.0.2.2".parse().ok(), v6: None },
            node: Some("n2".into()),
            ways: vec![way],
            way: Some("vxlan".into()),
            reason: None,
            own: false,
            life: Lifetime::Seconds(600),
            seen_ms: 0,
        };
        let used = WayStatus { way: "vxlan".into(), in_use: true, verdict: Verdict::Proved, sent: 2, answered: 2, ..WayStatus::default() };
        let path = PathStatus {
            subnets: subnets(),
            way: Some("vxlan".into()),
            wanted: Some("vxlan".into()),
            state: PathState::Moved,
            ways: vec![used],
            ..PathStatus::default()
        };
        let state = [("link", "flannel.1"), ("route", "10.1.2.0/24"), ("neighbour", "10.1.2.0"), ("fdb", "0a:00:00:00:00:02")];
        let mut snapshot = Snapshot { leases: vec![lease], paths: vec![path], ..Snapshot::default() };
        snapshot.node.networks = vec!["10.1.0.0/16".into()];
        snapshot.state = state.iter().map(|(kind, what)| item(kind, what, "vxlan", Standing::Present)).collect::<Vec<_>>().into();
        snapshot
    }

    fn broken(snapshot: &Snapshot, address: &str) -> Option<String> {
        let explained = explain(snapshot, address.parse().expect("an address"));
        explained.broken.map(|place| explained.steps[place].what.clone())
    }

    #[test]
    fn a_good_path_is_told_leg_by_leg() {
        let explained = explain(&snapshot(), "10.1.2.7".parse().expect("an address"));
        let legs: Vec<&str> = explained.steps.iter().map(|step| step.what.as_str()).collect();
        assert_eq!(legs, ["lease", "node", "ways", "way", "link", "route", "neighbour", "fdb", "proof"]);
        assert_eq!(explained.broken, None);
    }

    #[test]
    fn a_path_that_carries_less_than_its_link_is_doubtful_and_breaks_nothing() {
        let mut narrow = snapshot();
        narrow.paths[0].narrow = Some("packets of up to 1350 bytes come back, those of 1450 do not: the route says so".into());
        let explained = explain(&narrow, "10.1.2.7".parse().expect("an address"));
        let proof = explained.steps.iter().find(|step| step.what == "proof").expect("a proof");
        assert!(proof.health == Health::Doubtful && proof.says.contains("up to 1350 bytes"), "{proof:?}");
        assert_eq!(explained.broken, None);
    }

    #[test]
    fn a_store_that_is_away_is_told_and_breaks_nothing() {
        let mut away = snapshot();
        away.node.store.name = "store-etcd".into();
        away.node.store.error = Some("connection refused".into());
        let explained = explain(&away, "10.1.2.7".parse().expect("an address"));
        assert_eq!((explained.steps[0].what.as_str(), explained.steps[0].health), ("store", Health::Doubtful));
        assert!(explained.steps[0].says.contains("connection refused"));
        assert_eq!(explained.broken, None);
    }

    #[test]
    fn the_first_broken_leg_is_marked() {
        assert_eq!(broken(&snapshot(), "10.1.9.7").as_deref(), Some("lease"));
        assert_eq!(broken(&snapshot(), "8.8.8.8").as_deref(), Some("lease"));
        for (place, what) in [(0, "link"), (1, "route"), (2, "neighbour"), (3, "fdb")] {
            let mut snapshot = snapshot();
            Arc::make_mut(&mut snapshot.state)[place].standing = Standing::Missing;
            assert_eq!(broken(&snapshot, "10.1.2.7").as_deref(), Some(what));
        }
        let mut gone = snapshot();
        Arc::make_mut(&mut gone.state).retain(|item| item.kind != "route");
        assert_eq!(broken(&gone, "10.1.2.7").as_deref(), Some("route"));
        let mut closed = snapshot();
        Arc::make_mut(&mut closed.state).push(item("firewall", "chain forward of table inet guard", "host", Standing::Missing));
        assert_eq!(broken(&closed, "10.1.2.7").as_deref(), Some("firewall"));
        let mut silent = snapshot();
        silent.paths[0].ways[0].verdict = Verdict::Failed;
        silent.paths[0].state = PathState::Down;
        assert_eq!(broken(&silent, "10.1.2.7").as_deref(), Some("proof"));
        let mut unusable = snapshot();
        unusable.paths[0].way = None;
        assert_eq!(broken(&unusable, "10.1.2.7").as_deref(), Some("way"));
    }
}
