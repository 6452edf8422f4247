//! Packet sizes through a change: pods that keep a larger MTU than the new way carries, and a link on which a network card leaves checksums unfinished.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Result, ensure};
use lab::harness::Test;
use lab::process::{outcome, said};
use lab::transfer::{Bulk, transfer};
use lab::{Stream, wait_until};

use crate::change::{use_backend, wait_for_all, wait_for_path};
use crate::families::{V4, cluster as cluster_of};
use crate::story::{SOON, cluster, goes_on};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("sizes: pods of a larger MTU go on by a tighter way: told what fits, or in fragments", larger_pods),
    Test::new("sizes: a link whose checksums arrive unfinished computes them in software before anybody is moved to it", unfinished),
];

fn larger_pods() -> Result<()> {
    let (lab, nodes, [p, q]) = cluster_of(&format!(r#"{{{V4},"Backend":{{"Type":"host-gw"}}}}"#), ["a", "b"])?;
    let [a, b] = &nodes;
    wait_for_all(&[a, b], "host-gw")?;
    let whole =
        |size: &str, df: &str| outcome(p.net().command("ping")?.args(["-n", "-c1", "-W1", "-M", df, "-s", size, &q.address().to_string()]));
    ensure!(whole("1472", "do")?.status.success(), "the whole MTU does not pass without a tunnel");
    let stream = Stream::sized(&p, &q, Duration::from_millis(2), 1472)?;
    goes_on(&stream)?;
    // A connection that was opened with segments of the old size, full all the time.
    let bulk = Bulk::start(&p, &q)?;
    more_arrives(&bulk)?;
    use_backend(&lab, r#"{"Type":"vxlan"}"#)?;
    wait_for_all(&[a, b], "vxlan")?;
    ensure!(a.subnet_env("FLANNEL_MTU")? == "1450", "new pods must get what fits");
    for (node, pod) in [(a, &q), (b, &p)] {
        let route = node.ip(&format!("route get {}", pod.address()))?;
        ensure!(route.contains("dev flannel.1 ") && route.contains("mtu 1450"), "{route}");
    }
    // Told what fits: the kernel answers with its MTU, and packets of that size pass whole.
    wait_until("word of the smaller MTU", SOON, || {
        let told = said(&whole("1472", "do")?);
        ensure!(told.contains("1450"), "{told}");
        Ok(())
    })?;
    ensure!(whole("1422", "do")?.status.success(), "1450 bytes do not pass whole");
    // Without "do not fragment" the old size goes on in pieces, and so do datagrams and connections.
    ensure!(whole("1472", "dont")?.status.success(), "no fragments");
    goes_on(&stream)?;
    more_arrives(&bulk)?;
    println!("{} bytes by one connection through the change", bulk.finish()?);
    let report = stream.stop()?;
    println!("{report}");
    // What was under way in one piece, "do not fragment" on it, until word came that it is too large; nothing after that.
    let (first, last) = (report.lost.first().copied().unwrap_or(0), report.lost.last().copied().unwrap_or(0));
    ensure!(report.lost_on_the_way() <= UNTOLD && last - first < UNTOLD, "{report}");
    transfer(&p, &q, 5_000_000)?;
    Ok(())
}

/// So many datagrams may be sent whole before their sender has heard that they no longer fit.
const UNTOLD: u64 = 5;

/// Waits until ten more megabytes have arrived.
fn more_arrives(bulk: &Bulk) -> Result<()> {
    let before = bulk.arrived();
    wait_until("the transfer to go on", SOON, || {
        let more = bulk.arrived() - before;
        ensure!(more > 10_000_000, "{more} more bytes arrived");
        Ok(())
    })
}

fn unfinished() -> Result<()> {
    let (lab, nodes, [p, q]) = cluster(["a", "b"])?;
    let [a, b] = &nodes;
    let base = |subnet: String| Ok::<Ipv4Addr, anyhow::Error>(subnet.replace("/24", "").parse()?);
    let (from, to) = (base(a.subnet()?)?, base(b.subnet()?)?);
    // What a card leaves that should have finished the checksum: the sum of the pseudo header alone. Between veth devices nobody ever finishes it, so the receiver of
    // this lab drops what it would drop behind such a card.
    let length = 1450 - 20;
    b.firewall(&format!(
        "chain broken {{ type filter hook prerouting priority -300; iifname flannel.1 ip saddr {from} ip daddr {to} udp length {length} udp checksum {} drop; }}",
        pseudo(from, to, length)
    ))?;
    use_backend(&lab, r#"{"Type":"vxlan"}"#)?;
    wait_for_path(a, b, "vxlan", "moved")?;
    wait_for_path(b, a, "vxlan", "moved")?;
    let helped = |events: Vec<String>| events.iter().any(|event| event.contains("only since it computes checksums in software"));
    wait_until("word of the card", SOON, || {
        let events = a.events()?;
        ensure!(helped(events.clone()), "{events:?}");
        Ok(())
    })?;
    ensure!(!helped(b.events()?), "the other direction is sound, and was touched");
    p.reaches(&q, SOON)
}

/// The folded sum of UDP's pseudo header (RFC 768).
fn pseudo(from: Ipv4Addr, to: Ipv4Addr, length: u16) -> u16 {
    let words = |address: Ipv4Addr| {
        [u16::from_be_bytes([address.octets()[0], address.octets()[1]]), u16::from_be_bytes([address.octets()[2], address.octets()[3]])]
    };
    let mut sum: u32 = words(from).into_iter().chain(words(to)).chain([17, length]).map(u32::from).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
