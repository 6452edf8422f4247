//! How most stories begin: nodes that are ready and know each other, with a pod on each.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::{Lab, Node, Pod, Stream, wait_until};

/// The network that most stories play in.
pub const NETWORK: &str = "10.50.0.0/16";
/// Long enough for anything that has no bound of its own, on a busy machine.
pub const SOON: Duration = Duration::from_secs(20);

/// Ready nodes that know each other, with a pod `p1` on each.
pub fn cluster<const N: usize>(names: [&str; N]) -> Result<(Lab, [Node; N], [Pod; N])> {
    let lab = Lab::new(&names.join(""))?;
    lab.network(NETWORK)?;
    let nodes = lab.ready_nodes(names)?;
    lab.wait_for_routes(&nodes.each_ref(), SOON)?;
    let pods: Vec<Pod> = nodes.iter().map(|node| node.pod("p1")).collect::<Result<_>>()?;
    let pods: [Pod; N] = pods.try_into().map_err(|_| anyhow::anyhow!("as many pods as nodes"))?;
    all_pairs(&pods)?;
    Ok((lab, nodes, pods))
}

/// Every pod reaches every other.
pub fn all_pairs(pods: &[Pod]) -> Result<()> {
    for from in pods {
        for to in pods.iter().filter(|to| to.address() != from.address()) {
            from.reaches(to, SOON)?;
        }
    }
    Ok(())
}

/// A stream of a datagram every millisecond, once it flows.
pub fn flowing(from: &Pod, to: &Pod) -> Result<Stream> {
    let stream = Stream::start(from, to, Duration::from_millis(1))?;
    goes_on(&stream)?;
    Ok(stream)
}

/// Waits until a hundred more datagrams have arrived.
pub fn goes_on(stream: &Stream) -> Result<()> {
    let before = stream.newest();
    wait_until("the stream to go on", SOON, || {
        ensure!(stream.newest() >= before + 100, "{} of {} more datagrams arrived", stream.newest() - before, 100);
        Ok(())
    })
}

/// Waits until what a node keeps on disk for times without a store holds the leases of all these nodes; it may be a second behind.
pub fn remembers(node: &Node, all: &[&Node]) -> Result<()> {
    let book = node.dir("lib").join("twill/twill/book.json");
    wait_until("the remembered leases", SOON, || {
        let text = std::fs::read_to_string(&book)?;
        for other in all {
            ensure!(text.contains(&other.subnet()?), "{text}");
        }
        Ok(())
    })
}
