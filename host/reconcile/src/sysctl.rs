//! Kernel settings that the data path needs, by what the plan holds.
//!
//! Pure. The kernel room writes them and keeps what it found, so that `twill down` can put it back.

use twill_model::item::{Item, Link, LinkKind, LinkName};
use twill_model::state::{Desired, Sysctl};

use crate::{Inputs, Settings};

/// The settings for this plan.
///
/// * Forwarding, since pods are reached through this host.
/// * `rp_filter` 2 (loose) on own links: while ways change, paths are asymmetric, and strict filtering drops them.
/// * `accept_local` on tunnels: the fast path answers pods with ICMP errors whose source is the tunnel's own address.
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
    wanted
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
