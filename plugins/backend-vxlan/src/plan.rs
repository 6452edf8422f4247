//! What the vxlan backend plans: a VXLAN link with its address a family; a neighbour, a forwarding entry and a route a peer and family.
//!
//! The figures are flannel's: `<base>/32` on the link, the peer's base address as the route's gateway, onlink, resolved by a permanent neighbour to
//! the MAC that the peer publishes. With `DirectRouting` a peer on the same link takes a plain route instead. Better than there: a link of IPv6 has
//! an MTU that it can carry, and pods get the smaller one. A peer without a road is planned all the same: the kernel looks for one at every packet.

use twill_guest::backend::{
    Assignment, Base, Context, Device, FdbEntry, Hop, Item, Lease, Link, LinkKind, Neighbour, Network, Node, Refusal, Road, Route, Vxlan,
    Way,
};
use twill_guest::family::{Family, base, each_shared, families};
use twill_guest::options::Options;

use crate::options::Settings;
use crate::vtep::{Vtep, own_mac};

/// The way to publish: the options, and in flannel's fields what peers send to.
pub fn advertise(
    network: &Network,
    node: &Node,
    options: &str,
    previous: Option<&Way>,
    existing: &[(String, String)],
) -> Result<Way, Refusal> {
    let settings = Settings::read("Backend", options)?;
    let data = |family: Family| -> Result<Option<String>, Refusal> {
        if !network.ranges.iter().any(|range| Family::of(range) == family) {
            return Ok(None);
        }
        family.public(&node.public, "this node")?;
        settings.inner_mtu(family, &node.underlay)?;
        let mac = own_mac(family, &settings.link_name(family)?, previous, existing, &node.seed);
        Ok(Some(Vtep::written(settings.vni, &mac)))
    };
    Ok(Way { backend: "vxlan".into(), options: settings.written(), data_v4: data(Family::V4)?, data_v6: data(Family::V6)? })
}

/// The links with their addresses.
pub fn local(context: &Context) -> Result<Base, Refusal> {
    let settings = own_settings(context)?;
    let mut whole = Base { items: Vec::new(), pod_mtu: u32::MAX };
    for family in families(&context.mine.subnets) {
        let mtu = settings.inner_mtu(family, &context.node.underlay)?;
        whole.items.push(Item::Link(link(family, context, &settings, mtu)?));
        whole.items.extend(family.prefix(&context.mine.subnets).map(|subnet| address(family, subnet)));
        whole.pod_mtu = whole.pod_mtu.min(mtu);
    }
    if whole.items.is_empty() { Err(Refusal::Unsuitable("this node has no subnet".into())) } else { Ok(whole) }
}

/// The entries and the route that reach `peer`, in every family that both have.
pub fn send_to(context: &Context, peer: &Lease, over: &Way, road: Road) -> Result<Vec<Item>, Refusal> {
    let settings = own_settings(context)?;
    each_shared(&context.mine.subnets, &peer.subnets, |family| {
        let outer = family.public(&peer.public, "the peer")?;
        let vtep = vtep_of(family, over)?;
        let subnet = family.prefix(&peer.subnets).unwrap_or_default();
        same_network(&vtep, &settings)?;
        another(family, &vtep, &context.way)?;
        if settings.direct && family.hop(road) == Hop::OnLink {
            return Ok(vec![Item::Route(Route::via(subnet.into(), Some(outer.into()), Device::Underlay))]);
        }
        same_port(over, &settings)?;
        Ok(through_link(family, subnet, outer, vtep.mac))
    })
}

/// Behind NAT flanneld gives the device the public address as `local` (spec 4.1), which is none of this host's: the kernel then finds no route for any packet of
/// it and counts each as a carrier error. The interface's own address is given instead; peers are told the public one all the same.
fn link(family: Family, context: &Context, settings: &Settings, mtu: u32) -> Result<Link, Refusal> {
    let local = family.interface_address(&context.node.underlay, &context.node.public)?.to_owned();
    let Settings { vni, port, learning, gbp, .. } = *settings;
    let kind = LinkKind::Vxlan(Vxlan { vni, port, local, learning, gbp });
    let mac = Some(vtep_of(family, &context.way)?.mac);
    Ok(Link { handle: handle(family), name: settings.link_name(family)?, kind, mtu, mac })
}

fn address(family: Family, subnet: &str) -> Item {
    Item::Assignment(Assignment { on: handle(family), address: family.host_prefix(base(subnet)) })
}

/// In flannel's order: who has the gateway's address, where that one is, and what goes to it.
fn through_link(family: Family, subnet: &str, outer: &str, mac: String) -> Vec<Item> {
    let (on, gateway) = (handle(family), base(subnet).to_owned());
    let route = Route::via(subnet.into(), Some(gateway.clone()), Device::Link(on.clone()));
    vec![
        Item::Neighbour(Neighbour { on: on.clone(), address: gateway, mac: mac.clone() }),
        Item::Fdb(FdbEntry { on, mac, to: outer.into() }),
        Item::Route(Route { onlink: true, ..route }),
    ]
}

/// The one link of a family.
fn handle(family: Family) -> String {
    family.pick("v4", "v6").into()
}

fn own_settings(context: &Context) -> Result<Settings, Refusal> {
    Settings::read("this node's options", &context.way.options)
}

fn vtep_of(family: Family, way: &Way) -> Result<Vtep, Refusal> {
    let nothing = || Refusal::Unsuitable(format!("no {} is published", family.pick("BackendData", "BackendV6Data")));
    Vtep::read(family, way)?.ok_or_else(nothing)
}

fn same_network(peer: &Vtep, own: &Settings) -> Result<(), Refusal> {
    match peer.vni {
        Some(theirs) if theirs != own.vni => {
            Err(Refusal::Unsuitable(format!("the peer is in the VXLAN with VNI {theirs}, this node in that with VNI {}", own.vni)))
        }
        _ => Ok(()),
    }
}

/// A device sends to the port that it receives on. Flannel's lease does not say the port; a way with options of ours does.
fn same_port(over: &Way, own: &Settings) -> Result<(), Refusal> {
    match Options::parse("the peer's options", &over.options)?.number("Port", 0..=65_535, 0)? {
        theirs if theirs == 0 || theirs == u32::from(own.port) => Ok(()),
        theirs => Err(Refusal::Unsuitable(format!("the peer receives VXLAN on port {theirs}, this node on port {}", own.port))),
    }
}

/// Two nodes with one MAC (a cloned disk) cannot reach each other: frames would end on the own link.
fn another(family: Family, peer: &Vtep, own: &Way) -> Result<(), Refusal> {
    match Vtep::read(family, own) {
        Ok(Some(own)) if own.mac == peer.mac => {
            Err(Refusal::Invalid(format!("the peer publishes this node's own MAC address {}", own.mac)))
        }
        _ => Ok(()),
    }
}
