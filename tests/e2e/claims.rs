//! Many nodes claim at once: never two with one subnet, whatever dies meanwhile; and a full network is said to be full.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lab::harness::{Test, long};
use lab::{Barrier, Lab, Launch, Node, wait_until};

/// The tests of this subject.
pub const TESTS: &[Test] =
    &[Test::new("claims: 24 nodes from a barrier into exactly 24 subnets, a third killed amid the claim", full_house).alone()];

const NODES: usize = 24;
/// Exactly 24 subnets: 10.50.1.0/24 to 10.50.24.0/24.
const CONFIG: &str =
    r#"{"Network":"10.50.0.0/19","SubnetLen":24,"SubnetMin":"10.50.1.0","SubnetMax":"10.50.24.0","Backend":{"Type":"udp"}}"#;
/// 24 daemons on two cores take their time.
const PATIENCE: Duration = Duration::from_secs(120);

fn full_house() -> Result<()> {
    let lab = Lab::new("full house")?;
    lab.config(CONFIG)?;
    let nodes: Vec<Node> = (1..=NODES).map(|number| lab.node(&format!("n{number}"))).collect::<Result<_>>()?;
    let rounds = if long() { 50 } else { 3 };
    for round in 0..rounds {
        race(&lab, &nodes, round)?;
        if round + 1 == rounds {
            one_too_many(&lab)?;
        }
        for node in &nodes {
            node.kill()?;
        }
        forget_everything(&lab, &nodes)?;
    }
    Ok(())
}

/// All start at once; every third is killed at a moment of its own, from before its claim to after it, and started again.
fn race(lab: &Lab, nodes: &[Node], round: usize) -> Result<()> {
    let barrier = Barrier::new()?;
    for node in nodes {
        node.start(Launch::at(&barrier)?.flags(&["--listen", "off"]))?;
    }
    barrier.open(nodes.len())?;
    let victims: Vec<&Node> = nodes.iter().step_by(3).collect();
    for (index, victim) in victims.iter().enumerate() {
        strike(lab, victim, (index + round) % NODES)?;
    }
    for victim in &victims {
        victim.start(Launch::now().flags(&["--listen", "off"]))?;
    }
    for node in nodes {
        node.ready(PATIENCE)?;
    }
    let subnets: BTreeSet<String> = nodes.iter().map(Node::subnet).collect::<Result<_>>()?;
    let expected: BTreeSet<String> = (1..=NODES).map(|third| format!("10.50.{third}.0/24")).collect();
    ensure!(subnets == expected, "round {round}: {subnets:?}");
    wait_until("all leases on the last node", PATIENCE, || {
        let leases = nodes[NODES - 1].api("leases")?;
        ensure!(leases.as_array().is_some_and(|leases| leases.len() == NODES), "{leases}");
        Ok(())
    })
}

/// Kills a daemon amid the claims of all: when that many leases are in the store, or after a while.
fn strike(lab: &Lab, victim: &Node, leases: usize) -> Result<()> {
    let start = Instant::now();
    while lab.leases_in_store()? < leases && start.elapsed() < Duration::from_secs(5) {
        std::thread::yield_now();
    }
    victim.kill()
}

fn one_too_many(lab: &Lab) -> Result<()> {
    let late = lab.node("n25")?;
    late.start(Launch::now().flags(&["--listen", "off"]))?;
    wait_until("the sentence about the full network", PATIENCE, || {
        let log = late.log()?;
        ensure!(log.contains("network 10.50.0.0/19 is full"), "{log}");
        Ok(())
    })?;
    ensure!(late.subnet().is_err(), "the 25th node has a subnet: {:?}", late.subnet());
    late.kill()
}

/// An empty store with the same config, and nodes that never were.
fn forget_everything(lab: &Lab, nodes: &[Node]) -> Result<()> {
    std::fs::remove_dir_all(lab.store())?;
    std::fs::create_dir(lab.store())?;
    for node in nodes {
        for dir in ["run", "lib"] {
            std::fs::remove_dir_all(node.dir(dir))?;
            std::fs::create_dir(node.dir(dir))?;
        }
        // A killed daemon leaves its tunnel to the next one; here there is none.
        node.ip("link delete flannel0")?;
    }
    lab.config(CONFIG)
}
