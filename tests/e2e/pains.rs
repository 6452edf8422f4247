//! What hurt flannel's users, one test a thread and named after it (fl: flannel-io/flannel, k3s: k3s-io/k3s, k8s: kubernetes/kubernetes). Each damages a cluster under
//! a stream of a packet a millisecond and tells the toll: packets lost, and seconds until all was whole again. web/docs/faults.md lists them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::etcd::{Etcd, NEEDS, place};
use lab::harness::Test;
use lab::process::run;
use lab::{Lab, Node, wait_until};

use crate::families::lines;
use crate::on_etcd::{cluster, complains, config};
use crate::story::{SOON, all_pairs, flowing, goes_on};
use crate::toll::Toll;

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("fl1788_stale_vtep_mac: a rewritten MAC is put right, and a reboot keeps it", fl1788).needs(NEEDS),
    Test::new("fl2247_device_gone: a deleted device comes back with all its peers, also when the interface below was down", fl2247)
        .needs(NEEDS),
    Test::new("fl1434_routes_lost: a restart of the network service costs moments, not the routes", fl1434).needs(NEEDS),
    Test::new("fl2554_stale_routes: what led to peers that left while the daemon was down goes at its start", fl2554).needs(NEEDS),
    Test::new("fl1289_two_nodes_one_subnet: a node that slept does not take its subnet back from its heir", fl1289).needs(NEEDS),
    Test::new("fl1240_lease_lost: a lost lease is had again on the same subnet, and packets flow all the time", fl1240).needs(NEEDS),
    Test::new("fl2470_compaction_loop: a watch below the horizon neither spins nor fills the log", fl2470).needs(NEEDS),
    Test::new("fl760_address_changes: a node's new address is followed, on the same subnet", fl760).needs(NEEDS),
    Test::new("k3s72_wrong_interface: one address on all nodes is told and not sent to; a missing default route is waited for", k3s72)
        .needs(NEEDS),
    Test::new("fl2253_subnet_env_missing: the file is back when it is deleted, and after a reboot without the store", fl2253).needs(NEEDS),
];

/// The MAC of a node's VXLAN device.
pub fn mac(node: &Node) -> Result<String> {
    let links = node.ip_json("link show dev flannel.1")?;
    links[0]["address"].as_str().map(str::to_owned).context("no address")
}

/// All that a node's VXLAN device needs for a peer is there.
pub fn leads_to(node: &Node, peer: &Node, mac: &str) -> Result<()> {
    let (subnet, outer) = (peer.subnet()?, peer.address());
    let base = subnet.replace("/24", "");
    let routes = lines(&node.ip(&format!("route show {subnet}"))?);
    ensure!(routes == [format!("{subnet} via {base} dev flannel.1 proto 73 onlink")], "{routes:?}");
    let neighbours = lines(&node.ip(&format!("neigh show {base} dev flannel.1"))?);
    ensure!(neighbours == [format!("{base} lladdr {mac} PERMANENT")], "{neighbours:?}");
    let fdb = lines(&run(node.net().command("bridge")?.args(["fdb", "show", "dev", "flannel.1"]))?);
    ensure!(fdb.iter().filter(|line| line.ends_with(&format!("dst {outer} self permanent"))).count() == 1, "{fdb:?}");
    ensure!(fdb.contains(&format!("{mac} dst {outer} self permanent")), "{fdb:?}");
    Ok(())
}

fn fl1788() -> Result<()> {
    let (_lab, etcd, [a, b], [p, q]) = cluster(&config("vxlan"), ["a", "b"])?;
    let before = mac(&b)?;
    let toll = Toll::of("fl1788", [flowing(&p, &q)?, flowing(&q, &p)?]);
    for rewritten in ["02:de:ad:00:00:01", "02:de:ad:00:00:02", "02:de:ad:00:00:03"] {
        let what = format!("udev writes {rewritten}");
        toll.damage(&what, || b.ip(&format!("link set flannel.1 address {rewritten}")).map(drop), || Ok(ensure!(mac(&b)? == before)))?;
    }
    toll.pay(1500)?;
    // A reboot: the device and /run are gone. The peers need no news, since nothing changed.
    b.kill()?;
    b.ip("link delete flannel.1")?;
    std::fs::remove_dir_all(b.dir("run").join("flannel"))?;
    b.start(etcd.launch())?;
    b.ready(SOON)?;
    ensure!(mac(&b)? == before, "{before} became {}", mac(&b)?);
    leads_to(&a, &b, &before)?;
    p.reaches(&q, SOON)
}

