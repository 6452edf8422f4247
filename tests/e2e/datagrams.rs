//! What arrives at the tunnel's port and is no honest packet of a peer: dropped, counted by reason, and never delivered.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Result, ensure};
use lab::harness::Test;
use lab::inject::Ear;
use lab::{Node, Pod, packet, wait_until};
use serde_json::json;

use crate::story::{SOON, cluster};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("datagrams: malformed, forged, foreign, truncated and oversize ones are dropped and counted by reason", hostile),
    Test::new("datagrams: what a peer sends wrongly is counted as its own, and explain says so of it alone", whose),
];

/// flannel's UDP port.
const PORT: u16 = 8285;

/// One datagram that must not be delivered.
struct Case {
    what: &'static str,
    from: Ipv4Addr,
    payload: Vec<u8>,
    reason: &'static str,
}

fn hostile() -> Result<()> {
    let (lab, [a, b], [p, q]) = cluster(["a", "b"])?;
    let outsider = lab.node("outsider")?;
    let ear = p.listen()?;
    let honest = |inner: &[u8]| packet::udp(SocketAddrV4::new(q.address(), 4000), ear.address(), inner);
    // The control: the same datagram, honestly made, arrives.
    deliver(&b, &a, b.address(), &honest(b"honest"))?;
    ensure!(ear.hear(SOON)?.as_deref() == Some(b"honest"), "an honest datagram made by hand does not arrive: the test would prove nothing");
    for case in cases(&b, &outsider, &ear, &honest) {
        let counted = a.drops(case.reason)?;
        deliver(&outsider, &a, case.from, &case.payload)?;
        wait_until(&format!("{} to be counted as {}", case.what, case.reason), SOON, || {
            ensure!(a.drops(case.reason)? > counted, "{}", a.api("tunnels")?);
            Ok(())
        })?;
        ensure!(ear.hear(Duration::from_millis(50))?.is_none(), "{} was delivered", case.what);
    }
    deliver(&b, &a, b.address(), &honest(b"still honest"))?;
    ensure!(ear.hear(SOON)?.as_deref() == Some(b"still honest"), "after all that an honest datagram no longer arrives");
    Ok(())
}

fn whose() -> Result<()> {
    let (_lab, [a, b, c], [p, q, r]) = cluster(["a", "b", "c"])?;
    let ear = p.listen()?;
    let told = |peer: &Pod| -> Result<Vec<String>> {
        let told = a.twill(&["explain", &peer.address().to_string()])?;
        Ok(told.lines().filter(|line| line.split_whitespace().any(|word| word == "drops")).map(str::to_owned).collect())
    };
    ensure!(told(&q)?.is_empty() && told(&r)?.is_empty(), "drops before anything was dropped: {:?} {:?}", told(&q)?, told(&r)?);
    // A packet of c's pod that b sends, and packets that are cut short.
    let forged = packet::udp(SocketAddrV4::new(r.address(), 4000), ear.address(), b"forged");
    let mut cut = packet::udp(SocketAddrV4::new(q.address(), 4000), ear.address(), b"xxxxxxxxxxxxxxxx");
    cut.truncate(30);
    for payload in [&forged, &cut, &cut] {
        deliver(&b, &a, b.address(), payload)?;
    }
    wait_until("explain to count what b sent", SOON, || {
        let told = told(&q)?;
        ensure!(told.len() == 1 && told[0].starts_with("? ") && told[0].ends_with(": 1 inner-source, 2 truncated"), "{told:?}");
        Ok(())
    })?;
    ensure!(told(&r)?.is_empty(), "c is charged with what b sent: {:?}", told(&r)?);
    let peers = a.api("peers")?;
    for (node, drops) in [(&b, json!({ "inner-source": 1, "truncated": 2 })), (&c, json!({}))] {
        let subnet = node.subnet()?;
        let peer = peers.as_array().into_iter().flatten().find(|peer| peer["subnets"]["v4"] == subnet.as_str());
        ensure!(peer.is_some_and(|peer| peer["drops"] == drops), "{} of {}: {peers}", drops, node.name());
    }
    Ok(())
}

fn deliver(by: &Node, to: &Node, claimed: Ipv4Addr, payload: &[u8]) -> Result<()> {
    by.inject(SocketAddrV4::new(claimed, PORT), SocketAddrV4::new(to.address(), PORT), payload)
}

fn cases(b: &Node, outsider: &Node, ear: &Ear, honest: &dyn Fn(&[u8]) -> Vec<u8>) -> Vec<Case> {
    let peer = b.address();
    let case = |what, from, payload, reason| Case { what, from, payload, reason };
    // The first subnet of a network is no node's.
    let from_elsewhere = packet::udp("10.50.0.9:4000".parse().expect("an address"), ear.address(), b"x");
    let from_own_subnet = packet::udp(SocketAddrV4::new(*ear.address().ip(), 4000), ear.address(), b"x");
    let changed = |at: usize, value: u8| {
        let mut packet = honest(b"x");
        packet[at] = value;
        packet
    };
    // Whatever the subnets are, it is not what it was.
    let mut wrong = honest(b"x");
    wrong[10] ^= 0xff;
    let mut cut = honest(b"xxxxxxxxxxxxxxxx");
    cut.truncate(30);
    vec![
        case("a sender without a lease", outsider.address(), honest(b"x"), "unknown-sender"),
        case("a spoofed sender that nobody leased", Ipv4Addr::new(192, 168, 50, 199), honest(b"x"), "unknown-sender"),
        case("an inner source outside the sender's lease", peer, from_elsewhere, "inner-source"),
        case("an inner source of the receiver's own subnet", peer, from_own_subnet, "inner-source"),
        case("an empty datagram", peer, vec![], "malformed"),
        case("random bytes", peer, (0..200u8).map(|byte| byte.wrapping_mul(151)).collect(), "malformed"),
        case("a wrong header checksum", peer, wrong, "malformed"),
        case("a header length under 20", peer, changed(0, 0x44), "malformed"),
        case("a packet cut short", peer, cut, "truncated"),
        case("a packet longer than the MTU", peer, honest(&[7; 1_500]), "oversize"),
    ]
}
