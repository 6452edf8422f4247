//! Kernel settings that the data path needs, by what the plan holds.
//!
//! Pure. The kernel room writes them and keeps what it found, so that `twill down` can put it back.

use twill_model::item::{Item, Link, LinkKind, LinkName};
use twill_model::state::{Desired, HostItem, Sysctl};

use crate::{Inputs, Settings};

/// The settings for this plan.
///
/// * Forwarding, since pods are reached through this host.
/// * `rp_filter` 2 (loose) on own links: while ways change, paths are asymmetric, and strict filtering drops them. On the underlay too while pods'
///   packets come over it bare: by a route of the plan, or because this node can be reached in more than one way.
/// * `arp_announce` 2 on the underlay in the same case: the kernel would ask for a peer's MAC with the overlay address of the packet that waits, and the
///   peer would not learn from the question that this node's MAC is another now.
/// * `accept_local` on tunnels: the fast path answers pods with ICMP errors whose source is the tunnel's own address.
/// * No router advertisements on VXLAN devices, as flannel has it: there are no routers on them, and a pod must not play one.
/// * No IPv6 on tunnels of an IPv4 network: the kernel would send router solicitations that nobody can carry.
pub fn wanted(desired: &Desired, inputs: &Inputs, settings: &Settings) -> Vec<Sysctl> {
    let mut wanted = Vec::new();
    if settings.forwarding {
        forwarding(inputs, &mut wanted);
    }
    for (item, _) in desired.items.values() {
        if let Item::Link(link) = item {
            per_link(link, inputs, &mut wanted);
        }
    }
    if bare_over_underlay(desired, inputs) {
        let conf = format!("net/ipv4/conf/{}", inputs.node.underlay.name);
        wanted.push(sysctl(format!("{conf}/rp_filter"), "2"));
        wanted.push(sysctl(format!("{conf}/arp_announce"), "2"));
    }
    wanted
}

fn bare_over_underlay(desired: &Desired, inputs: &Inputs) -> bool {
    let underlay = &inputs.node.underlay.name;
    let routed = |item: &HostItem| matches!(item, Item::Route(route) if route.to.addr().is_ipv4() && route.on.0 == *underlay);
    inputs.mine.ways.len() > 1 || desired.items.values().any(|(item, _)| routed(item))
}

fn forwarding(inputs: &Inputs, wanted: &mut Vec<Sysctl>) {
    if inputs.mine.subnets.v4.is_some() {
        wanted.push(sysctl("net/ipv4/ip_forward".into(), "1"));
    }
    if inputs.mine.subnets.v6.is_some() {
        // A forwarding host stops listening to router advertisements unless told otherwise: first keep the underlay's routes.
        wanted.push(sysctl(format!("net/ipv6/conf/{}/accept_ra", inputs.node.underlay.name), "2"));
        wanted.push(sysctl("net/ipv6/conf/all/forwarding".into(), "1"));
    }
}

fn per_link(link: &Link<LinkName>, inputs: &Inputs, wanted: &mut Vec<Sysctl>) {
    let conf = format!("net/ipv4/conf/{}", link.on);
    wanted.push(sysctl(format!("{conf}/rp_filter"), "2"));
    if matches!(link.kind, LinkKind::Vxlan { .. }) {
        wanted.push(sysctl(format!("net/ipv6/conf/{}/accept_ra", link.on), "0"));
    }
    if matches!(link.kind, LinkKind::Tunnel { .. }) {
        wanted.push(sysctl(format!("{conf}/accept_local"), "1"));
        if inputs.mine.subnets.v6.is_none() {
            wanted.push(sysctl(format!("net/ipv6/conf/{}/disable_ipv6", link.on), "1"));
        }
    }
}

fn sysctl(path: String, value: &str) -> Sysctl {
    Sysctl { path, value: value.to_owned() }
}

#[cfg(test)]
mod tests {
    use twill_model::item::Route;
    use twill_model::state::Origin;

    use super::*;
    use crate::testing::{inputs, ip, link_name, net, settings};

    fn paths(items: Vec<HostItem>, inputs: &Inputs) -> Vec<String> {
        let origin = Origin { backend: "vxlan".into(), lease: None };
        let items = items.into_iter().map(|item| (item.key(), (item, origin.clone()))).collect();
        let desired = Desired { items, sysctls: Vec::new() };
        wanted(&desired, inputs, &settings()).into_iter().map(|sysctl| format!("{}={}", sysctl.path, sysctl.value)).collect()
    }

    fn vxlan() -> HostItem {
        let kind = LinkKind::Vxlan { vni: 1, port: 8472, local: ip("192.0.2.1"), learning: false, gbp: false };
        Item::Link(Link { on: link_name("flannel.1"), name: "flannel.1".into(), kind, mtu: 1450, mac: None })
    }

    fn route(on: &str) -> HostItem {
        let via = Some(ip("192.0.2.2"));
        Item::Route(Route { to: net("10.1.2.0/24"), via, on: link_name(on), onlink: false, scope_global: false, mtu: None, metric: 0 })
    }

    #[test]
    fn a_vxlan_device_is_filtered_loosely_and_hears_no_router() {
        let forward = "net/ipv4/ip_forward=1";
        let own = ["net/ipv4/conf/flannel.1/rp_filter=2", "net/ipv6/conf/flannel.1/accept_ra=0"];
        assert_eq!(paths(vec![vxlan(), route("flannel.1")], &inputs(&[2])), [forward, own[0], own[1]]);
    }

    #[test]
    fn the_underlay_is_set_while_pods_packets_come_over_it_bare() {
        let underlay = ["net/ipv4/conf/eth0/rp_filter=2".to_owned(), "net/ipv4/conf/eth0/arp_announce=2".to_owned()];
        let set = |paths: &[String]| underlay.iter().filter(|path| paths.contains(path)).count();
        assert_eq!(set(&paths(vec![route("eth0")], &inputs(&[2]))), 2);
        assert_eq!(set(&paths(vec![route("flannel.1")], &inputs(&[2]))), 0);
        let mut two = inputs(&[2]);
        two.mine.ways.extend(two.mine.ways.clone());
        assert_eq!(set(&paths(Vec::new(), &two)), 2);
    }
}
