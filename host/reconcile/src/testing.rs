//! A network in memory for this room's tests: leases, a backend that plans like udp and host-gw do, a kernel of plain lists, a fast path that
//! notes what it is told.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use ipnet::IpNet;
use tokio::sync::Notify;
use twill_model::firewall::{Filter, Ruleset};
use twill_model::item::{Assignment, Device, Endpoint, Item, Link, LinkKind, LinkName, Route, Sender};
use twill_model::node::{Node, Underlay};
use twill_model::state::{Hop, HostItem, Observed, ObservedLink, ObservedRoute, Road, Sysctl};
use twill_model::status::TunnelStatus;
use twill_model::{Addresses, Lease, Lifetime, Mac, NodeId, Prefixes, Way};

use crate::ports::{Base, Context, Forwarder, Forwarding, Kernel, Network, PlanError, Planner, Refused};
use crate::{Inputs, Settings, SourceCheck};

pub const PROTOCOL: u8 = 99;

pub fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub fn link_name(text: &str) -> LinkName {
    LinkName(text.into())
}

pub fn settings() -> Settings {
    Settings { protocol: PROTOCOL, source_check: SourceCheck::Lease, forwarding: true, repairs_per_minute: 3 }
}

/// The lease of the node with this number: 10.1.N.0/24 at 192.0.2.N.
pub fn lease(number: u8) -> Lease {
    Lease {
        subnets: Prefixes { v4: format!("10.1.{number}.0/24").parse().ok(), v6: None },
        public: Addresses { v4: format!("192.0.2.{number}").parse().ok(), v6: None },
        ways: vec![Way { backend: "udp".into(), options: "{}".into(), data_v4: None, data_v6: None }],
        node: Some(NodeId(format!("node-{number}"))),
        life: Lifetime::Seconds(60),
    }
}

/// Node 1 in 10.1.0.0/16 with these peers.
pub fn inputs(peers: &[u8]) -> Inputs {
    let underlay = Underlay { name: "eth0".into(), index: 2, mtu: 1500, addresses: vec![net("192.0.2.1/24")] };
    Inputs {
        networks: Prefixes { v4: "10.1.0.0/16".parse().ok(), v6: None },
        backend: "udp".into(),
        node: Node { id: NodeId("node-1".into()), underlay, public: lease(1).public, seed: String::new() },
        mine: lease(1),
        peers: peers.iter().map(|number| Arc::new(lease(*number))).collect(),
        complete: true,
        proofs: Arc::default(),
        firewall: None,
    }
}

/// A backend that plans as udp does, until told to fail, to refuse, or to add an item of its own.
#[derive(Default, Clone)]
pub struct FakePlanner {
    pub broken: Arc<Mutex<bool>>,
    pub extra: Arc<Mutex<Vec<Item>>>,
    pub asked: Arc<Mutex<usize>>,
    /// Leases that it traps on.
    pub poison: Arc<Mutex<BTreeSet<Prefixes>>>,
}

impl FakePlanner {
    fn answer<T>(&self, answer: T) -> Result<T, PlanError> {
        *lock(&self.asked) += 1;
        if *lock(&self.broken) { Err(PlanError::Plugin("backend-udp trapped".into())) } else { Ok(answer) }
    }
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no test holds it in a panic")
}

pub fn tun() -> Device {
    Device::Link("tun".into())
}

impl Planner for FakePlanner {
    fn digest(&self, _: &str) -> Option<String> {
        Some("1".into())
    }

    fn as_of_now(&self) -> Self {
        self.clone()
    }

    async fn advertise(
        &self,
        _: &str,
        _: Network,
        _: Node,
        _: String,
        previous: Option<Way>,
        _: Vec<(String, Mac)>,
    ) -> Result<Way, PlanError> {
        previous.ok_or_else(|| PlanError::Invalid("not asked in these tests".into()))
    }

