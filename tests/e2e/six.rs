//! Six nodes, each with its own trouble, go through all changes between udp, vxlan and host-gw in a random order, while all pairs that can talk do: none of them loses
//! a packet, and every pair ends on the way that was to be expected.
//!
//! `a` and `b` have VXLAN's port filtered between them, `n` cannot have VXLAN at all, `f` is frozen throughout and thawed at the end, `r` is restarted amid it, `j`
//! joins amid it. On half of them, whichever, `all.rp_filter` is 1. The order, and when what happens, comes from a seed: see [`crate::walk`].
//!
//! A frozen daemon carries nothing itself, and proves nothing: what is sent to `f` goes by the kernel's backends, which it published before it froze. So before that
//! all go to both of them. The one pair that cannot talk is that of `f` and `j`, as long as `f` is frozen and has no route to whom it does not know: `j` says so.

use std::net::{Ipv4Addr, TcpListener};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use lab::etcd::{Etcd, NEEDS};
use lab::harness::{Test, long};
use lab::{Lab, Launch, Node, Pod, Random, Session, Stream, wait_until};

use crate::change::{CHANGED, control, overflowed, path, without_vxlan_from};
use crate::story::{NETWORK, SOON, goes_on};
use crate::walk::{Moment, Trouble, Walk, without_vxlan};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("six nodes: udp, vxlan and host-gw in random order with every kind of trouble, and nothing is lost", || six(false)).alone(),
    Test::new("six nodes: the same on etcd", || six(true)).needs(NEEDS).alone(),
];

/// The port of node `a` that is translated to a pod of another node.
const PUBLISHED: u16 = 8080;
/// As in the tests of a change between two nodes.
const STALL: Duration = Duration::from_millis(200);
/// What goes wrong amid a change does so at some moment of this time.
const AMID: Duration = Duration::from_millis(1500);

struct Six {
    lab: Lab,
    /// The store, where it is not the shared directory.
    etcd: Option<Etcd>,
    nodes: Vec<Node>,
    /// A pod a node; that of `j` comes late.
    pods: Vec<Pod>,
    flows: Vec<Flow>,
    /// The backends so far, the newest last.
    past: Vec<&'static str>,
    /// Those before the node froze that is frozen now.
    frozen: Option<Vec<&'static str>>,
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

impl Six {
    fn start(on_etcd: bool, random: &mut Random) -> Result<Six> {
        let lab = Lab::new("six")?;
        lab.network(NETWORK)?;
        let etcd = on_etcd.then(|| Etcd::with_config(&lab, &config("udp"))).transpose()?;
        let nodes: Vec<Node> = NAMES.iter().map(|name| lab.node(name)).collect::<Result<_>>()?;
        for (node, other) in [(A, B), (B, A)] {
            nodes[node].firewall(&without_vxlan_from(&nodes[other]))?;
        }
        let mut order: Vec<usize> = (0..NAMES.len()).collect();
        random.shuffle(&mut order);
        for node in &order[..3] {
            nodes[*node].net().sysctl("net.ipv4.conf.all.rp_filter", "1")?;
        }
        println!("all.rp_filter is 1 on {}", order[..3].iter().map(|node| NAMES[*node]).collect::<Vec<_>>().join(", "));
        let mut six = Six { lab, etcd, nodes, pods: Vec::new(), flows: Vec::new(), past: vec!["udp"], frozen: None };
        for node in 0..J {
            six.launch(node)?;
        }
        six.nodes[..J].iter().try_for_each(|node| node.ready(CHANGED))?;
        six.lab.wait_for_routes(&six.nodes[..J].iter().collect::<Vec<_>>(), CHANGED)?;
        six.pods = six.nodes[..J].iter().map(|node| node.pod("p1")).collect::<Result<_>>()?;
        Ok(six)
    }

    fn launch(&self, node: usize) -> Result<()> {
        let flags: &[&str] = if node == N { &["--ip-masq", "--without", "vxlan"] } else { &["--ip-masq"] };
        let launch = self.etcd.as_ref().map_or_else(Launch::now, Etcd::launch);
        self.nodes[node].start(launch.flags(flags))
    }

    /// A small and a large stream between the pods of each of these pairs, once all flow.
    fn flow(&mut self, pairs: &[(usize, usize)]) -> Result<()> {
        let begun = self.flows.len();
        for &(from, to) in pairs {
            self.pods[from].reaches(&self.pods[to], SOON)?;
            for bytes in [8, 1400] {
                let stream = Stream::sized(&self.pods[from], &self.pods[to], pace(from, to), bytes)?;
                self.flows.push(Flow { from, to, stream });
            }
        }
        all_go_on(&self.flows[begun..])
    }

    fn backend(&self) -> &'static str {
        self.past.last().copied().unwrap_or("udp")
    }

