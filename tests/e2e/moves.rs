//! The underlay moves under a running node: nodes that swap addresses keep their subnets, an interface that is made anew is followed. (Pain 10: flannel-io/flannel#760, #408.)

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lab::etcd::{Etcd, NEEDS};
use lab::harness::Test;
use lab::process::run;
use lab::{Lab, Node, Pod, wait_until};

use crate::families::{V4, V6, answers, cluster, give_v6, published, underlay_v6};
use crate::story::{SOON, flowing};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("moves: fl760, two nodes that swap their addresses keep their subnets, in the file store", swap_in_files),
    Test::new("moves: fl760, the same in etcd", swap_in_etcd).needs(NEEDS),
    Test::new("moves: fl408, a new address is published on the same subnet, with the daemon running and without", new_address),
    Test::new("moves: an interface that is deleted and made anew has its VXLAN device again, and its MTU is followed", || {
        new_interface("vxlan", 50)
    }),
    Test::new("moves: an interface that is deleted and made anew is used again, and its MTU followed, on udp", || new_interface("udp", 28)),
    Test::new("moves: an interface that is deleted and made anew is used again, and its MTU followed, on host-gw", || {
        new_interface("host-gw", 0)
    }),
    Test::new("moves: another IPv6 address of a running node is followed, and IPv4 flows on", new_ipv6_address),
];

/// Gives a node's interface another address, and the default route that went with the old one.
fn readdress(node: &Node, address: &str) -> Result<()> {
    node.ip("address flush dev eth0")?;
    node.ip(&format!("address add {address}/24 dev eth0"))?;
    node.ip("route add default via 192.168.50.254")?;
    Ok(())
}

/// Waits until every lease that `node` shows of these subnets is reached at these addresses.
fn reached_at(node: &Node, leases: &[(&str, &str)]) -> Result<()> {
    wait_until("the new addresses", SOON, || {
        let shown = node.api("leases")?;
        for (subnet, address) in leases {
            let lease = shown.as_array().into_iter().flatten().find(|lease| lease["subnets"]["v4"] == *subnet);
            ensure!(lease.is_some_and(|lease| lease["public"]["v4"] == *address), "{subnet} at {address}: {shown}");
        }
        ensure!(shown.as_array().map_or(0, Vec::len) == leases.len(), "{shown}");
        Ok(())
    })
}

/// `others` are machines that talk to the two.
fn swap(nodes: &[Node; 2], pods: &[Pod; 2], others: &[&Node]) -> Result<()> {
    let [a, b] = nodes;
    let (a_subnet, b_subnet) = (a.subnet()?, b.subnet()?);
    let (a_address, b_address) = (a.address().to_string(), b.address().to_string());
    // For a moment both have b's address, as with two DHCP clients.
    readdress(a, &b_address)?;
    readdress(b, &a_address)?;
    // DHCP clients announce their addresses by ARP (RFC 5227); `ip` does not.
    for node in nodes.iter().chain(others.iter().copied()) {
        node.ip("neigh flush dev eth0")?;
    }
    for node in nodes {
        reached_at(node, &[(&a_subnet, &b_address), (&b_subnet, &a_address)])?;
        node.ready(SOON)?;
    }
    ensure!(a.subnet()? == a_subnet && b.subnet()? == b_subnet, "{a_subnet} and {b_subnet} became {} and {}", a.subnet()?, b.subnet()?);
    pods[0].reaches(&pods[1], SOON)?;
    pods[1].reaches(&pods[0], SOON)?;
    // A restart at the other's old address does not take the other's lease either.
    a.kill()?;
    Ok(())
}

