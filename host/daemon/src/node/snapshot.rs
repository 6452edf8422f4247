//! The snapshot that the API shows, made from what the rooms publish. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use twill_lease::cluster::Cluster;
use twill_model::event::Event;
use twill_model::network::{Prefix, Range};
use twill_model::node::Node;
use twill_model::proof::Pair;
use twill_model::status::{
    LeaseStatus, NetworkStatus, NodeStatus, PathStatus, PluginStatus, RangeStatus, Snapshot, StoreStatus, TunnelStatus,
};
use twill_model::{Lease, scrub};
use twill_probe::report::Report;
use twill_reconcile::view::Outcome;
use twill_reconcile::way_names::backend_of;

use super::legs::HostsAlive;
use super::paths::Seen;
use super::reach::cut_off;
use super::subnet_file::FileState;

/// What does not change while the daemon runs.
#[derive(Debug, Clone)]
pub struct Constants {
    /// The host's name.
    pub hostname: String,
    /// The instance.
    pub instance: String,
    /// The store plugin's name.
    pub store: String,
    /// When the daemon started, in milliseconds since the Unix epoch.
    pub started_ms: u64,
}

/// Everything that changes.
pub struct Parts<'a> {
    /// This node.
    pub node: &'a Node,
    /// The cluster.
    pub cluster: &'a Cluster,
    /// The last pass.
    pub outcome: &'a Outcome,
    /// What the prober found.
    pub reports: &'a BTreeMap<Pair, Report>,
    /// Which hosts of peers that no way reaches answer on the underlay.
    pub hosts: &'a HostsAlive,
    /// The plugins.
    pub plugins: Vec<PluginStatus>,
    /// The tunnels' counters.
    pub tunnels: Vec<TunnelStatus>,
    /// What happened.
    pub events: Vec<Event>,
    /// How subnet.env is.
    pub file: FileState,
    /// Now, in milliseconds of the boot clock and of the Unix epoch.
    pub now: Now,
}

/// One moment by both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Milliseconds of the boot clock.
    pub boot_ms: u64,
    /// Milliseconds since the Unix epoch.
    pub unix_ms: u64,
}

impl Now {
    /// A moment of the boot clock by the wall clock.
    fn unix(&self, boot_ms: u64) -> u64 {
        (self.unix_ms + boot_ms).saturating_sub(self.boot_ms)
    }
}

/// The snapshot of this moment.
pub fn snapshot(constants: &Constants, parts: Parts) -> Snapshot {
    let network = network_status(parts.cluster);
    let paths = paths(&parts);
    Snapshot {
        node: node_status(constants, &parts, cut_off(&paths, parts.hosts)),
        leases: leases(&parts),
        paths,
        state: parts.outcome.items.clone(),
        plugins: parts.plugins,
        tunnels: parts.tunnels,
        events: parts.events,
        network,
        work: parts.outcome.work,
    }
}

fn network_status(cluster: &Cluster) -> NetworkStatus {
    let Some(config) = cluster.config.as_deref() else { return NetworkStatus::default() };
    let leases = || cluster.own.iter().chain(cluster.peers.iter().map(Arc::as_ref)).map(|lease| lease.subnets);
    let v4 = config.v4.as_ref().map(|range| range_status(range, leases().filter_map(|subnets| subnets.v4)));
    let v6 = config.v6.as_ref().map(|range| range_status(range, leases().filter_map(|subnets| subnets.v6)));
    NetworkStatus {
        ranges: v4.into_iter().chain(v6).collect(),
        backend: Some(config.backend.clone()),
        waiting: cluster.config_waiting.is_some(),
    }
}

fn range_status<N: Prefix>(range: &Range<N>, taken: impl Iterator<Item = N>) -> RangeStatus {
    /// Larger whole numbers lose digits in readers that know floating point only.
    const EXACT: u128 = 1 << 53;
    let held = taken.filter(|subnet| range.fits(*subnet)).count() as u128;
    let exact = |count: u128| u64::try_from(count.min(EXACT)).unwrap_or(u64::MAX);
    RangeStatus {
        network: range.network.to_string(),
        subnet_len: range.subnet_len,
        min: range.min.to_string(),
        max: range.max.to_string(),
        subnets: exact(range.count()),
        free: exact(range.count().saturating_sub(held)),
    }
}

fn paths(parts: &Parts) -> Vec<PathStatus> {
    let Parts { cluster, outcome, reports, hosts, .. } = *parts;
    super::paths::paths(&Seen { cluster, outcome, reports, hosts, now: (Instant::now(), parts.now.unix_ms) })
}

