//! What the path does to packets: hops, sizes, and the messages that pods get about them.

use std::net::UdpSocket;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::harness::Test;
use lab::process::{outcome, said};
use lab::transfer::transfer;
use lab::{Lab, Launch, Pod, wait_until};

use crate::story::{NETWORK, SOON, cluster};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("path: a packet from pod to pod loses one hop at each host", hops),
    Test::new("path: a pod is told that an address is nobody's", unreachable),
    Test::new("path: a packet that is too big is answered with the size that fits", too_big),
    Test::new("path: a partition stops traffic, and it comes back when it heals", partition),
    Test::new("path: two queues of the TUN device carry streams and pings", two_queues),
];

fn hops() -> Result<()> {
    let (_lab, _nodes, [p, q]) = cluster(["a", "b"])?;
    let told = ping(&p, &["-c1", "-W2", &q.address().to_string()])?;
    let ttl = told.split("ttl=").nth(1).and_then(|rest| rest.split(' ').next()).with_context(|| format!("no TTL in {told}"))?;
    // Each host is one hop: 64 less two.
    ensure!(ttl == "62", "the echo came with TTL {ttl}: {told}");
    Ok(())
}

fn unreachable() -> Result<()> {
    let (_lab, _nodes, [p, _q]) = cluster(["a", "b"])?;
    wait_until("the pod to be told", SOON, || {
        let told = ping(&p, &["-c1", "-W1", "10.50.250.9"])?;
        ensure!(told.contains("Net Unreachable") || told.contains("Network is unreachable"), "{told}");
        Ok(())
    })
}

fn too_big() -> Result<()> {
    let (_lab, [a, _b], [p, q]) = cluster(["a", "b"])?;
    // A pod whose interface takes more than the tunnel: its node must tell it.
    a.ip("link set cni0 mtu 1500")?;
    a.ip("link set pod1 mtu 1500")?;
    p.net().ip("link set eth0 mtu 1500")?;
    wait_until("the pod to be told the size", SOON, || {
        let told = ping(&p, &["-c1", "-W1", "-Mdo", "-s1472", &q.address().to_string()])?;
        ensure!(told.contains("1472") && (told.contains("Frag needed") || told.contains("too long")), "{told}");
        Ok(())
    })?;
    // What fits to the byte passes: 1472 less 28 of header.
    ensure!(
        ping(&p, &["-c1", "-W2", "-Mdo", "-s1444", &q.address().to_string()])?.contains(" 0% packet loss"),
        "the largest packet does not pass"
    );
    let socket = p.net().inside(|| Ok(UdpSocket::bind((p.address(), 0))?))?;
    let ear = q.listen()?;
    // Without "do not fragment" the kernel cuts it up, and it arrives whole.
    socket.send_to(&[9; 4_000], ear.address()).ok();
    wait_until("a large datagram in fragments", SOON, || {
        socket.send_to(&[9; 4_000], ear.address()).ok();
        let heard = ear.hear(Duration::from_millis(500))?;
        ensure!(heard.as_ref().is_some_and(|bytes| bytes.len() == 4_000), "{:?}", heard.map(|bytes| bytes.len()));
        Ok(())
    })
}

fn partition() -> Result<()> {
    let (lab, [a, b, _c], [p, q, r]) = cluster(["a", "b", "c"])?;
    lab.partition(&a, &b)?;
    ensure!(p.ping(&q).is_err(), "pods talk across the partition");
    p.ping(&r)?;
    r.ping(&q)?;
    lab.heal(&a, &b)?;
    p.reaches(&q, SOON)
}

fn two_queues() -> Result<()> {
    let lab = Lab::new("queues")?;
    lab.network(NETWORK)?;
    let nodes = [lab.node("a")?, lab.node("b")?];
    // One node with two queues, one with as many as its cores are worth: both speak the same on the wire.
    nodes[0].start(Launch::now().flags(&["--udp-queues", "2"]))?;
    nodes[1].start(Launch::now())?;
    nodes.iter().try_for_each(|node| node.ready(SOON))?;
    lab.wait_for_routes(&[&nodes[0], &nodes[1]], SOON)?;
    let [p, q] = [nodes[0].pod("p1")?, nodes[1].pod("p1")?];
    p.reaches(&q, SOON)?;
    let tunnels = nodes[0].api("tunnels")?;
    ensure!(tunnels[0]["crossing"]["queues"] == 2, "{tunnels}");
    std::thread::scope(|scope| {
        let ways = [(&p, &q), (&q, &p), (&p, &q)].map(|(from, to)| scope.spawn(move || transfer(from, to, 10_000_000)));
        ways.into_iter().try_for_each(|way| way.join().ok().context("a transfer panicked")?.map(drop))
    })?;
    wait_until("the counters to be shown", SOON, || {
        let told = nodes[0].twill(&["tunnels"])?;
        ensure!(told.contains("2 queues, offloads tso") && told.contains("super-packets ("), "{told}");
        Ok(())
    })?;
    q.reaches(&p, SOON)
}

/// What ping prints, whether it succeeds or not.
fn ping(from: &Pod, args: &[&str]) -> Result<String> {
    Ok(said(&outcome(from.net().command("ping")?.arg("-n").args(args))?))
}
