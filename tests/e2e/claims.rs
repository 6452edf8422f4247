//! Many nodes claim at once, from every store: never two with one subnet, whatever dies meanwhile; and a full network is said to be full.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lab::etcd::{Etcd, NEEDS, PREFIX};
use lab::harness::{Test, long};
use lab::{Barrier, Lab, Launch, Node, wait_until};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("claims: 24 nodes from a barrier into exactly 24 subnets, a third killed amid the claim", files).alone(),
    Test::new("claims: the same in etcd", etcd).needs(NEEDS).alone(),
];

const NODES: usize = 24;
/// Exactly 24 subnets: 10.50.1.0/24 to 10.50.24.0/24.
const CONFIG: &str =
    r#"{"Network":"10.50.0.0/19","SubnetLen":24,"SubnetMin":"10.50.1.0","SubnetMax":"10.50.24.0","Backend":{"Type":"udp"}}"#;
/// 24 daemons on two cores take their time.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where the claims are made.
trait Place {
    /// A launch of a daemon with this store.
    fn on(&self, launch: Launch) -> Launch;
    /// How many leases it holds now.
    fn leases(&self) -> Result<usize>;
    /// Empties it but for the config.
    fn clear(&self) -> Result<()>;
}

struct Files<'a>(&'a Lab);

impl Place for Files<'_> {
    fn on(&self, launch: Launch) -> Launch {
        launch
    }

    fn leases(&self) -> Result<usize> {
        self.0.leases_in_store()
    }

    fn clear(&self) -> Result<()> {
        std::fs::remove_dir_all(self.0.store())?;
        std::fs::create_dir(self.0.store())?;
        self.0.config(CONFIG)
    }
}

impl Place for Etcd {
    fn on(&self, launch: Launch) -> Launch {
        launch.on(&self.flags())
    }

    fn leases(&self) -> Result<usize> {
        let range = format!(r#"{{"key":"{}","range_end":"{}","count_only":true}}"#, key("/subnets/"), key("/subnets0"));
        Ok(self.post("/v3/kv/range", &range)?["count"].as_str().map_or(Ok(0), str::parse)?)
    }

    fn clear(&self) -> Result<()> {
        self.ctl(&["del", "--prefix", PREFIX])?;
        self.config(CONFIG)
    }
}

fn key(name: &str) -> String {
    lab::etcd::encode(&format!("{PREFIX}{name}"))
}

fn files() -> Result<()> {
    let lab = Lab::new("full house")?;
    lab.config(CONFIG)?;
    full_house(&lab, &Files(&lab))
}

fn etcd() -> Result<()> {
    let lab = Lab::new("full house")?;
    full_house(&lab, &Etcd::with_config(&lab, CONFIG)?)
}

fn full_house(lab: &Lab, place: &impl Place) -> Result<()> {
    let nodes: Vec<Node> = (1..=NODES).map(|number| lab.node(&format!("n{number}"))).collect::<Result<_>>()?;
    let rounds = if long() { 50 } else { 3 };
    for round in 0..rounds {
        race(place, &nodes, round)?;
        if round + 1 == rounds {
            one_too_many(lab, place)?;
        }
        for node in &nodes {
            node.kill()?;
        }
        forget_everything(place, &nodes)?;
    }
    Ok(())
}

/// All start at once; every third is killed at a moment of its own, from before its claim to after it, and started again.
fn race(place: &impl Place, nodes: &[Node], round: usize) -> Result<()> {
    let barrier = Barrier::new()?;
    for node in nodes {
        node.start(quiet(place, Launch::at(&barrier)?))?;
    }
    barrier.open(nodes.len())?;
    let victims: Vec<&Node> = nodes.iter().step_by(3).collect();
    for (index, victim) in victims.iter().enumerate() {
        strike(place, victim, (index + round) % NODES)?;
    }
    for victim in &victims {
        victim.start(quiet(place, Launch::now()))?;
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

fn quiet(place: &impl Place, launch: Launch) -> Launch {
    place.on(launch).flags(&["--listen", "off"])
}

/// Kills a daemon amid the claims of all: when that many leases are in the store, or after a while.
fn strike(place: &impl Place, victim: &Node, leases: usize) -> Result<()> {
    let start = Instant::now();
    while place.leases()? < leases && start.elapsed() < Duration::from_secs(5) {
        std::thread::yield_now();
    }
    victim.kill()
}

fn one_too_many(lab: &Lab, place: &impl Place) -> Result<()> {
    let late = lab.node("n25")?;
    late.start(quiet(place, Launch::now()))?;
    wait_until("the sentence about the full network", PATIENCE, || {
        let log = late.log()?;
        ensure!(log.contains("network 10.50.0.0/19 is full"), "{log}");
        Ok(())
    })?;
    ensure!(late.subnet().is_err(), "the 25th node has a subnet: {:?}", late.subnet());
    late.kill()
}

/// An empty store with the same config, and nodes that never were.
fn forget_everything(place: &impl Place, nodes: &[Node]) -> Result<()> {
    place.clear()?;
    for node in nodes {
        for dir in ["run", "lib"] {
            std::fs::remove_dir_all(node.dir(dir))?;
            std::fs::create_dir(node.dir(dir))?;
        }
        // A killed daemon leaves its tunnel to the next one; here there is none.
        node.ip("link delete flannel0")?;
    }
    Ok(())
}
