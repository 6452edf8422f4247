//! Asking the backends: once for what is there whoever the peers are, then one peer at a time. Answers are remembered by their inputs, so an
//! event costs the calls that it changes, and a backend that fails leaves its last good answer in force.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use twill_model::item::Item;
use twill_model::state::{Hop, Origin, Road};
use twill_model::{Lease, Prefixes, Way};

use crate::Inputs;
use crate::ports::{Base, Context, Network, PlanError, Planner};

/// Roads to addresses, looked up by the host; an address that is not there is unreachable.
pub type Roads = BTreeMap<IpAddr, Hop>;

/// The way in use to a peer, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The backend; none when no way can be used.
    pub way: Option<String>,
    /// Why that one, or why none.
    pub reason: String,
}

/// What all backends planned together, not yet checked by policy.
#[derive(Debug, Clone, Default)]
pub struct Planned {
    /// Items with the one who planned them, local ones first, then by peer in the book's order.
    pub items: Vec<(Origin, Item)>,
    /// The least pod MTU over the own ways, in bytes.
    pub pod_mtu: Option<u32>,
    /// The way in use to each peer.
    pub ways: BTreeMap<Prefixes, Choice>,
    /// What went wrong, one sentence each, naming plugin and lease.
    pub failures: Vec<String>,
    /// True when every backend in use spoke for this node, now or (last good) before. Nothing is removed while it is false.
    pub whole: bool,
    /// Peers that a backend failed on and never spoke of: what is there for them stays.
    pub unspoken: BTreeSet<Prefixes>,
    /// When to ask again, where some backend failed.
    pub ask_again: Option<Instant>,
}

/// Answers given so far.
#[derive(Debug, Default)]
pub struct Memory {
    local: HashMap<String, Memo<Base>>,
    sending: HashMap<(String, Prefixes), Memo<Vec<Item>>>,
    receiving: HashMap<(String, Prefixes), Memo<Vec<Item>>>,
    failing: Failing,
}

/// Questions that a plugin failed on, by their inputs. Each waits by itself, so that a lease that makes a plugin trap cannot keep it from answering for others.
#[derive(Debug, Default)]
struct Failing(HashMap<u64, Failed>);

#[derive(Debug)]
struct Failed {
    why: PlanError,
    wait: Duration,
    until: Instant,
}

/// The first wait before a question is asked again, and the longest.
const FIRST_WAIT: Duration = Duration::from_secs(2);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// How long to leave a plugin alone that rests.
const REST: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
struct Memo<T> {
    inputs: u64,
    answer: Result<T, PlanError>,
}

/// Plans for every own way and every peer.
pub async fn plan<P: Planner>(planner: &P, memory: &mut Memory, inputs: &Inputs, roads: &Roads) -> Planned {
    let mut planned = Planned { whole: true, ..Planned::default() };
    let now = Instant::now();
    for way in &inputs.mine.ways {
        let ask = Ask { planner, inputs, context: context(inputs, way) };
        ask.local(memory, &mut planned).await;
        for peer in &inputs.peers {
            ask.receiving(memory, peer, &mut planned).await;
        }
    }
    for peer in &inputs.peers {
        send_by_first_usable_way(planner, memory, inputs, peer, roads, &mut planned).await;
    }
    memory.forget_all_but(inputs);
    planned.ask_again = planned.ask_again.into_iter().chain(memory.failing.next(now)).min();
    planned
}

/// The context in which the backend of `way` is asked.
pub fn context(inputs: &Inputs, way: &Way) -> Context {
    Context {
        network: network(inputs),
        node: inputs.node.clone(),
        mine: inputs.mine.timeless(),
        way: way.clone(),
        primary: way.backend == inputs.backend,
    }
}

/// The network as backends see it.
pub fn network(inputs: &Inputs) -> Network {
    Network { ranges: inputs.networks.iter().collect(), backend: inputs.backend.clone() }
}

