//! What scripts read: each command of an operator's prints one JSON document under `--json`, or one a line where it follows, with what the words are told from.

use anyhow::{Context, Result, ensure};
use lab::harness::Test;
use lab::process::outcome;
use lab::{Node, artifacts};
use serde_json::Value;

use crate::story::cluster;

/// The tests of this subject.
pub const TESTS: &[Test] = &[Test::new("scripts: every command of an operator's prints JSON under --json", every_command)];

/// What a command prints under `--json`, all of it JSON.
fn json(node: &Node, words: &[&str]) -> Result<Value> {
    let output = outcome(node.command(artifacts::twill())?.args(words).arg("--json"))?;
    ensure!(output.status.success(), "{words:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).with_context(|| format!("{words:?} prints {}", String::from_utf8_lossy(&output.stdout)))
}

fn every_command() -> Result<()> {
    let (lab, [a, b], [_p, q]) = cluster(["a", "b"])?;
    let (own, other, pod, path) = (a.subnet()?, b.subnet()?, q.address().to_string(), lab.store().display().to_string());
    let store = ["--store", "file", "--store-dir", path.as_str()];
    let on_store = |words: &[&'static str]| [words, &store].concat();
    let public = b.address().to_string();
    let says = |words: &[&str], place: &str, wanted: &str| -> Result<()> {
        let told = json(&a, words)?;
        let found = told.pointer(place).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        Ok(ensure!(found.as_deref() == Some(wanted), "{words:?} has {found:?} at {place} and not {wanted}: {told:#}"))
    };
    let lists = |words: &[&str], wanted: &str| -> Result<()> {
        let told = json(&a, words)?;
        let holds = told.as_array().is_some_and(|all| all.iter().any(|one| one.to_string().contains(wanted)));
        Ok(ensure!(holds, "{words:?} lists no {wanted}: {told:#}"))
    };
    says(&["status"], "/subnets/v4", &own)?;
    says(&["backend", "status"], "/node/subnets/v4", &own)?;
    says(&["backend", "status"], "/paths/0/subnets/v4", &other)?;
    says(&["explain", &pod], "/address", &pod)?;
    lists(&["leases"], &other)?;
    lists(&["routes"], "10.50.0.0/16")?;
    lists(&["peers"], &public)?;
    lists(&["plugins"], "backend-udp")?;
    lists(&["tunnels"], "flannel0")?;
    lists(&["state"], "flannel0")?;
    lists(&["events"], "daemon")?;
    ensure!(json(&a, &on_store(&["plan"]))?.to_string().contains("10.50."), "a plan without a route");
    ensure!(json(&a, &on_store(&["doctor"]))?.to_string().contains("\"check\":\"store\""), "doctor looked at no store");
    let reserve = [&["reserve", "10.50.78.0/24", "--for", "192.168.50.99"][..], &store].concat();
    says(&reserve, "/subnets/v4", "10.50.78.0/24")?;
    says(&reserve, "/public/v4", "192.168.50.99")?;
    let unreserve = [&["unreserve", "10.50.78.0/24"][..], &store].concat();
    says(&unreserve, "/done", "10.50.78.0/24 is reserved no longer")?;
    ensure!(json(&a, &["reconcile"])?["done"].is_string());
    let drained = json(&a, &["drain", "--for", "1s"])?;
    ensure!(drained["done"].as_str().is_some_and(|done| done.contains(&own)), "{drained}");
    ensure!(json(&b, &["release"])?["done"].as_str().is_some_and(|done| done.contains(&other)));
    Ok(())
}
