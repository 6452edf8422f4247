//! The plan for sending to one peer: its ways in order, which of them can be used, which one is taken, and which are tried beside it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use ipnet::IpNet;
use twill_model::item::{Device, Item};
use twill_model::proof::{Pair, Proof, Verdict};
use twill_model::{Lease, Prefixes, Way};

use crate::Inputs;
use crate::answers::fingerprint;
use crate::plan::{Ask, Memory, Own, Planned, Roads, context, road_to};
use crate::ports::Planner;
use crate::ways::{carry_mtu, choose, for_proof, is_tried, leaves_by, narrowed, preferred};

/// The way in use to a peer, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Its name; none when no way can be used.
    pub way: Option<String>,
    /// Why that one, or why none.
    pub reason: String,
    /// All that the peer publishes, best first.
    pub ways: Vec<Weighed>,
}

/// One of a peer's ways, as it was weighed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weighed {
    /// Its name: that of the own way by which it is sent, else its backend's.
    pub name: String,
    /// Why it cannot be used.
    pub unusable: Option<String>,
    /// Where its proof is kept, if it can be used.
    pub pair: Option<Pair>,
    /// What was proved.
    pub proof: Proof,
}

/// A way that is to be tried, links not yet named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToProve {
    /// Where its proof is kept.
    pub pair: Pair,
    /// Its place among the usable ways.
    pub rank: u32,
    /// It is the one in use.
    pub in_use: bool,
    /// What answers: the subnet whose base address is asked, the link, the route's MTU.
    pub legs: Vec<(IpNet, Device, Option<u32>)>,
    /// The peer holds no base address: its public one is asked.
    pub by_public: bool,
}

/// A way that can be used, with what it takes.
struct Usable {
    place: usize,
    items: Vec<Item>,
    linkless: bool,
}

/// Plans what sending to `peer` takes.
pub(crate) async fn plan_peer<P: Planner>(
    planner: &P,
    memory: &mut Memory,
    inputs: &Inputs,
    own: &[Own],
    peer: &Lease,
    roads: &Roads,
    planned: &mut Planned,
) {
    let mut weighed: Vec<Weighed> = Vec::new();
    let mut usable: Vec<Usable> = Vec::new();
    let mut taken: BTreeSet<&str> = BTreeSet::new();
    for over in preferred(peer, &inputs.backend) {
        let mut mine: Vec<&Own> = own.iter().filter(|own| own.way.backend == over.backend).collect();
        mine.sort_by_key(|own| own.way.options != over.options);
        if mine.is_empty() {
            weighed.push(Weighed::unusable(over.backend, "not among this node's own ways".into()));
            continue;
        }
        let mut why = None;
        for own_way in mine.into_iter().filter(|own| !taken.contains(own.name.as_str())).collect::<Vec<_>>() {
            // A backend that is alone has one route for all; beside others it takes one for each peer.
            let primary = planned.primary.as_deref() == Some(own_way.name.as_str()) && own.len() == 1;
            let ask = Ask { planner, inputs, name: &own_way.name, context: context(inputs, &own_way.way, primary) };
            match ask.sending(memory, peer, &over, road_to(peer, roads), planned).await {
                Ok(items) => {
                    why = None;
                    taken.insert(&own_way.name);
                    let items = carry_mtu(items, own_way.tighter(own));
                    usable.push(Usable { place: weighed.len(), items, linkless: own_way.linkless });
                    weighed.push(Weighed::usable(own_way, peer, &over, inputs));
                    break;
                }
                Err(reason) => why = why.or(Some((own_way.name.clone(), reason))),
            }
        }
        weighed.extend(why.map(|(name, reason)| Weighed::unusable(name, reason)));
    }
    let proofs: Vec<Proof> = usable.iter().map(|usable| weighed[usable.place].proof).collect();
    let current = memory.current.get(&peer.subnets).and_then(|name| usable.iter().position(|usable| weighed[usable.place].name == *name));
    let turns = &mut memory.turns;
    let chosen = choose(&proofs, current).map(|chosen| turns.take(&inputs.mine.subnets, peer.subnets, &proofs, chosen, Instant::now()));
    let way = chosen.map(|chosen| weighed[usable[chosen].place].name.clone());
    if let Some(way) = &way {
        memory.current.insert(peer.subnets, way.clone());
    }
    let reason = reason(&weighed, chosen.map(|chosen| usable[chosen].place));
    if let Some(chosen) = chosen {
        add(usable, chosen, &weighed, peer, planned);
    }
    Arc::make_mut(&mut planned.ways).insert(peer.subnets, Choice { way, reason, ways: weighed });
}

