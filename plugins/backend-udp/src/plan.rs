//! What the udp backend plans: one TUN link with its addresses and routes, an endpoint and senders a peer.
//!
//! For IPv4 the figures are flannel's (`<base>/32`, MTU less 28, the whole network to the link with scope global, the socket on the interface's own
//! address). Three things are better: the port is published, so that it may differ from node to node; only senders that hold a lease are let in; and
//! IPv6 is carried and travelled over, in any mixture. What family a packet has says nothing of the one that it travels in: to each peer all of them
//! take outer IPv4 where both nodes have it, which costs 20 bytes less, and else outer IPv6.

use ipnet::IpNet;
use twill_guest::backend::{
    Addresses, Assignment, Base, Context, Device, Endpoint, Hop, Item, Lease, Link, LinkKind, Node, Refusal, Road, Route, Sender, Tunnel,
    Underlay, Way,
};
use twill_guest::family::{Family, base, each_shared, families};
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
/// Outer IPv6 header (40 bytes) and UDP header.
const OVERHEAD_V6: u32 = 48;
/// The least MTU of IPv4 (RFC 791).
const LEAST_MTU: u32 = 68;
/// The least MTU of IPv6 (RFC 8200).
const LEAST_MTU_V6: u32 = 1280;

/// The way to publish. flannel publishes no data for this backend, so the port goes into the options.
pub fn advertise(node: &Node, options: &str) -> Result<Way, Refusal> {
    let port = port("Backend", options, DEFAULT_PORT)?;
    if node.public.v4.is_none() && node.public.v6.is_none() {
        return Err(Refusal::Unsuitable("this node has no public address".into()));
    }
    Ok(Way { backend: "udp".into(), options: serde_json::json!({ "Port": port }).to_string(), data_v4: None, data_v6: None })
}

/// The link, its addresses, and for the config's own backend the routes of the whole network. The link takes what fits by outer IPv4 where there is
/// one; pods keep to what fits either way.
pub fn local(context: &Context) -> Result<Base, Refusal> {
    let outer = sockets(context)?;
    let fits = |family: Family| inner_mtu(family, context);
    let mtu = fits(if outer.v4.is_some() { Family::V4 } else { Family::V6 })?;
    let pod_mtu = fits(if outer.v6.is_some() { Family::V6 } else { Family::V4 })?;
    let kind = LinkKind::Tunnel(Tunnel { port: own_port(context)?, local: outer });
    let mut items = vec![Item::Link(Link { handle: LINK.into(), name: LINK_NAME.into(), kind, mtu, mac: None })];
    for family in families(&context.mine.subnets) {
        let subnet = subnet(family, &context.mine, "this node")?;
        items.push(Item::Assignment(Assignment { on: LINK.into(), address: family.host_prefix(base(subnet)) }));
        if context.primary {
            let ranges = context.network.ranges.iter().filter(|range| Family::of(range) == family);
            items.extend(ranges.map(|range| Item::Route(route(family, range, None))));
        }
    }
    if items.len() == 1 { Err(Refusal::Unsuitable("this node has no subnet".into())) } else { Ok(Base { items, pod_mtu }) }
}

/// The endpoints of `peer`, one a family that both nodes have; with the routes of its subnets beside another backend, which has the network's, and
/// where less fits on the way to it than into the link.
pub fn send_to(context: &Context, peer: &Lease, over: &Way, road: Road) -> Result<Vec<Item>, Refusal> {
    let own = sockets(context)?;
    let (travels, outer) = outer(&own, &peer.public, road)?;
    let port = port("the peer's options", &over.options, own_port(context)?)?;
    let mtu = (travels == Family::V6 && own.v4.is_some()).then(|| inner_mtu(Family::V6, context)).transpose()?;
    each_shared(&context.mine.subnets, &peer.subnets, |family| {
        let to = subnet(family, peer, "the peer")?;
        let endpoint = Item::Endpoint(Endpoint { on: LINK.into(), to: to.into(), peer: outer.into(), port });
        let route = (!context.primary || mtu.is_some()).then(|| Item::Route(route(family, to, mtu)));
        Ok(std::iter::once(endpoint).chain(route).collect())
    })
}

/// Datagrams from the peer's public addresses may hold packets of its pods and of the peer itself.
pub fn receive_from(peer: &Lease) -> Result<Vec<Item>, Refusal> {
    let public = |family: Family| Some((family, address(family, &peer.public, "the peer").ok()?));
    let public: Vec<(Family, &str)> = Family::BOTH.into_iter().filter_map(public).collect();
    let Ok(mut inner) =
        families(&peer.subnets).map(|family| subnet(family, peer, "the peer").map(Into::into)).collect::<Result<Vec<String>, _>>()
    else {
        return Ok(vec![]);
    };
    if inner.is_empty() {
        return Ok(vec![]);
    }
    inner.extend(public.iter().map(|(family, address)| family.host_prefix(address)));
    let sender = |(_, address): &(Family, &str)| Item::Sender(Sender { on: LINK.into(), peer: (*address).into(), inner: inner.clone() });
    Ok(public.iter().map(sender).collect())
}

