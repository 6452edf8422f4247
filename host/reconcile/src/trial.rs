//! A trial plan: what another plugin would plan for the cluster as it is, against what stands. Nothing is applied.
//!
//! The loop hands out a [`Basis`], a copy of what its last pass worked with; [`try_out`] asks the candidate for everything anew and says what would change, what
//! would go wrong, and what would break traffic off.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use twill_model::Prefixes;
use twill_model::item::{Item, LinkName};
use twill_model::state::{Desired, Observed, Origin};

use crate::disruption::{Placed, made_anew};
use crate::links::Names;
use crate::peer::Choice;
use crate::plan::{self, Decided, Planned, Roads};
use crate::ports::Planner;
use crate::targets::hold_bases;
use crate::union::{RefusedItem, unite};
use crate::view::words;
use crate::{Inputs, SourceCheck};

/// Changes that are told in words; the rest is counted.
const TOLD: usize = 20;

/// How the loop is asked for a basis; the answer is none while it plans nothing.
pub type Questions = mpsc::Receiver<oneshot::Sender<Option<Basis>>>;

/// What the last pass worked with.
#[derive(Debug, Clone)]
pub struct Basis {
    /// What it started from.
    pub inputs: Inputs,
    pub(crate) roads: Roads,
    pub(crate) names: Names,
    pub(crate) decided: Decided,
    pub(crate) observed: Observed,
    pub(crate) desired: Desired,
    pub(crate) refused: Vec<RefusedItem>,
    pub(crate) failing: BTreeSet<Origin>,
    pub(crate) ways: Arc<BTreeMap<Prefixes, Choice>>,
    pub(crate) check: SourceCheck,
}

/// What a trial plan came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trial {
    /// Items that would change, in words; long lists are cut and end with how many more there are.
    pub changes: Vec<String>,
    /// What would go wrong that goes well now: questions without an answer, refused items, peers without a way. One sentence each.
    pub faults: Vec<String>,
    /// Links that would be removed or made anew, so that traffic breaks off.
    pub disruptions: Vec<String>,
}

impl Trial {
    /// The changes in one line.
    pub fn summary(&self) -> String {
        if self.changes.is_empty() { "the plan stays the same".into() } else { format!("the plan changes: {}", self.changes.join("; ")) }
    }
}

/// Asks `planner`, which answers for `backend` with the candidate, for the whole plan.
pub async fn try_out<P: Planner>(planner: &P, backend: &str, basis: &Basis) -> Trial {
    let mut planned = plan::plan(planner, &mut basis.decided.clone().into(), &basis.inputs, &basis.roads).await;
    let items = std::mem::take(&mut planned.items);
    let primary = planned.primary.as_deref();
    let mut united = unite(items, primary, &basis.inputs, basis.check, &basis.observed, &mut basis.names.clone());
    hold_bases(&mut united.desired, &planned.bare_bases);
    Trial {
        changes: changes(&basis.desired, &united.desired),
        faults: faults(backend, basis, &planned, &united.refused),
        disruptions: disruptions(&basis.desired, &united.desired),
    }
}

fn faults(backend: &str, basis: &Basis, planned: &Planned, refused: &[RefusedItem]) -> Vec<String> {
    let new_failure = |origin: &&Origin| origin.backend == backend && !basis.failing.contains(*origin);
    let failed = planned.failing.iter().filter(new_failure).count();
    let first = planned.failures.iter().find(|sentence| sentence.starts_with(&format!("backend \"{backend}\"")));
    let failed = first.filter(|_| failed > 0).map(|first| match failed {
        1 => first.clone(),
        more => format!("{first}; and {} more questions without a plan", more - 1),
    });
    let refused = refused.iter().filter(|item| item.origin.backend == backend && !basis.refused.iter().any(|old| same(old, item)));
    let refused = refused.map(|item| format!("policy refuses {}: {}", item.what, item.reason));
    let lost = basis.ways.iter().filter(|(_, before)| before.way.is_some()).filter_map(|(peer, before)| {
        let after = planned.ways.get(peer).filter(|after| after.way.is_none())?;
        let way = before.way.as_deref().unwrap_or_default();
        Some(format!("{peer}, reached by {way} now, would have no way any more: {}", after.reason))
    });
    cut(failed.into_iter().chain(refused).chain(lost).collect())
}

fn same(a: &RefusedItem, b: &RefusedItem) -> bool {
    (a.kind, &a.what, &a.origin) == (b.kind, &b.what, &b.origin)
}

fn disruptions(before: &Desired, after: &Desired) -> Vec<String> {
    let (before, after) = (links(before), links(after));
    let gone = before.iter().filter(|there| !after.iter().any(|other| other.place == there.place));
    let gone = gone.map(|link| format!("link {} is removed", link.shown));
    gone.chain(made_anew(&before, &after).iter().map(ToString::to_string)).collect()
}

fn links(desired: &Desired) -> Vec<Placed<'_, &LinkName>> {
    let links = desired.items.values().filter_map(|(item, _)| if let Item::Link(link) = item { Some(link) } else { None });
    links.map(|link| Placed { place: &link.on, shown: link.on.to_string(), kind: &link.kind }).collect()
}

fn changes(before: &Desired, after: &Desired) -> Vec<String> {
    let gone =
        before.items.iter().filter(|(key, _)| !after.items.contains_key(key)).map(|(_, (item, _))| format!("without {}", words(item)));
    let other = after.items.iter().filter_map(|(key, (item, _))| match before.items.get(key) {
        None => Some(format!("new {}", words(item))),
        Some((there, _)) if there != item => Some(format!("{} instead of {}", words(item), words(there))),
        Some(_) => None,
    });
    cut(gone.chain(other).collect())
}

