//! The snapshot of a running node: what the API, the dashboard and the command line show. One is made whenever something changed;
//! readers take the newest and compute nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::address::{Addresses, Prefixes};
use crate::event::Event;
use crate::lease::{Lifetime, Way};
pub use crate::path::{PathState, PathStatus, Verdict, WayStatus};

/// Everything there is to show.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct Snapshot {
    /// This node.
    pub node: NodeStatus,
    /// All leases of the cluster, the own one too, by subnet.
    pub leases: Vec<LeaseStatus>,
    /// How each peer is reached from here, by subnet.
    #[serde(default)]
    pub paths: Vec<PathStatus>,
    /// Desired state against the kernel's.
    #[schema(value_type = Vec<ItemStatus>)]
    pub state: Arc<Vec<ItemStatus>>,
    /// All plugin files that were found.
    pub plugins: Vec<PluginStatus>,
    /// The data path's counters, a tunnel each.
    pub tunnels: Vec<TunnelStatus>,
    /// The newest events, oldest first, at most 200.
    pub events: Vec<Event>,
    /// The network: its config, and how much of it is taken.
    #[serde(default)]
    pub network: NetworkStatus,
    /// What the reconciler has done in this run.
    #[serde(default)]
    pub work: WorkStatus,
}

impl Snapshot {
    /// How many events a snapshot holds.
    pub const EVENTS: usize = 200;
}

/// This node and how it is.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct NodeStatus {
    /// The stable id.
    pub id: String,
    /// The host's name.
    pub hostname: String,
    /// twill's version.
    pub version: String,
    /// The instance, "twill" unless set.
    pub instance: String,
    /// Milliseconds since the Unix epoch at which the daemon started.
    pub started_ms: u64,
    /// The underlay interface.
    pub underlay: String,
    /// Its MTU in bytes.
    pub underlay_mtu: u32,
    /// Where peers reach this node.
    pub public: Addresses,
    /// The own subnets, once there is a lease.
    pub subnets: Option<Prefixes>,
    /// The overlay's ranges, once there is a config.
    pub networks: Vec<String>,
    /// MTU for pods in bytes, once there is a plan.
    pub pod_mtu: Option<u32>,
    /// The config's backend.
    pub backend: Option<String>,
    /// The store plugin and how it is.
    pub store: StoreStatus,
    /// True when there is a lease, the plan is in force and the data path runs.
    pub ready: bool,
    /// What is wrong, worst first, each one sentence; empty when all is well.
    pub problems: Vec<String>,
    /// Milliseconds since the Unix epoch at which the lease is renewed next.
    pub renewal_ms: Option<u64>,
}

/// What the reconciler has done since the daemon started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkStatus {
    /// Comparisons of the plan with the kernel.
    pub passes: u64,
    /// Items made, removed or set, repairs among them.
    pub changes: u64,
    /// Items that another hand took away or changed, and that were made again.
    pub repairs: u64,
}

/// The network that this node is part of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NetworkStatus {
    /// Its ranges, one a family.
    pub ranges: Vec<RangeStatus>,
    /// The config's backend, once there is a config.
    pub backend: Option<String>,
    /// True while the store holds another config that is not in force, because it would tear the running network down; `twill config accept` puts it in force.
    pub waiting: bool,
}

/// One of the network's ranges.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RangeStatus {
    /// The range.
    pub network: String,
    /// Length of a node's subnet in bits.
    pub subnet_len: u8,
    /// The first subnet that a node may get.
    pub min: String,
    /// The last one.
    pub max: String,
    /// How many subnets there are from the first to the last. At most 2^53, so that every reader of JSON has it exactly.
    pub subnets: u64,
    /// How many of them nobody holds.
    pub free: u64,
}

/// The store and how it is.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct StoreStatus {
    /// The plugin's name, such as "store-file".
    pub name: String,
    /// True when the last call to it succeeded.
    pub reachable: bool,
    /// True while leases come from the book kept on disk instead of the store.
    pub remembered: bool,
    /// The last error, while it is not reachable.
    pub error: Option<String>,
    /// Things in the store that are not leases: where, and why.
    pub oddities: Vec<(String, String)>,
}

/// One lease.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LeaseStatus {
    /// Its subnets.
    pub subnets: Prefixes,
    /// Where its node is reached.
    pub public: Addresses,
    /// The owner's id; none for a real flannel node.
    pub node: Option<String>,
    /// The ways it is reached by, best first.
    pub ways: Vec<Way>,
    /// The way in use from here; none for the own lease, or when no way is usable.
    pub way: Option<String>,
    /// Why that way, or why none.
    pub reason: Option<String>,
    /// This node's own.
    pub own: bool,
    /// How long it lives on, as of `seen_ms`.
    pub life: Lifetime,
    /// Milliseconds since the Unix epoch at which `life` was told.
    pub seen_ms: u64,
}

/// How an item stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// The kernel has it as planned.
    Present,
    /// Planned, and the kernel lacks it or has another in its place.
    Missing,
    /// Planned, and the kernel refused it.
    Failed,
    /// Planned by a plugin, and refused by policy.
    Refused,
    /// Ours in the kernel and no longer planned; it goes after the drain time.
    Leaving,
}

/// One piece of network state, desired and observed.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ItemStatus {
    /// "link", "address", "route", "neighbour", "fdb", "endpoint", "sender", "sysctl", "table" or "rules".
    pub kind: String,
    /// What it is about: a prefix, an address, a name.
    pub what: String,
    /// As planned, in words; none for what is leaving.
    pub desired: Option<String>,
    /// As found, in words; none when missing.
    pub observed: Option<String>,
    /// How it stands.
    pub standing: Standing,
    /// The backend that planned it, or "host".
    pub backend: String,
    /// The peer's subnets, when it is there for one peer.
    pub lease: Option<Prefixes>,
    /// Why it failed or was refused.
    pub reason: Option<String>,
}

