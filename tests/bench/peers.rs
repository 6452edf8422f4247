//! What a node costs that has many peers and nothing to do: resident memory, and processor time while all is quiet.

use std::ops::Range;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::cluster::READY;
use lab::{Lab, Launch, Node, wait_until};
use serde_json::Value;

use crate::crowd::Crowd;
use crate::table::Table;

/// Peers, and the bar on memory in megabytes.
const STEPS: [(usize, f64); 2] = [(100, 40.0), (5_000, 80.0)];
/// The bar on processor time: none that can be measured.
const PERMILLE: f64 = 1.0;

/// Lets a node learn of more and more peers, whose leases are files in the store as their daemons would have written them.
pub fn measure() -> Result<bool> {
    let lab = Lab::new("peers")?;
    let node = alone(&lab)?;
    let _crowd = Crowd::new(&lab, &node)?;
    let mut table = Table::new("a node with many peers that are quiet");
    let mut known = 0;
    for (peers, bar) in STEPS {
        learn(&lab, &node, known..peers)?;
        known = peers;
        let length = Duration::from_secs(if crate::is_quick() { 3 } else { 60 });
        // What the news of so many peers set off is over before quiet is measured: every peer is proved.
        all_proved(&node, peers)?;
        std::thread::sleep(length / 6);
        let before = node.cpu_time()?;
        std::thread::sleep(length);
        let used = (node.cpu_time()? - before).as_secs_f64() / length.as_secs_f64() * 1000.0;
        table.row(&format!("resident memory, {peers} peers"), "MB", vec![node.memory_kb("VmRSS")? as f64 / 1000.0], Some(bar));
        table.row(&format!("processor time when quiet, {peers} peers"), "permille", vec![used], Some(PERMILLE));
    }
    print!("{table}");
    Ok(table.all_met())
}

fn all_proved(node: &Node, peers: usize) -> Result<()> {
    wait_until(&format!("{peers} peers to be proved"), Duration::from_secs(600), || {
        let paths = node.api("paths")?;
        let proved = paths.as_array().into_iter().flatten().filter(|path| path["state"] == "moved").count();
        ensure!(proved >= peers, "{proved} are");
        Ok(())
    })
}

/// A node whose network has room for thousands.
pub fn alone(lab: &Lab) -> Result<Node> {
    lab.network("10.32.0.0/11")?;
    let node = lab.node("a")?;
    node.start(Launch::now())?;
    node.ready(READY)?;
    Ok(node)
}

/// Has the node learn of peers of these numbers.
pub fn learn(lab: &Lab, node: &Node, numbers: Range<usize>) -> Result<()> {
    let like = own_lease(lab)?;
    let peers = numbers.end;
    for number in numbers {
        write(lab, &like, number)?;
    }
    wait_until(&format!("{peers} peers to be known"), Duration::from_secs(120), || {
        let paths = node.api("leases")?.as_array().map_or(0, |leases| leases.iter().filter(|lease| lease["way"].is_string()).count());
        ensure!(paths >= peers, "{paths} are");
        Ok(())
    })
}

fn own_lease(lab: &Lab) -> Result<Value> {
    let mut files = std::fs::read_dir(lab.store())?.filter_map(|entry| Some(entry.ok()?.path()));
    let lease = files.find(|path| path.extension().is_some_and(|ending| ending == "lease")).context("the node has no lease")?;
    Ok(serde_json::from_slice(&std::fs::read(lease)?)?)
}

/// The lease of another node, the same but for who and where it is.
fn write(lab: &Lab, like: &Value, number: usize) -> Result<()> {
    // Subnets from the upper half of the network, beside whatever the node itself has chosen.
    let (second, third) = (48 + number / 256, number % 256);
    let subnet = format!("10.{second}.{third}.0/24");
    let mut lease = like.clone();
    lease["node"] = format!("{number:08}-0000-4000-8000-000000000000").into();
    lease["subnets"]["v4"] = subnet.clone().into();
    lease["public"]["v4"] = format!("192.168.{}.{}", 100 + number / 250, number % 250 + 1).into();
    let path = lab.store().join(format!("{}.lease", subnet.replace('/', "-")));
    std::fs::write(&path, lease.to_string()).with_context(|| format!("cannot write {}", path.display()))
}