fn swap_in_files() -> Result<()> {
    let (_lab, nodes, pods) = cluster(&format!(r#"{{{V4},"Backend":{{"Type":"vxlan"}}}}"#), ["a", "b"])?;
    let subnet = nodes[0].subnet()?;
    swap(&nodes, &pods, &[])?;
    nodes[0].start(lab::Launch::now())?;
    nodes[0].ready(SOON)?;
    ensure!(nodes[0].subnet()? == subnet);
    pods[0].reaches(&pods[1], SOON)
}

fn swap_in_etcd() -> Result<()> {
    let lab = Lab::new("etcd")?;
    let etcd = Etcd::with_config(&lab, &crate::on_etcd::config("udp"))?;
    let nodes = etcd.cluster(&lab, ["a", "b"])?;
    let pods = [nodes[0].pod("p")?, nodes[1].pod("p")?];
    pods[0].reaches(&pods[1], SOON)?;
    let subnet = nodes[0].subnet()?;
    swap(&nodes, &pods, &[etcd.node()])?;
    nodes[0].start(etcd.launch())?;
    nodes[0].ready(SOON)?;
    ensure!(nodes[0].subnet()? == subnet);
    pods[0].reaches(&pods[1], SOON)
}

fn new_address() -> Result<()> {
    let (_lab, [a, b], [p, q]) = cluster(&format!(r#"{{{V4},"Backend":{{"Type":"vxlan"}}}}"#), ["a", "b"])?;
    let (a_subnet, b_subnet) = (a.subnet()?, b.subnet()?);
    let index = a.ip_json("link show flannel.1")?[0]["ifindex"].clone();
    readdress(&a, "192.168.50.201")?;
    reached_at(&b, &[(&a_subnet, "192.168.50.201"), (&b_subnet, &b.address().to_string())])?;
    p.reaches(&q, SOON)?;
    q.reaches(&p, SOON)?;
    let device = a.ip_json("link show flannel.1")?[0].clone();
    ensure!(device["ifindex"] == index && device["linkinfo"]["info_data"]["local"] == "192.168.50.201", "not changed in place: {device}");
    a.stop()?;
    readdress(&a, "192.168.50.202")?;
    a.start(lab::Launch::now())?;
    a.ready(SOON)?;
    reached_at(&b, &[(&a_subnet, "192.168.50.202"), (&b_subnet, &b.address().to_string())])?;
    ensure!(a.subnet()? == a_subnet);
    p.reaches(&q, SOON)
}

/// The interface to the other nodes goes and comes again, as when a driver is loaded anew; then its MTU becomes smaller.
fn new_interface(backend: &str, overhead: u32) -> Result<()> {
    let (lab, [a, b], [p, q]) = cluster(&format!(r#"{{{V4},"Backend":{{"Type":"{backend}"}}}}"#), ["a", "b"])?;
    let subnet = a.subnet()?;
    let own = |key: &str| Ok::<_, anyhow::Error>(a.ip_json("link show flannel.1")?[0][key].clone());
    let mac = if backend == "vxlan" { Some(own("address")?) } else { None };
    lab.switch().ip("link delete to-a")?;
    wait_until("the loss of the device", SOON, || Ok(ensure!(!a.has_link("eth0") && !a.has_link("flannel.1"))))?;
    ensure!(p.ping(&q).is_err(), "packets pass without an interface");
    // A peer's kernel does not believe in two MACs within one second (net.ipv4.neigh.*.locktime); no driver is loaded anew that fast.
    std::thread::sleep(Duration::from_millis(1500));
    lab.switch().ip("link add to-a type veth peer name eth0 netns a")?;
    lab.switch().ip("link set to-a master br0 up")?;
    a.ip(&format!("address add {}/24 dev eth0", a.address()))?;
    a.ip("link set eth0 up")?;
    a.ip("route add default via 192.168.50.254")?;
    if let Some(mac) = mac {
        wait_until("the device", SOON, || Ok(ensure!(a.has_link("flannel.1"), "{}", a.api("node")?["problems"])))?;
        ensure!(own("address")? == mac && own("linkinfo")?["info_data"]["link"] == "eth0", "{}", own("linkinfo")?);
    }
    a.ready(SOON)?;
    ensure!(a.subnet()? == subnet);
    a.wait_for_lease(b.subnet()?, SOON)?;
    // It has another MAC, which nobody announces. The kernel's own doubts about the old one take five seconds and more.
    let mac = a.ip_json("link show eth0")?[0]["address"].as_str().unwrap_or_default().to_owned();
    wait_until("the new MAC at the peer", Duration::from_secs(4), || {
        let known = b.ip(&format!("neigh show {} dev eth0", a.address()))?;
        Ok(ensure!(known.contains(&mac), "{known} instead of {mac}"))
    })?;
    p.reaches(&q, SOON)?;
    q.reaches(&p, SOON)?;
    a.ip("link set eth0 mtu 1300")?;
    let fits = 1300 - overhead;
    wait_until("the smaller MTU", SOON, || {
        ensure!(a.subnet_env("FLANNEL_MTU")? == fits.to_string(), "{}", a.subnet_env("FLANNEL_MTU")?);
        if let Some(link) = [("udp", "flannel0"), ("vxlan", "flannel.1")].into_iter().find_map(|(of, link)| (of == backend).then_some(link))
        {
            let shown = a.ip_json(&format!("link show {link}"))?;
            ensure!(shown[0]["mtu"] == fits, "{shown}");
        }
        Ok(())
    })?;
    p.reaches(&q, SOON)
}

/// The IPv6 address that peers send to changes under a running node; the IPv4 side does not notice.
fn new_ipv6_address() -> Result<()> {
    let (lab, nodes, [p, q]) = cluster(&format!(r#"{{{V4},{V6},"Backend":{{"Type":"vxlan"}}}}"#), ["a", "b"])?;
    let [a, b] = &nodes;
    let (_, to) = (give_v6(a, &p)?, give_v6(b, &q)?);
    answers(|| p.net().command("ping"), &[], to)?;
    let (subnets, old, new) = (published(&lab, a)?["subnets"].clone(), underlay_v6(a).to_string(), "fd50::1:88");
    let fdb = || run(b.net().command("bridge")?.args(["fdb", "show", "dev", "flannel-v6.1"]));
    ensure!(fdb()?.contains(&format!("dst {old} ")), "{}", fdb()?);
    let device = || Ok::<_, anyhow::Error>(a.ip_json("link show flannel-v6.1")?[0].clone());
    let before = device()?;
    let streams = [flowing(&p, &q)?, flowing(&q, &p)?];
    a.ip(&format!("-6 address delete {old}/64 dev eth0"))?;
    a.ip(&format!("-6 address add {new}/64 dev eth0 nodad"))?;
    let began = Instant::now();
    wait_until("the new address at the peer", SOON, || {
        let lease = published(&lab, a)?;
        ensure!(lease["public"]["v6"] == new && lease["subnets"] == subnets, "{lease}");
        ensure!(fdb()?.contains(&format!("dst {new} ")) && !fdb()?.contains(&format!("dst {old} ")), "{}", fdb()?);
        Ok(())
    })?;
    answers(|| p.net().command("ping"), &[], to)?;
    println!("another IPv6 address was in use after {:?}", began.elapsed());
    let after = device()?;
    ensure!(after["linkinfo"]["info_data"]["local6"] == new, "{after}");
    ensure!((&after["ifindex"], &after["address"]) == (&before["ifindex"], &before["address"]), "not changed in place: {after}");
    // IPv4 travels by its own device.
    for stream in streams {
        stream.stop()?.nothing_lost()?;
    }
    a.ready(SOON)
}
