//! The host-gw backend: plain routes to peers on the same link, in both families, kept in place; a peer behind a router is told of.

use anyhow::{Context, Result, ensure};
use lab::harness::Test;
use lab::transfer::transfer;
use lab::{Lab, Launch, Node, wait_until};
use serde_json::Value;

use crate::families::{
    V4, V6, answers, cluster, give_v6, lines, machines, pods_of_ipv6_alone, published, start, start_on_ipv6_alone, underlay_v6,
};
use crate::story::{SOON, flowing};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("host-gw: pods talk in both families, by routes in flannel's shape", golden),
    Test::new("host-gw: in a network of IPv6 alone pods talk at full size", ipv6_alone),
    Test::new("host-gw: a deleted or replaced route is back", repaired),
    Test::new("host-gw: a peer behind a router is told of, and the others are reached", behind_a_router),
    Test::new("host-gw: a public address that is not the interface's is refused in words", behind_nat),
    Test::new("host-gw: routes that flannel left are taken over without a lost packet", take_over),
];

fn config(families: &str) -> String {
    format!(r#"{{{families},"Backend":{{"Type":"host-gw"}}}}"#)
}

fn golden() -> Result<()> {
    let (lab, nodes, pods) = cluster(&config(&format!("{V4},{V6}")), ["a", "b", "c"])?;
    for node in &nodes {
        in_shape(&lab, node, &nodes)?;
        ensure!(node.subnet_env("FLANNEL_MTU")? == "1500");
    }
    transfer(&pods[0], &pods[1], 10_000_000)?;
    let to = give_v6(&nodes[1], &pods[1])?;
    give_v6(&nodes[0], &pods[0])?;
    answers(|| pods[0].net().command("ping"), &["-Mdo", "-s1452"], to)?;
    let links = nodes[0].ip("link show")?;
    ensure!(!links.contains("flannel"), "a backend of routes made a link: {links}");
    let lease = published(&lab, &nodes[0])?;
    ensure!(lease["ways"][0]["backend"] == "host-gw" && lease["ways"][0]["data_v4"].is_null(), "{lease}");
    Ok(())
}

fn ipv6_alone() -> Result<()> {
    let (_lab, nodes) = machines(&config(&format!(r#""EnableIPv4":false,{V6}"#)), ["a", "b"])?;
    start_on_ipv6_alone(&nodes)?;
    // To the byte: 48 of 1500 are headers.
    pods_of_ipv6_alone(&nodes, 1452)
}

fn repaired() -> Result<()> {
    let (lab, nodes, [p, q]) = cluster(&config(&format!("{V4},{V6}")), ["a", "b"])?;
    let [a, b] = &nodes;
    let (subnet, v6) = (b.subnet()?, text(&published(&lab, b)?["subnets"]["v6"])?.to_string());
    let damages = [
        format!("route delete {subnet}"),
        // flannel never mends this one: the route is there, and leads astray.
        format!("route replace {subnet} via 192.168.50.250 dev eth0"),
        format!("route replace {subnet} via {} dev eth0 mtu 1000", b.address()),
        format!("-6 route delete {v6}"),
        format!("-6 route replace {v6} via fd50::fa dev eth0"),
    ];
    for damage in damages {
        a.ip(&damage)?;
        wait_until(&format!("the repair after `ip {damage}`"), SOON, || shape(&lab, a, &[b]))?;
        p.reaches(&q, SOON)?;
    }
    Ok(())
}

fn behind_a_router() -> Result<()> {
    let (lab, nodes) = machines(&config(V4), ["a", "b", "far"])?;
    let [a, b, far] = &nodes;
    lab.switch().ip("address add 192.168.51.254/24 dev br0")?;
    far.ip("address flush dev eth0")?;
    far.ip("address add 192.168.51.9/24 dev eth0")?;
    far.ip("route add default via 192.168.51.254")?;
    far.start(Launch::now())?;
    far.ready(SOON)?;
    start(&[a, b])?;
    a.pod("p1")?.reaches(&b.pod("p1")?, SOON)?;
    let subnet = far.subnet()?;
    wait_until("word of the far peer", SOON, || {
        let leases = a.api("leases")?;
        let there = leases.as_array().into_iter().flatten().find(|lease| lease["subnets"]["v4"] == subnet.as_str());
        let there = there.with_context(|| format!("{leases}"))?;
        ensure!(there["way"].is_null() && there.to_string().contains("192.168.51.9 is not on this link"), "{there}");
        Ok(())
    })?;
    ensure!(a.ip(&format!("route show {subnet}"))?.is_empty(), "{}", a.ip("route show")?);
    Ok(())
}

fn behind_nat() -> Result<()> {
    let (_lab, [a]) = machines(&config(V4), ["a"])?;
    a.start(Launch::now().flags(&["--iface", "eth0", "--public-ip", "203.0.113.7"]))?;
    wait_until("word of what is wrong", SOON, || {
        let log = a.log()?;
        ensure!(log.contains("the public address 203.0.113.7 is none of eth0's"), "{log}");
        Ok(())
    })
}

fn take_over() -> Result<()> {
    let (lab, nodes, [p, q]) = cluster(&config(&format!("{V4},{V6}")), ["a", "b"])?;
    let [a, b] = &nodes;
    let v6 = text(&published(&lab, b)?["subnets"]["v6"])?.to_string();
    a.kill()?;
    // What flanneld leaves: the same routes, of protocol boot.
    a.ip(&format!("route replace {} via {} dev eth0", b.subnet()?, b.address()))?;
    a.ip(&format!("-6 route replace {v6} via {} dev eth0", underlay_v6(b)))?;
    a.ip("route add 10.50.250.0/24 via 192.168.50.250 dev eth0")?;
    let streams = [flowing(&p, &q)?, flowing(&q, &p)?];
    a.start(Launch::now())?;
    a.ready(SOON)?;
    in_shape(&lab, a, &nodes)?;
    for stream in streams {
        stream.stop()?.nothing_lost()?;
    }
    ensure!(a.ip("route show 10.50.250.0/24")?.contains("192.168.50.250"), "a route that nobody marked as ours was taken away");
    Ok(())
}

fn in_shape(lab: &Lab, node: &Node, all: &[Node]) -> Result<()> {
    let others: Vec<&Node> = all.iter().filter(|other| other.name() != node.name()).collect();
    wait_until(&format!("flannel's routes on {}", node.name()), SOON, || shape(lab, node, &others))
}

/// Our routes are one a peer and family, by the peer's public address on the underlay, and nothing else.
fn shape(lab: &Lab, node: &Node, others: &[&Node]) -> Result<()> {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for other in others {
        let subnets = &published(lab, other)?["subnets"];
        v4.push(format!("{} via {} dev eth0", text(&subnets["v4"])?, other.address()));
        v6.push(format!("{} via {} dev eth0 metric 1024 pref medium", text(&subnets["v6"])?, underlay_v6(other)));
    }
    for (family, mut wanted) in [("-4", v4), ("-6", v6)] {
        let mut there = lines(&node.ip(&format!("{family} route show proto 73"))?);
        there.sort();
        wanted.sort();
        ensure!(there == wanted, "{there:#?} instead of {wanted:#?}");
    }
    Ok(())
}

fn text(value: &Value) -> Result<&str> {
    value.as_str().with_context(|| format!("{value} is no text"))
}
