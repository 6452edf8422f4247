//! Two real Docker daemons on two nodes, with what `twill docker-opts` tells them: containers reach each other and the outside, and published ports
//! are reached, whatever is restarted and in whatever order. Docker drops all forwarded packets but its own; nobody opens that by hand here.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::harness::{Need, Test};
use lab::{Docker, Lab, Launch, Node, Session, wait_until};

use crate::change::{control, use_backend, wait_for_all};
use crate::iptables::by_hand;
use crate::story::SOON;

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("docker: containers of two daemons over udp, masqueraded, through restarts", udp).with_containers().needs(NEEDS),
    Test::new("docker: containers of two daemons over vxlan, masqueraded, through restarts", vxlan).with_containers().needs(NEEDS),
    Test::new("docker: containers of two daemons over host-gw, masqueraded, through restarts", host_gw).with_containers().needs(NEEDS),
    Test::new("docker: published ports and connections between containers go on while the backend changes", changes)
        .with_containers()
        .needs(NEEDS),
];

const NEEDS: &[Need] =
    &[Need::Program("dockerd"), Need::Program("docker"), Need::Program("containerd"), Need::Program("busybox"), Need::Program("iptables")];

fn udp() -> Result<()> {
    story("udp")
}

fn vxlan() -> Result<()> {
    story("vxlan")
}

fn host_gw() -> Result<()> {
    story("host-gw")
}

/// The longest that a record on a connection may take while ways change.
const STALL: Duration = Duration::from_millis(200);
/// The node's port that Docker publishes port 81 of a container by.
const PUBLISHED: u16 = 8081;

