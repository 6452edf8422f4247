//! Building the node: from what [`gather`](super::gather) found, the tasks and what they tell each other by.

use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio::net::UnixListener;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use twill_fastpath::Tunnels;
use twill_http::{Api, serve_tcp, serve_tls, serve_unix};
use twill_kernel::lock::InstanceLock;
use twill_kernel::{Netlink, ROUTE_PROTOCOL};
use twill_lease::cluster::Cluster;
use twill_lease::keeper::{Handle, Keeper, Settings as KeeperSettings};
use twill_lease::store::Store;
use twill_model::NodeId;
use twill_model::status::Snapshot;
use twill_plugin::{Backends, Refusals, StoreHandle};
use twill_reconcile::files::NamesFile;
use twill_reconcile::ports::Forwarder;
use twill_reconcile::run::{self, Wiring};
use twill_reconcile::trial::Basis;
use twill_reconcile::view::Outcome;
use twill_reconcile::{Inputs, Settings, SourceCheck};

use super::alone::Alone;
use super::bare::Bare;
use super::change::Changer;
use super::control::Operator;
use super::events::Events;
use super::firewall::Firewall;
use super::follow;
use super::followed::Followed;
use super::gather::{Parts, Port, gather};
use super::journal::Journal;
use super::legs::HostsAlive;
use super::plugins::{self, Trials};
use super::prober::{Reports, prober};
use super::report::Report;
use super::show::Show;
use super::snapshot::Constants;
use super::subnet_file::{FileState, SubnetFile};
use super::tasks::Tasks;
use super::usage::{Usage, Watched};
use super::wish::{Advertised, OnlyAlone};
use super::{facts, hosts, notify};
use crate::clock::now_ms;
use crate::compat::subnet_env::{self, SubnetEnv};
use crate::exit::Exit;
use crate::settings::{self, RunSettings};

/// A node that runs.
pub struct Running {
    /// All tasks but the keeper.
    pub tasks: Tasks,
    /// The keeper; it ends early only when it cannot go on, or the lease was given back.
    pub keeper: JoinHandle<Result<(), Exit>>,
    /// What the keeper knows.
    pub cluster: watch::Receiver<Arc<Cluster>>,
    /// The claim to be alone on the network.
    pub alone: Arc<Alone>,
    /// How it tells.
    pub followed: Followed,
    /// The instance's lock.
    pub lock: InstanceLock,
    /// What happened.
    pub events: Arc<Events>,
    /// Rung when this node is drained: it is to end, and its network state to go.
    pub drained: Arc<Notify>,
    /// The fast path, where its devices are to go with the daemon.
    pub passing: Option<Arc<Tunnels>>,
}

/// Builds a node and starts it; what there is to show goes to `snapshots`.
///
/// # Errors
/// Whatever is missing, with a sentence and a fitting exit code.
pub async fn build(settings: RunSettings, snapshots: watch::Sender<Arc<Snapshot>>, shutdown: CancellationToken) -> Result<Running, Exit> {
    let parts = gather(settings).await?;
    Ok(start(parts, snapshots, shutdown))
}

/// What the tasks tell each other by.
struct Wires {
    keeper: Handle,
    inputs: watch::Sender<Option<Arc<Inputs>>>,
    outcome: watch::Sender<Arc<Outcome>>,
    file: watch::Sender<FileState>,
    hosts: watch::Sender<Arc<HostsAlive>>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    /// Asks for a pass.
    again: Arc<Notify>,
    drained: Arc<Notify>,
    journal: Journal,
}

