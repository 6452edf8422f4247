//! Metrics in Prometheus' text format (version 0.0.4), made anew from the snapshot for each scrape: nothing is counted twice, and a daemon that nobody scrapes spends
//! nothing on it.
//!
//! Names follow Prometheus' conventions: base units, `_total` for what only grows. `host/dist/prometheus` holds rules over them, `host/dist/grafana` a dashboard.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use twill_model::lease::Lifetime;
use twill_model::peers::{PeerStatus, peers};
use twill_model::status::{PathState, PluginState, Snapshot, Traffic};

/// Beyond so many peers there are no series of single peers: a scrape stays below a megabyte. Sums, states and drops are told at any size.
const SINGLE_PEERS: usize = 1_000;

/// The labels of a sample.
type Labels = Vec<(&'static str, String)>;

/// One metric with its samples.
#[derive(Debug)]
struct Metric {
    /// Without unit and `_total`.
    name: &'static str,
    help: &'static str,
    unit: Option<Unit>,
    kind: MetricType,
    samples: Vec<(Labels, f64)>,
}

/// The metrics of a snapshot as text; `now_ms` in milliseconds since the Unix epoch, `newest` the id of the newest event.
pub fn text(snapshot: &Arc<Snapshot>, now_ms: u64, newest: u64) -> String {
    let mut registry = Registry::with_prefix("twill");
    registry.register_collector(Box::new(Scrape(all(snapshot, now_ms, newest))));
    let mut text = String::new();
    prometheus_text::encode(&mut text, &registry).expect("writing to a string does not fail");
    text
}

#[derive(Debug)]
struct Scrape(Vec<Metric>);

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        for metric in self.0.iter().filter(|metric| !metric.samples.is_empty()) {
            let mut family = encoder.encode_descriptor(metric.name, metric.help, metric.unit.as_ref(), metric.kind)?;
            for (labels, value) in &metric.samples {
                let mut sample = family.encode_family(labels)?;
                match metric.kind {
                    MetricType::Counter => sample.encode_counter::<NoLabelSet, _, f64>(value, None)?,
                    _ => sample.encode_gauge(value)?,
                }
            }
        }
        Ok(())
    }
}

fn gauge(name: &'static str, unit: Option<Unit>, help: &'static str, samples: impl IntoIterator<Item = (Labels, f64)>) -> Metric {
    Metric { name, help, unit, kind: MetricType::Gauge, samples: samples.into_iter().collect() }
}

fn counter(name: &'static str, unit: Option<Unit>, help: &'static str, samples: impl IntoIterator<Item = (Labels, f64)>) -> Metric {
    Metric { name, help, unit, kind: MetricType::Counter, samples: samples.into_iter().collect() }
}

/// A sample without labels.
fn bare(value: f64) -> [(Labels, f64); 1] {
    [(Vec::new(), value)]
}

fn truth(value: bool) -> f64 {
    f64::from(u8::from(value))
}

fn all(snapshot: &Snapshot, now_ms: u64, newest: u64) -> Vec<Metric> {
    let groups =
        [node(snapshot, now_ms, newest), cluster(snapshot), items(snapshot), tunnels(snapshot), single_peers(snapshot), plugins(snapshot)];
    groups.into_iter().flatten().collect()
}

fn node(snapshot: &Snapshot, now_ms: u64, newest: u64) -> Vec<Metric> {
    let node = &snapshot.node;
    let seconds = |ms: u64| ms as f64 / 1_000.0;
    let own = snapshot.leases.iter().find(|lease| lease.own);
    let left = own.and_then(|own| match own.life {
        Lifetime::Seconds(life) => Some(f64::from(life) - (now_ms as f64 - own.seen_ms as f64) / 1_000.0),
        Lifetime::Reserved | Lifetime::Unknown => None,
    });
    let build = vec![("version", node.version.clone()), ("instance_name", node.instance.clone())];
    vec![
        gauge("build_info", None, "Always 1; the version is a label", [(build, 1.0)]),
        gauge("start_time", Some(Unit::Seconds), "When the daemon started, since the Unix epoch", bare(seconds(node.started_ms))),
        gauge("ready", None, "1 while there is a lease, the plan is in force and the data path runs", bare(truth(node.ready))),
        gauge("problems", None, "How many things are wrong, as `twill status` lists them", bare(node.problems.len() as f64)),
        gauge(
            "store_reachable",
            None,
            "1 while the last call to the store succeeded",
            [(vec![("store", node.store.name.clone())], truth(node.store.reachable))],
        ),
        gauge(
            "store_remembered",
            None,
            "1 while leases come from the book on disk, since the store was not read yet",
            bare(truth(node.store.remembered)),
        ),
        gauge(
            "lease_remaining",
            Some(Unit::Seconds),
            "How long this node's lease lasts without renewal; absent without a lease and for a reservation",
            left.map(|left| (Vec::new(), left)),
        ),
        gauge(
            "lease_renewal_timestamp",
            Some(Unit::Seconds),
            "When the lease is renewed next, since the Unix epoch",
            node.renewal_ms.map(|at| (Vec::new(), seconds(at))),
        ),
        gauge(
            "underlay_mtu",
            Some(Unit::Bytes),
            "MTU of the underlay interface",
            [(vec![("interface", node.underlay.clone())], f64::from(node.underlay_mtu))],
        ),
        gauge(
            "pod_mtu",
            Some(Unit::Bytes),
            "MTU for pods; absent before there is a plan",
            node.pod_mtu.map(|mtu| (Vec::new(), f64::from(mtu))),
        ),
        counter("reconcile_passes", None, "Comparisons of the plan with the kernel", bare(snapshot.work.passes as f64)),
        counter(
            "reconcile_changes",
            None,
            "Items made, removed or set in the kernel, repairs among them",
            bare(snapshot.work.changes as f64),
        ),
        counter(
            "reconcile_repairs",
            None,
            "Items that another hand took away or changed, and that were made again",
            bare(snapshot.work.repairs as f64),
        ),
        counter("events", None, "Events told, those of earlier runs too", bare(newest as f64)),
    ]
}