/// Adds the items of the way in use, and of those that are tried beside it.
fn add(usable: Vec<Usable>, chosen: usize, weighed: &[Weighed], peer: &Lease, planned: &mut Planned) {
    let proof = weighed[usable[chosen].place].proof;
    for (rank, Usable { place, items, linkless }) in usable.into_iter().enumerate() {
        let Weighed { name, pair: Some(pair), .. } = &weighed[place] else { continue };
        if !is_tried(rank, chosen, proof) {
            continue;
        }
        let legs = peer.subnets.iter().filter_map(|subnet| leaves_by(&items, subnet).map(|(on, mtu)| (subnet, on, mtu)));
        planned.to_prove.push(ToProve {
            pair: pair.clone(),
            rank: u32::try_from(rank).unwrap_or(u32::MAX),
            in_use: rank == chosen,
            legs: legs.collect(),
            by_public: linkless && peer.node.is_none(),
        });
        let items = if rank == chosen { narrowed(items, peer.subnets, proof) } else { for_proof(items, rank) };
        let origin = twill_model::state::Origin { backend: name.clone(), lease: Some(peer.subnets) };
        planned.items.extend(items.into_iter().map(|item| (origin.clone(), item)));
    }
}

/// Why the way at `chosen` is taken: what is wrong with those before it.
fn reason(weighed: &[Weighed], chosen: Option<usize>) -> String {
    if weighed.is_empty() {
        return "it publishes no way".to_owned();
    }
    if all_failed(weighed) {
        return "the peer answers by none of its ways: they take turns".to_owned();
    }
    let before = &weighed[..chosen.unwrap_or(weighed.len())];
    if before.is_empty() { "its first way".to_owned() } else { before.iter().map(Weighed::words).collect::<Vec<_>>().join("; ") }
}

/// True when there are several ways to use, and the peer answers by none.
fn all_failed(weighed: &[Weighed]) -> bool {
    let usable = || weighed.iter().filter(|way| way.unusable.is_none());
    usable().count() > 1 && usable().all(|way| way.proof.verdict == Verdict::Failed)
}

impl Choice {
    /// True while the ways take turns, since the peer answers by none.
    pub fn takes_turns(&self) -> bool {
        all_failed(&self.ways)
    }
}

impl Weighed {
    fn unusable(name: String, why: String) -> Weighed {
        Weighed { name, unusable: Some(why), pair: None, proof: Proof::default() }
    }

    fn usable(own: &Own, peer: &Lease, over: &Way, inputs: &Inputs) -> Weighed {
        let pair = pair(peer.subnets, &own.name, over, peer);
        let proof = inputs.proofs.get(&pair).copied().unwrap_or_default();
        Weighed { name: own.name.clone(), unusable: None, pair: Some(pair), proof }
    }

    /// What keeps it from being taken.
    fn words(&self) -> String {
        let why = match (&self.unusable, self.proof.verdict) {
            (Some(why), _) => why.as_str(),
            (None, Verdict::Failed) => "the peer does not answer by it",
            (None, Verdict::Unknown) => "not proved yet",
            (None, Verdict::Proved) if self.proof.is_narrow() => "its path carries less than its link",
            (None, Verdict::Proved) => "proved",
        };
        format!("{}: {why}", self.name)
    }
}

fn pair(subnets: Prefixes, way: &str, over: &Way, peer: &Lease) -> Pair {
    Pair { peer: subnets, way: way.to_owned(), over: fingerprint(&(over, peer.public)) }
}
