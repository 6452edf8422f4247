//! Items of a plan. Each is checked by itself: a bad one is refused by name, the others stand.

use ipnet::IpNet;
use twill_model::item::{Assignment, Device, Endpoint, Fdb, Item, Link, LinkKind, Neighbour, Route, Sender, WireguardPeer};

use super::lease::addresses;
use super::{Bad, address, interface, mac, mtu, port, prefix, within};
use crate::wit::backend_api as api;

/// The good items, and of each bad one what it is and why it is refused.
pub(crate) fn items(from: Vec<api::Item>) -> (Vec<Item>, Vec<(String, Bad)>) {
    let (mut good, mut refused) = (Vec::with_capacity(from.len()), Vec::new());
    for one in from {
        match item(&one) {
            Ok(item) => good.push(item),
            Err(bad) => refused.push((name(&one), bad)),
        }
    }
    (good, refused)
}

fn item(from: &api::Item) -> Result<Item, Bad> {
    Ok(match from {
        api::Item::Link(link) => Item::Link(self::link(link)?),
        api::Item::Assignment(a) => Item::Assignment(Assignment { on: handle(&a.on)?, address: interface("address", &a.address)? }),
        api::Item::Route(route) => Item::Route(self::route(route)?),
        api::Item::Neighbour(n) => {
            Item::Neighbour(Neighbour { on: handle(&n.on)?, address: address("address", &n.address)?, mac: mac("MAC", &n.mac)? })
        }
        api::Item::Fdb(fdb) => Item::Fdb(Fdb { on: handle(&fdb.on)?, mac: mac("MAC", &fdb.mac)?, to: address("destination", &fdb.to)? }),
        api::Item::Endpoint(e) => Item::Endpoint(Endpoint {
            on: handle(&e.on)?,
            to: prefix("destination", &e.to)?,
            peer: address("peer", &e.peer)?,
            port: port("port", e.port)?,
        }),
        api::Item::Sender(s) => {
            Item::Sender(Sender { on: handle(&s.on)?, peer: address("peer", &s.peer)?, inner: prefixes("inner source", &s.inner)? })
        }
        api::Item::WireguardPeer(peer) => Item::Wireguard(wireguard_peer(peer)?),
    })
}

fn link(from: &api::Link) -> Result<Link<Device>, Bad> {
    Ok(Link {
        on: handle(&from.handle)?,
        name: link_name(&from.name)?,
        kind: kind(&from.kind)?,
        mtu: mtu("mtu", from.mtu)?,
        mac: from.mac.as_deref().map(|text| mac("MAC", text)).transpose()?,
    })
}

fn kind(from: &api::LinkKind) -> Result<LinkKind, Bad> {
    Ok(match from {
        api::LinkKind::Vxlan(v) => LinkKind::Vxlan {
            vni: within("vni", v.vni, 0..=0xff_ffff)?,
            port: v.port,
            local: address("local address", &v.local)?,
            learning: v.learning,
            gbp: v.gbp,
        },
        api::LinkKind::Tunnel(t) => LinkKind::Tunnel { port: port("port", t.port)?, local: addresses("local address", &t.local)? },
        api::LinkKind::Wireguard(w) => LinkKind::Wireguard { port: port("port", w.port)?, key: key_name(&w.key)? },
        api::LinkKind::Ipip(local) => LinkKind::Ipip { local: address("local address", local)? },
    })
}

fn route(from: &api::Route) -> Result<Route<Device>, Bad> {
    let to = prefix("destination", &from.to)?;
    let via = from.via.as_deref().map(|via| address("gateway", via)).transpose()?;
    if via.is_some_and(|via| via.is_ipv4() != to.addr().is_ipv4()) {
        return Err(Bad(format!("its gateway is of another family than {to}")));
    }
    let on = match &from.on {
        api::Device::Link(name) => handle(name)?,
        api::Device::Underlay => Device::Underlay,
    };
    let mtu = from.mtu.map(|value| mtu("mtu", value)).transpose()?;
    Ok(Route { to, via, on, onlink: from.onlink, scope_global: from.scope_global, mtu, metric: 0 })
}

fn wireguard_peer(from: &api::WireguardPeer) -> Result<WireguardPeer<Device>, Bad> {
    let endpoint = match &from.endpoint {
        Some((peer, number)) => Some((address("endpoint", peer)?, port("port", *number)?)),
        None => None,
    };
    Ok(WireguardPeer {
        on: handle(&from.on)?,
        key: public_key(&from.key)?,
        endpoint,
        inner: prefixes("inner address", &from.inner)?,
        keepalive: from.keepalive,
        preshared_name: from.preshared_name.as_deref().map(key_name).transpose()?,
    })
}

fn prefixes(field: &str, from: &[String]) -> Result<Vec<IpNet>, Bad> {
    from.iter().map(|text| prefix(field, text)).collect()
}

/// A backend's own name for a link of its plan.
fn handle(text: &str) -> Result<Device, Bad> {
    if !text.is_empty() && text.len() <= 64 && text.chars().all(|c| c.is_ascii_graphic()) {
        return Ok(Device::Link(text.into()));
    }
    Err(super::bad("handle", text, "1 to 64 visible ASCII characters"))
}

