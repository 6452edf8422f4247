//! What is wrong with a host, and what to do about it. Pure: facts in, findings out, one function a subject.

use serde::Serialize;
use twill_model::status::PathState;

use super::Facts;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Note,
    /// It works, but not as well or not for long.
    Warn,
    /// twill, or pods' traffic, does not work so.
    Fail,
}

/// What was found of one subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The subject, for programs.
    pub check: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Finding {
    fn new(check: &'static str, level: Level, found: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding { check, level, found: found.into(), advice: Some(advice.into()) }
    }

    fn ok(check: &'static str, found: impl Into<String>) -> Finding {
        Finding { check, level: Level::Ok, found: found.into(), advice: None }
    }
}

/// Findings of every subject that can be judged by these facts, in the order in which a packet would meet them.
pub fn judge(facts: &Facts) -> Vec<Finding> {
    let subjects: [fn(&Facts) -> Vec<Finding>; 16] = [
        root,
        kernel,
        tun,
        state,
        clock,
        store,
        underlay,
        mtu,
        forwarding,
        rp_filter,
        firewall,
        legacy_rules,
        bridge_netfilter,
        neighbours,
        managers,
        ports,
    ];
    subjects.iter().flat_map(|subject| subject(facts)).chain(flanneld(facts)).chain(daemon(facts)).collect()
}

fn root(facts: &Facts) -> Vec<Finding> {
    match facts.root {
        true => vec![],
        false => vec![Finding::new(
            "root",
            Level::Note,
            "this is not run as root",
            "run it as root (sudo twill doctor): the firewall cannot be seen otherwise",
        )],
    }
}

/// The oldest kernel that twill is made for.
const OLDEST: (u32, u32) = (5, 4);

fn kernel(facts: &Facts) -> Vec<Finding> {
    let mut numbers = facts.kernel.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse::<u32>().ok());
    let (Some(major), Some(minor)) = (numbers.next(), numbers.next()) else { return vec![] };
    if (major, minor) >= OLDEST {
        return vec![Finding::ok("kernel", format!("Linux {}", facts.kernel))];
    }
    let found = format!("Linux {} is older than {}.{}", facts.kernel, OLDEST.0, OLDEST.1);
    vec![Finding::new("kernel", Level::Fail, found, "upgrade the kernel: nf_tables and netlink before 5.4 lack what twill uses")]
}

fn tun(facts: &Facts) -> Vec<Finding> {
    let needed = facts.backend().is_none_or(|backend| backend == "udp");
    match (facts.tun, needed) {
        (true, _) => vec![Finding::ok("tun", "/dev/net/tun is there")],
        (false, false) => vec![],
        (false, true) => vec![Finding::new(
            "tun",
            Level::Fail,
            "/dev/net/tun is missing, and backend udp makes its tunnel by it",
            "load the driver (modprobe tun), or in a container pass the device (--device /dev/net/tun); backends vxlan and host-gw do without",
        )],
    }
}

/// Less room than this on the state folder's disk is told.
const LITTLE: u64 = 32 << 20;

fn state(facts: &Facts) -> Vec<Finding> {
    if let Some(trouble) = &facts.state_trouble {
        let advice = "make it writable for root: the node id and the remembered leases are kept there (--state-dir)";
        return vec![Finding::new("state", Level::Fail, format!("the state folder cannot be written to: {trouble}"), advice)];
    }
    match facts.state_free {
        Some(free) if free < LITTLE => {
            let found = format!("{} MB are left for the state folder", free >> 20);
            vec![Finding::new("state", Level::Warn, found, "make room: a restart while the store is away goes by what is kept there")]
        }
        _ => vec![Finding::ok("state", "the state folder can be written to")],
    }
}

/// 2024-01-01: a clock before that is wrong.
const PAST: u64 = 1_704_067_200;

fn clock(facts: &Facts) -> Vec<Finding> {
    let keep = "let chrony or systemd-timesyncd keep it";
    if facts.unix_s < PAST {
        return vec![Finding::new(
            "clock",
            Level::Fail,
            "the clock is years behind",
            format!("set it, and {keep}: no certificate is valid at that time"),
        )];
    }
    match facts.clock_synchronised {
        Some(false) => vec![Finding::new(
            "clock",
            Level::Note,
            "the kernel says that nobody keeps its clock right",
            format!("{keep}: leases do not depend on it, certificates and the times of events do"),
        )],
        Some(true) => vec![Finding::ok("clock", "the clock is kept right")],
        None => vec![],
    }
}

