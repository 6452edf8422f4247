//! Plugins that trap, hang, grow, flood or answer with nonsense, dropped into a running daemon: each is contained and named, what runs goes on, and no packet is
//! lost.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::harness::Test;
use lab::{Lab, Launch, Node, Pod, artifacts, wait_until};
use serde_json::Value;

use crate::story::{NETWORK, SOON, flowing, goes_on, remembers};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("hostile: backends that do not come back, take what they can get, or lie", backends),
    Test::new("hostile: a backend that goes wrong only once it is in charge", sleeper),
    Test::new("hostile: stores that trap, hang, dawdle, or ask for what is not theirs", stores),
    Test::new("hostile: a store that traps from the start", || store_from_the_start("traps")),
    Test::new("hostile: a store that loops from the start", || store_from_the_start("loops")),
];

/// Backends that say they are a newer "udp", and by what word each is named.
const BACKENDS: &[(&str, &str)] = &[
    ("traps", "it panicked or gave up"),
    ("loops", "as if in an endless loop"),
    ("grows", "MiB of memory"),
    ("recurses", "call stack exhausted"),
    ("floods", "it logged more than 1000 lines"),
    ("slow", "it computed for"),
    ("many-items", "items in one answer, more than 4096"),
    ("huge", "backend-udp failed: "),
    ("bad-prefix", "nonsense"),
    ("default-route", "a default route is never planned"),
    ("outside-route", "outside the cluster's networks"),
    ("foreign-link", "a link cannot come with a peer"),
];

/// Two nodes with a pod each, over udp; node a looks for plugins in one folder more.
struct Scene {
    lab: Lab,
    a: Node,
    b: Node,
    pods: [Pod; 2],
}

fn scene(flags: &[&str]) -> Result<Scene> {
    let lab = Lab::new("hostile")?;
    lab.network(NETWORK)?;
    let (a, b) = (lab.node("a")?, lab.ready_node("b")?);
    a.start(Launch::now().flags(&Node::PLUGIN_FLAGS).flags(flags))?;
    a.ready(SOON)?;
    lab.wait_for_routes(&[&a, &b], SOON)?;
    let pods = [a.pod("p1")?, b.pod("p1")?];
    pods[0].reaches(&pods[1], SOON)?;
    Ok(Scene { lab, a, b, pods })
}

fn hostile(name: &str) -> Result<Vec<u8>> {
    let file = artifacts::hostile_plugins().join(format!("hostile-{name}.wasm"));
    std::fs::read(&file).with_context(|| format!("{} is not built", file.display()))
}

/// Waits until the file that was dropped is refused for that reason, in status and in an event.
fn refused(node: &Node, file: &str, reason: &str) -> Result<()> {
    wait_until(&format!("{file} to be refused with \"{reason}\""), SOON, || {
        let plugin = node.plugin_file(file)?;
        let said = plugin["error"].as_str().unwrap_or_default();
        ensure!(plugin["state"] == "refused" && said.contains(reason), "{plugin}");
        let events = node.events()?;
        ensure!(events.iter().any(|event| event.contains("is not used") && event.contains(reason)), "no event names it: {events:?}");
        Ok(())
    })
}

fn backends() -> Result<()> {
    let Scene { a, pods, .. } = scene(&[])?;
    let running = a.plugin_in_charge("backend-udp")?["digest"].clone();
    let (routes, addresses) = (a.ip("route show table main")?, a.ip("-4 address show dev eth0")?);
    let streams = [flowing(&pods[0], &pods[1])?, flowing(&pods[1], &pods[0])?];
    for (misdeed, reason) in BACKENDS {
        let file = format!("{misdeed}.wasm");
        a.drop_plugin(&file, &hostile(&format!("backend-{misdeed}"))?)?;
        refused(&a, &file, reason)?;
        ensure!(a.plugin_in_charge("backend-udp")?["digest"] == running, "{misdeed} took over");
        streams.iter().try_for_each(goes_on)?;
        a.remove_plugin(&file)?;
    }
    for stream in streams {
        stream.stop()?.nothing_lost()?;
    }
    ensure!(a.ip("route show table main")? == routes, "routes changed from {routes} to {}", a.ip("route show table main")?);
    ensure!(a.ip("-4 address show dev eth0")? == addresses, "eth0 changed: {}", a.ip("-4 address show dev eth0")?);
    ensure!(a.memory_kb("VmRSS")? < 200_000, "the daemon holds {} kB", a.memory_kb("VmRSS")?);
    let lines = a.log()?.lines().filter(|line| line.contains("hostile: line")).count();
    ensure!(lines < 10_000, "{lines} lines of the flood are in the log");
    Ok(())
}

