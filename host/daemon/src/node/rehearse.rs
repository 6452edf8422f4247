//! A rehearsal: what a start of the daemon would change on this node. The daemon's own keeper and reconciler run, the one on a store and the other on a kernel in
//! memory that begin as the real ones are; then both are looked at for what became different. So there is no second opinion of what twill would do.
//!
//! Nothing is written: what the daemon keeps on disk is copied to a directory that goes with the rehearsal.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use twill_kernel::Netlink;
use twill_kernel::lock::{Holder, held_by};
use twill_kernel::rehearsal::{Rehearsal as RehearsedKernel, Rehearsed};
use twill_lease::cluster::Cluster;
use twill_lease::identity::{Identity, known_identity};
use twill_lease::keeper::{Handle, Keeper};
use twill_lease::rehearsal::Rehearsal as RehearsedStore;
use twill_lease::remembered;
use twill_lease::store::Store;
use twill_model::item::{Item, Link, LinkKind, LinkName};
use twill_model::node::Node;
use twill_model::plan::{Plan, PlannedChange};
use twill_model::status::{ItemStatus, Standing};
use twill_model::{Lease, Lifetime, NetworkConfig, NodeId, Prefixes};
use twill_plugin::{Backends, Refusals, StoreHandle};
use twill_reconcile::Inputs;
use twill_reconcile::changes::{changes, link_words};
use twill_reconcile::files::NamesFile;
use twill_reconcile::links::Names;
use twill_reconcile::pass::Pass;
use twill_reconcile::ports::Planner;
use twill_reconcile::run::Wiring;
use twill_reconcile::view::Outcome;

use super::alone::Alone;
use super::build::{keeper_settings, reconciler_settings};
use super::events::Events;
use super::firewall::Firewall;
use super::inputs;
use super::store;
use super::subnet_file::subnet_env;
use super::underlay::Search;
use super::usage::Usage;
use super::wish::{Advertised, context};
use crate::compat::subnet_env::networks;
use crate::exit::Exit;
use crate::settings::RunSettings;

/// How long the store may take to answer before the remembered leases are planned with.
const PATIENCE: Duration = Duration::from_secs(8);

/// How long a problem may stand before it counts as the answer.
const SETTLED: Duration = Duration::from_millis(500);

/// What is no longer wanted goes after a drain; more passes than this are not waited for.
const PASSES: usize = 4;

/// What is rehearsed with.
struct Stage {
    settings: RunSettings,
    /// Copies of what the daemon keeps.
    scratch: TempDir,
    identity: Option<Identity>,
    store: Arc<RehearsedStore<StoreHandle>>,
    kernel: Arc<Netlink>,
    planner: Backends,
    node: watch::Sender<Arc<Node>>,
    /// The daemon of this instance, if one runs.
    daemon: Option<Holder>,
}

/// What a start with these settings would change, by the network config in the store or by `config`. `running` is what the daemon of this instance says of its
/// state; none when there is no daemon.
///
/// # Errors
/// There is nothing to plan with: no store, no config, no lease to be had; with a sentence and the exit code that `twill run` would end with.
pub async fn rehearse(settings: RunSettings, config: Option<String>, running: Option<Vec<ItemStatus>>) -> Result<Plan, Exit> {
    let stage = Stage::set(settings, config.clone()).await?;
    let (cluster, mut notes) = stage.lease(config.as_deref()).await?;
    let node = stage.node.borrow().clone();
    let mut firewall = Firewall::new(&stage.settings, networks(&stage.settings.instance.subnet_file));
    let Some(inputs) = inputs::of(&cluster, &node, &Arc::default(), &mut firewall) else {
        return Err(Exit::failed(nothing_to_plan(&cluster)));
    };
    let (kernel, outcome) = stage.reconcile(&inputs).await;
    notes.extend(stage.notes(&inputs, &kernel).await);
    let mut changes = stage.lease_changes(&inputs.mine);
    changes.extend(kernel_changes(&kernel));
    changes.extend(table_changes(&running.unwrap_or_default(), &outcome.items));
    changes.extend(rule_changes(&kernel));
    changes.extend(stage.file_change(&outcome, &cluster));
    let mut problems = cluster.problems.clone();
    problems.extend(outcome.problems.iter().cloned());
    Ok(Plan {
        node: stage.identity.as_ref().map(|identity| identity.id.to_string()),
        underlay: node.underlay.name.clone(),
        public: node.public,
        networks: inputs.networks.iter().map(|network| network.to_string()).collect(),
        backend: Some(inputs.backend.clone()),
        subnets: Some(inputs.mine.subnets),
        pod_mtu: outcome.pod_mtu,
        changes,
        notes,
        problems,
    })
}

