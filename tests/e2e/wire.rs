//! What the UDP path puts on the wire, whatever offloads it uses: tshark reads captures of both directions and finds nothing malformed and no wrong checksum.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use lab::harness::{Need, Test};
use lab::inject::Ear;
use lab::process::run;
use lab::transfer::transfer;
use lab::world::ROOT;
use lab::{Lab, Launch, Node, Pod, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::families::{V4, V6, answers, give_v6, machines};
use crate::story::{NETWORK, SOON};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("wire: tshark finds no fault with all offloads", || read_by_tshark("auto")).needs(NEEDS),
    Test::new("wire: tshark finds no fault without offloads", || read_by_tshark("off")).needs(NEEDS),
    Test::new("wire: tshark finds no fault without super-packets of TCP", || read_by_tshark("uso,gso,gro")).needs(NEEDS),
    Test::new("wire: tshark finds no fault without super-packets of UDP", || read_by_tshark("tso,gso,gro")).needs(NEEDS),
    Test::new("wire: tshark finds no fault without UDP_SEGMENT", || read_by_tshark("tso,uso,gro")).needs(NEEDS),
    Test::new("wire: tshark finds no fault without UDP_GRO", || read_by_tshark("tso,uso,gso")).needs(NEEDS),
    Test::new("wire: tshark finds no fault with IPv6 inside and outside, with all offloads", || v6_read_by_tshark("auto")).needs(NEEDS),
    Test::new("wire: tshark finds no fault with IPv6 inside and outside, without offloads", || v6_read_by_tshark("off")).needs(NEEDS),
];

const NEEDS: &[Need] = &[Need::Program("tshark"), Need::Program("dumpcap"), Need::Program("ethtool")];
/// Bytes by TCP each way.
const BYTES: u64 = 3_000_000;
/// Datagrams of a burst, each way.
const BURST: usize = 200;

fn read_by_tshark(offloads: &str) -> Result<()> {
    let lab = Lab::new("wire")?;
    lab.network(NETWORK)?;
    let nodes = [lab.node("a")?, lab.node("b")?];
    for node in &nodes {
        bare(node)?;
    }
    let pods = reaching(&lab, &nodes, offloads)?;
    let captures = [Capture::of(&nodes[0], &pods)?, Capture::of(&nodes[1], &pods)?];
    let mut ears = Vec::new();
    for (from, to) in [(0, 1), (1, 0)] {
        transfer(&pods[from], &pods[to], BYTES)?;
        // It stays, so that nothing is answered with "port unreachable".
        ears.push(burst(&pods[from], &pods[to])?);
        run(pods[from].net().command("ping")?.args(["-n", "-c3", "-i0.2", "-s4000", &pods[to].address().to_string()]))?;
    }
    spoil(&nodes, nodes[1].address().into())?;
    captures.into_iter().try_for_each(|capture| capture.faultless("tcp && udp.port == 8285", offloads))
}

/// Inner source of what [`spoil`] sends, by either family.
const SPOILT: [&str; 2] = ["10.1.2.3", "fd00::3"];

/// A datagram such as the tunnel's, from the first node to the second at that address, whose inner packet is of that family as well and has a wrong UDP checksum: tshark
/// must find it.
fn spoil(nodes: &[Node; 2], to: IpAddr) -> Result<()> {
    let (any, mut inner): (IpAddr, Vec<u8>) = if to.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED.into(), vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0x62, 0xc9, 10, 1, 2, 3, 10, 1, 2, 4])
    } else {
        let ends = ["fd00::3", "fd00::4"].map(|end| end.parse::<Ipv6Addr>().map(|end| end.octets()));
        let [source, destination] = ends;
        (Ipv6Addr::UNSPECIFIED.into(), [&[0x60, 0, 0, 0, 0, 8, 17, 64][..], &source?, &destination?].concat())
    };
    inner.extend([0, 7, 0, 7, 0, 8, 0xba, 0xd0]);
    nodes[0].net().inside(|| Ok(UdpSocket::bind((any, 0))?.send_to(&inner, (to, 8285))?)).map(drop)
}