    async fn local(&self, _: &str, context: Context) -> Result<Base, PlanError> {
        let kind = LinkKind::Tunnel { port: 8285, local: context.node.public };
        let own = context.mine.subnets.v4.expect("tests are IPv4");
        let items = vec![
            Item::Link(Link { on: tun(), name: "flannel%d".into(), kind, mtu: 1472, mac: None }),
            Item::Assignment(Assignment { on: tun(), address: IpNet::new(own.addr().into(), 32).expect("/32") }),
            Item::Route(Route {
                to: context.network.ranges[0],
                via: None,
                on: tun(),
                onlink: false,
                scope_global: true,
                mtu: None,
                metric: 0,
            }),
        ];
        self.answer(Base { items, pod_mtu: 1472 })
    }

    async fn send_to(&self, _: &str, _: Context, peer: Lease, _: Way, _: Road) -> Result<Vec<Item>, PlanError> {
        let endpoint =
            Endpoint { on: tun(), to: peer.subnets.iter().next().expect("v4"), peer: peer.public.iter().next().expect("v4"), port: 8285 };
        if lock(&self.poison).contains(&peer.subnets) {
            *lock(&self.asked) += 1;
            return Err(PlanError::Plugin("backend-udp trapped".into()));
        }
        let mut items = vec![Item::Endpoint(endpoint)];
        items.extend(lock(&self.extra).iter().cloned());
        self.answer(items)
    }

    async fn receive_from(&self, _: &str, _: Context, peer: Lease) -> Result<Vec<Item>, PlanError> {
        let inner = peer.subnets.iter().chain(peer.public.iter().map(IpNet::from)).collect();
        self.answer(vec![Item::Sender(Sender { on: tun(), peer: peer.public.iter().next().expect("v4"), inner })])
    }
}

/// A kernel of plain lists with the semantics of the real one: one route a prefix, a route needs its link, addresses go with their link.
#[derive(Default)]
pub struct FakeKernel {
    pub state: Mutex<Observed>,
    pub writes: Mutex<Vec<String>>,
    pub bell: Notify,
    pub filter: Mutex<Filter>,
    pub filter_refuses: Mutex<Option<String>>,
    /// Why it cannot be looked at.
    pub hidden: Mutex<Option<String>>,
}

impl FakeKernel {
    pub fn add_link(&self, name: &str, word: &str) {
        let mut state = lock(&self.state);
        let index = state.links.len() as u32 + 1;
        let link = ObservedLink { name: link_name(name), index, mtu: 1500, up: false, mac: None, kind: None, word: word.into() };
        state.links.push(link);
    }

    /// Deletes a link with all that stands on it, as another hand would.
    pub fn lose_link(&self, name: &str) {
        let mut state = lock(&self.state);
        state.links.retain(|link| link.name.0 != name);
        state.addresses.retain(|a| a.on.0 != name);
        state.routes.retain(|there| there.route.on.0 != name);
    }

    pub fn add_route(&self, to: &str, on: &str, protocol: u8) {
        let route = Route { to: net(to), via: None, on: link_name(on), onlink: false, scope_global: true, mtu: None, metric: 0 };
        lock(&self.state).routes.push(ObservedRoute { route, protocol, special: false });
    }

    pub fn routes(&self) -> BTreeSet<String> {
        lock(&self.state).routes.iter().map(|there| format!("{} dev {}", there.route.to, there.route.on)).collect()
    }

    pub fn take_writes(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.writes))
    }
}

fn refused(act: &HostItem) -> Refused {
    Refused { act: format!("make {act}"), cause: "no such device".into() }
}

impl Kernel for FakeKernel {
    async fn observe(&self, sysctls: Vec<String>) -> Result<Observed, Refused> {
        if let Some(cause) = lock(&self.hidden).clone() {
            return Err(Refused { act: "look at the kernel".into(), cause });
        }
        let mut state = lock(&self.state).clone();
        state.sysctls = sysctls
            .into_iter()
            .map(|path| {
                let value = state.sysctls.get(&path).cloned().unwrap_or_else(|| "0".into());
                (path, value)
            })
            .collect();
        Ok(state)
    }

