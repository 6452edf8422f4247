//! The Grafana dashboard, with the figures of a real daemon in a real Prometheus: each query finds some, and Grafana's own libraries draw each panel in a real Chromium.
//!
//! The page is made of `tests/grafana`. What is not Grafana's there: its server, whose part of the Prometheus source the page plays itself, and the program around the libraries.

use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::browser::Browser;
use lab::harness::{Need, Test};
use lab::process::outcome;
use lab::prometheus::{Prometheus, dist};
use lab::{Lab, Node, Stream, artifacts, wait_until};
use serde_json::{Value, json};

use crate::story::{cluster, flowing};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("grafana: every query of the dashboard finds figures in a real Prometheus", queries),
    Test::new("grafana: its own libraries draw every panel of the dashboard, with a node's figures", drawn).needs(&[
        Need::Program("node"),
        Need::Program("chromium"),
        Need::Built("grafana/index.html", "make grafana"),
    ]),
];

/// Some scrapes, on a busy machine.
const SCRAPED: Duration = Duration::from_secs(60);

/// Two nodes by UDP with traffic between them; the first has a chain of somebody else's in the way, which is not as it should be and stops no echo; a packet was dropped there.
struct Scene {
    _lab: Lab,
    here: Node,
    _there: Node,
    _stream: Stream,
}

impl Scene {
    fn new() -> Result<Scene> {
        let (lab, [here, there], [p, q]) = cluster(["a", "b"])?;
        let stream = flowing(&p, &q)?;
        here.net().nft("table inet guard {\n chain outwards { type filter hook forward priority 0; policy drop; }\n}\n")?;
        dropped(&here, &[here.subnet()?, there.subnet()?])?;
        Ok(Scene { _lab: lab, here, _there: there, _stream: stream })
    }
}

/// Has the tunnel drop a packet: one to a subnet that nobody holds.
fn dropped(node: &Node, held: &[String]) -> Result<()> {
    let free = (1..=254).map(|third| format!("10.50.{third}.")).find(|free| !held.iter().any(|subnet| subnet.starts_with(free)));
    let address = free.context("there are more subnets than nodes")? + "1";
    // No answer comes.
    outcome(node.net().command("ping")?.args(["-c", "1", "-W", "1", &address])).map(drop)
}

fn dashboard() -> Result<Value> {
    Ok(serde_json::from_str(&std::fs::read_to_string(dist("grafana/twill.json"))?)?)
}

fn panels(dashboard: &Value) -> Result<&Vec<Value>> {
    dashboard["panels"].as_array().context("panels")
}

fn targets(panel: &Value) -> impl Iterator<Item = &Value> {
    panel["targets"].as_array().into_iter().flatten()
}

fn word<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    value[key].as_str().with_context(|| format!("no {key} in {value}"))
}

fn queries() -> Result<()> {
    let scene = Scene::new()?;
    let prometheus = Prometheus::on(&scene.here)?;
    let dashboard = dashboard()?;
    let mut expressions = Vec::new();
    for target in panels(&dashboard)?.iter().flat_map(targets) {
        // Grafana fills in its variables. What stands for a series that is not there must not hide a wrong name.
        let filled = word(target, "expr")?.replace("$node", ".*").replace("$__rate_interval", "10s");
        expressions.push(filled.replace(" or vector(0)", ""));
    }
    ensure!(expressions.len() >= 20 && !expressions.iter().any(|expression| expression.contains('$')), "{expressions:#?}");
    for expression in expressions {
        wait_until(&format!("figures for {expression}"), SCRAPED, || {
            let answer = prometheus.query(&expression)?;
            Ok(ensure!(answer.contains("=> ") && !answer.contains("NaN"), "{answer:?}"))
        })?;
    }
    Ok(())
}

/// What serves the page, on port 3000; it ends with this value.
struct Page(Child);

impl Page {
    fn on(node: &Node) -> Result<Page> {
        let server = concat!(env!("CARGO_MANIFEST_DIR"), "/grafana/serve.mjs");
        let mut command = node.command("node")?;
        command.arg(server).arg(artifacts::inside().join("grafana"));
        Ok(Page(command.stdin(Stdio::null()).spawn().context("cannot start node")?))
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What each panel of the kind "stat" shows, its unit with it, or how that ends.
const STATS: [(&str, &str); 6] = [
    ("Nodes ready", "\n1"),
    ("Nodes not ready", "\n0"),
    ("Stores that do not answer", "\n0"),
    ("Paths down", "\n0"),
    ("Free subnets", "\n253"),
    ("Shortest lease", " hours"),
];

fn drawn() -> Result<()> {
    let scene = Scene::new()?;
    let _prometheus = Prometheus::on(&scene.here)?;
    let _page = Page::on(&scene.here)?;
    let mut browser = Browser::at(&scene.here, "http://127.0.0.1:3000")?;
    browser.ask(json!({ "look": { "theme": "light", "width": 1280, "height": 1500 } }))?;
    let dashboard = dashboard()?;
    wait_until("every panel to show figures", SCRAPED, || {
        browser.open("/")?;
        // The variable's choices come from Prometheus, and queries wait for them.
        browser.ask(json!({ "see": "hours", "within_ms": 5_000 }))?;
        let shown = browser.read("main section")?;
        let graphs = browser.read("main section .u-over")?.len();
        let mut due = 0;
        for panel in panels(&dashboard)? {
            let title = word(panel, "title")?;
            let text =
                shown.iter().find(|text| text.lines().next() == Some(title)).with_context(|| format!("{title} is not in {shown:#?}"))?;
            if word(panel, "type")? == "stat" {
                let (_, figure) = STATS.iter().find(|(name, _)| *name == title).with_context(|| format!("what does {title} show?"))?;
                ensure!(text.trim_end().ends_with(figure), "{title} does not end with {figure:?}: {text:?}");
                continue;
            }
            due += 1;
            ensure!(!text.contains("No data"), "{text:?}");
            for target in targets(panel) {
                ensure!(legend(text, word(target, "legendFormat")?), "{title} has no series {}: {text:?}", target["legendFormat"]);
            }
        }
        Ok(ensure!(graphs == due, "{graphs} graphs of {due}"))
    })?;
    let shots = artifacts::inside().join("lab-shots");
    std::fs::create_dir_all(&shots)?;
    browser.ask(json!({ "shot": shots.join("grafana.png") }))?;
    let faults = browser.ask(json!({ "faults": true }))?;
    Ok(ensure!(faults == json!({ "elsewhere": [], "complaints": [] }), "{faults:#}"))
}

/// True when a line of the text is the legend's format with the labels filled in.
fn legend(text: &str, format: &str) -> bool {
    let literals: Vec<&str> = format.split("{{").map(|part| part.split_once("}}").map_or(part, |(_, rest)| rest)).collect();
    text.lines().skip(1).any(|line| {
        let filled = !line.trim().is_empty() && !line.contains("{{");
        filled
            && line.starts_with(literals[0])
            && line.ends_with(literals[literals.len() - 1])
            && literals.iter().all(|part| line.contains(part))
    })
}
