use twill_model::item::{Assignment, Endpoint, Fdb, Neighbour, Sender};

use super::*;
use crate::testing::{inputs, ip, lease, net, tun};

fn declared() -> Declared {
    let kind = LinkKind::Tunnel { port: 8285, local: lease(1).public };
    Declared::from([("tun".into(), Link { on: tun(), name: "flannel%d".into(), kind, mtu: 1472, mac: None })])
}

fn verdict(item: Item, peer: Option<u8>, primary: bool) -> Result<(), Refusal> {
    let (inputs, declared, peer) = (inputs(&[2]), declared(), peer.map(lease));
    let here = BTreeSet::from([ip("203.0.113.9")]);
    Asker { inputs: &inputs, declared: &declared, here: &here, primary, peer: peer.as_ref() }.check(&item)
}

fn route(to: &str, via: Option<&str>, on: Device) -> Item {
    Item::Route(Route { to: net(to), via: via.map(ip), on, onlink: true, scope_global: false, mtu: None, metric: 0 })
}

fn endpoint(to: &str, peer: &str) -> Item {
    Item::Endpoint(Endpoint { on: tun(), to: net(to), peer: ip(peer), port: 8285 })
}

fn link(mtu: u32, port: u16, local: &str) -> Item {
    let local = twill_model::Addresses { v4: local.parse().ok(), v6: None };
    Item::Link(Link { on: tun(), name: "flannel%d".into(), kind: LinkKind::Tunnel { port, local }, mtu, mac: None })
}

#[test]
fn what_flannels_backends_plan_is_allowed() {
    let mac = "0a:1b:2c:3d:4e:5f".parse().expect("a MAC");
    let allowed = [
        (link(1472, 8285, "192.0.2.1"), None),
        (Item::Assignment(Assignment { on: tun(), address: net("10.1.1.0/32") }), None),
        (route("10.1.0.0/16", None, tun()), None),
        (endpoint("10.1.2.0/24", "192.0.2.2"), Some(2)),
        (Item::Sender(Sender { on: tun(), peer: ip("192.0.2.2"), inner: vec![net("10.1.2.0/24"), net("192.0.2.2/32")] }), Some(2)),
        (route("10.1.2.0/24", Some("192.0.2.2"), Device::Underlay), Some(2)),
        (route("10.1.2.0/24", Some("10.1.2.0"), tun()), Some(2)),
        (Item::Neighbour(Neighbour { on: tun(), address: ip("10.1.2.0"), mac }), Some(2)),
        (Item::Fdb(Fdb { on: tun(), mac, to: ip("192.0.2.2") }), Some(2)),
    ];
    for (item, peer) in allowed {
        assert_eq!(verdict(item.clone(), peer, true), Ok(()), "{item}");
    }
}

#[test]
fn what_could_hurt_is_refused() {
    let mac = "0a:1b:2c:3d:4e:5f".parse().expect("a MAC");
    let foreign = Device::Link("eth0".into());
    let refused = [
        (link(100, 8285, "192.0.2.1"), None, "MTU"),
        (link(1472, 0, "192.0.2.1"), None, "UDP port"),
        (link(1472, 8285, "203.0.113.1"), None, "not an address of this node"),
        (link(1472, 8285, "192.0.2.1"), Some(2), "cannot come with a peer"),
        (Item::Assignment(Assignment { on: tun(), address: net("10.1.2.0/32") }), None, "outside this node's subnet"),
        (route("0.0.0.0/0", None, tun()), None, "default route"),
        (route("198.51.100.0/24", None, tun()), None, "outside the cluster's networks"),
        (route("10.1.0.0/16", None, tun()), Some(2), "overlaps this node's own subnet"),
        (route("10.1.1.0/24", None, tun()), None, "overlaps this node's own subnet"),
        (route("10.1.3.0/24", None, tun()), Some(2), "outside the lease's subnet"),
        (route("10.1.2.0/24", None, foreign.clone()), Some(2), "no link of this backend"),
        (route("10.1.2.0/24", Some("192.0.2.77"), Device::Underlay), Some(2), "not an address of the lease"),
        (endpoint("10.1.3.0/24", "192.0.2.2"), Some(2), "outside the lease's subnet"),
        (endpoint("10.1.2.0/24", "192.0.2.3"), Some(2), "not an address of the lease"),
        (endpoint("10.1.2.0/24", "127.0.0.1"), Some(2), "loopback"),
        (endpoint("10.1.2.0/24", "224.0.0.1"), Some(2), "multicast"),
        (endpoint("10.1.2.0/24", "0.0.0.0"), Some(2), "unspecified"),
        (endpoint("10.1.2.0/24", "192.0.2.1"), Some(2), "this very node"),
        (endpoint("10.1.2.0/24", "203.0.113.9"), Some(2), "this very node"),
        (endpoint("10.1.2.0/24", "10.1.2.1"), Some(2), "inside the overlay"),
        (Item::Sender(Sender { on: tun(), peer: ip("192.0.2.2"), inner: vec![net("10.1.3.0/24")] }), Some(2), "outside the lease's subnet"),
        (Item::Neighbour(Neighbour { on: foreign, address: ip("10.1.2.0"), mac }), Some(2), "no link of this backend"),
    ];
    for (item, peer, words) in refused {
        let why = verdict(item.clone(), peer, true).expect_err(&item.to_string()).to_string();
        assert!(why.contains(words), "{item}: {why}");
    }
}

#[test]
fn only_the_configs_backend_plans_wide_routes() {
    assert!(matches!(verdict(route("10.1.0.0/16", None, tun()), None, false), Err(Refusal::TooWide(_))));
}
