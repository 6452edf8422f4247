//! What the host-gw backend plans: for every peer on the same link the route of its subnet by its public address, in each family.
//!
//! The routes are flannel's (dev the underlay, not onlink, so that the kernel itself refuses a gateway that it cannot reach). A peer behind a
//! router is another way's business. Nothing is encapsulated: pods may use the underlay's whole MTU.

use twill_guest::backend::{Base, Context, Device, Hop, Item, Lease, Network, Node, Refusal, Road, Route, Way};
use twill_guest::family::{Family, base, each_shared};
use twill_guest::options::Options;

/// JSON Schema of the `Backend` object, as far as this backend reads it.
pub const OPTIONS_SCHEMA: &str =
    r#"{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","properties":{"Type":{"const":"host-gw"}}}"#;

/// The way to publish. A peer sends to the public address as to a neighbour, so it must be the interface's own.
pub fn advertise(network: &Network, node: &Node, options: &str) -> Result<Way, Refusal> {
    Options::parse("Backend", options)?;
    network.ranges.iter().try_for_each(|range| is_own(Family::of(range), node))?;
    Ok(Way { backend: "host-gw".into(), options: "{}".into(), data_v4: None, data_v6: None })
}

/// No link, no address.
pub fn local(context: &Context) -> Base {
    Base { items: Vec::new(), pod_mtu: context.node.underlay.mtu }
}

/// The route to the peer's subnet, a family.
pub fn send_to(context: &Context, peer: &Lease, road: Road) -> Result<Vec<Item>, Refusal> {
    each_shared(&context.mine.subnets, &peer.subnets, |family| route(family, peer, road))
}

fn route(family: Family, peer: &Lease, road: Road) -> Result<Vec<Item>, Refusal> {
    let via = family.public(&peer.public, "the peer")?;
    match (family.hop(road), family.prefix(&peer.subnets)) {
        (Hop::OnLink, Some(to)) => Ok(vec![Item::Route(Route::via(to.into(), Some(via.into()), Device::Underlay))]),
        _ => Err(Refusal::Unsuitable(format!("{via} is not on this link"))),
    }
}

fn is_own(family: Family, node: &Node) -> Result<(), Refusal> {
    let public = family.public(&node.public, "this node")?;
    if node.underlay.addresses.iter().any(|own| base(own) == public) {
        return Ok(());
    }
    let name = &node.underlay.name;
    Err(Refusal::Unsuitable(format!("the public address {public} is none of {name}'s, and peers on the link cannot send to it")))
}