fn changes() -> Result<()> {
    let lab = Lab::new("changes")?;
    lab.network("10.50.0.0/16")?;
    let nodes = [lab.node("a")?, lab.node("b")?];
    for node in &nodes {
        node.rp_filter(1)?;
        node.start(Launch::now().flags(&["--ip-masq"]))?;
    }
    nodes.iter().try_for_each(|node| node.ready(SOON))?;
    lab.wait_for_routes(&nodes.each_ref(), SOON)?;
    let dockers = [Docker::start(&nodes[0])?, Docker::start(&nodes[1])?];
    dockers[0].serve("box-a")?;
    dockers[1].serve("box-b")?;
    let (a, b) = (dockers[0].net("box-a")?, dockers[1].net("box-b")?);
    let address = dockers[0].address("box-a")?;
    wait_until("box-b to reach box-a", SOON, || dockers[1].fetch("box-b", &format!("http://{address}/name")).map(drop))?;
    let listen = || a.inside(|| Ok(TcpListener::bind((Ipv4Addr::UNSPECIFIED, 81))?));
    let session = |name: &str, from, target| Session::to(name, from, listen()?, target);
    let sessions = [
        session("from outside by the published port", lab.switch(), (nodes[0].address(), PUBLISHED))?,
        session("from the other node by the published port", nodes[1].net(), (nodes[0].address(), PUBLISHED))?,
        session("from a container by the published port of the other node", &b, (nodes[0].address(), PUBLISHED))?,
        session("from container to container", &b, (address, 81))?,
        session("from a node to the other's container", nodes[1].net(), (address, 81))?,
    ];
    let control = control(nodes[0].net())?;
    for (way, device) in [("vxlan", "flannel.1"), ("host-gw", "eth0"), ("udp", "flannel0")] {
        use_backend(&lab, &format!(r#"{{"Type":"{way}"}}"#))?;
        wait_for_all(&nodes.each_ref(), way)?;
        let route = nodes[1].ip(&format!("route get {address}"))?;
        ensure!(route.contains(&format!("dev {device} ")), "{route}");
        // A connection that begins now finds its way too.
        session("begun meanwhile", lab.switch(), (nodes[0].address(), PUBLISHED))?.close()?;
        sessions.iter().try_for_each(|session| session.goes_on(100))?;
    }
    let control = control.close()?;
    for session in sessions {
        let name = session.name().to_owned();
        let used = session.close()?;
        println!("{name}: {used}");
        used.never_stalled(STALL, &control)?;
    }
    Ok(())
}

fn story(backend: &str) -> Result<()> {
    let lab = Lab::new(backend)?;
    lab.config(&format!(r#"{{"Network":"10.50.0.0/16","Backend":{{"Type":"{backend}"}}}}"#))?;
    let nodes = [lab.node("a")?, lab.node("b")?];
    // One of each kind of rules.
    let flags: [&[&str]; 2] = [&["--ip-masq"], &["--ip-masq", "--firewall", "iptables"]];
    let start = |number: usize| nodes[number].start(Launch::now().flags(flags[number]));
    start(0)?;
    start(1)?;
    nodes.iter().try_for_each(|node| node.ready(SOON))?;
    lab.wait_for_routes(&nodes.each_ref(), SOON)?;
    let dockers = [Docker::start(&nodes[0])?, Docker::start(&nodes[1])?];
    for node in &nodes {
        // A Docker that comes up before forwarding is on does so; twill had switched it on.
        by_hand(node, "iptables -P FORWARD DROP")?;
    }
    dockers[0].serve("box-a")?;
    dockers[1].serve("box-b")?;
    let outside = Outside::new(&lab)?;
    let well = |when: &str| all_is_well(&nodes, &dockers, &outside).with_context(|| format!("{backend}, {when}"));
    well("at first")?;

    dockers[0].stop()?;
    dockers[0].resume()?;
    well("after a restart of Docker")?;
    for (number, node) in nodes.iter().enumerate() {
        node.kill()?;
        start(number)?;
        node.ready(SOON)?;
    }
    well("after a restart of twill")?;
    // Docker comes up while twill is away, and the other way round.
    nodes[0].stop()?;
    dockers[0].stop()?;
    dockers[0].resume()?;
    start(0)?;
    dockers[1].stop()?;
    nodes[1].stop()?;
    start(1)?;
    nodes.iter().try_for_each(|node| node.ready(SOON))?;
    dockers[1].resume()?;
    well("after both were restarted, in both orders")?;

    for (node, docker) in nodes.iter().zip(&dockers) {
        node.stop()?;
        node.twill(&["down"])?;
        let left = node.ip("-br link")? + &lab::process::run(node.net().command("nft")?.args(["list", "ruleset"]))?;
        ensure!(left.contains("DOCKER-USER") && !left.contains("TWILL") && !left.contains("FLANNEL"), "down left {left}");
        docker.stop()?;
    }
    Ok(())
}

/// Everything that containers and their users do works, and who is seen is who should be seen.
fn all_is_well(nodes: &[Node; 2], dockers: &[Docker; 2], outside: &Outside) -> Result<()> {
    let names = ["box-a", "box-b"];
    for (here, there) in [(0, 1), (1, 0)] {
        wait_until(&format!("{} to reach {}", names[here], names[there]), SOON, || {
            let (from, to) = (dockers[here].address(names[here])?, dockers[there].address(names[there])?);
            let said = dockers[here].fetch(names[here], &format!("http://{to}/name"))?;
            ensure!(said == names[there], "{said}");
            seen(&dockers[here].fetch(names[here], &format!("http://{to}/cgi-bin/client"))?, from.into(), "container to container")
        })?;
        let url = format!("http://{}/", outside.address);
        wait_until(&format!("{} to reach the outside", names[here]), SOON, || {
            seen(&dockers[here].fetch(names[here], &url)?, nodes[here].address().into(), "container to the outside")
        })?;
        wait_until(&format!("the outside to reach {}", names[here]), SOON, || {
            let said = outside.fetch(nodes[here].address(), 8080, "/name")?;
            ensure!(said == names[here], "{said}");
            seen(&outside.fetch(nodes[here].address(), 8080, "/cgi-bin/client")?, outside.address.ip(), "the outside to a published port")
        })?;
    }
    Ok(())
}

fn seen(said: &str, wanted: IpAddr, what: &str) -> Result<()> {
    ensure!(said.parse::<IpAddr>().is_ok_and(|address| address == wanted), "{what}: seen as {said}, not as {wanted}");
    Ok(())
}

/// A machine outside of the cluster: it tells whoever asks by HTTP who that is.
struct Outside<'a> {
    lab: &'a Lab,
    address: SocketAddr,
}

impl<'a> Outside<'a> {
    fn new(lab: &'a Lab) -> Result<Outside<'a>> {
        let listener = lab.switch().inside(|| Ok(TcpListener::bind((lab::cluster::address(254), 0))?))?;
        let address = listener.local_addr()?;
        // It ends with the world.
        std::thread::spawn(move || listener.incoming().filter_map(|stream| answer(stream.ok()?).ok()).count());
        Ok(Outside { lab, address })
    }

    fn fetch(&self, from: Ipv4Addr, port: u16, path: &str) -> Result<String> {
        let mut stream = self.lab.switch().inside(|| Ok(TcpStream::connect_timeout(&(from, port).into(), Duration::from_secs(2))?))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        // A program behind httpd may end its head by a bare line.
        let parted = answer.split_once("\r\n\r\n").or_else(|| answer.split_once("\n\n"));
        let (_, body) = parted.with_context(|| format!("no HTTP answer: {answer:?}"))?;
        Ok(body.trim().to_owned())
    }
}

fn answer(mut stream: TcpStream) -> Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut asked: Vec<u8> = Vec::new();
    let mut piece = [0; 1024];
    while !asked.windows(4).any(|end: &[u8]| end == b"\r\n\r\n") {
        match stream.read(&mut piece)? {
            0 => break,
            size => asked.extend(&piece[..size]),
        }
    }
    let who = stream.peer_addr()?.ip();
    write!(stream, "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n{who}\n")?;
    Ok(())
}
