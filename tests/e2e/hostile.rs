//! Plugins that trap, hang, grow, flood or answer with nonsense in a running daemon: each is contained and named, and no packet of the others is lost.

use anyhow::{Context, Result, ensure};
use lab::harness::Test;
use lab::{Lab, Launch, Node, Pod, artifacts, wait_until};
use serde_json::Value;

use crate::story::{NETWORK, SOON, flowing, goes_on, remembers};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("hostile: a backend that traps", || misbehaves("traps")),
    Test::new("hostile: a backend that loops for ever", || misbehaves("loops")),
    Test::new("hostile: a backend that allocates without end", || misbehaves("grows")),
    Test::new("hostile: a backend that floods the log", floods),
    Test::new("hostile: a backend that answers with prefixes that are none", || nonsense("bad-prefix")),
    Test::new("hostile: a backend that plans a default route", || nonsense("default-route")),
    Test::new("hostile: a backend that plans routes outside the network", || nonsense("outside-route")),
    Test::new("hostile: a backend that plans with foreign interfaces", || nonsense("foreign-link")),
    Test::new("hostile: a backend that answers with 100 000 items", || nonsense("many-items")),
    Test::new("hostile: a store that traps when it is read", || store("traps")),
    Test::new("hostile: a store that loops for ever when it is read", || store("loops")),
];

/// Two nodes with a pod each; node a looks for plugins in one folder more.
struct Scene {
    _lab: Lab,
    a: Node,
    b: Node,
    pods: [Pod; 2],
}

fn scene() -> Result<Scene> {
    let lab = Lab::new("hostile")?;
    lab.network(NETWORK)?;
    let (a, b) = (lab.node("a")?, lab.ready_node("b")?);
    std::fs::create_dir(extra(&a))?;
    start(&a)?;
    a.ready(SOON)?;
    lab.wait_for_routes(&[&a, &b], SOON)?;
    let pods = [a.pod("p1")?, b.pod("p1")?];
    pods[0].reaches(&pods[1], SOON)?;
    Ok(Scene { _lab: lab, a, b, pods })
}

/// The further plugin folder, as the lab sees it.
fn extra(node: &Node) -> std::path::PathBuf {
    node.dir("lib").join("extra")
}

fn start(node: &Node) -> Result<()> {
    node.start(Launch::now().flags(&["--plugin-dir", "/var/lib/extra"]))
}

/// Puts a hostile plugin in place of a shipped one, as an upgrade would, and has the running daemon look again.
fn swap_in(node: &Node, hostile: &str) -> Result<()> {
    let file = artifacts::hostile_plugins().join(format!("{hostile}.wasm"));
    std::fs::copy(&file, extra(node).join("new")).with_context(|| format!("cannot read {}", file.display()))?;
    std::fs::rename(extra(node).join("new"), extra(node).join(format!("{hostile}.wasm")))?;
    node.reload()
}

/// What the daemon says of the plugin in the further folder.
fn intruder(node: &Node) -> Result<Value> {
    let plugins = node.api("plugins")?;
    let found =
        plugins.as_array().into_iter().flatten().find(|plugin| plugin["file"].as_str().is_some_and(|file| file.contains("/extra/")));
    found.cloned().with_context(|| format!("the hostile plugin is not listed: {plugins}"))
}

fn misbehaves(misdeed: &str) -> Result<()> {
    let Scene { a, pods, .. } = scene()?;
    let streams = [flowing(&pods[0], &pods[1])?, flowing(&pods[1], &pods[0])?];
    swap_in(&a, &format!("hostile-backend-{misdeed}"))?;
    wait_until("the failure to be counted and told", SOON, || {
        let plugin = intruder(&a)?;
        ensure!(plugin["failures"].as_u64() > Some(0) && plugin["error"].is_string(), "{plugin}");
        ensure!(a.events()?.iter().any(|event| event.contains("udp")), "no event names the plugin: {:?}", a.events()?);
        Ok(())
    })?;
    for stream in streams {
        goes_on(&stream)?;
        stream.stop()?.nothing_lost()?;
    }
    ensure!(a.memory_kb("VmRSS")? < 200_000, "the daemon holds {} kB", a.memory_kb("VmRSS")?);
    Ok(())
}

fn floods() -> Result<()> {
    let Scene { a, pods, .. } = scene()?;
    let stream = flowing(&pods[0], &pods[1])?;
    swap_in(&a, "hostile-backend-floods")?;
    wait_until("the plugin to be asked", SOON, || {
        let plugin = intruder(&a)?;
        ensure!(plugin["calls"].as_u64() > Some(0), "{plugin}");
        Ok(())
    })?;
    goes_on(&stream)?;
    stream.stop()?.nothing_lost()?;
    let lines = a.log()?.lines().filter(|line| line.contains("hostile: line")).count();
    ensure!(lines < 10_000, "{lines} lines of the flood are in the log");
    Ok(())
}

fn nonsense(misdeed: &str) -> Result<()> {
    let Scene { a, pods, .. } = scene()?;
    let (routes, links) = (foreign_routes(&a)?, a.ip("-4 address show dev eth0")?);
    let stream = flowing(&pods[0], &pods[1])?;
    swap_in(&a, &format!("hostile-backend-{misdeed}"))?;
    wait_until("the nonsense to be refused by name", SOON, || {
        let (state, events) = (a.api("state")?, a.events()?);
        // Items that can be shown are listed as refused; what is no item at all, or far too many, is told.
        let listed = state.as_array().into_iter().flatten().any(|item| item["standing"] == "refused" && item["reason"].is_string());
        let told = events.iter().any(|event| event.contains("udp") && event.contains("refused"));
        ensure!(listed || told, "{}\n{events:?}\n{state}", intruder(&a)?);
        Ok(())
    })?;
    goes_on(&stream)?;
    stream.stop()?.nothing_lost()?;
    ensure!(foreign_routes(&a)? == routes, "routes changed from {routes} to {}", foreign_routes(&a)?);
    ensure!(a.ip("-4 address show dev eth0")? == links, "eth0 changed: {}", a.ip("-4 address show dev eth0")?);
    Ok(())
}

/// All routes but those of the tunnel's own network.
fn foreign_routes(node: &Node) -> Result<String> {
    let routes = node.ip("route show table main")?;
    Ok(routes.lines().filter(|line| !line.starts_with(NETWORK)).map(|line| format!("{}; ", line.trim())).collect())
}

/// A restart with a store that fails: the remembered leases carry on, and the store is named.
fn store(misdeed: &str) -> Result<()> {
    let Scene { a, b, pods, .. } = scene()?;
    remembers(&a, &[&a, &b])?;
    let file = artifacts::hostile_plugins().join(format!("hostile-store-{misdeed}.wasm"));
    std::fs::copy(&file, extra(&a).join("store-file.wasm")).with_context(|| format!("cannot read {}", file.display()))?;
    a.kill()?;
    start(&a)?;
    pods[0].reaches(&pods[1], SOON)?;
    wait_until("word of the failing store", SOON, || {
        let node = a.api("node")?;
        ensure!(node["store"]["reachable"] == false && node["store"]["error"].is_string(), "{node}");
        Ok(())
    })
}
