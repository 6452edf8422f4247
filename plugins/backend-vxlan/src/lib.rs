//! The backend "vxlan": flannel's vxlan backend, as a plan.
//!
//! A node has one kernel VXLAN device a family; a peer takes a neighbour entry, a forwarding entry and a route, all static, so that nothing is
//! ever asked for by broadcast. This file is the plugin's face; [`options`] reads the config, [`vtep`] the published data and the MAC, [`plan`]
//! holds what is decided. All are tested natively.

pub mod options;
pub mod plan;
pub mod vtep;

use twill_guest::backend::{About, Backend, Base, Context, Item, Lease, Network, Node, Refusal, Road, Way};

/// The backend.
pub struct Vxlan;

impl Backend for Vxlan {
    fn describe() -> About {
        twill_guest::about!("vxlan", "kernel VXLAN devices, as flannel's vxlan backend", options::SCHEMA)
    }

    fn advertise(
        network: Network,
        node: Node,
        options: String,
        previous: Option<Way>,
        existing: Vec<(String, String)>,
    ) -> Result<Way, Refusal> {
        plan::advertise(&network, &node, &options, previous.as_ref(), &existing)
    }

    fn local(context: Context) -> Result<Base, Refusal> {
        plan::local(&context)
    }

    fn send_to(context: Context, peer: Lease, over: Way, road: Road) -> Result<Vec<Item>, Refusal> {
        plan::send_to(&context, &peer, &over, road)
    }

    fn receive_from(_: Context, _: Lease) -> Result<Vec<Item>, Refusal> {
        Ok(Vec::new())
    }
}

#[cfg(feature = "component")]
twill_guest::export_backend!(Vxlan);
