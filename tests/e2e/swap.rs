//! Plugins exchanged while traffic flows: by dropping a file, by going back, by an operator's word; and files that must not take over.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::harness::{Need, Test, long};
use lab::process::run;
use lab::{Lab, Launch, Node, Pod, Trickle, artifacts, wait_until};
use sha2::{Digest, Sha256};

use crate::story::{NETWORK, SOON, flowing, goes_on};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("swap: two builds take over from each other under traffic, nothing is lost and memory stays flat", back_and_forth),
    Test::new(
        "swap: what is older, broken, half there or of another kind does not disturb; a removed file stays while it is needed",
        stays,
    ),
    Test::new("swap: an operator goes back and on again, also over a restart", goes_back),
    Test::new("swap: a plan that makes a link anew waits for --allow-disruption", disruption),
    Test::new("swap: a daemon that was given a key uses signed files alone", signed).needs(&[Need::Program("minisign")]),
    Test::new("swap: a locked daemon uses the approved files alone", locked),
];

/// Swaps there and back; the full form makes a thousand swaps.
const CYCLES: usize = 10;
const LONG_CYCLES: usize = 500;
/// Swaps before memory is looked at first, and what it may grow by afterwards.
const WARM: usize = 4;
const GROWTH_KB: u64 = 12_000;

const PLUGIN: &str = "backend-swap";

/// A build of the backend "swap", and the MTU by which its plan is known.
pub struct Build {
    /// The file.
    pub bytes: Vec<u8>,
    mtu: u32,
}

impl Build {
    /// The older one.
    pub fn old() -> Result<Build> {
        Build::read("swap-backend-old.wasm", 1400)
    }

    /// The newer one.
    pub fn new() -> Result<Build> {
        Build::read("swap-backend-new.wasm", 1300)
    }

    fn read(file: &str, mtu: u32) -> Result<Build> {
        Ok(Build { bytes: test_plugin(file)?, mtu })
    }

