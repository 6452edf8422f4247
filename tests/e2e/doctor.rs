//! `twill doctor` and `twill why`: one fault at a time is made on a host that is sound otherwise, and each is named with what to do about it.

use std::net::{TcpListener, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lab::harness::Test;
use lab::process::outcome;
use lab::{Lab, Launch, Node, artifacts, wait_until};
use serde_json::Value;

use crate::story::{NETWORK, SOON, cluster};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("doctor: before the daemon ever ran, each fault alone is found, with something to do", before),
    Test::new("doctor: a running daemon is asked too", running),
    Test::new("why: a bundle is planned again without root, with the same decisions", replayed),
    Test::new("why: a route that another hand keeps taking is named, with the moment and what happened before", contested),
];

/// What doctor finds on a node: its exit code, and the findings.
fn doctor(node: &Node, more: &[&str]) -> Result<(Option<i32>, Vec<Value>)> {
    let mut command = node.command(artifacts::twill())?;
    command.args(["doctor", "--json", "--store", "file", "--store-dir"]).arg(node.store()).args(more);
    let output = outcome(&mut command)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let findings: Value =
        serde_json::from_str(&text).with_context(|| format!("no JSON: {text} {}", String::from_utf8_lossy(&output.stderr)))?;
    Ok((output.status.code(), findings.as_array().context("no list")?.clone()))
}

/// Doctor finds this, at that level, and the words are in what was found or what to do.
fn finds(node: &Node, more: &[&str], check: &str, level: &str, words: &str) -> Result<()> {
    let (code, findings) = doctor(node, more)?;
    let found = findings.iter().find(|finding| finding["check"] == check && finding["level"] == level);
    let Some(found) = found else { bail!("no {level} of {check}: {findings:#?}") };
    ensure!(found.to_string().contains(words), "{words} is not in {found}");
    ensure!(found["advice"].as_str().is_some_and(|advice| !advice.is_empty()), "nothing to do: {found}");
    ensure!((level == "fail") == (code == Some(1)), "exit code {code:?} with {found}");
    Ok(())
}

fn before() -> Result<()> {
    let lab = Lab::new("doctor")?;
    let a = lab.node("a")?;
    finds(&a, &[], "store", "fail", "twill config set")?;
    lab.network(NETWORK)?;
    let (code, findings) = doctor(&a, &[])?;
    let worst: Vec<&Value> = findings.iter().filter(|finding| finding["level"] == "fail" || finding["level"] == "warn").collect();
    ensure!(code == Some(0) && worst.is_empty(), "a sound host: {worst:#?}");

    let taken = a.net().inside(|| Ok(UdpSocket::bind("0.0.0.0:8285")?))?;
    finds(&a, &[], "ports", "fail", "8285")?;
    drop(taken);
    let taken = a.net().inside(|| Ok(TcpListener::bind("127.0.0.1:4646")?))?;
    finds(&a, &[], "ports", "fail", "4646")?;
    drop(taken);

    finds(&a, &["--forwarding", "leave"], "forwarding", "fail", "net.ipv4.ip_forward=1")?;
    a.rp_filter(1)?;
    finds(&a, &[], "rp-filter", "note", "net.ipv4.conf.eth0.rp_filter=2")?;
    a.rp_filter(0)?;

    a.net().nft("table inet guard {\n chain forward { type filter hook forward priority 0; policy drop; }\n}\n")?;
    finds(&a, &[], "firewall", "fail", "inet guard")?;
    a.net().nft("delete table inet guard\n")?;

    a.ip("link set eth0 mtu 1200")?;
    finds(&a, &[], "mtu", "warn", "1172 bytes")?;
    a.ip("link set eth0 mtu 1500")?;

    let networkd = a.dir("run").join("systemd/netif");
    std::fs::create_dir_all(&networkd)?;
    finds(&a, &[], "networkd", "warn", "ManageForeignRoutes=no")?;
    std::fs::remove_dir_all(a.dir("run").join("systemd"))?;
    std::fs::create_dir_all(a.dir("run").join("NetworkManager"))?;
    finds(&a, &[], "network-manager", "warn", "unmanaged-devices")?;
    std::fs::remove_dir_all(a.dir("run").join("NetworkManager"))?;

    a.ip("route delete default")?;
    finds(&a, &[], "underlay", "fail", "--iface")?;
    a.ip("route add default via 192.168.50.254")?;
    lab.take_store_away()?;
    finds(&a, &[], "store", "fail", "the store")?;
    lab.bring_store_back()?;
    let (code, _) = doctor(&a, &[])?;
    ensure!(code == Some(0), "everything was put right");
    Ok(())
}

