//! The backend "host-gw": flannel's host-gw backend, as a plan.
//!
//! Every node is the gateway to its own subnet: one plain route a peer, without a link or a header of its own, for peers on the same link. This
//! file is the plugin's face; [`plan`] holds what it decides, tested natively.

pub mod plan;

use twill_guest::backend::{About, Backend, Base, Context, Item, Lease, Network, Node, Refusal, Road, Way};

/// The backend.
pub struct HostGw;

impl Backend for HostGw {
    fn describe() -> About {
        twill_guest::about!("host-gw", "plain routes to peers on the same link, as flannel's host-gw backend", plan::OPTIONS_SCHEMA)
    }

    fn advertise(network: Network, node: Node, options: String, _: Option<Way>, _: Vec<(String, String)>) -> Result<Way, Refusal> {
        plan::advertise(&network, &node, &options)
    }

    fn local(context: Context) -> Result<Base, Refusal> {
        Ok(plan::local(&context))
    }

    fn send_to(context: Context, peer: Lease, _: Way, road: Road) -> Result<Vec<Item>, Refusal> {
        plan::send_to(&context, &peer, road)
    }

    fn receive_from(_: Context, _: Lease) -> Result<Vec<Item>, Refusal> {
        Ok(Vec::new())
    }
}

#[cfg(feature = "component")]
twill_guest::export_backend!(HostGw);
