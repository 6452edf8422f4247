//! A machine on the underlay: an interface `eth0` with a default route, directories of its own, and what is done to it by hand.

use std::cell::{Cell, RefCell};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::artifacts;
use crate::cluster::{Lab, address};
use crate::daemon::Daemon;
use crate::netns::NetNs;
use crate::pod::Pod;
use crate::process::run;
use crate::view::{View, node_dir};
use crate::wait::wait_until;

/// A machine on the underlay.
#[derive(Debug)]
pub struct Node {
    name: String,
    number: u8,
    net: NetNs,
    store: PathBuf,
    pub(crate) daemon: RefCell<Option<Daemon>>,
    pub(crate) starts: Cell<u32>,
    pub(crate) pods: Cell<u8>,
}

impl Node {
    pub(crate) fn plug(lab: &Lab, name: &str, mtu: u32) -> Result<Node> {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let net = NetNs::create(name)?;
        let switch = lab.switch();
        switch.ip(&format!("link add to-{name} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {name}"))?;
        switch.ip(&format!("link set to-{name} master br0 up"))?;
        net.ip(&format!("address add {}/24 dev eth0", address(number)))?;
        net.ip("link set eth0 up")?;
        net.ip(&format!("route add default via {}", address(254)))?;
        let node = Node {
            name: name.into(),
            number,
            net,
            store: lab.store(),
            daemon: RefCell::new(None),
            starts: Cell::new(0),
            pods: Cell::new(0),
        };
        // A new namespace takes some settings over from the machine: begin with the kernel's own defaults.
        node.net.sysctl("net.ipv4.ip_forward", "0")?;
        node.rp_filter(0)?;
        for dir in ["run", "lib"] {
            std::fs::create_dir_all(node.dir(dir))?;
        }
        Ok(node)
    }

    /// Its name, also its host name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its underlay address.
    pub fn address(&self) -> Ipv4Addr {
        address(self.number)
    }

    /// Its network namespace.
    pub fn net(&self) -> &NetNs {
        &self.net
    }

    /// The directory that it uses as its store.
    pub fn store(&self) -> &Path {
        &self.store
    }

    /// One of its directories as the lab sees it: "run" is its /run, "lib" its /var/lib.
    pub fn dir(&self, which: &str) -> PathBuf {
        node_dir(&self.name).join(which)
    }

    /// What a process on this node sees.
    pub fn view(&self) -> Result<View> {
        View::of(&self.name)
    }

    /// A program on this node.
    pub fn command(&self, program: impl AsRef<Path>) -> Result<Command> {
        Ok(self.view()?.command(program.as_ref()))
    }

    /// `twill` with these arguments on this node, run to its end.
    pub fn twill(&self, args: &[&str]) -> Result<String> {
        run(self.command(artifacts::twill())?.args(args))
    }

    /// A folder on this node that its daemon looks for plugins in when it is started with [`Node::PLUGIN_FLAGS`], as the lab sees it.
    pub fn plugin_folder(&self) -> PathBuf {
        self.dir("lib").join("extra")
    }

    /// The flags of `twill run` that name [`Node::plugin_folder`], which need not be there.
    pub const PLUGIN_FLAGS: [&str; 2] = ["--plugin-dir", "/var/lib/extra"];

