//! The network between the nodes, and how this host forwards.

use super::{Finding, Level};
use crate::doctor::Facts;

pub(super) fn underlay(facts: &Facts) -> Vec<Finding> {
    match &facts.underlay {
        None => vec![],
        Some(Err(error)) => vec![Finding::new("underlay", Level::Fail, error.clone(), "name the interface to the other nodes: --iface")],
        Some(Ok(underlay)) => vec![Finding::ok("underlay", format!("{}, MTU {}", underlay.name, underlay.mtu))],
    }
}

/// What each backend adds to a packet, in bytes (outer headers over IPv4).
fn overhead(backend: &str) -> u32 {
    match backend {
        "udp" => 28,
        "vxlan" => 50,
        _ => 0,
    }
}

/// IPv6's least MTU (RFC 8200, section 5); below it much of today's traffic breaks.
const LEAST_MTU: u32 = 1280;

pub(super) fn mtu(facts: &Facts) -> Vec<Finding> {
    let Some(Ok(underlay)) = &facts.underlay else { return vec![] };
    let backend = facts.backend().unwrap_or_else(|| "udp".into());
    let room = underlay.mtu.saturating_sub(overhead(&backend));
    if room < LEAST_MTU {
        let found =
            format!("{} has MTU {}, which leaves {room} bytes for pods' packets with backend {backend}", underlay.name, underlay.mtu);
        return vec![Finding::new(
            "mtu",
            Level::Warn,
            found,
            format!("raise it (ip link set {} mtu 1500) if the network between the nodes carries that", underlay.name),
        )];
    }
    let pods = facts.daemon.as_ref().and_then(|daemon| daemon.node.pod_mtu);
    if let Some(pods) = pods.filter(|pods| *pods > room) {
        let found = format!("pods were given MTU {pods}, and {} carries {room} bytes of theirs", underlay.name);
        return vec![Finding::new(
            "mtu",
            Level::Fail,
            found,
            "the underlay's MTU shrank: raise it again, or start the pods anew after `twill reconcile`",
        )];
    }
    vec![Finding::ok("mtu", format!("{room} bytes for pods' packets with backend {backend}"))]
}

pub(super) fn forwarding(facts: &Facts) -> Vec<Finding> {
    let config = facts.config();
    let v6 = config.as_ref().is_some_and(|config| config.v6.is_some());
    let wanted = [("net/ipv4/ip_forward", config.as_ref().is_none_or(|config| config.v4.is_some())), ("net/ipv6/conf/all/forwarding", v6)];
    let off: Vec<&str> = wanted
        .iter()
        .filter(|(path, wanted)| *wanted && facts.sysctls.get(*path).is_some_and(|value| value == "0"))
        .map(|(path, _)| *path)
        .collect();
    if off.is_empty() {
        return vec![Finding::ok("forwarding", "the kernel forwards packets")];
    }
    let names: Vec<String> = off.iter().map(|path| path.replace('/', ".")).collect();
    let found = format!("{} is 0: this host forwards nothing for its pods", names.join(" and "));
    match facts.forwarding_left {
        true => {
            vec![Finding::new("forwarding", Level::Fail, found, format!("sysctl -w {}=1, or drop --forwarding=leave", names.join("=1 ")))]
        }
        false if facts.daemon.is_some() => vec![Finding::new(
            "forwarding",
            Level::Fail,
            found,
            "something switches it off again: look for sysctl.d files and for what runs them",
        )],
        false => vec![Finding::new("forwarding", Level::Note, found, "`twill run` switches it on, and `twill down` puts it back")],
    }
}

pub(super) fn rp_filter(facts: &Facts) -> Vec<Finding> {
    let value = |path: &str| facts.sysctls.get(path).and_then(|value| value.parse::<u32>().ok()).unwrap_or(0);
    let Some(Ok(underlay)) = &facts.underlay else { return vec![] };
    // The larger of the two counts (ip-sysctl.rst).
    let own = format!("net/ipv4/conf/{}/rp_filter", underlay.name);
    let strict = value("net/ipv4/conf/all/rp_filter").max(value(&own)) == 1;
    if !strict {
        return vec![Finding::ok("rp-filter", "reverse paths are not checked strictly")];
    }
    let bare = facts.backend().is_some_and(|backend| backend == "host-gw");
    let (level, found) = match bare {
        true => (Level::Fail, "drops pods' packets that come another way than they go, as they do while the backend changes"),
        false => (Level::Note, "is strict; tunnels have a setting of their own, plain routes between nodes suffer from it"),
    };
    let advice = format!("sysctl -w net.ipv4.conf.all.rp_filter=2 net.ipv4.conf.{}.rp_filter=2", underlay.name);
    vec![Finding::new("rp-filter", level, format!("rp_filter of {} {found}", underlay.name), advice)]
}

pub(super) fn neighbours(facts: &Facts) -> Vec<Finding> {
    let leases = match (&facts.daemon, &facts.store) {
        (Some(daemon), _) => daemon.leases.len(),
        (None, Some(Ok(store))) => store.leases,
        _ => return vec![],
    };
    let Some(limit) = facts.sysctls.get("net/ipv4/neigh/default/gc_thresh3").and_then(|value| value.parse::<usize>().ok()) else {
        return vec![];
    };
    // A neighbour a peer on the underlay, one on the VXLAN device, and the pods of this host.
    let wanted = leases * 2 + 256;
    if wanted <= limit {
        return vec![Finding::ok("neighbours", format!("the neighbour table has room for {limit} entries"))];
    }
    let raised = (wanted * 2).next_power_of_two();
    let found = format!("the neighbour table holds {limit} entries, and {leases} nodes may need {wanted}");
    let advice = format!(
        "sysctl -w net.ipv4.neigh.default.gc_thresh3={raised} net.ipv4.neigh.default.gc_thresh2={} net.ipv4.neigh.default.gc_thresh1={}",
        raised / 2,
        raised / 4
    );
    vec![Finding::new("neighbours", Level::Warn, found, advice)]
}