    /// The way by which a node reaches another once all has settled, stated in advance; none where nobody can ask, or nothing can come back.
    fn expected(&self, from: usize, to: usize) -> Option<&'static str> {
        let lacks_vxlan = (from.min(to), from.max(to)) == (A, B) || from == N || to == N;
        let best = |past: &[&'static str]| if lacks_vxlan { without_vxlan(past) } else { past.last().copied() };
        match &self.frozen {
            Some(_) if from == F || (from, to) == (J, F) => None,
            // The kernel's backends are the newest that it published: it stays on one where udp is wished, which it cannot prove.
            Some(past) if to == F && self.backend() == "udp" => best(past),
            Some(past) if to == F => best(&[past.as_slice(), &[self.backend()]].concat()),
            _ => best(&self.past),
        }
    }

    /// Waits until every pair is on the way that was stated.
    fn settled(&self) -> Result<()> {
        let running = self.pods.len();
        for (from, to) in (0..running).flat_map(|from| (0..running).map(move |to| (from, to))) {
            if from != to {
                self.settled_pair(from, to)?;
            }
        }
        Ok(())
    }

    fn settled_pair(&self, from: usize, to: usize) -> Result<()> {
        if self.frozen.is_some() && (from, to) == (J, F) {
            return self.strangers();
        }
        let Some(way) = self.expected(from, to) else { return Ok(()) };
        wait_until(&format!("{way} from {} to {} (after {:?})", NAMES[from], NAMES[to], self.past), CHANGED, || {
            let path = path(&self.nodes[from], &self.nodes[to])?;
            ensure!(path["way"] == way, "{path}");
            // A pair that is on another way than the wanted one says what is wrong with that.
            let wanted = path["wanted"].as_str().unwrap_or_default();
            let told = path["reason"].as_str().is_some_and(|reason| reason.starts_with(&format!("{wanted}: ")));
            ensure!(if wanted == way { path["state"] == "moved" } else { path["state"] == "held" && told }, "{path}");
            Ok(())
        })
    }

    /// The node that joined says that the frozen one, which has no route to it, does not answer.
    fn strangers(&self) -> Result<()> {
        wait_until("word that the frozen node does not answer the new one", CHANGED, || {
            let path = path(&self.nodes[J], &self.nodes[F])?;
            let told = path["reason"].as_str().is_some_and(|reason| reason.contains("did not come back"));
            Ok(ensure!(path["state"] == "down" && told, "{path}"))
        })
    }

    /// Goes to that backend, with the troubles that happen meanwhile.
    fn change(&mut self, backend: &'static str, amid: &[Trouble], random: &mut Random) -> Result<()> {
        let began = Instant::now();
        match &self.etcd {
            None => self.lab.config(&config(backend))?,
            Some(etcd) => etcd.config(&config(backend))?,
        }
        let before = self.backend();
        self.past.push(backend);
        for trouble in amid {
            sleep(random.pause(AMID));
            self.befall(*trouble)?;
        }
        self.settled()?;
        println!("{before} to {backend}: every pair on its way after {:.1} s{}", began.elapsed().as_secs_f64(), words(amid));
        all_go_on(&self.flows)
    }

    fn befall(&mut self, trouble: Trouble) -> Result<()> {
        match trouble {
            Trouble::Restart => {
                self.nodes[R].kill()?;
                self.launch(R)?;
                self.nodes[R].ready(CHANGED)?;
            }
            Trouble::Join => {
                self.launch(J)?;
                self.nodes[J].ready(CHANGED)?;
                self.pods.push(self.nodes[J].pod("p1")?);
            }
        }
        Ok(())
    }

    /// A connection from outside the cluster to a port of node `a` that is translated to the pod of `r`, as kube-proxy does it.
    fn published(&self) -> Result<Session> {
        let pod = &self.pods[R];
        let listener = pod.net().inside(|| Ok(TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?))?;
        let to = format!("{}:{}", pod.address(), listener.local_addr()?.port());
        let (a, b) = (&self.nodes[A], &self.nodes[B]);
        let translated = format!("type nat hook prerouting priority -100; iifname eth0 tcp dport {PUBLISHED} dnat ip to {to};");
        a.firewall(&format!("{}\nchain published {{ {translated} }}", without_vxlan_from(b)))?;
        Session::to("by a translated port", self.lab.switch(), listener, (a.address(), PUBLISHED))
    }
}

/// The pause between two datagrams: a millisecond; in the short form, whose streams share the machine with other tests, on the pair that is held back by a filter
/// and on those with the nodes that are frozen and restarted, and five on all others.
fn pace(from: usize, to: usize) -> Duration {
    let close = long() || [(A, B), (A, R), (N, F), (N, R)].contains(&(from.min(to), from.max(to)));
    Duration::from_millis(if close { 1 } else { 5 })
}