fn start(parts: Parts, snapshots: watch::Sender<Arc<Snapshot>>, shutdown: CancellationToken) -> Running {
    let usage = Arc::new(Usage::new(parts.settings.ways.keep_ways));
    let (keeper, handle) = keeper(&parts, &usage);
    let followed = Followed { shutdown: shutdown.clone(), events: Arc::clone(&parts.events), keeper: handle.clone() };
    let wires = Wires {
        keeper: handle,
        inputs: watch::Sender::new(None),
        outcome: watch::Sender::new(Arc::new(Outcome::default())),
        file: watch::Sender::new(FileState::default()),
        hosts: watch::Sender::new(Arc::default()),
        snapshots,
        again: Arc::default(),
        drained: Arc::default(),
        journal: Journal::open(parts.settings.instance.state().join("config.json")),
    };
    let cluster = || wires.keeper.cluster();
    let outcome = || wires.outcome.subscribe();
    let (ask, questions) = mpsc::channel(1);
    parts.plugins.try_out_with(trials(&parts, &wires, ask).judge());
    let (probing, findings) = prober(outcome(), parts.settings.ways.vxlan_tx_checksum, &parts.events, shutdown.clone());
    let api = Api::new(wires.snapshots.subscribe(), Arc::new(operator(&parts, &wires)), parts.events.log());
    let firewall = Firewall::new(&parts.settings, subnet_env::networks(&parts.settings.instance.subnet_file));
    let show = show(&parts, &wires, findings.reports);
    let subnet_file = subnet_file(&parts, &wires);
    let bare = Bare { usage: Arc::clone(&usage), outcome: outcome() };
    let (wiring, watched) = (wiring(&parts), watched(&parts, &wires, usage));
    let passing = parts.settings.udp_release_tun.then(|| Arc::clone(&parts.tunnels));

    let mut tasks = Tasks::default();
    serve(&mut tasks, parts.socket, parts.port, api, &shutdown);
    tasks.spawn("systemd", notify::systemd(wires.snapshots.subscribe(), shutdown.clone()));
    tasks.spawn("plugin folders", plugins::folders(parts.plugins.clone(), followed.clone()));
    tasks.spawn("needs", plugins::needs(parts.plugins.clone(), wires.inputs.subscribe(), followed.clone()));
    tasks.spawn("violations", plugins::violations(parts.plugins.clone(), outcome(), followed.clone()));
    let (node, alone) = (parts.node.subscribe(), Arc::clone(&parts.alone));
    let reads = wires.inputs.subscribe();
    tasks.spawn("inputs", follow::cluster(cluster(), node, findings.proofs, firewall, alone, wires.inputs.clone(), shutdown.clone()));
    tasks.spawn("underlay", follow::underlay(parts.search, parts.kernel, outcome(), parts.node, followed.clone()));
    tasks.spawn("reconciler", run::run(wiring, reads, Arc::clone(&wires.again), questions, wires.outcome.clone(), shutdown.clone()));
    tasks.spawn("journal", wires.journal.clone().follow(cluster(), shutdown.clone()));
    tasks.spawn("prober", probing);
    tasks.spawn("hosts", hosts::ask(wires.snapshots.subscribe(), wires.hosts.clone(), shutdown.clone()));
    tasks.spawn("ways", watched.run(shutdown.clone()));
    tasks.spawn("bare ways", bare.run(shutdown.clone()));
    tasks.spawn("pokes", follow::pokes(parts.tunnels, parts.plugins.clone(), Arc::clone(&wires.again), followed.clone()));
    tasks.spawn("hang-up", follow::plugin_folders(parts.plugins, followed.clone()));
    tasks.spawn("subnet file", subnet_file.run(followed.clone()));
    tasks.spawn("snapshot", show.run(shutdown.clone()));
    let ended = async move { keeper.run(shutdown).await.map_err(Exit::config) };
    Running {
        tasks,
        keeper: tokio::spawn(ended),
        cluster: cluster(),
        alone: parts.alone,
        followed,
        lock: parts.lock,
        events: parts.events,
        drained: Arc::clone(&wires.drained),
        passing,
    }
}

fn operator(parts: &Parts, wires: &Wires) -> Operator {
    Operator {
        keeper: wires.keeper.clone(),
        plugins: parts.plugins.clone(),
        store: Arc::clone(&parts.store),
        changer: changer(parts, wires),
        again: Arc::clone(&wires.again),
        outcome: wires.outcome.subscribe(),
        drained: Arc::clone(&wires.drained),
        events: Arc::clone(&parts.events),
        report: Report {
            snapshots: wires.snapshots.subscribe(),
            events: parts.events.log(),
            inputs: wires.inputs.subscribe(),
            kernel: Arc::clone(&parts.kernel),
            settings: reconciler_settings(&parts.settings),
            names: parts.settings.instance.state().join("links.json"),
        },
    }
}

fn subnet_file(parts: &Parts, wires: &Wires) -> SubnetFile {
    SubnetFile {
        path: parts.settings.instance.subnet_file.clone(),
        copy: parts.settings.instance.state().join("subnet.env"),
        masquerade: parts.settings.ip_masq,
        outcome: wires.outcome.subscribe(),
        cluster: wires.keeper.cluster(),
        state: wires.file.clone(),
    }
}

fn show(parts: &Parts, wires: &Wires, reports: watch::Receiver<Reports>) -> Show {
    Show {
        constants: constants(&parts.settings, &parts.store),
        node: parts.node.subscribe(),
        cluster: wires.keeper.cluster(),
        outcome: wires.outcome.subscribe(),
        reports,
        hosts: wires.hosts.subscribe(),
        file: wires.file.subscribe(),
        plugins: parts.plugins.clone(),
        tunnels: Arc::clone(&parts.tunnels),
        events: Arc::clone(&parts.events),
        out: wires.snapshots.clone(),
    }
}

fn watched(parts: &Parts, wires: &Wires, usage: Arc<Usage>) -> Watched {
    Watched {
        usage,
        kernel: Arc::clone(&parts.kernel),
        cluster: wires.keeper.cluster(),
        outcome: wires.outcome.subscribe(),
        keeper: wires.keeper.clone(),
    }
}