    /// Drops a plugin file into [`Node::plugin_folder`], whole at once.
    pub fn drop_plugin(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let folder = self.plugin_folder();
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("unfinished"), bytes)?;
        std::fs::rename(folder.join("unfinished"), folder.join(name)).context("cannot drop the plugin")
    }

    /// Removes a plugin file from [`Node::plugin_folder`].
    pub fn remove_plugin(&self, name: &str) -> Result<()> {
        std::fs::remove_file(self.plugin_folder().join(name)).with_context(|| format!("cannot remove {name}"))
    }

    /// What its daemon says of the plugin file of that name in [`Node::plugin_folder`].
    pub fn plugin_file(&self, name: &str) -> Result<Value> {
        self.plugin(|plugin| plugin["file"].as_str().is_some_and(|file| file.ends_with(&format!("/extra/{name}"))))
    }

    /// What its daemon says of the plugin that is in charge under that name, such as "backend-udp".
    pub fn plugin_in_charge(&self, name: &str) -> Result<Value> {
        let passed = |plugin: &Value| plugin["error"].as_str().is_some_and(|error| error.starts_with("passed over"));
        self.plugin(|plugin| plugin["name"] == name && plugin["state"] != "refused" && !passed(plugin))
    }

    fn plugin(&self, which: impl Fn(&Value) -> bool) -> Result<Value> {
        let plugins = self.api("plugins")?;
        let found = plugins.as_array().into_iter().flatten().find(|plugin| which(plugin));
        found.cloned().with_context(|| format!("the plugin is not listed: {plugins}"))
    }

    /// `ip` with these words on this node.
    pub fn ip(&self, words: &str) -> Result<String> {
        self.net.ip(words)
    }

    /// `ip -j` with these words on this node.
    pub fn ip_json(&self, words: &str) -> Result<Value> {
        self.net.ip_json(words)
    }

    /// True when it has a link of that name.
    pub fn has_link(&self, name: &str) -> bool {
        self.net.inside(|| Ok(nix::net::if_::if_nametoindex(name)?)).is_ok()
    }

    /// Pings once, with a second's patience.
    pub fn ping(&self, to: Ipv4Addr) -> Result<()> {
        ping(&self.net, to)
    }

    /// Sets the reverse-path filter of all its interfaces: 0 off, 1 strict, 2 loose.
    pub fn rp_filter(&self, mode: u8) -> Result<()> {
        for conf in ["all", "default", "eth0"] {
            self.net.sysctl(&format!("net.ipv4.conf.{conf}.rp_filter"), &mode.to_string())?;
        }
        Ok(())
    }

    /// Replaces this node's firewall, a table `inet lab` of its own, by these chains.
    pub fn firewall(&self, chains: &str) -> Result<()> {
        self.net.nft(&format!("add table inet lab\ndelete table inet lab\ntable inet lab {{\n{chains}\n}}\n"))
    }

    /// The Ethernet address of its underlay interface.
    pub fn mac(&self) -> Result<String> {
        let links = self.ip_json("link show eth0")?;
        links[0]["address"].as_str().map(str::to_string).context("eth0 has no Ethernet address")
    }

    /// Loses every IP packet that `other` sends here over the underlay, whatever its addresses.
    pub(crate) fn drop_from(&self, other: &Node) -> Result<()> {
        self.net.nft(&format!(
            "add table inet lab_cuts\n\
             add set inet lab_cuts gone {{ type ether_addr; }}\n\
             add chain inet lab_cuts arrival {{ type filter hook prerouting priority -400; }}\n\
             flush chain inet lab_cuts arrival\n\
             add rule inet lab_cuts arrival iifname eth0 ether saddr @gone drop\n\
             add element inet lab_cuts gone {{ {} }}\n",
            other.mac()?
        ))
    }

    /// Ends `drop_from`.
    pub(crate) fn accept_from(&self, other: &Node) -> Result<()> {
        self.net.nft(&format!("delete element inet lab_cuts gone {{ {} }}\n", other.mac()?))
    }

    /// The value of a variable in /run/flannel/subnet.env.
    pub fn subnet_env(&self, variable: &str) -> Result<String> {
        let path = self.dir("run").join("flannel/subnet.env");
        let text = std::fs::read_to_string(&path).with_context(|| format!("node {} has no subnet.env", self.name))?;
        let value = text.lines().find_map(|line| line.strip_prefix(variable)?.strip_prefix('='));
        value.map(str::to_string).with_context(|| format!("subnet.env of {} has no {variable}: {text}", self.name))
    }

    /// Its lease's subnet as a prefix with host bits zero, from subnet.env.
    pub fn subnet(&self) -> Result<String> {
        let bridge = self.subnet_env("FLANNEL_SUBNET")?;
        let (first, length) = bridge.split_once('/').with_context(|| format!("FLANNEL_SUBNET is no prefix: {bridge}"))?;
        let base = u32::from(first.parse::<Ipv4Addr>()?) - 1;
        Ok(format!("{}/{length}", Ipv4Addr::from(base)))
    }

    /// A new pod behind this node's bridge.
    pub fn pod(&self, name: &str) -> Result<Pod> {
        Pod::plug(self, name)
    }

    /// Waits until its daemon shows a usable way to the lease of that subnet.
    pub fn wait_for_lease(&self, subnet: String, within: Duration) -> Result<()> {
        wait_until(&format!("a way from {} to {subnet}", self.name), within, || {
            let leases = self.api("leases")?;
            let lease = leases.as_array().into_iter().flatten().find(|lease| lease["subnets"]["v4"] == subnet.as_str());
            ensure!(lease.is_some_and(|lease| lease["way"].is_string()), "{leases}");
            Ok(())
        })
    }

    /// Waits until its daemon no longer shows a lease of that subnet.
    pub fn wait_for_no_lease(&self, subnet: &str, within: Duration) -> Result<()> {
        wait_until(&format!("the end of {subnet} on {}", self.name), within, || {
            let leases = self.api("leases")?;
            ensure!(leases.as_array().into_iter().flatten().all(|lease| lease["subnets"]["v4"] != subnet), "{leases}");
            Ok(())
        })
    }
}

/// One echo request from a namespace, with a second's patience.
pub(crate) fn ping(net: &NetNs, to: Ipv4Addr) -> Result<()> {
    run(net.command("ping")?.args(["-n", "-c1", "-W1", &to.to_string()])).map(drop)
}
