//! The plugin host: finds WebAssembly components, checks them, runs them contained, and speaks for them as [`twill_lease::store::Store`]
//! and
//! [`twill_reconcile::ports::Planner`].
//!
//! [`Plugins::open`] loads the folders; [`Plugins::open_store`] and [`Plugins::planner`] give the two ports. A plugin gets what its
//! world imports and its operator grants ([`Grants`]), and no more
//! time and memory than [`Limits`] say; when it fails, the call fails with its name, and the next call finds a fresh instance. This room
//! knows no kernel and no lease book.

mod actor;
mod backend;
mod cache;
mod choice;
mod convert;
mod counters;
mod directory;
mod engine;
mod error;
mod folder;
#[cfg(test)]
mod fuzz;
mod grants;
mod guest;
mod host;
mod imports;
mod inspect;
mod kept;
mod limit_table;
mod limits;
mod lock;
mod plugins;
mod signature;
mod status;
mod store;
mod swap;
mod upstream;
mod watch;
#[allow(missing_docs, reason = "generated; wit/ documents it")]
mod wit;

pub use backend::{Backends, Refusals, RefusedItem};
pub use error::PluginError;
pub use grants::{Grants, Surroundings};
pub use inspect::Inspected;
pub use limit_table::{BadLimit, LimitTable};
pub use limits::Limits;
pub use lock::{Lock, LockError, Locked};
pub use plugins::{Digests, PluginSettings, Plugins, StoreOffer, TryOut};
pub use signature::{KeyError, Keys};
pub use store::StoreHandle;
pub use upstream::{BadEndpoint, Credentials, Endpoint, Identity, Roots, Secret, Tls, Upstream};
