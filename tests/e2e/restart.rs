//! A daemon that is killed comes back to its own subnet, and its traffic with it, also when the store cannot be read.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::harness::Test;
use lab::{Launch, Node, Pod, Stream, wait_until};

use crate::story::{SOON, cluster, flowing, remembers};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("restart: after SIGKILL the same subnet, traffic back within a second", after_kill),
    Test::new("restart: with the store unreadable the remembered leases carry on", without_store),
    Test::new("restart: subnet.env is there again after a reboot", after_reboot),
];

/// The bound: from the process being up to traffic.
const BOUND: Duration = Duration::from_secs(1);

fn after_kill() -> Result<()> {
    let (_lab, nodes, pods) = cluster(["a", "b", "c"])?;
    let subnet = nodes[1].subnet()?;
    for _ in 0..3 {
        let (to, from) = (flowing(&pods[0], &pods[1])?, flowing(&pods[1], &pods[2])?);
        nodes[1].kill()?;
        resumes(&nodes[1], [to, from], &pods)?;
        nodes[1].ready(SOON)?;
        ensure!(nodes[1].subnet()? == subnet, "{subnet} became {}", nodes[1].subnet()?);
    }
    Ok(())
}

fn without_store() -> Result<()> {
    let (lab, nodes, pods) = cluster(["a", "b", "c"])?;
    let subnet = nodes[1].subnet()?;
    remembers(&nodes[1], &nodes.each_ref())?;
    let (to, from) = (flowing(&pods[0], &pods[1])?, flowing(&pods[1], &pods[2])?);
    lab.take_store_away()?;
    nodes[1].kill()?;
    resumes(&nodes[1], [to, from], &pods)?;
    ensure!(nodes[1].subnet()? == subnet, "{subnet} became {}", nodes[1].subnet()?);
    let status = wait_until("word of the missing store", SOON, || {
        let node = nodes[1].api("node")?;
        ensure!(node["store"]["reachable"] == false && node["store"]["remembered"] == true, "{node}");
        Ok(node)
    })?;
    ensure!(!status["problems"].as_array().context("no list of problems")?.is_empty(), "nothing is said to be wrong: {status}");
    lab.bring_store_back()?;
    wait_until("the store to be used again", SOON, || {
        let node = nodes[1].api("node")?;
        ensure!(node["store"]["reachable"] == true && node["store"]["remembered"] == false && node["ready"] == true, "{node}");
        Ok(())
    })?;
    ensure!(nodes[1].subnet()? == subnet && nodes[1].api("leases")?.as_array().is_some_and(|leases| leases.len() == 3));
    Ok(())
}

/// Starts the daemon again: both streams must go on within the bound.
fn resumes(node: &Node, streams: [Stream; 2], pods: &[Pod]) -> Result<()> {
    node.start(Launch::now())?;
    let up = Instant::now();
    let before = streams.each_ref().map(Stream::newest);
    wait_until("both directions to carry traffic again", SOON, || {
        let now = streams.each_ref().map(Stream::newest);
        ensure!(now[0] > before[0] + 5 && now[1] > before[1] + 5, "{before:?} became {now:?}; {}", node.api("tunnels")?);
        Ok(())
    })?;
    let took = up.elapsed();
    for stream in streams {
        let report = stream.stop()?;
        ensure!(report.duplicates == 0, "{report}");
    }
    ensure!(took <= BOUND, "traffic was back only {took:?} after the start");
    pods[1].reaches(&pods[2], SOON)
}

fn after_reboot() -> Result<()> {
    let (_lab, [a, _b], pods) = cluster(["a", "b"])?;
    let subnet = a.subnet()?;
    a.kill()?;
    // What a reboot takes: everything below /run.
    for entry in std::fs::read_dir(a.dir("run"))? {
        std::fs::remove_dir_all(entry?.path())?;
    }
    a.start(Launch::now())?;
    a.ready(SOON)?;
    ensure!(a.subnet()? == subnet, "{subnet} became {}", a.subnet()?);
    pods[0].reaches(&pods[1], SOON)
}
