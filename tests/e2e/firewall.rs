//! Masquerade and forward rules: who sees which address, what is repaired, what is left behind.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::harness::{Need, Test};
use lab::netns::NetNs;
use lab::process::run;
use lab::{Lab, Launch, Node, Pod, wait_until};

use crate::iptables::{by_hand, saved};
use crate::story::{NETWORK, SOON, all_pairs};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("firewall: pods are masqueraded to the outside and to nobody else", addresses),
    Test::new("firewall: without --ip-masq every packet keeps its source", unmasked),
    Test::new("firewall: flushed and changed rules are back, and it is logged once", drift),
    Test::new("firewall: down takes the own tables away and no other", down),
    Test::new("firewall: a chain that drops forwarded packets is named until it is opened", obstacle),
    Test::new("firewall: iptables' policy DROP is opened by us, and closed behind us by down", policy).needs(IPTABLES),
    Test::new("firewall: the mark of Kubernetes is left alone, and transit keeps its source", mark_and_transit).needs(IPTABLES),
    Test::new("firewall: the rules of an old network go when the network changes", old_network).needs(IPTABLES),
    Test::new("firewall: firewalld's rules are named until firewalld trusts the network", firewalld)
        .needs(&[Need::Program("firewalld"), Need::Program("dbus-daemon")]),
];

/// For the rules in iptables.
pub const IPTABLES: &[Need] = &[Need::Program("iptables")];

fn addresses() -> Result<()> {
    let (lab, [a, b], [p, q]) = masked(&["--ip-masq"])?;
    ensure!(a.subnet_env("FLANNEL_IPMASQ")? == "true", "subnet.env says that nobody masquerades");
    sees(lab.switch(), switch_address(&lab)?, p.net(), p.address(), a.address()).context("pod to the outside")?;
    sees(q.net(), q.address(), p.net(), p.address(), p.address()).context("pod to a pod elsewhere")?;
    sees(q.net(), q.address(), a.net(), a.address(), base(&a)?).context("host to a pod elsewhere")?;
    sees(p.net(), p.address(), a.net(), a.address(), a.address()).context("host to its own pod")?;
    sees(b.net(), b.address(), p.net(), p.address(), a.address()).context("pod to another host")
}

fn unmasked() -> Result<()> {
    let (lab, [a, _b], [p, q]) = masked(&[])?;
    ensure!(a.subnet_env("FLANNEL_IPMASQ")? == "false", "subnet.env says that somebody masquerades");
    // The switch has no way back to pods, and needs none to see who sends.
    sees(lab.switch(), switch_address(&lab)?, p.net(), p.address(), p.address()).context("pod to the outside")?;
    sees(q.net(), q.address(), a.net(), a.address(), a.address()).context("host to a pod elsewhere")?;
    let tables = tables(&a)?;
    ensure!(tables.contains("chain forward") && !tables.contains("chain postrouting"), "{tables}");
    let plain = lab.node("plain")?;
    plain.start(Launch::now().flags(&["--forward-rules", "leave"]))?;
    plain.ready(SOON)?;
    ensure!(nft(&plain, "list tables")?.is_empty(), "a table although nobody wants rules: {}", nft(&plain, "list tables")?);
    Ok(())
}

fn drift() -> Result<()> {
    let (lab, [a, _b], [p, _q]) = masked(&["--ip-masq"])?;
    let whole = tables(&a)?;
    for damage in [
        "flush ruleset",
        "delete table ip twill",
        "flush chain ip twill postrouting",
        "insert rule ip twill postrouting ip daddr 10.50.0.0/16 masquerade",
    ] {
        let before = a.events()?.len();
        a.net().nft(damage)?;
        wait_until(&format!("the repair after `nft {damage}`"), SOON, || {
            let now = tables(&a)?;
            ensure!(now == whole, "{now}");
            Ok(())
        })?;
        wait_until("word of the repair", SOON, || {
            let told = a.events()?.split_off(before).into_iter().filter(|event| event.contains("table ip twill")).count();
            ensure!(told == 1, "`nft {damage}` was told {told} times: {:?}", a.events()?);
            Ok(())
        })?;
        sees(lab.switch(), switch_address(&lab)?, p.net(), p.address(), a.address())?;
    }
    Ok(())
}