fn fl2247() -> Result<()> {
    let (_lab, _etcd, [a, b], [p, q]) = cluster(&config("vxlan"), ["a", "b"])?;
    let peer = mac(&b)?;
    let toll = Toll::of("fl2247", [flowing(&p, &q)?, flowing(&q, &p)?]);
    toll.damage("ip link delete flannel.1", || a.ip("link delete flannel.1").map(drop), || leads_to(&a, &b, &peer))?;
    let flap = || {
        a.ip("link set eth0 down")?;
        a.ip("link set eth0 up")?;
        // What the network service puts back; the overlay is twill's.
        a.ip("route replace default via 192.168.50.254").map(drop)
    };
    toll.damage("ifdown and ifup of the interface below", flap, || leads_to(&a, &b, &peer))?;
    toll.damage("ip link set flannel.1 down", || a.ip("link set flannel.1 down").map(drop), || leads_to(&a, &b, &peer))?;
    toll.pay(3000)
}

fn fl1434() -> Result<()> {
    let (_lab, _etcd, [a, b], [p, q]) = cluster(&config("host-gw"), ["a", "b"])?;
    let route = format!("{} via {} dev eth0 proto 73", b.subnet()?, b.address());
    let whole = || {
        let routes = lines(&a.ip(&format!("route show {}", b.subnet()?))?);
        ensure!(routes == [route.clone()], "{routes:?}");
        Ok(())
    };
    let toll = Toll::of("fl1434", [flowing(&p, &q)?, flowing(&q, &p)?]);
    toll.damage("a service removes routes that are not its own", || a.ip("route flush proto 73").map(drop), whole)?;
    let restart = || {
        let address = a.address();
        a.ip("address flush dev eth0")?;
        a.ip(&format!("address add {address}/24 dev eth0"))?;
        a.ip("route replace default via 192.168.50.254").map(drop)
    };
    toll.damage("a restart of the network service", restart, whole)?;
    toll.pay(3000)
}

fn fl2554() -> Result<()> {
    let (_lab, etcd, [a, b, c], [p, q, _]) = cluster(&config("vxlan"), ["a", "b", "c"])?;
    let (gone, old) = (c.subnet()?, mac(&c)?);
    leads_to(&a, &c, &old)?;
    let toll = Toll::of("fl2554", [flowing(&p, &q)?, flowing(&q, &p)?]);
    a.kill()?;
    c.kill()?;
    etcd.ctl(&["del", &place(&gone)])?;
    // Its subnet is another node's meanwhile, on another machine: two leads to one place would be the end of it.
    etcd.flannel_joins("vxlan", &gone, "192.168.50.99")?;
    a.start(etcd.launch())?;
    let fdb = || run(a.net().command("bridge")?.args(["fdb", "show", "dev", "flannel.1"]));
    let moved = || {
        ensure!(fdb()?.contains("02:00:00:00:00:63 dst 192.168.50.99"), "{}", fdb()?);
        let routes = lines(&a.ip(&format!("route show {gone}"))?);
        ensure!(routes.len() == 1, "{routes:?}");
        Ok(())
    };
    toll.damage("a peer moved while the daemon was down", || a.ready(SOON), moved)?;
    // What led to the old place has two seconds to drain.
    wait_until("the end of the old entry", SOON, || Ok(ensure!(!fdb()?.contains(&old), "{}", fdb()?)))?;
    a.kill()?;
    etcd.ctl(&["del", &place(&gone)])?;
    a.start(etcd.launch())?;
    let left = || {
        let base = gone.replace("/24", "");
        let mut traces = lines(&a.ip("route show table all")?);
        traces.extend(lines(&a.ip("neigh show nud permanent")?));
        traces.extend(lines(&run(a.net().command("bridge")?.args(["fdb", "show", "dev", "flannel.1"]))?));
        traces.retain(|line| line.contains(&base) || line.contains("192.168.50.99"));
        ensure!(traces.is_empty(), "{traces:?}");
        Ok(())
    };
    a.ready(SOON)?;
    wait_until("the end of what led to a peer that left", SOON, left)?;
    toll.pay(0)?;
    leads_to(&a, &b, &mac(&b)?)
}

