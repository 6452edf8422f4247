//! A peer whose path carries less than the others': the size is measured through the overlay and stands in the routes, so that running pods are right without a
//! restart, and the other peers keep their size.

use std::net::{TcpListener, TcpStream};
use std::thread;

use anyhow::{Context, Result, ensure};
use lab::cluster::Underlay;
use lab::harness::Test;
use lab::netns::NetNs;
use lab::process::{outcome, run, said};
use lab::transfer::transfer;
use lab::{Lab, Launch, Node, Pod, wait_until};
use nix::sys::socket::{getsockopt, sockopt};

use crate::chain::apart;
use crate::change::{wait_for_all, wait_for_path};
use crate::families::{V4, V6, answers, cluster, give_v6, published, underlay_v6};
use crate::story::{NETWORK, SOON, all_pairs};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("narrow: one peer's path carries less, is measured, told in routes, and grows again", narrow),
    Test::new("narrow: a far peer behind an ordinary road is measured, and peers of the same rack keep their jumbo frames", jumbo),
    Test::new("narrow: long packets of IPv6 that are swallowed are told in the IPv6 route, and IPv4 keeps its size", of_ipv6),
    Test::new("narrow: a switch that swallows long VXLAN packets is measured, told in the peer's route, and grows again", swallowed),
];

/// Outer headers of the udp backend.
const OUTER: usize = 28;
/// Outer headers of VXLAN.
const VXLAN: usize = 50;
/// An IPv6 header.
const IPV6: usize = 40;
/// MTU of every other link, and the longest inner packet there.
const WIDE: usize = 1500;

fn narrow() -> Result<()> {
    let lab = Lab::new("narrow")?;
    lab.network(NETWORK)?;
    let nodes = [lab.node("a")?, lab.node("b")?, lab.node("c")?];
    let [a, b, c] = &nodes;
    let routers = apart(&lab, &[a, b], c, 1300)?;
    // A black hole: the routers tell nobody what does not fit.
    for router in &routers {
        let rules = "add table ip hush; add chain ip hush out { type filter hook output priority 0; }; add rule ip hush out icmp type destination-unreachable drop";
        run(router.command("nft")?.arg(rules))?;
    }
    a.start(Launch::now().flags(&["--clamp-mss"]))?;
    [b, c].into_iter().try_for_each(|node| node.start(Launch::now()))?;
    nodes.iter().try_for_each(|node| node.ready(SOON))?;
    lab.wait_for_routes(&[a, b, c], SOON)?;
    let pods = [a.pod("p1")?, b.pod("p1")?, c.pod("p1")?];
    pods[0].reaches(&pods[1], SOON)?;
    pods[0].reaches(&pods[2], SOON)?;

    says(a, c, Some(1300 - OUTER))?;
    says(b, c, Some(1300 - OUTER))?;
    says(c, a, Some(1300 - OUTER))?;
    says(a, b, None)?;
    let told = a.api("paths")?.to_string();
    ensure!(told.contains("packets of up to 1272 bytes come back, those of 1472 do not"), "{told}");
    clamped(&pods[0], &pods[2], 1300 - OUTER - 40)?;
    both_at_once(&pods, 1300, WIDE)?;

    routers.iter().try_for_each(|router| widen(router, WIDE))?;
    says(a, c, None)?;
    says(c, a, None)?;

    // Narrow again, this time with routers that tell.
    for router in &routers {
        run(router.command("nft")?.arg("delete table ip hush"))?;
        widen(router, 1400)?;
    }
    says(a, c, Some(1400 - OUTER))?;
    says(c, a, Some(1400 - OUTER))?;
    says(a, b, None)?;
    // What pods were told before they would remember for ten minutes.
    pods.iter().try_for_each(|pod| pod.net().ip("route flush cache").map(drop))?;
    both_at_once(&pods, 1400, WIDE)
}

/// MTU of the links within a rack.
const JUMBO: usize = 9000;

