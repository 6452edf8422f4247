//! The store "etcd" against a real etcd: flannel's keys and values, changes, outages, a wiped store, a compacted one, and a race for subnets.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::harness::Test;
use lab::process::run;
use lab::{Lab, Launch, Node, Pod, Stream, wait_until};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("etcd: two nodes reach each other, by the keys and values that flannel reads", two_nodes),
    Test::new("etcd: a third node is known within a second, and garbage beside its lease spoils nothing", third_node),
    Test::new("etcd: stopped and started again under traffic, nothing is lost and what changed meanwhile arrives", outage),
    Test::new("etcd: wiped, every node has its subnet again", wiped),
    Test::new("etcd: compacted while a node is frozen, it starts over", compacted),
    Test::new("etcd: six nodes race for six subnets", race),
    Test::new("conformance: the store of etcd keeps to all rules, against the real server", conformance),
];

const SOON: Duration = Duration::from_secs(15);
const PREFIX: &str = "/coreos.com/network";
const CONFIG: &str = r#"{"Network":"10.50.0.0/16","Backend":{"Type":"udp"}}"#;

/// An etcd on a machine of its own.
struct Etcd {
    node: Node,
    url: String,
    process: RefCell<Option<Child>>,
}

impl Etcd {
    /// None, and a word why, where etcd is not installed.
    fn new(lab: &Lab) -> Result<Option<Etcd>> {
        if let Some(missing) = ["etcd", "etcdctl"].into_iter().find(|program| {
            run(std::process::Command::new(program).arg("version")).is_err()
                && run(std::process::Command::new(program).arg("--version")).is_err()
        }) {
            println!("skipped: {missing} is not installed (Debian: etcd-server, etcd-client)");
            return Ok(None);
        }
        let node = lab.node("etcd")?;
        let url = format!("http://{}:2379", node.address());
        let etcd = Etcd { node, url, process: RefCell::new(None) };
        etcd.start()?;
        etcd.twill_config(CONFIG)?;
        Ok(Some(etcd))
    }

    fn start(&self) -> Result<()> {
        let mut etcd = self.node.command("/usr/bin/env")?;
        etcd.args(["etcd", "--data-dir", "/var/lib/etcd", "--log-level", "error", "--listen-peer-urls", "http://127.0.0.1:2380"]);
        etcd.args(["--listen-client-urls", &self.url, "--advertise-client-urls", &self.url]);
        let child = etcd.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("cannot start etcd")?;
        *self.process.borrow_mut() = Some(child);
        wait_until("etcd to answer", SOON, || self.ctl(&["endpoint", "health"]).map(drop))
    }

