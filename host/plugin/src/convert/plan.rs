//! What backends are asked with: the network, this node, the road. All of it is passed, and nothing else reaches a backend.

use twill_model::node::Node;
use twill_model::state::{Hop, Road};
use twill_reconcile::ports::{Context, Network, PlanError};

use super::lease::to_addresses;
use super::{to_lease, to_way};
use crate::wit::backend_api;

pub(crate) fn to_network(network: &Network) -> backend_api::Network {
    backend_api::Network { ranges: network.ranges.iter().map(ToString::to_string).collect(), backend: network.backend.clone() }
}

pub(crate) fn to_node(node: &Node) -> backend_api::Node {
    let underlay = &node.underlay;
    backend_api::Node {
        id: node.id.0.clone(),
        underlay: backend_api::Underlay {
            name: underlay.name.clone(),
            mtu: underlay.mtu,
            addresses: underlay.addresses.iter().map(ToString::to_string).collect(),
        },
        public: to_addresses(&node.public),
        seed: node.seed.clone(),
        keys: Vec::new(),
    }
}

pub(crate) fn to_context(context: &Context) -> backend_api::Context {
    backend_api::Context {
        network: to_network(&context.network),
        node: to_node(&context.node),
        mine: to_lease(&context.mine),
        way: to_way(&context.way),
        primary: context.primary,
    }
}

pub(crate) fn to_road(road: Road) -> backend_api::Road {
    let hop = |hop| match hop {
        Hop::OnLink => backend_api::Hop::OnLink,
        Hop::Routed => backend_api::Hop::Routed,
        Hop::Unreachable => backend_api::Hop::Unreachable,
    };
    backend_api::Road { v4: hop(road.v4), v6: hop(road.v6) }
}

pub(crate) fn plan_error(refusal: backend_api::Refusal) -> PlanError {
    match refusal {
        backend_api::Refusal::Unsuitable(text) => PlanError::Unsuitable(text),
        backend_api::Refusal::Invalid(text) => PlanError::Invalid(text),
    }
}