fn running() -> Result<()> {
    let (lab, [a, _b], _pods) = cluster(["a", "b"])?;
    let (code, findings) = doctor(&a, &[])?;
    let daemon = findings.iter().find(|finding| finding["check"] == "daemon").context("the daemon was not asked")?;
    ensure!(code == Some(0) && daemon["level"] == "ok", "{findings:#?}");
    let words = a.twill(&["doctor"])?;
    ensure!(words.contains("checks, "), "{words}");
    lab.take_store_away()?;
    wait_until("the daemon's complaint", SOON, || finds(&a, &[], "daemon", "fail", "store"))
}

/// `twill why` with these words, as JSON, whatever its exit code.
pub fn why(node: &Node, words: &[&str]) -> Result<Value> {
    let mut command = node.command(artifacts::twill())?;
    let output = outcome(command.args(["why", "--json"]).args(words))?;
    serde_json::from_slice(&output.stdout).with_context(|| format!("{words:?}: {}", String::from_utf8_lossy(&output.stderr)))
}

fn contested() -> Result<()> {
    let lab = Lab::new("contested")?;
    lab.config(&format!(r#"{{"Network":"{NETWORK}","Backend":{{"Type":"host-gw"}}}}"#))?;
    let [a, b] = [lab.node("a")?, lab.node("b")?];
    a.start(Launch::now().flags(&["--repair-limit", "2"]))?;
    b.start(Launch::now())?;
    [&a, &b].iter().try_for_each(|node| node.ready(SOON))?;
    lab.wait_for_routes(&[&a, &b], SOON)?;
    let subnet = b.subnet()?;
    wait_until("a path that is well", SOON, || {
        let well = why(&a, &["here", &subnet])?;
        ensure!(well["reaches"] == true && well["faults"].as_array().is_some_and(Vec::is_empty), "{well:#}");
        Ok(())
    })?;
    wait_until("the daemon to give up", SOON, || {
        let _ = a.ip(&format!("route delete {subnet}"));
        std::thread::sleep(Duration::from_millis(100));
        let broken = why(&a, &["here", &subnet])?;
        ensure!(broken["faults"].to_string().contains(&format!("route {subnet} is missing")), "{broken:#}");
        Ok(())
    })?;
    let events = a.twill(&["events", "--json", "--limit", "1000"])?;
    ensure!(events.contains("\"contested\"") && events.contains("\"repair\""), "{events}");
    let address = b.address().to_string();
    ensure!(why(&a, &["here", &address])?["to"] == why(&a, &["here", &subnet])?["to"], "a node is found by its address");
    let long_ago = why(&a, &["here", &subnet, "--at", "3h"])?;
    ensure!(long_ago["reaches"].is_null(), "{long_ago:#}");
    Ok(())
}

fn replayed() -> Result<()> {
    let lab = Lab::new("replay")?;
    lab.config(&format!(r#"{{"Network":"{NETWORK}","Backend":{{"Type":"vxlan","VNI":7,"PSK":"hunter2"}}}}"#))?;
    let nodes = lab.ready_nodes(["a", "b", "c"])?;
    let [a, b, _c] = &nodes;
    lab.wait_for_routes(&nodes.each_ref(), SOON)?;
    let told = a.twill(&["bundle", "/var/lib/a.json"])?;
    ensure!(told.contains("3 leases"), "{told}");
    let file = a.dir("lib").join("a.json");
    let text = std::fs::read_to_string(&file)?;
    if let Some(place) = text.find("hunter2") {
        anyhow::bail!("a secret is in the bundle: {}", &text[place.saturating_sub(300)..place + 20]);
    }
    ensure!(text.contains("VNI"), "the options are not in the bundle");
    for answer in ["leases", "snapshot", "network"] {
        ensure!(!a.api(answer)?.to_string().contains("hunter2"), "a secret is in {answer}");
    }
    let replay = |file: &std::path::Path| -> Result<(Option<i32>, String)> {
        // As nobody, in a user namespace of its own.
        let mut command = b.command("unshare")?;
        let output = outcome(command.arg("--user").arg(artifacts::twill()).arg("replay").arg(file))?;
        Ok((output.status.code(), lab::process::said(&output)))
    };
    let (code, said) = replay(&file)?;
    ensure!(code == Some(0) && said.contains("every decision is the same") && !said.contains("note:"), "{code:?}: {said}");

    let mut other: Value = serde_json::from_str(&text)?;
    let peer = other["recipe"]["peers"][0]["public"]["v4"].as_str().context("a peer's address")?.to_owned();
    other["recipe"]["peers"][0]["public"]["v4"] = "192.168.50.77".into();
    let changed = a.dir("lib").join("other.json");
    std::fs::write(&changed, other.to_string())?;
    let (code, said) = replay(&changed)?;
    ensure!(code == Some(1) && said.contains("192.168.50.77") && said.contains(&peer), "{code:?}: {said}");
    std::fs::write(&changed, "{\"format\": 99}")?;
    let (code, said) = replay(&changed)?;
    ensure!(code == Some(1) && said.contains("99"), "{code:?}: {said}");
    Ok(())
}