fn down() -> Result<()> {
    let (_lab, [a, _b], _pods) = masked(&["--ip-masq"])?;
    a.net().nft("table ip nat {\n chain theirs {\n accept\n }\n}\n")?;
    a.stop()?;
    ensure!(tables(&a)?.contains("chain postrouting"), "the rules went with the daemon");
    let told = a.twill(&["down"])?;
    ensure!(told.contains("removed table ip twill"), "{told}");
    let left = nft(&a, "list tables")?;
    ensure!(left.trim() == "table ip nat", "{left}");
    Ok(())
}

fn obstacle() -> Result<()> {
    let (_lab, [a, _b], [p, q]) = masked(&[])?;
    a.net().nft("table inet site {\n chain fw {\n type filter hook forward priority 0; policy drop;\n }\n}\n")?;
    let problems = || Ok::<_, anyhow::Error>(a.api("node")?["problems"].to_string());
    wait_until("word of the chain that drops", SOON, || {
        let told = problems()?;
        ensure!(
            told.contains("chain fw of table inet site") && told.contains("nft insert rule inet site fw ip saddr 10.50.0.0/16 accept"),
            "{told}"
        );
        Ok(())
    })?;
    ensure!(p.ping(&q).is_err(), "packets pass a chain that drops");
    a.net().nft("insert rule inet site fw ip saddr 10.50.0.0/16 accept\ninsert rule inet site fw ip daddr 10.50.0.0/16 accept\n")?;
    p.reaches(&q, SOON)?;
    wait_until("the problem's end", SOON, || {
        let told = problems()?;
        ensure!(told == "[]", "{told}");
        Ok(())
    })
}

fn policy() -> Result<()> {
    each(&[], |_, [a, b], [p, q], iptables| {
        for node in [a, b] {
            by_hand(node, "iptables -P FORWARD DROP")?;
        }
        p.reaches(q, SOON)?;
        ensure!(a.api("node")?["problems"] == serde_json::json!([]), "{}", a.api("node")?["problems"]);
        let state = a.api("state")?.to_string();
        let chain = if iptables { "to FLANNEL-FWD of iptables" } else { "to TWILL-FWD" };
        ensure!(state.contains(chain), "{state}");
        a.stop()?;
        a.twill(&["down"])?;
        let left = saved(a)?.concat();
        ensure!(left.is_empty(), "down left {left}");
        [a, b].iter().try_for_each(|node| by_hand(node, "iptables -P FORWARD ACCEPT").map(drop))
    })
}

