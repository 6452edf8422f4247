//! Masquerade rules of IPv6 beside those of IPv4, on real packets: who sees which address, by either program that holds the rules.

use std::net::Ipv6Addr;

use anyhow::{Context, Result, ensure};
use lab::harness::{Need, Test};
use lab::{Launch, Node};

use crate::families::{V4, V6, give_v6, machines, pods, published, underlay_v6};
use crate::firewall::{base, sees, switch_address};
use crate::story::SOON;

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("firewall: in dual stack IPv6 pods are masqueraded to the outside and to nobody else, by nftables", || addresses("nft")),
    Test::new("firewall: in dual stack IPv6 pods are masqueraded to the outside and to nobody else, by iptables", || addresses("iptables"))
        .needs(&[Need::Program("iptables"), Need::Program("ip6tables")]),
];

fn addresses(engine: &str) -> Result<()> {
    let (lab, nodes) = machines(&format!(r#"{{{V4},{V6},"Backend":{{"Type":"vxlan"}}}}"#), ["a", "b"])?;
    for node in &nodes {
        node.start(Launch::now().flags(&["--ip-masq", "--firewall", engine]))?;
    }
    nodes.iter().try_for_each(|node| node.ready(SOON))?;
    let [a, b] = &nodes;
    lab.wait_for_routes(&[a, b], SOON)?;
    let [p, q] = pods(&nodes)?;
    let (p6, q6) = (give_v6(a, &p)?, give_v6(b, &q)?);
    let (outside, a6, b6): (Ipv6Addr, _, _) = ("fd50::fe".parse()?, underlay_v6(a), underlay_v6(b));
    sees(lab.switch(), outside, p.net(), p6, a6).context("pod to the outside")?;
    sees(q.net(), q6, p.net(), p6, p6).context("pod to a pod elsewhere")?;
    sees(q.net(), q6, a.net(), a6, base_v6(&lab, a)?).context("host to a pod elsewhere")?;
    sees(p.net(), p6, a.net(), a6, a6).context("host to its own pod")?;
    sees(b.net(), b6, p.net(), p6, a6).context("pod to another host")?;
    // The other family's rules stand beside.
    sees(lab.switch(), switch_address(&lab)?, p.net(), p.address(), a.address()).context("IPv4 pod to the outside")?;
    sees(q.net(), q.address(), a.net(), a.address(), base(a)?).context("IPv4 host to a pod elsewhere")?;
    // Without the rules the source stays, so that what was seen was their doing.
    for node in &nodes {
        node.stop()?;
        node.start(Launch::now().flags(&["--firewall", engine]))?;
        node.ready(SOON)?;
    }
    lab.switch().ip(&format!("-6 route add {} via {a6}", subnet_v6(&lab, a)?))?;
    sees(lab.switch(), outside, p.net(), p6, p6).context("pod to the outside without --ip-masq")
}

fn subnet_v6(lab: &lab::Lab, node: &Node) -> Result<String> {
    published(lab, node)?["subnets"]["v6"].as_str().map(str::to_owned).context("no IPv6 subnet")
}

/// The base address of a node's IPv6 subnet, which its device has.
fn base_v6(lab: &lab::Lab, node: &Node) -> Result<Ipv6Addr> {
    let subnet = subnet_v6(lab, node)?;
    ensure!(subnet.starts_with("fd10:"), "{subnet}");
    Ok(subnet.split('/').next().unwrap_or_default().parse()?)
}