    fn stop(&self) -> Result<()> {
        let mut child = self.process.borrow_mut().take().context("etcd does not run")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Forgets everything that it holds; it must not run.
    fn wipe(&self) -> Result<()> {
        Ok(std::fs::remove_dir_all(self.node.dir("lib").join("etcd"))?)
    }

    fn ctl(&self, words: &[&str]) -> Result<String> {
        let mut etcdctl = self.node.command("/usr/bin/env")?;
        run(etcdctl.arg("etcdctl").args(["--endpoints", &self.url]).args(words).env("ETCDCTL_API", "3"))
    }

    fn flags(&self) -> [&str; 4] {
        ["--store", "etcd", "--etcd-endpoints", &self.url]
    }

    fn twill_config(&self, config: &str) -> Result<()> {
        self.node.twill(&[&["config", "set"], self.flags().as_slice(), &[config]].concat()).map(drop)
    }

    fn join(&self, lab: &Lab, name: &str) -> Result<Node> {
        let node = lab.node(name)?;
        node.start(Launch::now().without_store().flags(&self.flags()))?;
        node.ready(SOON)?;
        Ok(node)
    }

    /// Writes a lease as a flannel node with the udp backend does: on an etcd lease of a day.
    fn flannel_joins(&self, subnet: &str, public: &str) -> Result<()> {
        let granted = self.ctl(&["lease", "grant", "86400"])?;
        let lease = granted.split_whitespace().nth(1).context("etcdctl names no lease")?;
        let value = format!(r#"{{"PublicIP":"{public}","PublicIPv6":null,"Colour":"blue"}}"#);
        self.ctl(&["put", &format!("--lease={lease}"), &Etcd::place(subnet), &value]).map(drop)
    }

    /// The place of a subnet such as 10.50.1.0/24.
    fn place(subnet: &str) -> String {
        format!("{PREFIX}/subnets/{}", subnet.replace('/', "-"))
    }

    fn revision(&self, key: &str) -> Result<u64> {
        let answer: serde_json::Value = serde_json::from_str(&self.ctl(&["get", key, "-w", "json"])?)?;
        answer["header"]["revision"].as_u64().context("no revision")
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        // Its world ends with it anyway.
        let _ = self.stop();
    }
}

/// Two nodes that know each other, and a pod on each.
fn pair(lab: &Lab, etcd: &Etcd) -> Result<([Node; 2], [Pod; 2])> {
    let nodes = [etcd.join(lab, "a")?, etcd.join(lab, "b")?];
    lab.wait_for_routes(&[&nodes[0], &nodes[1]], SOON)?;
    let pods = [nodes[0].pod("p")?, nodes[1].pod("p")?];
    pods[0].reaches(&pods[1], SOON)?;
    Ok((nodes, pods))
}

fn two_nodes() -> Result<()> {
    let lab = Lab::new("etcd")?;
    let Some(etcd) = Etcd::new(&lab)? else { return Ok(()) };
    let (nodes, _) = pair(&lab, &etcd)?;
    for node in &nodes {
        let key = Etcd::place(&node.subnet()?);
        let value = etcd.ctl(&["get", "--print-value-only", &key])?;
        ensure!(value.trim_end() == format!(r#"{{"PublicIP":"{}","PublicIPv6":null}}"#, node.address()), "{key}: {value}");
        let stored: serde_json::Value = serde_json::from_str(&etcd.ctl(&["get", &key, "-w", "json"])?)?;
        let lease = stored["kvs"][0]["lease"].as_i64().context("the key has no etcd lease")?;
        let left = etcd.ctl(&["lease", "timetolive", &format!("{lease:x}")])?;
        ensure!(left.contains("granted with TTL(86400s)"), "{left}");
    }
    let keys = etcd.ctl(&["get", "--prefix", "--keys-only", &format!("{PREFIX}/subnets")])?;
    ensure!(keys.split_whitespace().count() == 2, "flannel would list {keys}");
    Ok(())
}

fn third_node() -> Result<()> {
    let lab = Lab::new("etcd")?;
    let Some(etcd) = Etcd::new(&lab)? else { return Ok(()) };
    let (nodes, pods) = pair(&lab, &etcd)?;
    let stream = Stream::start(&pods[0], &pods[1], Duration::from_millis(5))?;
    for (key, value) in [("subnets/garbage", "x"), ("subnets/10.50.250.0-24", r#"{"PublicIP":""}"#), ("subnets-extra/x", "x")] {
        etcd.ctl(&["put", &format!("{PREFIX}/{key}"), value])?;
    }
    let began = Instant::now();
    etcd.flannel_joins("10.50.251.0/24", "192.168.50.77")?;
    nodes[0].wait_for_lease("10.50.251.0/24".into(), Duration::from_secs(1))?;
    println!("a flannel node's lease was in use {:?} after etcdctl was started", began.elapsed());
    etcd.ctl(&["del", &Etcd::place("10.50.251.0/24")])?;
    nodes[0].wait_for_no_lease("10.50.251.0/24", Duration::from_secs(1))?;
    stream.stop()?.nothing_lost()
}

fn outage() -> Result<()> {
    let lab = Lab::new("etcd")?;
    let Some(etcd) = Etcd::new(&lab)? else { return Ok(()) };
    let (nodes, pods) = pair(&lab, &etcd)?;
    let stream = Stream::start(&pods[0], &pods[1], Duration::from_millis(5))?;
    etcd.stop()?;
    wait_until("the daemon to miss its store", Duration::from_secs(45), || {
        let node = nodes[0].api("node")?;
        ensure!(node["store"]["reachable"] == false, "{node}");
        Ok(())
    })?;
    etcd.start()?;
    etcd.flannel_joins("10.50.252.0/24", "192.168.50.78")?;
    nodes[0].wait_for_lease("10.50.252.0/24".into(), SOON)?;
    stream.stop()?.nothing_lost()
}

fn wiped() -> Result<()> {
    let lab = Lab::new("etcd")?;
    let Some(etcd) = Etcd::new(&lab)? else { return Ok(()) };
    let (nodes, pods) = pair(&lab, &etcd)?;
    let before: Vec<String> = nodes.iter().map(Node::subnet).collect::<Result<_>>()?;
    let stream = Stream::start(&pods[0], &pods[1], Duration::from_millis(5))?;
    etcd.stop()?;
    etcd.wipe()?;
    etcd.start()?;
    etcd.twill_config(CONFIG)?;
    for (node, subnet) in nodes.iter().zip(&before) {
        let expected = format!(r#""PublicIP":"{}""#, node.address());
        wait_until(&format!("{subnet} in the new store"), SOON, || {
            let value = etcd.ctl(&["get", "--print-value-only", &Etcd::place(subnet)])?;
            ensure!(value.contains(&expected), "{value:?}");
            Ok(())
        })?;
    }
    stream.stop()?.nothing_lost()
}

fn compacted() -> Result<()> {
    let lab = Lab::new("etcd")?;
    let Some(etcd) = Etcd::new(&lab)? else { return Ok(()) };
    let (nodes, _) = pair(&lab, &etcd)?;
    nodes[0].freeze()?;
    // The frozen daemon's stream would hold what happens now: the server's end of it is cut with the server.
    etcd.stop()?;
    etcd.start()?;
    let key = Etcd::place("10.50.253.0/24");
    etcd.flannel_joins("10.50.253.0/24", "192.168.50.79")?;
    etcd.ctl(&["put", "/elsewhere", "x"])?;
    etcd.ctl(&["compaction", &etcd.revision(&key)?.to_string()])?;
    nodes[0].thaw()?;
    nodes[0].wait_for_lease("10.50.253.0/24".into(), SOON)
}

fn race() -> Result<()> {
    let lab = Lab::new("etcd")?;
    let Some(etcd) = Etcd::new(&lab)? else { return Ok(()) };
    let narrow = r#"{"Network":"10.50.0.0/16","SubnetMin":"10.50.1.0","SubnetMax":"10.50.6.0","Backend":{"Type":"udp"}}"#;
    etcd.ctl(&["put", &format!("{PREFIX}/config"), narrow])?;
    let nodes: Vec<Node> = (1..=6).map(|number| lab.node(&format!("n{number}"))).collect::<Result<_>>()?;
    let barrier = lab::Barrier::new()?;
    for node in &nodes {
        node.start(Launch::at(&barrier)?.without_store().flags(&etcd.flags()))?;
    }
    barrier.open(nodes.len())?;
    for node in &nodes {
        node.ready(Duration::from_secs(60))?;
    }
    let subnets: BTreeSet<String> = nodes.iter().map(Node::subnet).collect::<Result<_>>()?;
    let expected: BTreeSet<String> = (1..=6).map(|third| format!("10.50.{third}.0/24")).collect();
    ensure!(subnets == expected, "{subnets:?}");
    Ok(())
}

fn conformance() -> Result<()> {
    let lab = Lab::new("etcd")?;
    let Some(etcd) = Etcd::new(&lab)? else { return Ok(()) };
    etcd.ctl(&["del", "--prefix", PREFIX])?;
    let file = lab::artifacts::plugins().join("store-etcd.wasm");
    let upstream = format!("etcd={}", etcd.url);
    let report = etcd.node.twill(&["plugin", "check", "--upstream", &upstream, file.to_str().context("a path")?])?;
    ensure!(report.contains("store-etcd conforms"), "{report}");
    Ok(())
}