    /// The digest by which it is told from others.
    pub fn digest(&self) -> String {
        Sha256::digest(&self.bytes).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn test_plugin(file: &str) -> Result<Vec<u8>> {
    std::fs::read(artifacts::hostile_plugins().join(file)).with_context(|| format!("{file} is not built"))
}

/// Two nodes with a pod each over the backend "swap", of which the old build runs.
struct Scene {
    lab: Lab,
    a: Node,
    b: Node,
    pods: [Pod; 2],
}

fn scene() -> Result<Scene> {
    let lab = Lab::new("swap")?;
    lab.config(&format!(r#"{{"Network":"{NETWORK}","Backend":{{"Type":"swap"}}}}"#))?;
    let (a, b) = (lab.node("a")?, lab.node("b")?);
    for node in [&a, &b] {
        node.drop_plugin("old.wasm", &Build::old()?.bytes)?;
        node.start(Launch::now().flags(&Node::PLUGIN_FLAGS))?;
    }
    for node in [&a, &b] {
        node.ready(SOON)?;
    }
    lab.wait_for_routes(&[&a, &b], SOON)?;
    let pods = [a.pod("p1")?, b.pod("p1")?];
    pods[0].reaches(&pods[1], SOON)?;
    in_charge(&a, &Build::old()?)?;
    Ok(Scene { lab, a, b, pods })
}

/// The API shows the build's digest, and the kernel its plan.
fn in_charge(node: &Node, build: &Build) -> Result<()> {
    wait_until(&format!("the build that plans an MTU of {}", build.mtu), SOON, || {
        let plugin = node.plugin_in_charge(PLUGIN)?;
        ensure!(plugin["digest"] == build.digest() && plugin["state"] == "active", "{plugin}");
        let routes = node.ip("route show proto 73")?;
        ensure!(routes.lines().count() == 1 && routes.contains(&format!("mtu {}", build.mtu)), "{routes}");
        Ok(())
    })
}

fn back_and_forth() -> Result<()> {
    let Scene { a, pods, .. } = scene()?;
    let (old, new) = (Build::old()?, Build::new()?);
    let cycles = if long() { LONG_CYCLES } else { CYCLES };
    let streams = [flowing(&pods[0], &pods[1])?, flowing(&pods[1], &pods[0])?];
    let connection = Trickle::start(&pods[0], &pods[1])?;
    let mut before = 0;
    for cycle in 0..cycles {
        a.drop_plugin("new.wasm", &new.bytes)?;
        in_charge(&a, &new)?;
        a.remove_plugin("new.wasm")?;
        a.twill(&["plugin", "reload", PLUGIN])?;
        in_charge(&a, &old)?;
        if cycle + 1 == WARM {
            before = a.memory_kb("RssAnon")?;
        }
    }
    let grown = a.memory_kb("RssAnon")?.saturating_sub(before);
    for stream in streams {
        goes_on(&stream)?;
        let report = stream.stop()?;
        println!("{} swaps: {report}", cycles * 2);
        report.nothing_lost()?;
    }
    let carried = connection.stop()?;
    ensure!(carried.bytes > 0, "nothing was carried");
    println!("TCP carried {} bytes, longest silence {:?}; memory grew by {grown} kB", carried.bytes, carried.longest_silence);
    ensure!(grown < GROWTH_KB, "memory grew by {grown} kB over {} swaps", (cycles - WARM) * 2);
    let log = a.log()?;
    let swaps: Vec<&str> = log.lines().filter(|line| line.contains("takes over from")).collect();
    ensure!(swaps.len() == cycles * 2, "a swap was not told, or told twice: {swaps:#?}");
    // The trial's difference: the route by which the two builds differ, as it was and as it becomes.
    for (swap, (from, to)) in swaps.iter().zip([(&old, &new), (&new, &old)].into_iter().cycle()) {
        let wanted = [format!("mtu {}", from.mtu), format!("mtu {}", to.mtu)];
        let told = swap.split_once(": the plan changes: ").is_some_and(|(_, changes)| wanted.iter().all(|words| changes.contains(words)));
        ensure!(told, "{wanted:?} are not what this says to change: {swap}");
    }
    Ok(())
}

fn stays() -> Result<()> {
    let Scene { a, pods, .. } = scene()?;
    let (old, new) = (Build::old()?, Build::new()?);
    let stream = flowing(&pods[0], &pods[1])?;
    a.drop_plugin("new.wasm", &new.bytes)?;
    in_charge(&a, &new)?;
    let passed = a.plugin_file("old.wasm")?;
    ensure!(passed["error"].as_str().is_some_and(|error| error.contains("passed over for")), "{passed}");

    // Overwritten in place, and cut off amid.
    std::fs::write(a.plugin_folder().join("new.wasm"), &new.bytes[..new.bytes.len() / 2])?;
    told(&a, "new.wasm", "perhaps it was cut off")?;
    in_charge(&a, &new)?;
    // Overwritten by the older one.
    a.drop_plugin("new.wasm", &old.bytes)?;
    wait_until("the running one to say that its file is another", SOON, || {
        let plugin = a.plugin_in_charge(PLUGIN)?;
        ensure!(plugin["error"].as_str().is_some_and(|error| error.contains("the loaded one stays in use")), "{plugin}");
        Ok(())
    })?;
    in_charge(&a, &new)?;
    for (name, bytes, reason) in strangers(&new)? {
        a.drop_plugin(name, &bytes)?;
        told(&a, name, reason)?;
        a.remove_plugin(name)?;
    }
    in_charge(&a, &new)?;

    // All files gone: what is needed stays, what is not goes.
    a.drop_plugin("idle.wasm", &test_plugin("hostile-backend-beside.wasm")?)?;
    wait_until("the idle plugin to be loaded", SOON, || a.plugin_in_charge("backend-hostile").map(drop))?;
    for name in ["old.wasm", "new.wasm", "idle.wasm"] {
        a.remove_plugin(name)?;
    }
    wait_until("the end of the idle plugin, and word of the needed one", SOON, || {
        ensure!(a.plugin_in_charge("backend-hostile").is_err(), "it is still there");
        let plugin = a.plugin_in_charge(PLUGIN)?;
        ensure!(plugin["error"].as_str().is_some_and(|error| error.contains("until nothing needs it")), "{plugin}");
        Ok(())
    })?;
    in_charge(&a, &new)?;
    goes_on(&stream)?;
    stream.stop()?.nothing_lost()
}

/// Files that are no plugin of this world, with the reason that is to be told.
pub fn strangers(good: &Build) -> Result<Vec<(&'static str, Vec<u8>, &'static str)>> {
    let noise = Sha256::digest(b"noise").repeat(500);
    let core = b"\0asm\x01\0\0\0".to_vec();
    let component = b"\0asm\x0d\0\x01\0".to_vec();
    Ok(vec![
        ("truncated.wasm", good.bytes[..good.bytes.len() - 100].to_vec(), "perhaps it was cut off"),
        ("empty.wasm", Vec::new(), "it is not WebAssembly"),
        ("core.wasm", core, "it is a core WebAssembly module"),
        ("nothing.wasm", component, "it is no twill plugin"),
        ("noise.wasm", noise, "it is not WebAssembly"),
        ("future.wasm", of_another_world(&good.bytes), "it speaks version 0.9.0 of the contract"),
    ])
}

/// The same component, built against a contract that does not exist yet.
fn of_another_world(bytes: &[u8]) -> Vec<u8> {
    let (from, to) = (b"@0.1.0", b"@0.9.0");
    let mut other = bytes.to_vec();
    let places: Vec<usize> = other.windows(from.len()).enumerate().filter(|(_, window)| window == from).map(|(place, _)| place).collect();
    for place in places {
        other[place..place + to.len()].copy_from_slice(to);
    }
    other
}

/// Waits until status says that about the file, and an event names it.
pub fn told(node: &Node, name: &str, reason: &str) -> Result<()> {
    wait_until(&format!("{name} to be refused"), SOON, || {
        let plugin = node.plugin_file(name)?;
        let said = plugin["error"].as_str().unwrap_or_default();
        ensure!(plugin["state"] == "refused" && said.contains(reason), "{plugin}");
        let events = node.events()?;
        ensure!(events.iter().any(|event| event.contains(reason)), "no event names it: {events:?}");
        Ok(())
    })
}

fn goes_back() -> Result<()> {
    let Scene { lab, a, b, pods } = scene()?;
    let (old, new) = (Build::old()?, Build::new()?);
    a.drop_plugin("old.wasm", &new.bytes)?;
    in_charge(&a, &new)?;
    let stream = flowing(&pods[0], &pods[1])?;
    let said = a.twill(&["plugin", "rollback", PLUGIN])?;
    ensure!(said.contains("an operator went back to it from 1.1.0"), "{said}");
    in_charge(&a, &old)?;
    let again = a.twill(&["plugin", "rollback", PLUGIN]).expect_err("it was done already");
    ensure!(format!("{again:#}").contains("that was done already"), "{again:#}");
    goes_on(&stream)?;
    stream.stop()?.nothing_lost()?;

    a.kill()?;
    a.start(Launch::now().flags(&Node::PLUGIN_FLAGS))?;
    a.ready(SOON)?;
    in_charge(&a, &old)?;
    lab.wait_for_routes(&[&a, &b], SOON)?;
    let stream = flowing(&pods[0], &pods[1])?;
    a.twill(&["plugin", "rollback", "--clear", PLUGIN])?;
    in_charge(&a, &new)?;
    goes_on(&stream)?;
    stream.stop()?.nothing_lost()
}

fn disruption() -> Result<()> {
    let lab = Lab::new("swap")?;
    lab.network(NETWORK)?;
    let (a, b) = (lab.node("a")?, lab.ready_node("b")?);
    a.start(Launch::now().flags(&Node::PLUGIN_FLAGS))?;
    a.ready(SOON)?;
    lab.wait_for_routes(&[&a, &b], SOON)?;
    let pods = [a.pod("p1")?, b.pod("p1")?];
    pods[0].reaches(&pods[1], SOON)?;
    let stream = flowing(&pods[0], &pods[1])?;
    a.drop_plugin("udp.wasm", &test_plugin("hostile-backend-remakes.wasm")?)?;
    told(&a, "udp.wasm", "--allow-disruption permits that")?;
    goes_on(&stream)?;
    stream.stop()?.nothing_lost()?;
    let said = a.twill(&["plugin", "reload", "backend-udp"])?;
    ensure!(said.contains("refused: it would break traffic off"), "{said}");
    let said = a.twill(&["plugin", "reload", "--allow-disruption", "backend-udp"])?;
    ensure!(said.contains("9.9.9") && a.plugin_in_charge("backend-udp")?["version"] == "9.9.9", "{said}");
    Ok(())
}

fn locked() -> Result<()> {
    let Scene { lab, a, b, pods } = scene()?;
    let (old, new) = (Build::old()?, Build::new()?);
    let lock = ["--plugin-lock", "/var/lib/plugins.lock"];
    a.twill(&[&["plugin", "pin"], lock.as_slice()].concat())?;
    a.stop()?;
    a.start(Launch::now().flags(&[&Node::PLUGIN_FLAGS, lock.as_slice(), &["--locked"]].concat()))?;
    a.ready(SOON)?;
    lab.wait_for_routes(&[&a, &b], SOON)?;
    let stream = flowing(&pods[0], &pods[1])?;
    a.drop_plugin("new.wasm", &new.bytes)?;
    told(&a, "new.wasm", "plugins.lock names another file for backend-swap: 1.0.0")?;
    in_charge(&a, &old)?;
    a.twill(&[&["plugin", "pin", &format!("{PLUGIN}@{}", &new.digest()[..12])], lock.as_slice()].concat())?;
    in_charge(&a, &new)?;
    goes_on(&stream)?;
    stream.stop()?.nothing_lost()?;

    // A file that was changed while the daemon was down is not taken.
    a.stop()?;
    a.remove_plugin("new.wasm")?;
    a.start(Launch::now().flags(&[&Node::PLUGIN_FLAGS, lock.as_slice(), &["--locked"]].concat()))?;
    told(&a, "old.wasm", "plugins.lock names another file for backend-swap: 1.1.0")?;
    wait_until("word of the missing backend", Duration::from_secs(10), || {
        let (status, body) = a.get("/readyz")?;
        ensure!(status == 503 && body.contains("swap"), "{status} {body}");
        Ok(())
    })
}

fn signed() -> Result<()> {
    let lab = Lab::new("signed")?;
    lab.config(&format!(r#"{{"Network":"{NETWORK}","Backend":{{"Type":"swap"}}}}"#))?;
    let (a, b) = (lab.node("a")?, lab.node("b")?);
    let (old, new) = (Build::old()?, Build::new()?);
    let key = |node: &Node, name: &str| node.dir("lib").join(name);
    for name in ["ours", "theirs"] {
        run(a.command("minisign")?.args(["-GW", "-p"]).arg(key(&a, &format!("{name}.pub"))).arg("-s").arg(key(&a, name)))?;
    }
    let sign = |file: &str, by: &str| {
        run(a.command("minisign")?.arg("-SWm").arg(a.plugin_folder().join(file)).arg("-s").arg(key(&a, by))).map(drop)
    };
    let store = std::fs::read(artifacts::plugins().join("store-file.wasm"))?;
    for (file, bytes) in [("store-file.wasm", &store), ("old.wasm", &old.bytes)] {
        a.drop_plugin(file, bytes)?;
        sign(file, "ours")?;
    }
    a.start(Launch::now().flags(&Node::PLUGIN_FLAGS).flags(&["--plugin-key", "/var/lib/ours.pub"]))?;
    b.drop_plugin("old.wasm", &old.bytes)?;
    b.start(Launch::now().flags(&Node::PLUGIN_FLAGS))?;
    [&a, &b].iter().try_for_each(|node| node.ready(SOON))?;
    lab.wait_for_routes(&[&a, &b], SOON)?;
    let pods = [a.pod("p1")?, b.pod("p1")?];
    pods[0].reaches(&pods[1], SOON)?;
    let stream = flowing(&pods[0], &pods[1])?;
    in_charge(&a, &old)?;
    // Those that came with twill are nobody's here.
    let unsigned = a.api("plugins")?.to_string();
    ensure!(unsigned.contains("it is not signed: backend-udp.wasm.minisig cannot be read"), "{unsigned}");
    a.drop_plugin("new.wasm", &new.bytes)?;
    told(&a, "new.wasm", "it is not signed")?;
    sign("new.wasm", "theirs")?;
    told(&a, "new.wasm", "is not one of these bytes by a key that --plugin-key names")?;
    in_charge(&a, &old)?;
    sign("new.wasm", "ours")?;
    in_charge(&a, &new)?;
    // What was in use before needs no signature for the way back.
    a.remove_plugin("old.wasm")?;
    a.twill(&["plugin", "rollback", PLUGIN])?;
    in_charge(&a, &old)?;
    goes_on(&stream)?;
    stream.stop()?.nothing_lost()
}
