//! What is made is there, by `ip` and by observation; what is replaced is replaced in one request; what is removed is gone.

mod lab;

use lab::{in_namespace, ip, json, kernel, wire};
use twill_kernel::{Netlink, ROUTE_PROTOCOL};
use twill_model::item::{Assignment, Fdb, Item, Link, LinkKind, LinkName, Neighbour, Route};
use twill_model::state::{Hop, HostItem, Observed};
use twill_model::{Addresses, Mac};
use twill_reconcile::ports::Kernel;

const MAC: Mac = Mac([0x02, 0, 0, 0, 0, 0x11]);

fn name(text: &str) -> LinkName {
    LinkName(text.into())
}

fn route(to: &str, via: Option<&str>, on: &str) -> Route<LinkName> {
    let via = via.map(|via| via.parse().expect("a good address"));
    Route { to: to.parse().expect("a good prefix"), via, on: name(on), onlink: false, scope_global: false, mtu: None, metric: 0 }
}

fn assignment(address: &str, on: &str) -> Assignment<LinkName> {
    Assignment { on: name(on), address: address.parse().expect("a good address") }
}

fn vxlan(on: &str, local: &str) -> Link<LinkName> {
    let local = local.parse().expect("a good address");
    let kind = LinkKind::Vxlan { vni: 1, port: 8472, local, learning: false, gbp: false };
    Link { on: name(on), name: on.into(), kind, mtu: 1430, mac: Some(MAC) }
}

async fn make(kernel: &Netlink, item: HostItem) {
    kernel.make(item).await.expect("it is made");
}

async fn observe(kernel: &Netlink) -> Observed {
    kernel.observe(vec![]).await.expect("it is observed")
}

fn routes_to<'a>(observed: &'a Observed, to: &str) -> Vec<&'a Route<LinkName>> {
    observed.routes.iter().map(|there| &there.route).filter(|route| route.to.to_string() == to).collect()
}

/// The route by which the kernel sends to that address.
fn sent_by(address: &str) -> String {
    json("ip", &format!("route get {address}"))[0]["dev"].as_str().expect("a link").to_owned()
}

#[test]
fn a_next_hop_of_ipv6_may_be_reached_by_another_link_so_far() {
    in_namespace(|| async {
        wire();
        let (kernel, _directory) = kernel();
        // By a route of its own, and by one that is shared with others.
        make(&kernel, Item::Route(route("fd10:0:0:2::/64", None, "eth0"))).await;
        make(&kernel, Item::Route(route("fd10::/48", None, "eth0"))).await;
        for third in [2, 3, 4] {
            let (to, via) = (format!("fd10:0:0:{third}::/64"), format!("fd10:0:0:{third}::"));
            let moved = Route { onlink: true, ..route(&to, Some(&via), "far") };
            let proved = Route { metric: 7300, ..moved.clone() };
            make(&kernel, Item::Route(proved.clone())).await;
            let there = observe(&kernel).await;
            assert!(routes_to(&there, &to).contains(&&proved), "{to}");
            assert_eq!(sent_by("fd10:0:0:5::1"), "eth0", "nothing is left behind");
            assert_eq!(routes_to(&there, "fd10::/48").len(), 1, "nothing is left behind");
            make(&kernel, Item::Route(moved.clone())).await;
            assert_eq!(sent_by(&via), "far");
            let there = observe(&kernel).await;
            assert_eq!(routes_to(&there, &to).into_iter().filter(|route| route.metric == 0).collect::<Vec<_>>(), [&moved]);
        }
        // In one request, from a next hop by another link.
        let before = route("fd10:0:0:6::/64", Some("fd00::2"), "eth0");
        let moved = Route { onlink: true, ..route("fd10:0:0:6::/64", Some("fd10:0:0:6::"), "far") };
        make(&kernel, Item::Route(before)).await;
        make(&kernel, Item::Route(moved.clone())).await;
        assert_eq!(routes_to(&observe(&kernel).await, "fd10:0:0:6::/64"), [&moved]);
        assert!(json("ip", "-6 route show proto 74").is_empty(), "what stood behind is gone");
    });
}

