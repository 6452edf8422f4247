//! twill and flannel in one cluster, both ways, with restarts, and in turns on one node under a stream of a packet a millisecond.
//!
//! flannel's part is played by [`lab::flannel`], which makes by `ip`, `bridge` and `etcdctl` what the specification says that flanneld makes; and, where
//! `FLANNELD` names one, by a real flanneld (`FLANNELD=/path/to/flanneld cargo test … -- interop`).

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::etcd::{Etcd, NEEDS, PREFIX, place};
use lab::flannel::{Flannel, peers};
use lab::harness::{Need, Test};
use lab::process::run;
use lab::{Lab, Node, artifacts, wait_until};
use serde_json::Value;

use crate::change::wait_for_all;
use crate::families::lines;
use crate::firewall::{sees, switch_address};
use crate::iptables::{by_hand, flannel_leaves};
use crate::story::{SOON, all_pairs, flowing, goes_on};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("interop: a node of flannel's shape among twill's, on vxlan", || mixed(Kind::Shaped, "vxlan")).needs(NEEDS),
    Test::new("interop: a node of flannel's shape among twill's, on host-gw", || mixed(Kind::Shaped, "host-gw")).needs(NEEDS),
    Test::new("interop: a node of flannel's shape among twill's, on udp", || mixed(Kind::Shaped, "udp")).needs(NEEDS),
    Test::new("interop: flannel's shape, twill, flannel's shape, twill in turns, on vxlan", || in_turns(Kind::Shaped, "vxlan"))
        .needs(WITH_RULES),
    Test::new("interop: flannel's shape, twill, flannel's shape, twill in turns, on host-gw", || in_turns(Kind::Shaped, "host-gw"))
        .needs(WITH_RULES),
    Test::new("interop: flannel's shape, twill, flannel's shape, twill in turns, on udp", || in_turns(Kind::Shaped, "udp"))
        .needs(WITH_RULES),
    Test::new("interop: a node rolled back to flannel's shape after a change: what twill published of it is ignored", rolled_back)
        .needs(NEEDS),
    Test::new("interop: a real flanneld among twill's nodes, on vxlan", || mixed(Kind::Real, "vxlan")).needs(REAL),
    Test::new("interop: a real flanneld among twill's nodes, on host-gw", || mixed(Kind::Real, "host-gw")).needs(REAL),
    Test::new("interop: a real flanneld among twill's nodes, on udp", || mixed(Kind::Real, "udp")).needs(REAL),
    Test::new("interop: flanneld, twill, flanneld, twill in turns, on vxlan", || in_turns(Kind::Real, "vxlan")).needs(REAL),
    Test::new("interop: flanneld, twill, flanneld, twill in turns, on host-gw", || in_turns(Kind::Real, "host-gw")).needs(REAL),
    Test::new("interop: flanneld, twill, flanneld, twill in turns, on udp", || in_turns(Kind::Real, "udp")).needs(REAL),
];

/// In turns flannel's rules are there, which are in iptables.
const WITH_RULES: &[Need] = &[NEEDS[0], NEEDS[1], Need::Program("iptables")];
const REAL: &[Need] = &[NEEDS[0], NEEDS[1], Need::Variable("FLANNELD", "the path of a real flanneld")];
/// The node of flannel's shape has this one; a real flanneld chooses.
const SUBNET: &str = "10.50.200.0/24";

/// Who plays flannel's part.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Shaped,
    Real,
}

