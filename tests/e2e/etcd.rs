//! The store "etcd" against a real etcd: flannel's keys and values, what changes and how fast it is known, servers that die, nodes that race.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use lab::etcd::{Etcd, NEEDS, PREFIX, Plan, encode, place};
use lab::harness::{Test, long};
use lab::{Lab, Launch, Node, api, wait_until};

use crate::story::{SOON, flowing};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("etcd: two nodes reach each other, by the keys and values that flannel reads", two_nodes).needs(NEEDS),
    Test::new("etcd: garbage beside its leases spoils nothing but itself", garbage).needs(NEEDS),
    Test::new("etcd: a write is known on the other nodes within 50 ms", news).needs(NEEDS).alone(),
    Test::new("etcd: of three servers the leader dies, and writes go on being known without a lost packet", leader_dies).needs(NEEDS),
    Test::new("etcd: an endpoint that is silent is passed over", silent_endpoint).needs(NEEDS),
    Test::new("etcd: six nodes race for six subnets", race).needs(NEEDS),
    Test::new("conformance: the store of etcd keeps to all rules, against the real server", conformance).needs(NEEDS),
];

const CONFIG: &str = r#"{"Network":"10.50.0.0/16","Backend":{"Type":"udp"}}"#;

fn two_nodes() -> Result<()> {
    let lab = Lab::new("etcd")?;
    let etcd = Etcd::start(&lab, Plan::plain())?;
    // As an operator does it.
    let flags = etcd.flags();
    let words: Vec<&str> = ["config", "set"].into_iter().chain(flags.iter().map(String::as_str)).chain([CONFIG]).collect();
    etcd.node().twill(&words)?;
    ensure!(etcd.value(&format!("{PREFIX}/config"))? == CONFIG, "the config is not as it was given");
    let [a, b] = etcd.cluster(&lab, ["a", "b"])?;
    a.pod("p")?.reaches(&b.pod("p")?, SOON)?;
    for node in [&a, &b] {
        let key = place(&node.subnet()?);
        let value = etcd.value(&key)?;
        ensure!(value == format!(r#"{{"PublicIP":"{}","PublicIPv6":null}}"#, node.address()), "{key}: {value}");
        ensure!(etcd.term(&key)? == Some(86_400), "{:?}", etcd.term(&key)?);
    }
    let keys = etcd.keys(&format!("{PREFIX}/subnets"))?;
    ensure!(keys.len() == 2, "flannel would list {keys:?}");
    Ok(())
}

fn garbage() -> Result<()> {
    let lab = Lab::new("garbage")?;
    let etcd = Etcd::with_config(&lab, CONFIG)?;
    let [a, b] = etcd.cluster(&lab, ["a", "b"])?;
    let (p, q) = (a.pod("p")?, b.pod("p")?);
    p.reaches(&q, SOON)?;
    let stream = flowing(&p, &q)?;
    for (key, value) in [("subnets/garbage", "x"), ("subnets/10.50.250.0-24", r#"{"PublicIP":""}"#), ("subnets-extra/x", "x")] {
        etcd.put(&format!("{PREFIX}/{key}"), value)?;
    }
    etcd.flannel_joins("udp", "10.50.251.0/24", "192.168.50.77")?;
    a.wait_for_lease("10.50.251.0/24".into(), SOON)?;
    wait_until("all three to be named", SOON, || {
        let odd = a.api("node")?["store"]["oddities"].to_string();
        ensure!(["subnets/garbage", "10.50.250.0-24", "subnets-extra/x"].iter().all(|place| odd.contains(place)), "{odd}");
        Ok(())
    })?;
    etcd.ctl(&["del", &place("10.50.251.0/24")])?;
    a.wait_for_no_lease("10.50.251.0/24", SOON)?;
    stream.stop()?.nothing_lost()
}

/// From the moment that etcd has answered a write to the moment that another node's API shows it; each node is watched by a thread of its own.
fn news() -> Result<()> {
    const P99: Duration = Duration::from_millis(50);
    const MEDIAN: Duration = Duration::from_millis(20);
    let lab = Lab::new("news")?;
    let etcd = Etcd::with_config(&lab, CONFIG)?;
    let nodes = etcd.cluster(&lab, ["a", "b"])?;
    let subnet = "10.50.251.0/24";
    let key = encode(&place(subnet));
    let put = format!(r#"{{"key":"{key}","value":"{}"}}"#, encode(r#"{"PublicIP":"192.168.50.77","PublicIPv6":null}"#));
    let delete = format!(r#"{{"key":"{key}"}}"#);
    let mut took = Vec::new();
    for round in 0..if long() { 400 } else { 100 } {
        let there = round % 2 == 0;
        let watchers = nodes.each_ref().map(|node| seen(node, subnet, there));
        match there {
            true => etcd.post("/v3/kv/put", &put)?,
            false => etcd.post("/v3/kv/deleterange", &delete)?,
        };
        let written = Instant::now();
        for watcher in watchers {
            let seen = watcher.join().map_err(|_| anyhow!("a watcher panicked"))??;
            took.push(seen.saturating_duration_since(written));
        }
    }
    took.sort();
    let (median, p99) = (took[took.len() / 2], took[(took.len() * 99).div_ceil(100) - 1]);
    println!("{} observations: median {median:?}, p99 {p99:?}", took.len());
    ensure!(median <= MEDIAN && p99 <= P99, "of {} observations the median is {median:?}, p99 {p99:?}", took.len());
    Ok(())
}

/// When a node's API first shows a lease, or no longer.
fn seen(node: &Node, subnet: &'static str, there: bool) -> std::thread::JoinHandle<Result<Instant>> {
    let socket = node.socket();
    std::thread::spawn(move || {
        let deadline = Instant::now() + SOON;
        loop {
            let (_, leases) = api::get(&socket, "/api/v1/leases")?;
            if leases.contains(subnet) == there {
                return Ok(Instant::now());
            }
            ensure!(Instant::now() < deadline, "{subnet}: {there} was never shown: {leases}");
            std::thread::sleep(Duration::from_millis(1));
        }
    })
}

fn leader_dies() -> Result<()> {
    let lab = Lab::new("three servers")?;
    let etcd = Etcd::start(&lab, Plan::plain().members(3))?;
    etcd.config(CONFIG)?;
    let [a, b] = etcd.cluster(&lab, ["a", "b"])?;
    let (p, q) = (a.pod("p")?, b.pod("p")?);
    p.reaches(&q, SOON)?;
    let stream = flowing(&p, &q)?;
    for round in 0..if long() { 10 } else { 2 } {
        let leader = etcd.leader()?;
        leader.stop()?;
        // The two that are left agree on another; the first write that they take is known to all.
        let subnet = format!("10.50.{}.0/24", 200 + round);
        wait_until("a write that the others take", SOON, || etcd.flannel_joins("udp", &subnet, &format!("192.168.50.{}", 100 + round)))?;
        for node in [&a, &b] {
            node.wait_for_lease(subnet.clone(), SOON)?;
        }
        etcd.go_on()?;
    }
    // A server that is not the leader costs nothing either.
    let follower = etcd.members().iter().find(|member| etcd.leader().is_ok_and(|leader| leader.url() != member.url()));
    follower.context("all lead")?.stop()?;
    let late = etcd.join(&lab, "late")?;
    for node in [&a, &b] {
        node.wait_for_lease(late.subnet()?, SOON)?;
    }
    stream.stop()?.nothing_lost()
}

fn silent_endpoint() -> Result<()> {
    let lab = Lab::new("silent")?;
    let etcd = Etcd::with_config(&lab, CONFIG)?;
    // A machine that is there and answers nothing at all.
    let mute = lab.node("mute")?;
    mute.firewall("chain arrival {\n type filter hook input priority 0; policy drop;\n}")?;
    let a = lab.node("a")?;
    let endpoints = format!("--etcd-endpoints=http://{}:2379,{}", mute.address(), etcd.urls());
    a.start(Launch::now().on(&["--store=etcd".into(), endpoints]))?;
    a.ready(SOON)?;
    etcd.flannel_joins("udp", "10.50.251.0/24", "192.168.50.77")?;
    a.wait_for_lease("10.50.251.0/24".into(), SOON)
}

fn race() -> Result<()> {
    let lab = Lab::new("race")?;
    let narrow = r#"{"Network":"10.50.0.0/16","SubnetMin":"10.50.1.0","SubnetMax":"10.50.6.0","Backend":{"Type":"udp"}}"#;
    let etcd = Etcd::with_config(&lab, narrow)?;
    let nodes: Vec<Node> = (1..=6).map(|number| lab.node(&format!("n{number}"))).collect::<Result<_>>()?;
    let barrier = lab::Barrier::new()?;
    for node in &nodes {
        node.start(Launch::at(&barrier)?.on(&etcd.flags()))?;
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
    let etcd = Etcd::start(&lab, Plan::plain())?;
    let file = lab::artifacts::plugins().join("store-etcd.wasm");
    let upstream = format!("etcd={}", etcd.urls());
    let report = etcd.node().twill(&["plugin", "check", "--upstream", &upstream, file.to_str().context("a path")?])?;
    ensure!(report.contains("store-etcd conforms"), "{report}");
    Ok(())
}
