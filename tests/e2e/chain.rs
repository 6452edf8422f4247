//! All kinds of packets through two routers with a narrower link between them: whatever fits passes, whatever does not is cut or told, and nothing is lost silently.

use std::io::Read;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::harness::Test;
use lab::netns::NetNs;
use lab::process::{outcome, said};
use lab::transfer::transfer_to;
use lab::{Lab, Launch, Node, Pod, wait_until};
use socket2::{Domain, Protocol, Socket, Type};

use crate::families::{V4, V6, give_v6, machines, pods, start};
use crate::story::{NETWORK, SOON};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("chain: TCP, UDP, odd protocols and pings of every size pass a narrower link between two routers", chain),
    Test::new("chain: the same by IPv6 between pods, over an underlay of both families", || both_families(28)),
    Test::new("chain: the same by both families between pods, over routers of IPv6, which cut nothing", || both_families(48)),
];

/// How many of each kind follow once one has passed, none of which may be lost.
const AGAIN: &str = "20";
/// MTU of the link between the routers.
const NARROW: usize = 1300;
/// The same where pods talk by IPv6, whose packets may have 1280 bytes on any path, and outer headers come on top.
const NARROW_V6: usize = 1400;

/// A pod, and the address by which it takes part.
type At<'a> = (&'a Pod, IpAddr);

fn chain() -> Result<()> {
    let lab = Lab::new("chain")?;
    lab.network(NETWORK)?;
    let nodes = [lab.node("a")?, lab.node("b")?];
    let _routers = apart(&lab, &[&nodes[0]], &nodes[1], NARROW)?;
    nodes.iter().try_for_each(|node| node.start(Launch::now()))?;
    nodes.iter().try_for_each(|node| node.ready(SOON))?;
    lab.wait_for_routes(&[&nodes[0], &nodes[1]], SOON)?;
    let pods = [nodes[0].pod("p1")?, nodes[1].pod("p1")?];
    pods[0].reaches(&pods[1], SOON)?;
    let ends = pods.each_ref().map(|pod| (pod, pod.address().into()));
    all_kinds_both_ways(ends, NARROW - 28)
}

