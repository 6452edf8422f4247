//! `twill plan` changes nothing, and the daemon then does what the plan said, no more and no less.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use lab::harness::Test;
use lab::process::{outcome, said};
use lab::{Launch, Node, artifacts, wait_until};
use serde_json::Value;

use crate::families::{V4, V6, cluster, machines, published, start};
use crate::kernel_state::{Differences, differences, facts, rules};
use crate::story::SOON;

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("plan: before the first start, of udp: nothing is written, and the start does what was said", first_start_udp),
    Test::new("plan: before the first start, of vxlan in both families", first_start_vxlan),
    Test::new("plan: beside a running daemon: nothing, or what another config would change and interrupt", beside),
    Test::new("plan: without a lease it says that one of the free subnets is chosen; without a config it refuses in words", unclear),
];

/// `twill plan` as on the command line of a node, with the lab's store.
fn plan(node: &Node, words: &[&str]) -> Result<String> {
    let mut command = node.command(artifacts::twill())?;
    command.args(["plan", "--store", "file", "--store-dir"]).arg(node.store()).args(words);
    let output = outcome(&mut command)?;
    ensure!(output.status.success(), "{}: {}", output.status, said(&output));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn plan_json(node: &Node, words: &[&str]) -> Result<Value> {
    let text = plan(node, &[words, &["--json"]].concat())?;
    serde_json::from_str(&text).with_context(|| format!("no JSON: {text}"))
}

/// The changes in the kernel that a plan speaks of. Of links only whether they are there.
fn planned(plan: &Value) -> Differences {
    let changes = plan["changes"].as_array().into_iter().flatten();
    let kernels =
        changes.filter(|change| matches!(change["kind"].as_str(), Some("link" | "address" | "route" | "neighbour" | "fdb" | "sysctl")));
    kernels
        .filter_map(|change| {
            let kind = change["kind"].as_str()?.to_owned();
            let word = |key: &str| change[key].as_str().map(|text| if kind == "link" { "there".to_owned() } else { text.to_owned() });
            let (before, after) = (word("before"), word("after"));
            (before != after).then(|| ((kind.clone(), change["what"].as_str().unwrap_or_default().to_owned()), (before, after)))
        })
        .collect()
}

/// The files below a directory, with what is in them.
fn files(dir: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let Ok(entries) = std::fs::read_dir(dir) else { return Ok(found) };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.insert(path.display().to_string(), std::fs::read(&path)?);
        }
    }
    Ok(found)
}

/// Fails with what the kernel tells of changes while `work` is done, but for the routes by which is seen that it tells at all.
fn heard_while<T>(node: &Node, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let log = node.dir("lib").join("monitor.log");
    let mut monitor = node.net().command("ip")?;
    let mut monitor = monitor.args(["monitor", "link", "address", "route"]).stdout(File::create(&log)?).spawn()?;
    let heard = || std::fs::read_to_string(&log);
    // A route to its own words: one before, and one after.
    let hears = |marker: &str| {
        wait_until("the monitor's word of the marker", SOON, || {
            node.ip(&format!("route add {marker} dev eth0"))?;
            node.ip(&format!("route delete {marker} dev eth0"))?;
            Ok(ensure!(heard()?.contains(marker)))
        })
    };
    hears("198.51.100.0/24")?;
    let before = heard()?.len();
    let done = work()?;
    hears("203.0.113.0/24")?;
    monitor.kill()?;
    monitor.wait()?;
    let markers = |line: &&str| line.contains("198.51.100.0/24") || line.contains("203.0.113.0/24");
    let lines: Vec<String> = heard()?[before..].lines().filter(|line| !markers(line)).map(str::to_owned).collect();
    std::fs::remove_file(&log)?;
    ensure!(lines.is_empty(), "something was written to the kernel: {lines:?}");
    Ok(done)
}

fn first_start_udp() -> Result<()> {
    first_start(V4, "udp", &["--ip-masq"])
}

fn first_start_vxlan() -> Result<()> {
    first_start(&format!("{V4},{V6}"), "vxlan", &[])
}