async fn send_by_first_usable_way<P: Planner>(
    planner: &P,
    memory: &mut Memory,
    inputs: &Inputs,
    peer: &Lease,
    roads: &Roads,
    planned: &mut Planned,
) {
    let road = road_to(peer, roads);
    let mut reasons = Vec::new();
    for over in &peer.ways {
        let over = Way { backend: type_of(over, &inputs.backend), ..over.clone() };
        let Some(mine) = inputs.mine.ways.iter().find(|way| way.backend == over.backend) else {
            reasons.push(format!("{}: not among this node's own ways", over.backend));
            continue;
        };
        let ask = Ask { planner, inputs, context: context(inputs, mine) };
        match ask.sending(memory, peer, &over, road, planned).await {
            Ok(()) => {
                let reason = if reasons.is_empty() { "its first way".to_owned() } else { reasons.join("; ") };
                planned.ways.insert(peer.subnets, Choice { way: Some(over.backend), reason });
                return;
            }
            Err(why) => reasons.push(format!("{}: {why}", over.backend)),
        }
    }
    let reason = if reasons.is_empty() { "it publishes no way".to_owned() } else { reasons.join("; ") };
    planned.ways.insert(peer.subnets, Choice { way: None, reason });
}

/// flannel's udp nodes publish no type: "" means udp, unless the config's backend is one that publishes none either.
fn type_of(way: &Way, config: &str) -> String {
    match way.backend.as_str() {
        "" if matches!(config, "alloc" | "tencent-vpc") => config.to_owned(),
        "" => "udp".to_owned(),
        named => named.to_owned(),
    }
}

fn road_to(peer: &Lease, roads: &Roads) -> Road {
    let hop = |address: Option<IpAddr>| address.and_then(|address| roads.get(&address).copied()).unwrap_or_default();
    Road { v4: hop(peer.public.v4.map(IpAddr::V4)), v6: hop(peer.public.v6.map(IpAddr::V6)) }
}

/// One backend asked in one context.
struct Ask<'a, P> {
    planner: &'a P,
    inputs: &'a Inputs,
    context: Context,
}

