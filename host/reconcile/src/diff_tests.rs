use std::collections::BTreeMap;

use proptest::prelude::*;
use twill_model::Addresses;
use twill_model::item::Neighbour;
use twill_model::state::{ObservedLink, Origin, Sysctl};

use super::*;
use crate::testing::{PROTOCOL, ip, link_name, net};

fn desired(items: Vec<HostItem>) -> Desired {
    let origin = Origin { backend: "udp".into(), lease: None };
    Desired { items: items.into_iter().map(|item| (item.key(), (item, origin.clone()))).collect(), sysctls: Vec::new() }
}

fn steps(desired: &Desired, observed: &Observed) -> Vec<Step> {
    let networks = Prefixes { v4: "10.1.0.0/16".parse().ok(), v6: None };
    let links = BTreeSet::from([link_name("flannel0")]);
    let held = observed.links.iter().map(|link| link.name.clone()).collect();
    diff(desired, &Seen::of(observed), &Ownership { protocol: PROTOCOL, networks: &[networks], links: &links, held: &held })
}

fn link(mtu: u32) -> HostItem {
    let kind = LinkKind::Tunnel { port: 8285, local: Addresses::default() };
    Item::Link(Link { on: link_name("flannel0"), name: "flannel%d".into(), kind, mtu, mac: None })
}

fn route(third: u8, mtu: Option<u32>) -> Route<LinkName> {
    Route {
        to: net(&format!("10.1.{third}.0/24")),
        via: None,
        on: link_name("flannel0"),
        onlink: false,
        scope_global: true,
        mtu,
        metric: 0,
    }
}

/// What the kernel would hold after the steps.
fn apply(steps: Vec<Step>, observed: &mut Observed) {
    for step in steps {
        match step {
            Step::Make(Item::Route(route)) => {
                observed.routes.retain(|there| there.route.to != route.to);
                observed.routes.push(ObservedRoute { route, protocol: PROTOCOL, special: false });
            }
            Step::Break(Item::Route(route)) => observed.routes.retain(|there| there.route.to != route.to),
            Step::Make(Item::Neighbour(n)) => {
                observed.neighbours.retain(|there| there.address != n.address);
                observed.neighbours.push(n);
            }
            Step::Break(Item::Neighbour(n)) => observed.neighbours.retain(|there| there.address != n.address),
            other => panic!("not in these tests: {other}"),
        }
    }
}

fn neighbour(last: u8, mac: u8) -> Neighbour<LinkName> {
    Neighbour { on: link_name("flannel0"), address: ip(&format!("10.1.0.{last}")), mac: twill_model::Mac([2, 0, 0, 0, 0, mac]) }
}

prop_compose! {
    fn state()(routes in prop::collection::btree_map(0u8..8, prop::option::of(1000u32..1003), 0..8),
               neighbours in prop::collection::btree_map(0u8..8, 0u8..3, 0..8))
        -> (BTreeMap<u8, Option<u32>>, BTreeMap<u8, u8>) {
        (routes, neighbours)
    }
}

proptest! {
    #[test]
    fn applying_the_difference_gives_what_is_desired((want, want_n) in state(), (have, have_n) in state()) {
        let routes = want.iter().map(|(third, mtu)| Item::Route(route(*third, *mtu)));
        let items: Vec<HostItem> = routes.chain(want_n.iter().map(|(last, mac)| Item::Neighbour(neighbour(*last, *mac)))).collect();
        let desired = desired(items);
        let routes = have.iter().map(|(third, mtu)| ObservedRoute { route: route(*third, *mtu), protocol: PROTOCOL, special: false });
        let neighbours = have_n.iter().map(|(last, mac)| neighbour(*last, *mac)).collect();
        let mut observed = Observed { routes: routes.collect(), neighbours, ..Observed::default() };
        apply(steps(&desired, &observed), &mut observed);
        prop_assert_eq!(steps(&desired, &observed), vec![], "a second difference is empty");
        prop_assert_eq!(observed.routes.len(), want.len());
        prop_assert_eq!(observed.neighbours.len(), want_n.len());
    }
}

