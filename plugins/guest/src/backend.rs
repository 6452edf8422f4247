//! The world `backend` under flat names: the trait [`Backend`], its types, and shorthands for items that most backends plan.
//!
//! `use twill_guest::backend::*;` is all that a backend needs. The functions are pure: same arguments, same answer, in any instance.

pub use crate::bindings::backend as world;
pub use crate::host::log;
pub use crate::types::{About, Addresses, Lease, Level, Lifetime, Prefixes, Way};
pub use world::exports::twill::plugin::backend_api::{
    Assignment, Base, Context, Device, Endpoint, FdbEntry, Guest as Backend, Hop, Item, Link, LinkKind, Neighbour, Network, Node, Refusal,
    Road, Route, Sender, Tunnel, Underlay, Vxlan, Wireguard, WireguardPeer,
};

use crate::options::WrongOption;

/// Exports `$backend`, which implements [`Backend`], as this component's world, and sends its panics to the log.
#[macro_export]
macro_rules! export_backend {
    ($backend:ident) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            $crate::log_panics!();
    $crate::backend::world::export_backend_world!($backend with_types_in $crate::backend::world);
        };
    };
}

impl From<WrongOption> for Refusal {
    fn from(wrong: WrongOption) -> Self {
        Refusal::Invalid(wrong.to_string())
    }
}

impl Route {
    /// The route to `to` through the gateway `via`, without any of the special flags.
    pub fn via(to: String, via: Option<String>, on: Device) -> Self {
        Route { to, via, on, onlink: false, scope_global: false, mtu: None }
    }
}
