//! The story that the demo tells: three nodes, six pods, who holds which subnet, which routes there are, and the proof by traffic.

use std::io::{BufRead, Read};
use std::net::TcpStream;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lab::transfer::transfer;
use lab::{Lab, Node, Pod, artifacts, daemon, world};

use crate::page;

/// The variable that carries the page's address outside the lab.
pub const PAGE: &str = "TWILL_DEMO_PAGE";
/// Where the dashboard of node a leaves the lab, as the lab sees it.
pub const SOCKET: &str = "/mnt/page.sock";

/// Where a daemon serves its page unless told otherwise.
const PORT: &str = "127.0.0.1:4646";
const NETWORK: &str = "10.50.0.0/16";
const FILE: u64 = 100_000_000;

/// Tells the story; then stays until standard input ends, unless it is to be told only `once`.
pub fn run(once: bool) -> Result<()> {
    world::settle()?;
    let _ = std::fs::remove_dir_all(artifacts::logs("demo"));
    let (lab, nodes, pods) = tell().inspect_err(|_| daemon::print_logs("demo"))?;
    if !once {
        invite(&lab, &nodes)?;
        // Nothing more is told: wait for the end of the one outside.
        std::io::stdin().read_to_end(&mut Vec::new())?;
    }
    drop((nodes, pods));
    Ok(())
}

fn tell() -> Result<(Lab, [Node; 3], Vec<Pod>)> {
    let start = Instant::now();
    let lab = Lab::new("demo")?;
    step(&format!("network {NETWORK} over the udp backend (twill config set)"));
    lab.network(NETWORK)?;
    step("three nodes, a twill daemon on each");
    let nodes = lab.ready_nodes(["a", "b", "c"])?;
    open_page(&nodes[0])?;
    lab.wait_for_routes(&nodes.each_ref(), Duration::from_secs(30))?;
    step("two pods on each node, behind a bridge");
    let mut pods = Vec::new();
    for node in &nodes {
        pods.extend([node.pod("p1")?, node.pod("p2")?]);
    }
    for what in ["leases", "routes"] {
        println!("\n$ twill {what}    (on node a)\n{}", nodes[0].twill(&[what])?.trim_end());
    }
    println!();
    ping_all(&pods)?;
    send_files(&pods)?;
    step(&format!("proved in {:.1} s", start.elapsed().as_secs_f64()));
    Ok((lab, nodes, pods))
}

/// Leads the socket file to the port of this node's daemon.
fn open_page(node: &Node) -> Result<()> {
    let net = Arc::new(node.net().try_clone()?);
    let dial = move || net.inside(|| Ok(TcpStream::connect(PORT)?.into()));
    page::forward_unix(UnixListener::bind(SOCKET)?, dial);
    Ok(())
}

fn ping_all(pods: &[Pod]) -> Result<()> {
    step("every pod pings every other");
    let mut pairs = 0;
    for from in pods {
        let mut line = format!("    {} {:<12}", from.name(), from.address());
        for to in pods.iter().filter(|to| to.address() != from.address()) {
            from.reaches(to, Duration::from_secs(5))?;
            line.push_str(&format!(" {}", to.name()));
            pairs += 1;
        }
        println!("{line}");
    }
    println!("    {pairs} of {pairs} pairs answered");
    Ok(())
}

fn send_files(pods: &[Pod]) -> Result<()> {
    step("a file of 100 MB by TCP from node to node");
    for (from, to) in [(0, 2), (2, 4), (4, 0)] {
        let moved = transfer(&pods[from], &pods[to], FILE)?;
        let (rate, sum) = (moved.gbit_per_s(), &moved.checksum[..16]);
        println!("    {} to {}: {} bytes, {rate:.2} Gbit/s, SHA-256 {sum}… at both ends", pods[from].name(), pods[to].name(), moved.bytes);
    }
    Ok(())
}

fn invite(lab: &Lab, nodes: &[Node]) -> Result<()> {
    let mut first = String::new();
    std::io::stdin().lock().read_line(&mut first).context("cannot hear from outside")?;
    let page = std::env::var(PAGE).context("no page was announced")?;
    let door = format!("nsenter -t {} -a --preserve-credentials {}/release/twill-demo in", first.trim(), artifacts::inside().display());
    println!("\n  page          {page}    (node a's, in a browser on this machine)");
    println!("  on a node     {door} a");
    println!("  in a pod      {door} a.p1 ping 10.50.…");
    println!("  store         {} holds the cluster's leases, as files", lab.store().display());
    println!("  daemons' logs {} nodes, below target/lab-logs/demo", nodes.len());
    println!("\nThe commands are for the user who started the demo. Ctrl-C ends it all.");
    Ok(())
}

fn step(what: &str) {
    println!("==> {what}");
}