/// Pods of both families talk by IPv6, and by IPv4 too where the outer headers of so many bytes are those of IPv6.
fn both_families(outer: usize) -> Result<()> {
    let (lab, nodes) = machines(&format!(r#"{{{V4},{V6},"Backend":{{"Type":"udp"}}}}"#), ["a", "b"])?;
    let [a, b] = &nodes;
    let routers = apart(&lab, &[a], b, NARROW_V6)?;
    pave(&routers, &[a], b, BY_V6)?;
    let by_v6 = outer > 28;
    if by_v6 {
        // What they have of IPv4 is of no use to each other.
        a.ip("-4 route replace unreachable 192.168.60.0/24")?;
        b.ip("-4 route add unreachable 192.168.50.0/24")?;
    }
    start(&[a, b])?;
    let pods = pods(&nodes)?;
    let v6 = [give_v6(a, &pods[0])?, give_v6(b, &pods[1])?];
    let fits = NARROW_V6 - outer;
    if by_v6 {
        all_kinds_both_ways(pods.each_ref().map(|pod| (pod, pod.address().into())), fits)?;
    }
    all_kinds_both_ways([(&pods[0], v6[0].into()), (&pods[1], v6[1].into())], fits)
}

/// Every kind of packet, where so long inner ones fit.
fn all_kinds_both_ways([a, b]: [At<'_>; 2], fits: usize) -> Result<()> {
    for (from, to) in [(a, b), (b, a)] {
        transfer_to(from.0, to, 20_000_000)?;
        pings(from, to, fits)?;
        datagrams(from, to, fits)?;
        odd_protocol(from, to)?;
    }
    Ok(())
}

/// The networks of an address family: of the nodes that stay, of the link between the routers and of the node that is moved; their length, and with which flags
/// their addresses hold at once.
type Family = ([&'static str; 3], &'static str, &'static str);
const BY_V4: Family = (["192.168.50.", "192.168.51.", "192.168.60."], "/24", "");
const BY_V6: Family = (["fd50::", "fd51::", "fd60::"], "/64", "nodad");

/// Moves a node behind two routers, with a link of that MTU between them, named "mid" on both. `near` are the nodes that stay and are to reach it.
pub fn apart(lab: &Lab, near: &[&Node], far: &Node, mtu: usize) -> Result<[NetNs; 2]> {
    let routers = [NetNs::create("west")?, NetNs::create("east")?];
    for router in &routers {
        router.sysctl("net.ipv4.ip_forward", "1")?;
        router.sysctl("net.ipv6.conf.all.forwarding", "1")?;
    }
    lab.switch().ip("link add to-west type veth peer name out netns west")?;
    lab.switch().ip("link set to-west master br0 up")?;
    routers[0].ip(&format!("link add mid mtu {mtu} type veth peer name mid mtu {mtu} netns east"))?;
    far.ip("link delete eth0")?;
    routers[1].ip(&format!("link add out type veth peer name eth0 netns {}", far.name()))?;
    for router in &routers {
        router.ip("link set mid up")?;
        router.ip("link set out up")?;
    }
    far.ip("link set eth0 up")?;
    pave(&routers, near, far, BY_V4)?;
    Ok(routers)
}

/// Addresses and routes of a family on what [`apart`] made.
fn pave([west, east]: &[NetNs; 2], near: &[&Node], far: &Node, ([here, mid, there], length, flags): Family) -> Result<()> {
    west.ip(&format!("address add {here}253{length} dev out {flags}"))?;
    west.ip(&format!("address add {mid}1{length} dev mid {flags}"))?;
    east.ip(&format!("address add {mid}2{length} dev mid {flags}"))?;
    east.ip(&format!("address add {there}1{length} dev out {flags}"))?;
    far.ip(&format!("address add {there}2{length} dev eth0 {flags}"))?;
    west.ip(&format!("route add {there}0{length} via {mid}2"))?;
    east.ip(&format!("route add {here}0{length} via {mid}1"))?;
    near.iter().try_for_each(|node| node.ip(&format!("route add {there}0{length} via {here}253")).map(drop))?;
    far.ip(&format!("route add default via {there}1")).map(drop)
}

/// Bytes of the IP header of a family.
fn ip_header(address: IpAddr) -> usize {
    if address.is_ipv6() { 40 } else { 20 }
}

/// Pings that may be fragmented pass whatever their size; those that may not pass up to what fits, and are told of it beyond.
fn pings(from: At<'_>, to: At<'_>, fits: usize) -> Result<()> {
    for size in ["0", "56", "1200", "1400", "5000", "60000"] {
        wait_until(&format!("a ping of {size} bytes"), SOON, || {
            let told = ping(from, to, &["-s", size])?;
            ensure!(told.contains(" 0% packet loss"), "{told}");
            Ok(())
        })?;
        // What fits is known now.
        let told = ping(from, to, &["-s", size, "-c", AGAIN, "-i", "0.05"])?;
        ensure!(told.contains(" 0% packet loss"), "pings of {size} bytes: {told}");
    }
    let data = |packet: usize| (packet - ip_header(to.1) - 8).to_string();
    wait_until("a ping that fits to the byte", SOON, || {
        let told = ping(from, to, &["-Mdo", "-s", &data(fits)])?;
        ensure!(told.contains(" 0% packet loss"), "{told}");
        Ok(())
    })?;
    wait_until("word of what fits", SOON, || {
        let told = ping(from, to, &["-Mdo", "-s", &data(fits + 1)])?;
        // As the network's answer and the pod's own kernel are worded.
        ensure!(["mtu = ", "mtu=", "mtu: "].iter().any(|words| told.contains(&format!("{words}{fits}"))), "{told}");
        Ok(())
    })
}

/// Datagrams of all sizes arrive whole when their sender lets them be fragmented.
fn datagrams(from: At<'_>, to: At<'_>, fits: usize) -> Result<()> {
    let bound = |(pod, address): At<'_>| pod.net().inside(|| Ok(UdpSocket::bind((address, 0))?));
    let (socket, ear) = (bound(from)?, bound(to)?);
    ear.set_read_timeout(Some(Duration::from_millis(500)))?;
    let most = fits - ip_header(to.1) - 8;
    for size in [1, 1000, most, most + 1, 1444, 4_000, 30_000] {
        let sent: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        wait_until(&format!("a datagram of {size} bytes"), SOON, || {
            socket.send_to(&sent, ear.local_addr()?).ok();
            let mut room = vec![0; 65_536];
            let len = ear.recv(&mut room).context("nothing came")?;
            // What an earlier try sent twice is of no matter.
            ensure!(room[..len] == sent, "{len} bytes came");
            Ok(())
        })?;
        let mut room = vec![0; 65_536];
        for number in 1..=AGAIN.parse()? {
            socket.send_to(&sent, ear.local_addr()?)?;
            let len = ear.recv(&mut room).with_context(|| format!("datagram {number} of {size} bytes is lost"))?;
            ensure!(room[..len] == sent, "datagram {number} of {size} bytes came out otherwise, with {len}");
        }
    }
    Ok(())
}

/// A protocol that nothing on the way knows (SCTP's number), in packets that fit and packets that do not.
fn odd_protocol(from: At<'_>, to: At<'_>) -> Result<()> {
    const SCTP: i32 = 132;
    let domain = Domain::for_address(SocketAddr::from((to.1, 0)));
    let raw = |net: &NetNs| net.inside(|| Ok(Socket::new(domain, Type::RAW, Some(Protocol::from(SCTP)))?));
    let (sender, receiver) = (raw(from.0.net())?, raw(to.0.net())?);
    receiver.set_read_timeout(Some(Duration::from_millis(500)))?;
    // Raw sockets of IPv4 give the IP header too.
    let before = if to.1.is_ipv4() { ip_header(to.1) } else { 0 };
    for size in [40, 1200, 1400, 3_000] {
        let sent: Vec<u8> = (0..size).map(|at| (at % 253) as u8).collect();
        wait_until(&format!("{size} bytes of another protocol"), SOON, || {
            sender.send_to(&sent, &SocketAddr::from((to.1, 0)).into()).ok();
            let mut room = [0; 4096];
            let len = (&receiver).read(&mut room).context("nothing came")?;
            ensure!(room[..len].get(before..) == Some(&sent), "{len} bytes came");
            Ok(())
        })?;
        for number in 1..=AGAIN.parse::<usize>()? {
            sender.send_to(&sent, &SocketAddr::from((to.1, 0)).into())?;
            let mut room = [0; 4096];
            let len = (&receiver).read(&mut room).with_context(|| format!("packet {number} of {size} bytes is lost"))?;
            ensure!(room[..len].get(before..) == Some(&sent), "packet {number} of {size} bytes came out otherwise, with {len}");
        }
    }
    Ok(())
}

/// What one ping prints.
fn ping(from: At<'_>, to: At<'_>, words: &[&str]) -> Result<String> {
    Ok(said(&outcome(from.0.net().command("ping")?.args(["-n", "-c1", "-W1"]).args(words).arg(to.1.to_string()))?))
}
