//! Namespaces, nodes and packets for the tests.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use twill_fastpath::{Settings, Tunnels};
use twill_model::Addresses;
use twill_model::item::{Link, LinkKind, LinkName};
use twill_reconcile::ports::{Forwarder, Forwarding, Refused};

pub const PORT: u16 = 8285;
pub const PATIENCE: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace: a thread that lives in it and does what it is given. Sockets made there work from any thread.
pub struct Namespace {
    jobs: Sender<Job>,
    task: i32,
}

impl Namespace {
    /// None, and a word why, where that is not allowed.
    pub fn new() -> Option<Self> {
        let (jobs, queue) = channel::<Job>();
        let (told, made) = channel();
        thread::spawn(move || {
            let entered = unshare(CloneFlags::CLONE_NEWNET).map(|()| nix::unistd::gettid().as_raw());
            told.send(entered).expect("the test waits");
            queue.into_iter().for_each(|job| job());
        });
        match made.recv().expect("an answer") {
            Ok(task) if std::fs::metadata("/dev/net/tun").is_ok() => {
                let namespace = Namespace { jobs, task };
                namespace.ip("link set lo up");
                Some(namespace)
            }
            Ok(_) => {
                skipped("there is no /dev/net/tun");
                None
            }
            Err(errno) => {
                skipped(&format!("cannot make a network namespace: {}", errno.desc()));
                None
            }
        }
    }

    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = channel();
        self.jobs.send(Box::new(move || done.send(job()).expect("the test waits"))).expect("the namespace's thread");
        result.recv().expect("the job did not panic")
    }

    /// Runs `ip`, which must succeed, and gives what it prints.
    pub fn ip(&self, arguments: &str) -> String {
        let arguments = arguments.to_owned();
        self.run(move || {
            let output = Command::new("ip").args(arguments.split_whitespace()).output().expect("iproute2 is installed");
            assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout).into_owned()
        })
    }

    /// Runs another program; false where it is missing, or says no.
    pub fn tool(&self, program: &'static str, arguments: &str) -> bool {
        let arguments = arguments.to_owned();
        self.run(move || Command::new(program).args(arguments.split_whitespace()).output().is_ok_and(|output| output.status.success()))
    }

    /// Writes a setting below /proc/sys/net/ipv4.
    pub fn set(&self, path: &str, value: &'static str) {
        let path = format!("/proc/sys/net/ipv4/{path}");
        self.run(move || std::fs::write(&path, value).unwrap_or_else(|error| panic!("{path}: {error}")));
    }

    /// A UDP socket that gives up after [`PATIENCE`].
    pub fn socket(&self, address: &str) -> UdpSocket {
        let address = address.to_owned();
        self.run(move || {
            let socket = UdpSocket::bind(&address).unwrap_or_else(|error| panic!("{address}: {error}"));
            socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            socket
        })
    }

    /// Joins two namespaces by a wire; the ends get these names and addresses.
    pub fn wire(&self, name: &str, address: &str, other: &Namespace, other_name: &str, other_address: &str) {
        self.ip(&format!(
            "link add {name} type veth peer name {other_name} netns /proc/{}/task/{}/ns/net",
            nix::unistd::getpid(),
            other.task
        ));
        for (namespace, name, address) in [(self, name, address), (other, other_name, other_address)] {
            namespace.ip(&format!("address add {address} dev {name}"));
            namespace.ip(&format!("link set {name} up"));
        }
    }
}

/// Says that a test was skipped, and why; fails where nothing may be lacking.
pub fn skipped(why: &str) {
    assert!(std::env::var_os("TWILL_COMPLETE").is_none(), "{why}");
    eprintln!("skipped: {why}");
}

/// A node: a namespace with the fast path in it. Node `n` has the underlay address 192.0.2.n and a pod at 10.5.n.2.
pub struct Node {
    pub namespace: Namespace,
    pub tunnels: Arc<Tunnels>,
    pub number: u8,
}

impl Node {
    pub fn new(number: u8, settings: Settings) -> Option<Self> {
        let namespace = Namespace::new()?;
        namespace.ip(&format!("address add 10.5.{number}.2/32 dev lo"));
        Some(Node { namespace, tunnels: Arc::new(Tunnels::new(settings)), number })
    }

    pub fn link(&self) -> Link<LinkName> {
        let kind = LinkKind::Tunnel { port: PORT, local: Addresses { v4: Some(underlay(self.number)), v6: None } };
        Link { on: LinkName("flannel0".into()), name: "flannel%d".into(), kind, mtu: 1472, mac: None }
    }

    pub fn open(&self, link: Link<LinkName>) -> Result<(), Refused> {
        let tunnels = Arc::clone(&self.tunnels);
        self.namespace.run(move || wait_for(tunnels.open(link)))
    }

    /// Opens what was open just before. A process that another test is just starting may hold a copy of the old socket for a moment.
    pub fn reopen(&self, link: Link<LinkName>) {
        eventually("the tunnel opens again", || self.open(link.clone()).is_ok());
    }

    pub fn close(&self) -> Result<(), Refused> {
        let (tunnels, link) = (Arc::clone(&self.tunnels), self.link().on);
        self.namespace.run(move || wait_for(tunnels.close(link)))
    }

    /// Opens the tunnel and gives it what the reconciler and the kernel room would: address, MTU, route, table.
    pub fn start(&self, peers: &[u8]) {
        self.open(self.link()).expect("the tunnel opens");
        self.dress();
        self.forward(peers);
    }

