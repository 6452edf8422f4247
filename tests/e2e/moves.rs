//! The underlay moves under a running node: nodes that swap addresses keep their subnets, an interface that is made anew is followed. (Pain 10: flannel-io/flannel#760, #408.)

use anyhow::{Result, ensure};
use lab::etcd::{Etcd, NEEDS};
use lab::harness::Test;
use lab::{Lab, Node, Pod, wait_until};

use crate::families::{V4, cluster};
use crate::story::SOON;

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("moves: fl760, two nodes that swap their addresses keep their subnets, in the file store", swap_in_files),
    Test::new("moves: fl760, the same in etcd", swap_in_etcd).needs(NEEDS),
    Test::new("moves: fl408, a new address is published on the same subnet, with the daemon running and without", new_address),
    Test::new("moves: an interface that is deleted and made anew has its VXLAN device again", new_interface),
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

fn new_interface() -> Result<()> {
    let (lab, [a, b], [p, q]) = cluster(&format!(r#"{{{V4},"Backend":{{"Type":"vxlan"}}}}"#), ["a", "b"])?;
    let (subnet, mac) = (a.subnet()?, a.ip_json("link show flannel.1")?[0]["address"].clone());
    lab.switch().ip("link delete to-a")?;
    wait_until("the loss of the device", SOON, || Ok(ensure!(!a.has_link("flannel.1") && !a.has_link("eth0"))))?;
    lab.switch().ip("link add to-a type veth peer name eth0 netns a")?;
    lab.switch().ip("link set to-a master br0 up")?;
    a.ip(&format!("address add {}/24 dev eth0", a.address()))?;
    a.ip("link set eth0 up")?;
    a.ip("route add default via 192.168.50.254")?;
    wait_until("the device", SOON, || Ok(ensure!(a.has_link("flannel.1"), "{}", a.api("node")?["problems"])))?;
    let device = a.ip_json("link show flannel.1")?[0].clone();
    ensure!(device["address"] == mac && device["linkinfo"]["info_data"]["link"] == "eth0", "{device}");
    a.ready(SOON)?;
    ensure!(a.subnet()? == subnet);
    a.wait_for_lease(b.subnet()?, SOON)?;
    p.reaches(&q, SOON)?;
    q.reaches(&p, SOON)
}
