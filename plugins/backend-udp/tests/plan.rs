//! The plan, item by item, against what flannel's udp backend was seen to do, and every reason to refuse.

use twill_guest::backend::*;

use twill_backend_udp::plan;

fn text(text: &str) -> Option<String> {
    Some(text.into())
}

fn addresses(v4: Option<&str>) -> Addresses {
    Addresses { v4: v4.map(Into::into), v6: None }
}

fn way(options: &str) -> Way {
    Way { backend: "udp".into(), options: options.into(), data_v4: None, data_v6: None }
}

fn lease(subnet: Option<&str>, public: Option<&str>, options: &str) -> Lease {
    let subnets = Prefixes { v4: subnet.map(Into::into), v6: None };
    Lease { subnets, public: addresses(public), ways: vec![way(options)], node: text("id"), life: Lifetime::Seconds(86_400) }
}

fn node() -> Node {
    let underlay = Underlay { name: "eth0".into(), mtu: 1500, addresses: vec!["10.98.0.1/24".into(), "fe80::1/64".into()] };
    Node { id: "id".into(), underlay, public: addresses(Some("10.98.0.1")), seed: "00".repeat(32), keys: vec![] }
}

fn context() -> Context {
    let network = Network { ranges: vec!["10.10.0.0/16".into(), "fd10::/48".into()], backend: "udp".into() };
    let mine = lease(Some("10.10.66.0/24"), Some("10.98.0.1"), r#"{"Port":8285}"#);
    Context { network, node: node(), way: mine.ways[0].clone(), mine, primary: true }
}

fn beside() -> Context {
    Context { primary: false, ..context() }
}

fn peer() -> Lease {
    lease(Some("10.10.26.0/24"), Some("10.98.0.2"), "{}")
}

const ROAD: Road = Road { v4: Hop::Routed, v6: Hop::Unreachable };

/// An item as one line, for golden texts.
fn line(item: &Item) -> String {
    match item {
        Item::Link(Link { handle, name, kind: LinkKind::Tunnel(tunnel), mtu, mac: None }) => {
            let Tunnel { port, local } = tunnel;
            let local = match (&local.v4, &local.v6) {
                (Some(v4), None) => format!("{v4}:{port}"),
                (None, Some(v6)) => format!("[{v6}]:{port}"),
                (Some(v4), Some(v6)) => format!("{v4}:{port} and [{v6}]:{port}"),
                (None, None) => panic!("{tunnel:?}"),
            };
            format!("link {handle} \"{name}\" tunnel on {local} mtu {mtu}")
        }
        Item::Assignment(Assignment { on, address }) => format!("address {address} dev {on}"),
        Item::Route(Route { to, via: None, on: Device::Link(on), onlink: false, scope_global: true, mtu: None }) => {
            format!("route {to} dev {on} scope global")
        }
        Item::Route(Route { to, via: None, on: Device::Link(on), onlink: false, scope_global, mtu }) => {
            let mtu = mtu.map_or(String::new(), |mtu| format!(" mtu {mtu}"));
            format!("route {to} dev {on}{}{mtu}", if *scope_global { " scope global" } else { "" })
        }
        Item::Endpoint(Endpoint { on, to, peer, port }) => format!("endpoint {to} at {peer}:{port} dev {on}"),
        Item::Sender(Sender { on, peer, inner }) => format!("sender {peer} with {} dev {on}", inner.join(" ")),
        other => panic!("{other:?} is nothing that this backend plans"),
    }
}

fn lines(items: &[Item]) -> Vec<String> {
    items.iter().map(line).collect()
}

fn unsuitable<T: std::fmt::Debug>(outcome: Result<T, Refusal>) -> String {
    match outcome {
        Err(Refusal::Unsuitable(text)) => text,
        other => panic!("expected unsuitable, got {other:?}"),
    }
}

fn invalid<T: std::fmt::Debug>(outcome: Result<T, Refusal>) -> String {
    match outcome {
        Err(Refusal::Invalid(text)) => text,
        other => panic!("expected invalid, got {other:?}"),
    }
}

#[test]
fn the_local_plan_is_flannels() {
    let base = plan::local(&context()).expect("planned");
    let golden = [
        "link tun \"flannel%d\" tunnel on 10.98.0.1:8285 mtu 1472",
        "address 10.10.66.0/32 dev tun",
        "route 10.10.0.0/16 dev tun scope global",
    ];
    assert_eq!(lines(&base.items), golden);
    assert_eq!(base.pod_mtu, 1472);
}

#[test]
fn sending_and_receiving_take_an_endpoint_and_a_sender() {
    let send = plan::send_to(&context(), &peer(), &peer().ways[0], ROAD).expect("planned");
    assert_eq!(lines(&send), ["endpoint 10.10.26.0/24 at 10.98.0.2:8285 dev tun"]);
    let receive = plan::receive_from(&peer()).expect("planned");
    assert_eq!(lines(&receive), ["sender 10.98.0.2 with 10.10.26.0/24 10.98.0.2/32 dev tun"]);
}

#[test]
fn beside_another_backend_only_the_peers_subnet_is_routed() {
    let base = plan::local(&beside()).expect("planned");
    assert_eq!(base.items.len(), 2, "link and address, no route: {:?}", base.items);
    let send = plan::send_to(&beside(), &peer(), &peer().ways[0], ROAD).expect("planned");
    assert_eq!(lines(&send), ["endpoint 10.10.26.0/24 at 10.98.0.2:8285 dev tun", "route 10.10.26.0/24 dev tun scope global"]);
}

#[test]
fn the_port_is_the_peers_where_it_publishes_one_and_else_the_own_one() {
    let own = Context { way: way(r#"{"Port":9000}"#), ..context() };
    let port = |options: &str| match &plan::send_to(&own, &peer(), &way(options), ROAD).expect("planned")[..] {
        [Item::Endpoint(endpoint)] => endpoint.port,
        other => panic!("{other:?}"),
    };
    assert_eq!((port(r#"{"Port":7000}"#), port("{}"), port("")), (7000, 9000, 9000));
    assert!(line(&plan::local(&own).expect("planned").items[0]).contains("10.98.0.1:9000"));
}

#[test]
fn the_socket_is_bound_to_the_interface_and_not_to_an_address_outside() {
    let mut context = context();
    context.node.public = addresses(Some("203.0.113.7"));
    context.node.underlay.addresses = vec!["fd98::1/64".into(), "10.98.0.5/24".into(), "10.98.0.6/24".into()];
    assert!(line(&plan::local(&context).expect("planned").items[0]).contains("tunnel on 10.98.0.5:8285"));
    context.node.public = addresses(Some("10.98.0.6"));
    assert!(line(&plan::local(&context).expect("planned").items[0]).contains("tunnel on 10.98.0.6:8285"));
    context.node.underlay.addresses = vec!["fd98::1/64".into()];
    assert_eq!(unsuitable(plan::local(&context)), "eth0 has no IPv4 address");
}

#[test]
fn what_is_published_names_the_port() {
    assert_eq!(plan::advertise(&node(), r#"{"Type":"udp"}"#), Ok(way(r#"{"Port":8285}"#)));
    assert_eq!(plan::advertise(&node(), r#"{"Type":"udp","Port":7}"#), Ok(way(r#"{"Port":7}"#)));
}

#[test]
fn wrong_options_are_named_by_their_key() {
    let wrong = |options: &str| invalid(plan::advertise(&node(), options));
    assert_eq!(wrong(r#"{"Port":"x"}"#), r#"Backend.Port must be a whole number from 1 to 65535, not "x""#);
    assert_eq!(wrong(r#"{"Port":0}"#), "Backend.Port must be a whole number from 1 to 65535, not 0");
    assert_eq!(wrong("[]"), "Backend must be an object, not a list");
    let peers = plan::send_to(&context(), &peer(), &way(r#"{"Port":-1}"#), ROAD);
    assert_eq!(invalid(peers), "the peer's options.Port must be a whole number from 1 to 65535, not -1");
}

#[test]
fn a_peer_or_node_without_ipv4_is_another_ways_business() {
    let no_public = Node { public: addresses(None), ..node() };
    assert_eq!(unsuitable(plan::advertise(&no_public, "{}")), "this node has no public address");
    let send = |peer: &Lease, road| plan::send_to(&context(), peer, &way("{}"), road);
    assert_eq!(unsuitable(send(&lease(Some("10.10.26.0/24"), None, "{}"), ROAD)), "the peer has no public IPv4 address");
    assert_eq!(unsuitable(send(&lease(None, Some("10.98.0.2"), "{}"), ROAD)), "this node and the peer have no address family in common");
    let nowhere = Road { v4: Hop::Unreachable, v6: Hop::OnLink };
    assert_eq!(unsuitable(send(&peer(), nowhere)), "there is no road to 10.98.0.2");
    assert_eq!(plan::receive_from(&lease(Some("10.10.26.0/24"), None, "{}")), Ok(vec![]));
}

/// This node with both families, inside and outside.
fn dual() -> Context {
    let mut context = context();
    context.mine.subnets.v6 = text("fd10:0:0:66::/64");
    context.mine.public.v6 = text("fd98::1");
    context.node.public.v6 = text("fd98::1");
    context.node.underlay.addresses.push("fd98::1/64".into());
    context
}

fn dual_peer(public_v4: Option<&str>) -> Lease {
    let mut peer = lease(Some("10.10.26.0/24"), public_v4, "{}");
    (peer.subnets.v6, peer.public.v6) = (text("fd10:0:0:26::/64"), text("fd98::2"));
    peer
}

const BOTH_ROADS: Road = Road { v4: Hop::Routed, v6: Hop::OnLink };

#[test]
fn both_families_are_carried_by_one_link_with_a_socket_each() {
    let base = plan::local(&dual()).expect("planned");
    let golden = [
        "link tun \"flannel%d\" tunnel on 10.98.0.1:8285 and [fd98::1]:8285 mtu 1472",
        "address 10.10.66.0/32 dev tun",
        "route 10.10.0.0/16 dev tun scope global",
        "address fd10:0:0:66::/128 dev tun",
        "route fd10::/48 dev tun",
    ];
    assert_eq!(lines(&base.items), golden);
    assert_eq!(base.pod_mtu, 1452, "what fits by either family");
}

#[test]
fn all_packets_to_a_peer_travel_by_ipv4_where_both_have_it() {
    let peer = dual_peer(Some("10.98.0.2"));
    let send = plan::send_to(&dual(), &peer, &way("{}"), BOTH_ROADS).expect("planned");
    assert_eq!(lines(&send), ["endpoint 10.10.26.0/24 at 10.98.0.2:8285 dev tun", "endpoint fd10:0:0:26::/64 at 10.98.0.2:8285 dev tun"]);
    let receive = plan::receive_from(&peer).expect("planned");
    let inner = "10.10.26.0/24 fd10:0:0:26::/64 10.98.0.2/32 fd98::2/128";
    assert_eq!(lines(&receive), [format!("sender 10.98.0.2 with {inner} dev tun"), format!("sender fd98::2 with {inner} dev tun")]);
}

#[test]
fn else_they_travel_by_ipv6_and_the_routes_say_what_fits() {
    let golden = [
        "endpoint 10.10.26.0/24 at fd98::2:8285 dev tun",
        "route 10.10.26.0/24 dev tun scope global mtu 1452",
        "endpoint fd10:0:0:26::/64 at fd98::2:8285 dev tun",
        "route fd10:0:0:26::/64 dev tun mtu 1452",
    ];
    let send = plan::send_to(&dual(), &dual_peer(None), &way("{}"), BOTH_ROADS).expect("planned");
    assert_eq!(lines(&send), golden);
    let no_v4_road = Road { v4: Hop::Unreachable, v6: Hop::OnLink };
    let send = plan::send_to(&dual(), &dual_peer(Some("10.98.0.2")), &way("{}"), no_v4_road).expect("planned");
    assert_eq!(lines(&send), golden);
    let nowhere = Road { v4: Hop::Unreachable, v6: Hop::Unreachable };
    let refused = unsuitable(plan::send_to(&dual(), &dual_peer(Some("10.98.0.2")), &way("{}"), nowhere));
    assert_eq!(refused, "there is no road to 10.98.0.2; there is no road to fd98::2");
}

#[test]
fn a_network_of_ipv6_alone_needs_no_ipv4_anywhere() {
    let mut context = dual();
    context.mine.subnets.v4 = None;
    (context.mine.public.v4, context.node.public.v4) = (None, None);
    let base = plan::local(&context).expect("planned");
    let golden =
        ["link tun \"flannel%d\" tunnel on [fd98::1]:8285 mtu 1452", "address fd10:0:0:66::/128 dev tun", "route fd10::/48 dev tun"];
    assert_eq!((lines(&base.items), base.pod_mtu), (golden.map(String::from).to_vec(), 1452));
    let send = plan::send_to(&context, &dual_peer(None), &way("{}"), BOTH_ROADS).expect("planned");
    assert_eq!(lines(&send), ["endpoint fd10:0:0:26::/64 at fd98::2:8285 dev tun"], "the link has no larger MTU that a route must lower");
    context.node.underlay.mtu = 1327;
    assert!(unsuitable(plan::local(&context)).contains("leaves no room"), "IPv6 needs 1280 bytes inside");
}

#[test]
fn rubbish_in_a_lease_is_refused_by_name() {
    let send = |subnet, public| plan::send_to(&context(), &lease(Some(subnet), Some(public), "{}"), &way("{}"), ROAD);
    assert!(invalid(send("10.10.26.0/33", "10.98.0.2")).contains("\"10.10.26.0/33\""));
    assert!(invalid(send("10.10.26.0/24", "10.98.0")).contains("\"10.98.0\""));
}

#[test]
fn an_underlay_without_room_for_a_packet_is_unsuitable() {
    for (mtu, fits) in [(96, true), (95, false), (0, false)] {
        let mut context = context();
        context.node.underlay.mtu = mtu;
        assert_eq!(plan::local(&context).is_ok(), fits, "{mtu}");
    }
}

#[test]
fn the_schema_is_json_that_names_the_port() {
    let schema: serde_json::Value = serde_json::from_str(plan::OPTIONS_SCHEMA).expect("JSON");
    assert_eq!(schema["properties"]["Port"]["default"], 8285);
}