/// How a plugin file fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PluginState {
    /// Loaded and in use.
    Active,
    /// Loaded and not needed now.
    Idle,
    /// It failed and waits to be tried again.
    Backoff,
    /// It does not fit.
    Refused,
}

/// One plugin file.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PluginStatus {
    /// Its name, such as "backend-udp"; the file's name where it could not be asked.
    pub name: String,
    /// Its version.
    pub version: String,
    /// One line on what it does.
    pub summary: String,
    /// "store" or "backend"; none when it is neither.
    pub world: Option<String>,
    /// The contract's version, "0.1.0".
    pub contract: Option<String>,
    /// Where it was found.
    pub file: String,
    /// SHA-256 of the file in hex.
    pub digest: String,
    /// Interfaces that it imports.
    pub imports: Vec<String>,
    /// How it fares.
    pub state: PluginState,
    /// Why it was refused, or its last failure.
    pub error: Option<String>,
    /// Calls so far.
    pub calls: u64,
    /// Calls that failed by trap, time or memory.
    pub failures: u64,
    /// Instances made anew after a failure.
    pub restarts: u64,
    /// Time spent in the guest, in microseconds.
    pub guest_us: u64,
    /// Largest memory an instance has had, in bytes.
    pub memory: u64,
    /// How often it did what the policy or its grants forbid; none of it had an effect.
    #[serde(default)]
    pub violations: u64,
    /// What the last of these was.
    #[serde(default)]
    pub violation: Option<String>,
    /// What it may use; none for a file that is no plugin.
    #[serde(default)]
    pub limits: Option<PluginLimits>,
    /// What the operator granted to it; none for backends, which are granted nothing, and while it is not in use.
    #[serde(default)]
    pub granted: Option<PluginGrants>,
}

/// What an instance of a plugin may use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PluginLimits {
    /// Memory in bytes.
    pub memory: u64,
    /// Elements of one table.
    pub table_elements: u64,
    /// Core instances inside one component.
    pub instances: u64,
    /// Bytes that one call may hand to the host.
    pub output: u64,
    /// Milliseconds of computing without a call to the host.
    pub stretch_ms: u64,
    /// Milliseconds of computing in one call.
    pub computing_ms: u64,
    /// Calls to the host in one call.
    pub host_calls: u64,
    /// Log lines in one call.
    pub log_lines: u32,
    /// Milliseconds that a backend may take to answer, waiting included.
    pub plan_ms: u64,
    /// Milliseconds that a store may take to answer, waiting included.
    pub store_ms: u64,
    /// Milliseconds that a store's watch may take beyond the wait that was asked for.
    pub watch_slack_ms: u64,
    /// Items in one answer of a backend.
    pub items: u64,
}

/// What an operator granted to a store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PluginGrants {
    /// The directory that it may use.
    pub directory: Option<String>,
    /// The servers that it may speak to, by name, with their addresses.
    pub servers: BTreeMap<String, Vec<String>>,
}

/// The counters of one tunnel.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct TunnelStatus {
    /// The link's name.
    pub link: String,
    /// In all.
    pub total: Traffic,
    /// Packets dropped, by reason; see the fast path's list of reasons.
    pub drops: BTreeMap<String, u64>,
    /// By peer.
    pub peers: Vec<PeerTraffic>,
    /// How packets cross into the kernel; none from a daemon that does not tell.
    #[serde(default)]
    pub crossing: Option<Crossing>,
}

/// How the packets of a tunnel cross into the kernel: many at once where offloads allow it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Crossing {
    /// Queues of the TUN device; each has threads of its own.
    pub queues: usize,
    /// Offloads in force: "tso", "uso" (super-packets of TCP and UDP through the TUN device), "gso" (UDP_SEGMENT on sending), "gro" (UDP_GRO on receiving).
    pub offloads: Vec<String>,
    /// Offloads that are not in force: switched off, or missing in the kernel, or refused by the underlay.
    pub missing: Vec<String>,
    /// From pods to peers.
    pub sent: CrossingCounts,
    /// From peers to pods.
    pub received: CrossingCounts,
}

/// What crossed in one direction.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CrossingCounts {
    /// Times that packets were drained from their source, at least one each time.
    pub batches: u64,
    /// Super-packets read from the TUN device, or written to it.
    pub super_packets: u64,
    /// Packets that those stood for.
    pub segments: u64,
    /// Super-packets by the number of packets that each stood for: 1, 2 to 3, 4 to 7, 8 to 15, 16 to 31, 32 to 63, and 64 or more.
    pub sizes: Vec<u64>,
}

/// Packets and bytes both ways; inner packets, without outer headers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Traffic {
    /// Packets sent to peers.
    pub sent_packets: u64,
    /// Bytes sent to peers.
    pub sent_bytes: u64,
    /// Packets received from peers.
    pub received_packets: u64,
    /// Bytes received from peers.
    pub received_bytes: u64,
}

/// The traffic with one peer.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct PeerTraffic {
    /// The peer's outer address and port.
    pub peer: String,
    /// Counters.
    pub traffic: Traffic,
    /// Milliseconds since the Unix epoch at which something last arrived from it; none when nothing has.
    pub heard_ms: Option<u64>,
    /// Packets to and from it that were dropped, by reason; none from a daemon that does not tell.
    #[serde(default)]
    pub drops: BTreeMap<String, u64>,
}
