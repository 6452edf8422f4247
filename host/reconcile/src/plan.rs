//! Asking the backends: once for what is there whoever the peers are, then one peer at a time. Answers are remembered by their inputs, so an
//! event costs the calls that it changes, and a backend that fails leaves its last good answer in force.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use twill_model::item::Item;
use twill_model::state::{Hop, Origin, Road};
use twill_model::{Lease, Prefixes, Way};

use crate::Inputs;
use crate::answers::{Failing, Memo, Recalled, fingerprint, recall};
use crate::peer::{Choice, ToProve, plan_peer};
use crate::ports::{Base, Context, Network, PlanError, Planner};
use crate::turns::Turns;
use crate::way_names::WayNames;

/// Roads to addresses, looked up by the host; an address that is not there is unreachable.
pub type Roads = BTreeMap<IpAddr, Hop>;

/// What all backends planned together, not yet checked by policy.
#[derive(Debug, Clone, Default)]
pub struct Planned {
    /// Items with the one who planned them, local ones first, then by peer in the book's order.
    pub items: Vec<(Origin, Item)>,
    /// The least pod MTU over the own ways, in bytes.
    pub pod_mtu: Option<u32>,
    /// The way in use to each peer.
    pub ways: Arc<BTreeMap<Prefixes, Choice>>,
    /// Ways to try, a peer and way each.
    pub to_prove: Vec<ToProve>,
    /// The own ways with their names.
    pub own_ways: Vec<(String, Way)>,
    /// Name of the config's own way, if there is one.
    pub primary: Option<String>,
    /// Own base addresses that no link of a way carries, and that peers ask for.
    pub bare_bases: Vec<IpNet>,
    /// What went wrong, one sentence each, naming plugin and lease.
    pub failures: Vec<String>,
    /// The questions behind `failures`: whose plan, and for whom.
    pub failing: BTreeSet<Origin>,
    /// True when every backend in use spoke for this node, now or (last good) before. Nothing is removed while it is false.
    pub whole: bool,
    /// Peers that a backend failed on and never spoke of: what is there for them stays.
    pub unspoken: BTreeSet<Prefixes>,
    /// When to plan again, where some backend failed or ways take turns.
    pub ask_again: Option<Instant>,
}

/// Answers given so far, and what was decided by them.
#[derive(Debug, Default)]
pub struct Memory {
    pub(crate) local: HashMap<String, Memo<Base>>,
    pub(crate) sending: HashMap<(String, Prefixes), Memo<Vec<Item>>>,
    pub(crate) receiving: HashMap<(String, Prefixes), Memo<Vec<Item>>>,
    pub(crate) failing: Failing,
    pub(crate) names: WayNames,
    pub(crate) turns: Turns,
    /// The way in use to each peer, by name. Kept over restarts: without it a way that does not work would be taken again.
    pub current: BTreeMap<Prefixes, String>,
}

/// What was decided by answers so far, without them: another plugin's plan starts from it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Decided {
    names: WayNames,
    turns: Turns,
    current: BTreeMap<Prefixes, String>,
}

impl Memory {
    pub(crate) fn decided(&self) -> Decided {
        Decided { names: self.names.clone(), turns: self.turns.clone(), current: self.current.clone() }
    }
}

impl From<Decided> for Memory {
    fn from(Decided { names, turns, current }: Decided) -> Memory {
        Memory { names, turns, current, ..Memory::default() }
    }
}

/// How long to leave a plugin alone that rests.
const REST: Duration = Duration::from_secs(1);

/// An own way with its name.
pub(crate) struct Own {
    pub name: String,
    pub way: Way,
    /// It makes no link: packets go bare over the underlay.
    pub linkless: bool,
    /// The largest packet that it carries, in bytes; none while its backend has not said so.
    pub mtu: Option<u32>,
}

impl Own {
    /// What its routes have to say of its MTU beside these ways: pods may have been made for a wider one, and are told by the route.
    pub fn tighter(&self, all: &[Own]) -> Option<u32> {
        self.mtu.filter(|mtu| all.iter().any(|other| other.mtu > Some(*mtu)))
    }
}

