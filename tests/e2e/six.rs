//! Six nodes, each with its own trouble, go from udp by vxlan and host-gw back to udp, while all pairs that can talk do: none of them loses a packet, and every
//! pair ends on the way that was to be expected.
//!
//! `a` and `b` have VXLAN's port filtered between them, `n` cannot have VXLAN at all, `f` is frozen amid it and thawed at the end, `r` is restarted amid it, `j` joins
//! amid it. On half of them `all.rp_filter` is 1.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use anyhow::{Result, ensure};
use lab::etcd::{Etcd, NEEDS};
use lab::harness::{Test, long};
use lab::{Lab, Launch, Node, Pod, Session, Stream, wait_until};

use crate::change::{CHANGED, control, path, wait_for_path};
use crate::story::{NETWORK, SOON, goes_on};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("six nodes: udp, vxlan, host-gw and back with every kind of trouble, and nothing is lost", || six(false)),
    Test::new("six nodes: the same on etcd", || six(true)).needs(NEEDS),
];

/// The port that node `a` publishes for a pod of another node.
const PUBLISHED: u16 = 8080;
/// As in the tests of a change between two nodes.
const STALL: Duration = Duration::from_millis(200);

struct Six {
    lab: Lab,
    /// The store, where it is not the shared directory.
    etcd: Option<Etcd>,
    nodes: Vec<Node>,
    pods: Vec<Pod>,
}

/// A stream with the pair that it is between.
struct Flow {
    from: usize,
    to: usize,
    stream: Stream,
}

const NAMES: [&str; 6] = ["a", "b", "n", "f", "r", "j"];
const A: usize = 0;
const B: usize = 1;
const N: usize = 2;
const F: usize = 3;
const R: usize = 4;
const J: usize = 5;

