//! What every Rust plugin of twill shares: the bindings of both worlds, and the few helpers that they would otherwise write again.
//!
//! A plugin is a library crate that depends on `twill-guest` with the feature of its world (`backend` or `store`), has an empty table
//! `[package.metadata.twill]` in its Cargo.toml, implements the world's trait and names the type in [`export_backend!`] or [`export_store!`].
//! `twill plugin build` (in this repository `make plugins`) turns it into a component. What each function has to do is written in `wit/`; the bindings
//! carry the same text. In native tests `fake` stands in for the daemon.
//!
//! A whole backend, which reaches peers on the same link by plain routes:
//!
//! ```
//! # #[cfg(feature = "backend")] mod plugin {
//! use twill_guest::backend::*;
//!
//! struct Direct;
//!
//! impl Backend for Direct {
//!     fn describe() -> About {
//!         twill_guest::about!("direct", "plain routes to peers on the same link", "{}")
//!     }
//!     fn advertise(_: Network, _: Node, _: String, _: Option<Way>, _: Vec<(String, String)>) -> Result<Way, Refusal> {
//!         Ok(Way { backend: "direct".into(), options: "{}".into(), data_v4: None, data_v6: None })
//!     }
//!     fn local(context: Context) -> Result<Base, Refusal> {
//!         Ok(Base { items: vec![], pod_mtu: context.node.underlay.mtu })
//!     }
//!     fn send_to(_: Context, peer: Lease, _: Way, road: Road) -> Result<Vec<Item>, Refusal> {
//!         match (road.v4, peer.subnets.v4) {
//!             (Hop::OnLink, Some(to)) => Ok(vec![Item::Route(Route::via(to, peer.public.v4, Device::Underlay))]),
//!             _ => Err(Refusal::Unsuitable(format!("{:?} is not on this link", peer.public.v4))),
//!         }
//!     }
//!     fn receive_from(_: Context, _: Lease) -> Result<Vec<Item>, Refusal> {
//!         Ok(vec![])
//!     }
//! }
//!
//! twill_guest::export_backend!(Direct);
//! # }
//! ```

#[cfg(feature = "backend")]
pub mod backend;
mod bindings;
#[cfg(not(target_family = "wasm"))]
pub mod fake;
#[cfg(feature = "backend")]
pub mod family;
mod host;
pub mod options;
pub mod panic;
#[cfg(feature = "store")]
pub mod record;
#[cfg(feature = "store")]
pub mod store;
#[cfg(feature = "store")]
pub mod subnets;

pub use bindings::shared::twill::plugin::types;
pub use host::log;

/// What a plugin says of itself: name, summary and options schema given, the version taken from its Cargo.toml.
#[macro_export]
macro_rules! about {
    ($name:expr, $summary:expr, $schema:expr) => {
        $crate::types::About {
            name: $name.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: $summary.into(),
            options_schema: $schema.into(),
        }
    };
}
