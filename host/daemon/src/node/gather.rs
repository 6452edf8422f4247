//! What must be there before anything runs: root, the lock, plugins, the store, the kernel, an underlay, identity, sockets.

use std::sync::Arc;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use twill_fastpath::{Tunnels, has_cores_to_spare, queues_for};
use twill_http::{Access, Tls, bind_unix};
use twill_kernel::Netlink;
use twill_kernel::lock::InstanceLock;
use twill_lease::identity::identity;
use twill_lease::store::Store;
use twill_model::node::Node;
use twill_plugin::{Plugins, StoreHandle};

use super::alone::Alone;
use super::events::Events;
use super::underlay::Search;
use super::{facts, store};
use crate::exit::Exit;
use crate::settings::{Listen, RunSettings};

/// What must be there before anything runs.
pub(super) struct Parts {
    pub settings: RunSettings,
    pub lock: InstanceLock,
    pub alone: Arc<Alone>,
    pub plugins: Plugins,
    pub store: Arc<StoreHandle>,
    pub kernel: Arc<Netlink>,
    pub tunnels: Arc<Tunnels>,
    pub search: Search,
    pub node: watch::Sender<Arc<Node>>,
    pub socket: UnixListener,
    pub port: Option<Port>,
    pub events: Arc<Events>,
}

/// Gathers it.
///
/// # Errors
/// Whatever is missing, with a sentence and a fitting exit code.
pub(super) async fn gather(settings: RunSettings) -> Result<Parts, Exit> {
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
pub(super) struct Port {
    pub listener: TcpListener,
    pub access: Access,
    pub tls: Option<Tls>,
}

async fn listen(settings: &RunSettings) -> Result<Option<Port>, Exit> {
    let (access, tls) = settings.api.door(settings.listen).map_err(Exit::usage)?;
    let Listen::At(address) = settings.listen else { return Ok(None) };
    let listener = TcpListener::bind(address).await.map_err(|error| {
        Exit::failed(format!("cannot listen on {address}: {error}; choose another address with --listen, or --listen off"))
    })?;
    Ok(Some(Port { listener, access, tls }))
}

/// The inner sources that are accepted are the reconciler's to plan.
fn fast_path_settings(settings: &RunSettings) -> twill_fastpath::Settings {
    let cores = std::thread::available_parallelism().map_or(1, |count| count.get());
    let queues = settings.udp_queues.map_or_else(|| queues_for(cores), usize::from);
    let keeps_awake = settings.udp_keep_awake && has_cores_to_spare();
    if settings.udp_keep_awake && !keeps_awake {
        tracing::debug!("--udp-keep-awake has no effect: there is one core, or a limit of processor time");
    }
    twill_fastpath::Settings { offloads: settings.udp_offload, queues, keeps_awake, ..twill_fastpath::Settings::default() }
}
