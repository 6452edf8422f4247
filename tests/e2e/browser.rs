//! The dashboard in a real Chromium, on a real node: the pages show what the API says, follow what happens without being loaded anew, and can be used by everybody.

use anyhow::{Context, Result, ensure};
use lab::browser::Browser;
use lab::harness::{Need, Test};
use lab::{Launch, Node, artifacts, cluster::READY, wait_until};
use serde_json::{Value, json};

use crate::story::{SOON, cluster};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("browser: pages show what the API says and follow what happens", pages_follow).needs(NEEDS),
    Test::new("browser: every page is accessible, light, dark and on a phone", pages_are_accessible).needs(NEEDS),
    Test::new("browser: a page whose node went says so, and finds it again", lost_connection).needs(NEEDS),
];

/// What drives the browser, and the browser.
const NEEDS: &[Need] = &[Need::Program("node"), Need::Program("chromium")];

/// The pages, by address and a word that each of them shows.
const PAGES: [(&str, &str); 6] =
    [("/", "Paths"), ("/leases", "Leases"), ("/paths", "Paths"), ("/state", "State"), ("/plugins", "Plugins"), ("/events", "Events")];

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

/// The destination of the route that twill keeps on this node.
fn overlay_route(node: &Node) -> Result<String> {
    let routes = node.api("routes")?;
    let first = routes.as_array().and_then(|routes| routes.first()).context("there is a route")?;
    Ok(first["what"].as_str().context("it has a destination")?.to_owned())
}

fn pages_are_accessible() -> Result<()> {
    let (_lab, [a, b], _pods) = cluster(["a", "b"])?;
    let mut browser = Browser::on(&a)?;
    browser.open("/")?;
    let cost = browser.ask(json!({ "cost": true }))?;
    ensure!(cost["bytes"].as_u64().is_some_and(|bytes| (1_000..150_000).contains(&bytes)), "the first load: {cost}");
    let shots = artifacts::inside().join("lab-shots");
    std::fs::create_dir_all(&shots)?;
    let peer = b.subnet()?.replace('/', "-");
    let single = [format!("/paths/{peer}"), format!("/leases/{peer}"), "/plugins/backend-udp".into()];
    let pages: Vec<&str> = PAGES.iter().map(|(path, _)| *path).chain(single.iter().map(String::as_str)).collect();
    for (look, theme, width) in [("light", "light", 1280), ("dark", "dark", 1280), ("phone", "light", 400)] {
        browser.ask(json!({ "look": { "theme": theme, "width": width } }))?;
        for path in &pages {
            browser.open(path)?;
            let violations = browser.ask(json!({ "axe": true }))?;
            ensure!(violations == json!([]), "{path} ({look}): {violations:#}");
            ensure!(browser.ask(json!({ "overflow": true }))? == json!(false), "{path} is wider than the window ({look})");
            let name = path.split('/').find(|part| !part.is_empty()).unwrap_or("overview");
            let one = if path.matches('/').count() > 1 { "one-of-" } else { "" };
            browser.ask(json!({ "shot": shots.join(format!("{one}{name}-{look}.png")) }))?;
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
