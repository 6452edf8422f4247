//! Building the node: first what must be there (root, lock, plugins, kernel, underlay, identity, sockets), then the tasks.

use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use twill_fastpath::{Tunnels, queues_for};
use twill_http::{Access, Api, Tls, bind_unix, serve_tcp, serve_tls, serve_unix};
use twill_kernel::lock::InstanceLock;
use twill_kernel::{Netlink, ROUTE_PROTOCOL};
use twill_lease::cluster::Cluster;
use twill_lease::identity::identity;
use twill_lease::keeper::{Handle, Keeper, Settings as KeeperSettings};
use twill_lease::store::Store;
use twill_model::NodeId;
use twill_model::node::Node;
use twill_model::status::Snapshot;
use twill_plugin::{Plugins, Refusals, StoreHandle};
use twill_reconcile::files::NamesFile;
use twill_reconcile::ports::Forwarder;
use twill_reconcile::run::{self, Wiring};
use twill_reconcile::view::Outcome;
use twill_reconcile::{Inputs, Settings, SourceCheck};

use super::alone::Alone;
use super::change::Changer;
use super::control::Operator;
use super::events::{Events, now_ms};
use super::firewall::Firewall;
use super::follow::{self, Followed};
use super::hosts;
use super::journal::Journal;
use super::plugins::{self, Trials};
use super::prober::prober;
use super::report::Report;
use super::show::Show;
use super::snapshot::Constants;
use super::subnet_file::{FileState, SubnetFile};
use super::tasks::Tasks;
use super::underlay::Search;
use super::usage::{Usage, Watched};
use super::wish::{Advertised, OnlyAlone};
use super::{facts, notify, store};
use crate::compat::subnet_env::{self, SubnetEnv};
use crate::exit::Exit;
use crate::settings::{self, Listen, RunSettings};

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

/// What must be there before anything runs.
struct Parts {
    settings: RunSettings,
    lock: InstanceLock,
    alone: Arc<Alone>,
    plugins: Plugins,
    store: Arc<StoreHandle>,
    kernel: Arc<Netlink>,
    tunnels: Arc<Tunnels>,
    search: Search,
    node: watch::Sender<Arc<Node>>,
    socket: UnixListener,
    port: Option<Port>,
    events: Arc<Events>,
}

/// Builds a node and starts it; what there is to show goes to `snapshots`.
///
/// # Errors
/// Whatever is missing, with a sentence and a fitting exit code.
pub async fn build(settings: RunSettings, snapshots: watch::Sender<Arc<Snapshot>>, shutdown: CancellationToken) -> Result<Running, Exit> {
    let parts = gather(settings).await?;
    Ok(start(parts, snapshots, shutdown))
}

async fn gather(settings: RunSettings) -> Result<Parts, Exit> {
    facts::require_root()?;
    // First of all: what lies in the state folder is one daemon's.
    let lock = InstanceLock::take(&settings.instance.run_dir.join(&settings.instance.instance)).map_err(Exit::failed)?;
    let alone = Arc::new(Alone::new(settings.instance.run_dir.clone(), settings.instance.subnet_file.clone()));
    let state = settings.instance.state();
    let identity = identity(&state).map_err(Exit::failed)?;
    let events = Arc::new(Events::open(&state));
    let plugins = store::open_plugins(&settings.store, Some(state.join("plugins")), Some(events.voice("plugin"))).await?;
    let store = Arc::new(store::choose_store(&plugins, &settings.store).await?);
    events.tell_start(&settings.instance.instance);
    let kernel = Arc::new(Netlink::open(state.join("sysctls.json")).map_err(Exit::failed)?);
    let search = Search::new(&settings, store.hints().await.unwrap_or_default());
    let chosen = search.wait_for_one(&kernel).await.map_err(Exit::lacking)?;
    kernel.set_underlay(&chosen.underlay.name);
    let node = Node { id: identity.id, underlay: chosen.underlay, public: chosen.published, seed: identity.seed };
    let node = watch::Sender::new(Arc::new(node));
    let socket = bind_unix(&settings.instance.socket()).map_err(Exit::failed)?;
    let port = listen(&settings).await?;
    let tunnels = Arc::new(Tunnels::new(fast_path_settings(&settings)));
    Ok(Parts { settings, lock, alone, plugins, store, kernel, tunnels, search, node, socket, port, events })
}

