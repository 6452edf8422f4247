//! The real CNI plugins "bridge" and "host-local", wired by subnet.env as flannel's own CNI plugin wires them.

use std::io::Write;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use lab::harness::{Need, Test};
use lab::netns::NetNs;
use lab::process::run;
use lab::{Node, wait_until};
use serde_json::{Value, json};

use crate::firewall::{masked, sees, switch_address};
use crate::story::SOON;

/// The tests of this subject.
pub const TESTS: &[Test] =
    &[Test::new("cni: pods wired by bridge and host-local from subnet.env reach each other and the outside, and go", wired).needs(NEEDS)];

const NEEDS: &[Need] = &[
    Need::File("/usr/lib/cni/bridge", "containernetworking-plugins"),
    Need::File("/usr/lib/cni/host-local", "containernetworking-plugins"),
];

/// Where Debian has the plugins.
const PLUGINS: &str = "/usr/lib/cni";

/// A pod that CNI wired.
struct Wired<'a> {
    node: &'a Node,
    net: NetNs,
    address: Ipv4Addr,
}

fn wired() -> Result<()> {
    let (lab, [a, b], _) = masked(&["--ip-masq"])?;
    let pods = [Wired::add(&a, "c1")?, Wired::add(&a, "c2")?, Wired::add(&b, "c1")?];
    for from in &pods {
        for to in pods.iter().filter(|to| to.address != from.address) {
            wait_until(&format!("{} to reach {}", from.address, to.address), SOON, || from.ping(to.address))?;
        }
    }
    let [p, _, q] = &pods;
    sees(&q.net, q.address, &p.net, p.address, p.address).context("pod to pod")?;
    sees(lab.switch(), switch_address(&lab)?, &p.net, p.address, a.address()).context("pod to the outside")?;
    let mtu = a.subnet_env("FLANNEL_MTU")?;
    let links = p.net.ip_json("link show eth0")?;
    ensure!(links[0]["mtu"].to_string() == mtu, "the pod's MTU is {}, not {mtu}", links[0]["mtu"]);
    for pod in pods {
        pod.delete()?;
    }
    Ok(())
}

impl<'a> Wired<'a> {
    fn add(node: &'a Node, name: &str) -> Result<Wired<'a>> {
        let net = NetNs::create(&format!("{}.{name}", node.name()))?;
        let answer: Value = serde_json::from_str(&call(node, &net, "ADD")?)?;
        let address = answer["ips"][0]["address"].as_str().and_then(|net| net.split('/').next()).context("CNI gave no address")?;
        Ok(Wired { node, address: address.parse()?, net })
    }

    fn delete(self) -> Result<()> {
        call(self.node, &self.net, "DEL")?;
        let left = self.net.ip("-br link")?;
        ensure!(!left.contains("eth0"), "CNI's DEL left {left}");
        Ok(())
    }

    fn ping(&self, to: Ipv4Addr) -> Result<()> {
        run(self.net.command("ping")?.args(["-n", "-c1", "-W1", &to.to_string()])).map(drop)
    }
}

/// What flannel's CNI plugin makes of subnet.env: masquerade where the daemon does not, the daemon's MTU, the subnet's addresses, a route to the network.
fn config(node: &Node) -> Result<Value> {
    let subnet = node.subnet()?;
    let masquerades = node.subnet_env("FLANNEL_IPMASQ")? == "true";
    let mtu: u32 = node.subnet_env("FLANNEL_MTU")?.parse()?;
    let routes = json!([{"dst": node.subnet_env("FLANNEL_NETWORK")?}]);
    let ipam = json!({"type": "host-local", "ranges": [[{"subnet": subnet}]], "routes": routes, "dataDir": "/run/cni"});
    Ok(
        json!({"cniVersion": "0.3.1", "name": "cbr0", "type": "bridge", "bridge": "cni0", "mtu": mtu, "isGateway": true, "isDefaultGateway": true,
              "hairpinMode": true, "ipMasq": !masquerades, "ipam": ipam}),
    )
}

fn call(node: &Node, pod: &NetNs, command: &str) -> Result<String> {
    // The pod's namespace by a descriptor: the node's view of /run hides its name.
    let file = pod.file()?;
    let path = format!("/proc/{}/fd/{}", std::process::id(), std::os::fd::AsRawFd::as_raw_fd(&file));
    let mut plugin = node.command(Path::new(PLUGINS).join("bridge"))?;
    plugin
        .env("CNI_COMMAND", command)
        .env("CNI_CONTAINERID", pod.name())
        .env("CNI_NETNS", path)
        .env("CNI_IFNAME", "eth0")
        .env("CNI_PATH", PLUGINS);
    let mut child = plugin.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    child.stdin.take().context("no standard input")?.write_all(config(node)?.to_string().as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "CNI's {command} failed: {}", lab::process::said(&output));
    Ok(String::from_utf8(output.stdout)?)
}
