//! The lab itself: a switch, the nodes on it, the shared store directory, and the faults between nodes.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::artifacts;
use crate::daemon::Launch;
use crate::netns::NetNs;
use crate::node::Node;
use crate::process::run;
use crate::wait::wait_until;
use crate::world::ROOT;

/// How long a daemon may take until it is ready on a busy machine.
pub const READY: Duration = Duration::from_secs(30);

/// How the underlay is made.
#[derive(Debug, Clone, Copy)]
pub struct Underlay {
    /// MTU of the nodes' interfaces in bytes.
    pub mtu: u32,
}

/// A cluster to be: nodes join it one by one.
#[derive(Debug)]
pub struct Lab {
    name: String,
    switch: NetNs,
    underlay: Underlay,
}

impl Lab {
    /// An empty lab with an underlay of MTU 1500. `name` appears in messages only.
    pub fn new(name: &str) -> Result<Lab> {
        Lab::with(name, Underlay { mtu: 1500 })
    }

    /// An empty lab with this underlay.
    pub fn with(name: &str, underlay: Underlay) -> Result<Lab> {
        let switch = NetNs::create("switch")?;
        switch.ip("link add br0 type bridge forward_delay 0")?;
        switch.ip(&format!("link set br0 mtu {} up", underlay.mtu))?;
        switch.ip(&format!("address add {}/24 dev br0", address(254)))?;
        Ok(Lab { name: name.into(), switch, underlay })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The namespace of the switch, which sees all traffic between nodes.
    pub fn switch(&self) -> &NetNs {
        &self.switch
    }

    /// The directory that all nodes use as their store.
    pub fn store(&self) -> PathBuf {
        Path::new(ROOT).join("store")
    }

    /// How many leases are files in the store now.
    pub fn leases_in_store(&self) -> Result<usize> {
        let names = std::fs::read_dir(self.store())?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        Ok(names.filter(|name| name.ends_with(".lease")).count())
    }

    /// Writes the network config by `twill config set`, as an operator does: /24 subnets of `network` over the udp backend.
    pub fn network(&self, network: &str) -> Result<()> {
        self.config(&format!(r#"{{"Network":"{network}","Backend":{{"Type":"udp"}}}}"#))
    }

    /// Writes this network config by `twill config set`.
    pub fn config(&self, json: &str) -> Result<()> {
        let mut twill = Command::new(artifacts::twill());
        twill.args(["config", "set", "--store", "file", "--store-dir"]).arg(self.store());
        twill.env("TWILL_CACHE_DIR", artifacts::cache().join("twill")).arg(json);
        run(&mut twill).map(drop).context("cannot write the network config")
    }

    /// A machine on the underlay, without twill.
    pub fn node(&self, name: &str) -> Result<Node> {
        Node::plug(self, name, self.underlay.mtu)
    }

    /// A node with a running daemon that says it is ready.
    pub fn ready_node(&self, name: &str) -> Result<Node> {
        let node = self.node(name)?;
        node.start(Launch::now())?;
        node.ready(READY)?;
        Ok(node)
    }

    /// Nodes with running daemons, started together.
    pub fn ready_nodes<const N: usize>(&self, names: [&str; N]) -> Result<[Node; N]> {
        let nodes = names.map(|name| self.node(name));
        let nodes: Vec<Node> = nodes.into_iter().collect::<Result<_>>()?;
        for node in &nodes {
            node.start(Launch::now())?;
        }
        for node in &nodes {
            node.ready(READY)?;
        }
        nodes.try_into().map_err(|_| anyhow::anyhow!("as many nodes as names"))
    }

    /// Cuts two nodes off from each other: packets vanish on arrival, both ways, and neither is told.
    pub fn partition(&self, a: &Node, b: &Node) -> Result<()> {
        a.drop_from(b)?;
        b.drop_from(a)?;
        ensure!(a.ping(b.address()).is_err(), "{} still reaches {} after the cut", a.name(), b.name());
        Ok(())
    }

    /// Joins what `partition` cut.
    pub fn heal(&self, a: &Node, b: &Node) -> Result<()> {
        a.accept_from(b)?;
        b.accept_from(a)?;
        wait_until("the healed underlay", Duration::from_secs(5), || a.ping(b.address()))
    }

    /// Takes the store's directory away from every node: to each of them the path leads nowhere.
    pub fn take_store_away(&self) -> Result<()> {
        std::fs::rename(self.store(), self.store().with_extension("away")).context("cannot take the store away")
    }

    /// Brings back what `take_store_away` took.
    pub fn bring_store_back(&self) -> Result<()> {
        std::fs::rename(self.store().with_extension("away"), self.store()).context("cannot bring the store back")
    }

    /// Waits until every one of `nodes` has a route to every other's subnet.
    pub fn wait_for_routes(&self, nodes: &[&Node], within: Duration) -> Result<()> {
        for node in nodes {
            for other in nodes.iter().filter(|other| other.name() != node.name()) {
                node.wait_for_lease(other.subnet()?, within)?;
            }
        }
        Ok(())
    }
}

/// The underlay address of the machine with that number.
pub fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, 50, number)
}
