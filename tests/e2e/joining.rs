//! Nodes join: all pods reach all pods, and a newcomer is reachable from everywhere within a second.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lab::harness::Test;
use lab::transfer::transfer;
use lab::{Launch, Node, wait_until};

use crate::story::{SOON, all_pairs, cluster};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("joining: three nodes, every pod reaches every other, by ping and by file", three_nodes),
    Test::new("joining: a fourth node is reachable from all within a second", fourth_node),
    Test::new("joining: a new lease reaches the other nodes within 100 ms", news).alone(),
    Test::new("joining: a daemon that starts late finds its place", late_start),
];

fn three_nodes() -> Result<()> {
    let (_lab, nodes, pods) = cluster(["a", "b", "c"])?;
    all_pairs(&pods)?;
    for (from, to) in [(0, 1), (1, 2), (2, 0)] {
        transfer(&pods[from], &pods[to], 10_000_000)?;
    }
    let subnets: std::collections::BTreeSet<String> = nodes.iter().map(|node| node.subnet()).collect::<Result<_>>()?;
    ensure!(subnets.len() == 3, "two nodes share a subnet: {subnets:?}");
    for node in &nodes {
        ensure!(node.api("leases")?.as_array().is_some_and(|leases| leases.len() == 3), "{}", node.api("leases")?);
        ensure!(node.api("node")?["ready"] == true && node.api("node")?["hostname"] == node.name(), "{}", node.api("node")?);
    }
    Ok(())
}

fn fourth_node() -> Result<()> {
    let (lab, _nodes, pods) = cluster(["a", "b", "c"])?;
    let d = lab.ready_node("d")?;
    let ready = Instant::now();
    let pod = d.pod("p1")?;
    for old in &pods {
        let left = Duration::from_secs(1).saturating_sub(ready.elapsed());
        wait_until("the newcomer to be reached", left, || old.ping(&pod))?;
        pod.reaches(old, SOON)?;
    }
    Ok(())
}

fn late_start() -> Result<()> {
    let (lab, [a], [p]) = cluster(["a"])?;
    let late = lab.node("late")?;
    late.start(Launch::after(Duration::from_millis(700)))?;
    late.ready(SOON)?;
    a.wait_for_lease(late.subnet()?, SOON)?;
    p.reaches(&late.pod("p1")?, SOON)
}

fn news() -> Result<()> {
    let (lab, [a, b], _pods) = cluster(["a", "b"])?;
    let mut took = Vec::new();
    for name in ["c", "d", "e"] {
        let stored = lab.leases_in_store()?;
        let leases = |node: &Node| Ok::<_, anyhow::Error>(node.api("leases")?.as_array().map_or(0, Vec::len));
        let known = leases(&a)?;
        lab.node(name)?.start(Launch::now())?;
        wait_until("the lease in the store", SOON, || Ok(ensure!(lab.leases_in_store()? > stored)))?;
        let written = Instant::now();
        wait_until("the lease on both nodes", SOON, || Ok(ensure!(leases(&a)? > known && leases(&b)? > known)))?;
        took.push(written.elapsed());
    }
    took.sort();
    ensure!(took[1] <= Duration::from_millis(100), "the median of {took:?} is over 100 ms");
    Ok(())
}