fn store(facts: &Facts) -> Vec<Finding> {
    match &facts.store {
        None => vec![Finding::new(
            "store",
            Level::Note,
            "no store is named, so none was asked",
            "name it as for `twill run`: --store, TWILL_STORE or /etc/twill/twill.toml",
        )],
        Some(Err(error)) => vec![Finding::new(
            "store",
            Level::Fail,
            format!("the store does not answer: {error}"),
            "put that right; a running daemon goes on with what it knows meanwhile",
        )],
        Some(Ok(store)) if store.config.is_none() => {
            vec![Finding::new(
                "store",
                Level::Fail,
                "the store answers and holds no network config",
                "write one: twill config set … '{\"Network\": \"10.244.0.0/16\"}'",
            )]
        }
        Some(Ok(_)) if facts.config().is_none() => {
            vec![Finding::new(
                "store",
                Level::Fail,
                "the network config in the store is wrong",
                "`twill config check` says which key, and why",
            )]
        }
        Some(Ok(store)) => vec![Finding::ok("store", format!("the store answers: {} leases", store.leases))],
    }
}

fn underlay(facts: &Facts) -> Vec<Finding> {
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

fn mtu(facts: &Facts) -> Vec<Finding> {
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

fn forwarding(facts: &Facts) -> Vec<Finding> {
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

fn rp_filter(facts: &Facts) -> Vec<Finding> {
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

fn firewall(facts: &Facts) -> Vec<Finding> {
    match &facts.nft {
        Some(Err(error)) => {
            return vec![Finding::new(
                "firewall",
                Level::Warn,
                format!("the program nft cannot be run ({error}): twill sets no rules"),
                "install the package nftables",
            )];
        }
        _ if facts.obstacles.is_empty() => return vec![Finding::ok("firewall", "no chain keeps pods' forwarded packets out")],
        _ => {}
    }
    let finding = |obstacle: &String| {
        let (found, advice) = obstacle.split_once("; run: ").unwrap_or((obstacle, "accept the network's packets there"));
        Finding::new("firewall", Level::Fail, found, format!("run: {}", advice.trim_start_matches("run: ")))
    };
    facts.obstacles.iter().map(finding).collect()
}

fn legacy_rules(facts: &Facts) -> Vec<Finding> {
    if facts.legacy.is_empty() {
        return vec![];
    }
    if !facts.legacy_drops.is_empty() {
        let found = format!("the old iptables drops forwarded packets: {}", facts.legacy_drops.join("; "));
        return vec![Finding::new(
            "legacy-rules",
            Level::Fail,
            found,
            "accept the network's packets there (iptables-legacy -I FORWARD -s NETWORK -j ACCEPT, and -d), or remove the rules",
        )];
    }
    let tables: Vec<String> = facts.legacy.iter().map(|(family, table)| format!("{family} {table}")).collect();
    let found = format!("tables of the old iptables are there beside nf_tables: {}", tables.join(", "));
    vec![Finding::new(
        "legacy-rules",
        Level::Note,
        found,
        "both are passed by every packet; look at them with iptables-legacy-save, and keep rules in one of the two",
    )]
}

fn bridge_netfilter(facts: &Facts) -> Vec<Finding> {
    let on = |path: &str| facts.sysctls.get(path).is_some_and(|value| value == "1");
    if !(on("net/bridge/bridge-nf-call-iptables") || on("net/bridge/bridge-nf-call-ip6tables")) {
        return vec![];
    }
    let found = "br_netfilter passes what pods of one host send to each other through the forward rules";
    let level = if facts.obstacles.is_empty() && facts.legacy_drops.is_empty() { Level::Note } else { Level::Warn };
    vec![Finding::new(
        "bridge-netfilter",
        level,
        found,
        "Kubernetes wants it so; without Kubernetes: sysctl -w net.bridge.bridge-nf-call-iptables=0",
    )]
}

fn neighbours(facts: &Facts) -> Vec<Finding> {
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

fn managers(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(setting) = &facts.networkd
        && !matches!(setting.as_deref(), Some("no" | "false" | "0" | "off"))
    {
        findings.push(Finding::new(
            "networkd",
            Level::Warn,
            "systemd-networkd removes routes that it did not make whenever it is restarted (ManageForeignRoutes=yes, its default); twill mends that, and packets are lost meanwhile",
            "write ManageForeignRoutes=no below [Network] in /etc/systemd/networkd.conf.d/twill.conf and restart systemd-networkd",
        ));
    }
    if let Some(text) = &facts.network_manager
        && !text.contains("flannel")
    {
        findings.push(Finding::new(
            "network-manager",
            Level::Warn,
            "NetworkManager runs and may take twill's links for its own",
            "write [keyfile] unmanaged-devices=interface-name:flannel* into /etc/NetworkManager/conf.d/twill.conf and reload it",
        ));
    }
    findings
}

fn ports(facts: &Facts) -> Vec<Finding> {
    if facts.daemon.is_some() {
        return vec![];
    }
    let tunnel = match facts.backend().as_deref() {
        Some("vxlan") => Some(8472),
        Some("udp") => Some(8285),
        _ => None,
    };
    let port = facts.config().and_then(|config| serde_json::from_str::<serde_json::Value>(&config.options).ok()?.get("Port")?.as_u64());
    let tunnel = tunnel.map(|usual| port.and_then(|port| u16::try_from(port).ok()).unwrap_or(usual));
    let mut findings = Vec::new();
    if let Some(port) = tunnel.filter(|port| facts.ports.udp.contains(port)) {
        let advice = format!("find it with: ss -ulpn 'sport = :{port}'; stop it, or give the backend another Port on all nodes");
        findings.push(Finding::new("ports", Level::Fail, format!("UDP port {port}, the backend's, is taken by another program"), advice));
    }
    if let Some(port) = facts.api_port.filter(|port| facts.ports.tcp.contains(port)) {
        let advice = format!("find it with: ss -tlpn 'sport = :{port}'; or choose another with --listen");
        findings.push(Finding::new("ports", Level::Fail, format!("TCP port {port}, the API's, is taken by another program"), advice));
    }
    findings
}

fn flanneld(facts: &Facts) -> Vec<Finding> {
    let pids: Vec<String> = facts.flanneld.iter().map(ToString::to_string).collect();
    match pids.is_empty() {
        true => vec![],
        false => vec![Finding::new(
            "flanneld",
            Level::Warn,
            format!("flanneld runs on this host (process {})", pids.join(", ")),
            "stop it before twill takes over its network: systemctl disable --now flanneld",
        )],
    }
}

fn daemon(facts: &Facts) -> Vec<Finding> {
    let Some(snapshot) = &facts.daemon else {
        return vec![Finding {
            check: "daemon",
            level: Level::Note,
            found: "no daemon runs on this host, so it could not be asked".into(),
            advice: None,
        }];
    };
    let problem = |problem: &String| {
        Finding::new("daemon", Level::Fail, problem.clone(), "`twill status`, `twill state` and `twill events` say more")
    };
    let mut findings: Vec<Finding> = snapshot.node.problems.iter().map(problem).collect();
    for path in snapshot.paths.iter().filter(|path| path.state == PathState::Down) {
        let reason = path.leg.as_ref().or(path.reason.as_ref()).cloned().unwrap_or_else(|| "no way answers".into());
        findings.push(Finding::new(
            "paths",
            Level::Fail,
            format!("{} at {} is not reached: {reason}", path.subnets, path.public),
            "`twill why` says since when, and what happened before",
        ));
    }
    for path in snapshot.paths.iter().filter(|path| path.state == PathState::Held) {
        let reason = path.reason.clone().unwrap_or_default();
        let way = path.way.clone().unwrap_or_else(|| "no way".into());
        findings.push(Finding::new(
            "paths",
            Level::Warn,
            format!(
                "{} at {} is reached by {way}, not by {}: {reason}",
                path.subnets,
                path.public,
                path.wanted.clone().unwrap_or_default()
            ),
            "`twill peers` shows all paths",
        ));
    }
    for (path, narrow) in snapshot.paths.iter().filter_map(|path| Some((path, path.narrow.as_ref()?))) {
        findings.push(Finding::new(
            "paths",
            Level::Note,
            format!("the MTU on the road is smaller than the link's to {} at {}: {narrow}", path.subnets, path.public),
            "raise it on the switches and routers between the two hosts, or leave it: pods are told by the route",
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(
            "daemon",
            format!("the daemon is {}, and has no problem to tell", if snapshot.node.ready { "ready" } else { "not ready yet" }),
        ));
    }
    findings
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
