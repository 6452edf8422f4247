//! The dashboard in a real Chromium, on a real node: the pages show what the API says, follow what happens without being loaded anew, and can be used by everybody.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::browser::Browser;
use lab::harness::{Need, Test};
use lab::{Lab, Launch, Node, artifacts, cluster::READY, wait_until};
use serde_json::{Value, json};

use crate::change::use_backend;
use crate::story::{NETWORK, SOON, cluster, flowing};
use crate::swap::Build;

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("browser: pages show what the API says and follow what happens", pages_follow).needs(NEEDS),
    Test::new("browser: figures on the pages are those of the API", figures).needs(NEEDS),
    Test::new("browser: three nodes, a plugin swapped, a backend change held up, a node killed: each shows where it belongs", three_nodes)
        .needs(NEEDS),
    Test::new("browser: every page is accessible, light, dark and on a phone", pages_are_accessible).needs(NEEDS),
    Test::new("browser: a page whose node went says so, and finds it again", lost_connection).needs(NEEDS),
];

/// What drives the browser, and the browser.
const NEEDS: &[Need] = &[Need::Program("node"), Need::Program("chromium")];

/// The pages, by address and a word that each of them shows.
const PAGES: [(&str, &str); 6] =
    [("/", "Paths"), ("/leases", "Leases"), ("/paths", "Paths"), ("/state", "State"), ("/plugins", "Plugins"), ("/events", "Events")];

/// Until a page has some rates of traffic to draw.
const READINGS: Duration = Duration::from_secs(8);

fn subnets(leases: &Value) -> impl Iterator<Item = &str> {
    leases.as_array().into_iter().flatten().filter_map(|lease| lease["subnets"]["v4"].as_str())
}

fn pages_follow() -> Result<()> {
    let (lab, [a, b], _pods) = cluster(["a", "b"])?;
    let mut browser = Browser::on(&a)?;
    browser.open("/leases")?;
    for subnet in subnets(&a.api("leases")?) {
        browser.see_in("main table", subnet)?;
    }
    let c = lab.ready_node("c")?;
    browser.see_in("main table", &c.subnet()?)?;
    browser.see_in("main table", &c.address().to_string())?;

    browser.follow("Paths")?;
    browser.see_in("main table", &b.address().to_string())?;
    browser.follow("Plugins")?;
    for plugin in a.api("plugins")?.as_array().into_iter().flatten() {
        browser.see(plugin["name"].as_str().context("a plugin has a name")?)?;
    }

    browser.follow("Events")?;
    let route = overlay_route(&a)?;
    a.ip(&format!("route del {route}"))?;
    browser.see_in("ol.events", &format!("route {route}"))?;
    browser.see_in("ol.events", "made again")?;
    browser.follow("State")?;
    browser.see_in("main h1", "the kernel has all that is planned")?;
    browser.see_in("main table", &route)?;

    browser.follow("Leases")?;
    let gone = c.subnet()?;
    c.twill(&["release"])?;
    browser.miss_in("main table", &gone)?;
    browser.still()?;
    without_faults(&mut browser)
}

