//! What may happen to etcd and to a node's own key while packets flow: outages, a wiped store, compaction, foreign hands, clocks that disagree.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::etcd::{Etcd, NEEDS, PREFIX, place};
use lab::harness::{Need, Test, long};
use lab::{Lab, Node, Stream, wait_until};

use crate::on_etcd::{cluster, complains, config, is_well, misses_its_store};
use crate::story::{SOON, flowing, goes_on, remembers};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("etcd faults: an outage with a killed daemon in it, on udp", || outage("udp")).needs(NEEDS),
    Test::new("etcd faults: an outage with a killed daemon in it, on vxlan", || outage("vxlan")).needs(NEEDS),
    Test::new("etcd faults: an outage with a killed daemon in it, on host-gw", || outage("host-gw")).needs(NEEDS),
    Test::new("etcd faults: its data are deleted, every node has its subnet again within five seconds", data_deleted).needs(NEEDS),
    Test::new("etcd faults: its keys are deleted, every node has its subnet again within five seconds", keys_deleted).needs(NEEDS),
    Test::new("etcd faults: compacted while a node is frozen, it learns who came and who left", compacted).needs(NEEDS),
    Test::new("etcd faults: the own key is deleted, ended or written over, and no subnet is shared", own_key).needs(NEEDS),
    Test::new("etcd faults: a node that starts before etcd says so once and starts when it comes", down_at_start).needs(NEEDS),
    Test::new("etcd faults: nodes whose clocks are days apart keep their leases", clocks).needs(WITH_CLOCKS),
    Test::new("etcd faults: a reservation stays one, and only its node may have it", reservation).needs(NEEDS),
];

/// The issue's bounds.
const RESUMED: Duration = Duration::from_secs(1);
const REGISTERED: Duration = Duration::from_secs(5);

const LIBFAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
const WITH_CLOCKS: &[Need] = &[NEEDS[0], NEEDS[1], Need::File(LIBFAKETIME, "libfaketime")];

/// etcd is away, a daemon is killed and started again, and while that daemon still cannot reach the store another node leaves and a third joins.
fn outage(backend: &str) -> Result<()> {
    let (lab, etcd, [a, b, c], [p, q, _]) = cluster(&config(backend), ["a", "b", "c"])?;
    remembers(&a, &[&a, &b, &c])?;
    let began = Instant::now();
    let streams = [flowing(&p, &q)?, flowing(&q, &p)?];
    let left = c.subnet()?;
    etcd.stop()?;
    misses_its_store(&a)?;
    a.kill()?;
    a.start(etcd.launch())?;
    let started = Instant::now();
    if backend == "udp" {
        let before = streams.each_ref().map(Stream::newest);
        wait_until("both directions to carry traffic again", SOON, || {
            let now = streams.each_ref().map(Stream::newest);
            ensure!(now[0] > before[0] + 5 && now[1] > before[1] + 5, "{before:?} became {now:?}");
            Ok(())
        })?;
        ensure!(started.elapsed() <= RESUMED, "traffic was back only {:?} after the daemon's start", started.elapsed());
    }
    misses_its_store(&a)?;
    // The length of the outage is what is tried here.
    std::thread::sleep(Duration::from_secs(if long() { 60 } else { 5 }).saturating_sub(began.elapsed()));
    lab.partition(&a, etcd.node())?;
    etcd.go_on()?;
    c.stop()?;
    etcd.ctl(&["del", &place(&left)])?;
    let late = etcd.join(&lab, "late")?;
    let resumed: Vec<u64> = streams.iter().map(Stream::newest).collect();
    lab.heal(&a, etcd.node())?;
    a.wait_for_lease(late.subnet()?, SOON)?;
    if late.subnet()? != left {
        a.wait_for_no_lease(&left, SOON)?;
    }
    late.pod("p1")?.reaches(&p, SOON)?;
    for (stream, resumed) in streams.into_iter().zip(resumed) {
        goes_on(&stream)?;
        let report = stream.stop()?;
        match backend {
            "udp" => {
                let after = report.lost.iter().filter(|number| **number >= resumed).count() as u64;
                ensure!(after <= report.overflowed, "lost after the daemon was back: {report}");
            }
            _ => report.nothing_lost()?,
        }
    }
    Ok(())
}

fn data_deleted() -> Result<()> {
    let (_lab, etcd, nodes, [p, q, _]) = cluster(&config("vxlan"), ["a", "b", "c"])?;
    let before: Vec<String> = nodes.iter().map(Node::subnet).collect::<Result<_>>()?;
    let streams = [flowing(&p, &q)?, flowing(&q, &p)?];
    etcd.stop()?;
    etcd.wipe()?;
    etcd.go_on()?;
    registered_again(&etcd, &nodes, &before, Instant::now())?;
    for stream in streams {
        stream.stop()?.nothing_lost()?;
    }
    Ok(())
}

