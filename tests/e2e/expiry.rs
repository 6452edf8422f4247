//! Leases end: a node that sleeps past its term is left out by the others, and on waking never shares a subnet with its successor.

use anyhow::{Context, Result, ensure};
use lab::harness::Test;
use lab::{Lab, Launch, Node, Pod, wait_until};

use crate::story::SOON;

/// The tests of this subject.
pub const TESTS: &[Test] = &[Test::new("expiry: a frozen node loses its subnet, and on thawing sends nothing from it", frozen)];

/// Exactly two subnets, so that a newcomer must take the expired one.
const CONFIG: &str = r#"{"Network":"10.50.0.0/16","SubnetMin":"10.50.1.0","SubnetMax":"10.50.2.0","Backend":{"Type":"udp"}}"#;
const TTL: [&str; 2] = ["--lease-ttl", "3s"];

fn frozen() -> Result<()> {
    let lab = Lab::new("expiry")?;
    lab.config(CONFIG)?;
    let (a, sleeper) = (started(&lab, "a")?, started(&lab, "sleeper")?);
    lab.wait_for_routes(&[&a, &sleeper], SOON)?;
    let (p, dreamer) = (a.pod("p1")?, sleeper.pod("p1")?);
    p.reaches(&dreamer, SOON)?;
    let subnet = sleeper.subnet()?;
    sleeper.freeze()?;
    a.wait_for_no_lease(&subnet, SOON)?;
    let routes = a.api("routes")?.to_string();
    ensure!(!routes.contains(&subnet), "the route outlived the lease: {routes}");
    let successor = started(&lab, "successor")?;
    ensure!(successor.subnet()? == subnet, "{} is not the expired {subnet}", successor.subnet()?);
    lab.wait_for_routes(&[&a, &successor], SOON)?;
    let heir = successor.pod("p1")?;
    p.reaches(&heir, SOON)?;
    wakes(&sleeper, &dreamer, &p)?;
    let own = own_subnet(&sleeper)?;
    ensure!(own.as_deref() != Some(subnet.as_str()), "two nodes hold {subnet}");
    p.reaches(&heir, SOON)
}

/// From its first moment awake the sleeper's pod talks without pause: nothing of it may leave the sleeper, since its subnet is now another's. Counted on the
/// sleeper itself: its peers would not take such packets anyway.
fn wakes(sleeper: &Node, dreamer: &Pod, p: &Pod) -> Result<()> {
    let mouth = dreamer.net().inside(|| Ok(std::net::UdpSocket::bind((dreamer.address(), 0))?))?;
    sleeper.net().nft("table ip counted {\n chain out {\n type filter hook output priority 0;\n udp dport 8285 counter\n }\n}\n")?;
    for _ in 0..50 {
        mouth.send_to(b"stale", (p.address(), 9))?;
    }
    sleeper.thaw()?;
    wait_until("the sleeper to see that its lease is gone", SOON, || {
        mouth.send_to(b"stale", (p.address(), 9))?;
        let log = sleeper.log()?;
        ensure!(log.contains("lease"), "nothing is said of the lease");
        let node = sleeper.api("node")?;
        ensure!(node["ready"] == false, "{node}");
        Ok(())
    })?;
    // What waited in the tunnel's queue was read and dropped by now: the drops say that it was there.
    wait_until("the packets to be dropped and counted", SOON, || {
        mouth.send_to(b"stale", (p.address(), 9))?;
        ensure!(sleeper.drops("lease-unchecked")? >= 50, "{} are counted", sleeper.drops("lease-unchecked")?);
        Ok(())
    })?;
    ensure!(tunnelled(sleeper)? == 0, "{} packets left from a subnet that is another node's", tunnelled(sleeper)?);
    Ok(())
}

/// Tunnel packets that left the node since the counter was set up.
fn tunnelled(node: &Node) -> Result<u64> {
    let output = node.net().command("nft")?.args(["-j", "list", "table", "ip", "counted"]).output()?;
    let listed: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let rules = listed["nftables"].as_array().into_iter().flatten().filter_map(|entry| entry["rule"]["expr"].as_array());
    let counter = rules.flatten().find_map(|expression| expression["counter"]["packets"].as_u64());
    counter.with_context(|| format!("no counter in {listed}"))
}

fn started(lab: &Lab, name: &str) -> Result<Node> {
    let node = lab.node(name)?;
    node.start(Launch::now().flags(&TTL))?;
    node.ready(SOON)?;
    Ok(node)
}

/// The subnet that a daemon says it holds.
fn own_subnet(node: &Node) -> Result<Option<String>> {
    Ok(node.api("node")?["subnets"]["v4"].as_str().map(str::to_string))
}
