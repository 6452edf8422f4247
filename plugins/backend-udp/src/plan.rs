//! What the udp backend plans: one TUN link with its address and route, an endpoint and a sender a peer.
//!
//! The figures are flannel's (`<base>/32`, MTU less 28, the whole network to the link with scope global, the socket on the interface's own
//! address). Two things are better: the port is published, so that it may differ from node to node, and only senders that hold a lease are
//! let in. IPv4 only, inside and outside.

use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};
use twill_guest::backend::{
    Addresses, Assignment, Base, Context, Device, Endpoint, Hop, Item, Lease, Link, LinkKind, Node, Refusal, Road, Route, Sender, Tunnel,
    Underlay, Way,
};
use twill_guest::options::Options;

/// JSON Schema of the `Backend` object, as far as this backend reads it.
pub const OPTIONS_SCHEMA: &str = r#"{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","properties":{"Type":{"const":"udp"},"Port":{"description":"UDP port of the tunnel, source and destination","type":"integer","minimum":1,"maximum":65535,"default":8285}}}"#;

/// The one link's handle.
const LINK: &str = "tun";
/// The wish for its name: flannel's template, the first free number.
const LINK_NAME: &str = "flannel%d";
/// flannel's port.
const DEFAULT_PORT: u16 = 8285;
/// Outer IPv4 header (20 bytes) and UDP header (8 bytes).
const OVERHEAD: u32 = 28;
/// The least MTU of IPv4 (RFC 791).
const LEAST_MTU: u32 = 68;

/// The way to publish. flannel publishes no data for this backend, so the port goes into the options.
pub fn advertise(node: &Node, options: &str) -> Result<Way, Refusal> {
    let port = port("Backend", options, DEFAULT_PORT)?;
    public_v4(&node.public, "this node")?;
    Ok(Way { backend: "udp".into(), options: serde_json::json!({ "Port": port }).to_string(), data_v4: None, data_v6: None })
}

/// The link, its address, and for the config's own backend the route of the whole network.
pub fn local(context: &Context) -> Result<Base, Refusal> {
    let mtu = inner_mtu(&context.node.underlay)?;
    let mut items = vec![Item::Link(tunnel(context, mtu)?), Item::Assignment(own_address(&context.mine)?)];
    if context.primary {
        items.extend(context.network.ranges.iter().filter(|range| is_v4(range)).map(|range| Item::Route(route(range))));
    }
    Ok(Base { items, pod_mtu: mtu })
}

/// The endpoint of `peer`; beside another backend, which has the network's route, also the route of the peer's subnet.
pub fn send_to(context: &Context, peer: &Lease, over: &Way, road: Road) -> Result<Vec<Item>, Refusal> {
    let to = subnet_v4(peer, "the peer")?.to_string();
    let outer = public_v4(&peer.public, "the peer")?;
    if road.v4 == Hop::Unreachable {
        return Err(Refusal::Unsuitable(format!("there is no road to {outer}")));
    }
    let port = port("the peer's options", &over.options, own_port(context)?)?;
    let route = (!context.primary).then(|| Item::Route(route(&to)));
    let endpoint = Item::Endpoint(Endpoint { on: LINK.into(), to, peer: outer.to_string(), port });
    Ok(std::iter::once(endpoint).chain(route).collect())
}

/// Datagrams from the peer's public address may hold packets of its pods and of the peer itself. A peer without IPv4 sends none.
pub fn receive_from(peer: &Lease) -> Result<Vec<Item>, Refusal> {
    let (Ok(subnet), Ok(outer)) = (subnet_v4(peer, "the peer"), public_v4(&peer.public, "the peer")) else { return Ok(vec![]) };
    let inner = vec![subnet.to_string(), Ipv4Net::from(outer).to_string()];
    Ok(vec![Item::Sender(Sender { on: LINK.into(), peer: outer.to_string(), inner })])
}

fn tunnel(context: &Context, mtu: u32) -> Result<Link, Refusal> {
    let local = interface_v4(&context.node)?;
    let kind = Tunnel { port: own_port(context)?, local: Addresses { v4: Some(local.to_string()), v6: None } };
    Ok(Link { handle: LINK.into(), name: LINK_NAME.into(), kind: LinkKind::Tunnel(kind), mtu, mac: None })
}

fn own_address(mine: &Lease) -> Result<Assignment, Refusal> {
    let base = subnet_v4(mine, "this node")?.network();
    Ok(Assignment { on: LINK.into(), address: Ipv4Net::from(base).to_string() })
}

fn route(to: &str) -> Route {
    Route { scope_global: true, ..Route::via(to.into(), None, Device::Link(LINK.into())) }
}

/// What fits into a datagram that fits onto the underlay.
fn inner_mtu(underlay: &Underlay) -> Result<u32, Refusal> {
    let inner = underlay.mtu.checked_sub(OVERHEAD).filter(|inner| *inner >= LEAST_MTU);
    inner.ok_or_else(|| Refusal::Unsuitable(format!("{}'s MTU of {} leaves no room for packets in UDP", underlay.name, underlay.mtu)))
}

/// The address the socket is bound to: the interface's own, which behind NAT is not the public one. The public one is preferred where the
/// interface has several.
fn interface_v4(node: &Node) -> Result<Ipv4Addr, Refusal> {
    let public = node.public.v4.as_deref();
    let mut own = node.underlay.addresses.iter().filter_map(|text| match text.parse() {
        Ok(IpNet::V4(net)) => Some(net.addr()),
        _ => None,
    });
    let first = own.next().ok_or_else(|| Refusal::Unsuitable(format!("{} has no IPv4 address", node.underlay.name)))?;
    Ok(std::iter::once(first).chain(own).find(|address| public == Some(&address.to_string())).unwrap_or(first))
}

fn public_v4(public: &Addresses, whose: &str) -> Result<Ipv4Addr, Refusal> {
    let text = public.v4.as_deref().ok_or_else(|| Refusal::Unsuitable(format!("{whose} has no public IPv4 address")))?;
    text.parse().map_err(|_| Refusal::Invalid(format!("{whose} has the public address \"{text}\", which is not IPv4")))
}

fn subnet_v4(lease: &Lease, whose: &str) -> Result<Ipv4Net, Refusal> {
    let text = lease.subnets.v4.as_deref().ok_or_else(|| Refusal::Unsuitable(format!("{whose} has no IPv4 subnet")))?;
    text.parse().map_err(|_| Refusal::Invalid(format!("{whose} has the subnet \"{text}\", which is not an IPv4 prefix")))
}

fn is_v4(range: &str) -> bool {
    matches!(range.parse(), Ok(IpNet::V4(_)))
}

fn own_port(context: &Context) -> Result<u16, Refusal> {
    port("this node's options", &context.way.options, DEFAULT_PORT)
}

fn port(section: &'static str, options: &str, default: u16) -> Result<u16, Refusal> {
    Ok(Options::parse(section, options)?.port("Port", default)?)
}
