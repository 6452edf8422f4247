//! Metrics in the real programs: promtool takes what a daemon tells, and the alert rules; a real Prometheus scrapes it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use lab::harness::Test;
use lab::process::{outcome, run, said};
use lab::wait_until;
use serde_json::Value;

use crate::story::{SOON, cluster};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("metrics: promtool finds nothing wrong with what a daemon tells", linted),
    Test::new("metrics: promtool takes the alert rules, and each fires when it should", rules),
    Test::new("metrics: promtool takes every expression of the Grafana dashboard", expressions),
    Test::new("metrics: a real Prometheus scrapes them and answers questions by them", scraped),
];

/// A file of `host/dist`.
fn dist(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/dist").join(file)
}

fn linted() -> Result<()> {
    let (_lab, [a, b], [p, q]) = cluster(["a", "b"])?;
    p.reaches(&q, SOON)?;
    let (status, text) = a.get("/metrics")?;
    ensure!(status == 200 && text.contains("\ntwill_ready 1.0\n"), "{status}: {text}");
    let peer = format!("twill_peer_transmit_packets_total{{peer=\"{}\"}}", b.subnet()?);
    ensure!(text.lines().any(|line| line.starts_with(&peer)), "{peer} is not in:\n{text}");
    let file = a.dir("lib").join("metrics.txt");
    std::fs::write(&file, &text)?;
    let mut promtool = Command::new("sh");
    promtool.args(["-c", "promtool check metrics < \"$0\""]).arg(&file);
    let output = outcome(&mut promtool)?;
    ensure!(output.status.success() && said(&output).is_empty(), "{}: {}", output.status, said(&output));
    Ok(())
}

fn rules() -> Result<()> {
    run(Command::new("promtool").args(["check", "rules"]).arg(dist("prometheus/twill.rules.yml")))?;
    let tested = run(Command::new("promtool").args(["test", "rules"]).arg(dist("prometheus/twill.rules.test.yml")))?;
    ensure!(tested.contains("SUCCESS"), "{tested}");
    Ok(())
}

fn expressions() -> Result<()> {
    let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(dist("grafana/twill.json"))?)?;
    let panels = dashboard["panels"].as_array().context("panels")?.iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    // Grafana fills in its variables; recording rules are a form in which promtool reads any expression.
    let filled = targets.filter_map(|target| Some(target["expr"].as_str()?.replace("$node", ".*").replace("$__rate_interval", "1m")));
    let rules: Vec<Value> =
        filled.enumerate().map(|(place, expr)| serde_json::json!({ "record": format!("panel:{place}"), "expr": expr })).collect();
    ensure!(rules.len() >= 20 && !rules.iter().any(|rule| rule.to_string().contains('$')), "{rules:#?}");
    let file = Path::new(lab::world::ROOT).join("panels.json");
    // JSON is YAML.
    std::fs::write(&file, serde_json::json!({ "groups": [{ "name": "panels", "rules": rules }] }).to_string())?;
    let told = run(Command::new("promtool").args(["check", "rules"]).arg(&file))?;
    ensure!(told.contains("SUCCESS"), "{told}");
    Ok(())
}

fn scraped() -> Result<()> {
    let (_lab, [a, _b], _pods) = cluster(["a", "b"])?;
    let dir = a.dir("lib").join("prometheus");
    std::fs::create_dir_all(&dir)?;
    let rules = dist("prometheus/twill.rules.yml");
    let config = format!(
        "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [{}]\nscrape_configs:\n  - job_name: twill\n    static_configs: [{{ targets: ['127.0.0.1:4646'] }}]\n",
        rules.display()
    );
    std::fs::write(dir.join("prometheus.yml"), config)?;
    let mut prometheus = a.net().command("prometheus")?;
    prometheus
        .arg(format!("--config.file={}", dir.join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", dir.join("data").display()));
    let mut prometheus = prometheus.arg("--web.listen-address=127.0.0.1:9090").stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let asked = wait_until("Prometheus to know that the node is ready", 2 * SOON, || {
        let mut promtool = a.net().command("promtool")?;
        let answer = run(promtool.args(["query", "instant", "http://127.0.0.1:9090", "twill_ready and on(instance) up{job=\"twill\"}"]))?;
        ensure!(answer.contains("=> 1 "), "{answer}");
        Ok(())
    });
    prometheus.kill()?;
    prometheus.wait().context("prometheus")?;
    asked
}
