//! A node with nothing to do does nothing: no netlink write, hardly any processor time.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::harness::{Test, long};

use crate::story::cluster;

/// The tests of this subject.
pub const TESTS: &[Test] = &[Test::new("idle: no netlink write and under 0.1 % of a processor", quiet).alone()];

fn quiet() -> Result<()> {
    let (_lab, nodes, _pods) = cluster(["a", "b", "c"])?;
    // The last neighbour entries of the pings settle.
    std::thread::sleep(Duration::from_secs(3));
    let length = Duration::from_secs(if long() { 60 } else { 20 });
    let mut monitor = nodes[0].net().command("ip")?;
    let mut monitor = monitor.args(["monitor", "link", "address", "route", "rule"]).stdout(Stdio::piped()).spawn()?;
    let before: Vec<Duration> = nodes.iter().map(|node| node.cpu_time()).collect::<Result<_>>()?;
    std::thread::sleep(length);
    for (node, before) in nodes.iter().zip(before) {
        let used = node.cpu_time()? - before;
        // The kernel counts in ticks of 10 ms: allow one tick more.
        ensure!(used <= length / 1000 + Duration::from_millis(10), "{} used {used:?} of {length:?}", node.name());
    }
    // The monitor must have been listening: the last thing that it tells is this.
    nodes[0].ip("link add witness type bridge")?;
    std::thread::sleep(Duration::from_millis(300));
    monitor.kill()?;
    let told = String::from_utf8(monitor.wait_with_output().context("ip monitor")?.stdout)?;
    let first = told.lines().next().unwrap_or_default();
    ensure!(first.contains("witness"), "changes while idle:\n{told}");
    Ok(())
}