/// A pod on each node, once daemons with these offloads carry their packets.
fn reaching(lab: &Lab, nodes: &[Node; 2], offloads: &str) -> Result<[Pod; 2]> {
    nodes.iter().try_for_each(|node| node.start(Launch::now().flags(&["--udp-offload", offloads])))?;
    nodes.iter().try_for_each(|node| node.ready(SOON))?;
    lab.wait_for_routes(&nodes.each_ref(), SOON)?;
    let pods = [nodes[0].pod("p1")?, nodes[1].pod("p1")?];
    pods[0].reaches(&pods[1], SOON)?;
    for node in nodes {
        let tunnels = node.api("tunnels")?;
        // What is asked for is in force, or the kernel has it not.
        let names = |key: &str| {
            tunnels[0]["crossing"][key].as_array().into_iter().flatten().filter_map(|name| name.as_str()).collect::<BTreeSet<_>>()
        };
        let wanted: BTreeSet<&str> = match offloads {
            "auto" => ["tso", "uso", "gso", "gro"].into(),
            "off" => [].into(),
            asked => asked.split(',').collect(),
        };
        ensure!(names("offloads") == &wanted - &names("missing"), "{tunnels}");
    }
    Ok(pods)
}

/// The same on an underlay whose nodes reach each other by IPv6 alone, for pods that talk by IPv6.
fn v6_read_by_tshark(offloads: &str) -> Result<()> {
    let (lab, nodes) = machines(&format!(r#"{{{V4},{V6},"Backend":{{"Type":"udp"}}}}"#), ["a", "b"])?;
    for node in &nodes {
        node.ip("-4 route delete 192.168.50.0/24 dev eth0")?;
        node.ip("-4 route add unreachable 192.168.50.0/24")?;
        node.ip("-6 route add default via fd50::fe")?;
        bare(node)?;
    }
    let pods = reaching(&lab, &nodes, offloads)?;
    let v6 = [give_v6(&nodes[0], &pods[0])?, give_v6(&nodes[1], &pods[1])?];
    let captures = [Capture::of(&nodes[0], &pods)?, Capture::of(&nodes[1], &pods)?];
    for (from, to) in [(0, 1), (1, 0)] {
        answers(|| pods[from].net().command("ping"), &["-s4000"], v6[to])?;
        stream_v6(&pods[from], &pods[to], v6[to])?;
        burst_v6(&pods[from], &pods[to], v6[to])?;
    }
    spoil(&nodes, "fd50::2".parse()?)?;
    // A packet in a datagram, both of IPv6.
    captures.into_iter().try_for_each(|capture| capture.faultless("ipv6 && udp.port == 8285 && (tcp || udp.port == 7777)", offloads))
}

/// Carries [`BYTES`] by TCP, which must all arrive.
fn stream_v6(from: &Pod, to: &Pod, address: Ipv6Addr) -> Result<()> {
    let listener = to.net().inside(|| Ok(TcpListener::bind((address, 0))?))?;
    let at = listener.local_addr()?;
    let receiver = std::thread::spawn(move || std::io::copy(&mut listener.accept()?.0, &mut std::io::sink()));
    from.net().inside(|| Ok(TcpStream::connect(at)?.write_all(&vec![7; BYTES as usize])?))?;
    let arrived = receiver.join().map_err(|_| anyhow::anyhow!("the receiver failed"))??;
    Ok(ensure!(arrived == BYTES, "{arrived} of {BYTES} bytes arrived"))
}

/// As [`burst`].
fn burst_v6(from: &Pod, to: &Pod, address: Ipv6Addr) -> Result<()> {
    let ear = to.net().inside(|| Ok(UdpSocket::bind((address, 7777))?))?;
    ear.set_read_timeout(Some(SOON))?;
    let socket = from.net().inside(|| Ok(UdpSocket::bind("[::]:0")?))?;
    let mut room = [0; 2_000];
    // As many at once as the socket has room for.
    for lot in (0..BURST).collect::<Vec<_>>().chunks(50) {
        for number in lot {
            socket.send_to(&vec![*number as u8; if number % 10 == 9 { 333 } else { 777 }], (address, 7777))?;
        }
        lot.iter().try_for_each(|_| ear.recv(&mut room).map(drop)).with_context(|| format!("not all of {lot:?} arrived"))?;
    }
    Ok(())
}

/// Makes a node's interface show on the wire what a card would send: checksums computed and runs cut before the capture, nothing merged on arrival.
fn bare(node: &Node) -> Result<()> {
    run(node.net().command("ethtool")?.args(["-K", "eth0", "tx", "off", "gro", "off"]))
        .map(drop)
        .context("cannot switch offloads of eth0 off")
}

/// Datagrams of one size in a row, which are sent and received in runs where that is possible.
fn burst(from: &Pod, to: &Pod) -> Result<Ear> {
    let ear = to.listen()?;
    let socket = from.net().inside(|| Ok(UdpSocket::bind((from.address(), 0))?))?;
    for number in 0..BURST {
        socket.send_to(&vec![number as u8; if number % 10 == 9 { 333 } else { 777 }], ear.address())?;
    }
    ensure!(ear.hear(SOON)?.is_some(), "no datagram of {BURST} arrived");
    Ok(ear)
}

/// A capture that runs.
struct Capture {
    child: Child,
    file: PathBuf,
}

impl Capture {
    /// Begins one of a node's interface; it runs once it has seen a ping.
    fn of(node: &Node, pods: &[Pod; 2]) -> Result<Capture> {
        let file = Path::new(ROOT).join(format!("{}.pcapng", node.name()));
        let mut dumpcap = node.net().command("dumpcap")?;
        dumpcap.args(["-q", "-i", "eth0", "-s", "0", "-B", "64", "-f", "udp port 8285 or icmp or ip6 proto 44", "-w"]).arg(&file);
        let child = dumpcap.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("cannot start dumpcap")?;
        let capture = Capture { child, file };
        wait_until("the capture to begin", SOON, || {
            pods[0].ping(&pods[1])?;
            ensure!(!frames(&capture.file, "icmp")?.is_empty(), "it has seen nothing yet");
            Ok(())
        })?;
        Ok(capture)
    }

    /// Ends it: many frames that pass the filter were captured, and tshark finds fault with none of all but the one of [`spoil`].
    fn faultless(self, filter: &str, offloads: &str) -> Result<()> {
        let file = self.end()?;
        let seen = all_frames(&file, filter)?.len();
        ensure!(seen > 2 * BYTES as usize / 1472, "{seen} frames were captured: the test would prove nothing");
        // Where the kernel itself completes a sum of zero, it writes 0xffff for any protocol (CSUM_MANGLED_0, net/checksum.h), the same number in ones' complement; tshark
        // wants 0x0000 for TCP.
        let faults = all_frames(
            &file,
            "_ws.malformed || ip.checksum.status == 0 || udp.checksum.status == 0 || (tcp.checksum.status == 0 && tcp.checksum != 0xffff) || icmp.checksum.status == 0 || icmpv6.checksum.status == 0",
        )?;
        let is_spoilt = |fault: &String| SPOILT.iter().any(|source| fault.contains(source));
        ensure!(
            faults.len() == 1 && is_spoilt(&faults[0]),
            "with offloads \"{offloads}\" tshark is to find fault with one that was spoilt, and finds: {faults:#?}"
        );
        // 1500 bytes and the Ethernet header: runs were cut, so that a datagram is one inner packet.
        let long = all_frames(&file, "frame.len > 1514")?;
        Ok(ensure!(long.is_empty(), "longer than the underlay takes: {long:#?}"))
    }

    /// Ends it once it has seen what was sent last, and gives the file.
    fn end(mut self) -> Result<PathBuf> {
        wait_until("the last datagram to be captured", SOON, || {
            ensure!(!frames(&self.file, &format!("ip.src == {} || ipv6.src == {}", SPOILT[0], SPOILT[1]))?.is_empty(), "it is not there");
            Ok(())
        })?;
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGINT)?;
        self.child.wait()?;
        Ok(self.file)
    }
}

/// As [`frames`], of a file that is whole.
fn all_frames(file: &Path, filter: &str) -> Result<Vec<String>> {
    Ok(run(&mut tshark(file, filter))?.lines().map(str::to_owned).collect())
}

/// One line for each frame that the filter takes. A file that is still written may lack its end, of which tshark complains.
fn frames(file: &Path, filter: &str) -> Result<Vec<String>> {
    let output = tshark(file, filter).stderr(Stdio::null()).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

/// With all checksums verified and the tunnel's datagrams read as IP.
fn tshark(file: &Path, filter: &str) -> Command {
    let verify = ["ip.check_checksum:TRUE", "udp.check_checksum:TRUE", "tcp.check_checksum:TRUE"];
    let mut tshark = Command::new("tshark");
    tshark.args(["-n", "-d", "udp.port==8285,ip"]).args(verify.iter().flat_map(|preference| ["-o", preference]));
    tshark.arg("-r").arg(file).args(["-Y", filter]).stdin(Stdio::null());
    tshark
}