fn cluster(snapshot: &Snapshot) -> Vec<Metric> {
    let ranges = |value: fn(&twill_model::status::RangeStatus) -> u64| {
        let of = move |range: &twill_model::status::RangeStatus| (vec![("network", range.network.clone())], value(range) as f64);
        snapshot.network.ranges.iter().map(of).collect::<Vec<_>>()
    };
    let states = [(PathState::Proving, "proving"), (PathState::Moved, "moved"), (PathState::Held, "held"), (PathState::Down, "down")];
    let paths = states
        .map(|(state, name)| (vec![("state", name.to_owned())], snapshot.paths.iter().filter(|path| path.state == state).count() as f64));
    let peers = snapshot.leases.iter().filter(|lease| !lease.own);
    vec![
        gauge("leases", None, "Leases of the cluster, this node's too", bare(snapshot.leases.len() as f64)),
        gauge(
            "peers_without_way",
            None,
            "Peers that no way leads to from here",
            bare(peers.filter(|lease| lease.way.is_none()).count() as f64),
        ),
        gauge("network_subnets", None, "Subnets that the network has", ranges(|range| range.subnets)),
        gauge("network_free_subnets", None, "Subnets that nobody holds", ranges(|range| range.free)),
        gauge(
            "paths",
            None,
            "Paths to peers: proving (being tried), moved (on the way that is wanted), held (on another one), down",
            paths,
        ),
    ]
}

fn items(snapshot: &Snapshot) -> Vec<Metric> {
    let mut counts: BTreeMap<(String, String), u32> = BTreeMap::new();
    for item in snapshot.state.iter() {
        *counts.entry((item.kind.clone(), format!("{:?}", item.standing).to_lowercase())).or_default() += 1;
    }
    let samples = counts.into_iter().map(|((kind, standing), count)| (vec![("kind", kind), ("standing", standing)], f64::from(count)));
    vec![gauge("items", None, "Pieces of network state, by kind and by how they stand", samples)]
}

/// One of the four figures of some traffic.
struct Figure {
    of: fn(&Traffic) -> u64,
    sent: bool,
    bytes: bool,
}

const FIGURES: [Figure; 4] = [
    Figure { of: |traffic| traffic.sent_packets, sent: true, bytes: false },
    Figure { of: |traffic| traffic.sent_bytes, sent: true, bytes: true },
    Figure { of: |traffic| traffic.received_packets, sent: false, bytes: false },
    Figure { of: |traffic| traffic.received_bytes, sent: false, bytes: true },
];