/// What the kernel takes for an interface name (`dev_valid_name` in net/core/dev.c), with at most one `%d`.
fn link_name(text: &str) -> Result<String, Bad> {
    let plain = text.replacen("%d", "", 1);
    let fits = (1..=15).contains(&text.len())
        && plain != "."
        && plain != ".."
        && plain.chars().all(|c| c.is_ascii_graphic() && !"/:%".contains(c));
    if fits { Ok(text.into()) } else { Err(super::bad("name", text, "an interface name of 1 to 15 characters")) }
}

fn key_name(text: &str) -> Result<String, Bad> {
    let fits = (1..=64).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    if fits { Ok(text.into()) } else { Err(super::bad("key name", text, "1 to 64 of A-Z a-z 0-9 . _ -")) }
}

/// A Curve25519 key in base64: 32 bytes are 43 characters and one of padding.
fn public_key(text: &str) -> Result<String, Bad> {
    let body = text.strip_suffix('=').unwrap_or_default();
    let fits = body.len() == 43 && body.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(&byte));
    if fits { Ok(text.into()) } else { Err(super::bad("key", text, "a public key in base64")) }
}

/// What an item is, in the words of its own plugin, for telling that it is refused.
fn name(from: &api::Item) -> String {
    let glimpse = |text: &str| text[..text.floor_char_boundary(64)].escape_debug().to_string();
    let named = |kind: &str, what: &str, on: &str| format!("{kind} {} on {}", glimpse(what), glimpse(on));
    match from {
        api::Item::Link(l) => format!("link {} ({})", glimpse(&l.name), glimpse(&l.handle)),
        api::Item::Assignment(a) => named("address", &a.address, &a.on),
        api::Item::Route(r) => format!("route {}", glimpse(&r.to)),
        api::Item::Neighbour(n) => named("neighbour", &n.address, &n.on),
        api::Item::Fdb(f) => named("FDB entry", &f.mac, &f.on),
        api::Item::Endpoint(e) => named("endpoint for", &e.to, &e.on),
        api::Item::Sender(s) => named("sender", &s.peer, &s.on),
        api::Item::WireguardPeer(p) => named("WireGuard peer", &p.key, &p.on),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(prefix: &str) -> api::Item {
        let on = api::Device::Link("tun".into());
        api::Item::Route(api::Route { to: prefix.into(), via: None, on, onlink: false, scope_global: true, mtu: None })
    }

    fn tunnel(mtu: u32, name: &str, port: u16) -> api::Item {
        let local = crate::wit::types::Addresses { v4: Some("192.0.2.1".into()), v6: None };
        let kind = api::LinkKind::Tunnel(api::Tunnel { port, local });
        api::Item::Link(api::Link { handle: "tun".into(), name: name.into(), kind, mtu, mac: None })
    }

    #[test]
    fn one_bad_item_leaves_the_others() {
        let (good, refused) = items(vec![to("10.1.0.0/16"), to("10.1.0.0/33"), tunnel(1472, "flannel%d", 8285), to("10.1.2.3/24")]);
        assert_eq!(good.len(), 2);
        assert_eq!(refused[0].0, "route 10.1.0.0/33");
        assert_eq!(refused[0].1.to_string(), r#"destination "10.1.0.0/33" is not a prefix such as 10.1.2.0/24"#);
        assert!(refused[1].1.to_string().ends_with("10.1.2.0/24 is meant?"));
    }

    #[test]
    fn numbers_that_javascript_bends_are_refused() {
        let refused = |item| items(vec![item]).1.pop().map(|(_, bad)| bad.to_string());
        assert_eq!(refused(tunnel(0, "flannel0", 8285)).as_deref(), Some("mtu 0 is not from 68 to 65535"));
        assert_eq!(refused(tunnel(4294967246, "flannel0", 8285)).as_deref(), Some("mtu 4294967246 is not from 68 to 65535"));
        assert_eq!(refused(tunnel(1472, "flannel0", 0)).as_deref(), Some("port 0 is not from 1 to 65535"));
        assert_eq!(refused(tunnel(1472, "flannel0", 1)), None);
    }

    #[test]
    fn names_that_the_kernel_would_not_take_are_refused() {
        for name in ["", ".", "..", "a/b", "a b", "a:b", "a%s", "%d%d", "sixteen-letters-", "tab\t"] {
            assert!(link_name(name).is_err(), "{name:?} was taken");
        }
        for name in ["flannel0", "flannel.1", "flannel%d"] {
            assert!(link_name(name).is_ok(), "{name:?} was refused");
        }
    }

    #[test]
    fn a_gateway_of_the_other_family_is_refused() {
        let mut item = to("10.1.0.0/16");
        let api::Item::Route(route) = &mut item else { unreachable!("it is a route") };
        route.via = Some("fd00::1".into());
        assert!(items(vec![item]).0.is_empty());
    }

    #[test]
    fn what_is_told_of_a_huge_value_is_short() {
        let (_, refused) = items(vec![to(&"x".repeat(1 << 20))]);
        assert!(refused[0].0.len() < 100 && refused[0].1.to_string().len() < 200);
    }
}