/// The way by which a pair is reached in a phase: what was stated in advance.
fn expected(backend: &'static str, frozen: bool, from: usize, to: usize) -> &'static str {
    let pair = |x, y| (from, to) == (x, y) || (from, to) == (y, x);
    let has = |node| from == node || to == node;
    match backend {
        "vxlan" if pair(A, B) || has(N) => "udp",
        // The frozen node still publishes vxlan, and udp for the one that has nothing else.
        _ if frozen && has(F) => {
            if has(N) {
                "udp"
            } else {
                "vxlan"
            }
        }
        backend => backend,
    }
}

impl Six {
    fn start(on_etcd: bool) -> Result<Six> {
        let lab = Lab::new("six")?;
        lab.network(NETWORK)?;
        let etcd = on_etcd.then(|| Etcd::with_config(&lab, &config("udp"))).transpose()?;
        let mut six = Six { lab, etcd, nodes: Vec::new(), pods: Vec::new() };
        for name in NAMES {
            six.nodes.push(six.lab.node(name)?);
        }
        let [a, b] = [&six.nodes[A], &six.nodes[B]];
        for (node, other) in [(a, b), (b, a)] {
            node.firewall(&format!("chain in {{ type filter hook input priority 0; ip saddr {} udp dport 8472 drop; }}", other.address()))?;
        }
        for node in &six.nodes[..3] {
            node.net().sysctl("net.ipv4.conf.all.rp_filter", "1")?;
        }
        for node in 0..J {
            six.launch(node)?;
        }
        for node in &six.nodes[..J] {
            node.ready(CHANGED)?;
        }
        let nodes: Vec<&Node> = six.nodes[..J].iter().collect();
        six.lab.wait_for_routes(&nodes, CHANGED)?;
        for node in &six.nodes[..J] {
            six.pods.push(node.pod("p1")?);
        }
        Ok(six)
    }

    fn launch(&self, node: usize) -> Result<()> {
        let flags: &[&str] = if node == N { &["--ip-masq", "--without", "vxlan"] } else { &["--ip-masq"] };
        let launch = self.etcd.as_ref().map_or_else(Launch::now, Etcd::launch);
        self.nodes[node].start(launch.flags(flags))
    }

    /// A small and a large stream between two pods, once both flow.
    fn flows(&self, from: usize, to: usize, flows: &mut Vec<Flow>) -> Result<()> {
        let pace = Duration::from_millis(if long() { 1 } else { 5 });
        self.pods[from].reaches(&self.pods[to], SOON)?;
        for bytes in [8, 1400] {
            let stream = Stream::sized(&self.pods[from], &self.pods[to], pace, bytes)?;
            goes_on(&stream)?;
            flows.push(Flow { from, to, stream });
        }
        Ok(())
    }

    /// Waits until every pair of these nodes is on the way that was stated.
    fn settled(&self, backend: &'static str, frozen: bool) -> Result<()> {
        let running = self.pods.len();
        for from in (0..running).filter(|from| !(frozen && *from == F)) {
            for to in (0..running).filter(|to| *to != from) {
                let way = expected(backend, frozen, from, to);
                wait_until(&format!("{way} from {} to {} ({backend})", NAMES[from], NAMES[to]), CHANGED, || {
                    let path = path(&self.nodes[from], &self.nodes[to])?;
                    ensure!(path["way"] == way && path["state"] != "proving", "{path}");
                    Ok(())
                })?;
            }
        }
        Ok(())
    }

    fn change(&self, backend: &'static str, frozen: bool) -> Result<()> {
        match &self.etcd {
            None => self.lab.config(&config(backend))?,
            Some(etcd) => etcd.config(&config(backend))?,
        }
        self.settled(backend, frozen)
    }

    /// A connection from outside the cluster to a port that node `a` publishes for the pod of `r`.
    fn published(&self) -> Result<Session> {
        let pod = &self.pods[R];
        let listener = pod.net().inside(|| Ok(TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?))?;
        let to = format!("{}:{}", pod.address(), listener.local_addr()?.port());
        let (a, b) = (&self.nodes[A], &self.nodes[B]);
        a.firewall(&format!(
            "chain in {{ type filter hook input priority 0; ip saddr {} udp dport 8472 drop; }}\n\
             chain published {{ type nat hook prerouting priority -100; iifname eth0 tcp dport {PUBLISHED} dnat ip to {to}; }}",
            b.address()
        ))?;
        Session::to("by the published port", self.lab.switch(), listener, (a.address(), PUBLISHED))
    }
}

fn config(backend: &str) -> String {
    format!(r#"{{"Network":"{NETWORK}","Backend":{{"Type":"{backend}"}}}}"#)
}

fn six(on_etcd: bool) -> Result<()> {
    let mut six = Six::start(on_etcd)?;
    let control = control(six.nodes[A].net())?;
    let mut flows = Vec::new();
    // Not between pairs that a frozen or restarted daemon of the udp backend itself cuts off.
    let talk = |from: usize, to: usize| from != to && !(from.max(to) >= F && from.min(to) == N);
    for from in 0..J {
        for to in (0..J).filter(|to| talk(from, *to)) {
            six.flows(from, to, &mut flows)?;
        }
    }
    let address = |pod: usize| six.pods[pod].address();
    let sessions = vec![
        Session::open("pod to pod", six.pods[A].net(), six.pods[B].net(), address(B))?,
        Session::open("node to pod", six.nodes[B].net(), six.pods[R].net(), address(R))?,
        Session::open("node to the pod of a node without VXLAN", six.nodes[A].net(), six.pods[N].net(), address(N))?,
        six.published()?,
    ];
    six.change("vxlan", false)?;
    six.nodes[F].freeze()?;
    six.nodes[R].kill()?;
    six.launch(R)?;
    six.nodes[R].ready(CHANGED)?;
    six.launch(J)?;
    six.nodes[J].ready(CHANGED)?;
    six.pods.push(six.nodes[J].pod("p1")?);
    six.settled("vxlan", true)?;
    for other in [A, B, R] {
        six.flows(J, other, &mut flows)?;
        six.flows(other, J, &mut flows)?;
    }
    six.change("host-gw", true)?;
    six.change("udp", true)?;
    six.nodes[F].thaw()?;
    six.settled("udp", false)?;
    wait_for_path(&six.nodes[F], &six.nodes[A], "udp", "moved")?;
    let control = control.close()?;
    for session in sessions {
        session.close()?.never_stalled(STALL, &control)?;
    }
    for Flow { from, to, stream } in flows {
        goes_on(&stream)?;
        let report = stream.stop()?;
        ensure!(report.lost.is_empty(), "{} to {}: {report}", NAMES[from], NAMES[to]);
    }
    Ok(())
}