fn cut(mut list: Vec<String>) -> Vec<String> {
    if list.len() > TOLD {
        let more = list.len() - TOLD;
        list.truncate(TOLD);
        list.push(format!("and {more} more"));
    }
    list
}

#[cfg(test)]
mod tests {
    use twill_model::item::{Endpoint, LinkKind, Route};

    use super::*;
    use crate::plan::Memory;
    use crate::testing::{FakeKernel, FakePlanner, inputs, ip, lease, link_name, lock, net, tun};

    fn origin(lease: Option<Prefixes>) -> Origin {
        Origin { backend: "udp".into(), lease }
    }

    /// What stands: all that the fake backend plans for these peers.
    async fn basis(peers: &[u8]) -> Basis {
        let kernel = FakeKernel::default();
        kernel.add_link("eth0", "veth");
        let (inputs, observed, mut names) = (inputs(peers), lock(&kernel.state).clone(), Names::default());
        let roads: Roads = peers.iter().map(|peer| (ip(&format!("192.0.2.{peer}")), twill_model::state::Hop::OnLink)).collect();
        let mut planned = plan::plan(&FakePlanner::default(), &mut Memory::default(), &inputs, &roads).await;
        let united =
            unite(std::mem::take(&mut planned.items), planned.primary.as_deref(), &inputs, SourceCheck::Lease, &observed, &mut names);
        let Planned { failing, ways, .. } = planned;
        let check = SourceCheck::Lease;
        Basis {
            inputs,
            roads,
            names,
            decided: Decided::default(),
            observed,
            desired: united.desired,
            refused: united.refused,
            failing,
            ways,
            check,
        }
    }

    #[tokio::test]
    async fn the_same_plan_is_no_change() {
        let basis = basis(&[2, 3]).await;
        assert_eq!(try_out(&FakePlanner::default(), "udp", &basis).await, Trial::default());
    }

    #[tokio::test]
    async fn an_item_more_is_told_and_is_no_fault() {
        let basis = basis(&[2]).await;
        let planner = FakePlanner::default();
        let more = Endpoint { on: tun(), to: net("10.1.2.7/32"), peer: ip("192.0.2.2"), port: 9 };
        lock(&planner.extra).push(Item::Endpoint(more));
        let trial = try_out(&planner, "udp", &basis).await;
        assert_eq!(trial.changes, ["new endpoint 192.0.2.2:9 for 10.1.2.7/32 on flannel0"]);
        assert!(trial.faults.is_empty() && trial.disruptions.is_empty(), "{trial:?}");
        assert!(trial.summary().starts_with("the plan changes: new endpoint"));
    }

    #[tokio::test]
    async fn a_failing_candidate_is_a_fault_unless_what_stands_fails_too() {
        let mut basis = basis(&[2, 3]).await;
        let planner = FakePlanner::default();
        lock(&planner.poison).insert(lease(3).subnets);
        let trial = try_out(&planner, "udp", &basis).await;
        assert!(trial.faults[0].contains("has no plan for 10.1.3.0/24"), "{trial:?}");
        assert!(trial.faults[1].contains("10.1.3.0/24, reached by udp now, would have no way any more"), "{trial:?}");
        basis.failing.insert(origin(Some(lease(3).subnets)));
        Arc::make_mut(&mut basis.ways).insert(lease(3).subnets, Choice { way: None, reason: "it failed".into(), ways: Vec::new() });
        assert!(try_out(&planner, "udp", &basis).await.faults.is_empty());
    }

    #[tokio::test]
    async fn what_policy_newly_refuses_is_a_fault() {
        let basis = basis(&[2]).await;
        let planner = FakePlanner::default();
        let everywhere = Route { to: net("0.0.0.0/0"), via: None, on: tun(), onlink: false, scope_global: true, mtu: None, metric: 0 };
        lock(&planner.extra).push(Item::Route(everywhere));
        let trial = try_out(&planner, "udp", &basis).await;
        assert_eq!(trial.faults, ["policy refuses route 0.0.0.0/0 dev <tun>: a default route is never planned"]);
    }

    #[tokio::test]
    async fn a_link_that_goes_or_is_of_another_make_is_a_disruption() {
        let before = basis(&[2]).await.desired;
        let mut after = before.clone();
        for (item, _) in after.items.values_mut() {
            if let Item::Link(link) = item {
                link.mtu = 1400;
            }
        }
        assert_eq!(disruptions(&before, &after), [] as [&str; 0], "another MTU is set in place");
        for (item, _) in after.items.values_mut() {
            if let Item::Link(link) = item {
                link.kind = LinkKind::Tunnel { port: 8286, local: lease(1).public };
            }
        }
        assert!(disruptions(&before, &after)[0].starts_with("link flannel0 is made anew: "), "{:?}", disruptions(&before, &after));
        after.items.retain(|_, (item, _)| *item.on() != link_name("flannel0"));
        assert_eq!(disruptions(&before, &after), ["link flannel0 is removed"]);
    }

    #[test]
    fn long_lists_are_cut() {
        let list = cut((0..50).map(|number| number.to_string()).collect());
        assert_eq!((list.len(), list.last().map(String::as_str)), (TOLD + 1, Some("and 30 more")));
    }
}
