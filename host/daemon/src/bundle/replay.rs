//! Planning again what another node planned: the same pass, over the kernel as it was recorded, with the plugins that are here. Nothing of this machine is touched.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;
use twill_model::firewall::{Filter, Ruleset};
use twill_model::item::{Link, LinkName};
use twill_model::state::{Hop, HostItem, Observed, Sysctl};
use twill_model::status::{ItemStatus, PluginStatus, Snapshot, Standing, TunnelStatus};
use twill_reconcile::files::NamesFile;
use twill_reconcile::pass::Pass;
use twill_reconcile::ports::{Forwarder, Forwarding, Kernel, Planner, Refused};
use twill_reconcile::run::Wiring;
use twill_reconcile::view::Outcome;

use super::{Bundle, Recipe};

/// What came of a replay.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Replay {
    /// The way to each peer, by subnet: as it was, and as planned again.
    pub ways: BTreeMap<String, [Option<String>; 2]>,
    /// Items that both plans hold.
    pub same: usize,
    /// Items that differ, by kind and place: as they were, and as planned again.
    pub different: BTreeMap<String, [Option<String>; 2]>,
    /// Why a plugin's answer may differ.
    pub notes: Vec<String>,
}

impl Replay {
    /// True when every decision is the same.
    pub fn is_same(&self) -> bool {
        self.different.is_empty() && self.ways.values().all(|[then, now]| then == now)
    }
}

/// Plans again.
///
/// # Errors
/// The bundle holds no plan; or the folder for names cannot be written to.
pub async fn replay<P: Planner>(bundle: &Bundle, planner: P, here: &[PluginStatus], folder: &std::path::Path) -> Result<Replay, String> {
    let recipe = bundle.recipe.as_ref().ok_or("this bundle was taken before there was a plan: it holds nothing to plan again")?;
    let names = NamesFile(folder.join("links.json"));
    std::fs::write(&names.0, recipe.names.to_string()).map_err(|error| format!("cannot write {}: {error}", names.0.display()))?;
    let ways = folder.join("ways.json");
    std::fs::write(&ways, recipe.ways.to_string()).map_err(|error| format!("cannot write {}: {error}", ways.display()))?;
    let wiring = Wiring {
        planner: Arc::new(planner),
        kernel: Arc::new(Recorded::of(recipe)),
        forwarder: Arc::new(Still),
        settings: recipe.settings(),
        names,
        tell: Arc::new(|_, _| {}),
    };
    let (outcome, _) = Pass::new(wiring).run(&recipe.inputs()).await.map_err(|refused| refused.to_string())?;
    Ok(compare(&bundle.snapshot, &outcome, here))
}

fn compare(then: &Snapshot, now: &Outcome, here: &[PluginStatus]) -> Replay {
    let (before, after) = (decisions(&then.state), decisions(&now.items));
    let places: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let pair = |place: &&String| [before.get(*place).cloned(), after.get(*place).cloned()];
    let different: BTreeMap<String, [Option<String>; 2]> =
        places.iter().map(|place| ((*place).clone(), pair(place))).filter(|(_, [then, now])| then != now).collect();
    let peers = then.leases.iter().filter(|lease| !lease.own);
    let ways = peers
        .map(|lease| (lease.subnets.to_string(), [lease.way.clone(), now.ways.get(&lease.subnets).and_then(|choice| choice.way.clone())]));
    Replay { ways: ways.collect(), same: places.len() - different.len(), different, notes: notes(then, here) }
}

/// What was decided, by kind and place: planned items, and what policy refused. Kernel settings and rules are the host's own and no plugin's.
fn decisions(items: &[ItemStatus]) -> BTreeMap<String, String> {
    let planned = items.iter().filter(|item| !matches!(item.kind.as_str(), "sysctl" | "table") && item.standing != Standing::Leaving);
    planned
        .filter_map(|item| {
            let desired = item.desired.clone()?;
            let refused = item.reason.as_ref().filter(|_| item.standing == Standing::Refused);
            Some((format!("{} {}", item.kind, item.what), refused.map_or(desired, |reason| format!("refused: {reason}"))))
        })
        .collect()
}

/// Plugins that were in use there and are other ones here.
fn notes(then: &Snapshot, here: &[PluginStatus]) -> Vec<String> {
    let used = then.plugins.iter().filter(|plugin| plugin.world.as_deref() == Some("backend") && plugin.calls > 0);
    used.filter_map(|plugin| match here.iter().find(|own| own.name == plugin.name) {
        None => Some(format!("{} is not here", plugin.name)),
        Some(own) if own.digest != plugin.digest => Some(
            format!("{} is {} here, and was {} there", plugin.name, own.version, plugin.version)
                + if own.version == plugin.version { " (another build of it)" } else { "" },
        ),
        Some(_) => None,
    })
    .collect()
}