/// A running flannel, of either kind.
enum Running<'a> {
    Shaped(Flannel<'a>),
    Real(&'a Node),
}

impl<'a> Running<'a> {
    fn start(kind: Kind, node: &'a Node, etcd: &'a Etcd, backend: &'static str) -> Result<Running<'a>> {
        Running::with(kind, node, etcd, backend, &[])
    }

    /// The same with `--ip-masq`: flannel's rules are there too.
    fn masquerading(kind: Kind, node: &'a Node, etcd: &'a Etcd, backend: &'static str) -> Result<Running<'a>> {
        let running = Running::with(kind, node, etcd, backend, &["-ip-masq"])?;
        if kind == Kind::Shaped {
            flannel_leaves(node, "10.50.0.0/16", SUBNET)?;
        }
        Ok(running)
    }

    fn with(kind: Kind, node: &'a Node, etcd: &'a Etcd, backend: &'static str, flags: &[&str]) -> Result<Running<'a>> {
        if kind == Kind::Shaped {
            return Ok(Running::Shaped(Flannel::start(node, etcd, backend, SUBNET)?));
        }
        let program = PathBuf::from(std::env::var_os("FLANNELD").context("FLANNELD is not set")?);
        // Docker or CNI turn forwarding on, not flannel.
        node.net().sysctl("net.ipv4.ip_forward", "1")?;
        let _ = std::fs::remove_file(node.dir("run").join("flannel/subnet.env"));
        node.start(etcd.flanneld(&program).flags(&["-iface=eth0", "-v=2"]).flags(flags))?;
        wait_until("flanneld's subnet.env", Duration::from_secs(30), || {
            ensure!(node.ended()?.is_none(), "flanneld ended: {}", node.log()?);
            node.subnet_env("FLANNEL_SUBNET").map(drop)
        })?;
        Ok(Running::Real(node))
    }

    /// Peers have changed: a real one knows, the shaped one looks.
    fn look(&self) -> Result<()> {
        match self {
            Running::Shaped(flannel) => flannel.learn(),
            Running::Real(_) => Ok(()),
        }
    }

    fn stop(self) -> Result<()> {
        match self {
            Running::Shaped(flannel) => flannel.stop(),
            Running::Real(node) => drop(node.stop()?),
        }
        Ok(())
    }
}

fn config(backend: &str) -> String {
    // nftables spare a real flanneld the search for br_netfilter.
    format!(r#"{{"Network":"10.50.0.0/16","EnableNFTables":true,"Backend":{{"Type":"{backend}"}}}}"#)
}

fn mixed(kind: Kind, backend: &'static str) -> Result<()> {
    let lab = Lab::new("mixed")?;
    let etcd = Etcd::with_config(&lab, &config(backend))?;
    let (f, late) = (lab.node("f")?, lab.node("late")?);
    let flannel = Running::start(kind, &f, &etcd, backend)?;
    let [a, b] = etcd.cluster(&lab, ["a", "b"])?;
    let subnet = f.subnet()?;
    for node in [&a, &b] {
        node.wait_for_lease(subnet.clone(), SOON)?;
        in_flannels_shape(node, &f, &etcd, backend)?;
    }
    flannel.look()?;
    let pods = [f.pod("p")?, a.pod("p")?, b.pod("p")?];
    all_pairs(&pods)?;
    let streams = [flowing(&pods[0], &pods[1])?, flowing(&pods[1], &pods[0])?, flowing(&pods[0], &pods[2])?];
    // twill restarts, and its lease is written anew.
    a.kill()?;
    a.start(etcd.launch())?;
    a.ready(SOON)?;
    // flannel restarts: it finds its device and its lease.
    let mac = device_mac(&f, backend)?;
    flannel.stop()?;
    let flannel = Running::start(kind, &f, &etcd, backend)?;
    ensure!(f.subnet()? == subnet && device_mac(&f, backend)? == mac, "flannel did not find its own again");
    // A third node of twill's joins: flannel's are told by the lease alone.
    late.start(etcd.launch())?;
    late.ready(SOON)?;
    flannel.look()?;
    streams.iter().try_for_each(goes_on)?;
    let extra = late.pod("p")?;
    extra.reaches(&pods[0], SOON)?;
    pods[0].reaches(&extra, SOON)?;
    for stream in streams {
        let report = stream.stop()?;
        // The TUN device of udp is gone while its daemon is.
        if backend != "udp" {
            report.nothing_lost()?;
        }
    }
    if let (Running::Shaped(shaped), "vxlan") = (&flannel, backend) {
        follows_another_mac(shaped, &[&a, &b], &f, &etcd, &pods)?;
    }
    // It goes: so do its routes and entries.
    flannel.stop()?;
    etcd.ctl(&["del", &place(&subnet)])?;
    for node in [&a, &b] {
        node.wait_for_no_lease(&subnet, SOON)?;
        wait_until("the end of what led there", SOON, || {
            let left = traces(node, &subnet, f.address())?;
            ensure!(left.is_empty(), "{left:?}");
            Ok(())
        })?;
    }
    Ok(())
}

/// flannel in etcd mode makes a lost device anew with another MAC: peers must not keep the old one.
fn follows_another_mac(flannel: &Flannel<'_>, others: &[&Node], f: &Node, etcd: &Etcd, pods: &[lab::Pod]) -> Result<()> {
    let before = flannel.mac()?;
    flannel.make_device_anew()?;
    ensure!(flannel.mac()? != before, "the MAC is the same");
    let began = Instant::now();
    for (node, pod) in others.iter().zip(&pods[1..]) {
        in_flannels_shape(node, f, etcd, "vxlan")?;
        pod.reaches(&pods[0], SOON)?;
        pods[0].reaches(pod, SOON)?;
    }
    println!("the other MAC was in use everywhere after {:?}", began.elapsed());
    for node in others {
        // What led to the old one has two seconds to drain.
        wait_until("the end of the old MAC", SOON, || {
            let fdb = run(node.net().command("bridge")?.args(["fdb", "show", "dev", "flannel.1"]))?;
            ensure!(!fdb.contains(&before), "{fdb}");
            Ok(())
        })?;
    }
    Ok(())
}

/// flanneld, twill, flanneld, twill on one node; a peer's packets and its own flow all the time.
fn in_turns(kind: Kind, backend: &'static str) -> Result<()> {
    let lab = Lab::new("turns")?;
    let etcd = Etcd::with_config(&lab, &config(backend))?;
    let n = lab.node("n")?;
    let flannel = Running::masquerading(kind, &n, &etcd, backend)?;
    let b = lab.node("b")?;
    b.start(etcd.launch().flags(&["--ip-masq"]))?;
    b.ready(SOON)?;
    let subnet = n.subnet()?;
    b.wait_for_lease(subnet.clone(), SOON)?;
    flannel.look()?;
    let (p, q) = (n.pod("p")?, b.pod("p")?);
    all_pairs(&[n.pod("r")?, b.pod("r")?])?;
    let (index, mac) = (device_index(&n, backend)?, device_mac(&n, backend)?);
    let streams = [flowing(&p, &q)?, flowing(&q, &p)?];
    // Whoever's rules are there, the outside sees the node, and a peer's pod the pod.
    let sources = |turn: &str, whose: &str| -> Result<()> {
        let outside = switch_address(&lab)?;
        sees(lab.switch(), outside, p.net(), p.address(), n.address()).with_context(|| format!("{turn}: the outside, by {whose}"))?;
        sees(q.net(), q.address(), p.net(), p.address(), p.address()).with_context(|| format!("{turn}: a pod, by {whose}"))
    };
    sources("before", "flannel's rules")?;
    let mut flannel = Some(flannel);
    for turn in ["first", "second"] {
        flannel.take().context("nobody to take over from")?.stop()?;
        n.start(etcd.flanneld(&artifacts::flanneld()?).flags(&["-iface=eth0", "--ip-masq"]))?;
        n.ready(SOON)?;
        ensure!(n.subnet()? == subnet, "{turn}: {subnet} became {}", n.subnet()?);
        ensure!(device_index(&n, backend)? == index || backend == "udp", "{turn}: the device was made anew");
        ensure!(device_mac(&n, backend)? == mac, "{turn}: {mac:?} became {:?}", device_mac(&n, backend)?);
        published_as_before(&etcd, &n, &subnet, backend, mac.as_deref())?;
        streams.iter().try_for_each(goes_on)?;
        wait_until("twill's rules alone", SOON, || {
            let rules = by_hand(&n, "nft list ruleset")?;
            ensure!(rules.contains("table ip twill") && !rules.to_lowercase().contains("flannel-"), "{rules}");
            Ok(())
        })?;
        sources(turn, "twill's rules")?;
        n.stop()?;
        // Back: what twill leaves must be such that flanneld keeps it.
        let again = Running::masquerading(kind, &n, &etcd, backend)?;
        ensure!(n.subnet()? == subnet, "{turn}: flannel has {} instead of {subnet}", n.subnet()?);
        ensure!(device_index(&n, backend)? == index || backend == "udp", "{turn}: flannel did not keep the device");
        again.look()?;
        streams.iter().try_for_each(goes_on)?;
        sources(turn, "flannel's rules again")?;
        flannel = Some(again);
    }
    for stream in streams {
        let report = stream.stop()?;
        if backend != "udp" {
            report.nothing_lost()?;
        }
    }
    Ok(())
}

/// twill published two ways of the node, then flannel is on it again with a device of its own: the record of ours no longer agrees with the lease, which alone counts.
fn rolled_back() -> Result<()> {
    let lab = Lab::new("back")?;
    let etcd = Etcd::with_config(&lab, &config("udp"))?;
    let [n, b] = etcd.cluster(&lab, ["n", "b"])?;
    let subnet = n.subnet()?;
    etcd.config(&config("vxlan"))?;
    wait_for_all(&[&n, &b], "vxlan")?;
    let of_n = || -> Result<Value> {
        let leases = b.api("leases")?;
        let found = leases.as_array().into_iter().flatten().find(|lease| lease["subnets"]["v4"] == subnet.as_str());
        found.cloned().with_context(|| format!("no lease of {subnet}: {leases}"))
    };
    let before = of_n()?;
    ensure!(before["node"].is_string() && before["ways"].as_array().is_some_and(|ways| ways.len() == 2), "{before}");
    let own_mac = device_mac(&n, "vxlan")?.context("no MAC")?;
    n.stop()?;
    n.twill(&["down"])?;
    let flannel = Flannel::start(&n, &etcd, "vxlan", &subnet)?;
    let mac = flannel.mac()?;
    let record = format!("{PREFIX}/twill/nodes/{}", subnet.replace('/', "-"));
    ensure!(mac != own_mac && etcd.value(&record)?.contains("udp"), "the record of before is gone, or agrees: {}", etcd.value(&record)?);
    wait_until("a lease of flannel's", SOON, || {
        let lease = of_n()?;
        let ways = lease["ways"].as_array().context("no ways")?;
        ensure!(lease["node"].is_null() && ways.len() == 1 && ways[0].to_string().contains(&mac), "{lease}");
        Ok(())
    })?;
    let base = subnet.replace("/24", "");
    wait_until("the neighbour of flannel's device", SOON, || {
        let (neighbour, route) = (b.ip(&format!("neigh show {base} dev flannel.1"))?, b.ip(&format!("route show {subnet}"))?);
        ensure!(neighbour.contains(&mac) && route.contains("dev flannel.1 "), "{neighbour}\n{route}");
        Ok(())
    })?;
    flannel.learn()?;
    let (p, q) = (n.pod("p")?, b.pod("p")?);
    all_pairs(&[n.pod("r")?, b.pod("r")?])?;
    let streams = [flowing(&p, &q)?, flowing(&q, &p)?];
    // From now on flannel's type goes first, whatever the config says.
    etcd.config(&config("host-gw"))?;
    wait_until("word of who holds the change back", SOON, || {
        let status = b.twill(&["backend", "status"])?;
        ensure!(status.contains("vxlan is published first: 1 real flannel nodes know no other"), "{status}");
        Ok(())
    })?;
    for stream in streams {
        goes_on(&stream)?;
        stream.stop()?.nothing_lost()?;
    }
    Ok(())
}

/// The lease that twill has taken up is the one that flannel had, byte for byte.
fn published_as_before(etcd: &Etcd, node: &Node, subnet: &str, backend: &str, mac: Option<&str>) -> Result<()> {
    let data = match (backend, mac) {
        ("udp", _) => String::new(),
        (_, Some(mac)) => format!(r#","BackendType":"vxlan","BackendData":{{"VNI":1,"VtepMAC":"{mac}"}}"#),
        _ => format!(r#","BackendType":"{backend}""#),
    };
    let wanted = format!(r#"{{"PublicIP":"{}","PublicIPv6":null{data}}}"#, node.address());
    let value = etcd.value(&place(subnet))?;
    ensure!(value == wanted, "{value} instead of {wanted}");
    ensure!(etcd.term(&place(subnet))? == Some(86_400), "{:?}", etcd.term(&place(subnet))?);
    Ok(())
}

/// On a node of twill's there is for the node of flannel's just what flannel would have made.
fn in_flannels_shape(node: &Node, f: &Node, etcd: &Etcd, backend: &str) -> Result<()> {
    let public = f.address().to_string();
    wait_until(&format!("the way from {} to flannel's node", node.name()), SOON, || {
        let peer = peers(etcd)?.into_iter().find(|peer| peer.public == public).context("flannel has no lease")?;
        let base = peer.subnet.replace("/24", "");
        let routes = lines(&node.ip(&format!("route show {}", peer.subnet))?);
        match (backend, &peer.mac) {
            ("vxlan", Some(mac)) => {
                ensure!(routes == [format!("{} via {base} dev flannel.1 proto 73 onlink", peer.subnet)], "{routes:?}");
                let neighbours = lines(&node.ip(&format!("neigh show {base} dev flannel.1"))?);
                ensure!(neighbours == [format!("{base} lladdr {mac} PERMANENT")], "{neighbours:?}");
                let fdb = lines(&run(node.net().command("bridge")?.args(["fdb", "show", "dev", "flannel.1"]))?);
                ensure!(fdb.contains(&format!("{mac} dst {public} self permanent")), "{fdb:?}");
            }
            ("host-gw", _) => ensure!(routes == [format!("{} via {public} dev eth0 proto 73", peer.subnet)], "{routes:?}"),
            _ => ensure!(node.api("tunnels")?.to_string().contains(&public), "{}", node.api("tunnels")?),
        }
        Ok(())
    })
}

/// Whatever in a node's kernel speaks of a subnet, or of a node's address on the underlay as the end of a tunnel.
fn traces(node: &Node, subnet: &str, public: std::net::Ipv4Addr) -> Result<Vec<String>> {
    let base = subnet.replace("/24", "");
    let mut all = lines(&node.ip("route show table all")?);
    all.extend(lines(&node.ip("neigh show nud permanent")?));
    all.extend(lines(&run(node.net().command("bridge")?.args(["fdb", "show"]))?));
    Ok(all.into_iter().filter(|line| line.contains(&base) || line.contains(&format!("dst {public} "))).collect())
}

fn device_index(node: &Node, backend: &str) -> Result<u64> {
    if backend != "vxlan" {
        return Ok(0);
    }
    node.ip_json("link show dev flannel.1")?[0]["ifindex"].as_u64().context("no index")
}

fn device_mac(node: &Node, backend: &str) -> Result<Option<String>> {
    if backend != "vxlan" {
        return Ok(None);
    }
    let links = node.ip_json("link show dev flannel.1")?;
    Ok(Some(links[0]["address"].as_str().context("no address")?.to_owned()))
}
