//! A network config that goes wrong while all nodes run: each says so, none tears anything down, and the right one is taken up again.

use anyhow::{Result, ensure};
use lab::etcd::{NEEDS, PREFIX};
use lab::harness::Test;

use crate::on_etcd::{cluster, complains, config, is_well, kernel};
use crate::story::{flowing, goes_on};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("etcd config: spoilt while all run, on udp", || spoilt("udp")).needs(NEEDS),
    Test::new("etcd config: spoilt while all run, on vxlan", || spoilt("vxlan")).needs(NEEDS),
    Test::new("etcd config: spoilt while all run, on host-gw", || spoilt("host-gw")).needs(NEEDS),
];

fn spoilt(backend: &str) -> Result<()> {
    let (lab, etcd, nodes, pods) = cluster(&config(backend), ["a", "b", "c"])?;
    let before = nodes.iter().map(kernel).collect::<Result<Vec<_>>>()?;
    let stream = flowing(&pods[0], &pods[1])?;
    let right = config(backend);
    let wrong = [
        (right.replace('}', ""), "is not usable"),
        (right.replace("\"10.50.0.0/16\"", "7"), "is not usable"),
        (right.replace("10.50.0.0/16", "10.60.0.0/16"), "it changes the overlay network"),
        (right.replace("10.50.0.0/16", "10.50.0.0/17"), "it changes the overlay network"),
        (right.replace("\"Backend\"", r#""SubnetLen":26,"Backend""#), "this node's lease does not fit it"),
        (right.replace("\"Backend\"", r#""SubnetMin":"10.50.255.0","Backend""#), "this node's lease does not fit it"),
        (right.replace(backend, "carrier-pigeon"), "carrier-pigeon"),
    ];
    for (text, words) in &wrong {
        etcd.config(text)?;
        for node in &nodes {
            complains(node, words)?;
        }
        goes_on(&stream)?;
        // A restart of one of them changes nothing either: it knows the last good one.
        if words.starts_with("it changes") {
            nodes[2].kill()?;
            nodes[2].start(etcd.launch())?;
            complains(&nodes[2], words)?;
        }
    }
    etcd.ctl(&["del", &format!("{PREFIX}/config")])?;
    for node in &nodes {
        complains(node, "the network config is gone from the store")?;
    }
    for (node, before) in nodes.iter().zip(&before) {
        let now = kernel(node)?;
        let differ: Vec<&String> =
            now.iter().filter(|line| !before.contains(line)).chain(before.iter().filter(|line| !now.contains(line))).collect();
        ensure!(differ.is_empty(), "on {} this came or went: {differ:#?}", node.name());
    }
    etcd.config(&right)?;
    nodes.iter().try_for_each(is_well)?;
    stream.stop()?.nothing_lost()?;
    // A node that never had a config refuses a bad one, and says which key is wrong.
    etcd.config(&wrong[1].0)?;
    let late = lab.node("late")?;
    late.start(etcd.launch())?;
    let status = late.wait_for_end(crate::story::SOON)?;
    ensure!(!status.success(), "it ended as if all were well");
    Ok(())
}