/// The API's TCP door, and what it asks for.
struct Port {
    listener: TcpListener,
    access: Access,
    tls: Option<Tls>,
}

async fn listen(settings: &RunSettings) -> Result<Option<Port>, Exit> {
    let (access, tls) = settings.api.door(settings.listen).map_err(Exit::usage)?;
    let Listen::At(address) = settings.listen else { return Ok(None) };
    let listener = TcpListener::bind(address).await.map_err(|error| {
        Exit::failed(format!("cannot listen on {address}: {error}; choose another address with --listen, or --listen off"))
    })?;
    Ok(Some(Port { listener, access, tls }))
}

fn start(parts: Parts, snapshots: watch::Sender<Arc<Snapshot>>, shutdown: CancellationToken) -> Running {
    let mut tasks = Tasks::default();
    let usage = Arc::new(Usage::new(parts.settings.ways.keep_ways));
    let (keeper, handle) = keeper(&parts, &usage);
    let followed = Followed { shutdown: shutdown.clone(), events: Arc::clone(&parts.events), keeper: handle.clone() };
    let again = Arc::new(Notify::new());
    let drained = Arc::new(Notify::new());
    let inputs: watch::Sender<Option<Arc<Inputs>>> = watch::Sender::new(None);
    let outcome = watch::Sender::new(Arc::new(Outcome::default()));
    let journal = Journal::open(parts.settings.instance.state().join("config.json"));
    let (ask, questions) = mpsc::channel(1);
    let passing = parts.settings.udp_release_tun.then(|| Arc::clone(&parts.tunnels));
    let operator = Operator {
        keeper: handle.clone(),
        plugins: parts.plugins.clone(),
        store: Arc::clone(&parts.store),
        changer: changer(&parts, &handle, &journal),
        again: Arc::clone(&again),
        outcome: outcome.subscribe(),
        drained: Arc::clone(&drained),
        events: Arc::clone(&parts.events),
        report: Report {
            snapshots: snapshots.subscribe(),
            events: parts.events.log(),
            inputs: inputs.subscribe(),
            kernel: Arc::clone(&parts.kernel),
            settings: reconciler_settings(&parts.settings),
            names: parts.settings.instance.state().join("links.json"),
        },
    };
    let shown = snapshots.subscribe();
    let api = Api::new(snapshots.subscribe(), Arc::new(operator), parts.events.log());
    serve(&mut tasks, parts.socket, parts.port, api, &shutdown);
    tasks.spawn("systemd", notify::systemd(snapshots.subscribe(), shutdown.clone()));
    let file = watch::Sender::new(FileState::default());
    let written = file.subscribe();
    let subnet_file = SubnetFile {
        path: parts.settings.instance.subnet_file.clone(),
        copy: parts.settings.instance.state().join("subnet.env"),
        masquerade: parts.settings.ip_masq,
        outcome: outcome.subscribe(),
        cluster: handle.cluster(),
        state: file,
    };
    let (probing, findings) = prober(outcome.subscribe(), parts.settings.ways.vxlan_tx_checksum, &parts.events, shutdown.clone());
    let hosts = watch::Sender::new(Arc::default());
    let show = Show {
        constants: constants(&parts.settings, &parts.store),
        node: parts.node.subscribe(),
        cluster: handle.cluster(),
        outcome: outcome.subscribe(),
        reports: findings.reports,
        hosts: hosts.subscribe(),
        file: written,
        plugins: parts.plugins.clone(),
        tunnels: Arc::clone(&parts.tunnels),
        events: Arc::clone(&parts.events),
        out: snapshots,
    };
    let watched = Watched {
        usage,
        kernel: Arc::clone(&parts.kernel),
        cluster: handle.cluster(),
        outcome: outcome.subscribe(),
        keeper: handle.clone(),
    };
    let wiring = Wiring {
        planner: Arc::new(parts.plugins.planner(refusals(&parts.events))),
        kernel: Arc::clone(&parts.kernel),
        forwarder: Arc::clone(&parts.tunnels),
        settings: reconciler_settings(&parts.settings),
        names: NamesFile(parts.settings.instance.state().join("links.json")),
        tell: parts.events.voice("reconcile"),
    };
    let reads = inputs.subscribe();
    let trials = Trials {
        questions: ask,
        cluster: handle.cluster(),
        node: parts.node.subscribe(),
        kernel: Arc::clone(&parts.kernel),
        allow_disruption: parts.settings.allow_disruption,
    };
    parts.plugins.try_out_with(trials.judge());
    tasks.spawn("plugin folders", plugins::folders(parts.plugins.clone(), followed.clone()));
    tasks.spawn("needs", plugins::needs(parts.plugins.clone(), inputs.subscribe(), followed.clone()));
    tasks.spawn("violations", plugins::violations(parts.plugins.clone(), outcome.subscribe(), followed.clone()));
    let firewall = Firewall::new(&parts.settings, subnet_env::networks(&parts.settings.instance.subnet_file));
    tasks.spawn(
        "inputs",
        follow::cluster(
            handle.cluster(),
            parts.node.subscribe(),
            findings.proofs,
            firewall,
            Arc::clone(&parts.alone),
            inputs,
            shutdown.clone(),
        ),
    );
    tasks.spawn("underlay", follow::underlay(parts.search, parts.kernel, outcome.subscribe(), parts.node, followed.clone()));
    tasks.spawn("reconciler", run::run(wiring, reads, Arc::clone(&again), questions, outcome, shutdown.clone()));
    tasks.spawn("journal", journal.follow(handle.cluster(), shutdown.clone()));
    tasks.spawn("prober", probing);
    tasks.spawn("hosts", hosts::ask(shown, hosts, shutdown.clone()));
    tasks.spawn("ways", watched.run(shutdown.clone()));
    tasks.spawn("pokes", follow::pokes(parts.tunnels, parts.plugins.clone(), again, followed.clone()));
    tasks.spawn("hang-up", follow::plugin_folders(parts.plugins, followed.clone()));
    tasks.spawn("subnet file", subnet_file.run(followed.clone()));
    tasks.spawn("snapshot", show.run(shutdown.clone()));
    let ended = async move { keeper.run(shutdown).await.map_err(Exit::config) };
    let keeper = tokio::spawn(ended);
    Running {
        tasks,
        keeper,
        cluster: handle.cluster(),
        alone: parts.alone,
        followed,
        lock: parts.lock,
        events: parts.events,
        drained,
        passing,
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

fn keeper(parts: &Parts, usage: &Arc<Usage>) -> (Keeper<StoreHandle, OnlyAlone<Advertised<twill_plugin::Backends, Netlink>>>, Handle) {
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

fn changer(parts: &Parts, keeper: &Handle, journal: &Journal) -> Changer {
    Changer {
        keeper: keeper.clone(),
        node: parts.node.subscribe(),
        store: Arc::clone(&parts.store),
        planner: parts.plugins.planner(refusals(&parts.events)),
        journal: journal.clone(),
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

/// The inner sources that are accepted are the reconciler's to plan.
fn fast_path_settings(settings: &RunSettings) -> twill_fastpath::Settings {
    let cores = std::thread::available_parallelism().map_or(1, |count| count.get());
    let queues = settings.udp_queues.map_or_else(|| queues_for(cores), usize::from);
    twill_fastpath::Settings { offloads: settings.udp_offload, queues, ..twill_fastpath::Settings::default() }
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