/// Plans for every own way and every peer.
pub async fn plan<P: Planner>(planner: &P, memory: &mut Memory, inputs: &Inputs, roads: &Roads) -> Planned {
    let mut planned = Planned { whole: true, ..Planned::default() };
    let now = Instant::now();
    let mut own: Vec<Own> =
        memory.names.name(&inputs.mine.ways).into_iter().map(|(name, way)| Own { name, way, linkless: false, mtu: None }).collect();
    planned.own_ways = own.iter().map(|own| (own.name.clone(), own.way.clone())).collect();
    planned.primary = own.iter().find(|own| own.way.backend == inputs.backend).map(|own| own.name.clone());
    for own in &mut own {
        let primary = planned.primary.as_ref() == Some(&own.name);
        let ask = Ask { planner, inputs, name: &own.name, context: context(inputs, &own.way, primary) };
        let links = links(&planned);
        own.mtu = ask.local(memory, &mut planned).await;
        own.linkless = own.mtu.is_some() && self::links(&planned) == links;
        for peer in &inputs.peers {
            ask.receiving(memory, peer, &mut planned).await;
        }
    }
    planned.bare_bases = bare_bases(inputs, &own, &planned);
    for peer in &inputs.peers {
        plan_peer(planner, memory, inputs, &own, peer, roads, &mut planned).await;
    }
    memory.forget_all_but(inputs);
    planned.ask_again = planned.ask_again.into_iter().chain(memory.failing.next(now)).chain(memory.turns.next()).min();
    planned
}

fn links(planned: &Planned) -> usize {
    planned.items.iter().filter(|(_, item)| matches!(item, Item::Link(_))).count()
}

/// A way without a link gives the own base address no place, where peers' proofs and connections of other ways look for it.
fn bare_bases(inputs: &Inputs, own: &[Own], planned: &Planned) -> Vec<IpNet> {
    if !own.iter().any(|own| own.linkless) {
        return Vec::new();
    }
    let carried = |base: &IpNet| planned.items.iter().any(|(_, item)| matches!(item, Item::Assignment(a) if a.address == *base));
    inputs.mine.subnets.iter().map(|subnet| IpNet::from(subnet.network())).filter(|base| !carried(base)).collect()
}

/// The context in which the backend of `way` is asked.
pub fn context(inputs: &Inputs, way: &Way, primary: bool) -> Context {
    Context { network: network(inputs), node: inputs.node.clone(), mine: inputs.mine.timeless(), way: way.clone(), primary }
}

/// The network as backends see it.
pub fn network(inputs: &Inputs) -> Network {
    Network { ranges: inputs.networks.iter().collect(), backend: inputs.backend.clone() }
}

pub(crate) fn road_to(peer: &Lease, roads: &Roads) -> Road {
    let hop = |address: Option<IpAddr>| address.and_then(|address| roads.get(&address).copied()).unwrap_or_default();
    Road { v4: hop(peer.public.v4.map(IpAddr::V4)), v6: hop(peer.public.v6.map(IpAddr::V6)) }
}

/// One backend asked in one context.
pub(crate) struct Ask<'a, P> {
    pub planner: &'a P,
    pub inputs: &'a Inputs,
    /// The own way's name.
    pub name: &'a str,
    pub context: Context,
}

