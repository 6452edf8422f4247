//! Stories on a real etcd: nodes that know each other with a pod on each, and what a node's kernel holds for the overlay.

use anyhow::{Result, anyhow, ensure};
use lab::etcd::Etcd;
use lab::process::run;
use lab::{Lab, Node, Pod, wait_until};

use crate::families::lines;
use crate::story::{SOON, all_pairs};

/// Nodes on one etcd that know each other, with a pod `p1` on each; all reach all.
pub fn cluster<const N: usize>(config: &str, names: [&str; N]) -> Result<(Lab, Etcd, [Node; N], [Pod; N])> {
    let lab = Lab::new(&names.join(""))?;
    let etcd = Etcd::with_config(&lab, config)?;
    let nodes = etcd.cluster(&lab, names)?;
    let pods: Vec<Pod> = nodes.iter().map(|node| node.pod("p1")).collect::<Result<_>>()?;
    all_pairs(&pods)?;
    let pods = pods.try_into().map_err(|_| anyhow!("as many pods as nodes"))?;
    Ok((lab, etcd, nodes, pods))
}

/// A network of IPv4 with this backend.
pub fn config(backend: &str) -> String {
    format!(r#"{{"Network":"10.50.0.0/16","Backend":{{"Type":"{backend}"}}}}"#)
}

/// The lines by which `ip` and `bridge` show links, addresses, routes and permanent entries of a node; what comes and goes by itself is left out.
pub fn kernel(node: &Node) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for words in ["-d link show", "address show", "-4 route show table all", "-6 route show table all", "neigh show nud permanent"] {
        all.extend(lines(&node.ip(words)?).into_iter().map(|line| format!("{words}: {}", line.replace("state UNKNOWN", "state UP"))));
    }
    all.extend(lines(&run(node.net().command("bridge")?.args(["fdb", "show"]))?));
    // The pods' bridge has timers, and link-local addresses are tentative at first.
    // A TUN device to which another daemon attaches tells its state otherwise.
    all.retain(|line| !["cni0", " bridge ", "fe80::", "pod1"].iter().any(|changing| line.contains(changing)));
    all.sort();
    Ok(all)
}

/// Waits until the daemon says that its store is away.
pub fn misses_its_store(node: &Node) -> Result<()> {
    wait_until("the daemon to miss its store", 2 * SOON, || {
        let shown = node.api("node")?;
        ensure!(shown["store"]["reachable"] == false, "{shown}");
        Ok(())
    })
}

/// Waits until a problem that the daemon shows holds these words.
pub fn complains(node: &Node, words: &str) -> Result<()> {
    wait_until(&format!("{} to say: {words}", node.name()), SOON, || {
        let shown = node.api("node")?["problems"].to_string();
        ensure!(shown.contains(words), "{shown}");
        Ok(())
    })
}

/// Waits until the daemon is ready and nothing troubles it.
pub fn is_well(node: &Node) -> Result<()> {
    wait_until(&format!("{} to be well", node.name()), SOON, || {
        let shown = node.api("node")?;
        ensure!(shown["problems"].as_array().is_some_and(Vec::is_empty) && shown["ready"] == true, "{shown}");
        Ok(())
    })
}
