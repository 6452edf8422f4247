//! A store of a kind that is not flannel's: Redis behind Webdis, both real, on a machine of their own. And the conformance suite against real servers.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::harness::{Need, Test};
use lab::process::run;
use lab::{Lab, Launch, Node, Pod, wait_until};

use crate::story::{SOON, all_pairs, flowing};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("redis: nodes get subnets through Redis and pass packets; a lease that ends is gone", cluster).needs(NEEDS),
    Test::new("redis: away and back under traffic, nothing is lost; made anew, every node has its subnet again", outage).needs(NEEDS),
    Test::new("redis: six nodes race for four subnets, and two of them are told", race).needs(NEEDS),
    Test::new("conformance: the store of Redis keeps to all rules, against the real server", conformance).needs(NEEDS),
];

const NEEDS: &[Need] = &[Need::Program("redis-server"), Need::Program("webdis")];
const CONFIG: &str = r#"{"Network":"10.50.0.0/16","Backend":{"Type":"udp"}}"#;

/// A Redis, and the Webdis that speaks for it.
struct Redis {
    node: Node,
    upstream: String,
    processes: RefCell<Vec<Child>>,
}

impl Redis {
    /// Both, on a node of their own.
    fn new(lab: &Lab) -> Result<Redis> {
        let node = lab.node("redis")?;
        let upstream = format!("redis=http://{}:7379", node.address());
        let redis = Redis { node, upstream, processes: RefCell::default() };
        redis.node.ip("link set lo up")?;
        redis.start()?;
        Ok(redis)
    }

    fn start(&self) -> Result<()> {
        let settings = self.node.dir("lib").join("webdis.json");
        let log = "/var/lib/webdis.log";
        let json = format!(
            r#"{{"redis_host":"127.0.0.1","redis_port":6379,"http_host":"{}","http_port":7379,"threads":2,"pool_size":4,"daemonize":false,"websockets":false,"database":0,"logfile":"{log}","verbosity":2}}"#,
            self.node.address()
        );
        std::fs::write(settings, json)?;
        self.spawn(&["redis-server", "--bind", "127.0.0.1", "--save", "", "--dir", "/var/lib"])?;
        wait_until("Redis to answer", SOON, || self.cli(&["PING"]).map(drop))?;
        self.spawn(&["webdis", "/var/lib/webdis.json"])?;
        wait_until("Webdis to listen", SOON, || {
            let address = (self.node.address(), 7379);
            self.node.net().inside(move || Ok(std::net::TcpStream::connect(address).map(drop)?))
        })
    }

    fn spawn(&self, words: &[&str]) -> Result<()> {
        let mut command = self.node.command("/usr/bin/env")?;
        let child = command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.processes.borrow_mut().push(child.with_context(|| format!("cannot start {}", words[0]))?);
        Ok(())
    }

