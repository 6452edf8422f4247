//! How fast one tunnel is: two nodes in namespaces joined by a wire, pods as addresses on their loopback, iperf3 between them. As root:
//!
//!     cargo run --release -p twill-fastpath --example throughput -- [iperf3 arguments for the client]
//!
//! `OFFLOADS=off` in the environment leaves all offloads off, any other value takes the named ones ("tso,gso"). `WIRE=nic` makes the wire like a
//! plain network card: no tunnel offloads, no UDP segmentation, GRO on (which a veth pair
//! has only where TCP segmentation is off too).

use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use nix::sched::{CloneFlags, unshare};
use twill_fastpath::{Offloads, Settings, Tunnels};
use twill_model::Addresses;
use twill_model::item::{Link, LinkKind, LinkName};
use twill_reconcile::ports::{Forwarder, Forwarding};

const PORT: u16 = 8285;

fn underlay(node: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, node)
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split_whitespace()).status().expect("iproute2 is installed");
    assert!(status.success(), "ip {arguments}");
}

fn open(tunnels: &Tunnels, node: u8, peer: u8) {
    let on = LinkName("flannel0".into());
    let kind = LinkKind::Tunnel { port: PORT, local: Addresses { v4: Some(underlay(node)), v6: None } };
    let link = Link { on: on.clone(), name: on.0.clone(), kind, mtu: 1472, mac: None };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(tunnels.open(link)).expect("the tunnel opens");
    let subnet = format!("10.5.{peer}.0/24").parse().expect("a subnet");
    let table = Forwarding {
        endpoints: vec![(subnet, IpAddr::V4(underlay(peer)), PORT)],
        senders: vec![(IpAddr::V4(underlay(peer)), vec![subnet])],
        answers_from: Addresses::default(),
        mtu: 1472,
    };
    tunnels.forward(&on, table);
    ip(&format!("address add 10.5.{node}.2/32 dev lo"));
    ip("link set flannel0 mtu 1472 up");
    ip(&format!("route add 10.5.0.0/16 dev flannel0 src 10.5.{node}.2"));
}

fn settings() -> Settings {
    let offloads = match std::env::var("OFFLOADS") {
        Err(_) => Offloads::ALL,
        Ok(names) => names.parse().expect("names of offloads"),
    };
    Settings { offloads, ..Settings::default() }
}

/// Makes the wire's end like a plain network card, where that is asked for.
fn dress_wire() {
    if std::env::var("WIRE").is_ok_and(|wire| wire == "nic") {
        let features = ["-K", "under0", "tx-udp-segmentation", "off", "tx-udp_tnl-segmentation", "off", "tso", "off", "gro", "on"];
        assert!(Command::new("ethtool").args(features).status().expect("ethtool is installed").success());
    }
}

fn enter() -> i32 {
    unshare(CloneFlags::CLONE_NEWNET).expect("root");
    ip("link set lo up");
    nix::unistd::gettid().as_raw()
}

/// The other node: serves until the wire to this end is closed.
fn serve(told: Sender<i32>, wired: std::sync::mpsc::Receiver<()>, ready: Sender<()>) {
    told.send(enter()).expect("main waits");
    wired.recv().expect("main wires");
    ip("address add 192.0.2.2/24 dev under0");
    ip("link set under0 up");
    dress_wire();
    let tunnels = Tunnels::new(settings());
    open(&tunnels, 2, 1);
    let mut server = Command::new("iperf3").args(["-s", "-1", "--forceflush"]).stdout(Stdio::piped()).spawn().expect("iperf3 is installed");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(server.stdout.take().expect("piped")));
    lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("listening")));
    ready.send(()).expect("main waits");
    lines.for_each(drop);
    server.wait().expect("the server ends");
    println!("receiver: {:?} {:?}", tunnels.counters()[0].drops, tunnels.offloading()[0]);
}

fn main() {
    let ((told, task), (wired, wire), (ready, serving)) = (channel(), channel(), channel());
    let server = thread::spawn(move || serve(told, wire, ready));
    let other = task.recv().expect("the server's namespace");
    enter();
    ip(&format!("link add under0 type veth peer name under0 netns /proc/{}/task/{other}/ns/net", std::process::id()));
    ip("address add 192.0.2.1/24 dev under0");
    ip("link set under0 up");
    dress_wire();
    let tunnels = Tunnels::new(settings());
    wired.send(()).expect("the server waits");
    serving.recv().expect("the server listens");
    open(&tunnels, 1, 2);
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let client = Command::new("iperf3").args(["-c", "10.5.2.2"]).args(&arguments).status().expect("iperf3 is installed");
    assert!(client.success(), "iperf3 failed");
    server.join().expect("the server ends");
    println!("sender: {:?} {:?}", tunnels.counters()[0].drops, tunnels.offloading()[0]);
}