fn figures() -> Result<()> {
    let (lab, [a, b], [p, _q]) = cluster(["a", "b"])?;
    let store = lab.store().display().to_string();
    let taken = [a.subnet()?, b.subnet()?];
    let reserved = (7..10).map(|third| format!("10.50.{third}.0/24")).find(|subnet| !taken.contains(subnet)).context("one is free")?;
    a.twill(&["reserve", &reserved, "--for", "192.168.50.99", "--store", "file", "--store-dir", &store])?;
    let mut browser = Browser::on(&a)?;
    browser.open("/leases")?;
    browser.see_in("main table", &reserved)?;
    browser.see_in("main table", "reserved, no end")?;
    browser.see_in("main table", "no node yet")?;
    browser.see_in("main table tr.own", &a.subnet()?)?;
    let ends = |lease: &Value| Some(lease["seen_ms"].as_u64()? + lease["life"]["seconds"].as_u64()? * 1000);
    let of_b = b.subnet()?;
    let leases = a.api("leases")?;
    let lease = leases.as_array().into_iter().flatten().find(|lease| lease["subnets"]["v4"] == of_b.as_str()).context("b has a lease")?;
    browser.see_in("main table", &hours_until(ends(lease).with_context(|| format!("it ends: {lease}"))?))?;

    browser.follow("Overview")?;
    let (node, network) = (a.api("node")?, a.api("network")?);
    let range = &network["ranges"][0];
    let facts = [
        format!("{} bytes", node["pod_mtu"]),
        format!("{}, {} bytes", node["underlay"].as_str().unwrap_or_default(), node["underlay_mtu"]),
        format!("{} of {}", range["free"], range["subnets"]),
        hours_until(node["renewal_ms"].as_u64().context("it renews its lease")?),
    ];
    for fact in &facts {
        browser.see_in(".hero .facts", fact)?;
    }
    let drops = || -> Result<Vec<(String, u64)>> {
        let tunnels = a.api("tunnels")?;
        let of =
            |drops: &serde_json::Map<String, Value>| drops.iter().filter_map(|(reason, n)| Some((reason.clone(), n.as_u64()?))).collect();
        Ok(tunnels[0]["drops"].as_object().map(of).unwrap_or_default())
    };
    // Nobody's address.
    let before = drops()?;
    ensure!(p.net().command("ping")?.args(["-c3", "-i0.2", "-W1", "10.50.0.9"]).status()?.code() != Some(0), "somebody answers");
    let sum = |drops: &[(String, u64)]| drops.iter().map(|(_, count)| count).sum::<u64>();
    wait_until("the drops", SOON, || Ok(ensure!(sum(&drops()?) >= sum(&before) + 3, "{:?}", drops()?)))?;
    for (reason, count) in drops()? {
        browser.see_in("main", &format!("{reason} {count}"))?;
    }
    browser.miss_in(".hero", "no way from here")?;
    browser.still()?;
    without_faults(&mut browser)
}

/// How the page writes the whole hours until that moment, which in these tests is not near a full one.
fn hours_until(at_ms: u64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{}\u{a0}h", at_ms.saturating_sub(u64::try_from(now.as_millis()).unwrap_or(u64::MAX)) / 3_600_000)
}

/// The destination of the route that twill keeps on this node.
fn overlay_route(node: &Node) -> Result<String> {
    let routes = node.api("routes")?;
    let first = routes.as_array().and_then(|routes| routes.first()).context("there is a route")?;
    Ok(first["what"].as_str().context("it has a destination")?.to_owned())
}

/// axe finds nothing on the page as it is now, and a picture of it is kept.
fn looked_at(browser: &mut Browser, name: &str) -> Result<()> {
    let violations = browser.ask(json!({ "axe": true }))?;
    ensure!(violations == json!([]), "{name}: {violations:#}");
    ensure!(browser.ask(json!({ "overflow": true }))? == json!(false), "{name} is wider than the window");
    let shots = artifacts::inside().join("lab-shots");
    std::fs::create_dir_all(&shots)?;
    browser.ask(json!({ "shot": shots.join(format!("{name}.png")) })).map(drop)
}

