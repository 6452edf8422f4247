//! Ways fail one upon another: two nodes find what still works, also when both have failed ways in use, by which no proof of another could come back.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::harness::Test;
use lab::{Node, wait_until};

use crate::change::{path, use_backend, wait_for_all};
use crate::story::{SOON, cluster};

/// The tests of this subject.
pub const TESTS: &[Test] = &[Test::new("turns: whichever of three ways is left or comes back, both nodes find it", whichever)];

/// The three ways, best first, each with what filters it where it comes in.
const WAYS: [(&str, &str); 3] = [
    ("host-gw", "chain of_none { type filter hook prerouting priority -300; iifname eth0 ip saddr 10.50.0.0/16 drop; }"),
    ("vxlan", "chain of_vxlan { type filter hook input priority 0; udp dport 8472 drop; }"),
    ("udp", "chain of_udp { type filter hook input priority 0; udp dport 8285 drop; }"),
];
/// Two nodes that take turns meet within this time (host/reconcile/src/turns.rs), most often much sooner.
const ALL_TURNS: Duration = Duration::from_secs(300);

/// Filters all of these ways on both nodes, and no other.
fn filter(nodes: [&Node; 2], ways: &[&str]) -> Result<()> {
    let rules: Vec<&str> = WAYS.iter().filter(|(way, _)| ways.contains(way)).map(|(_, rule)| *rule).collect();
    nodes.into_iter().try_for_each(|node| node.firewall(&rules.join("\n")))
}

/// Waits until both nodes know that the peer answers by no way.
fn all_fail([a, b]: [&Node; 2]) -> Result<()> {
    for (from, to) in [(a, b), (b, a)] {
        wait_until("the failure of all ways", Duration::from_secs(60), || {
            let path = path(from, to)?;
            let failed =
                |way: &str| path["ways"].as_array().into_iter().flatten().any(|one| one["way"] == way && one["verdict"] == "failed");
            ensure!(path["state"] == "down" && WAYS.iter().all(|(way, _)| failed(way)), "{path}");
            Ok(())
        })?;
    }
    Ok(())
}

fn whichever() -> Result<()> {
    let (lab, nodes, [p, q]) = cluster(["a", "b"])?;
    let [a, b] = &nodes;
    for way in ["vxlan", "host-gw"] {
        use_backend(&lab, &format!(r#"{{"Type":"{way}"}}"#))?;
        wait_for_all(&[a, b], way)?;
    }
    // Two of three fail within a second of each other.
    filter([a, b], &["host-gw"])?;
    std::thread::sleep(Duration::from_millis(700));
    filter([a, b], &["host-gw", "vxlan"])?;
    found([a, b], "udp")?;
    p.reaches(&q, SOON)?;
    // Then all do, and each alone comes back, which none of the nodes may have in use.
    for back in ["vxlan", "host-gw", "udp"] {
        filter([a, b], &WAYS.map(|(way, _)| way))?;
        all_fail([a, b])?;
        let others: Vec<&str> = WAYS.iter().map(|(way, _)| *way).filter(|way| *way != back).collect();
        filter([a, b], &others)?;
        found([a, b], back)?;
        p.reaches(&q, SOON)?;
        q.reaches(&p, SOON)?;
    }
    filter([a, b], &[])?;
    wait_for_all(&[a, b], "host-gw")
}

/// Waits until both nodes reach each other by that way, and it is proved.
fn found([a, b]: [&Node; 2], way: &str) -> Result<()> {
    let began = std::time::Instant::now();
    for (from, to) in [(a, b), (b, a)] {
        wait_until(&format!("{way} from {} to {}", from.name(), to.name()), ALL_TURNS, || {
            let path = path(from, to)?;
            ensure!(path["way"] == way && path["state"] != "down" && path["state"] != "proving", "{path}");
            Ok(())
        })?;
    }
    println!("{way} was found after {:.1} s", began.elapsed().as_secs_f64());
    Ok(())
}