#[test]
fn addresses_go_round_in_both_families() {
    in_namespace(|| async {
        wire();
        let (kernel, _directory) = kernel();
        for text in ["10.1.2.0/32", "10.1.2.1/24", "fd00:1::/128"] {
            let item = Item::Assignment(assignment(text, "eth0"));
            make(&kernel, item.clone()).await;
            make(&kernel, item.clone()).await;
            assert!(observe(&kernel).await.addresses.contains(&assignment(text, "eth0")), "{text}");
            let address = text.split('/').next().expect("a part");
            let shown = json("ip", &format!("addr show to {text} dev eth0"));
            let of = shown[0]["addr_info"].as_array().expect("addresses").iter().find(|of| of["local"] == address).expect("it is shown");
            assert_eq!(of["scope"], "global");
            assert_ne!(of["tentative"], true);
            kernel.remove(item.clone()).await.expect("it is removed");
            kernel.remove(item).await.expect("it is gone already");
            assert!(!observe(&kernel).await.addresses.contains(&assignment(text, "eth0")), "{text}");
        }
    });
}

#[test]
fn routes_go_round_in_both_families() {
    in_namespace(|| async {
        wire();
        let (kernel, _directory) = kernel();
        let wanted = [
            route("10.1.2.0/24", Some("10.0.0.2"), "eth0"),
            Route { onlink: true, ..route("10.1.3.0/24", Some("10.1.3.0"), "eth0") },
            Route { scope_global: true, ..route("10.1.0.0/16", None, "eth0") },
            Route { mtu: Some(1300), ..route("10.1.4.0/24", None, "eth0") },
            route("fd00:2::/64", Some("fd00::2"), "eth0"),
            Route { onlink: true, mtu: Some(1300), ..route("fd00:3::/64", Some("fd00:3::"), "eth0") },
            route("fd00:4::/64", None, "eth0"),
        ];
        for one in &wanted {
            make(&kernel, Item::Route(one.clone())).await;
            make(&kernel, Item::Route(one.clone())).await;
        }
        let observed = observe(&kernel).await;
        for one in &wanted {
            let there: Vec<_> = observed.routes.iter().filter(|there| there.route.to == one.to).collect();
            assert_eq!(there.len(), 1, "{one:?}");
            assert_eq!(&there[0].route, one);
            assert_eq!((there[0].protocol, there[0].route.metric, there[0].special), (ROUTE_PROTOCOL, 0, false));
        }
        let shown = json("ip", "route show 10.1.0.0/16");
        assert_eq!((&shown[0]["scope"], &shown[0]["protocol"]), (&serde_json::Value::Null, &serde_json::json!("73")));
        assert_eq!(json("ip", "route show 10.1.4.0/24")[0]["scope"], "link");
        assert_eq!(json("ip", "route show 10.1.3.0/24")[0]["flags"], serde_json::json!(["onlink"]));
        for one in wanted {
            kernel.remove(Item::Route(one.clone())).await.expect("it is removed");
            kernel.remove(Item::Route(one)).await.expect("it is gone already");
        }
        assert!(observe(&kernel).await.routes.iter().all(|there| there.protocol != ROUTE_PROTOCOL));
    });
}

