//! The backend "udp": flannel's udp backend, as a plan.
//!
//! A node has one TUN link; twill itself carries what the kernel routes there to the peers, one inner packet a UDP datagram, and injects what
//! arrives. This file is the plugin's face; [`plan`] holds what it decides, tested natively. It never sees a packet.

pub mod plan;

use twill_guest::backend::{About, Backend, Base, Context, Item, Lease, Network, Node, Refusal, Road, Way};

/// The backend.
pub struct Udp;

impl Backend for Udp {
    fn describe() -> About {
        twill_guest::about!("udp", "a TUN link whose packets travel in UDP datagrams, as flannel's udp backend", plan::OPTIONS_SCHEMA)
    }

    fn advertise(_: Network, node: Node, options: String, _: Option<Way>, _: Vec<(String, String)>) -> Result<Way, Refusal> {
        plan::advertise(&node, &options)
    }

    fn local(context: Context) -> Result<Base, Refusal> {
        plan::local(&context)
    }

    fn send_to(context: Context, peer: Lease, over: Way, road: Road) -> Result<Vec<Item>, Refusal> {
        plan::send_to(&context, &peer, &over, road)
    }

    fn receive_from(_: Context, peer: Lease) -> Result<Vec<Item>, Refusal> {
        plan::receive_from(&peer)
    }
}

#[cfg(feature = "component")]
twill_guest::export_backend!(Udp);
