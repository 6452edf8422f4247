//! Leases end: a node that sleeps past its term is left out by the others, and on waking never shares a subnet with its successor.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::harness::Test;
use lab::{Lab, Launch, Node, Pod, wait_until};

use crate::story::SOON;

/// The tests of this subject.
pub const TESTS: &[Test] = &[Test::new("expiry: a frozen node loses its subnet, and on thawing takes another before it sends", frozen)];

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

/// From its first moment awake the sleeper's pod talks without pause: nothing of it may arrive from the subnet that is now another's.
fn wakes(sleeper: &Node, dreamer: &Pod, p: &Pod) -> Result<()> {
    let ear = p.listen()?;
    let mouth = dreamer.net().inside(|| Ok(std::net::UdpSocket::bind((dreamer.address(), 0))?))?;
    sleeper.thaw()?;
    wait_until("the sleeper to see that its lease is gone", SOON, || {
        let _ = mouth.send_to(b"stale", ear.address());
        let log = sleeper.log()?;
        ensure!(log.contains("lease"), "nothing is said of the lease");
        let node = sleeper.api("node")?;
        ensure!(node["ready"] == false, "{node}");
        Ok(())
    })?;
    ensure!(ear.hear(Duration::from_millis(500))?.is_none(), "a packet was sent from a subnet that is another node's");
    Ok(())
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