fn fl1289() -> Result<()> {
    let narrow = |max: &str| {
        format!(r#"{{"Network":"10.50.0.0/16","SubnetMin":"10.50.1.0","SubnetMax":"10.50.{max}.0","Backend":{{"Type":"vxlan"}}}}"#)
    };
    let (lab, etcd, [a, b], [_, q]) = cluster(&narrow("2"), ["a", "b"])?;
    let subnet = a.subnet()?;
    a.kill()?;
    etcd.ctl(&["del", &place(&subnet)])?;
    b.wait_for_no_lease(&subnet, SOON)?;
    let heir = etcd.join(&lab, "heir")?;
    ensure!(heir.subnet()? == subnet, "{} is not the only free one", heir.subnet()?);
    b.wait_for_lease(subnet.clone(), SOON)?;
    let r = heir.pod("p1")?;
    r.reaches(&q, SOON)?;
    q.reaches(&r, SOON)?;
    let value = etcd.value(&place(&subnet))?;
    let toll = Toll::of("fl1289", [flowing(&r, &q)?, flowing(&q, &r)?]);
    // Its files say that the subnet is its own, as flannel's did.
    ensure!(a.subnet()? == subnet, "the file says {}", a.subnet()?);
    a.start(etcd.launch())?;
    complains(&a, "network 10.50.0.0/16 is full")?;
    ensure!(etcd.value(&place(&subnet))? == value, "the heir's lease was written over: {}", etcd.value(&place(&subnet))?);
    etcd.config(&narrow("3"))?;
    let other = || {
        let now = a.subnet()?;
        ensure!(now == "10.50.3.0/24" && a.get("/readyz")?.0 == 200, "{now}");
        Ok(())
    };
    wait_until("a subnet of its own", SOON, other)?;
    ensure!(etcd.value(&place(&subnet))? == value, "the heir's lease was written over: {}", etcd.value(&place(&subnet))?);
    toll.pay(0)
}

fn fl1240() -> Result<()> {
    let (_lab, etcd, [a, b], [p, q]) = cluster(&config("udp"), ["a", "b"])?;
    let (subnet, key) = (a.subnet()?, place(&a.subnet()?));
    let there = |but: String| {
        let etcd = &etcd;
        let (key, address) = (key.clone(), a.address().to_string());
        move || {
            let lease = etcd.lease_of(&key)?;
            ensure!(lease != but && etcd.value(&key)?.contains(&address), "{lease}");
            Ok(())
        }
    };
    let toll = Toll::of("fl1240", [flowing(&p, &q)?, flowing(&q, &p)?]);
    let before = etcd.lease_of(&key)?;
    toll.damage("the lease ends", || etcd.ctl(&["lease", "revoke", &before]).map(drop), there(before.clone()))?;
    let before = etcd.lease_of(&key)?;
    toll.damage("the key is deleted", || etcd.ctl(&["del", &key]).map(drop), there(before.clone()))?;
    ensure!(a.ended()?.is_none() && a.subnet()? == subnet, "{subnet} became {}", a.subnet()?);
    b.wait_for_lease(subnet, SOON)?;
    // To a peer it looks as if the node had left for a moment.
    toll.pay(500)
}

fn fl2470() -> Result<()> {
    let (_lab, etcd, [a, _b], [p, q]) = cluster(&config("vxlan"), ["a", "b"])?;
    let toll = Toll::of("fl2470", [flowing(&p, &q)?, flowing(&q, &p)?]);
    for round in 0..3u8 {
        a.freeze()?;
        etcd.stop()?;
        etcd.go_on()?;
        etcd.flannel_joins("vxlan", &format!("10.50.25{round}.0/24"), &format!("192.168.50.9{round}"))?;
        etcd.put("/elsewhere", "x")?;
        etcd.ctl(&["compaction", &etcd.revision()?.to_string()])?;
        let thaw = || a.thaw();
        toll.damage("compacted below the watch", thaw, || {
            Ok(ensure!(a.api("leases")?.to_string().contains(&format!("10.50.25{round}.0"))))
        })?;
    }
    // That peers who were only written into etcd do not answer is told too, once each, and is no part of this.
    let written = || -> Result<usize> { Ok(a.log()?.lines().filter(|line| !line.contains("192.168.50.9")).count()) };
    let (lines, used) = (written()?, a.cpu_time()?);
    // Long enough for a loop to show.
    std::thread::sleep(Duration::from_secs(2));
    let (lines, used) = (written()? - lines, a.cpu_time()? - used);
    ensure!(lines <= 2, "{lines} lines in two seconds: {}", a.log()?);
    ensure!(used < Duration::from_millis(200), "{used:?} of processor time in two seconds");
    // A malformed entry is no empty cluster.
    etcd.put(&place("10.50.240.0/24"), "x")?;
    wait_until("the malformed entry", SOON, || Ok(ensure!(a.api("node")?["store"]["oddities"].to_string().contains("10.50.240.0"))))?;
    toll.pay(0)
}

fn fl760() -> Result<()> {
    let (_lab, etcd, [a, b], [p, q]) = cluster(&config("vxlan"), ["a", "b"])?;
    let (subnet, old) = (b.subnet()?, b.address());
    // The connection to etcd had the old address, which is looked at once a second.
    let toll = Toll::of("fl760", [flowing(&p, &q)?, flowing(&q, &p)?]).within(Duration::from_secs(3));
    let followed = |to: &str| {
        let (a, etcd, subnet, to) = (&a, &etcd, subnet.clone(), to.to_owned());
        move || {
            ensure!(etcd.value(&place(&subnet))?.contains(&format!("\"{to}\"")), "{}", etcd.value(&place(&subnet))?);
            let fdb = run(a.net().command("bridge")?.args(["fdb", "show", "dev", "flannel.1"]))?;
            ensure!(fdb.contains(&format!("dst {to} ")), "{fdb}");
            Ok(())
        }
    };
    // DHCP gives another address: the old one goes, the new one comes, the default route with it.
    let change = |from: String, to: String| {
        let b = &b;
        move || {
            b.ip(&format!("address delete {from}/24 dev eth0"))?;
            b.ip(&format!("address add {to}/24 dev eth0"))?;
            b.ip("route replace default via 192.168.50.254").map(drop)
        }
    };
    let new = "192.168.50.188";
    toll.damage("another address", change(old.to_string(), new.into()), followed(new))?;
    toll.damage("the old address again", change(new.into(), old.to_string()), followed(&old.to_string()))?;
    ensure!(b.subnet()? == subnet, "{subnet} became {}", b.subnet()?);
    toll.pay(3600)
}

/// Vagrant's virtual machines: the interface with the default route has the same address everywhere, and the nodes see each other on another one.
fn k3s72() -> Result<()> {
    let lab = Lab::new("vagrant")?;
    let etcd = Etcd::with_config(&lab, &config("vxlan"))?;
    let (a, b, c) = (lab.node("a")?, lab.node("b")?, lab.node("c")?);
    let shared = |node: &Node| -> Result<()> {
        node.ip("link add nat type veth peer name far")?;
        node.ip("address add 10.0.2.15/24 dev nat")?;
        node.ip("link set nat up")?;
        node.ip("link set far up")?;
        node.ip("route replace default via 10.0.2.2 dev nat").map(drop)
    };
    let refuses = |node: &Node, peer: &Node| -> Result<()> {
        let (state, of_it) = (node.api("state")?, peer.subnet()?);
        let refused = state.as_array().into_iter().flatten().filter(|item| item["standing"] == "refused" && item["lease"]["v4"] == of_it);
        let mut reasons = refused.filter_map(|item| item["reason"].as_str());
        ensure!(reasons.any(|why| why.contains("10.0.2.15 is an address of this very node")), "{state}");
        Ok(())
    };
    for node in [&a, &b] {
        shared(node)?;
        node.start(etcd.launch())?;
    }
    for node in [&a, &b] {
        wait_until("a lease", SOON, || node.subnet().map(drop))?;
    }
    ensure!(a.subnet()? != b.subnet()?, "two nodes with one address share {}", a.subnet()?);
    for (node, peer) in [(&a, &b), (&b, &a)] {
        wait_until("word of the address that both have", SOON, || refuses(node, peer))?;
    }
    for node in [&a, &b] {
        node.kill()?;
        node.start(etcd.launch().flags(&["--iface-can-reach", "192.168.50.254"]))?;
        node.ready(SOON)?;
    }
    lab.wait_for_routes(&[&a, &b], SOON)?;
    let (p, q) = (a.pod("p")?, b.pod("p")?);
    all_pairs(&[a.pod("r")?, b.pod("r")?])?;
    let toll = Toll::of("k3s72", [flowing(&p, &q)?, flowing(&q, &p)?]);
    // A third one comes with the address that all have, if not where they see each other: it is told, and disturbs nobody.
    shared(&c)?;
    let told = || [&a, &b].into_iter().try_for_each(|node| refuses(node, &c));
    let joins = || {
        c.start(etcd.launch())?;
        wait_until("its lease", SOON, || c.subnet().map(drop))
    };
    toll.damage("a node with the address that all have", joins, told)?;
    c.kill()?;
    c.ip("link delete nat")?;
    // No default route yet at boot: flanneld ends, and again, and again.
    c.start(etcd.launch())?;
    wait_until("word of the missing route", SOON, || {
        let said = c.log()?;
        ensure!(said.contains("there is no IPv4 default route to tell the interface by"), "{said}");
        Ok(())
    })?;
    let comes = || c.ip("route add default via 192.168.50.254").map(drop);
    let whole = || {
        let fdb = run(a.net().command("bridge")?.args(["fdb", "show", "dev", "flannel.1"]))?;
        ensure!(c.get("/readyz")?.0 == 200 && fdb.contains(&format!("dst {} ", c.address())), "{fdb}");
        Ok(())
    };
    toll.damage("the default route comes after the daemon", comes, whole)?;
    ensure!(c.log()?.matches("there is no IPv4 default route").count() == 1, "{}", c.log()?);
    c.pod("p")?.reaches(&p, SOON)?;
    toll.pay(0)
}

fn fl2253() -> Result<()> {
    let (_lab, etcd, [a, b], [p, q]) = cluster(&config("vxlan"), ["a", "b"])?;
    crate::story::remembers(&a, &[&a, &b])?;
    let file = a.dir("run").join("flannel/subnet.env");
    let text = std::fs::read_to_string(&file)?;
    let there = || Ok(ensure!(std::fs::read_to_string(&file)? == text));
    let toll = Toll::of("fl2253", [flowing(&p, &q)?, flowing(&q, &p)?]);
    std::fs::remove_file(&file)?;
    let began = Instant::now();
    wait_until("subnet.env", SOON, there)?;
    println!("fl2253: subnet.env was back after {:?}", began.elapsed());
    ensure!(began.elapsed() < Duration::from_secs(5), "subnet.env was back only after {:?}", began.elapsed());
    toll.pay(0)?;
    // A reboot while the store is away: pods can be made from what is remembered.
    etcd.stop()?;
    a.kill()?;
    a.ip("link delete flannel.1")?;
    std::fs::remove_dir_all(a.dir("run").join("flannel"))?;
    a.start(etcd.launch())?;
    wait_until("subnet.env without the store", SOON, there)?;
    p.reaches(&q, SOON)?;
    let stream = flowing(&q, &p)?;
    etcd.go_on()?;
    goes_on(&stream)?;
    a.ready(SOON)?;
    stream.stop()?.nothing_lost()
}