/// It does well in its trial, and wrong for leases that come later: what is in force for the others stays.
fn sleeper() -> Result<()> {
    let Scene { lab, a, b, pods } = scene(&[])?;
    a.drop_plugin("sleeper.wasm", &hostile("backend-sleeper")?)?;
    let sleeper = |look: &dyn Fn(&Value) -> bool| -> Result<()> {
        let plugin = a.plugin_in_charge("backend-udp")?;
        ensure!(plugin["version"] == "9.9.9" && look(&plugin), "{plugin}");
        Ok(())
    };
    wait_until("the sleeper to take over", SOON, || sleeper(&|plugin| plugin["state"] == "active"))?;
    let stream = flowing(&pods[0], &pods[1])?;
    let third = lab.ready_node("c")?;
    let subnet = third.subnet()?;
    wait_until("the trap to be counted and told", SOON, || {
        sleeper(&|plugin| {
            plugin["failures"].as_u64() > Some(0) && plugin["error"].as_str().is_some_and(|error| error.contains("panicked"))
        })?;
        let events = a.events()?;
        ensure!(events.iter().any(|event| event.contains(&subnet) && event.contains("backend-udp failed")), "{events:?}");
        Ok(())
    })?;
    lab.ready_node("d")?;
    wait_until("the forbidden route to be counted and named", SOON, || {
        sleeper(&|plugin| {
            let named = plugin["violation"].as_str().is_some_and(|what| what.contains("a default route is never planned"));
            plugin["violations"].as_u64() > Some(0) && named
        })
    })?;
    ensure!(!a.ip("route show table main")?.contains("0.0.0.0/1"), "{}", a.ip("route show table main")?);
    goes_on(&stream)?;
    stream.stop()?.nothing_lost()?;
    // The nodes that it is no danger to still reach each other.
    b.pod("p2")?.reaches(&a.pod("p2")?, SOON)
}

fn stores() -> Result<()> {
    let Scene { lab, a, b, pods } = scene(&["--plugin-limit", "store-ms=1500"])?;
    let running = a.plugin_in_charge("store-file")?["digest"].clone();
    let streams = [flowing(&pods[0], &pods[1])?, flowing(&pods[1], &pods[0])?];
    for (misdeed, reason) in [("traps", "it panicked"), ("loops", "as if in an endless loop"), ("slow", "no answer within 1500 ms")] {
        let file = format!("{misdeed}.wasm");
        a.drop_plugin(&file, &hostile(&format!("store-{misdeed}"))?)?;
        refused(&a, &file, reason)?;
        ensure!(a.plugin_in_charge("store-file")?["digest"] == running, "{misdeed} took over");
        a.remove_plugin(&file)?;
    }
    // These do their work, and ask for more than they were given on the way: they get none of it, and it is counted. Of two of one version the later name wins.
    for (misdeed, what) in [("path", "outside its directory"), ("request", "the server \"etcd\", which is not granted")] {
        let file = format!("{misdeed}.wasm");
        a.drop_plugin(&file, &hostile(&format!("store-{misdeed}"))?)?;
        wait_until(&format!("the forbidden {misdeed} to be counted and named"), SOON, || {
            let plugin = a.plugin_file(&file)?;
            let named = plugin["violation"].as_str().is_some_and(|violation| violation.contains(what));
            ensure!(plugin["violations"].as_u64() > Some(0) && named && plugin["state"] == "active", "{plugin}");
            ensure!(plugin["granted"]["directory"].is_string() && plugin["limits"]["store_ms"] == 1500, "{plugin}");
            let events = a.events()?;
            let told: Vec<&String> = events.iter().filter(|event| event.contains(what)).collect();
            let different: BTreeSet<&String> = told.iter().copied().collect();
            ensure!(!told.is_empty() && told.len() == different.len(), "each is told once: {events:?}");
            Ok(())
        })?;
    }
    for stream in streams {
        goes_on(&stream)?;
        stream.stop()?.nothing_lost()?;
    }
    // The last of them serves: a node that comes now is known.
    let third = lab.ready_node("c")?;
    lab.wait_for_routes(&[&a, &b, &third], SOON)
}

/// A restart with a store that fails: the remembered leases carry on, and the store is named.
fn store_from_the_start(misdeed: &str) -> Result<()> {
    let Scene { a, b, pods, .. } = scene(&[])?;
    remembers(&a, &[&a, &b])?;
    a.kill()?;
    a.drop_plugin("store-file.wasm", &hostile(&format!("store-{misdeed}"))?)?;
    a.start(Launch::now().flags(&Node::PLUGIN_FLAGS))?;
    pods[0].reaches(&pods[1], SOON)?;
    wait_until("word of the failing store", Duration::from_secs(20), || {
        let node = a.api("node")?;
        ensure!(node["store"]["reachable"] == false && node["store"]["error"].is_string(), "{node}");
        Ok(())
    })
}
