//! Rules of others that pods' packets pass.

use super::{Finding, Level};
use crate::doctor::Facts;

pub(super) fn firewall(facts: &Facts) -> Vec<Finding> {
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

pub(super) fn legacy_rules(facts: &Facts) -> Vec<Finding> {
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

pub(super) fn bridge_netfilter(facts: &Facts) -> Vec<Finding> {
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
