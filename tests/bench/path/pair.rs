//! Two nodes joined by one wire, a pod on each, and a running twill daemon on both.
//!
//! Every other way gets a pod subnet of its own on the same bridges, so that all of them stand at the same time and choosing one is choosing an address.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use lab::cluster::{READY, address};
use lab::netns::NetNs;
use lab::process::run;
use lab::{Lab, Launch, Node, Pod};

/// How the wire between the nodes is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// A veth pair as it is: super-packets cross it whole, whatever they are wrapped in.
    Veth,
    /// The same pair set like a plain network card: it segments neither UDP nor what a tunnel wraps, and GRO merges what arrives. A veth pair runs GRO only
    /// where its other end segments nothing at all (`veth_skb_is_eligible_for_gro`), so TCP's own segmentation is off too, which tells for plain routing alone.
    Card,
}

/// The two nodes.
#[derive(Debug)]
pub struct Pair {
    /// Sender and receiver.
    pub nodes: [Node; 2],
    /// A pod of each.
    pub pods: [Pod; 2],
    _lab: Lab,
}

impl Pair {
    /// Makes them and starts twill.
    pub fn new(wire: Wire) -> Result<Pair> {
        let lab = Lab::new("path")?;
        lab.network("10.50.0.0/16")?;
        let nodes = [lab.node("a")?, lab.node("b")?];
        join(&nodes, wire)?;
        for node in &nodes {
            node.start(Launch::now())?;
        }
        for node in &nodes {
            node.ready(READY)?;
        }
        lab.wait_for_routes(&[&nodes[0], &nodes[1]], READY)?;
        let pods = [pod(&nodes[0])?, pod(&nodes[1])?];
        pods[0].reaches(&pods[1], READY)?;
        Ok(Pair { nodes, pods, _lab: lab })
    }

    /// The networks of the pod that sends and of the one that receives.
    pub fn pods_net(&self) -> (&NetNs, &NetNs) {
        (self.pods[0].net(), self.pods[1].net())
    }

    /// Gives both pods an address in a subnet for the way of that number, whose packets may have so many bytes. Gives the second pod's.
    pub fn subnet(&self, way: u8, mtu: u32) -> Result<Ipv4Addr> {
        for (index, (node, pod)) in self.nodes.iter().zip(&self.pods).enumerate() {
            let (own, other) = (index + 1, 2 - index);
            node.ip(&format!("address add 10.{way}.{own}.1/24 dev cni0"))?;
            pod.net().ip(&format!("address add 10.{way}.{own}.2/24 dev eth0"))?;
            pod.net().ip(&format!("route add 10.{way}.{other}.0/24 via 10.{way}.{own}.1 src 10.{way}.{own}.2 mtu {mtu}"))?;
        }
        Ok(Ipv4Addr::new(10, way, 2, 2))
    }

    /// Does the same on both nodes: gets the node, its number and the other's.
    pub fn each(&self, act: impl Fn(&Node, usize, usize) -> Result<()>) -> Result<()> {
        self.nodes.iter().enumerate().try_for_each(|(index, node)| act(node, index + 1, 2 - index))
    }
}

/// Takes the nodes from the lab's switch and joins them by a wire of their own, which costs less for every way alike.
fn join(nodes: &[Node; 2], wire: Wire) -> Result<()> {
    nodes.iter().try_for_each(|node| node.ip("link delete eth0").map(drop))?;
    nodes[0].ip("link add eth0 mtu 1500 type veth peer name eth0 mtu 1500 netns b")?;
    for node in nodes {
        node.ip(&format!("address add {}/24 dev eth0", node.address()))?;
        node.ip("link set eth0 up")?;
        node.ip(&format!("route add default via {}", address(254)))?;
        if wire == Wire::Card {
            let features = [
                "tx-udp-segmentation",
                "off",
                "tx-udp_tnl-segmentation",
                "off",
                "tx-udp_tnl-csum-segmentation",
                "off",
                "tso",
                "off",
                "gro",
                "on",
            ];
            run(node.net().command("ethtool")?.args(["-K", "eth0"]).args(features)).context("cannot make the wire like a plain card's")?;
        }
    }
    Ok(())
}

/// A pod on a bridge that takes packets as long as the underlay does; through twill they may be as long as its subnet.env says.
fn pod(node: &Node) -> Result<Pod> {
    let pod = node.pod("p1")?;
    let mtu = node.subnet_env("FLANNEL_MTU")?;
    for link in ["cni0", "pod1"] {
        node.ip(&format!("link set {link} mtu 1500"))?;
    }
    pod.net().ip("link set eth0 mtu 1500")?;
    let bridge = node.subnet_env("FLANNEL_SUBNET")?;
    let gateway = bridge.split('/').next().context("FLANNEL_SUBNET is no prefix")?;
    pod.net().ip(&format!("route replace default via {gateway} mtu {mtu}"))?;
    Ok(pod)
}