fn node_status(constants: &Constants, parts: &Parts, cut_off: Option<String>) -> NodeStatus {
    let Parts { node, cluster, outcome, .. } = parts;
    let config = cluster.config.as_deref();
    let in_place = cluster.own.is_some() && cluster.permit && !cluster.withdrawn && outcome.in_force && parts.file.written;
    let ready = in_place && cut_off.is_none();
    let mut problems = cluster.problems.clone();
    problems.extend(cut_off.filter(|_| in_place));
    problems.extend(parts.file.problem.iter().chain(&outcome.problems).cloned());
    NodeStatus {
        id: node.id.to_string(),
        hostname: constants.hostname.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        instance: constants.instance.clone(),
        started_ms: constants.started_ms,
        underlay: node.underlay.name.clone(),
        underlay_mtu: node.underlay.mtu,
        public: node.public,
        subnets: cluster.own.as_ref().map(|own| own.subnets),
        networks: config.map(|config| super::inputs::networks(config).iter().map(|net| net.to_string()).collect()).unwrap_or_default(),
        pod_mtu: outcome.pod_mtu,
        backend: config.map(|config| config.backend.clone()),
        store: store_status(constants, cluster),
        ready,
        problems,
        renewal_ms: cluster.renewal.map(|boot_ms| parts.now.unix(boot_ms)),
    }
}

fn store_status(constants: &Constants, cluster: &Cluster) -> StoreStatus {
    StoreStatus {
        name: constants.store.clone(),
        reachable: cluster.store.reachable,
        remembered: cluster.remembered,
        error: cluster.store.error.clone(),
        oddities: cluster.store.oddities.iter().map(|oddity| (oddity.place.clone(), oddity.reason.clone())).collect(),
    }
}

fn leases(parts: &Parts) -> Vec<LeaseStatus> {
    let own = parts.cluster.own.iter().map(|lease| (lease, true));
    let peers = parts.cluster.peers.iter().map(|lease| (lease.as_ref(), false));
    let mut leases: Vec<LeaseStatus> = own.chain(peers).map(|(lease, own)| lease_status(lease, own, parts)).collect();
    leases.sort_by_key(|lease| lease.subnets);
    leases
}

fn lease_status(lease: &Lease, own: bool, parts: &Parts) -> LeaseStatus {
    let choice = parts.outcome.ways.get(&lease.subnets);
    let told = parts.cluster.told.get(&lease.subnets);
    LeaseStatus {
        subnets: lease.subnets,
        public: lease.public,
        node: lease.node.as_ref().map(ToString::to_string),
        ways: scrub::lease(lease).ways,
        way: choice.and_then(|choice| choice.way.as_deref()).map(|name| backend_of(name).to_owned()),
        reason: choice.map(|choice| choice.reason.clone()),
        own,
        life: lease.life,
        seen_ms: told.map_or(parts.now.unix_ms, |boot_ms| parts.now.unix(*boot_ms)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use twill_model::node::Underlay;
    use twill_model::{Addresses, Lifetime, NetworkConfig, NodeId, Prefixes};

    fn lease(third: u8) -> Lease {
        Lease {
            subnets: Prefixes { v4: format!("10.1.{third}.0/24").parse().ok(), v6: None },
            public: Addresses::default(),
            ways: Vec::new(),
            node: Some(NodeId(format!("n{third}"))),
            life: Lifetime::Seconds(60),
        }
    }

    #[test]
    fn own_lease_and_peers_stand_in_order_with_moments_by_the_wall_clock() {
        let node = Node {
            id: NodeId("n5".into()),
            underlay: Underlay { name: "eth0".into(), index: 2, mtu: 1500, addresses: Vec::new() },
            public: Addresses::default(),
            seed: "secret".into(),
        };
        let config = NetworkConfig::parse(r#"{"Network": "10.1.0.0/16"}"#).expect("a good config");
        let cluster = Cluster {
            config: Some(Arc::new(config)),
            own: Some(lease(5)),
            permit: true,
            peers: vec![lease(9).into(), lease(2).into()],
            told: [(lease(2).subnets, 1_000)].into(),
            renewal: Some(62_000),
            ..Cluster::default()
        };
        let constants = Constants { hostname: "a".into(), instance: "twill".into(), store: "store-file".into(), started_ms: 1 };
        let outcome = Outcome { in_force: true, ..Outcome::default() };
        let now = Now { boot_ms: 2_000, unix_ms: 1_700_000_002_000 };
        let parts = Parts {
            node: &node,
            cluster: &cluster,
            outcome: &outcome,
            reports: &BTreeMap::new(),
            hosts: &HostsAlive::new(),
            plugins: Vec::new(),
            tunnels: Vec::new(),
            events: Vec::new(),
            file: FileState { written: true, problem: None },
            now,
        };
        let shown = snapshot(&constants, parts);
        let order: Vec<_> = shown.leases.iter().map(|lease| (lease.node.as_deref(), lease.own)).collect();
        assert_eq!(order, [(Some("n2"), false), (Some("n5"), true), (Some("n9"), false)]);
        assert_eq!(shown.leases[0].seen_ms, 1_700_000_001_000);
        assert_eq!(shown.node.renewal_ms, Some(1_700_000_062_000));
        assert!(shown.node.ready);
        assert!(!serde_json::to_string(&shown).expect("JSON").contains("secret"));
    }
}