impl<P: Planner> Ask<'_, P> {
    fn backend(&self) -> &str {
        &self.context.way.backend
    }

    pub fn origin(&self, lease: Option<Prefixes>) -> Origin {
        Origin { backend: self.name.to_owned(), lease }
    }

    /// Adds what is there whoever the peers are. Answers with the MTU.
    async fn local(&self, memory: &mut Memory, planned: &mut Planned) -> Option<u32> {
        let inputs = fingerprint(&(self.digest(), &self.context));
        let answer = self.planner.local(self.backend(), self.context.clone());
        match recall(&mut memory.local, &mut memory.failing, self.name.to_owned(), inputs, answer).await {
            Recalled::Fresh(base) => Some(self.add_base(&base, planned)),
            Recalled::LastGood(base, why) => {
                self.note_stale(None, &why, planned);
                Some(self.add_base(&base, planned))
            }
            Recalled::Nothing(why) => {
                planned.whole = false;
                self.note_stale(None, &why, planned);
                None
            }
        }
    }

    fn add_base(&self, base: &Base, planned: &mut Planned) -> u32 {
        let origin = self.origin(None);
        planned.pod_mtu = Some(planned.pod_mtu.map_or(base.pod_mtu, |least| least.min(base.pod_mtu)));
        planned.items.extend(base.items.iter().map(|item| (origin.clone(), item.clone())));
        base.pod_mtu
    }

    async fn receiving(&self, memory: &mut Memory, peer: &Lease, planned: &mut Planned) {
        let peer = peer.timeless();
        let inputs = fingerprint(&(self.digest(), &self.context, &peer));
        let answer = self.planner.receive_from(self.backend(), self.context.clone(), peer.clone());
        let key = (self.name.to_owned(), peer.subnets);
        let recalled = recall(&mut memory.receiving, &mut memory.failing, key, inputs, answer).await;
        // "unsuitable" is a normal answer here too: nothing can arrive from there.
        if let Ok(items) = self.items(recalled, &peer, planned) {
            let origin = self.origin(Some(peer.subnets));
            planned.items.extend(items.into_iter().map(|item| (origin.clone(), item)));
        }
    }

    /// What sending to `peer` by its way `over` takes.
    ///
    /// # Errors
    /// In words, why this way cannot be used.
    pub async fn sending(
        &self,
        memory: &mut Memory,
        peer: &Lease,
        over: &Way,
        road: Road,
        planned: &mut Planned,
    ) -> Result<Vec<Item>, String> {
        let peer = peer.timeless();
        let inputs = fingerprint(&(self.digest(), &self.context, &peer, over, road));
        let answer = self.planner.send_to(self.backend(), self.context.clone(), peer.clone(), over.clone(), road);
        let key = (self.name.to_owned(), peer.subnets);
        let recalled = recall(&mut memory.sending, &mut memory.failing, key, inputs, answer).await;
        self.items(recalled, &peer, planned)
    }

    fn items(&self, recalled: Recalled<Vec<Item>>, peer: &Lease, planned: &mut Planned) -> Result<Vec<Item>, String> {
        match recalled {
            Recalled::Fresh(items) => Ok(items),
            Recalled::LastGood(items, why) => {
                self.note_stale(Some(peer), &why, planned);
                Ok(items)
            }
            Recalled::Nothing(PlanError::Unsuitable(why)) => Err(why),
            Recalled::Nothing(why @ PlanError::Invalid(_)) => {
                planned.failures.push(self.sentence(Some(peer), &why));
                planned.failing.insert(self.origin(Some(peer.subnets)));
                Err(why.to_string())
            }
            Recalled::Nothing(why) => {
                planned.unspoken.insert(peer.subnets);
                self.note_stale(Some(peer), &why, planned);
                Err(why.to_string())
            }
        }
    }

    fn note_stale(&self, peer: Option<&Lease>, why: &PlanError, planned: &mut Planned) {
        if matches!(why, PlanError::Resting(_) | PlanError::Absent(_)) {
            planned.ask_again = Some(Instant::now() + REST);
        }
        planned.failures.push(self.sentence(peer, why));
        planned.failing.insert(self.origin(peer.map(|peer| peer.subnets)));
    }

    fn sentence(&self, peer: Option<&Lease>, why: &PlanError) -> String {
        match peer {
            Some(peer) => format!("backend \"{}\" has no plan for {} of {}: {why}", self.backend(), peer.subnets, peer.owner()),
            None => format!("backend \"{}\" has no plan for this node {}: {why}", self.backend(), self.inputs.mine.subnets),
        }
    }

    fn digest(&self) -> Option<String> {
        self.planner.digest(self.backend())
    }
}

impl Memory {
    fn forget_all_but(&mut self, inputs: &Inputs) {
        let peers: HashSet<Prefixes> = inputs.peers.iter().map(|peer| peer.subnets).collect();
        self.sending.retain(|(_, subnets), _| peers.contains(subnets));
        self.receiving.retain(|(_, subnets), _| peers.contains(subnets));
        self.turns.keep_only(|subnets| peers.contains(subnets));
        if inputs.complete {
            self.current.retain(|subnets, _| peers.contains(subnets));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_beside_a_wider_way_is_an_mtu_told() {
        let own = |name: &str, mtu| {
            let way = Way { backend: name.into(), options: "{}".into(), data_v4: None, data_v6: None };
            Own { name: name.into(), way, linkless: false, mtu }
        };
        let told = |all: &[Own]| all.iter().map(|own| own.tighter(all)).collect::<Vec<_>>();
        assert_eq!(told(&[own("vxlan", Some(1450))]), [None], "alone: the link says it");
        assert_eq!(told(&[own("vxlan", Some(1450)), own("host-gw", Some(1500))]), [Some(1450), None]);
        assert_eq!(told(&[own("vxlan", Some(1450)), own("vxlan~2", Some(1450))]), [None, None]);
        assert_eq!(told(&[own("vxlan", Some(1450)), own("udp", None)]), [None, None], "not known is not wider");
    }
}