fn jumbo() -> Result<()> {
    let lab = Lab::with("jumbo", Underlay { mtu: JUMBO as u32 })?;
    lab.network(NETWORK)?;
    let nodes = [lab.node("a")?, lab.node("b")?, lab.node("c")?];
    let [a, b, c] = &nodes;
    let _routers = apart(&lab, &[a, b], c, 1400)?;
    nodes.iter().try_for_each(|node| node.start(Launch::now()))?;
    nodes.iter().try_for_each(|node| node.ready(SOON))?;
    lab.wait_for_routes(&[a, b, c], SOON)?;
    let pods = [a.pod("p1")?, b.pod("p1")?, c.pod("p1")?];
    all_pairs(&pods)?;
    ensure!(a.subnet_env("FLANNEL_MTU")? == (JUMBO - OUTER).to_string(), "pods of the rack get what fits there");
    says(a, c, Some(1400 - OUTER))?;
    says(b, c, Some(1400 - OUTER))?;
    says(c, a, Some(1400 - OUTER))?;
    says(a, b, None)?;
    says(b, a, None)?;
    both_at_once(&pods, 1400, JUMBO)
}

fn of_ipv6() -> Result<()> {
    let config = format!(r#"{{{V4},{V6},"Backend":{{"Type":"vxlan"}}}}"#);
    let (lab, nodes, pods) = cluster(&config, ["a", "b", "c"])?;
    let [a, b, c] = &nodes;
    wait_for_all(&[a, b, c], "vxlan")?;
    let v6 = [give_v6(a, &pods[0])?, give_v6(b, &pods[1])?, give_v6(c, &pods[2])?];
    let subnet = |node: &Node| -> Result<String> {
        let lease = published(&lab, node)?;
        Ok(lease["subnets"]["v6"].as_str().context("no IPv6 subnet")?.to_owned())
    };
    let says_v6 = |from: &Node, to: &Node, mtu: Option<usize>| {
        let command = format!("-6 route show {}", subnet(to)?);
        says_that(from, to, &command, mtu)
    };
    let whole = says_in(&a.ip(&format!("-6 route show {}", subnet(b)?))?);
    let by_v4 = a.ip(&format!("route show {}", b.subnet()?))?;
    // VXLAN's packets of the family travel over the same family of the underlay.
    let address = underlay_v6(b);
    let longest = 1400 - IPV6;
    let rules = ["saddr", "daddr"].map(|end| format!("ip6 {end} {address} ip6 length > {longest} drop\n"));
    lab.switch()
        .nft(&format!("table bridge narrow {{ chain road {{ type filter hook forward priority 0\n {} }}\n }}\n", rules.concat()))?;
    let fits = 1400 - VXLAN - (IPV6 - 20);
    for (from, to) in [(a, b), (c, b), (b, a), (b, c)] {
        says_v6(from, to, Some(fits))?;
    }
    says_v6(a, c, whole)?;
    ensure!(a.ip(&format!("route show {}", b.subnet()?))? == by_v4, "the route of IPv4 changed: {}", a.ip("route show")?);
    let headers = IPV6 + 8;
    answers(|| pods[0].net().command("ping"), &["-Mdo", &format!("-s{}", fits - headers)], v6[1])?;
    answers(|| pods[0].net().command("ping"), &["-Mdo", &format!("-s{}", 1430 - headers)], v6[2])?;
    lab.switch().nft("delete table bridge narrow\n")?;
    says_v6(a, b, whole)
}

fn swallowed() -> Result<()> {
    let lab = Lab::new("swallowed")?;
    lab.config(&format!(r#"{{"Network":"{NETWORK}","Backend":{{"Type":"vxlan"}}}}"#))?;
    let nodes = lab.ready_nodes(["a", "b", "c"])?;
    let [a, b, c] = &nodes;
    lab.wait_for_routes(&nodes.each_ref(), SOON)?;
    [b, c].into_iter().try_for_each(|peer| wait_for_path(a, peer, "vxlan", "moved"))?;
    swallow(&lab, c, Some(1400))?;
    says(a, c, Some(1400 - VXLAN))?;
    says(c, b, Some(1400 - VXLAN))?;
    says(a, b, None)?;
    swallow(&lab, c, None)?;
    says(a, c, None)?;
    says(c, b, None)
}

/// Has the switch swallow longer packets than so many bytes to and from a node, and tell nobody; or none any more. (A switch port of a smaller MTU is no such
/// thing: br_netfilter may cut what goes out there.)
pub fn swallow(lab: &Lab, node: &Node, longest: Option<usize>) -> Result<()> {
    let address = node.address();
    let rules = longest.map(|longest| {
        let rules = ["saddr", "daddr"].map(|end| format!("ip {end} {address} ip length > {longest} drop\n"));
        format!("table bridge narrow {{ chain road {{ type filter hook forward priority 0\n {} }}\n }}\n", rules.concat())
    });
    lab.switch().nft(&format!("table bridge narrow\ndelete table bridge narrow\n{}", rules.unwrap_or_default()))
}

/// Waits until the route from one node to the other's pods says that MTU, or none.
fn says(from: &Node, to: &Node, mtu: Option<usize>) -> Result<()> {
    says_that(from, to, &format!("route show {}", to.subnet()?), mtu)
}

fn says_that(from: &Node, to: &Node, command: &str, mtu: Option<usize>) -> Result<()> {
    let what = mtu.map_or("no MTU".to_owned(), |mtu| format!("MTU {mtu}"));
    wait_until(&format!("the route from {} to {} to say {what}", from.name(), to.name()), SOON, || {
        let route = from.ip(command)?;
        ensure!(says_in(&route) == mtu, "{route}");
        Ok(())
    })
}

/// The MTU that a route says.
fn says_in(route: &str) -> Option<usize> {
    route.split_once(" mtu ").and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok())
}

/// Pods send whole packets to the far peer as long as its path carries, and to the near one as long as its link does; both by TCP too, in both directions.
fn both_at_once(pods: &[Pod; 3], path: usize, link: usize) -> Result<()> {
    let [near, other, far] = pods;
    wait_until("whole pings as long as the paths carry", SOON, || {
        for (to, mtu) in [(far, path), (other, link)] {
            let told = ping(near, to, mtu - OUTER)?;
            ensure!(told.contains(" 0% packet loss"), "{told}");
        }
        Ok(())
    })?;
    wait_until("word of what does not fit", SOON, || {
        let told = ping(near, far, path - OUTER + 1)?;
        ensure!(told.contains(&format!("mtu = {}", path - OUTER)) || told.contains(&format!("mtu={}", path - OUTER)), "{told}");
        Ok(())
    })?;
    thread::scope(|scope| {
        let ways = [(near, far), (near, other), (far, near)].map(|(from, to)| scope.spawn(move || transfer(from, to, 5_000_000)));
        ways.into_iter().try_for_each(|way| way.join().ok().context("a transfer panicked")?.map(drop))
    })
}

/// A connection's segments are kept to what the route carries before anybody has told the pod, which was not told anything yet.
fn clamped(from: &Pod, to: &Pod, most: usize) -> Result<()> {
    let listener = to.net().inside(|| Ok(TcpListener::bind((to.address(), 0))?))?;
    let stream = from.net().inside(|| Ok(TcpStream::connect(listener.local_addr()?)?))?;
    let segment = getsockopt(&stream, sockopt::TcpMaxSeg)? as usize;
    ensure!(segment <= most && segment > most - 40, "segments of {segment} bytes, where {most} fit");
    Ok(())
}

/// A ping of a packet of so many bytes that may not be fragmented.
fn ping(from: &Pod, to: &Pod, packet: usize) -> Result<String> {
    let size = (packet - 28).to_string();
    let args = ["-c1", "-W1", "-Mdo", "-s", &size, &to.address().to_string()];
    Ok(said(&outcome(from.net().command("ping")?.args(args))?))
}

fn widen(router: &NetNs, mtu: usize) -> Result<()> {
    router.ip(&format!("link set mid mtu {mtu}")).map(drop)
}
