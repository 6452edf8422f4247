//! The cluster's backend changes while traffic flows, and nothing is lost: streams counted by their numbers at the receiver, connections that stay in use.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::harness::Test;
use lab::netns::NetNs;
use lab::{Lab, Launch, Node, Pod, Session, Stream, wait_until};
use serde_json::Value;

use crate::chain::apart;
use crate::story::{NETWORK, SOON, all_pairs, cluster, goes_on};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("change: two nodes go from udp to vxlan and back under traffic, and nothing is lost", two_nodes),
    Test::new("change: a port that is filtered between two nodes keeps them on the old way, and status says why", filtered),
    Test::new("change: a peer behind a router stays on the old way, and status says why, while the others move", beyond_a_router),
    Test::new("change: another VNI runs beside the old one until all have moved", another_vni),
    Test::new("change: a host-gw way that is in use outlives the time for which old ways are kept", kept_while_in_use),
];

/// The longest that a record on a connection may take while ways change.
const STALL: Duration = Duration::from_millis(200);
/// A change of all pairs, on a busy machine.
pub const CHANGED: Duration = Duration::from_secs(60);

/// Writes the network config with this backend, as an operator does by hand.
pub fn use_backend(lab: &Lab, backend: &str) -> Result<()> {
    lab.config(&format!(r#"{{"Network":"{NETWORK}","Backend":{backend}}}"#))
}

/// The path from a node to another, as its API tells it.
pub fn path(from: &Node, to: &Node) -> Result<Value> {
    let paths = from.api("paths")?;
    let subnet = to.subnet()?;
    let found = paths.as_array().into_iter().flatten().find(|path| path["subnets"]["v4"] == subnet.as_str());
    found.cloned().with_context(|| format!("{} knows no path to {}: {paths}", from.name(), to.name()))
}

/// Waits until the path is on that way and stands so.
pub fn wait_for_path(from: &Node, to: &Node, way: &str, state: &str) -> Result<()> {
    wait_until(&format!("{way} ({state}) from {} to {}", from.name(), to.name()), CHANGED, || {
        let path = path(from, to)?;
        ensure!(path["way"] == way && path["state"] == state, "{path}");
        Ok(())
    })
}

/// Waits until every node reaches every other by that way.
pub fn wait_for_all(nodes: &[&Node], way: &str) -> Result<()> {
    for from in nodes {
        for to in nodes.iter().filter(|to| to.name() != from.name()) {
            wait_for_path(from, to, way, "moved")?;
        }
    }
    Ok(())
}

/// Traffic of every kind between two pods and their nodes.
pub struct Traffic {
    streams: Vec<Stream>,
    sessions: Vec<Session>,
    control: Session,
}

impl Traffic {
    /// Streams of a datagram a millisecond, small and large, both ways; connections from pod to pod and from node to pod.
    pub fn between(a: (&Node, &Pod), b: (&Node, &Pod)) -> Result<Traffic> {
        let mut traffic = Traffic { streams: Vec::new(), sessions: Vec::new(), control: control(a.0.net())? };
        traffic.add(a, b)?;
        traffic.add(b, a)?;
        Ok(traffic)
    }

    /// The same one way more.
    pub fn add(&mut self, from: (&Node, &Pod), to: (&Node, &Pod)) -> Result<()> {
        for bytes in [8, 1400] {
            let stream = Stream::sized(from.1, to.1, Duration::from_millis(1), bytes)?;
            goes_on(&stream)?;
            self.streams.push(stream);
        }
        let (pod, address) = (to.1.net(), to.1.address());
        self.sessions.push(Session::open(&format!("{} to {}", from.1.name(), to.1.name()), from.1.net(), pod, address)?);
        self.sessions.push(Session::open(&format!("node {} to {}", from.0.name(), to.1.name()), from.0.net(), pod, address)?);
        Ok(())
    }

    /// Some more of it arrives.
    pub fn goes_on(&self) -> Result<()> {
        self.sessions.iter().try_for_each(|session| session.goes_on(20))?;
        self.streams.iter().try_for_each(goes_on)
    }

    /// Ends it: no datagram was lost, no connection broke or stalled.
    pub fn nothing_lost(self) -> Result<()> {
        let control = self.control.close()?;
        for session in self.sessions {
            let name = session.name().to_owned();
            let used = session.close()?;
            println!("{name}: {used}");
            used.never_stalled(STALL, &control)?;
        }
        println!("on loopback beside them: {control}");
        let reports: Vec<_> = self.streams.into_iter().map(Stream::stop).collect::<Result<_>>()?;
        reports.iter().for_each(|report| println!("{report}"));
        reports.iter().try_for_each(|report| report.nothing_lost())
    }
}

/// The same connection on loopback: what stalls it is the machine's own business.
pub fn control(net: &NetNs) -> Result<Session> {
    Session::open("on loopback", net, net, Ipv4Addr::LOCALHOST)
}

/// What a tunnel's full queue dropped, since the daemon did not get the processor in time: that is a loss all the same, but none of a change.
pub fn overflowed(node: &Node) -> Result<Option<String>> {
    if !node.has_link("flannel0") {
        return Ok(None);
    }
    let link = node.net().ip_json("-s link show flannel0")?;
    let dropped = link[0]["stats64"]["tx"]["dropped"].as_u64().unwrap_or(0);
    Ok((dropped > 0).then(|| format!("the queue of {}'s tunnel overflowed {dropped} times", node.name())))
}

fn two_nodes() -> Result<()> {
    let (lab, nodes, [p, q]) = cluster(["a", "b"])?;
    let [a, b] = &nodes;
    for node in &nodes {
        node.rp_filter(1)?;
    }
    let traffic = Traffic::between((a, &p), (b, &q))?;
    for (backend, way, device) in [(r#"{"Type":"vxlan"}"#, "vxlan", "flannel.1"), (r#"{"Type":"udp"}"#, "udp", "flannel0")] {
        use_backend(&lab, backend)?;
        wait_for_all(&[a, b], way)?;
        let route = a.ip(&format!("route get {}", q.address()))?;
        ensure!(route.contains(&format!("dev {device} ")), "{route}");
        traffic.goes_on()?;
    }
    traffic.nothing_lost()
}

fn filtered() -> Result<()> {
    let (lab, nodes, [p, q, r]) = cluster(["a", "b", "c"])?;
    let [a, b, c] = &nodes;
    filter_vxlan(a, b)?;
    let mut traffic = Traffic::between((a, &p), (b, &q))?;
    traffic.add((a, &p), (c, &r))?;
    use_backend(&lab, r#"{"Type":"vxlan"}"#)?;
    wait_for_path(a, c, "vxlan", "moved")?;
    wait_for_path(a, b, "udp", "held")?;
    wait_for_path(b, a, "udp", "held")?;
    held_by_vxlan(a, b)?;
    a.firewall("")?;
    b.firewall("")?;
    wait_for_all(&[a, b, c], "vxlan")?;
    traffic.goes_on()?;
    traffic.nothing_lost()?;

    // The way that is in use stops: the pair goes back to the one before, and to this one again when it works.
    filter_vxlan(a, b)?;
    for (from, to) in [(a, b), (b, a)] {
        wait_for_path(from, to, "udp", "held")?;
        held_by_vxlan(from, to)?;
    }
    p.reaches(&q, SOON)?;
    q.reaches(&p, SOON)?;
    ensure!(path(a, c)?["way"] == "vxlan", "the pair that nothing befell left its way: {}", path(a, c)?);
    a.firewall("")?;
    b.firewall("")?;
    wait_for_all(&[a, b, c], "vxlan")?;
    p.reaches(&q, SOON)
}

/// Filters VXLAN's port between two nodes, both ways.
pub fn filter_vxlan(a: &Node, b: &Node) -> Result<()> {
    for (node, other) in [(a, b), (b, a)] {
        node.firewall(&without_vxlan_from(other))?;
    }
    Ok(())
}

/// A chain that filters VXLAN's port for what comes from that node.
pub fn without_vxlan_from(node: &Node) -> String {
    format!("chain in {{ type filter hook input priority 0; ip saddr {} udp dport 8472 drop; }}", node.address())
}

/// Status says that VXLAN's echoes to that node are lost, and on which leg.
fn held_by_vxlan(from: &Node, to: &Node) -> Result<()> {
    wait_until(&format!("word of what holds {} back on {}", to.name(), from.name()), CHANGED, || {
        let held = path(from, to)?;
        ensure!(
            held["reason"].as_str().is_some_and(|reason| reason.starts_with("vxlan: ") && reason.contains("did not come back")),
            "{held}"
        );
        ensure!(held["leg"] == format!("from here to {} by vxlan", to.address()), "{held}");
        Ok(())
    })
}

fn beyond_a_router() -> Result<()> {
    let lab = Lab::new("beyond")?;
    lab.network(NETWORK)?;
    let nodes = [lab.node("a")?, lab.node("b")?, lab.node("c")?];
    let [a, b, c] = &nodes;
    let _routers = apart(&lab, &[a, b], c, 1500)?;
    nodes.iter().try_for_each(|node| node.start(Launch::now()))?;
    nodes.iter().try_for_each(|node| node.ready(SOON))?;
    lab.wait_for_routes(&[a, b, c], SOON)?;
    let pods = [a.pod("p1")?, b.pod("p1")?, c.pod("p1")?];
    all_pairs(&pods)?;
    wait_for_all(&[a, b, c], "udp")?;
    let [p, q, r] = &pods;
    let mut traffic = Traffic::between((a, p), (b, q))?;
    traffic.add((a, p), (c, r))?;
    traffic.add((c, r), (a, p))?;
    use_backend(&lab, r#"{"Type":"host-gw"}"#)?;
    wait_for_path(a, b, "host-gw", "moved")?;
    wait_for_path(b, a, "host-gw", "moved")?;
    for (from, to) in [(a, c), (b, c), (c, a), (c, b)] {
        wait_for_path(from, to, "udp", "held")?;
        let held = path(from, to)?;
        let public = held["public"]["v4"].as_str().unwrap_or_default();
        ensure!(held["reason"] == format!("host-gw: {public} is not on this link"), "{held}");
    }
    for (target, link) in [(q, "eth0"), (r, "flannel0")] {
        let route = a.ip(&format!("route get {}", target.address()))?;
        ensure!(route.contains(&format!("dev {link} ")), "{route}");
    }
    traffic.goes_on()?;
    traffic.nothing_lost()
}

fn another_vni() -> Result<()> {
    let (lab, nodes, [p, q]) = cluster(["a", "b"])?;
    let [a, b] = &nodes;
    use_backend(&lab, r#"{"Type":"vxlan"}"#)?;
    wait_for_all(&[a, b], "vxlan")?;
    let traffic = Traffic::between((a, &p), (b, &q))?;
    use_backend(&lab, r#"{"Type":"vxlan","VNI":7}"#)?;
    wait_until("the route by the new device", CHANGED, || {
        for (node, pod) in [(a, &q), (b, &p)] {
            let route = node.ip(&format!("route get {}", pod.address()))?;
            ensure!(route.contains("dev flannel.7 "), "{route}\n{}", node.api("paths")?);
        }
        Ok(())
    })?;
    ensure!(a.has_link("flannel.1") && b.has_link("flannel.1"), "the old device is gone while packets may still come by it");
    traffic.goes_on()?;
    traffic.nothing_lost()?;
    Ok(())
}

/// So long the nodes of the next test keep an old way. A way in use is proved every five seconds.
const KEEP: Duration = Duration::from_secs(8);

fn kept_while_in_use() -> Result<()> {
    let lab = Lab::new("in-use")?;
    lab.network(NETWORK)?;
    use_backend(&lab, r#"{"Type":"host-gw"}"#)?;
    let nodes = [lab.node("a")?, lab.node("b")?, lab.node("c")?];
    let [a, b, c] = &nodes;
    for node in &nodes {
        node.start(Launch::now().flags(&["--keep-ways", &format!("{}s", KEEP.as_secs())]))?;
    }
    nodes.iter().try_for_each(|node| node.ready(SOON))?;
    wait_for_all(&[a, b, c], "host-gw")?;
    let pods: Vec<Pod> = nodes.iter().map(|node| node.pod("p1")).collect::<Result<_>>()?;
    all_pairs(&pods)?;
    let mut traffic = Traffic::between((a, &pods[0]), (b, &pods[1]))?;
    traffic.add((b, &pods[1]), (c, &pods[2]))?;
    traffic.add((c, &pods[2]), (b, &pods[1]))?;
    // Nothing from `b` arrives by VXLAN, while what `a` sends to `b` does: only `b` needs the old way of `a`. That of `b` and `c` is in use both ways.
    filter_vxlan(b, c)?;
    a.firewall(&without_vxlan_from(b))?;
    use_backend(&lab, r#"{"Type":"vxlan"}"#)?;
    wait_for_path(a, b, "vxlan", "moved")?;
    let held = [(b, a), (b, c), (c, b)];
    let as_stated = || -> Result<()> {
        wait_for_path(a, c, "vxlan", "moved")?;
        for (from, to) in held {
            wait_for_path(from, to, "host-gw", "held")?;
            held_by_vxlan(from, to)?;
        }
        Ok(())
    };
    as_stated()?;
    std::thread::sleep(KEEP * 2);
    as_stated()?;
    traffic.goes_on()?;
    nodes.iter().try_for_each(|node| node.firewall(""))?;
    wait_for_all(&[a, b, c], "vxlan")?;
    wait_until("the old way to be given up once nothing uses it", CHANGED, || {
        for node in &nodes {
            let leases = node.api("leases")?;
            let one = |lease: &Value| lease["ways"].as_array().is_some_and(|ways| ways.len() == 1);
            ensure!(leases.as_array().is_some_and(|leases| leases.iter().all(one)), "{leases}");
        }
        Ok(())
    })?;
    traffic.nothing_lost()
}