    async fn make(&self, item: HostItem) -> Result<(), Refused> {
        lock(&self.writes).push(format!("make {item}"));
        let mut state = lock(&self.state);
        if state.link(item.on()).is_none() {
            return Err(refused(&item));
        }
        match item {
            Item::Link(wanted) => {
                for link in state.links.iter_mut().filter(|link| link.name == wanted.on) {
                    (link.mtu, link.up) = (wanted.mtu, true);
                }
            }
            Item::Assignment(wanted) => state.addresses.push(wanted),
            Item::Route(route) => {
                state.routes.retain(|there| (there.route.to, there.route.metric) != (route.to, route.metric));
                state.routes.push(ObservedRoute { route, protocol: PROTOCOL, special: false });
            }
            Item::Neighbour(wanted) => state.neighbours.push(wanted),
            Item::Fdb(wanted) => state.fdb.push(wanted),
            other => panic!("the kernel was asked for {other}"),
        }
        Ok(())
    }

    async fn remove(&self, item: HostItem) -> Result<(), Refused> {
        lock(&self.writes).push(format!("remove {item}"));
        let mut state = lock(&self.state);
        match item {
            Item::Route(route) => state.routes.retain(|there| (there.route.to, there.route.metric) != (route.to, route.metric)),
            Item::Assignment(gone) => state.addresses.retain(|there| *there != gone),
            other => panic!("the kernel was asked to remove {other}"),
        }
        Ok(())
    }

    async fn set(&self, sysctl: Sysctl) -> Result<(), Refused> {
        lock(&self.writes).push(format!("set {}", sysctl.path));
        lock(&self.state).sysctls.insert(sysctl.path, sysctl.value);
        Ok(())
    }

    async fn road(&self, _: IpAddr) -> Result<Hop, Refused> {
        Ok(Hop::OnLink)
    }

    async fn filter(&self, wanted: Ruleset) -> Result<Filter, Refused> {
        if let Some(cause) = lock(&self.filter_refuses).clone() {
            return Err(Refused { act: "read the rules".into(), cause });
        }
        let there = lock(&self.filter).clone();
        let mine = Ruleset { tables: there.ours.tables, ..wanted };
        Ok(Filter { ours: mine, ..there })
    }

    async fn replace_rules(&self, wanted: Ruleset) -> Result<(), Refused> {
        lock(&self.writes).push(format!("rules {wanted}"));
        let mut filter = lock(&self.filter);
        filter.ours = wanted;
        filter.left_over.clear();
        filter.entrances.iter_mut().for_each(|entrance| entrance.in_place = true);
        Ok(())
    }

    async fn changed(&self) {
        self.bell.notified().await;
    }
}

/// A fast path whose devices are links of the fake kernel.
pub struct FakeForwarder {
    pub kernel: Arc<FakeKernel>,
    pub tables: Mutex<Vec<Forwarding>>,
}

impl Forwarder for FakeForwarder {
    async fn open(&self, link: Link<LinkName>) -> Result<(), Refused> {
        if !self.holds(&link) {
            self.kernel.add_link(&link.on.0, "tun");
        }
        Ok(())
    }

    fn holds(&self, link: &Link<LinkName>) -> bool {
        lock(&self.kernel.state).link(&link.on).is_some()
    }

    fn forward(&self, _: &LinkName, table: Forwarding) {
        lock(&self.tables).push(table);
    }

    async fn close(&self, link: LinkName) -> Result<(), Refused> {
        self.kernel.lose_link(&link.0);
        Ok(())
    }

    fn counters(&self) -> Vec<TunnelStatus> {
        Vec::new()
    }

    fn valid_until(&self, _: u64) {}
}