/// Waits until some more of each stream has arrived.
fn all_go_on(flows: &[Flow]) -> Result<()> {
    std::thread::scope(|scope| {
        let waits: Vec<_> = flows.iter().map(|flow| scope.spawn(|| goes_on(&flow.stream))).collect();
        waits.into_iter().zip(flows).try_for_each(|(wait, flow)| {
            let outcome = wait.join().map_err(|_| anyhow!("the one who waits panicked"))?;
            outcome.with_context(|| format!("{} to {}", NAMES[flow.from], NAMES[flow.to]))
        })
    })
}

fn words(troubles: &[Trouble]) -> String {
    troubles.iter().map(|trouble| format!(", meanwhile {trouble:?}")).collect()
}

fn config(backend: &str) -> String {
    format!(r#"{{"Network":"{NETWORK}","Backend":{{"Type":"{backend}"}}}}"#)
}

fn six(on_etcd: bool) -> Result<()> {
    let mut random = Random::from_environment()?;
    let walk = Walk::random(&mut random, long());
    println!("{walk}");
    let mut six = Six::start(on_etcd, &mut random)?;
    let began = Instant::now();
    let all = |nodes: usize| (0..nodes).flat_map(move |from| (0..nodes).map(move |to| (from, to))).filter(|(from, to)| from != to);
    let (strangers, of_the_new): (Vec<_>, Vec<_>) =
        all(NAMES.len()).filter(|(from, to)| [from, to].contains(&&J)).partition(|(from, to)| [from, to].contains(&&F));
    six.flow(&all(J).collect::<Vec<_>>())?;
    let address = |pod: usize| six.pods[pod].address();
    let control = control(six.nodes[A].net())?;
    let sessions = vec![
        Session::open("pod to pod", six.pods[A].net(), six.pods[B].net(), address(B))?,
        Session::open("node to pod", six.nodes[B].net(), six.pods[R].net(), address(R))?,
        Session::open("node to the pod of the node that is frozen", six.nodes[B].net(), six.pods[F].net(), address(F))?,
        Session::open("pod of the node that is frozen to that of one without VXLAN", six.pods[F].net(), six.pods[N].net(), address(N))?,
        Session::open("node to the pod of a node without VXLAN", six.nodes[A].net(), six.pods[N].net(), address(N))?,
        six.published()?,
    ];
    for backend in walk.approach {
        six.change(backend, &[], &mut random)?;
    }
    six.nodes[F].freeze()?;
    six.frozen = Some(six.past.clone());
    for (leg, backend) in walk.legs.iter().enumerate() {
        six.change(backend, &walk.troubles(leg, Moment::Amid), &mut random)?;
        for trouble in walk.troubles(leg, Moment::After) {
            six.befall(trouble)?;
            six.settled()?;
        }
        if six.pods.len() > J && !six.flows.iter().any(|flow| flow.from == J) {
            six.flow(&of_the_new)?;
        }
    }
    six.nodes[F].thaw()?;
    six.frozen = None;
    six.settled()?;
    six.flow(&strangers)?;
    six.change(walk.last, &[], &mut random)?;
    ensure!(six.flows.len() == 2 * all(NAMES.len()).count(), "not all pairs have their streams");
    report(&six.nodes, six.flows, sessions, control, began)
}

/// Ends all traffic, says what it came to, and fails if anything was lost or stalled.
fn report(nodes: &[Node], flows: Vec<Flow>, sessions: Vec<Session>, control: Session, began: Instant) -> Result<()> {
    let control = control.close()?;
    let mut stalled = Vec::new();
    for session in sessions {
        let name = session.name().to_owned();
        let used = session.close()?;
        println!("{name}: {used}");
        stalled.extend(used.never_stalled(STALL, &control).err().map(|error| format!("{name}: {error:#}")));
    }
    println!("on loopback beside them: {control}");
    all_go_on(&flows)?;
    flows.iter().for_each(|flow| flow.stream.halt());
    let took = began.elapsed();
    let full: Vec<String> = nodes.iter().filter_map(|node| overflowed(node).transpose()).collect::<Result<_>>()?;
    let (mut lost, mut sent, mut silence, streams) = (Vec::new(), 0, Duration::ZERO, flows.len());
    for Flow { from, to, stream } in flows {
        let report = stream.stop()?;
        sent += report.sent;
        silence = silence.max(report.longest_silence);
        if report.lost_on_the_way() > 0 {
            lost.push(format!("{} to {}: {report}", NAMES[from], NAMES[to]));
        }
    }
    let rate = sent as f64 / took.as_secs_f64();
    println!("{streams} streams, {sent} datagrams in {:.0} s ({rate:.0} a second), longest silence {silence:?}", took.as_secs_f64());
    println!("{} streams lost something, {} connections stalled", lost.len(), stalled.len());
    let busy = if full.is_empty() { String::new() } else { format!("\nthis machine was too busy: {}", full.join(", ")) };
    ensure!(lost.is_empty() && stalled.is_empty(), "{}\n{}{busy}", lost.join("\n"), stalled.join("\n"));
    Ok(())
}
