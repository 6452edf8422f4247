//! Metrics in the real programs: promtool takes what a daemon tells, and the alert rules; a real Prometheus scrapes it.

use std::process::Command;

use anyhow::{Result, ensure};
use lab::harness::Test;
use lab::process::{outcome, run, said};
use lab::prometheus::{Prometheus, dist};
use lab::wait_until;

use crate::story::{SOON, cluster};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("metrics: promtool finds nothing wrong with what a daemon tells", linted),
    Test::new("metrics: promtool takes the alert rules, and each fires when it should", rules),
    Test::new("metrics: a real Prometheus scrapes them and answers questions by them", scraped),
];

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

fn scraped() -> Result<()> {
    let (_lab, [a, _b], _pods) = cluster(["a", "b"])?;
    let prometheus = Prometheus::on(&a)?;
    wait_until("Prometheus to know that the node is ready", 2 * SOON, || {
        let answer = prometheus.query("twill_ready and on(instance) up{job=\"twill\"}")?;
        Ok(ensure!(answer.contains("=> 1 "), "{answer}"))
    })
}
