//! A node's kernel state as facts that can be compared: what there was before, what there is now, and what became different.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use lab::Node;
use lab::process::{json, run};
use serde_json::Value;

/// Facts by kind and name: ("route", "10.50.2.0/24") is "via 192.168.50.2 dev eth0 proto 73".
pub type Facts = BTreeMap<(String, String), String>;

/// What became different: as it was, as it is.
pub type Differences = BTreeMap<(String, String), (Option<String>, Option<String>)>;

/// Settings below conf/<link> that twill may change.
const OF_LINKS: [(&str, &[&str]); 2] = [("ipv4", &["rp_filter", "accept_local", "arp_announce"]), ("ipv6", &["accept_ra", "disable_ipv6"])];

/// Links, addresses, routes, permanent entries and settings of a node. What the kernel adds by itself is left out.
pub fn facts(node: &Node) -> Result<Facts> {
    let mut facts = Facts::new();
    let mut add = |kind: &str, what: String, words: String| facts.insert((kind.to_owned(), what), words);
    for link in list(node.ip_json("link show")?) {
        add("link", text(&link, "ifname"), "there".into());
    }
    for link in list(node.ip_json("address show")?) {
        for address in list(link["addr_info"].clone()).into_iter().filter(|address| address["scope"] == "global") {
            add("address", format!("{}/{}", text(&address, "local"), address["prefixlen"]), format!("dev {}", text(&link, "ifname")));
        }
    }
    for family in ["-4", "-6"] {
        let routes = list(json(node.net().command("ip")?.args([family, "-j", "route", "show"]))?);
        for route in routes.iter().filter(|route| route["protocol"] != "kernel" && route["dst"] != "default") {
            add("route", text(route, "dst"), route_words(route));
        }
    }
    for entry in list(json(node.net().command("ip")?.args(["-j", "neigh", "show", "nud", "permanent"]))?) {
        add("neighbour", text(&entry, "dst"), format!("lladdr {} dev {}", text(&entry, "lladdr"), text(&entry, "dev")));
    }
    let entries = list(json(node.net().command("bridge")?.args(["-j", "fdb", "show"]))?);
    for entry in entries.iter().filter(|entry| entry["dst"].is_string()) {
        add("fdb", text(entry, "mac"), format!("dst {} dev {}", text(entry, "dst"), text(entry, "ifname")));
    }
    for (path, value) in settings(node)? {
        add("sysctl", path, value);
    }
    Ok(facts)
}

/// What became different. A link that is new began with the settings of conf/default.
pub fn differences(before: &Facts, after: &Facts) -> Differences {
    let was = |place: &(String, String)| before.get(place).or_else(|| before.get(&(place.0.clone(), default_of(&place.1)?))).cloned();
    let new = after.iter().filter_map(|(place, now)| {
        let was = was(place).filter(|_| place.0 == "sysctl" || before.contains_key(place));
        (was.as_ref() != Some(now)).then(|| (place.clone(), (was, Some(now.clone()))))
    });
    let gone =
        before.iter().filter(|(place, _)| !after.contains_key(*place)).map(|(place, was)| (place.clone(), (Some(was.clone()), None)));
    new.chain(gone).collect()
}

/// Everything in a node's packet filter.
pub fn rules(node: &Node) -> Result<String> {
    run(node.net().command("nft")?.args(["list", "ruleset"]))
}

fn settings(node: &Node) -> Result<Vec<(String, String)>> {
    node.net().inside(|| {
        let mut found = Vec::new();
        let mut read = |path: String| -> Result<()> {
            let value = std::fs::read_to_string(format!("/proc/sys/{path}")).with_context(|| format!("cannot read {path}"))?;
            found.push((path, value.trim().to_owned()));
            Ok(())
        };
        read("net/ipv4/ip_forward".into())?;
        read("net/ipv6/conf/all/forwarding".into())?;
        for (family, names) in OF_LINKS {
            for link in std::fs::read_dir(format!("/proc/sys/net/{family}/conf"))? {
                let link = link?.file_name().to_string_lossy().into_owned();
                for name in names {
                    read(format!("net/{family}/conf/{link}/{name}"))?;
                }
            }
        }
        Ok(found)
    })
}

fn default_of(path: &str) -> Option<String> {
    let (head, name) = path.rsplit_once('/')?;
    let (conf, _) = head.rsplit_once('/')?;
    Some(format!("{conf}/default/{name}"))
}

fn route_words(route: &Value) -> String {
    let mut words = Vec::new();
    if route["gateway"].is_string() {
        words.push(format!("via {}", text(route, "gateway")));
    }
    words.push(format!("dev {}", text(route, "dev")));
    words.push(format!("proto {}", text(route, "protocol")));
    if let Some(metric) = route["metric"].as_u64().filter(|metric| *metric != 1024) {
        words.push(format!("metric {metric}"));
    }
    if route["flags"].as_array().is_some_and(|flags| flags.iter().any(|flag| flag == "onlink")) {
        words.push("onlink".into());
    }
    words.join(" ")
}

fn text(value: &Value, key: &str) -> String {
    match &value[key] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn list(value: Value) -> Vec<Value> {
    match value {
        Value::Array(list) => list,
        _ => Vec::new(),
    }
}
