//! Two nodes of a dual-stack cluster, and plans as text.

use twill_guest::backend::*;

pub const OWN_V4: &str = r#"{"VNI":1,"VtepMAC":"aa:f6:b2:bc:81:b1"}"#;
pub const OWN_V6: &str = r#"{"VNI":1,"VtepMAC":"1a:f5:8e:f3:09:40"}"#;
pub const PEER_V4: &str = r#"{"VNI":1,"VtepMAC":"aa:42:99:be:6f:04"}"#;
pub const PEER_V6: &str = r#"{"VNI":1,"VtepMAC":"62:0f:35:9e:01:77"}"#;
pub const ROUTED: Road = Road { v4: Hop::Routed, v6: Hop::Routed };
pub const ON_LINK: Road = Road { v4: Hop::OnLink, v6: Hop::OnLink };

pub fn text(text: &str) -> Option<String> {
    Some(text.into())
}

pub fn way(options: &str, data_v4: Option<&str>, data_v6: Option<&str>) -> Way {
    Way { backend: "vxlan".into(), options: options.into(), data_v4: data_v4.map(Into::into), data_v6: data_v6.map(Into::into) }
}

/// The node of that number: 10.10.N.0/24 and fd10:0:0:N::/64 at 10.98.0.N and fd98::N.
pub fn lease(number: u8, way: Way) -> Lease {
    Lease {
        subnets: Prefixes { v4: Some(format!("10.10.{number}.0/24")), v6: Some(format!("fd10:0:0:{number}::/64")) },
        public: Addresses { v4: Some(format!("10.98.0.{number}")), v6: Some(format!("fd98::{number}")) },
        ways: vec![way],
        node: Some(format!("node-{number}")),
        life: Lifetime::Seconds(86_400),
    }
}

pub fn network() -> Network {
    Network { ranges: vec!["10.10.0.0/16".into(), "fd10::/48".into()], backend: "vxlan".into() }
}

pub fn node() -> Node {
    let addresses = ["10.98.0.1/24", "fd98::1/64", "fe80::1/64"].map(String::from).to_vec();
    let underlay = Underlay { name: "eth0".into(), mtu: 1500, addresses };
    Node { id: "node-1".into(), underlay, public: lease(1, way("{}", None, None)).public, seed: "5eed".repeat(16), keys: vec![] }
}

/// Node 1, with these options, in both families.
pub fn dual(options: &str) -> Context {
    let way = way(options, Some(OWN_V4), Some(OWN_V6));
    Context { network: network(), node: node(), mine: lease(1, way.clone()), way, primary: true }
}

/// Node 1 in a cluster of IPv4.
pub fn v4(options: &str) -> Context {
    let mut context = dual(options);
    context.network.ranges.truncate(1);
    context.way.data_v6 = None;
    context.mine = lease_v4(1, context.way.clone());
    context
}

pub fn lease_v4(number: u8, way: Way) -> Lease {
    let both = lease(number, way);
    Lease { subnets: Prefixes { v6: None, ..both.subnets }, public: Addresses { v6: None, ..both.public }, ..both }
}

pub fn peer() -> Lease {
    lease(2, way("{}", Some(PEER_V4), Some(PEER_V6)))
}

/// An item in iproute2's words.
pub fn line(item: &Item) -> String {
    let device = |device: &Device| match device {
        Device::Link(handle) => format!("<{handle}>"),
        Device::Underlay => "<underlay>".into(),
    };
    match item {
        Item::Link(Link { handle, name, kind: LinkKind::Vxlan(x), mtu, mac: Some(mac) }) => {
            let (learning, gbp) = (if x.learning { "learning" } else { "nolearning" }, if x.gbp { " gbp" } else { "" });
            let (vni, local, port) = (x.vni, &x.local, x.port);
            format!("link <{handle}> {name} mtu {mtu} {mac} vxlan id {vni} local {local} dstport {port} {learning}{gbp}")
        }
        Item::Assignment(Assignment { on, address }) => format!("address {address} dev <{on}>"),
        Item::Neighbour(Neighbour { on, address, mac }) => format!("neigh {address} dev <{on}> lladdr {mac} PERMANENT"),
        Item::Fdb(FdbEntry { on, mac, to }) => format!("fdb {mac} dev <{on}> dst {to} self permanent"),
        Item::Route(Route { to, via: Some(via), on, onlink, scope_global: false, mtu: None }) => {
            format!("route {to} via {via} dev {}{}", device(on), if *onlink { " onlink" } else { "" })
        }
        other => panic!("{other:?} is nothing that this backend plans"),
    }
}

pub fn lines(items: &[Item]) -> Vec<String> {
    items.iter().map(line).collect()
}

pub fn unsuitable<T: std::fmt::Debug>(outcome: Result<T, Refusal>) -> String {
    match outcome {
        Err(Refusal::Unsuitable(text)) => text,
        other => panic!("expected unsuitable, got {other:?}"),
    }
}

pub fn invalid<T: std::fmt::Debug>(outcome: Result<T, Refusal>) -> String {
    match outcome {
        Err(Refusal::Invalid(text)) => text,
        other => panic!("expected invalid, got {other:?}"),
    }
}
