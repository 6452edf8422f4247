//! The udp backend over and for both address families: what flannel's own lacks.

use std::net::Ipv6Addr;

use anyhow::{Result, ensure};
use lab::harness::Test;
use lab::transfer::transfer;
use lab::{Node, wait_until};

use crate::families::{V4, V6, answers, cluster, give_v6, lines, machines, published, start, start_on_ipv6_alone};
use crate::story::SOON;

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("udp: dual stack in pods, over IPv4 where both nodes have it", dual_stack),
    Test::new("udp: a cluster of IPv6 alone, on an underlay without IPv4", ipv6_alone),
    Test::new("udp: a peer without IPv4 is reached by IPv6, and its routes say what fits", mixed),
];

fn config(families: &str) -> String {
    format!(r#"{{{families},"Backend":{{"Type":"udp"}}}}"#)
}

fn dual_stack() -> Result<()> {
    let (_lab, nodes, pods) = cluster(&config(&format!("{V4},{V6}")), ["a", "b"])?;
    ensure!(nodes[0].subnet_env("FLANNEL_MTU")? == "1452", "what fits by either family");
    let to = give_v6(&nodes[1], &pods[1])?;
    give_v6(&nodes[0], &pods[0])?;
    // 1452 bytes to the byte, 48 of them headers; and one that its sender fragments.
    for words in [&["-s56"][..], &["-Mdo", "-s1404"], &["-s5000"]] {
        answers(|| pods[0].net().command("ping"), words, to)?;
    }
    transfer(&pods[0], &pods[1], 20_000_000)?;
    wait_until("the counters of the peer's address", SOON, || sent_by_ipv4(&nodes))
}

fn sent_by_ipv4(nodes: &[Node; 2]) -> Result<()> {
    let tunnels = nodes[0].api("tunnels")?;
    let peers = &tunnels[0]["peers"];
    let sent = |outer: &str| {
        peers
            .as_array()
            .into_iter()
            .flatten()
            .filter(|peer| peer["peer"] == outer)
            .filter_map(|peer| peer["traffic"]["sent_bytes"].as_u64())
            .sum::<u64>()
    };
    ensure!(sent(&format!("{}:8285", nodes[1].address())) > 20_000_000, "packets did not travel by IPv4: {peers}");
    Ok(())
}

fn ipv6_alone() -> Result<()> {
    let (lab, nodes) = machines(&config(&format!(r#""EnableIPv4":false,{V6}"#)), ["a", "b"])?;
    start_on_ipv6_alone(&nodes)?;
    ensure!(nodes[0].subnet_env("FLANNEL_MTU")? == "1452");
    let subnet = published(&lab, &nodes[1])?["subnets"]["v6"].as_str().unwrap_or_default().to_owned();
    let base: Ipv6Addr = subnet.trim_end_matches("/64").parse()?;
    for words in [&[][..], &["-Mdo", "-s1404"], &["-s60000"]] {
        answers(|| nodes[0].net().command("ping"), words, base)?;
    }
    Ok(())
}

fn mixed() -> Result<()> {
    let (lab, nodes) = machines(&config(&format!("{V4},{V6}")), ["a", "b"])?;
    // Neither a road nor a way round: what the second node has of IPv4 is of no use to the first.
    for node in &nodes {
        node.ip("-4 route delete 192.168.50.0/24 dev eth0")?;
        node.ip("-4 route add unreachable 192.168.50.0/24")?;
        node.ip("-6 route add default via fd50::fe")?;
    }
    start(&nodes.each_ref())?;
    let subnet = published(&lab, &nodes[1])?["subnets"]["v4"].as_str().unwrap_or_default().to_owned();
    let routes = lines(&nodes[0].ip(&format!("route show {subnet}"))?);
    ensure!(routes.len() == 1 && routes[0].contains("dev flannel0") && routes[0].contains("mtu 1452"), "{routes:?}");
    let pods = crate::families::pods(&nodes)?;
    transfer(&pods[0], &pods[1], 20_000_000)?;
    Ok(())
}
