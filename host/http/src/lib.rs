//! The window into a running node: a JSON API, a stream of server-sent events, health checks and the embedded dashboard.
//!
//! [`serve_tcp`], [`serve_tls`] and [`serve_unix`] serve one [`Api`] until a token is cancelled. All that is shown comes from one immutable
//! [`Snapshot`]; this room computes nothing about the network and changes nothing by itself: what an operator asks for goes through
//! [`Control`], and who may ask for what is decided in one place, `access`.
//!
//! The way of a GET: `serve` → `guard` → `routes` → `resources` → `encoded`, which holds each part of the newest snapshot as JSON. The daemon's `show` makes snapshots.

mod access;
mod ask;
mod assets;
mod backend;
mod changes;
mod encoded;
mod families;
mod guard;
mod health;
mod history;
mod metrics;
mod plugins;
mod problem;
mod resources;
mod routes;
mod serve;
mod stream;
mod tail;
mod tls;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::watch;
use twill_model::status::Snapshot;
use twill_model::{Addresses, Prefixes};

pub use access::{Access, Token, TokenError};
pub use backend::BackendOrder;
pub use families::{addresses, prefixes};
pub use health::serve_health;
pub use history::{EventLog, Page};
pub use plugins::PluginOrder;
pub use routes::openapi;
pub use serve::{BindError, bind_unix, serve_tcp, serve_tls, serve_unix};
pub use tls::{Tls, TlsError, TlsFiles};

/// What an operator can have the daemon do.
pub trait Control: Send + Sync {
    /// Gives the own lease back to the store. The answer is one sentence for people, of success or of what went wrong.
    fn release(&self) -> BoxFuture<'_, Result<String, String>>;
    /// All that is known of this node as one JSON text without secrets, for a bug report.
    fn bundle(&self) -> BoxFuture<'_, Result<String, String>>;
    /// Compares the plan with the kernel now, and says what came of it.
    fn reconcile(&self) -> BoxFuture<'_, Result<String, String>>;
    /// Withdraws the own lease, goes on receiving for so many seconds, then ends the daemon and takes its network state away.
    fn drain(&self, seconds: u32) -> BoxFuture<'_, Result<String, String>>;
    /// Puts a network config in force that waits because it would tear the running network down.
    fn accept_config(&self) -> BoxFuture<'_, Result<String, String>>;
    /// Pins these subnets to the node at these addresses; without any, what this node holds to itself.
    fn reserve(&self, wanted: Option<(Prefixes, Addresses)>) -> BoxFuture<'_, Result<String, String>>;
    /// Ends the reservation of these subnets.
    fn unreserve(&self, subnets: Prefixes) -> BoxFuture<'_, Result<String, String>>;
    /// Does something with plugins; the answer may have several lines.
    fn plugins(&self, order: PluginOrder) -> BoxFuture<'_, Result<String, String>>;
    /// Changes the cluster's backend; the answer has a line a node.
    fn backend(&self, order: BackendOrder) -> BoxFuture<'_, Result<String, String>>;
}

/// What is served: the newest snapshot, the events, and a way to ask for changes. Clones share everything.
#[derive(Clone)]
pub struct Api {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    control: Arc<dyn Control>,
    events: Arc<EventLog>,
    encoder: Arc<encoded::Encoder>,
}

impl Api {
    /// An API over `snapshots` and `events` that passes requests for changes to `control`.
    pub fn new(snapshots: watch::Receiver<Arc<Snapshot>>, control: Arc<dyn Control>, events: Arc<EventLog>) -> Api {
        Api { snapshots, control, events, encoder: Arc::default() }
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshots.borrow().clone()
    }

    fn encoded(&self) -> Arc<encoded::Encoded> {
        self.encoder.encode(&self.snapshot())
    }
}