/// Where the sockets are bound: an own address of the interface in every family in which this node has published one. Behind NAT it is not the
/// public one, which is preferred where the interface has several.
fn sockets(context: &Context) -> Result<Addresses, Refusal> {
    let Context { node, mine, .. } = context;
    let (mut own, mut missing) = (Addresses { v4: None, v6: None }, Vec::new());
    for family in Family::BOTH.into_iter().filter(|family| family.address(&mine.public).is_some()) {
        match family.interface_address(&node.underlay, &node.public) {
            Ok(address) => *family.pick(&mut own.v4, &mut own.v6) = Some(address.into()),
            Err(Refusal::Unsuitable(reason)) => missing.push(reason),
            Err(invalid) => return Err(invalid),
        }
    }
    match (&own, missing.is_empty()) {
        (Addresses { v4: None, v6: None }, true) => Err(Refusal::Unsuitable("this node has no public address".into())),
        (Addresses { v4: None, v6: None }, false) => Err(Refusal::Unsuitable(missing.join("; "))),
        _ => Ok(own),
    }
}

/// How packets travel to a peer, and to which of its addresses.
fn outer<'p>(own: &Addresses, peer: &'p Addresses, road: Road) -> Result<(Family, &'p str), Refusal> {
    let mut reasons = Vec::new();
    for family in Family::BOTH.into_iter().filter(|family| family.address(own).is_some()) {
        match address(family, peer, "the peer") {
            Ok(address) if family.hop(road) == Hop::Unreachable => reasons.push(format!("there is no road to {address}")),
            Ok(address) => return Ok((family, address)),
            Err(Refusal::Unsuitable(reason)) => reasons.push(reason),
            Err(invalid) => return Err(invalid),
        }
    }
    Err(Refusal::Unsuitable(reasons.join("; ")))
}

fn route(family: Family, to: &str, mtu: Option<u32>) -> Route {
    // IPv6 routes have no scope.
    Route { scope_global: family == Family::V4, mtu, ..Route::via(to.into(), None, Device::Link(LINK.into())) }
}

/// What fits into a datagram of that family that fits onto the underlay; enough for every family that pods have.
fn inner_mtu(outer: Family, context: &Context) -> Result<u32, Refusal> {
    let Underlay { name, mtu, .. } = &context.node.underlay;
    let least = if context.mine.subnets.v6.is_some() { LEAST_MTU_V6 } else { LEAST_MTU };
    let inner = mtu.checked_sub(outer.pick(OVERHEAD, OVERHEAD_V6)).filter(|inner| *inner >= least);
    inner.ok_or_else(|| Refusal::Unsuitable(format!("{name}'s MTU of {mtu} leaves no room for packets in UDP")))
}

/// A public address, which must be one of its family.
fn address<'a>(family: Family, public: &'a Addresses, whose: &str) -> Result<&'a str, Refusal> {
    let text = family.public(public, whose)?;
    let is_one = family.pick(text.parse::<std::net::Ipv4Addr>().is_ok(), text.parse::<std::net::Ipv6Addr>().is_ok());
    let wrong = || Refusal::Invalid(format!("{whose} has the public address \"{text}\", which is not {}", family.name()));
    is_one.then_some(text).ok_or_else(wrong)
}

/// A lease's subnet, which must be a prefix of its family.
fn subnet<'a>(family: Family, lease: &'a Lease, whose: &str) -> Result<&'a str, Refusal> {
    let text = family.prefix(&lease.subnets).ok_or_else(|| Refusal::Unsuitable(format!("{whose} has no {} subnet", family.name())))?;
    let is_one = matches!((text.parse(), family), (Ok(IpNet::V4(_)), Family::V4) | (Ok(IpNet::V6(_)), Family::V6));
    let wrong = || Refusal::Invalid(format!("{whose} has the subnet \"{text}\", which is not an {} prefix", family.name()));
    is_one.then_some(text).ok_or_else(wrong)
}

fn own_port(context: &Context) -> Result<u16, Refusal> {
    port("this node's options", &context.way.options, DEFAULT_PORT)
}

fn port(section: &'static str, options: &str, default: u16) -> Result<u16, Refusal> {
    Ok(Options::parse(section, options)?.port("Port", default)?)
}
