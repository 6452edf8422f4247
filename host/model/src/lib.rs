//! What twill speaks of: networks, leases, ways, nodes, items of network state, plans, events and the status snapshot.
//!
//! This room is pure. It opens nothing, waits for nothing and knows neither netlink nor WebAssembly, so every other room may lean on it
//! and every rule in it can be tested with values alone.
//!
//! Follow a lease from here: [`lease::Lease`] comes from a store, backends turn it into [`item::Item`]s, the reconciler makes those into
//! [`state::Desired`] state, compares that with [`state::Observed`] state, and what came of it is told by [`status::Snapshot`].

pub mod address;
pub mod event;
pub mod explain;
pub mod firewall;
pub mod item;
pub mod lease;
pub mod network;
pub mod node;
pub mod path;
pub mod peers;
pub mod plan;
pub mod proof;
mod remake;
pub mod scrub;
pub mod state;
pub mod status;

pub use address::{Addresses, Mac, Prefixes};
pub use item::Item;
pub use lease::{Lease, Lifetime, NodeId, Way};
pub use network::NetworkConfig;