#[test]
fn a_route_is_replaced_in_one_request() {
    in_namespace(|| async {
        wire();
        let (kernel, _directory) = kernel();
        for (family, first, second) in [
            ("", route("10.1.2.0/24", None, "eth0"), route("10.1.2.0/24", Some("10.0.0.2"), "eth0")),
            ("-6 ", route("fd00:2::/64", None, "eth0"), route("fd00:2::/64", Some("fd00::2"), "eth0")),
        ] {
            let to = first.to.to_string();
            make(&kernel, Item::Route(first.clone())).await;
            let words = format!("{family}monitor route");
            let story = async || {
                make(&kernel, Item::Route(second.clone())).await;
                make(&kernel, Item::Route(first.clone())).await;
                make(&kernel, Item::Route(second.clone())).await;
            };
            let heard = heard_while(&words, story).await;
            let changes: Vec<&str> = heard.lines().filter(|line| line.contains(&to)).collect();
            assert_eq!(changes.len(), 3, "{heard}");
            assert!(!heard.contains("Deleted"), "its prefix was without a route:\n{heard}");
            assert_eq!(routes_to(&observe(&kernel).await, &to), [&second]);
        }
    });
}

/// What `ip` with these words says while `story` goes on. A change of our own at the start and one at the end tell when it listens and has heard all.
async fn heard_while(words: &str, story: impl AsyncFnOnce()) -> String {
    use tokio::io::{AsyncBufReadExt, BufReader};
    let words: Vec<&str> = words.split_whitespace().collect();
    let family = if words[0] == "-6" { "-6" } else { "-4" };
    let mark = if family == "-6" { "fd99::/64" } else { "10.99.0.0/24" };
    let mut child =
        tokio::process::Command::new("ip").args(&words).stdout(std::process::Stdio::piped()).kill_on_drop(true).spawn().expect("ip runs");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let mut metric = 100;
    loop {
        metric += 1;
        ip(&format!("{family} route add {mark} dev eth0 metric {metric}"));
        let heard = tokio::time::timeout(std::time::Duration::from_millis(100), lines.next_line()).await;
        if heard.is_ok_and(|line| line.is_ok_and(|line| line.is_some())) {
            break;
        }
    }
    story().await;
    ip(&format!("{family} route add {mark} dev eth0 metric 9999"));
    let mut heard = String::new();
    while let Ok(Some(line)) = tokio::time::timeout(lab::SOON, lines.next_line()).await.expect("it says something") {
        if line.contains("9999") {
            break;
        }
        heard += &format!("{line}\n");
    }
    heard
}

#[test]
fn a_route_of_another_hand_is_replaced_and_one_with_a_metric_stays() {
    in_namespace(|| async {
        wire();
        let (kernel, _directory) = kernel();
        ip("route add 10.1.2.0/24 via 10.0.0.9 proto static");
        ip("route add 10.1.2.0/24 via 10.0.0.8 metric 50");
        ip("-6 route add fd00:2::/64 via fd00::9");
        ip("-6 route add fd00:2::/64 via fd00::8 metric 50");
        for (v4, wanted) in [(true, route("10.1.2.0/24", None, "eth0")), (false, route("fd00:2::/64", None, "eth0"))] {
            make(&kernel, Item::Route(wanted.clone())).await;
            let observed = observe(&kernel).await;
            let there = routes_to(&observed, &wanted.to.to_string());
            assert_eq!(there.len(), 2, "IPv4 {v4}: {there:?}");
            assert!(there.contains(&&wanted), "IPv4 {v4}: {there:?}");
            kernel.remove(Item::Route(wanted.clone())).await.expect("it is removed");
            kernel.remove(Item::Route(wanted.clone())).await.expect("it is gone already");
            let observed = observe(&kernel).await;
            let left: Vec<_> = observed.routes.iter().filter(|there| there.route.to == wanted.to).map(|there| there.route.metric).collect();
            assert_eq!(left, [50], "IPv4 {v4}");
        }
    });
}