fn wiring(parts: &Parts) -> Wiring<Backends, Netlink, Tunnels> {
    Wiring {
        planner: Arc::new(parts.plugins.planner(refusals(&parts.events))),
        kernel: Arc::clone(&parts.kernel),
        forwarder: Arc::clone(&parts.tunnels),
        settings: reconciler_settings(&parts.settings),
        names: NamesFile(parts.settings.instance.state().join("links.json")),
        tell: parts.events.voice("reconcile"),
    }
}

fn trials(parts: &Parts, wires: &Wires, questions: mpsc::Sender<oneshot::Sender<Option<Basis>>>) -> Trials {
    Trials {
        questions,
        cluster: wires.keeper.cluster(),
        node: parts.node.subscribe(),
        kernel: Arc::clone(&parts.kernel),
        allow_disruption: parts.settings.allow_disruption,
    }
}

/// Serves the API; why it stopped early, if it does, is logged.
fn serve(tasks: &mut Tasks, socket: UnixListener, port: Option<Port>, api: Api, shutdown: &CancellationToken) {
    let log = |ended: std::io::Result<()>| {
        if let Err(error) = ended {
            tracing::error!(%error, "cannot serve the API any more");
        }
    };
    let by_socket = serve_unix(socket, api.clone(), shutdown.clone());
    tasks.spawn("API socket", async move { log(by_socket.await) });
    let shutdown = shutdown.clone();
    match port {
        None => {}
        Some(Port { listener, access, tls: None }) => {
            tasks.spawn("API port", async move { log(serve_tcp(listener, api, access, shutdown).await) })
        }
        Some(Port { listener, access, tls: Some(tls) }) => {
            tasks.spawn("API port", async move { log(serve_tls(listener, tls, api, access, shutdown).await) });
        }
    }
}

fn keeper(parts: &Parts, usage: &Arc<Usage>) -> (Keeper<StoreHandle, OnlyAlone<Advertised<Backends, Netlink>>>, Handle) {
    let wish = Advertised {
        planner: parts.plugins.planner(refusals(&parts.events)),
        kernel: Arc::clone(&parts.kernel),
        node: parts.node.subscribe(),
        without: parts.settings.ways.without.iter().map(|backend| backend.to_lowercase()).collect(),
        usage: Arc::clone(usage),
        events: Arc::clone(&parts.events),
        told: Mutex::default(),
    };
    let wish = OnlyAlone { wish, alone: Arc::clone(&parts.alone) };
    let settings = keeper_settings(&parts.settings, &parts.node.borrow().id, &parts.settings.instance.state());
    let tunnels = Arc::clone(&parts.tunnels);
    let guard = Arc::new(move |boot_ms| tunnels.valid_until(boot_ms));
    Keeper::new(Arc::clone(&parts.store), wish, settings, guard, parts.events.voice("lease"))
}

fn changer(parts: &Parts, wires: &Wires) -> Changer {
    Changer {
        keeper: wires.keeper.clone(),
        node: parts.node.subscribe(),
        store: Arc::clone(&parts.store),
        planner: parts.plugins.planner(refusals(&parts.events)),
        journal: wires.journal.clone(),
        without: parts.settings.ways.without.clone(),
        keep: format!("{} s", parts.settings.ways.keep_ways.as_secs()),
    }
}

/// What the keeper is told by the settings.
pub fn keeper_settings(settings: &RunSettings, node: &NodeId, state_dir: &Path) -> KeeperSettings {
    let subnet_file = std::fs::read_to_string(&settings.instance.subnet_file).unwrap_or_default();
    KeeperSettings {
        node: node.clone(),
        state_dir: state_dir.to_owned(),
        term: settings.lease_ttl,
        renew_margin: settings.lease_renew_margin,
        allow_disruption: settings.allow_disruption,
        wait_for_config: settings.wait_for_config,
        from_file: SubnetEnv::subnets_in(&subnet_file),
    }
}

fn refusals(events: &Arc<Events>) -> Refusals {
    let events = Arc::clone(events);
    Refusals::to(move |refused| events.tell_refused(&refused))
}

/// What the reconciler is told by the settings.
pub fn reconciler_settings(settings: &RunSettings) -> Settings {
    Settings {
        protocol: ROUTE_PROTOCOL,
        source_check: match settings.udp_source_check {
            settings::SourceCheck::Strict => SourceCheck::Strict,
            settings::SourceCheck::Lease => SourceCheck::Lease,
            settings::SourceCheck::Off => SourceCheck::Off,
        },
        forwarding: settings.forwarding == settings::Forwarding::Manage,
        repairs_per_minute: settings.repair_limit,
    }
}

fn constants(settings: &RunSettings, store: &StoreHandle) -> Constants {
    Constants {
        hostname: facts::hostname(),
        instance: settings.instance.instance.clone(),
        store: store.abilities().name,
        started_ms: now_ms(),
    }
}
