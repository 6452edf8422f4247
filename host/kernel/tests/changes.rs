//! Whose changes wake: another hand's do, our own do not; and a big table is read fast.

mod lab;

use std::fmt::Write;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use lab::{in_namespace, ip, ip_batch, json, kernel, quiet, sleeps_on, wakes, wire};
use twill_kernel::sysctl::Restored;
use twill_model::item::{Assignment, Fdb, Item, Link, LinkKind, LinkName, Neighbour, Route};
use twill_model::state::{HostItem, Sysctl};
use twill_model::{Addresses, Mac};
use twill_reconcile::ports::Kernel;

const MAC: Mac = Mac([0x02, 0, 0, 0, 0, 0x11]);

fn name(text: &str) -> LinkName {
    LinkName(text.into())
}

fn route(to: &str, on: &str) -> HostItem {
    Item::Route(Route {
        to: to.parse().expect("a good prefix"),
        via: None,
        on: name(on),
        onlink: false,
        scope_global: true,
        mtu: None,
        metric: 0,
    })
}

fn address(text: &str, on: &str) -> HostItem {
    Item::Assignment(Assignment { on: name(on), address: text.parse().expect("a good address") })
}

/// One of each kind, in the order of making.
fn plan() -> Vec<HostItem> {
    let kind = LinkKind::Vxlan { vni: 1, port: 8472, local: "10.0.0.1".parse().expect("a good address"), learning: false, gbp: false };
    let neighbour =
        |text: &str| Item::Neighbour(Neighbour { on: name("flannel.1"), address: text.parse().expect("a good address"), mac: MAC });
    vec![
        Item::Link(Link { on: name("flannel.1"), name: "flannel.1".into(), kind, mtu: 1450, mac: Some(MAC) }),
        address("10.1.1.0/32", "flannel.1"),
        address("fd00:1:1::/128", "flannel.1"),
        neighbour("10.1.2.0"),
        neighbour("fd00:1:2::"),
        Item::Fdb(Fdb { on: name("flannel.1"), mac: MAC, to: "10.0.0.2".parse().expect("a good address") }),
        route("10.1.2.0/24", "flannel.1"),
        route("fd00:1:2::/64", "flannel.1"),
    ]
}

#[test]
fn our_own_changes_wake_nobody() {
    in_namespace(|| async {
        wire();
        let (kernel, _directory) = kernel();
        kernel.set_underlay("eth0");
        quiet(&kernel).await;
        for _ in 0..2 {
            for item in plan() {
                kernel.make(item.clone()).await.expect("it is made");
                kernel.make(item.clone()).await.expect("it is there already");
            }
            sleeps_on(&kernel, "making").await;
            for item in plan().into_iter().rev() {
                kernel.remove(item).await.expect("it is removed");
            }
            sleeps_on(&kernel, "removing").await;
        }
    });
}

#[test]
fn another_hand_wakes_whatever_it_takes() {
    in_namespace(|| async {
        wire();
        let (kernel, _directory) = kernel();
        kernel.set_underlay("eth0");
        for item in plan() {
            kernel.make(item).await.expect("it is made");
        }
        quiet(&kernel).await;
        for act in [
            "route del 10.1.2.0/24 proto 73",
            "-6 route del fd00:1:2::/64 proto 73",
            "neigh del 10.1.2.0 dev flannel.1",
            "neigh del fd00:1:2:: dev flannel.1",
            "addr del 10.1.1.0/32 dev flannel.1",
            "addr del fd00:1:1::/128 dev flannel.1",
            "route replace 10.1.2.0/24 dev eth0 proto 73",
            "neigh replace 10.1.2.0 lladdr 02:02:02:02:02:02 dev flannel.1 nud permanent",
            "link set flannel.1 mtu 1300",
            "link set flannel.1 address 02:02:02:02:02:02",
            "link set flannel.1 down",
            "link del flannel.1",
        ] {
            ip(act);
            wakes(&kernel, act).await;
            for item in plan() {
                kernel.make(item).await.unwrap_or_else(|refused| panic!("after {act}: {refused}"));
            }
            quiet(&kernel).await;
        }
        let fdb =
            std::process::Command::new("bridge").args("fdb del 02:00:00:00:00:11 dev flannel.1 dst 10.0.0.2 self".split(' ')).status();
        assert!(fdb.expect("bridge runs").success());
        wakes(&kernel, "fdb del").await;
    });
}

#[test]
fn an_opened_tunnel_wakes_once_and_its_set_up_does_not() {
    in_namespace(|| async {
        wire();
        let (kernel, _directory) = kernel();
        quiet(&kernel).await;
        ip("tuntap add flannel0 mode tun");
        wakes(&kernel, "a new device").await;
        quiet(&kernel).await;
        let kind = LinkKind::Tunnel { port: 8285, local: Addresses::default() };
        let tunnel = Item::Link(Link { on: name("flannel0"), name: "flannel%d".into(), kind, mtu: 1472, mac: None });
        for item in [tunnel, address("10.1.1.0/32", "flannel0"), route("10.1.0.0/16", "flannel0")] {
            kernel.make(item).await.expect("it is made");
        }
        sleeps_on(&kernel, "setting a tunnel up").await;
    });
}