fn mark_and_transit() -> Result<()> {
    let lab = Lab::new("transit")?;
    lab.config(r#"{"Network":"10.50.0.0/16","Backend":{"Type":"host-gw"}}"#)?;
    let nodes = [lab.node("a")?, lab.node("b")?, lab.node("c")?];
    let flags: [&[&str]; 3] = [&["--ip-masq"], &["--ip-masq"], &["--ip-masq", "--firewall", "iptables"]];
    for (node, flags) in nodes.iter().zip(flags) {
        node.start(Launch::now().flags(flags))?;
    }
    nodes.iter().try_for_each(|node| node.ready(SOON))?;
    let [a, b, c] = &nodes;
    lab.wait_for_routes(&[a, b, c], SOON)?;
    let (p, q) = (a.pod("p1")?, b.pod("p1")?);
    p.reaches(&q, SOON)?;
    // Packets of the cluster that pass a node on their way to another one's pod: in nftables they keep their source, in iptables flannel's rules hold.
    let far: Ipv4Addr = "10.50.255.9".parse()?;
    lab.switch().ip("address add 10.50.255.9/32 dev br0")?;
    lab.switch().ip(&format!("route add {} via {}", b.subnet()?, a.address()))?;
    sees(q.net(), q.address(), lab.switch(), far, far).context("transit by nftables")?;
    lab.switch().ip(&format!("route replace {} via {}", b.subnet()?, c.address()))?;
    sees(q.net(), q.address(), lab.switch(), far, c.address()).context("transit by iptables")?;
    // What somebody else marks for translation, somebody else translates.
    lab.switch().ip(&format!("route add {} via {}", a.subnet()?, a.address()))?;
    a.net().nft("table ip kube {\n chain marks {\n type filter hook forward priority -10;\n meta mark set mark or 0x4001\n }\n}\n")?;
    sees(lab.switch(), switch_address(&lab)?, p.net(), p.address(), p.address()).context("a marked packet")?;
    a.net().nft("delete table ip kube\n")?;
    sees(lab.switch(), switch_address(&lab)?, p.net(), p.address(), a.address()).context("the mark's end")
}

fn old_network() -> Result<()> {
    let lab = Lab::new("old network")?;
    for engine in ["nft", "iptables"] {
        std::fs::remove_dir_all(lab.store())?;
        std::fs::create_dir(lab.store())?;
        lab.network("10.40.0.0/16")?;
        let a = lab.node(engine)?;
        let rules = || Ok::<_, anyhow::Error>(nft(&a, "list ruleset")? + &saved(&a)?.concat());
        let start = || {
            a.start(Launch::now().flags(&["--ip-masq", "--firewall", engine]))?;
            a.ready(SOON)
        };
        start()?;
        wait_until("rules", SOON, || Ok(ensure!(rules()?.contains("10.40."), "{}", rules()?)))?;
        a.stop()?;
        // Nothing is left that could tell of the old network, but subnet.env.
        for folder in [lab.store(), a.dir("lib")] {
            std::fs::remove_dir_all(&folder)?;
            std::fs::create_dir(&folder)?;
        }
        lab.network(NETWORK)?;
        start()?;
        wait_until("the new network's rules alone", SOON, || {
            let rules = rules()?;
            ensure!(rules.contains("10.50.") && !rules.contains("10.40."), "{rules}");
            Ok(())
        })?;
        a.stop()?;
    }
    Ok(())
}

/// firewalld and the bus that it speaks by, in few words: what a user namespace allows.
const BUS: &str = r#"<busconfig><type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen><policy context="default">
<allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/><allow user="*"/></policy></busconfig>"#;

fn firewalld() -> Result<()> {
    let (_lab, [a, _b], [p, q]) = masked(&["--ip-masq"])?;
    std::fs::create_dir_all(a.dir("run").join("dbus"))?;
    std::fs::write(a.dir("run").join("bus.conf"), BUS)?;
    let start = |words: &[&str]| {
        let mut command = a.view()?.hide(Path::new("/etc/firewalld")).command(Path::new("/usr/bin/env"));
        command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // Both end with the world.
        command.spawn().context("cannot start it")
    };
    start(&["dbus-daemon", "--config-file=/run/bus.conf", "--nofork", "--nopidfile"])?;
    wait_until("the bus", SOON, || Ok(ensure!(a.dir("run").join("dbus/system_bus_socket").exists(), "no socket")))?;
    start(&["firewalld", "--nofork", "--nopid"])?;
    let firewall_cmd = |words: &[&str]| run(a.command("/usr/bin/env")?.arg("firewall-cmd").args(words));
    wait_until("firewalld", SOON * 2, || firewall_cmd(&["--state"]))?;
    firewall_cmd(&["--permanent", "--add-port=8285/udp"])?;
    firewall_cmd(&["--reload"])?;
    let problems = || Ok::<_, anyhow::Error>(a.api("node")?["problems"].to_string());
    let advice = "firewall-cmd --permanent --zone=trusted --add-source=10.50.0.0/16 && firewall-cmd --reload";
    wait_until("word of firewalld", SOON, || Ok(ensure!(problems()?.contains(advice), "{}", problems()?)))?;
    ensure!(q.ping(&p).is_err(), "packets pass firewalld's rules");
    firewall_cmd(&["--permanent", "--zone=trusted", "--add-source=10.50.0.0/16"])?;
    firewall_cmd(&["--reload"])?;
    q.reaches(&p, SOON)?;
    wait_until("the problem's end", SOON, || Ok(ensure!(problems()? == "[]", "{}", problems()?)))?;
    ensure!(nft(&a, "list tables")?.contains("table ip twill"), "firewalld's reload took our rules away");
    Ok(())
}

/// Two nodes with these flags that know each other, and a pod on each.
pub fn masked(flags: &[&str]) -> Result<(Lab, [Node; 2], [Pod; 2])> {
    masked_over("udp", flags)
}

/// The same over this backend.
pub fn masked_over(backend: &str, flags: &[&str]) -> Result<(Lab, [Node; 2], [Pod; 2])> {
    let lab = Lab::new("firewall")?;
    lab.config(&format!(r#"{{"Network":"{NETWORK}","Backend":{{"Type":"{backend}"}}}}"#))?;
    let nodes = [lab.node("a")?, lab.node("b")?];
    for node in &nodes {
        node.start(Launch::now().flags(flags))?;
    }
    for node in &nodes {
        node.ready(SOON)?;
    }
    lab.wait_for_routes(&nodes.each_ref(), SOON)?;
    let pods = [nodes[0].pod("p1")?, nodes[1].pod("p1")?];
    all_pairs(&pods)?;
    Ok((lab, nodes, pods))
}

/// The same story with rules in nftables and then in iptables (told to it), beside these flags.
pub fn each(flags: &[&str], story: impl Fn(&Lab, &[Node; 2], &[Pod; 2], bool) -> Result<()>) -> Result<()> {
    let (lab, nodes, pods) = masked(flags)?;
    story(&lab, &nodes, &pods, false).context("rules in nftables")?;
    for node in &nodes {
        // The story may have ended it.
        if node.ended().is_ok() {
            node.stop()?;
        }
        node.start(Launch::now().flags(&[flags, &["--firewall=iptables"]].concat()))?;
    }
    nodes.iter().try_for_each(|node| node.ready(SOON))?;
    all_pairs(&pods)?;
    story(&lab, &nodes, &pods, true).context("rules in iptables")
}

/// A datagram from `source` to `to` arrives, and its source is then `seen`; of either family.
pub fn sees(hearer: &NetNs, to: impl Into<IpAddr>, sender: &NetNs, source: impl Into<IpAddr>, seen: impl Into<IpAddr>) -> Result<()> {
    let (to, source, seen) = (to.into(), source.into(), seen.into());
    let ear = hearer.inside(|| Ok(UdpSocket::bind((to, 0))?))?;
    let mouth = sender.inside(|| Ok(UdpSocket::bind((source, 0))?))?;
    ear.set_read_timeout(Some(Duration::from_millis(300)))?;
    let port = ear.local_addr()?.port();
    wait_until(&format!("a datagram from {source} at {to}"), SOON, || {
        mouth.send_to(b"who am I", SocketAddr::from((to, port)))?;
        let (_, from) = ear.recv_from(&mut [0; 64])?;
        ensure!(from.ip() == seen, "it came from {from}, not from {seen}");
        Ok(())
    })
}

/// The own tables as nft shows them.
fn tables(node: &Node) -> Result<String> {
    nft(node, "list table ip twill")
}

fn nft(node: &Node, words: &str) -> Result<String> {
    run(node.net().command("nft")?.args(words.split_whitespace()))
}

/// The base address of a node's subnet.
pub fn base(node: &Node) -> Result<Ipv4Addr> {
    let subnet = node.subnet()?;
    Ok(subnet.split('/').next().unwrap_or_default().parse()?)
}

/// The address of the nodes' gateway, which is outside of the cluster.
pub fn switch_address(lab: &Lab) -> Result<Ipv4Addr> {
    let addresses = lab.switch().ip_json("-4 address show dev br0")?;
    let address = addresses[0]["addr_info"][0]["local"].as_str().context("the switch has no address")?;
    Ok(address.parse()?)
}
