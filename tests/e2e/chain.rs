//! All kinds of packets through two routers with a narrower link between them: whatever fits passes, whatever does not is cut or told, and nothing is lost silently.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::harness::Test;
use lab::netns::NetNs;
use lab::process::{outcome, said};
use lab::transfer::transfer;
use lab::{Lab, Launch, Node, Pod, wait_until};
use socket2::{Domain, Protocol, Socket, Type};

use crate::story::{NETWORK, SOON};

/// The tests of this subject.
pub const TESTS: &[Test] =
    &[Test::new("chain: TCP, UDP, odd protocols and pings of every size pass a narrower link between two routers", chain)];

/// MTU of the link between the routers, and the longest inner packet that then fits.
const NARROW: usize = 1300;
const FITS: usize = NARROW - 28;

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
    for (from, to) in [(0, 1), (1, 0)] {
        let (from, to) = (&pods[from], &pods[to]);
        transfer(from, to, 20_000_000)?;
        pings(from, to)?;
        datagrams(from, to)?;
        odd_protocol(from, to)?;
    }
    Ok(())
}

/// Moves a node behind two routers, with a link of that MTU between them, named "mid" on both. `near` are the nodes that stay and are to reach it.
pub fn apart(lab: &Lab, near: &[&Node], far: &Node, mtu: usize) -> Result<[NetNs; 2]> {
    let routers = [NetNs::create("west")?, NetNs::create("east")?];
    routers.iter().try_for_each(|router| router.sysctl("net.ipv4.ip_forward", "1"))?;
    lab.switch().ip("link add to-west type veth peer name out netns west")?;
    lab.switch().ip("link set to-west master br0 up")?;
    routers[0].ip(&format!("link add mid mtu {mtu} type veth peer name mid mtu {mtu} netns east"))?;
    far.ip("link delete eth0")?;
    routers[1].ip(&format!("link add out type veth peer name eth0 netns {}", far.name()))?;
    let addresses =
        [(0, "192.168.50.253/24 dev out"), (0, "192.168.51.1/24 dev mid"), (1, "192.168.51.2/24 dev mid"), (1, "192.168.60.1/24 dev out")];
    for (router, address) in addresses {
        routers[router].ip(&format!("address add {address}"))?;
    }
    for router in &routers {
        router.ip("link set mid up")?;
        router.ip("link set out up")?;
    }
    routers[0].ip("route add 192.168.60.0/24 via 192.168.51.2")?;
    routers[1].ip("route add 192.168.50.0/24 via 192.168.51.1")?;
    near.iter().try_for_each(|node| node.ip("route add 192.168.60.0/24 via 192.168.50.253").map(drop))?;
    far.ip("address add 192.168.60.2/24 dev eth0")?;
    far.ip("link set eth0 up")?;
    far.ip("route add default via 192.168.60.1")?;
    Ok(routers)
}

/// Pings that may be fragmented pass whatever their size; those that may not pass up to what fits, and are told of it beyond.
fn pings(from: &Pod, to: &Pod) -> Result<()> {
    for size in ["0", "56", "1200", "1400", "5000", "60000"] {
        wait_until(&format!("a ping of {size} bytes"), SOON, || {
            let told = ping(from, to, &["-s", size])?;
            ensure!(told.contains(" 0% packet loss"), "{told}");
            Ok(())
        })?;
    }
    let data = |packet: usize| (packet - 28).to_string();
    wait_until("a ping that fits to the byte", SOON, || {
        let told = ping(from, to, &["-Mdo", "-s", &data(FITS)])?;
        ensure!(told.contains(" 0% packet loss"), "{told}");
        Ok(())
    })?;
    wait_until("word of what fits", SOON, || {
        let told = ping(from, to, &["-Mdo", "-s", &data(FITS + 1)])?;
        ensure!(told.contains(&format!("mtu = {FITS}")) || told.contains(&format!("mtu={FITS}")), "{told}");
        Ok(())
    })
}

/// Datagrams of all sizes arrive whole when their sender lets them be fragmented.
fn datagrams(from: &Pod, to: &Pod) -> Result<()> {
    let ear = to.listen()?;
    let socket = from.net().inside(|| Ok(UdpSocket::bind((from.address(), 0))?))?;
    for size in [1, 1000, FITS - 28, FITS - 27, 1444, 4_000, 30_000] {
        let sent: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        wait_until(&format!("a datagram of {size} bytes"), SOON, || {
            socket.send_to(&sent, ear.address()).ok();
            let heard = ear.hear(Duration::from_millis(500))?;
            // What an earlier try sent twice is of no matter.
            ensure!(heard.as_ref() == Some(&sent), "{:?} bytes came", heard.map(|heard| heard.len()));
            Ok(())
        })?;
    }
    Ok(())
}

/// A protocol that nothing on the way knows (SCTP's number), in packets that fit and packets that do not.
fn odd_protocol(from: &Pod, to: &Pod) -> Result<()> {
    const SCTP: i32 = 132;
    let raw = |net: &NetNs| net.inside(|| Ok(Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(SCTP)))?));
    let (sender, receiver) = (raw(from.net())?, raw(to.net())?);
    receiver.set_read_timeout(Some(Duration::from_millis(500)))?;
    for size in [40, 1200, 1400, 3_000] {
        let sent: Vec<u8> = (0..size).map(|at| (at % 253) as u8).collect();
        wait_until(&format!("{size} bytes of another protocol"), SOON, || {
            sender.send_to(&sent, &SocketAddr::from((to.address(), 0)).into()).ok();
            let mut room = [0; 4096];
            let len = (&receiver).read(&mut room).context("nothing came")?;
            // Raw sockets of IPv4 give the IP header too.
            ensure!(room[..len].get(20..) == Some(&sent), "{len} bytes came");
            Ok(())
        })?;
    }
    Ok(())
}

/// What one ping prints.
fn ping(from: &Pod, to: &Pod, words: &[&str]) -> Result<String> {
    let address: Ipv4Addr = to.address();
    Ok(said(&outcome(from.net().command("ping")?.args(["-n", "-c1", "-W1"]).args(words).arg(address.to_string()))?))
}