#[test]
fn giving_up_waiting_loses_no_news() {
    in_namespace(|| async {
        wire();
        let (kernel, _directory) = kernel();
        quiet(&kernel).await;
        for _ in 0..3 {
            assert!(tokio::time::timeout(Duration::from_millis(20), kernel.changed()).await.is_err());
        }
        ip("route add 10.9.0.0/24 dev eth0");
        ip("route add 10.9.1.0/24 dev eth0");
        tokio::select! {
            biased;
            () = std::future::ready(()) => {}
            () = kernel.changed() => {}
        }
        wakes(&kernel, "two routes").await;
        sleeps_on(&kernel, "what was told once").await;
    });
}

#[test]
fn a_flood_that_overruns_the_listener_wakes() {
    in_namespace(|| async {
        wire();
        let (kernel, _directory) = kernel();
        quiet(&kernel).await;
        // That a learned entry changes is no news. The runtime has one thread and `ip` is waited for on it: nothing is read meanwhile.
        let learn = |count: u32| {
            let mut lines = String::new();
            for n in 0..count {
                let (high, low) = (n >> 8 & 0xff, n & 0xff);
                writeln!(lines, "neigh replace 10.0.0.9 lladdr 02:00:00:00:{high:02x}:{low:02x} dev eth0 nud stale")
                    .expect("it is written");
            }
            ip_batch(&lines);
        };
        learn(100);
        sleeps_on(&kernel, "a few").await;
        learn(60_000);
        wakes(&kernel, "what was lost may have been news").await;
    });
}

#[test]
fn four_thousand_routes_are_made_and_observed() {
    in_namespace(|| async {
        wire();
        let (kernel, _directory) = kernel();
        let plan: Vec<HostItem> = (0..4000).map(|n| route(&format!("10.{}.{}.0/24", 64 + n / 256, n % 256), "eth0")).collect();
        quiet(&kernel).await;
        let start = Instant::now();
        try_join_all(plan.iter().map(|item| kernel.make(item.clone()))).await.expect("all are made");
        let made = start.elapsed();
        sleeps_on(&kernel, "four thousand of our own").await;
        let start = Instant::now();
        let observed = kernel.observe(vec![]).await.expect("it is observed");
        println!("made 4000 routes in {made:?}, observed all in {:?}", start.elapsed());
        assert!(start.elapsed() < Duration::from_secs(2));
        assert!(plan.iter().all(|item| observed.routes.iter().any(|there| Item::Route(there.route.clone()) == *item)));
        assert_eq!(json("ip", "route show proto 73").len(), 4000);
    });
}

#[test]
fn settings_are_set_recorded_and_put_back() {
    in_namespace(|| async {
        wire();
        let (kernel, directory) = kernel();
        let to = |path: &str, value: &str| Sysctl { path: path.into(), value: value.into() };
        let rp_filter = "net/ipv4/conf/eth0/rp_filter";
        let gone = "net/ipv4/conf/brief/rp_filter";
        ip("link add brief type bridge");
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").expect("it is written");
        let now = async |path: &str| kernel.observe(vec![path.into()]).await.expect("it is observed").sysctls.get(path).cloned();
        assert_eq!(now("net/ipv4/conf/nowhere/rp_filter").await, None);
        let found = now(rp_filter).await.expect("a value");
        let (first, second) = if found == "2" { ("1", "0") } else { ("2", if found == "1" { "0" } else { "1" }) };
        kernel.set(to(rp_filter, &found)).await.expect("it has it already");
        assert!(!directory.path().join("sysctls.json").exists(), "nothing was changed");
        for value in [first, second] {
            kernel.set(to(rp_filter, value)).await.expect("it is set");
            assert_eq!(now(rp_filter).await.as_deref(), Some(value));
        }
        kernel.set(to(gone, "2")).await.expect("it is set");
        ip("link del brief");
        let refused = kernel.set(to("kernel/core_pattern", "x")).await.expect_err("not the network's");
        assert_eq!(refused.to_string(), "cannot set kernel/core_pattern to x: it is not a path below net/");
        kernel.set(to("net/ipv4/ip_forward", "1")).await.expect("it is set");
        // Another run of the daemon undoes it.
        let again = twill_kernel::Netlink::open(directory.path().join("sysctls.json")).expect("netlink");
        let restored = again.restore_sysctls().expect("the record");
        let wanted = [Restored::Gone(gone.into()), Restored::Back(to(rp_filter, &found)), Restored::Back(to("net/ipv4/ip_forward", "0"))];
        assert_eq!(restored, wanted);
        assert_eq!(now(rp_filter).await, Some(found));
        assert!(!directory.path().join("sysctls.json").exists());
        assert_eq!(again.restore_sysctls(), Ok(vec![]));
    });
}

#[test]
fn a_setting_changed_since_is_left_alone() {
    in_namespace(|| async {
        wire();
        let (kernel, _directory) = kernel();
        let to = |value: &str| Sysctl { path: "net/ipv4/neigh/eth0/gc_stale_time".into(), value: value.into() };
        kernel.set(to("77")).await.expect("it is set");
        std::fs::write("/proc/sys/net/ipv4/neigh/eth0/gc_stale_time", "88").expect("it is written");
        assert_eq!(kernel.restore_sysctls(), Ok(vec![Restored::LeftAlone(to("88"))]));
    });
}