impl Stage {
    async fn set(settings: RunSettings, config: Option<String>) -> Result<Stage, Exit> {
        let plugins = store::open_plugins(&settings.store, None, None).await?;
        let store = Arc::new(store::choose_store(&plugins, &settings.store).await?);
        let state = settings.instance.state();
        let scratch = copied(&state).map_err(|error| Exit::failed(format!("cannot copy {}: {error}", state.display())))?;
        let identity = known_identity(&state).map_err(Exit::failed)?;
        let kernel = Arc::new(Netlink::open(scratch.path().join("sysctls.json")).map_err(Exit::failed)?);
        let chosen = Search::new(&settings, store.hints().await.unwrap_or_default()).find(&kernel).await.map_err(Exit::lacking)?;
        kernel.set_underlay(&chosen.underlay.name);
        let (id, seed) = match &identity {
            Some(known) => (known.id.clone(), known.seed.clone()),
            None => (NodeId("new".to_owned()), "0".repeat(64)),
        };
        let node = Node { id, underlay: chosen.underlay, public: chosen.published, seed };
        let daemon = held_by(&settings.instance.run_dir.join(&settings.instance.instance)).ok().flatten();
        Ok(Stage {
            settings,
            scratch,
            identity,
            store: Arc::new(RehearsedStore::new(store, config)),
            kernel,
            planner: plugins.planner(Refusals::to(|_| {})),
            node: watch::Sender::new(Arc::new(node)),
            daemon,
        })
    }

    /// Lets the keeper settle on a lease; answers with what it then knows.
    async fn lease(&self, config: Option<&str>) -> Result<(Arc<Cluster>, Vec<String>), Exit> {
        let wish = Advertised {
            planner: self.planner.clone(),
            kernel: Arc::clone(&self.kernel),
            node: self.node.subscribe(),
            without: self.settings.ways.without.iter().map(|backend| backend.to_lowercase()).collect(),
            usage: Arc::new(Usage::new(self.settings.ways.keep_ways)),
            events: Arc::new(Events::in_memory()),
            told: Mutex::default(),
        };
        let settings = keeper_settings(&self.settings, &self.node.borrow().id, self.scratch.path());
        let (keeper, handle) = Keeper::new(Arc::clone(&self.store), wish, settings, Arc::new(|_| {}), Arc::new(|_, _| {}));
        let shutdown = CancellationToken::new();
        let mut running = tokio::spawn(keeper.run(shutdown.clone()));
        let mut notes = Vec::new();
        let settled = async {
            self.settled(&handle).await;
            let waiting = handle.cluster().borrow().config_waiting.clone();
            if config.is_some() && waiting.as_deref() == config {
                notes.push("this config would wait for `twill config accept` on this node; what follows is what that would do".to_owned());
                handle.accept_config().await.map_err(Exit::failed)?;
                self.settled(&handle).await;
            }
            Ok(())
        };
        tokio::select! {
            settled = settled => settled?,
            ended = &mut running => if let Ok(Err(fatal)) = ended { return Err(Exit::config(fatal)) },
        }
        let cluster = handle.cluster().borrow().clone();
        shutdown.cancel();
        let _ = running.await;
        Ok((cluster, notes))
    }

    /// Waits for a lease by the config in force, or for a problem that stays.
    async fn settled(&self, handle: &Handle) {
        let mut cluster = handle.cluster();
        let start = Instant::now();
        let mut trouble: Option<Instant> = None;
        let writes = self.store.told().writes;
        while start.elapsed() < PATIENCE {
            let now = cluster.borrow_and_update().clone();
            if now.complete && now.own.is_some() && self.store.told().writes > writes {
                return;
            }
            trouble = if now.complete && !now.problems.is_empty() { trouble.or_else(|| Some(Instant::now())) } else { None };
            if trouble.is_some_and(|since| since.elapsed() >= SETTLED) {
                return;
            }
            let _ = tokio::time::timeout(SETTLED / 5, cluster.changed()).await;
        }
    }