    /// Address, MTU, route and setting of the device.
    pub fn dress(&self) {
        self.namespace.ip(&format!("address add 10.5.{}.0/32 dev flannel0", self.number));
        self.namespace.ip("link set flannel0 mtu 1472 up");
        self.namespace.ip(&format!("route add 10.5.0.0/16 dev flannel0 src 10.5.{}.2", self.number));
        self.namespace.set("conf/flannel0/accept_local", "1");
    }

    pub fn forward(&self, peers: &[u8]) {
        self.tunnels.forward(&self.link().on, self.table(peers));
    }

    pub fn table(&self, peers: &[u8]) -> Forwarding {
        let subnet = |peer: u8| format!("10.5.{peer}.0/24").parse().expect("a subnet");
        Forwarding {
            endpoints: peers.iter().map(|&peer| (subnet(peer), IpAddr::V4(underlay(peer)), PORT)).collect(),
            senders: peers.iter().map(|&peer| (IpAddr::V4(underlay(peer)), vec![subnet(peer)])).collect(),
            answers_from: Addresses { v4: Some(Ipv4Addr::new(10, 5, self.number, 0)), v6: None },
            mtu: 1472,
        }
    }

    pub fn dropped(&self, reason: &str) -> u64 {
        self.tunnels.counters()[0].drops.get(reason).copied().unwrap_or(0)
    }

    /// A socket of the node's pod.
    pub fn pod(&self, port: u16) -> UdpSocket {
        self.namespace.socket(&format!("10.5.{}.2:{port}", self.number))
    }
}

pub fn underlay(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, number)
}

pub fn underlay_v6(number: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd98, 0, 0, 0, 0, 0, 0, number.into())
}

/// Nodes 1 and 2 on one wire, tunnels open on both.
pub fn two_nodes(settings: Settings) -> Option<(Node, Node)> {
    let (a, b) = wired(settings)?;
    a.start(&[2]);
    b.start(&[1]);
    Some((a, b))
}

/// Nodes 1 and 2 on one wire, without tunnels.
pub fn wired(settings: Settings) -> Option<(Node, Node)> {
    let (a, b) = (Node::new(1, settings)?, Node::new(2, settings)?);
    a.namespace.wire("under0", "192.0.2.1/24", &b.namespace, "under0", "192.0.2.2/24");
    Some((a, b))
}

/// Node 1 with its tunnel, and a namespace where node 2 would be, whose socket speaks the wire format by hand.
pub fn one_node_and_wire() -> Option<(Node, Namespace, UdpSocket)> {
    let (node, other) = wired(Settings::default())?;
    node.start(&[2]);
    let wire = other.namespace.socket("192.0.2.2:8285");
    Some((node, other.namespace, wire))
}

/// Bytes that repeat nowhere near, so that one in a wrong place is seen.
pub fn bytes(length: usize) -> Vec<u8> {
    let mut state = 1u64;
    let next = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// Carries so many bytes by TCP from a pod of `a` to one of `b`, which must come out as they went in.
pub fn stream(a: &Node, b: &Node, to: &'static str, length: usize) {
    // A port of its own: a child of another test that was just forked may hold an earlier listener for a moment.
    let listener = b.namespace.run(move || TcpListener::bind((to, 0)).expect("an address of the pod"));
    let port = listener.local_addr().expect("its address").port();
    let receiver = thread::spawn(move || {
        let mut received = Vec::new();
        listener.accept().expect("a connection").0.read_to_end(&mut received).expect("received");
        received
    });
    let mut pod = a.namespace.run(move || TcpStream::connect((to, port)).expect("connected"));
    let sent = bytes(length);
    pod.write_all(&sent).expect("sent");
    drop(pod);
    assert!(receiver.join().expect("received") == sent, "the stream came out otherwise");
}

pub fn wait_for<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

/// Receives one datagram. A signal to the process (as of a child's end) may interrupt a receive that has a time limit.
pub fn hear(socket: &UdpSocket, buffer: &mut [u8]) -> (usize, SocketAddr) {
    loop {
        match socket.recv_from(buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            heard => return heard.expect("a datagram arrives"),
        }
    }
}

/// Looks until it is so, for counters that no event tells of.
pub fn eventually(what: &str, so: impl Fn() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < PATIENCE, "never happened: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// An IPv4 packet with a UDP datagram without checksum.
pub fn packet(source: [u8; 4], destination: [u8; 4], port: u16, payload: &[u8]) -> Vec<u8> {
    let total = 28 + payload.len() as u16;
    let mut bytes = vec![0x45, 0, 0, 0, 0xab, 0xcd, 0x40, 0, 61, 17, 0, 0];
    bytes[2..4].copy_from_slice(&total.to_be_bytes());
    bytes.extend(source.iter().chain(&destination));
    seal(&mut bytes);
    for word in [7777, port, 8 + payload.len() as u16, 0] {
        bytes.extend(word.to_be_bytes());
    }
    bytes.extend(payload);
    bytes
}

/// Puts the right checksum into a header of 20 bytes; written apart from the crate's own on purpose.
pub fn seal(header: &mut [u8]) {
    header[10..12].fill(0);
    let words = header[..20].chunks(2).map(|word| u64::from(word[0]) * 256 + u64::from(word[1]));
    let sum = words.sum::<u64>() % 0xffff;
    // Zero and 0xffff mean the same in ones' complement; a sum is never zero, so that its complement is never 0xffff.
    header[10..12].copy_from_slice(&((0xffff - sum as u16) % 0xffff).to_be_bytes());
}

/// Ends what waits for it, also when the test fails.
pub struct SetOnDrop<'a>(pub &'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
