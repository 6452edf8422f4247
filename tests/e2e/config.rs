//! The network config: checked before it is written, with errors that point at the key; and what nodes make of it.

use std::process::{Command, Output};

use anyhow::{Result, ensure};
use lab::harness::Test;
use lab::process::{outcome, said};
use lab::{Lab, Launch, artifacts, wait_until};

use crate::story::{SOON, cluster};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("config: a bad one is refused with the key, and not written", refused),
    Test::new("config: what was set is shown, byte for byte", shown),
    Test::new("config: a node that waits for one starts when it comes", awaited),
    Test::new("config: subnet.env is as flannel writes it", subnet_env),
    Test::new("config: a foreign file and a half-written one in the store are reported and skipped", oddities),
];

fn twill(lab: &Lab, args: &[&str]) -> Result<Output> {
    let mut command = Command::new(artifacts::twill());
    command.args(args).args(["--store", "file", "--store-dir"]).arg(lab.store());
    outcome(command.env("TWILL_CACHE_DIR", artifacts::cache().join("twill")))
}

fn refused() -> Result<()> {
    let lab = Lab::new("refused")?;
    let good = r#"{"Network":"10.1.0.0/16"}"#;
    lab.config(good)?;
    let cases = [
        (r#"{"Network":"#, "JSON"),
        (r#"{"Network":7}"#, "Network"),
        (r#"{"Network":"10.1.0.0/99"}"#, "Network"),
        (r#"{"Network":"10.1.0.0/31"}"#, "Network"),
        (r#"{"Network":"10.1.0.0/16","SubnetLen":"24"}"#, "SubnetLen"),
        (r#"{"Network":"10.1.0.0/16","SubnetLen":8}"#, "SubnetLen"),
        (r#"{"Network":"10.1.0.0/16","SubnetMin":"10.2.0.0"}"#, "SubnetMin"),
        (r#"{"Network":"10.1.0.0/16","Backend":{"Type":5}}"#, "Type"),
        ("{}", "Network"),
    ];
    for (config, key) in cases {
        for act in ["check", "set"] {
            let output = twill(&lab, &["config", act, config])?;
            ensure!(output.status.code() == Some(78), "config {act} {config}: {}: {}", output.status, said(&output));
            ensure!(said(&output).contains(key), "the error about {config} does not name {key}: {}", said(&output));
        }
    }
    ensure!(said(&twill(&lab, &["config", "show"])?).contains(good), "a refused config was written");
    Ok(())
}

fn shown() -> Result<()> {
    let lab = Lab::new("shown")?;
    let text = "{ \"Network\": \"10.1.0.0/16\",\n  \"Backend\": {\"Type\": \"udp\",   \"Port\": 9000} }";
    lab.config(text)?;
    let output = twill(&lab, &["config", "show"])?;
    ensure!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains(text), "{}", said(&output));
    ensure!(twill(&lab, &["config", "check"])?.status.success());
    Ok(())
}

fn awaited() -> Result<()> {
    let lab = Lab::new("awaited")?;
    let a = lab.node("a")?;
    a.start(Launch::now())?;
    wait_until("the daemon to say what it waits for", SOON, || {
        let log = a.log()?;
        ensure!(log.contains("config"), "{log}");
        Ok(())
    })?;
    ensure!(a.ended()?.is_none(), "the daemon ended instead of waiting: {}", a.log()?);
    lab.network("10.50.0.0/16")?;
    a.ready(SOON)
}

fn subnet_env() -> Result<()> {
    let (_lab, [a], _pods) = cluster(["a"])?;
    let path = a.dir("run").join("flannel/subnet.env");
    let text = std::fs::read_to_string(&path)?;
    let base = a.subnet()?;
    let first = base.replace(".0/24", ".1/24");
    let expected = format!("FLANNEL_NETWORK=10.50.0.0/16\nFLANNEL_SUBNET={first}\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=false\n");
    ensure!(text == expected, "{text}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path)?.permissions()) & 0o777;
    ensure!(mode == 0o644, "mode {mode:o}");
    Ok(())
}

fn oddities() -> Result<()> {
    let (lab, [a, _b], pods) = cluster(["a", "b"])?;
    std::fs::write(lab.store().join("shopping.txt"), "milk")?;
    std::fs::write(lab.store().join("10.50.77.0-24.lease"), "{\"half\":")?;
    wait_until("both to be reported", SOON, || {
        let told = a.api("node")?["store"]["oddities"].to_string();
        ensure!(told.contains("shopping.txt") && told.contains("10.50.77.0"), "{told}");
        Ok(())
    })?;
    ensure!(a.api("leases")?.as_array().is_some_and(|leases| leases.len() == 2), "{}", a.api("leases")?);
    pods[0].reaches(&pods[1], SOON)
}