    /// Runs the reconciler until nothing is left to do.
    async fn reconcile(&self, inputs: &Inputs) -> (Rehearsed, Outcome) {
        let kernel = Arc::new(RehearsedKernel::new(Arc::clone(&self.kernel), self.open_tunnels().await));
        let wiring = Wiring {
            planner: Arc::new(self.planner.clone()),
            kernel: Arc::clone(&kernel),
            forwarder: Arc::clone(&kernel),
            settings: reconciler_settings(&self.settings),
            names: NamesFile(self.scratch.path().join("links.json")),
            tell: Arc::new(|_, _| {}),
        };
        let mut pass = Pass::new(wiring);
        let mut passes = 0;
        loop {
            let looked = pass.run(inputs).await;
            let (outcome, wake) = looked.unwrap_or_else(|refused| (Outcome::default().after_no_look(&refused), None));
            passes += 1;
            let leaving = outcome.items.iter().any(|item| item.standing == Standing::Leaving);
            match wake.filter(|_| leaving && passes < PASSES) {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => return (kernel.told(), outcome),
            }
        }
    }

    /// The tunnels that a running daemon holds open: those of the lease and the config that it wrote down.
    async fn open_tunnels(&self) -> Vec<Link<LinkName>> {
        let mut open = Vec::new();
        let known = remembered::read(self.scratch.path()).ok().flatten().filter(|_| self.daemon.is_some());
        let Some((own, config)) = known.and_then(|known| Some((known.own?, NetworkConfig::parse(&known.config?).ok()?))) else {
            return open;
        };
        let names = NamesFile(self.scratch.path().join("links.json")).load();
        let node = self.node.borrow().clone();
        for way in &own.ways {
            let asked = context(&node, &config, &own, way.clone());
            let Ok(base) = self.planner.local(&way.backend, asked).await else { continue };
            open.extend(base.items.iter().filter_map(|item| tunnel(item, &way.backend, &names, &node)));
        }
        open
    }

    async fn notes(&self, inputs: &Inputs, kernel: &Rehearsed) -> Vec<String> {
        let mut notes = Vec::new();
        let choices = self.store.told().choices;
        if choices > 1 {
            let subnets = inputs.mine.subnets;
            notes.push(format!(
                "{subnets} is one of {choices} free subnets; which one is chosen at the start, and what follows from it changes with it"
            ));
        }
        let new_mac = |link: &twill_model::state::ObservedLink| link.mac.is_some() && kernel.before.link(&link.name).is_none();
        if self.identity.is_none() && kernel.after.links.iter().any(new_mac) {
            notes.push("this node has no id yet: it is made at the first start, and MAC addresses of new links with it; those shown here are examples".to_owned());
        }
        if let Some(pid) = self.daemon.and_then(|holder| holder.pid) {
            notes.push(format!(
                "the daemon runs (process {pid}): what interrupts no traffic it does by itself, with the settings that it was started with"
            ));
        }
        let alone = Alone::new(self.settings.instance.run_dir.clone(), self.settings.instance.subnet_file.clone());
        notes.extend(alone.flanneld(inputs.networks).await.map(|company| format!("twill would not start: {company}")));
        notes
    }

    fn lease_changes(&self, mine: &Lease) -> Vec<PlannedChange> {
        let told = self.store.told();
        let all: BTreeSet<&Prefixes> = told.before.keys().chain(told.after.keys()).collect();
        let change = |subnets: &Prefixes| {
            let (before, after) = (told.before.get(subnets), told.after.get(subnets));
            // A daemon that runs renews by its own clock.
            let same = before.zip(after).is_some_and(|(before, after)| before.timeless() == after.timeless());
            if same && (self.daemon.is_some() || *subnets != mine.subnets) {
                return None;
            }
            PlannedChange::between("lease", subnets.to_string(), before.map(lease_words), after.map(lease_words))
        };
        all.into_iter().filter_map(change).collect()
    }

