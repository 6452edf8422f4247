//! A snapshot with everything in it: each field filled, each variant used once at least. The dashboard's tests and its preview show it.

mod paths;

use std::collections::BTreeMap;

use twill_model::address::{Addresses, Prefixes};
use twill_model::event::{Event, Kind, Told, Weight};
use twill_model::lease::{Lifetime, Way};
use twill_model::status::{
    ItemStatus, LeaseStatus, NetworkStatus, NodeStatus, PeerTraffic, PluginState, PluginStatus, RangeStatus, Snapshot, Standing,
    StoreStatus, Traffic, TunnelStatus, WorkStatus,
};

/// The moment at which the sample was taken, in milliseconds since the Unix epoch.
pub const NOW_MS: u64 = 1_790_000_000_000;

/// The sample.
pub fn snapshot() -> Snapshot {
    Snapshot {
        node: node(),
        leases: leases(),
        paths: paths::paths(),
        state: state().into(),
        plugins: plugins(),
        tunnels: vec![tunnel()],
        events: events(),
        network: network(),
        work: WorkStatus { passes: 292, changes: 61, repairs: 3 },
    }
}

fn network() -> NetworkStatus {
    let range = |network: &str, subnet_len, min: &str, max: &str, subnets, free| RangeStatus {
        network: network.into(),
        subnet_len,
        min: min.into(),
        max: max.into(),
        subnets,
        free,
    };
    NetworkStatus {
        ranges: vec![
            range("10.123.0.0/16", 24, "10.123.1.0/24", "10.123.255.0/24", 255, 250),
            range("fd00:123::/48", 64, "fd00:123:0:1::/64", "fd00:123:0:ffff::/64", 65_535, 65_534),
        ],
        backend: Some("udp".into()),
        waiting: false,
    }
}

fn v4(address: &str) -> Addresses {
    Addresses { v4: Some(address.parse().expect("an address")), v6: None }
}

fn net(prefix: &str) -> Prefixes {
    Prefixes { v4: Some(prefix.parse().expect("a prefix")), v6: None }
}

fn node() -> NodeStatus {
    NodeStatus {
        id: "5f0c2b7e91d44a3f8a6be0d2c7715e03".into(),
        hostname: "node-03".into(),
        version: "0.1.0".into(),
        instance: "twill".into(),
        started_ms: NOW_MS - 8_130_000,
        underlay: "eth0".into(),
        underlay_mtu: 1500,
        public: Addresses { v4: Some([192, 0, 2, 13].into()), v6: Some("2001:db8::13".parse().expect("an address")) },
        subnets: Some(Prefixes { v4: net("10.123.7.0/24").v4, v6: Some("fd00:123:7::/64".parse().expect("a prefix")) }),
        networks: vec!["10.123.0.0/16".into(), "fd00:123::/48".into()],
        pod_mtu: Some(1472),
        backend: Some("udp".into()),
        store: StoreStatus {
            name: "store-file".into(),
            reachable: false,
            remembered: true,
            error: Some("cannot list /srv/twill/leases: permission denied".into()),
            oddities: vec![("leases/10.123.99.0-24".into(), "the file ends in the middle of a value".into())],
        },
        ready: true,
        problems: vec!["The store does not answer: cannot list /srv/twill/leases: permission denied.".into()],
        renewal_ms: Some(NOW_MS + 81_660_000),
    }
}

fn udp(port: u16) -> Way {
    Way { backend: "udp".into(), options: format!("{{\"Port\":{port}}}"), data_v4: None, data_v6: None }
}

fn lease(subnet: &str, public: &str, node: Option<&str>, life: Lifetime) -> LeaseStatus {
    LeaseStatus {
        subnets: net(subnet),
        public: v4(public),
        node: node.map(String::from),
        ways: vec![udp(8285)],
        way: Some("udp".into()),
        reason: Some("the only way that this node publishes".into()),
        own: false,
        life,
        seen_ms: NOW_MS - 40_000,
    }
}

fn leases() -> Vec<LeaseStatus> {
    let vxlan = Way {
        backend: "vxlan".into(),
        options: "{\"VNI\":1}".into(),
        data_v4: Some("{\"VNI\":1,\"VtepMAC\":\"0a:1b:2c:3d:4e:5f\"}".into()),
        data_v6: Some("{\"VNI\":1,\"VtepMAC\":\"0a:1b:2c:3d:4e:60\"}".into()),
    };
    vec![
        LeaseStatus {
            way: None,
            reason: None,
            own: true,
            subnets: node().subnets.unwrap_or_default(),
            public: node().public,
            ..lease("10.123.7.0/24", "192.0.2.13", Some(&node().id), Lifetime::Seconds(86_340))
        },
        lease("10.123.12.0/24", "192.0.2.11", Some("9a3b1c55f2de4c0aa1bb7d0c1e2f3a4b"), Lifetime::Seconds(71_222)),
        lease("10.123.31.0/24", "192.0.2.19", Some("c07e6a1d23984d51b7c6ef5512a90d8e"), Lifetime::Seconds(95)),
        lease("10.123.40.0/24", "192.0.2.22", Some("e1d2c3b4a5968778695a4b3c2d1e0f00"), Lifetime::Reserved),
        LeaseStatus {
            ways: vec![vxlan, udp(8285)],
            way: None,
            reason: Some("no plugin for vxlan is loaded here, and udp has no road to 192.0.2.48".into()),
            ..lease("10.123.77.0/24", "192.0.2.48", None, Lifetime::Unknown)
        },
    ]
}

fn item(kind: &str, what: &str, desired: Option<&str>, observed: Option<&str>, standing: Standing) -> ItemStatus {
    ItemStatus {
        kind: kind.into(),
        what: what.into(),
        desired: desired.map(String::from),
        observed: observed.map(String::from),
        standing,
        backend: "udp".into(),
        lease: None,
        reason: None,
    }
}