/// The metrics of some traffic; `names` are those of what was sent and of what was received.
fn traffic(names: [&'static str; 2], samples: &[(Labels, Traffic)]) -> Vec<Metric> {
    const SENT: &str = "Sent to peers through the tunnel; inner packets, without outer headers";
    const RECEIVED: &str = "Received from peers through the tunnel; inner packets, without outer headers";
    let metric = |figure: Figure| {
        let unit = if figure.bytes { Unit::Bytes } else { Unit::Other("packets".into()) };
        let samples = samples.iter().map(|(labels, traffic)| (labels.clone(), (figure.of)(traffic) as f64));
        let (name, help) = if figure.sent { (names[0], SENT) } else { (names[1], RECEIVED) };
        counter(name, Some(unit), help, samples)
    };
    FIGURES.map(metric).into()
}

fn tunnels(snapshot: &Snapshot) -> Vec<Metric> {
    let link = |link: &str| vec![("link", link.to_owned())];
    let totals: Vec<_> = snapshot.tunnels.iter().map(|tunnel| (link(&tunnel.link), tunnel.total)).collect();
    let drops = snapshot.tunnels.iter().flat_map(|tunnel| {
        tunnel.drops.iter().map(|(reason, count)| (vec![("link", tunnel.link.clone()), ("reason", reason.clone())], *count as f64))
    });
    let drops = counter("tunnel_dropped", Some(Unit::Other("packets".into())), "Packets that were not carried, by reason", drops);
    traffic(["tunnel_transmit", "tunnel_receive"], &totals).into_iter().chain([drops]).collect()
}

fn single_peers(snapshot: &Snapshot) -> Vec<Metric> {
    let peers = peers(snapshot);
    let count = gauge("peers", None, "Other nodes; beyond 1000 there are no metrics of single peers", bare(peers.len() as f64));
    if peers.len() > SINGLE_PEERS {
        return vec![count];
    }
    let labels = |peer: &PeerStatus| vec![("peer", peer.subnets.to_string()), ("way", peer.way.clone().unwrap_or_else(|| "none".into()))];
    let subnet = |peer: &PeerStatus| vec![("peer", peer.subnets.to_string())];
    let counted: Vec<_> = peers.iter().filter_map(|peer| Some((subnet(peer), peer.traffic?))).collect();
    let heard = peers.iter().filter_map(|peer| Some((subnet(peer), peer.heard_ms? as f64 / 1_000.0)));
    let trips = peers.iter().filter_map(|peer| Some((labels(peer), f64::from(peer.rtt_us?) / 1e6)));
    let lost = peers.iter().filter_map(|peer| Some((labels(peer), f64::from(peer.loss_permille?) / 1_000.0)));
    let proved = peers.iter().filter_map(|peer| Some((labels(peer), f64::from(peer.proved_bytes?))));
    let drops = peers.iter().flat_map(|peer| {
        peer.drops.iter().map(|(reason, count)| (vec![("peer", peer.subnets.to_string()), ("reason", reason.clone())], *count as f64))
    });
    let mut metrics = traffic(["peer_transmit", "peer_receive"], &counted);
    metrics.extend([
        counter(
            "peer_dropped",
            Some(Unit::Other("packets".into())),
            "Packets to and from the peer that were not carried, by reason",
            drops,
        ),
        count,
        gauge(
            "peer_heard_timestamp",
            Some(Unit::Seconds),
            "When something last arrived from the peer through the tunnel, since the Unix epoch",
            heard,
        ),
        gauge("peer_round_trip", Some(Unit::Seconds), "Round trip over the way in use, smoothed", trips),
        gauge("peer_loss", Some(Unit::Other("ratio".into())), "Part of the last echoes over the way in use that did not come back", lost),
        gauge("peer_proved_packet", Some(Unit::Bytes), "Largest inner packet that went over the way in use and came back", proved),
    ]);
    metrics
}

fn plugins(snapshot: &Snapshot) -> Vec<Metric> {
    let known: Vec<_> = snapshot.plugins.iter().filter(|plugin| plugin.state != PluginState::Refused).collect();
    let of = |value: fn(&twill_model::status::PluginStatus) -> f64| {
        known.iter().map(|plugin| (vec![("plugin", plugin.name.clone())], value(plugin))).collect::<Vec<_>>()
    };
    let mut states: BTreeMap<String, u32> = ["active", "idle", "backoff", "refused"].map(|state| (state.to_owned(), 0)).into();
    for plugin in &snapshot.plugins {
        *states.entry(format!("{:?}", plugin.state).to_lowercase()).or_default() += 1;
    }
    let states = states.into_iter().map(|(state, count)| (vec![("state", state)], f64::from(count)));
    vec![
        gauge("plugins", None, "Plugin files, by how they fare", states),
        counter("plugin_calls", None, "Calls of the plugin", of(|plugin| plugin.calls as f64)),
        counter("plugin_failures", None, "Calls that ended by a trap, or for lack of time or memory", of(|plugin| plugin.failures as f64)),
        counter("plugin_restarts", None, "Instances made anew after a failure", of(|plugin| plugin.restarts as f64)),
        counter("plugin_guest", Some(Unit::Seconds), "Time spent inside the plugin", of(|plugin| plugin.guest_us as f64 / 1e6)),
        gauge("plugin_memory", Some(Unit::Bytes), "Largest memory that an instance has had", of(|plugin| plugin.memory as f64)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use twill_model::status::LeaseStatus;

    #[test]
    fn a_fresh_daemon_has_no_made_up_figures() {
        let text = text(&Arc::default(), 1_000, 0);
        assert!(text.contains("# TYPE twill_ready gauge\ntwill_ready 0"), "{text}");
        for absent in ["twill_lease_remaining_seconds", "twill_pod_mtu_bytes", "twill_peer_round_trip_seconds"] {
            assert!(!text.contains(absent), "{absent} is told of:\n{text}");
        }
    }

    #[test]
    fn the_lease_counts_down_from_when_it_was_told() {
        let own = LeaseStatus {
            subnets: Default::default(),
            public: Default::default(),
            node: None,
            ways: Vec::new(),
            way: None,
            reason: None,
            own: true,
            life: Lifetime::Seconds(60),
            seen_ms: 10_000,
        };
        let snapshot = Arc::new(Snapshot { leases: vec![own], ..Snapshot::default() });
        assert!(text(&snapshot, 25_500, 0).contains("\ntwill_lease_remaining_seconds 44.5\n"));
        assert!(text(&snapshot, 71_000, 0).contains("\ntwill_lease_remaining_seconds -1.0\n"), "a lease that has ended says so");
    }
}
