//! What a pass tells: every item with its standing, the way to each peer, what is wrong. Made from the same values that were acted on.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use twill_model::item::{Item, LinkName};
use twill_model::proof::Target;
use twill_model::state::{HostItem, Observed, Origin, route_words};
use twill_model::status::{ItemStatus, Standing, WorkStatus};
use twill_model::{Prefixes, Way};

use crate::Inputs;
use crate::diff::{Ownership, diff, present};
use crate::failures::Failures;
use crate::peer::Choice;
use crate::plan::Planned;
use crate::ports::Refused;
use crate::seen::Seen;
use crate::union::{RefusedItem, United, kind_word};

/// What came of a pass.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// The overlay's networks that the pass was for.
    pub networks: Prefixes,
    /// The own subnets that the pass was for.
    pub subnets: Prefixes,
    /// Desired against observed, item by item.
    pub items: Arc<Vec<ItemStatus>>,
    /// The way in use to each peer.
    pub ways: Arc<BTreeMap<Prefixes, Choice>>,
    /// The own ways with their names.
    pub own_ways: Vec<(String, Way)>,
    /// Ways to try.
    pub targets: Arc<Vec<Target>>,
    /// MTU for pods in bytes: the least over the own ways.
    pub pod_mtu: Option<u32>,
    /// All that this node cannot do without is in place. What is missing for one peer is a problem, and keeps nobody else from working.
    pub in_force: bool,
    /// Why the last pass could not even look at the kernel: all the rest is from the one before.
    pub no_look: Option<String>,
    /// What is wrong, one sentence each.
    pub problems: Vec<String>,
    /// What was done so far, in this pass and before.
    pub work: WorkStatus,
    /// Changes whenever the underlay's index, MTU or addresses do: a cue to read them again.
    pub underlay_mark: u64,
}

impl Outcome {
    /// What is told after a pass that could not even look: what the one before it came to, and that.
    pub fn after_no_look(&self, refused: &Refused) -> Outcome {
        let told = refused.to_string();
        Outcome { in_force: false, problems: vec![told.clone()], no_look: Some(told), ..self.clone() }
    }
}

/// The kind of a kernel setting.
const SYSCTL: &str = "sysctl";

/// All that an outcome is made from.
pub(crate) struct View<'a> {
    pub inputs: &'a Inputs,
    pub planned: &'a Planned,
    pub united: &'a United,
    pub seen: &'a Seen<'a>,
    pub own: &'a Ownership<'a>,
    pub failures: &'a Failures,
    /// Kernel settings that could not be set, by path.
    pub unset: &'a Failures<String>,
    /// Ways to try.
    pub targets: Vec<Target>,
}

impl View<'_> {
    pub fn outcome(mut self) -> Outcome {
        let targets = Arc::new(std::mem::take(&mut self.targets));
        let mut items: Vec<ItemStatus> = self.planned_items().chain(self.settings()).chain(self.leaving()).collect();
        items.extend(self.united.refused.iter().map(refused_status));
        // They are kept until the next pass, and of thousands the room for as many more would be too.
        items.shrink_to_fit();
        let missing: Vec<&ItemStatus> = items.iter().filter(|item| matches!(item.standing, Standing::Missing | Standing::Failed)).collect();
        let mut problems = self.planned.failures.clone();
        problems.extend(missing.iter().map(|item| not_in_place(item)));
        problems.extend(items.iter().filter(|item| item.standing == Standing::Refused).map(refused_sentence));
        let in_force = !missing.iter().any(|item| essential(item)) && self.planned.pod_mtu.is_some();
        Outcome {
            work: WorkStatus::default(),
            no_look: None,
            networks: self.inputs.networks,
            subnets: self.inputs.mine.subnets,
            in_force,
            ways: Arc::clone(&self.planned.ways),
            own_ways: self.planned.own_ways.clone(),
            targets,
            pod_mtu: self.planned.pod_mtu,
            problems,
            underlay_mark: underlay_mark(self.seen.observed, &self.inputs.node.underlay.name),
            items: Arc::new(items),
        }
    }

    fn planned_items(&self) -> impl Iterator<Item = ItemStatus> {
        self.united.desired.items.values().map(|(item, origin)| {
            let there = present(item, self.seen, self.own);
            let failure = self.failures.why(&item.key()).filter(|_| !there);
            let standing = match (there, failure) {
                (true, _) => Standing::Present,
                (false, Some(_)) => Standing::Failed,
                (false, None) => Standing::Missing,
            };
            let observed = if there { Some(words(item)) } else { self.found_instead(item) };
            let reason = failure.map(ToString::to_string);
            status(item, Some(words(item)), observed, standing, origin, reason)
        })
    }

    fn settings(&self) -> impl Iterator<Item = ItemStatus> {
        self.united.desired.sysctls.iter().filter_map(|wanted| {
            // A path that is not there (no such family, no such link yet) cannot be wanted.
            let found = self.seen.observed.sysctls.get(&wanted.path)?;
            let failure = self.unset.why(&wanted.path).filter(|_| *found != wanted.value);
            Some(ItemStatus {
                kind: SYSCTL.into(),
                what: wanted.path.clone(),
                desired: Some(wanted.value.clone()),
                observed: Some(found.clone()),
                standing: match failure {
                    _ if *found == wanted.value => Standing::Present,
                    Some(_) => Standing::Failed,
                    None => Standing::Missing,
                },
                backend: "host".into(),
                lease: None,
                reason: failure.map(ToString::to_string),
            })
        })
    }

    fn leaving(&self) -> impl Iterator<Item = ItemStatus> {
        let steps = diff(&self.united.desired, self.seen, self.own);
        steps.into_iter().filter_map(|step| match step {
            twill_model::state::Step::Break(item) => {
                let origin = Origin { backend: "host".into(), lease: None };
                Some(status(&item, None, Some(words(&item)), Standing::Leaving, &origin, None))
            }
            _ => None,
        })
    }

    /// What stands where the item should, in words.
    fn found_instead(&self, item: &HostItem) -> Option<String> {
        match item {
            Item::Route(wanted) => {
                let there = self.seen.routes(wanted.to, wanted.metric).first()?;
                Some(words(&Item::Route(there.route.clone())))
            }
            Item::Link(wanted) => {
                let there = self.seen.observed.link(&wanted.on)?;
                let state = if there.up { "up" } else { "down" };
                Some(format!("{} ({}, mtu {}, {state})", there.name, there.word, there.mtu))
            }
            _ => None,
        }
    }
}