/// The kernel as it was recorded. What it is asked to do changes nothing: every pass over it plans the same.
struct Recorded {
    observed: Observed,
    roads: BTreeMap<IpAddr, Hop>,
}

impl Recorded {
    fn of(recipe: &Recipe) -> Recorded {
        Recorded { observed: recipe.observed.clone(), roads: recipe.roads.iter().copied().collect() }
    }
}

impl Kernel for Recorded {
    async fn observe(&self, _: Vec<String>) -> Result<Observed, Refused> {
        Ok(self.observed.clone())
    }

    async fn make(&self, _: HostItem) -> Result<(), Refused> {
        Ok(())
    }

    async fn remove(&self, _: HostItem) -> Result<(), Refused> {
        Ok(())
    }

    async fn set(&self, _: Sysctl) -> Result<(), Refused> {
        Ok(())
    }

    async fn road(&self, to: IpAddr) -> Result<Hop, Refused> {
        Ok(self.roads.get(&to).copied().unwrap_or_default())
    }

    async fn filter(&self, wanted: Ruleset) -> Result<Filter, Refused> {
        Ok(Filter { ours: wanted, ..Filter::default() })
    }

    async fn replace_rules(&self, _: Ruleset) -> Result<(), Refused> {
        Ok(())
    }

    async fn changed(&self) {
        std::future::pending().await
    }
}

/// A fast path that forwards nothing.
struct Still;

impl Forwarder for Still {
    async fn open(&self, _: Link<LinkName>) -> Result<(), Refused> {
        Ok(())
    }

    fn holds(&self, _: &Link<LinkName>) -> bool {
        true
    }

    fn forward(&self, _: &LinkName, _: Forwarding) {}

    async fn close(&self, _: LinkName) -> Result<(), Refused> {
        Ok(())
    }

    fn counters(&self) -> Vec<TunnelStatus> {
        Vec::new()
    }

    fn valid_until(&self, _: u64) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use twill_reconcile::peer::Choice;

    fn item(what: &str, desired: &str, standing: Standing, reason: Option<&str>) -> ItemStatus {
        ItemStatus {
            kind: "route".into(),
            what: what.into(),
            desired: Some(desired.into()),
            observed: None,
            standing,
            backend: "udp".into(),
            lease: None,
            reason: reason.map(str::to_owned),
        }
    }

    #[test]
    fn decisions_are_compared_and_not_how_the_kernel_was() {
        let then = Snapshot { state: vec![item("10.1.0.0/16", "dev flannel0", Standing::Present, None)].into(), ..Snapshot::default() };
        let mut now = Outcome { items: vec![item("10.1.0.0/16", "dev flannel0", Standing::Missing, None)].into(), ..Outcome::default() };
        let replay = compare(&then, &now, &[]);
        assert!(replay.is_same() && replay.same == 1, "{replay:?}");
        now.items = vec![item("10.1.0.0/16", "dev flannel0", Standing::Refused, Some("too wide"))].into();
        assert_eq!(
            compare(&then, &now, &[]).different["route 10.1.0.0/16"],
            [Some("dev flannel0".into()), Some("refused: too wide".into())]
        );
        now.items = Arc::default();
        assert_eq!(compare(&then, &now, &[]).different["route 10.1.0.0/16"], [Some("dev flannel0".into()), None]);
    }

    #[test]
    fn another_way_is_another_decision() {
        let lease = twill_model::status::LeaseStatus {
            subnets: twill_model::Prefixes { v4: "10.1.2.0/24".parse().ok(), v6: None },
            public: Default::default(),
            node: None,
            ways: Vec::new(),
            way: Some("udp".into()),
            reason: None,
            own: false,
            life: twill_model::Lifetime::Unknown,
            seen_ms: 0,
        };
        let then = Snapshot { leases: vec![lease.clone()], ..Snapshot::default() };
        let mut now = Outcome::default();
        assert!(!compare(&then, &now, &[]).is_same());
        Arc::make_mut(&mut now.ways).insert(lease.subnets, Choice { way: Some("udp".into()), reason: String::new(), ways: Vec::new() });
        assert!(compare(&then, &now, &[]).is_same());
    }
}
