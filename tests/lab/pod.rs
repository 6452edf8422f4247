//! A pod: a network namespace behind its node's bridge `cni0`, addressed from subnet.env as a CNI plugin does it.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::netns::NetNs;
use crate::node::{Node, ping};
use crate::wait::wait_until;

/// The name of the nodes' bridge.
const BRIDGE: &str = "cni0";

/// A pod.
#[derive(Debug)]
pub struct Pod {
    net: NetNs,
    address: Ipv4Addr,
}

impl Pod {
    pub(crate) fn plug(node: &Node, name: &str) -> Result<Pod> {
        let bridge = node.subnet_env("FLANNEL_SUBNET")?;
        let mtu = node.subnet_env("FLANNEL_MTU")?;
        let (gateway, length) = bridge.split_once('/').context("FLANNEL_SUBNET is no prefix")?;
        let gateway: Ipv4Addr = gateway.parse()?;
        if !node.has_link(BRIDGE) {
            add_bridge(node, &bridge, &mtu)?;
        }
        let number = node.pods.get() + 1;
        node.pods.set(number);
        let net = NetNs::create(&format!("{}.{name}", node.name()))?;
        let address = Ipv4Addr::from(u32::from(gateway) + u32::from(number));
        let inner = net.name().to_string();
        node.ip(&format!("link add pod{number} mtu {mtu} type veth peer name eth0 mtu {mtu} netns /run/netns/{inner}"))?;
        node.ip(&format!("link set pod{number} master {BRIDGE} up"))?;
        net.ip(&format!("address add {address}/{length} dev eth0"))?;
        net.ip("link set eth0 up")?;
        net.ip(&format!("route add default via {gateway}"))?;
        Ok(Pod { net, address })
    }

    /// Its name, with its node's: "a.p1".
    pub fn name(&self) -> &str {
        self.net.name()
    }

    /// Its address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Its network namespace.
    pub fn net(&self) -> &NetNs {
        &self.net
    }

    /// Pings another pod once, with a second's patience.
    pub fn ping(&self, other: &Pod) -> Result<()> {
        self.ping_address(other.address)
    }

    /// Pings an address once, with a second's patience.
    pub fn ping_address(&self, to: Ipv4Addr) -> Result<()> {
        ping(&self.net, to)
    }

    /// Pings again and again until an answer comes.
    pub fn reaches(&self, other: &Pod, within: Duration) -> Result<()> {
        wait_until(&format!("{} to reach {}", self.name(), other.name()), within, || self.ping(other))
    }
}

fn add_bridge(node: &Node, address: &str, mtu: &str) -> Result<()> {
    // Without a forwarding delay the bridge's ports are done with their changes at once.
    node.ip(&format!("link add {BRIDGE} mtu {mtu} type bridge forward_delay 0"))?;
    node.ip(&format!("address add {address} dev {BRIDGE}"))?;
    node.ip(&format!("link set {BRIDGE} up"))?;
    Ok(())
}