#[test]
fn an_adopted_route_can_be_removed() {
    in_namespace(|| async {
        wire();
        let (kernel, _directory) = kernel();
        ip("route add 10.1.2.0/24 via 10.0.0.2 dev eth0 proto boot");
        ip("-6 route add fd00:2::/64 via fd00::2 dev eth0 proto boot");
        for adopted in [route("10.1.2.0/24", Some("10.0.0.2"), "eth0"), route("fd00:2::/64", Some("fd00::2"), "eth0")] {
            let to = adopted.to.to_string();
            assert_eq!(routes_to(&observe(&kernel).await, &to), [&adopted]);
            kernel.remove(Item::Route(adopted)).await.expect("it is removed");
            assert!(routes_to(&observe(&kernel).await, &to).is_empty());
        }
    });
}

#[test]
fn special_and_multipath_routes_are_told_apart() {
    in_namespace(|| async {
        wire();
        let (kernel, _directory) = kernel();
        ip("route add blackhole 10.5.0.0/24");
        ip("-6 route add unreachable fd05::/64");
        ip("route add 10.6.0.0/24 nexthop via 10.0.0.2 nexthop via 10.0.0.3");
        ip("-6 route add fd06::/64 nexthop via fd00::2 nexthop via fd00::3");
        let observed = observe(&kernel).await;
        for (to, special) in [("10.5.0.0/24", true), ("fd05::/64", true), ("10.6.0.0/24", false), ("fd06::/64", false)] {
            let there = observed.routes.iter().find(|there| there.route.to.to_string() == to).expect("it is observed");
            assert_eq!((there.special, there.route.on.0.as_str()), (special, ""), "{to}");
        }
        for to in ["10.5.0.0/24", "10.6.0.0/24"] {
            make(&kernel, Item::Route(route(to, None, "eth0"))).await;
            assert_eq!(routes_to(&observe(&kernel).await, to), [&route(to, None, "eth0")]);
        }
    });
}

#[test]
fn neighbours_and_fdb_entries_go_round() {
    in_namespace(|| async {
        wire();
        let (kernel, _directory) = kernel();
        kernel.set_underlay("eth0");
        make(&kernel, Item::Link(vxlan("flannel.1", "10.0.0.1"))).await;
        for address in ["10.1.2.0", "fd00:2::"] {
            let address = address.parse().expect("a good address");
            let entry = |mac| Neighbour { on: name("flannel.1"), address, mac };
            make(&kernel, Item::Neighbour(entry(Mac([2; 6])))).await;
            make(&kernel, Item::Neighbour(entry(MAC))).await;
            assert_eq!(observe(&kernel).await.neighbours, [entry(MAC)]);
            let shown = json("ip", "neigh show dev flannel.1 nud permanent");
            assert_eq!((&shown[0]["lladdr"], &shown[0]["state"]), (&"02:00:00:00:00:11".into(), &serde_json::json!(["PERMANENT"])));
            kernel.remove(Item::Neighbour(entry(MAC))).await.expect("it is removed");
            kernel.remove(Item::Neighbour(entry(MAC))).await.expect("it is gone already");
            assert_eq!(observe(&kernel).await.neighbours, []);
        }
        let entry = |to: &str| Fdb { on: name("flannel.1"), mac: MAC, to: to.parse().expect("a good address") };
        make(&kernel, Item::Fdb(entry("10.0.0.2"))).await;
        make(&kernel, Item::Fdb(entry("10.0.0.3"))).await;
        assert_eq!(observe(&kernel).await.fdb, [entry("10.0.0.3")]);
        let shown = json("bridge", "fdb show dev flannel.1");
        let one = shown.iter().find(|one| one["mac"] == "02:00:00:00:00:11").expect("it is shown");
        assert_eq!((&one["dst"], &one["state"], &one["flags"]), (&"10.0.0.3".into(), &"permanent".into(), &serde_json::json!(["self"])));
        kernel.remove(Item::Fdb(entry("10.0.0.3"))).await.expect("it is removed");
        kernel.remove(Item::Fdb(entry("10.0.0.3"))).await.expect("it is gone already");
        assert_eq!(observe(&kernel).await.fdb, []);
    });
}

