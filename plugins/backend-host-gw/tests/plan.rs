//! The plan, item by item, against what flannel's host-gw backend was seen to do, and every reason to refuse.

use proptest::prelude::*;
use twill_backend_host_gw::plan;
use twill_guest::backend::*;

const ON_LINK: Road = Road { v4: Hop::OnLink, v6: Hop::OnLink };

/// The node of that number: 10.10.N.0/24 and fd10:0:0:N::/64 at 10.98.0.N and fd98::N.
fn lease(number: u8) -> Lease {
    Lease {
        subnets: Prefixes { v4: Some(format!("10.10.{number}.0/24")), v6: Some(format!("fd10:0:0:{number}::/64")) },
        public: Addresses { v4: Some(format!("10.98.0.{number}")), v6: Some(format!("fd98::{number}")) },
        ways: vec![way()],
        node: Some(format!("node-{number}")),
        life: Lifetime::Seconds(86_400),
    }
}

fn way() -> Way {
    Way { backend: "host-gw".into(), options: "{}".into(), data_v4: None, data_v6: None }
}

fn network() -> Network {
    Network { ranges: vec!["10.10.0.0/16".into(), "fd10::/48".into()], backend: "host-gw".into() }
}

fn node() -> Node {
    let addresses = ["10.98.0.1/24", "fd98::1/64"].map(String::from).to_vec();
    let underlay = Underlay { name: "eth0".into(), mtu: 1500, addresses };
    Node { id: "node-1".into(), underlay, public: lease(1).public, seed: String::new(), keys: vec![] }
}

fn context() -> Context {
    Context { network: network(), node: node(), mine: lease(1), way: way(), primary: true }
}

fn line(item: &Item) -> String {
    match item {
        Item::Route(Route { to, via: Some(via), on: Device::Underlay, onlink: false, scope_global: false, mtu: None }) => {
            format!("{to} via {via} dev <underlay>")
        }
        other => panic!("{other:?} is nothing that this backend plans"),
    }
}

fn send(peer: &Lease, road: Road) -> Result<Vec<String>, Refusal> {
    Ok(plan::send_to(&context(), peer, road)?.iter().map(line).collect())
}

fn unsuitable<T: std::fmt::Debug>(outcome: Result<T, Refusal>) -> String {
    match outcome {
        Err(Refusal::Unsuitable(text)) => text,
        other => panic!("expected unsuitable, got {other:?}"),
    }
}

#[test]
fn the_plan_is_flannels() {
    assert_eq!(plan::local(&context()), Base { items: vec![], pod_mtu: 1500 });
    let routes = ["10.10.2.0/24 via 10.98.0.2 dev <underlay>", "fd10:0:0:2::/64 via fd98::2 dev <underlay>"];
    assert_eq!(send(&lease(2), ON_LINK).expect("planned"), routes);
}

#[test]
fn nothing_but_type_and_addresses_is_published() {
    assert_eq!(plan::advertise(&network(), &node(), r#"{"Type":"host-gw"}"#), Ok(way()));
    let wrong = plan::advertise(&network(), &node(), "[]");
    assert_eq!(wrong, Err(Refusal::Invalid("Backend must be an object, not a list".into())));
}

#[test]
fn a_peer_behind_a_router_is_another_ways_business() {
    for hop in [Hop::Routed, Hop::Unreachable] {
        let told = unsuitable(send(&lease(2), Road { v4: hop, v6: hop }));
        assert_eq!(told, "10.98.0.2 is not on this link; fd98::2 is not on this link");
    }
    let v4 = send(&lease(2), Road { v4: Hop::OnLink, v6: Hop::Routed });
    assert_eq!(v4.expect("planned"), ["10.10.2.0/24 via 10.98.0.2 dev <underlay>"]);
}

#[test]
fn a_public_address_that_is_not_the_interfaces_is_refused() {
    let mut behind_nat = node();
    behind_nat.public.v4 = Some("203.0.113.7".into());
    let told = unsuitable(plan::advertise(&network(), &behind_nat, "{}"));
    assert_eq!(told, "the public address 203.0.113.7 is none of eth0's, and peers on the link cannot send to it");
    let mut v4_only = node();
    v4_only.public.v6 = None;
    assert_eq!(unsuitable(plan::advertise(&network(), &v4_only, "{}")), "this node has no public IPv6 address");
}

#[test]
fn a_peer_without_an_address_or_a_common_family_is_refused() {
    let mut lame = lease(2);
    lame.public.v4 = None;
    assert_eq!(send(&lame, ON_LINK).expect("planned"), ["fd10:0:0:2::/64 via fd98::2 dev <underlay>"]);
    lame.subnets.v6 = None;
    assert_eq!(unsuitable(send(&lame, ON_LINK)), "the peer has no public IPv4 address");
    lame.subnets.v4 = None;
    assert_eq!(unsuitable(send(&lame, ON_LINK)), "this node and the peer have no address family in common");
}

proptest! {
    #[test]
    fn the_order_of_peers_changes_nothing(shuffled in Just((2..12).collect::<Vec<u8>>()).prop_shuffle()) {
        let plan = |numbers: &[u8]| {
            let mut all: Vec<String> = numbers.iter().flat_map(|number| send(&lease(*number), ON_LINK).expect("planned")).collect();
            all.sort();
            all
        };
        prop_assert_eq!(plan(&shuffled), plan(&(2..12).collect::<Vec<u8>>()));
    }
}