fn three_nodes() -> Result<()> {
    let lab = Lab::new("three")?;
    lab.config(&format!(r#"{{"Network":"{NETWORK}","Backend":{{"Type":"swap"}}}}"#))?;
    let nodes = [lab.node("a")?, lab.node("b")?, lab.node("c")?];
    let (old, new) = (Build::old()?, Build::new()?);
    for node in &nodes {
        node.drop_plugin("old.wasm", &old.bytes)?;
        node.start(Launch::now().flags(&Node::PLUGIN_FLAGS))?;
    }
    nodes.iter().try_for_each(|node| node.ready(READY))?;
    lab.wait_for_routes(&nodes.each_ref(), SOON)?;
    let [a, _, c] = &nodes;
    let mut browser = Browser::on(a)?;
    browser.open("/plugins/backend-swap")?;
    browser.see(&old.digest())?;
    for node in &nodes {
        node.drop_plugin("new.wasm", &new.bytes)?;
    }
    browser.see(&new.digest())?;
    browser.follow("Events")?;
    browser.see_in("ol.events", "takes over from")?;

    // What cannot be proved between two of the three keeps the change under way.
    for (node, other) in [(a, c), (c, a)] {
        node.firewall(&format!("chain in {{ type filter hook input priority 0; ip saddr {} udp dport 8472 drop; }}", other.address()))?;
    }
    browser.follow("Overview")?;
    use_backend(&lab, r#"{"Type":"vxlan"}"#)?;
    browser.see_in("main .change .big", "1 / 2 paths")?;
    browser.see_in("main .change .legend", "held 1")?;
    browser.see_in(".hero", "moving from swap to vxlan: 1 of 2 paths have moved")?;
    looked_at(&mut browser, "change-light")?;
    browser.follow("Paths")?;
    browser.see_in("main table", "did not come back")?;
    looked_at(&mut browser, "change-paths-light")?;
    for node in [a, c] {
        node.firewall("")?;
    }
    browser.follow("Overview")?;
    browser.miss_in("main .change .big", "paths")?;

    c.kill()?;
    lab.switch().ip(&format!("link set to-{} down", c.name()))?;
    browser.see_in(".hero h1", &format!("the host {} does not answer", c.address()))?;
    looked_at(&mut browser, "killed-light")?;
    browser.follow("Paths")?;
    browser.see_in("svg.map a", "stops at the host")?;
    browser.see_in("main table tr.drift", &c.address().to_string())?;
    looked_at(&mut browser, "killed-paths-light")?;
    browser.follow_in("main table", &c.address().to_string())?;
    browser.see_in("main .legs .broken", "does not answer on the underlay")?;
    looked_at(&mut browser, "killed-path-light")?;
    browser.still()?;
    without_faults(&mut browser)
}

fn pages_are_accessible() -> Result<()> {
    let (_lab, [a, b, _c], [p, q, _]) = cluster(["a", "b", "c"])?;
    let _streams = [flowing(&p, &q)?, flowing(&q, &p)?];
    let mut browser = Browser::on(&a)?;
    browser.open("/")?;
    let cost = browser.ask(json!({ "cost": true }))?;
    ensure!(cost["bytes"].as_u64().is_some_and(|bytes| (1_000..150_000).contains(&bytes)), "the first load: {cost}");
    let peer = b.subnet()?.replace('/', "-");
    let single = [format!("/paths/{peer}"), format!("/leases/{peer}"), "/plugins/backend-udp".into()];
    let pages: Vec<&str> = PAGES.iter().map(|(path, _)| *path).chain(single.iter().map(String::as_str)).collect();
    for (look, theme, width) in [("light", "light", 1280), ("dark", "dark", 1280), ("phone", "light", 400)] {
        browser.ask(json!({ "look": { "theme": theme, "width": width } }))?;
        for path in &pages {
            browser.open(path)?;
            if matches!(*path, "/" | "/paths") {
                // Rates are drawn from readings that come each second.
                std::thread::sleep(READINGS);
            }
            let name = path.split('/').find(|part| !part.is_empty()).unwrap_or("overview");
            let one = if path.matches('/').count() > 1 { "one-of-" } else { "" };
            looked_at(&mut browser, &format!("{one}{name}-{look}"))?;
        }
    }
    for (path, word) in PAGES {
        browser.open(path)?;
        browser.see(word)?;
    }
    without_faults(&mut browser)
}

fn lost_connection() -> Result<()> {
    let (_lab, [a, _b], _pods) = cluster(["a", "b"])?;
    let mut browser = Browser::on(&a)?;
    browser.open("/")?;
    browser.see_in("header", "live")?;
    a.kill()?;
    browser.see_in("header", "not connected")?;
    browser.see_in("[role=status]", "Not connected since")?;
    a.start(Launch::now())?;
    a.ready(READY)?;
    browser.miss_in("header", "not connected")?;
    browser.see_in("header", "live")?;
    browser.still()?;
    wait_until("the subnet on the page", SOON, || {
        let facts = browser.ask(json!({ "read": ".hero .facts" }))?;
        Ok(ensure!(facts.to_string().contains(&a.subnet()?), "{facts}"))
    })
}

/// The pages asked for nothing from elsewhere, and their scripts had no error.
fn without_faults(browser: &mut Browser) -> Result<()> {
    let faults = browser.ask(json!({ "faults": true }))?;
    ensure!(faults == json!({ "elsewhere": [], "complaints": [] }), "{faults:#}");
    Ok(())
}