#[test]
fn a_vxlan_link_is_made_changed_remade_and_removed() {
    in_namespace(|| async {
        wire();
        let (kernel, _directory) = kernel();
        let refused = kernel.make(Item::Link(vxlan("flannel.1", "10.0.0.1"))).await.expect_err("no underlay yet");
        assert_eq!(refused.to_string(), "cannot make link flannel.1 (vxlan, mtu 1430): there is no underlay interface to put it on");
        kernel.set_underlay("eth0");
        for (on, local) in [("flannel.1", "10.0.0.1"), ("flannel-v6.1", "fd00::1")] {
            let wanted = vxlan(on, local);
            make(&kernel, Item::Link(wanted.clone())).await;
            let observed = observe(&kernel).await;
            let there = observed.link(&wanted.on).expect("it is there").clone();
            assert_eq!((there.kind.as_ref(), there.mtu, there.mac, there.up), (Some(&wanted.kind), 1430, Some(MAC), true));
            let shown = &json("ip", &format!("-d link show {on}"))[0]["linkinfo"]["info_data"].clone();
            assert_eq!(
                (&shown["id"], &shown["port"], &shown["link"], &shown["learning"]),
                (&1.into(), &8472.into(), &"eth0".into(), &false.into())
            );
            let changed = Link { mtu: 1400, mac: Some(Mac([2; 6])), ..wanted.clone() };
            make(&kernel, Item::Link(changed.clone())).await;
            let after = observe(&kernel).await.link(&wanted.on).expect("it is there").clone();
            assert_eq!((after.index, after.mtu, after.mac), (there.index, 1400, Some(Mac([2; 6]))), "it was not re-made");
            let LinkKind::Vxlan { vni, local, .. } = wanted.kind.clone() else { unreachable!() };
            let other = LinkKind::Vxlan { vni, port: 4789, local, learning: true, gbp: true };
            make(&kernel, Item::Link(Link { kind: other.clone(), ..wanted.clone() })).await;
            let remade = observe(&kernel).await.link(&wanted.on).expect("it is there").clone();
            assert_eq!(remade.kind, Some(other));
            assert_ne!(remade.index, there.index);
            kernel.remove(Item::Link(wanted.clone())).await.expect("it is removed");
            kernel.remove(Item::Link(wanted.clone())).await.expect("it is gone already");
            assert!(observe(&kernel).await.link(&wanted.on).is_none());
        }
    });
}

#[test]
fn a_vxlan_link_on_another_interface_is_moved() {
    in_namespace(|| async {
        wire();
        let (kernel, _directory) = kernel();
        ip("link add flannel.1 type vxlan id 1 dev far local 10.0.0.1 dstport 8472 nolearning");
        kernel.set_underlay("eth0");
        assert_eq!(observe(&kernel).await.link(&name("flannel.1")).expect("it is there").kind, None);
        let wanted = vxlan("flannel.1", "10.0.0.1");
        make(&kernel, Item::Link(wanted.clone())).await;
        assert_eq!(observe(&kernel).await.link(&wanted.on).expect("it is there").kind, Some(wanted.kind));
        assert_eq!(json("ip", "-d link show flannel.1")[0]["linkinfo"]["info_data"]["link"], "eth0");
    });
}

#[test]
fn a_tunnel_link_gets_mtu_and_up_and_no_foreign_one_does() {
    in_namespace(|| async {
        wire();
        let (kernel, _directory) = kernel();
        let kind = LinkKind::Tunnel { port: 8285, local: Addresses::default() };
        let wanted = |on: &str| Item::Link(Link { on: name(on), name: "flannel%d".into(), kind: kind.clone(), mtu: 1472, mac: None });
        let refused = kernel.make(wanted("flannel0")).await.expect_err("there is none");
        assert_eq!(refused.cause, "the tunnel device is not open");
        ip("tuntap add flannel0 mode tun");
        make(&kernel, wanted("flannel0")).await;
        let observed = observe(&kernel).await;
        let there = observed.link(&name("flannel0")).expect("it is there");
        assert_eq!((there.mtu, there.up, there.word.as_str(), &there.kind, there.mac), (1472, true, "tun", &None, None));
        let refused = kernel.make(wanted("eth0")).await.expect_err("it is another's");
        assert_eq!(refused.cause, "an interface of that name is there already, of kind \"veth\"");
        assert_eq!(json("ip", "link show eth0")[0]["mtu"], 1500);
    });
}