impl<P: Planner> Ask<'_, P> {
    fn backend(&self) -> &str {
        &self.context.way.backend
    }

    fn origin(&self, lease: Option<Prefixes>) -> Origin {
        Origin { backend: self.backend().to_owned(), lease }
    }

    async fn local(&self, memory: &mut Memory, planned: &mut Planned) {
        let inputs = fingerprint(&(self.digest(), &self.context));
        let answer = self.planner.local(self.backend(), self.context.clone());
        match recall(&mut memory.local, &mut memory.failing, self.backend().to_owned(), inputs, answer).await {
            Recalled::Fresh(base) => self.add_base(&base, planned),
            Recalled::LastGood(base, why) => {
                self.add_base(&base, planned);
                self.note_stale(None, &why, planned);
            }
            Recalled::Nothing(why) => {
                planned.whole = false;
                self.note_stale(None, &why, planned);
            }
        }
    }

    fn add_base(&self, base: &Base, planned: &mut Planned) {
        let origin = self.origin(None);
        planned.pod_mtu = Some(planned.pod_mtu.map_or(base.pod_mtu, |least| least.min(base.pod_mtu)));
        planned.items.extend(base.items.iter().map(|item| (origin.clone(), item.clone())));
    }

    async fn receiving(&self, memory: &mut Memory, peer: &Lease, planned: &mut Planned) {
        let peer = peer.timeless();
        let inputs = fingerprint(&(self.digest(), &self.context, &peer));
        let answer = self.planner.receive_from(self.backend(), self.context.clone(), peer.clone());
        let key = (self.backend().to_owned(), peer.subnets);
        let recalled = recall(&mut memory.receiving, &mut memory.failing, key, inputs, answer).await;
        // "unsuitable" is a normal answer here too: nothing can arrive from there.
        let _ = self.add_items(recalled, &peer, planned);
    }

    /// # Errors
    /// In words, why this way cannot be used; then nothing was added.
    async fn sending(&self, memory: &mut Memory, peer: &Lease, over: &Way, road: Road, planned: &mut Planned) -> Result<(), String> {
        let peer = peer.timeless();
        let inputs = fingerprint(&(self.digest(), &self.context, &peer, over, road));
        let answer = self.planner.send_to(self.backend(), self.context.clone(), peer.clone(), over.clone(), road);
        let key = (self.backend().to_owned(), peer.subnets);
        let recalled = recall(&mut memory.sending, &mut memory.failing, key, inputs, answer).await;
        self.add_items(recalled, &peer, planned)
    }

    fn add_items(&self, recalled: Recalled<Vec<Item>>, peer: &Lease, planned: &mut Planned) -> Result<(), String> {
        let items = match recalled {
            Recalled::Fresh(items) => items,
            Recalled::LastGood(items, why) => {
                self.note_stale(Some(peer), &why, planned);
                items
            }
            Recalled::Nothing(PlanError::Unsuitable(why)) => return Err(why),
            Recalled::Nothing(why @ PlanError::Invalid(_)) => {
                planned.failures.push(self.sentence(Some(peer), &why));
                return Err(why.to_string());
            }
            Recalled::Nothing(why) => {
                planned.unspoken.insert(peer.subnets);
                self.note_stale(Some(peer), &why, planned);
                return Err(why.to_string());
            }
        };
        let origin = self.origin(Some(peer.subnets));
        planned.items.extend(items.into_iter().map(|item| (origin.clone(), item)));
        Ok(())
    }

    fn note_stale(&self, peer: Option<&Lease>, why: &PlanError, planned: &mut Planned) {
        if matches!(why, PlanError::Resting(_) | PlanError::Absent(_)) {
            planned.ask_again = Some(Instant::now() + REST);
        }
        planned.failures.push(self.sentence(peer, why));
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

enum Recalled<T> {
    /// The answer to these inputs.
    Fresh(T),
    /// The plugin failed; this is what it said last.
    LastGood(T, PlanError),
    /// It refused, or failed before it ever answered.
    Nothing(PlanError),
}

/// Answers from memory when the inputs are the same; else asks. A failure of the plugin itself takes no answer's place, and is asked about again later.
async fn recall<K: Eq + Hash, T: Clone>(
    memory: &mut HashMap<K, Memo<T>>,
    failing: &mut Failing,
    key: K,
    inputs: u64,
    ask: impl Future<Output = Result<T, PlanError>>,
) -> Recalled<T> {
    if let Some(memo) = memory.get(&key).filter(|memo| memo.inputs == inputs) {
        return spoken(memo.answer.clone());
    }
    let answer = match failing.still(inputs) {
        Some(why) => Err(why),
        None => failing.note(inputs, ask.await),
    };
    if let Err(why @ (PlanError::Plugin(_) | PlanError::Absent(_) | PlanError::Resting(_))) = answer {
        return match memory.get(&key) {
            Some(Memo { answer: Ok(last), .. }) => Recalled::LastGood(last.clone(), why),
            _ => Recalled::Nothing(why),
        };
    }
    memory.insert(key, Memo { inputs, answer: answer.clone() });
    spoken(answer)
}

fn spoken<T>(answer: Result<T, PlanError>) -> Recalled<T> {
    match answer {
        Ok(answer) => Recalled::Fresh(answer),
        Err(why) => Recalled::Nothing(why),
    }
}

fn fingerprint(inputs: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    inputs.hash(&mut hasher);
    hasher.finish()
}

impl Failing {
    /// Why the question failed, while it is not to be asked again.
    fn still(&self, inputs: u64) -> Option<PlanError> {
        let failed = self.0.get(&inputs).filter(|failed| failed.until > Instant::now())?;
        Some(failed.why.clone())
    }

    fn note<T>(&mut self, inputs: u64, answer: Result<T, PlanError>) -> Result<T, PlanError> {
        let before = self.0.remove(&inputs);
        if let Err(why @ PlanError::Plugin(_)) = &answer {
            let wait = before.map_or(FIRST_WAIT, |before| (before.wait * 2).min(LONGEST_WAIT));
            self.0.insert(inputs, Failed { why: why.clone(), wait, until: Instant::now() + wait });
        }
        answer
    }

    fn next(&mut self, now: Instant) -> Option<Instant> {
        self.0.retain(|_, failed| failed.until + LONGEST_WAIT > now);
        self.0.values().map(|failed| failed.until).filter(|until| *until > now).min()
    }
}

impl Memory {
    fn forget_all_but(&mut self, inputs: &Inputs) {
        let peers: HashSet<Prefixes> = inputs.peers.iter().map(|peer| peer.subnets).collect();
        self.sending.retain(|(_, subnets), _| peers.contains(subnets));
        self.receiving.retain(|(_, subnets), _| peers.contains(subnets));
    }
}