    /// Stops both; Redis, which keeps nothing on disk, forgets everything.
    fn stop(&self) -> Result<()> {
        for mut process in self.processes.take() {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }

    fn cli(&self, words: &[&str]) -> Result<String> {
        run(self.node.command("/usr/bin/env")?.arg("redis-cli").args(words))
    }

    fn flags(&self) -> [&str; 4] {
        ["--store", "redis", "--upstream", &self.upstream]
    }

    fn configure(&self, config: &str) -> Result<()> {
        self.node.twill(&[&["config", "set"], self.flags().as_slice(), &[config]].concat()).map(drop)
    }

    fn start_node(&self, node: &Node, more: &[&str]) -> Result<()> {
        node.start(Launch::now().without_store().flags(&self.flags()).flags(more))
    }

    fn join(&self, lab: &Lab, name: &str) -> Result<Node> {
        let node = lab.node(name)?;
        self.start_node(&node, &[])?;
        node.ready(SOON)?;
        Ok(node)
    }

    fn leases(&self) -> Result<BTreeSet<String>> {
        Ok(self.cli(&["HKEYS", "{twill}:leases"])?.split_whitespace().map(|name| name.replace('-', "/")).collect())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // Its world ends with it anyway.
        let _ = self.stop();
    }
}

/// Two nodes that know each other, and a pod on each.
fn pair(lab: &Lab, redis: &Redis) -> Result<([Node; 2], [Pod; 2])> {
    let nodes = [redis.join(lab, "a")?, redis.join(lab, "b")?];
    lab.wait_for_routes(&[&nodes[0], &nodes[1]], SOON)?;
    let pods = [nodes[0].pod("p1")?, nodes[1].pod("p1")?];
    all_pairs(&pods)?;
    Ok((nodes, pods))
}

fn cluster() -> Result<()> {
    let lab = Lab::new("redis")?;
    let redis = Redis::new(&lab)?;
    redis.configure(CONFIG)?;
    let (nodes, pods) = pair(&lab, &redis)?;
    lab::transfer::transfer(&pods[0], &pods[1], 5_000_000)?;
    let expected: BTreeSet<String> = [nodes[0].subnet()?, nodes[1].subnet()?].into();
    ensure!(redis.leases()? == expected, "{:?} and not {expected:?}", redis.leases()?);
    let short = lab.node("short")?;
    redis.start_node(&short, &["--lease-ttl", "6s"])?;
    short.ready(SOON)?;
    let subnet = short.subnet()?;
    nodes[0].wait_for_lease(subnet.clone(), SOON)?;
    short.kill()?;
    nodes[0].wait_for_no_lease(&subnet, SOON)?;
    wait_until("Redis to have forgotten it", SOON, || {
        let leases = redis.leases()?;
        ensure!(!leases.contains(&subnet), "{leases:?}");
        Ok(())
    })
}

fn outage() -> Result<()> {
    let lab = Lab::new("redis")?;
    let redis = Redis::new(&lab)?;
    redis.configure(CONFIG)?;
    let (nodes, pods) = pair(&lab, &redis)?;
    let stream = flowing(&pods[0], &pods[1])?;
    let before: BTreeSet<String> = [nodes[0].subnet()?, nodes[1].subnet()?].into();
    redis.stop()?;
    wait_until("the daemon to miss its store", Duration::from_secs(60), || {
        let node = nodes[0].api("node")?;
        ensure!(node["store"]["reachable"] == false, "{node}");
        Ok(())
    })?;
    redis.start()?;
    redis.configure(CONFIG)?;
    wait_until("the leases in the new store", Duration::from_secs(60), || {
        let leases = redis.leases()?;
        ensure!(leases == before, "{leases:?} and not {before:?}");
        Ok(())
    })?;
    stream.stop()?.nothing_lost()
}

fn race() -> Result<()> {
    let lab = Lab::new("redis")?;
    let redis = Redis::new(&lab)?;
    redis.configure(r#"{"Network":"10.50.0.0/16","SubnetMin":"10.50.1.0","SubnetMax":"10.50.4.0","Backend":{"Type":"udp"}}"#)?;
    let nodes: Vec<Node> = (1..=6).map(|number| lab.node(&format!("n{number}"))).collect::<Result<_>>()?;
    let barrier = lab::Barrier::new()?;
    for node in &nodes {
        node.start(Launch::at(&barrier)?.without_store().flags(&redis.flags()))?;
    }
    barrier.open(nodes.len())?;
    let expected: BTreeSet<String> = (1..=4).map(|third| format!("10.50.{third}.0/24")).collect();
    wait_until("four nodes with a subnet and two without", Duration::from_secs(60), || {
        let held: Vec<String> = nodes.iter().filter_map(|node| node.subnet().ok()).collect();
        ensure!(held.len() == 4 && held.iter().cloned().collect::<BTreeSet<_>>() == expected, "{held:?}");
        Ok(())
    })?;
    ensure!(redis.leases()? == expected, "{:?}", redis.leases()?);
    for node in nodes.iter().filter(|node| node.subnet().is_err()) {
        wait_until(&format!("word of {} that there is none", node.name()), SOON, || {
            let log = node.log()?;
            ensure!(log.contains("is full"), "{log}");
            Ok(())
        })?;
    }
    Ok(())
}

fn conformance() -> Result<()> {
    let lab = Lab::new("redis")?;
    let redis = Redis::new(&lab)?;
    let file = lab::artifacts::plugins().join("store-redis.wasm");
    let file = file.to_str().context("a path")?;
    let report = redis.node.twill(&["plugin", "check", "--upstream", &redis.upstream, file])?;
    ensure!(report.contains("store-redis conforms") && report.contains("0 skipped"), "{report}");
    Ok(())
}
