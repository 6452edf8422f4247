//! Plugins that are none of twill's own four: backends in Python and JavaScript, leases without packets, a store of another kind, and files that were built long ago; each in a running
//! cluster.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use lab::harness::{Need, Test};
use lab::process::run;
use lab::transfer::transfer;
use lab::{Lab, Launch, Node, Pod, artifacts, wait_until};

use crate::story::{NETWORK, SOON, all_pairs, flowing};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("python: the backend \"nearby\" routes on the link and tunnels past a router", nearby).needs(&[PYTHON]),
    Test::new("javascript: the backend \"vnet\" carries pods' packets over a VXLAN of its own", vnet).needs(&[JAVASCRIPT]),
    Test::new("alloc: nodes get subnets and nothing else, and whoever knows the way carries the packets", alloc),
    Test::new("frozen: plugins that were built long ago carry a cluster", frozen),
];

const PYTHON: Need = Need::Built("example-plugins/backend-nearby.wasm", "make examples");
const JAVASCRIPT: Need = Need::Built("example-plugins/backend-vnet.wasm", "make examples");

/// Longer than elsewhere: compiling Python takes ten seconds of a free core, once for all labs; `make examples` has done it already.
const LOADED: std::time::Duration = std::time::Duration::from_secs(180);

fn config(lab: &Lab, backend: &str) -> Result<()> {
    lab.config(&format!(r#"{{"Network":"{NETWORK}","Backend":{{"Type":"{backend}"}}}}"#))
}

/// Puts files into a plugin folder of the node's own, which a daemon is to be told of.
fn with_plugins(node: &Node, files: &[(&str, Vec<u8>)]) -> Result<Launch> {
    let folder = node.dir("lib").join("more-plugins");
    std::fs::create_dir_all(&folder)?;
    for (name, content) in files {
        std::fs::write(folder.join(name), content)?;
    }
    Ok(Launch::now().flags(&["--plugin-dir", "/var/lib/more-plugins"]))
}

/// A plugin in another language.
fn example(name: &str) -> Result<Vec<u8>> {
    Ok(std::fs::read(artifacts::inside().join("example-plugins").join(name))?)
}

/// Ready nodes with these plugins, each with a pod; they know each other.
fn cluster<const N: usize>(lab: &Lab, names: [&str; N], files: &[(&str, Vec<u8>)]) -> Result<([Node; N], [Pod; N])> {
    let nodes: Vec<Node> = names.iter().map(|name| lab.node(name)).collect::<Result<_>>()?;
    for node in &nodes {
        node.start(with_plugins(node, files)?)?;
        // One after the other: the first compiles, the others find its work.
        node.ready(LOADED)?;
    }
    lab.wait_for_routes(&nodes.iter().collect::<Vec<_>>(), SOON)?;
    let pods: Vec<Pod> = nodes.iter().map(|node| node.pod("p1")).collect::<Result<_>>()?;
    let nodes = nodes.try_into().map_err(|_| anyhow::anyhow!("as many nodes as names"))?;
    Ok((nodes, pods.try_into().map_err(|_| anyhow::anyhow!("as many pods as names"))?))
}

/// Pods reach each other, a file arrives whole, and a stream loses nothing.
fn carries(pods: &[Pod; 2]) -> Result<()> {
    all_pairs(pods)?;
    transfer(&pods[0], &pods[1], 5_000_000)?;
    flowing(&pods[0], &pods[1])?.stop()?.nothing_lost()
}

fn nearby() -> Result<()> {
    let python = example("backend-nearby.wasm")?;
    let lab = Lab::new("nearby")?;
    config(&lab, "nearby")?;
    let files = [("backend-nearby.wasm", python)];
    let ([a, b], pods) = cluster(&lab, ["a", "b"], &files)?;
    carries(&pods)?;
    ensure!(a.subnet_env("FLANNEL_MTU")? == "1472");
    let routes = a.ip("route show proto 73")?;
    ensure!(routes.contains(&format!("{} via {} dev eth0", b.subnet()?, b.address())), "{routes}");
    // A third node behind a router.
    lab.switch().ip("address add 192.168.51.254/24 dev br0")?;
    lab.switch().sysctl("net.ipv4.ip_forward", "1")?;
    for node in [&a, &b] {
        node.ip("route add 192.168.51.0/24 via 192.168.50.254")?;
    }
    let far = lab.node("far")?;
    far.ip("address flush dev eth0")?;
    far.ip("address add 192.168.51.9/24 dev eth0")?;
    far.ip("route add default via 192.168.51.254")?;
    far.start(with_plugins(&far, &files)?)?;
    far.ready(LOADED)?;
    lab.wait_for_routes(&[&a, &b, &far], SOON)?;
    let distant = far.pod("p1")?;
    all_pairs(&[distant, pods.into_iter().next().context("a pod")?])?;
    let routes = a.ip("route show proto 73")?;
    ensure!(routes.contains(&format!("{} dev nearby0", far.subnet()?)), "{routes}");
    Ok(())
}

fn vnet() -> Result<()> {
    let javascript = example("backend-vnet.wasm")?;
    let lab = Lab::new("vnet")?;
    config(&lab, "vnet")?;
    let ([a, b], pods) = cluster(&lab, ["a", "b"], &[("backend-vnet.wasm", javascript)])?;
    carries(&pods)?;
    let link = a.ip("-d link show vnet0")?;
    ensure!(link.contains("vxlan id 77") && link.contains("dstport 4789") && link.contains("mtu 1450"), "{link}");
    let mac = link.split_whitespace().skip_while(|word| *word != "link/ether").nth(1).context("no Ethernet address")?.to_owned();
    let neighbours = b.ip("neighbour show dev vnet0")?;
    ensure!(neighbours.contains(&mac), "{mac} is not among {neighbours}");
    a.kill()?;
    a.start(with_plugins(&a, &[])?)?;
    a.ready(LOADED)?;
    let again = a.ip("-d link show vnet0")?;
    ensure!(again.contains(&mac), "after a restart the device has another address: {again}");
    Ok(())
}

fn alloc() -> Result<()> {
    let lab = Lab::new("alloc")?;
    config(&lab, "alloc")?;
    let ([a, b], [p, q]) = cluster(&lab, ["a", "b"], &[])?;
    ensure!(a.subnet_env("FLANNEL_MTU")? == "1500" && a.subnet()? != b.subnet()?);
    let planned = a.ip("route show proto 73")?;
    ensure!(planned.trim().is_empty(), "it planned {planned}");
    ensure!(p.ping(&q).is_err(), "packets arrive, and nobody was told the way");
    a.ip(&format!("route add {} via {}", b.subnet()?, b.address()))?;
    b.ip(&format!("route add {} via {}", a.subnet()?, a.address()))?;
    carries(&[p, q])?;
    let routes = a.ip("route show")?;
    ensure!(routes.contains(&format!("{} via {}", b.subnet()?, b.address())), "a route that is another's is gone: {routes}");
    Ok(())
}

/// A plugin of `tests/frozen`, unpacked, and its digest.
fn unpacked(packed: &[u8]) -> Result<(Vec<u8>, String)> {
    use std::io::Write;
    let mut gzip = Command::new("gzip").arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("gzip does not run")?;
    let mut input = gzip.stdin.take().context("no input")?;
    let packed = packed.to_vec();
    let writer = std::thread::spawn(move || input.write_all(&packed));
    let bytes = gzip.wait_with_output()?.stdout;
    writer.join().map_err(|_| anyhow::anyhow!("writing to gzip failed"))??;
    let digest = <sha2::Sha256 as sha2::Digest>::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((bytes, digest))
}

fn frozen() -> Result<()> {
    let (backend, backend_digest) = unpacked(include_bytes!("../frozen/0.1.0/backend-host-gw.wasm.gz"))?;
    let (store, store_digest) = unpacked(include_bytes!("../frozen/0.1.0/store-file.wasm.gz"))?;
    let lab = Lab::new("frozen")?;
    config(&lab, "host-gw")?;
    // Of equal versions the one in the later folder is used: these, and not what was built today.
    let files = [("backend-host-gw.wasm", backend), ("store-file.wasm", store)];
    let ([a, b], pods) = cluster(&lab, ["a", "b"], &files)?;
    carries(&pods)?;
    let plugins = a.api("plugins")?;
    for (name, digest) in [("backend-host-gw", backend_digest), ("store-file", store_digest)] {
        let used = plugins.as_array().into_iter().flatten().find(|plugin| plugin["name"] == name && plugin["state"] == "active");
        ensure!(used.is_some_and(|plugin| plugin["digest"] == digest.as_str()), "{name} in use is another: {plugins}");
    }
    b.kill()?;
    run(b.command("/bin/true")?.arg("b's world is still there"))?;
    b.start(with_plugins(&b, &[])?)?;
    b.ready(SOON)?;
    wait_until("the packets after a restart", SOON, || pods[0].ping(&pods[1]))
}