fn keys_deleted() -> Result<()> {
    let (_lab, etcd, nodes, [p, q, _]) = cluster(&config("udp"), ["a", "b", "c"])?;
    let before: Vec<String> = nodes.iter().map(Node::subnet).collect::<Result<_>>()?;
    let streams = [flowing(&p, &q)?, flowing(&q, &p)?];
    // The leases alone; then all that is below the prefix, the config with it.
    for gone in [format!("{PREFIX}/subnets"), PREFIX.to_owned()] {
        etcd.ctl(&["del", "--prefix", &gone])?;
        registered_again(&etcd, &nodes, &before, Instant::now())?;
        streams.iter().try_for_each(goes_on)?;
    }
    for node in &nodes {
        complains(node, "the network config is gone from the store; the last good one stays in force")?;
    }
    etcd.config(&config("udp"))?;
    nodes.iter().try_for_each(is_well)?;
    for stream in streams {
        stream.stop()?.nothing_lost()?;
    }
    Ok(())
}

/// Every node has the subnet that it had, by the store's word, within the bound.
fn registered_again(etcd: &Etcd, nodes: &[Node], before: &[String], since: Instant) -> Result<()> {
    for (node, subnet) in nodes.iter().zip(before) {
        let expected = format!(r#""PublicIP":"{}""#, node.address());
        wait_until(&format!("{subnet} in the new store"), SOON, || {
            let value = etcd.value(&place(subnet))?;
            ensure!(value.contains(&expected), "{value:?}");
            Ok(())
        })?;
    }
    ensure!(since.elapsed() <= REGISTERED, "the last node was there again only after {:?}", since.elapsed());
    println!("all nodes were there again after {:?}", since.elapsed());
    Ok(())
}

fn compacted() -> Result<()> {
    let (_lab, etcd, [a, _b], [p, q]) = cluster(&config("vxlan"), ["a", "b"])?;
    etcd.flannel_joins("vxlan", "10.50.252.0/24", "192.168.50.78")?;
    a.wait_for_lease("10.50.252.0/24".into(), SOON)?;
    let stream = flowing(&p, &q)?;
    a.freeze()?;
    // The frozen daemon's stream would hold what happens now: the server's end of it is cut with the server.
    etcd.stop()?;
    etcd.go_on()?;
    etcd.flannel_joins("vxlan", "10.50.253.0/24", "192.168.50.79")?;
    etcd.ctl(&["del", &place("10.50.252.0/24")])?;
    etcd.put("/elsewhere", "x")?;
    etcd.ctl(&["compaction", &etcd.revision()?.to_string()])?;
    a.thaw()?;
    a.wait_for_lease("10.50.253.0/24".into(), SOON)?;
    a.wait_for_no_lease("10.50.252.0/24", SOON)?;
    // It follows again.
    etcd.flannel_joins("vxlan", "10.50.254.0/24", "192.168.50.80")?;
    a.wait_for_lease("10.50.254.0/24".into(), SOON)?;
    stream.stop()?.nothing_lost()
}

fn own_key() -> Result<()> {
    let (_lab, etcd, [a, b], [p, q]) = cluster(&config("vxlan"), ["a", "b"])?;
    let subnet = a.subnet()?;
    let key = place(&subnet);
    let value = etcd.value(&key)?;
    let stream = flowing(&p, &q)?;
    let there_again = |what: &str, but: &str| {
        wait_until(&format!("the own key after it was {what}"), SOON, || {
            let now = etcd.value(&key)?;
            ensure!(now == value && etcd.lease_of(&key)? != but, "{now}");
            Ok(())
        })
    };
    etcd.ctl(&["del", &key])?;
    there_again("deleted", "")?;
    // What its end looks like to a watcher.
    etcd.ctl(&["lease", "revoke", &etcd.lease_of(&key)?])?;
    there_again("ended", "")?;
    // flannel on this very node, or an operator: it is still this node's, and is written anew.
    let before = etcd.lease_of(&key)?;
    etcd.put_for(86_400, &key, &format!(r#"{{"PublicIP":"{}","PublicIPv6":null}}"#, a.address()))?;
    there_again("written over for the same node", &before)?;
    ensure!(a.subnet()? == subnet, "{subnet} became {}", a.subnet()?);
    goes_on(&stream)?;
    stream.stop()?.nothing_lost()?;
    // Another node's: it is never shared.
    etcd.put_for(
        86_400,
        &key,
        r#"{"PublicIP":"192.168.50.77","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:77"}}"#,
    )?;
    wait_until("another subnet", SOON, || {
        let now = a.subnet()?;
        ensure!(now != subnet && etcd.value(&place(&now))?.contains(&a.address().to_string()), "{now}");
        Ok(())
    })?;
    ensure!(etcd.value(&key)?.contains("192.168.50.77"), "the other node's lease was written over");
    b.wait_for_lease(a.subnet()?, SOON)?;
    let said = a.log()?;
    ensure!(said.contains(&format!("lease {subnet} is no longer this node's")), "{said}");
    Ok(())
}

fn down_at_start() -> Result<()> {
    let lab = Lab::new("down")?;
    let etcd = Etcd::with_config(&lab, &config("vxlan"))?;
    etcd.stop()?;
    let a = lab.node("a")?;
    a.start(etcd.launch())?;
    wait_until("word of the missing store", SOON, || {
        let said = a.log()?;
        ensure!(said.contains("cannot reach etcd"), "{said}");
        Ok(())
    })?;
    ensure!(a.get("/readyz")?.0 == 503, "ready without a store");
    std::thread::sleep(Duration::from_secs(if long() { 60 } else { 3 }));
    ensure!(a.log()?.matches("cannot reach etcd").count() <= if long() { 2 } else { 1 }, "it is said again and again: {}", a.log()?);
    etcd.go_on()?;
    let began = Instant::now();
    a.ready(SOON)?;
    // flannel takes up to eight seconds.
    ensure!(began.elapsed() < Duration::from_secs(8), "ready only {:?} after etcd was there", began.elapsed());
    Ok(())
}

/// One node lives in the future, one in the past, and a term of seconds is renewed many times: only the store's clock counts.
fn clocks() -> Result<()> {
    const TERM: &str = "6s";
    let lab = Lab::new("clocks")?;
    let etcd = Etcd::with_config(&lab, &config("vxlan"))?;
    let [past, now, future] = [lab.node("past")?, lab.node("now")?, lab.node("future")?];
    for (node, shift) in [(&past, "-3d"), (&now, "+0"), (&future, "+3d")] {
        let launch = etcd.launch().flags(&["--lease-ttl", TERM]).variable("LD_PRELOAD", LIBFAKETIME);
        node.start(launch.variable("FAKETIME", shift).variable("FAKETIME_DONT_FAKE_MONOTONIC", "1"))?;
    }
    let nodes = [&past, &now, &future];
    for node in nodes {
        node.ready(SOON)?;
    }
    lab.wait_for_routes(&nodes, SOON)?;
    let days: Vec<String> = nodes.iter().map(|node| Ok(node.log()?.chars().take(10).collect())).collect::<Result<_>>()?;
    ensure!(days[0] != days[1] && days[1] != days[2], "the clocks do not disagree: {days:?}");
    let pods = [past.pod("p")?, now.pod("p")?, future.pod("p")?];
    crate::story::all_pairs(&pods)?;
    let streams = [flowing(&pods[0], &pods[2])?, flowing(&pods[2], &pods[1])?];
    let subnets = nodes.map(|node| node.subnet().unwrap_or_default());
    let mut terms: [Vec<String>; 3] = Default::default();
    // Four renewals at least of each.
    wait_until("all leases to be renewed four times", Duration::from_secs(60), || {
        for (seen, subnet) in terms.iter_mut().zip(&subnets) {
            let lease = etcd.lease_of(&place(subnet))?;
            if seen.last() != Some(&lease) {
                seen.push(lease);
            }
        }
        ensure!(terms.iter().all(|seen| seen.len() > 4), "{terms:?}");
        Ok(())
    })?;
    for node in nodes {
        let left = node.events()?.into_iter().find(|event| event.contains("left") || event.contains("no longer"));
        ensure!(left.is_none(), "{}: {left:?}", node.name());
    }
    for stream in streams {
        stream.stop()?.nothing_lost()?;
    }
    Ok(())
}

fn reservation() -> Result<()> {
    let lab = Lab::new("reservation")?;
    let etcd = Etcd::with_config(&lab, &config("host-gw"))?;
    let (a, b) = (lab.node("a")?, lab.node("b")?);
    let reserved = "10.50.77.0/24";
    etcd.put(&place(reserved), &format!(r#"{{"PublicIP":"{}"}}"#, a.address()))?;
    for node in [&b, &a] {
        node.start(etcd.launch().flags(&["--lease-ttl", "3s"]))?;
        node.ready(SOON)?;
    }
    ensure!(a.subnet()? == reserved && b.subnet()? != reserved, "{} and {}", a.subnet()?, b.subnet()?);
    lab.wait_for_routes(&[&a, &b], SOON)?;
    let term = etcd.term(&place(reserved))?;
    ensure!(term.is_none(), "the reservation has a term now: {term:?}");
    // It outlives its node: with neither daemon running only the other's lease ends.
    a.kill()?;
    let other = b.subnet()?;
    b.kill()?;
    wait_until("the end of the lease with a term", SOON, || Ok(ensure!(etcd.value(&place(&other)).is_err(), "{other} is there")))?;
    etcd.value(&place(reserved)).context("the reservation is gone")?;
    a.start(etcd.launch())?;
    a.ready(SOON)?;
    ensure!(a.subnet()? == reserved && etcd.term(&place(reserved))?.is_none(), "{}", a.subnet()?);
    Ok(())
}