/// Two nodes run; the third has the lease of a flanneld that was stopped, and no trace of twill. It plans, then starts.
fn first_start(families: &str, backend: &str, flags: &[&str]) -> Result<()> {
    let (lab, [a, b, c]) = machines(&format!(r#"{{{families},"Backend":{{"Type":"{backend}"}}}}"#), ["a", "b", "c"])?;
    start(&[&b, &c])?;
    let mut lease = published(&lab, &b)?;
    let own = (a.address().to_string(), crate::families::underlay_v6(&a).to_string());
    lease["node"] = Value::Null;
    lease["public"]["v4"] = own.0.into();
    lease["subnets"]["v4"] = "10.50.250.0/24".into();
    let mut name = "10.50.250.0-24".to_owned();
    if lease["subnets"]["v6"].is_string() {
        lease["subnets"]["v6"] = "fd10:0:0:fa::/64".into();
        lease["public"]["v6"] = own.1.into();
        name += "&fd10:0:0:fa::-64";
    }
    let data = lease["ways"][0].clone();
    for key in ["data_v4", "data_v6"] {
        if let Some(text) = data[key].as_str() {
            let mac = text.split('"').rev().nth(1).context("no MAC")?.to_owned();
            lease["ways"][0][key] = text.replace(&mac, "02:00:00:00:0a:0a").into();
        }
    }
    std::fs::write(lab.store().join(format!("{name}.lease")), lease.to_string())?;
    wait_until("the third lease on the second node", SOON, || Ok(ensure!(b.api("leases")?.to_string().contains("10.50.250.0/24"))))?;

    let (before, store) = (facts(&a)?, files(&lab.store())?);
    let said = heard_while(&a, || plan_json(&a, flags))?;
    ensure!(differences(&before, &facts(&a)?).is_empty(), "the plan changed {:?}", differences(&before, &facts(&a)?));
    let same_store = files(&lab.store())?;
    ensure!(same_store.keys().eq(store.keys()), "the plan wrote to the store: {:?}", same_store.keys());
    ensure!(files(&a.dir("lib").join("twill"))?.is_empty() && files(&a.dir("run"))?.is_empty(), "the plan wrote to /var/lib or /run");

    a.start(Launch::now().flags(flags))?;
    a.ready(SOON)?;
    a.wait_for_lease(b.subnet()?, SOON)?;
    let (done, wanted) = (differences(&before, &facts(&a)?), planned(&said));
    ensure!(done == wanted, "said and not done: {:#?}\ndone and not said: {:#?}", missing(&wanted, &done), missing(&done, &wanted));
    let rules_said = said["changes"].as_array().into_iter().flatten().filter(|change| change["kind"] == "rule").count();
    ensure!(rules(&a)?.matches("comment").count() == rules_said && rules_said > 0, "{rules_said} rules were said: {}", rules(&a)?);
    let file = said["changes"].as_array().into_iter().flatten().find(|change| change["kind"] == "file").context("no file")?;
    ensure!(file["after"] == std::fs::read_to_string(a.dir("run").join("flannel/subnet.env"))?.as_str(), "{file}");
    let lease = said["changes"].as_array().into_iter().flatten().find(|change| change["kind"] == "lease").context("no lease")?;
    ensure!(
        lease["what"].as_str().is_some_and(|what| what.contains("10.50.250.0/24"))
            && lease["before"].as_str().is_some_and(|text| text.contains("flannel")),
        "{lease}"
    );
    ensure!(said["changes"].as_array().into_iter().flatten().all(|change| change["disruption"].is_null()), "{said}");
    let after = plan(&a, flags)?;
    ensure!(after.contains("nothing would change"), "{after}");
    Ok(())
}

fn missing(of: &Differences, from: &Differences) -> Differences {
    of.iter().filter(|(place, change)| from.get(*place) != Some(*change)).map(|(place, change)| (place.clone(), change.clone())).collect()
}

fn beside() -> Result<()> {
    let config = |options: &str| format!(r#"{{{V4},"Backend":{{"Type":"vxlan"{options}}}}}"#);
    let (lab, [a, _b], _pods) = cluster(&config(""), ["a", "b"])?;
    let (before, store) = (facts(&a)?, files(&lab.store())?);
    let (port, mtu) = (config(r#","Port":4790"#), config(r#","MTU":1400"#));
    let (same, interrupting, lossless) = heard_while(&a, || Ok((plan(&a, &[])?, plan_json(&a, &[&port])?, plan(&a, &[&mtu])?)))?;
    ensure!(same.contains("nothing would change") && same.contains("the daemon runs"), "{same}");
    let links: Vec<&Value> = interrupting["changes"].as_array().into_iter().flatten().filter(|change| change["kind"] == "link").collect();
    ensure!(
        links.len() == 1 && links[0]["disruption"].as_str().is_some_and(|why| why.contains("its port 8472 becomes 4790")),
        "{interrupting}"
    );
    ensure!(
        lossless.contains("~ link flannel.1") && lossless.contains("none interrupts traffic") && lossless.contains("FLANNEL_MTU=1350"),
        "{lossless}"
    );
    ensure!(differences(&before, &facts(&a)?).is_empty() && files(&lab.store())?.keys().eq(store.keys()));
    // The daemon then says the same of that config.
    lab.config(&port)?;
    wait_until("the config that waits", SOON, || {
        Ok(ensure!(a.api("node")?["problems"].to_string().contains("its port 8472 becomes 4790")))
    })?;
    let udp = format!(r#"{{{V4},"Backend":{{"Type":"udp"}}}}"#);
    let other = plan(&a, &[&udp])?;
    // The old way stays beside the new one until nobody needs it.
    ensure!(
        other.contains("+ link flannel0") && !other.contains("- link flannel.1") && other.contains("none interrupts traffic"),
        "{other}"
    );
    Ok(())
}

fn unclear() -> Result<()> {
    let lab = lab::Lab::new("plan")?;
    let a = lab.node("a")?;
    let mut command = a.command(artifacts::twill())?;
    command.args(["plan", "--store", "file", "--store-dir"]).arg(a.store());
    let refused = outcome(&mut command)?;
    ensure!(refused.status.code() == Some(1) && said(&refused).contains("twill config set"), "{}", said(&refused));
    let before = files(&lab.store())?;
    let text = plan(&a, &[r#"{"Network":"10.50.0.0/16"}"#])?;
    ensure!(
        text.contains("one of 100 free subnets") && text.contains("+ link flannel0") && text.contains("+ route 10.50.0.0/16"),
        "{text}"
    );
    ensure!(files(&lab.store())? == before, "a plan wrote to an empty store");
    Ok(())
}
