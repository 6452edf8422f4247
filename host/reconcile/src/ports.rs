//! What the reconciler needs of the world: planners (the plugin room), the kernel (the kernel room) and the forwarder (the fast path).

use std::future::Future;
use std::net::IpAddr;

use ipnet::IpNet;
use twill_model::firewall::{Filter, Ruleset};
use twill_model::item::{Item, Link, LinkName};
use twill_model::node::Node;
use twill_model::state::{HostItem, Observed, Road, Sysctl};
use twill_model::status::TunnelStatus;
use twill_model::{Addresses, Lease, Mac, Way};

/// Why a backend gave no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// A normal answer: this way is not for here. The peer's next way is tried.
    #[error("unsuitable: {0}")]
    Unsuitable(String),
    /// The lease or the options are wrong.
    #[error("invalid: {0}")]
    Invalid(String),
    /// No plugin of that type is loaded.
    #[error("no backend plugin \"{0}\" is loaded")]
    Absent(String),
    /// The plugin failed (trap, time, memory, nonsense). The last good plan stays in force.
    #[error("{0}")]
    Plugin(String),
    /// The plugin failed on other questions and rests; this one was not asked.
    #[error("{0}")]
    Resting(String),
}

/// The network, as backends see it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Network {
    /// The overlay's ranges, IPv4 first.
    pub ranges: Vec<IpNet>,
    /// JSON text of the config's `Backend` object, or the config's backend type: what the contract's field `backend` carries.
    pub backend: String,
}

/// Who plans and with what; the contract's record `context`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Context {
    /// The network.
    pub network: Network,
    /// This node.
    pub node: Node,
    /// The own lease; its ways hold `way`.
    pub mine: Lease,
    /// The own way of the backend that is asked.
    pub way: Way,
    /// It is the config's backend, and alone may plan a route wider than one subnet.
    pub primary: bool,
}

/// What there is whoever the peers are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// Links and addresses, and the routes that no peer brings.
    pub items: Vec<Item>,
    /// What fits into this backend's packets in the tightest family, in bytes.
    pub pod_mtu: u32,
}

/// Backends, asked by their type; see the WIT interface `backend-api`, whose functions these are. Answers depend on the arguments and the plugin's digest alone.
pub trait Planner: Send + Sync + 'static {
    /// The digest of the plugin that answers for `backend` now; none when there is none. A change of it makes cached answers stale.
    fn digest(&self, backend: &str) -> Option<String>;
    /// The backends as they are in charge now, whatever takes the place of one meanwhile: a plan is one plugin's, never half another's.
    fn as_of_now(&self) -> Self
    where
        Self: Sized;
    /// What to publish.
    fn advertise(
        &self,
        backend: &str,
        network: Network,
        node: Node,
        options: String,
        previous: Option<Way>,
        existing: Vec<(String, Mac)>,
    ) -> impl Future<Output = Result<Way, PlanError>> + Send;
    /// What there is whoever the peers are.
    fn local(&self, backend: &str, context: Context) -> impl Future<Output = Result<Base, PlanError>> + Send;
    /// What sending to `peer` by its way `over` takes.
    fn send_to(
        &self,
        backend: &str,
        context: Context,
        peer: Lease,
        over: Way,
        road: Road,
    ) -> impl Future<Output = Result<Vec<Item>, PlanError>> + Send;
    /// What receiving from `peer` takes.
    fn receive_from(&self, backend: &str, context: Context, peer: Lease) -> impl Future<Output = Result<Vec<Item>, PlanError>> + Send;
}

/// What the kernel, or the fast path, would not do: "cannot make route 10.1.2.0/24 dev flannel0: no such device".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot {act}: {cause}")]
pub struct Refused {
    /// Verb and object.
    pub act: String,
    /// The cause in words, such as an errno's text.
    pub cause: String,
}

/// The kernel's network state. Links of kind tunnel are the forwarder's to make; everything else about them (address, MTU, up, routes) is the kernel's.
pub trait Kernel: Send + Sync + 'static {
    /// What there is; `sysctls` names the settings to look at.
    fn observe(&self, sysctls: Vec<String>) -> impl Future<Output = Result<Observed, Refused>> + Send;
    /// Makes an item so, or adds it; "already there" is success. Never called with endpoint or sender. For a tunnel link: sets MTU and up.
    fn make(&self, item: HostItem) -> impl Future<Output = Result<(), Refused>> + Send;
    /// Takes an item away; "already gone" is success.
    fn remove(&self, item: HostItem) -> impl Future<Output = Result<(), Refused>> + Send;
    /// Writes a setting; the value found first is recorded so that `down` can put it back.
    fn set(&self, sysctl: Sysctl) -> impl Future<Output = Result<(), Refused>> + Send;
    /// The road to an address.
    fn road(&self, to: IpAddr) -> impl Future<Output = Result<twill_model::state::Hop, Refused>> + Send;
    /// What the packet filter has of the rules that `wanted` is about, and what stands in their way. Cheap while nobody changed it.
    fn filter(&self, wanted: Ruleset) -> impl Future<Output = Result<Filter, Refused>> + Send;
    /// Makes the rules these, in one transaction a program; what is left over goes once they are in force. Without tables all of ours goes.
    fn replace_rules(&self, wanted: Ruleset) -> impl Future<Output = Result<(), Refused>> + Send;
    /// Waits until some link, address, route, neighbour or FDB entry, or a rule of ours, may have changed by another hand than this daemon's, or events were lost.
    fn changed(&self) -> impl Future<Output = ()> + Send;
}

/// What the fast path forwards by: the tunnel items of one link, and what it answers with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forwarding {
    /// Inner destination, outer destination, UDP port.
    pub endpoints: Vec<(IpNet, IpAddr, u16)>,
    /// Outer source, allowed inner sources.
    pub senders: Vec<(IpAddr, Vec<IpNet>)>,
    /// Sources of the ICMP answers that the fast path gives to pods: the tunnel's own addresses.
    pub answers_from: Addresses,
    /// MTU of the tunnel link, in bytes.
    pub mtu: u32,
}

/// The fast path.
pub trait Forwarder: Send + Sync + 'static {
    /// Opens (or re-opens, when it was deleted or differs) the TUN device and the socket of a tunnel link. After it the kernel has an interface of that name.
    fn open(&self, link: Link<LinkName>) -> impl Future<Output = Result<(), Refused>> + Send;
    /// True while the device of that name is open, was not deleted under us, and has these attributes.
    fn holds(&self, link: &Link<LinkName>) -> bool;
    /// Swaps the table of a tunnel at once; packets in flight see the old or the new one, never a mixture.
    fn forward(&self, link: &LinkName, table: Forwarding);
    /// Closes a tunnel and takes its device away.
    fn close(&self, link: LinkName) -> impl Future<Output = Result<(), Refused>> + Send;
    /// The counters of all tunnels.
    fn counters(&self) -> Vec<TunnelStatus>;
    /// Sends nothing after this moment of the boot clock (milliseconds of CLOCK_BOOTTIME, which also counts suspended time) until told a later one: a node that was frozen past its
    /// lease's term must not send from a subnet that may be another's. `u64::MAX` is no limit.
    fn valid_until(&self, boottime_ms: u64);
}
