//! Clusters of any backend and of both address families: IPv6 on the underlay and in pods, and what a node has published.

use std::net::Ipv6Addr;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use lab::netns::NetNs;
use lab::process::run;
use lab::{Lab, Launch, Node, Pod, wait_until};
use serde_json::Value;

use crate::story::{SOON, all_pairs};

/// The IPv4 part of a config, without the braces.
pub const V4: &str = r#""Network":"10.50.0.0/16""#;
/// The IPv6 part.
pub const V6: &str = r#""EnableIPv6":true,"IPv6Network":"fd10::/48""#;

/// Machines on an underlay of both families, in a lab with this config; no daemon runs.
pub fn machines<const N: usize>(config: &str, names: [&str; N]) -> Result<(Lab, [Node; N])> {
    let lab = Lab::new(&names.join(""))?;
    lab.config(config)?;
    lab.switch().ip("-6 address add fd50::fe/64 dev br0 nodad")?;
    let nodes: Vec<Node> = names.iter().map(|name| lab.node(name)).collect::<Result<_>>()?;
    for node in &nodes {
        node.ip(&format!("-6 address add {}/64 dev eth0 nodad", underlay_v6(node)))?;
    }
    let nodes = nodes.try_into().map_err(|_| anyhow::anyhow!("as many nodes as names"))?;
    Ok((lab, nodes))
}

/// The same with daemons that are ready and know each other.
pub fn nodes<const N: usize>(config: &str, names: [&str; N]) -> Result<(Lab, [Node; N])> {
    let (lab, nodes) = machines(config, names)?;
    start(&nodes.each_ref())?;
    Ok((lab, nodes))
}

/// The same with a pod `p1` on each node; all reach all.
pub fn cluster<const N: usize>(config: &str, names: [&str; N]) -> Result<(Lab, [Node; N], [Pod; N])> {
    let (lab, nodes) = nodes(config, names)?;
    lab.wait_for_routes(&nodes.each_ref(), SOON)?;
    let pods = pods(&nodes)?;
    Ok((lab, nodes, pods))
}

/// Starts daemons together and waits until each is ready and sees a way to every other.
pub fn start(nodes: &[&Node]) -> Result<()> {
    for node in nodes {
        node.start(Launch::now())?;
    }
    for node in nodes {
        node.ready(SOON)?;
    }
    for node in nodes {
        wait_until("a way to every peer", SOON, || {
            let leases = node.api("leases")?;
            let usable = leases.as_array().into_iter().flatten().filter(|lease| lease["way"].is_string()).count();
            ensure!(usable >= nodes.len() - 1, "{leases}");
            Ok(())
        })?;
    }
    Ok(())
}

/// The same on an underlay without IPv4.
pub fn start_on_ipv6_alone(nodes: &[Node; 2]) -> Result<()> {
    for node in nodes {
        node.ip("-4 address flush dev eth0")?;
        node.ip("-6 route add default via fd50::fe")?;
    }
    start(&nodes.each_ref())
}

/// A pod `p1` on each node, once all reach all.
pub fn pods<const N: usize>(nodes: &[Node; N]) -> Result<[Pod; N]> {
    let pods: Vec<Pod> = nodes.iter().map(|node| node.pod("p1")).collect::<Result<_>>()?;
    all_pairs(&pods)?;
    pods.try_into().map_err(|_| anyhow::anyhow!("as many pods as nodes"))
}

/// The IPv6 address of a machine on the underlay.
pub fn underlay_v6(node: &Node) -> Ipv6Addr {
    Ipv6Addr::new(0xfd50, 0, 0, 0, 0, 0, 0, node.address().octets()[3].into())
}

/// Gives a pod and its bridge IPv6 from subnet.env, as a CNI plugin does it.
pub fn give_v6(node: &Node, pod: &Pod) -> Result<Ipv6Addr> {
    let bridge = node.subnet_env("FLANNEL_IPV6_SUBNET")?;
    let (gateway, length) = bridge.split_once('/').context("FLANNEL_IPV6_SUBNET is no prefix")?;
    let address = Ipv6Addr::from(u128::from(gateway.parse::<Ipv6Addr>()?) + 1);
    node.ip(&format!("-6 address add {bridge} dev cni0 nodad"))?;
    pod.net().ip(&format!("-6 address add {address}/{length} dev eth0 nodad"))?;
    pod.net().ip(&format!("-6 route add default via {gateway}"))?;
    Ok(address)
}

/// A pod on each of two nodes of a network of IPv6 alone reaches the other by small pings, and by such of `most` data bytes, which are not cut on the way.
pub fn pods_of_ipv6_alone(nodes: &[Node; 2], most: usize) -> Result<()> {
    let mut pods = Vec::new();
    for node in nodes {
        let net = NetNs::create(&format!("{}.six", node.name()))?;
        let mtu = node.subnet_env("FLANNEL_MTU")?;
        let bridge = node.subnet_env("FLANNEL_IPV6_SUBNET")?;
        let (gateway, length) = bridge.split_once('/').context("FLANNEL_IPV6_SUBNET is no prefix")?;
        let address = Ipv6Addr::from(u128::from(gateway.parse::<Ipv6Addr>()?) + 1);
        node.ip(&format!("link add six mtu {mtu} type veth peer name eth0 mtu {mtu} netns /run/netns/{}", net.name()))?;
        node.ip(&format!("-6 address add {bridge} dev six nodad"))?;
        node.ip("link set six up")?;
        net.ip(&format!("-6 address add {address}/{length} dev eth0 nodad"))?;
        net.ip("link set eth0 up")?;
        net.ip(&format!("-6 route add default via {gateway}"))?;
        pods.push((net, address));
    }
    for (from, to) in [(0, 1), (1, 0)] {
        for words in [&["-s56"][..], &["-Mdo", &format!("-s{most}")]] {
            answers(|| pods[from].0.command("ping"), words, pods[to].1)?;
        }
    }
    Ok(())
}

/// Pings until an answer comes; `program` runs in the namespace of who asks. `words` go before the address.
pub fn answers(program: impl Fn() -> Result<Command>, words: &[&str], to: Ipv6Addr) -> Result<()> {
    wait_until(&format!("an answer of {to}"), SOON, || {
        run(program()?.args(["-6", "-n", "-c1", "-W1"]).args(words).arg(to.to_string())).map(drop)
    })
}

/// The lease of a node as it is in the store.
pub fn published(lab: &Lab, node: &Node) -> Result<Value> {
    let (v4, v6) = (node.address().to_string(), underlay_v6(node).to_string());
    for entry in std::fs::read_dir(lab.store())? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "lease") {
            let lease: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
            if lease["public"]["v4"] == v4.as_str() || lease["public"]["v6"] == v6.as_str() {
                return Ok(lease);
            }
        }
    }
    anyhow::bail!("there is no lease of {} in the store", node.name())
}

/// A program's output as lines of single-spaced words.
pub fn lines(output: &str) -> Vec<String> {
    output.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).filter(|line| !line.is_empty()).collect()
}
