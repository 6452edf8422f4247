//! A changed config that interrupts traffic waits for consent, and everything goes on by the last one; what can be changed in place is changed in place.

use anyhow::{Context, Result, ensure};
use lab::harness::Test;
use lab::{Lab, Launch, Node, wait_until};
use serde_json::Value;

use crate::change::path;
use crate::families::{V4, cluster, published};
use crate::story::{SOON, flowing, goes_on};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("disruption: another VXLAN port waits, and traffic goes on until it is accepted", port),
    Test::new("disruption: a restart is consent, and so is --allow-disruption", consent),
    Test::new("disruption: another UDP port runs beside the old one, and no packet is lost", udp_port),
    Test::new("disruption: MTU and learning change in place, and no packet is lost", in_place),
];

fn vxlan(options: &str) -> String {
    format!(r#"{{{V4},"Backend":{{"Type":"vxlan"{options}}}}}"#)
}

/// Index, port and whether it learns, of flannel.1.
fn device(node: &Node) -> Result<(u64, u64, bool)> {
    let links = node.ip_json("link show flannel.1")?;
    let data = &links[0]["linkinfo"]["info_data"];
    let number = |value: &Value| value.as_u64().with_context(|| format!("no number: {links}"));
    Ok((number(&links[0]["ifindex"])?, number(&data["port"])?, data["learning"] == true))
}

/// Waits until the daemon says that the config waits, and why.
fn held_back(node: &Node, why: &str) -> Result<()> {
    wait_until("a config that waits", SOON, || {
        let problems = node.api("node")?["problems"].to_string();
        ensure!(["--allow-disruption", "twill config accept", why].iter().all(|part| problems.contains(part)), "{problems}");
        Ok(())
    })
}

fn port() -> Result<()> {
    let (lab, [a, b], [p, q]) = cluster(&vxlan(""), ["a", "b"])?;
    let before = device(&a)?;
    let streams = [flowing(&p, &q)?, flowing(&q, &p)?];
    lab.config(&vxlan(r#","Port":4790"#))?;
    for node in [&a, &b] {
        held_back(node, "its port 8472 becomes 4790")?;
    }
    // A peer that joins meanwhile is on the new port at once, so nobody sends to it in vain, and all are told why.
    let c = lab.node("c")?;
    c.start(Launch::now())?;
    c.ready(SOON)?;
    for (from, to, [theirs, own]) in [(&a, &c, [4790, 8472]), (&c, &a, [8472, 4790])] {
        wait_until("the reason", SOON, || {
            let path = path(from, to)?;
            let why = format!("vxlan: the peer receives VXLAN on port {theirs}, this node on port {own}");
            ensure!(path["way"].is_null() && path["reason"] == why.as_str(), "{path}");
            Ok(())
        })?;
    }
    for stream in streams {
        goes_on(&stream)?;
        stream.stop()?.nothing_lost()?;
    }
    ensure!(device(&a)? == before, "{before:?} became {:?}", device(&a)?);
    for node in [&a, &b] {
        ensure!(node.twill(&["config", "accept"])?.contains("in force"));
        wait_until("the new port", SOON, || Ok(ensure!(device(node)?.1 == 4790, "{:?}", device(node)?)))?;
        wait_until("no problem", SOON, || Ok(ensure!(node.api("node")?["problems"] == Value::Array(vec![]), "{}", node.api("node")?)))?;
    }
    p.reaches(&q, SOON)?;
    p.reaches(&c.pod("p1")?, SOON)
}

fn consent() -> Result<()> {
    let (lab, [a, b], [p, q]) = cluster(&vxlan(""), ["a", "b"])?;
    b.stop()?;
    b.start(Launch::now().flags(&["--allow-disruption"]))?;
    b.ready(SOON)?;
    lab.config(&vxlan(r#","Port":4790,"GBP":true"#))?;
    wait_until("the new port where it is allowed", SOON, || Ok(ensure!(device(&b)?.1 == 4790)))?;
    held_back(&a, "its port 8472 becomes 4790")?;
    ensure!(device(&a)?.1 == 8472);
    a.stop()?;
    a.start(Launch::now())?;
    wait_until("the new port after a restart", SOON, || Ok(ensure!(device(&a)?.1 == 4790, "{:?}", device(&a)?)))?;
    a.ready(SOON)?;
    p.reaches(&q, SOON)
}

fn udp_port() -> Result<()> {
    let config = |port: u16| format!(r#"{{{V4},"Backend":{{"Type":"udp","Port":{port}}}}}"#);
    let (lab, [a, b], [p, q]) = cluster(&config(8285), ["a", "b"])?;
    let streams = [flowing(&p, &q)?, flowing(&q, &p)?];
    lab.config(&config(9285))?;
    for (node, pod) in [(&a, &q), (&b, &p)] {
        // A second TUN device with a socket of its own: both ports are published and received on, and the peer is moved once the new one is proved.
        wait_until("the route by the new tunnel", SOON, || {
            let route = node.ip(&format!("route get {}", pod.address()))?;
            Ok(ensure!(route.contains("dev flannel1 "), "{route}; {}", node.api("paths")?))
        })?;
        let ways = published_ways(&lab, node)?;
        ensure!(ways.contains("9285") && ways.contains("8285"), "{ways}");
    }
    for stream in streams {
        goes_on(&stream)?;
        stream.stop()?.nothing_lost()?;
    }
    Ok(())
}

fn published_ways(lab: &Lab, node: &Node) -> Result<String> {
    Ok(published(lab, node)?["ways"].to_string())
}

fn in_place() -> Result<()> {
    let (lab, [a, b], [p, q]) = cluster(&vxlan(""), ["a", "b"])?;
    let before = device(&a)?;
    let streams = [flowing(&p, &q)?, flowing(&q, &p)?];
    lab.config(&vxlan(r#","Learning":true,"MTU":1400"#))?;
    for node in [&a, &b] {
        wait_until("the device that learns", SOON, || {
            Ok(ensure!(device(node)?.2 && node.ip("link show flannel.1")?.contains("mtu 1350")))
        })?;
    }
    for stream in streams {
        goes_on(&stream)?;
        stream.stop()?.nothing_lost()?;
    }
    ensure!(device(&a)? == (before.0, before.1, true), "the device was made anew: {before:?}, {:?}", device(&a)?);
    Ok(())
}