/// An item that is as planned.
fn well(kind: &str, what: &str, words: &str) -> ItemStatus {
    item(kind, what, Some(words), Some(words), Standing::Present)
}

fn state() -> Vec<ItemStatus> {
    vec![
        well("link", "twill0", "tunnel on udp/8285, mtu 1472, up"),
        well("address", "10.123.7.0/32 on twill0", "10.123.7.0/32 dev twill0"),
        well("route", "10.123.0.0/16", "10.123.0.0/16 dev twill0"),
        ItemStatus {
            lease: Some(net("10.123.12.0/24")),
            ..item(
                "route",
                "10.123.12.0/24",
                Some("10.123.12.0/24 dev twill0"),
                Some("10.123.12.0/24 via 192.0.2.1 dev eth0"),
                Standing::Missing,
            )
        },
        ItemStatus {
            backend: "vxlan".into(),
            reason: Some("a default route is never a plugin's to plan".into()),
            ..item("route", "0.0.0.0/0", Some("0.0.0.0/0 dev twill0"), None, Standing::Refused)
        },
        item("route", "10.123.90.0/24", None, Some("10.123.90.0/24 dev twill0"), Standing::Leaving),
        well("endpoint", "10.123.31.0/24", "to 192.0.2.19:8285"),
        well("sender", "192.0.2.19", "may send from 10.123.31.0/24"),
        ItemStatus {
            backend: "host".into(),
            reason: Some("read-only file system".into()),
            ..item("sysctl", "net/ipv4/ip_forward", Some("1"), Some("0"), Standing::Failed)
        },
    ]
}

fn plugin(name: &str, world: &str, state: PluginState) -> PluginStatus {
    PluginStatus {
        name: name.into(),
        version: "0.1.0".into(),
        summary: "Leases and the network config as files in a folder.".into(),
        world: Some(world.into()),
        contract: Some("0.1.0".into()),
        file: format!("/usr/lib/twill/plugins/{name}.wasm"),
        digest: "3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855a".into(),
        imports: vec!["twill:plugin/files@0.1.0".into(), "twill:plugin/log@0.1.0".into()],
        state,
        error: None,
        calls: 1_204,
        failures: 0,
        restarts: 0,
        guest_us: 184_000,
        violations: 0,
        violation: None,
        limits: None,
        granted: None,
        memory: 1_310_720,
    }
}

fn plugins() -> Vec<PluginStatus> {
    vec![
        plugin("store-file", "store", PluginState::Active),
        PluginStatus { summary: "flannel's udp backend.".into(), calls: 48, ..plugin("backend-udp", "backend", PluginState::Active) },
        PluginStatus {
            summary: "Plain routes between nodes on one link.".into(),
            calls: 0,
            guest_us: 0,
            ..plugin("backend-host-gw", "backend", PluginState::Idle)
        },
        PluginStatus {
            summary: "An experiment.".into(),
            error: Some("trap: unreachable, in send-to; tried again in 8 s".into()),
            failures: 3,
            restarts: 3,
            ..plugin("my-backend", "backend", PluginState::Backoff)
        },
        PluginStatus {
            version: String::new(),
            summary: String::new(),
            world: None,
            contract: None,
            imports: vec!["wasi:sockets/tcp@0.2.0".into()],
            error: Some("it imports wasi:sockets/tcp, which no plugin is given".into()),
            calls: 0,
            guest_us: 0,
            memory: 0,
            ..plugin("old.wasm", "", PluginState::Refused)
        },
    ]
}

fn peer(address: &str, scale: u64, heard_ms: Option<u64>) -> PeerTraffic {
    let drops = if scale > 2 { [("too-big".to_owned(), scale)].into() } else { BTreeMap::new() };
    PeerTraffic { peer: format!("{address}:8285"), traffic: traffic(scale), heard_ms, drops }
}

fn traffic(scale: u64) -> Traffic {
    Traffic { sent_packets: 812 * scale, sent_bytes: 1_031_240 * scale, received_packets: 640 * scale, received_bytes: 702_720 * scale }
}

fn tunnel() -> TunnelStatus {
    TunnelStatus {
        link: "twill0".into(),
        total: traffic(1_000),
        drops: BTreeMap::from([("unknown sender".into(), 31), ("too big".into(), 4), ("no lease".into(), 0)]),
        peers: vec![
            peer("192.0.2.11", 700, Some(NOW_MS - 240)),
            peer("192.0.2.19", 299, Some(NOW_MS - 3_400)),
            peer("192.0.2.22", 1, None),
        ],
        crossing: None,
    }
}

fn event(id: u64, ago_s: u64, weight: Weight, room: &str, text: &str) -> Event {
    Told::from(text).event(id, NOW_MS - ago_s * 1_000, weight, room)
}

fn events() -> Vec<Event> {
    vec![
        event(1, 8_130, Weight::Info, "daemon", "twill 0.1.0 started as instance twill."),
        event(2, 8_129, Weight::Info, "lease", "This node holds 10.123.7.0/24 and fd00:123:7::/64."),
        event(3, 3_012, Weight::Info, "lease", "192.0.2.48 joined with 10.123.77.0/24."),
        Told::new(Kind::Repair, "The route to 10.123.12.0/24 was deleted from outside and is back after 38 ms.")
            .about("route 10.123.12.0/24")
            .because("another program or person on this host took it away or changed it")
            .did("made it again")
            .within(38)
            .event(4, NOW_MS - 1_287_000, Weight::Warn, "reconcile"),
        event(5, 41, Weight::Error, "lease", "The store does not answer: cannot list /srv/twill/leases: permission denied."),
    ]
}
