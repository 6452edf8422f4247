//! The machine itself: who runs this, the kernel, its devices, disk and clock, and programs that are in the way.

use super::{Finding, Level};
use crate::doctor::Facts;

pub(super) fn root(facts: &Facts) -> Vec<Finding> {
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

pub(super) fn kernel(facts: &Facts) -> Vec<Finding> {
    let mut numbers = facts.kernel.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse::<u32>().ok());
    let (Some(major), Some(minor)) = (numbers.next(), numbers.next()) else { return vec![] };
    if (major, minor) >= OLDEST {
        return vec![Finding::ok("kernel", format!("Linux {}", facts.kernel))];
    }
    let found = format!("Linux {} is older than {}.{}", facts.kernel, OLDEST.0, OLDEST.1);
    vec![Finding::new("kernel", Level::Fail, found, "upgrade the kernel: nf_tables and netlink before 5.4 lack what twill uses")]
}

pub(super) fn tun(facts: &Facts) -> Vec<Finding> {
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

pub(super) fn state(facts: &Facts) -> Vec<Finding> {
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
pub(super) const PAST: u64 = 1_704_067_200;

pub(super) fn clock(facts: &Facts) -> Vec<Finding> {
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

pub(super) fn managers(facts: &Facts) -> Vec<Finding> {
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

pub(super) fn ports(facts: &Facts) -> Vec<Finding> {
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

pub(super) fn flanneld(facts: &Facts) -> Vec<Finding> {
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