    fn file_change(&self, outcome: &Outcome, cluster: &Cluster) -> Option<PlannedChange> {
        let path = &self.settings.instance.subnet_file;
        let before = std::fs::read_to_string(path).ok();
        let after = subnet_env(outcome, cluster, self.settings.ip_masq).map(|file| file.text());
        // What twill cannot say yet it does not write.
        after.and_then(|after| PlannedChange::between("file", path.display().to_string(), before, Some(after)))
    }
}

/// A directory with copies of the files that the daemon reads at its start.
fn copied(state: &Path) -> std::io::Result<TempDir> {
    let scratch = tempfile::tempdir()?;
    for name in ["book.json", "links.json", "ways.json"] {
        match std::fs::copy(state.join(name), scratch.path().join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(scratch)
}

fn tunnel(item: &Item, backend: &str, names: &Names, node: &Node) -> Option<Link<LinkName>> {
    let Item::Link(link @ Link { kind: LinkKind::Tunnel { .. }, .. }) = item else { return None };
    let on = names.resolve(backend, &link.on, &node.underlay.name)?;
    Some(Link { on, name: link.name.clone(), kind: link.kind.clone(), mtu: link.mtu, mac: link.mac })
}

fn nothing_to_plan(cluster: &Cluster) -> String {
    match &cluster.problems[..] {
        [] => "there is no lease to be had, and the store does not say why; look at it with `twill config show`".to_owned(),
        problems => problems.join("; "),
    }
}

fn lease_words(lease: &Lease) -> String {
    let ways: Vec<&str> = lease.ways.iter().map(|way| if way.backend.is_empty() { "udp" } else { &way.backend }).collect();
    let life = match lease.life {
        Lifetime::Reserved => "reserved".to_owned(),
        Lifetime::Unknown => "for as long as the store has it".to_owned(),
        Lifetime::Seconds(seconds) => format!("for {}h{:02}m{:02}s", seconds / 3_600, seconds / 60 % 60, seconds % 60),
    };
    let owner = lease.node.as_ref().map_or_else(|| "flannel".to_owned(), |node| format!("node {node}"));
    format!("{owner}, at {}, by {}, {life}", lease.public, ways.join(" and "))
}

fn kernel_changes(kernel: &Rehearsed) -> Vec<PlannedChange> {
    let mut all = changes(&kernel.before, &kernel.after);
    let words = |link: &Link<LinkName>| Some(link_words(Some(&link.kind), "", link.mtu));
    for (before, after) in &kernel.reopened {
        let change = PlannedChange::between("link", after.on.to_string(), words(before), words(after));
        let disruption = before.kind.remake(&after.kind).map(|why| format!("it is opened anew: {why}"));
        all.extend(change.map(|change| PlannedChange { disruption, ..change }));
    }
    all
}

/// The fast path's tables: what the running daemon has in them, and what would be.
fn table_changes(before: &[ItemStatus], after: &[ItemStatus]) -> Vec<PlannedChange> {
    let tables = |items: &[ItemStatus], standings: &[Standing]| -> BTreeMap<(String, String), String> {
        let of_tables =
            items.iter().filter(|item| matches!(item.kind.as_str(), "endpoint" | "sender") && standings.contains(&item.standing));
        of_tables.filter_map(|item| Some(((item.kind.clone(), item.what.clone()), item.desired.clone()?))).collect()
    };
    let (before, after) = (tables(before, &[Standing::Present]), tables(after, &[Standing::Present]));
    let all: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    all.into_iter()
        .filter_map(|place| PlannedChange::between(&place.0, place.1.clone(), before.get(place).cloned(), after.get(place).cloned()))
        .collect()
}

fn rule_changes(kernel: &Rehearsed) -> Vec<PlannedChange> {
    let lines = |rules: &Option<twill_model::firewall::Ruleset>| -> BTreeMap<String, String> {
        rules.as_ref().map(|rules| twill_firewall::lines(rules).into_iter().collect()).unwrap_or_default()
    };
    let (before, after) = (lines(&kernel.rules_before), lines(&kernel.rules_after));
    let all: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    all.into_iter()
        .filter_map(|place| PlannedChange::between("rule", place.clone(), before.get(place).cloned(), after.get(place).cloned()))
        .collect()
}