#[test]
fn refusals_tell_what_and_why() {
    in_namespace(|| async {
        wire();
        let (kernel, _directory) = kernel();
        let refused = |item: HostItem| async { kernel.make(item).await.expect_err("a refusal").to_string() };
        assert_eq!(
            refused(Item::Route(route("10.1.2.0/24", None, "nowhere"))).await,
            "cannot make route 10.1.2.0/24 dev nowhere: no such device"
        );
        assert_eq!(
            refused(Item::Route(route("10.1.2.0/24", Some("10.77.0.1"), "eth0"))).await,
            "cannot make route 10.1.2.0/24 via 10.77.0.1 dev eth0: network is unreachable (nexthop has invalid gateway)"
        );
        kernel.remove(Item::Route(route("10.1.2.0/24", None, "nowhere"))).await.expect("with its link it is gone");
    });
}

#[test]
fn roads_are_on_link_routed_or_none() {
    in_namespace(|| async {
        wire();
        let (kernel, _directory) = kernel();
        ip("route add 10.7.0.0/16 via 10.0.0.2");
        ip("route add blackhole 10.8.0.0/16");
        ip("route add prohibit 10.9.0.0/16");
        ip("-6 route add fd07::/64 via fd00::2");
        for (to, hop) in [
            ("10.0.0.2", Hop::OnLink),
            ("10.7.1.1", Hop::Routed),
            ("10.8.1.1", Hop::Unreachable),
            ("10.9.1.1", Hop::Unreachable),
            ("192.0.2.1", Hop::Unreachable),
            ("10.0.0.1", Hop::Unreachable),
            ("fd00::2", Hop::OnLink),
            ("fd07::1", Hop::Routed),
            ("fd08::1", Hop::Unreachable),
        ] {
            assert_eq!(kernel.road(to.parse().expect("a good address")).await, Ok(hop), "{to}");
        }
    });
}

#[test]
fn taking_down_removes_what_is_ours_and_nothing_else() {
    in_namespace(|| async {
        wire();
        let (kernel, _directory) = kernel();
        kernel.set_underlay("eth0");
        make(&kernel, Item::Link(vxlan("flannel.1", "10.0.0.1"))).await;
        make(&kernel, Item::Assignment(assignment("10.1.0.0/32", "flannel.1"))).await;
        for one in
            [route("10.1.2.0/24", Some("10.0.0.2"), "eth0"), route("10.1.3.0/24", None, "flannel.1"), route("10.50.0.0/24", None, "eth0")]
        {
            make(&kernel, Item::Route(one)).await;
        }
        ip("route add 10.1.9.0/24 via 10.0.0.2 proto static");
        let network = ["10.1.0.0/16".parse().expect("a good prefix")];
        let taken = kernel.take_down(&network, &[name("flannel.1"), name("flannel.7")]).await;
        assert_eq!(taken.refused, []);
        assert_eq!(taken.removed, ["route 10.1.2.0/24 via 10.0.0.2 dev eth0", "route 10.1.3.0/24 dev flannel.1", "link flannel.1"]);
        let left: Vec<_> =
            observe(&kernel).await.routes.iter().map(|there| there.route.to.to_string()).filter(|to| to.starts_with("10.")).collect();
        assert_eq!(left, ["10.0.0.0/24", "10.1.9.0/24", "10.50.0.0/24"]);
    });
}
