//! Unknown is not empty: a daemon that starts without its store, or with a broken backend, takes nothing away.

use anyhow::{Context, Result, ensure};
use lab::harness::Test;
use lab::{Launch, Node, artifacts, wait_until};

use crate::story::{SOON, cluster, remembers};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("away: a daemon that starts while the store is away removes nothing", store_away),
    Test::new("away: a daemon that starts with a broken backend file removes nothing and names the file", broken_backend),
    Test::new("away: a running daemon keeps forwarding while the store is away", store_goes),
];

/// Kills the daemon, and leaves a route as a daemon of an earlier run would: its protocol, inside the network, to a peer that is not known now.
fn killed_with_a_trace(node: &Node) -> Result<String> {
    // Frozen, so that it does not take the trace away at once.
    node.freeze()?;
    let routes = node.ip_json("route show table main")?;
    let mut ours = routes.as_array().into_iter().flatten().filter(|route| route["dev"] == "flannel0" && route["protocol"] != "kernel");
    let protocol = ours.next().with_context(|| format!("no route of twill's: {routes}"))?["protocol"].to_string();
    // The first subnet of a network is no node's.
    let trace = "10.50.0.0/24".to_string();
    node.ip(&format!("route add {trace} dev eth0 proto {}", protocol.trim_matches('"')))?;
    node.kill()?;
    Ok(trace)
}

fn store_away() -> Result<()> {
    let (lab, [a, b], pods) = cluster(["a", "b"])?;
    remembers(&a, &[&a, &b])?;
    let trace = killed_with_a_trace(&a)?;
    lab.take_store_away()?;
    a.start(Launch::now())?;
    wait_until("the daemon to say that it goes on by what it remembers", SOON, || {
        let node = a.api("node")?;
        ensure!(node["store"]["reachable"] == false, "{node}");
        Ok(())
    })?;
    pods[0].reaches(&pods[1], SOON)?;
    ensure!(has_route(&a, &trace)?, "the route {trace} was removed while the store was away");
    lab.bring_store_back()?;
    // The proof that the trace was ours to remove: with the store back it goes.
    wait_until("the trace to go once the store is back", SOON, || {
        ensure!(!has_route(&a, &trace)?, "{trace} is still there");
        Ok(())
    })
}

fn broken_backend() -> Result<()> {
    let (_lab, [a, b], _pods) = cluster(["a", "b"])?;
    let trace = killed_with_a_trace(&a)?;
    // Another twill tree whose only backend file is garbage.
    let tree = a.dir("lib").join("broken");
    for dir in ["bin", "plugins"] {
        std::fs::create_dir_all(tree.join(dir))?;
    }
    std::fs::copy(artifacts::twill(), tree.join("bin/twill"))?;
    std::fs::copy(artifacts::plugins().join("store-file.wasm"), tree.join("plugins/store-file.wasm"))?;
    std::fs::write(tree.join("plugins/backend-udp.wasm"), b"\0asm this is no component")?;
    let mut command = a.command("/var/lib/broken/bin/twill")?;
    command.args(["run", "--store", "file", "--store-dir"]).arg(a.store()).env("TWILL_LISTEN", "off");
    let mut child = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).spawn()?;
    let waited = wait_until("the daemon to have read its store, and to say what it lacks", SOON, || {
        ensure!(child.try_wait()?.is_none(), "it ended");
        let (plugins, node) = (a.api("plugins")?.to_string(), a.api("node")?);
        ensure!(plugins.contains("refused") && node["store"]["reachable"] == true, "{plugins} {node}");
        ensure!(node["problems"].to_string().contains("no backend plugin"), "{node}");
        Ok(())
    });
    // A change in the cluster makes it plan once more.
    b.kill()?;
    b.start(Launch::now().flags(&["--public-ip", &b.address().to_string()]))?;
    b.ready(SOON)?;
    ensure!(has_route(&a, &trace)?, "the route {trace} was removed for want of a backend");
    ensure!(has_route(&a, "10.50.0.0/16")? && a.has_link("flannel0"), "the network's own route or link was removed for want of a backend");
    child.kill()?;
    let said = String::from_utf8_lossy(&child.wait_with_output()?.stderr).into_owned();
    waited?;
    ensure!(said.contains("backend-udp.wasm"), "the broken file is not named: {said}");
    Ok(())
}

fn store_goes() -> Result<()> {
    let (lab, [a, _b], pods) = cluster(["a", "b"])?;
    let stream = crate::story::flowing(&pods[0], &pods[1])?;
    lab.take_store_away()?;
    wait_until("the daemon to miss its store", SOON, || {
        let node = a.api("node")?;
        ensure!(node["store"]["reachable"] == false, "{node}");
        Ok(())
    })?;
    crate::story::goes_on(&stream)?;
    lab.bring_store_back()?;
    wait_until("the daemon to find its store", SOON, || {
        let node = a.api("node")?;
        ensure!(node["store"]["reachable"] == true, "{node}");
        Ok(())
    })?;
    crate::story::goes_on(&stream)?;
    stream.stop()?.nothing_lost()
}

fn has_route(node: &Node, to: &str) -> Result<bool> {
    Ok(node.ip_json(&format!("route show {to}"))?.as_array().is_some_and(|routes| !routes.is_empty()))
}