#[test]
fn steps_obey_the_order_law() {
    let address = Item::Assignment(Assignment { on: link_name("flannel0"), address: net("10.1.1.0/32") });
    let wanted = desired(vec![Item::Route(route(2, None)), Item::Neighbour(neighbour(2, 1)), address, link(1472)]);
    let observed = Observed {
        routes: vec![ObservedRoute { route: route(9, None), protocol: PROTOCOL, special: false }],
        neighbours: vec![neighbour(9, 1)],
        addresses: vec![Assignment { on: link_name("flannel0"), address: net("10.1.9.0/32") }],
        ..Observed::default()
    };
    let words: Vec<String> = steps(&wanted, &observed).iter().map(ToString::to_string).collect();
    let order = ["make link", "make address", "make neighbour", "make route", "remove route", "remove neighbour", "remove address"];
    assert_eq!(words.len(), order.len(), "{words:?}");
    for (step, start) in words.iter().zip(order) {
        assert!(step.starts_with(start), "{words:?}");
    }
}

#[test]
fn a_link_that_is_down_or_of_another_mtu_is_made_so() {
    let seen = |mtu, up| Observed {
        links: vec![ObservedLink { name: link_name("flannel0"), index: 7, mtu, up, mac: None, kind: None, word: "tun".into() }],
        ..Observed::default()
    };
    let wanted = desired(vec![link(1472)]);
    assert_eq!(steps(&wanted, &seen(1472, true)), []);
    assert_eq!(steps(&wanted, &seen(1472, false)), [Step::Make(link(1472))]);
    assert_eq!(steps(&wanted, &seen(1400, true)), [Step::Make(link(1472))]);
}

#[test]
fn foreign_routes_metrics_and_blackholes_are_not_ours_to_remove() {
    let there = |protocol, metric, special, third| ObservedRoute { route: Route { metric, ..route(third, None) }, protocol, special };
    let observed =
        Observed { routes: vec![there(4, 0, false, 1), there(PROTOCOL, 50, false, 2), there(PROTOCOL, 0, true, 3)], ..Observed::default() };
    assert_eq!(steps(&desired(Vec::new()), &observed), []);
}

/// As flannel's vxlan backend makes it.
fn left(third: u8, protocol: u8) -> ObservedRoute {
    let gateway = Some(ip(&format!("10.1.{third}.0")));
    ObservedRoute { route: Route { via: gateway, onlink: true, scope_global: false, ..route(third, None) }, protocol, special: false }
}

#[test]
fn a_route_that_flannel_left_is_marked_as_ours_when_wanted_and_else_removed() {
    let observed = Observed { routes: vec![left(2, 3), left(9, 3)], ..Observed::default() };
    let kept = Item::Route(left(2, 3).route);
    let stale = Item::Route(left(9, 3).route);
    assert_eq!(steps(&desired(vec![kept.clone()]), &observed), [Step::Make(kept.clone()), Step::Break(stale)]);
    let ours = Observed { routes: vec![left(2, PROTOCOL)], ..Observed::default() };
    assert_eq!(steps(&desired(vec![kept]), &ours), []);
}

#[test]
fn a_route_of_another_shape_or_device_is_not_flannels() {
    let mut elsewhere = left(2, 3);
    elsewhere.route.on = link_name("eth0");
    let mut by_hand = left(3, 3);
    by_hand.route.onlink = false;
    let observed = Observed { routes: vec![elsewhere, by_hand, left(4, 4)], ..Observed::default() };
    assert_eq!(steps(&desired(Vec::new()), &observed), []);
}

#[test]
fn a_setting_is_written_only_when_it_differs_and_its_path_is_there() {
    let wanted = Desired { sysctls: vec![Sysctl { path: "net/ipv4/ip_forward".into(), value: "1".into() }], ..Desired::default() };
    let seen = |value: &str| Observed { sysctls: BTreeMap::from([("net/ipv4/ip_forward".into(), value.into())]), ..Observed::default() };
    assert_eq!(steps(&wanted, &seen("1")), []);
    assert_eq!(steps(&wanted, &Observed::default()), []);
    assert_eq!(steps(&wanted, &seen("0")).len(), 1);
}
