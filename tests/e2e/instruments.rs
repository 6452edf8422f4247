//! The lab's own instruments must see what they are there to see before twill is judged by them. Here nodes are joined by plain kernel routes.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::harness::Test;
use lab::transfer::transfer;
use lab::{Lab, Node, Pod, Stream, packet};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("instruments: a stream counts exactly what a cut swallowed", stream_counts_losses),
    Test::new("instruments: a file arrives whole, and its checksum says so", file_arrives),
    Test::new("instruments: an injected datagram arrives with the source it claims", injection_arrives),
    Test::new("instruments: a strict reverse-path filter drops what comes by the wrong way", rp_filter_drops),
];

/// Two nodes with a pod each, joined by plain routes.
struct Plain {
    lab: Lab,
    a: Node,
    b: Node,
    p: Pod,
    q: Pod,
}

fn plain(name: &str) -> Result<Plain> {
    let lab = Lab::new(name)?;
    let (a, b) = (lab.node("a")?, lab.node("b")?);
    let (p, q) = (routed_pod(&a, "10.9.1", &b, "10.9.2")?, routed_pod(&b, "10.9.2", &a, "10.9.1")?);
    p.reaches(&q, Duration::from_secs(5))?;
    Ok(Plain { lab, a, b, p, q })
}

fn routed_pod(node: &Node, own: &str, other: &Node, theirs: &str) -> Result<Pod> {
    let dir = node.dir("run").join("flannel");
    std::fs::create_dir_all(&dir)?;
    std::fs::write(
        dir.join("subnet.env"),
        format!("FLANNEL_NETWORK=10.9.0.0/16\nFLANNEL_SUBNET={own}.1/24\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=false\n"),
    )?;
    node.net().sysctl("net.ipv4.ip_forward", "1")?;
    node.ip(&format!("route add {theirs}.0/24 via {}", other.address()))?;
    node.pod("p1")
}

fn stream_counts_losses() -> Result<()> {
    let Plain { lab, a, b, p, q } = plain("stream")?;
    let whole = Stream::start(&p, &q, Duration::from_millis(1))?;
    lab::wait_until("some datagrams", Duration::from_secs(5), || Ok(ensure!(whole.newest() > 100)))?;
    whole.stop()?.nothing_lost()?;
    let cut = Stream::start(&p, &q, Duration::from_millis(1))?;
    lab::wait_until("some datagrams", Duration::from_secs(5), || Ok(ensure!(cut.newest() > 100)))?;
    a.ip(&format!("route replace blackhole {}", b.subnet()?))?;
    let before = cut.newest();
    std::thread::sleep(Duration::from_millis(100));
    a.ip(&format!("route replace {} via {}", b.subnet()?, b.address()))?;
    lab::wait_until("datagrams after the cut", Duration::from_secs(5), || Ok(ensure!(cut.newest() > before + 100)))?;
    let report = cut.stop()?;
    ensure!((50..2000).contains(&report.lost.len()) && report.longest_silence >= Duration::from_millis(90), "{report}");
    lab.partition(&a, &b)?;
    ensure!(p.ping(&q).is_err(), "pods still talk across a partition");
    lab.heal(&a, &b)?;
    p.reaches(&q, Duration::from_secs(5))
}

fn file_arrives() -> Result<()> {
    let Plain { p, q, .. } = plain("file")?;
    let moved = transfer(&p, &q, 20_000_000)?;
    ensure!(moved.bytes == 20_000_000 && moved.checksum.len() == 64, "{moved:?}");
    Ok(())
}

fn injection_arrives() -> Result<()> {
    let Plain { b, a, q, .. } = plain("injection")?;
    let ear = q.listen()?;
    let forged = "10.9.1.77:4000".parse()?;
    a.inject(forged, ear.address(), b"hello")?;
    ensure!(ear.hear(Duration::from_secs(2))?.as_deref() == Some(b"hello"), "the injected datagram did not arrive");
    b.firewall("chain forward { type filter hook forward priority 0; ip saddr 10.9.1.77 drop; }")?;
    a.inject(forged, ear.address(), b"again")?;
    ensure!(ear.hear(Duration::from_millis(300))?.is_none(), "the node's firewall let it pass");
    ensure!(packet::udp(forged, ear.address(), b"x").len() == 29);
    Ok(())
}

fn rp_filter_drops() -> Result<()> {
    let Plain { a, b, q, .. } = plain("rp_filter")?;
    let ear = q.listen()?;
    // The claimed source lies behind b's own bridge: strict filtering must drop it, loose must not.
    let forged = "10.9.3.5:4000".parse()?;
    b.ip("link add other type bridge")?;
    b.ip("link set other up")?;
    b.ip("route add 10.9.3.0/24 dev other")?;
    for (mode, arrives) in [(1, false), (2, true)] {
        b.rp_filter(mode)?;
        a.inject(forged, ear.address(), b"x")?;
        ensure!(ear.hear(Duration::from_millis(500))?.is_some() == arrives, "rp_filter {mode}");
    }
    Ok(())
}