fn status(
    item: &HostItem,
    desired: Option<String>,
    observed: Option<String>,
    standing: Standing,
    origin: &Origin,
    reason: Option<String>,
) -> ItemStatus {
    ItemStatus {
        kind: kind_word(item).into(),
        what: what(item),
        desired,
        observed,
        standing,
        backend: origin.backend.clone(),
        lease: origin.lease,
        reason,
    }
}

fn refused_status(refused: &RefusedItem) -> ItemStatus {
    ItemStatus {
        kind: refused.kind.into(),
        what: refused.what.clone(),
        desired: Some(refused.what.clone()),
        observed: None,
        standing: Standing::Refused,
        backend: refused.origin.backend.clone(),
        lease: refused.origin.lease,
        reason: Some(refused.reason.clone()),
    }
}

/// True for what a node cannot do without: all that is there whoever the peers are, and forwarding.
fn essential(item: &ItemStatus) -> bool {
    let forwarding = item.what.ends_with("/ip_forward") || item.what.ends_with("/forwarding");
    item.lease.is_none() && (item.kind != SYSCTL || forwarding)
}

fn refused_sentence(item: &ItemStatus) -> String {
    let whose = item.lease.map_or_else(String::new, |lease| format!(" for {lease}"));
    let reason = item.reason.as_deref().unwrap_or("policy");
    format!("refused: {} by backend \"{}\"{whose}: {reason}", item.what, item.backend)
}

fn not_in_place(item: &ItemStatus) -> String {
    match &item.reason {
        Some(reason) => reason.clone(),
        None => format!("{} {} is not in place", item.kind, item.what),
    }
}

/// An item in words, with all that a plan says of it.
pub(crate) fn words(item: &HostItem) -> String {
    match item {
        Item::Route(route) => {
            let mtu = route.mtu.map_or_else(String::new, |mtu| format!(" mtu {mtu}"));
            format!("{}{mtu}", route_words(route.to, route.via, &route.on))
        }
        Item::Sender(sender) => {
            let inner: Vec<String> = sender.inner.iter().map(ToString::to_string).collect();
            format!("{} may send from {}", sender.peer, inner.join(", "))
        }
        other => other.to_string(),
    }
}

fn what(item: &HostItem) -> String {
    match item {
        Item::Link(link) => link.on.to_string(),
        Item::Assignment(a) => a.address.to_string(),
        Item::Route(route) => route.to.to_string(),
        Item::Neighbour(n) => n.address.to_string(),
        Item::Fdb(fdb) => fdb.mac.to_string(),
        Item::Endpoint(e) => e.to.to_string(),
        Item::Sender(s) => s.peer.to_string(),
        Item::Wireguard(w) => w.key.clone(),
    }
}

fn underlay_mark(observed: &Observed, name: &str) -> u64 {
    let name = LinkName(name.to_owned());
    let link = observed.link(&name).map(|link| (link.index, link.mtu));
    let mut addresses: Vec<_> = observed.addresses.iter().filter(|a| a.on == name).map(|a| a.address).collect();
    addresses.sort();
    hash(&(link, addresses))
}

/// Changes whenever anything does that roads to peers depend on: links, addresses, routes that are not ours.
pub(crate) fn foreign_mark(observed: &Observed, protocol: u8) -> u64 {
    let links: Vec<_> = observed.links.iter().map(|link| (link.index, link.up)).collect();
    let foreign = observed.routes.iter().filter(|there| there.protocol != protocol);
    let routes: Vec<_> = foreign.map(|there| (&there.route, there.special)).collect();
    hash(&(links, &observed.addresses, routes))
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
