//! Masquerade and forward rules: who sees which address, what is repaired, what is left behind.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::harness::Test;
use lab::netns::NetNs;
use lab::process::run;
use lab::{Lab, Launch, Node, Pod, wait_until};

use crate::story::{NETWORK, SOON, all_pairs};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("firewall: pods are masqueraded to the outside and to nobody else", addresses),
    Test::new("firewall: without --ip-masq every packet keeps its source", unmasked),
    Test::new("firewall: flushed and changed rules are back, and it is logged once", drift),
    Test::new("firewall: down takes the own tables away and no other", down),
    Test::new("firewall: a chain that drops forwarded packets is named until it is opened", obstacle),
];

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
    a.net().nft("table ip filter {\n chain FORWARD {\n type filter hook forward priority 0; policy drop;\n }\n}\n")?;
    let problems = || Ok::<_, anyhow::Error>(a.api("node")?["problems"].to_string());
    wait_until("word of the chain that drops", SOON, || {
        let told = problems()?;
        ensure!(
            told.contains("chain FORWARD of table ip filter") && told.contains("iptables -I FORWARD -s 10.50.0.0/16 -j ACCEPT"),
            "{told}"
        );
        Ok(())
    })?;
    ensure!(p.ping(&q).is_err(), "packets pass a chain that drops");
    a.net().nft("add rule ip filter FORWARD ip saddr 10.50.0.0/16 accept\nadd rule ip filter FORWARD ip daddr 10.50.0.0/16 accept\n")?;
    p.reaches(&q, SOON)?;
    wait_until("the problem's end", SOON, || {
        let told = problems()?;
        ensure!(told == "[]", "{told}");
        Ok(())
    })
}

/// Two nodes with these flags that know each other, and a pod on each.
fn masked(flags: &[&str]) -> Result<(Lab, [Node; 2], [Pod; 2])> {
    let lab = Lab::new("firewall")?;
    lab.network(NETWORK)?;
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

/// A datagram from `source` to `to` arrives, and its source is then `seen`.
fn sees(hearer: &NetNs, to: Ipv4Addr, sender: &NetNs, source: Ipv4Addr, seen: Ipv4Addr) -> Result<()> {
    let ear = hearer.inside(|| Ok(UdpSocket::bind((to, 0))?))?;
    let mouth = sender.inside(|| Ok(UdpSocket::bind((source, 0))?))?;
    ear.set_read_timeout(Some(Duration::from_millis(300)))?;
    let port = ear.local_addr()?.port();
    wait_until(&format!("a datagram from {source} at {to}"), SOON, || {
        mouth.send_to(b"who am I", SocketAddr::from((to, port)))?;
        let (_, from) = ear.recv_from(&mut [0; 64])?;
        ensure!(from.ip() == IpAddr::from(seen), "it came from {from}, not from {seen}");
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
fn base(node: &Node) -> Result<Ipv4Addr> {
    let subnet = node.subnet()?;
    Ok(subnet.split('/').next().unwrap_or_default().parse()?)
}

/// The address of the nodes' gateway, which is outside of the cluster.
fn switch_address(lab: &Lab) -> Result<Ipv4Addr> {
    let addresses = lab.switch().ip_json("-4 address show dev br0")?;
    let address = addresses[0]["addr_info"][0]["local"].as_str().context("the switch has no address")?;
    Ok(address.parse()?)
}
