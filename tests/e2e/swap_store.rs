//! Stores exchanged while leases change, on etcd: the watch goes on from the host's cursor, so that no change is missed and none is told twice.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use lab::etcd::{Etcd, NEEDS, place};
use lab::harness::Test;
use lab::{Lab, Node, artifacts, wait_until};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::on_etcd::config;
use crate::story::SOON;

/// The tests of this subject.
pub const TESTS: &[Test] =
    &[Test::new("swap: the store on etcd takes over from itself while leases come and go, each is told of once", amid_leases).needs(NEEDS)];

/// Leases that come and go, and how many of them at once: of more at once twill tells in one event.
const LEASES: usize = 50;
const BURST: usize = 5;

const PLUGIN: &str = "store-etcd";

/// The same plugin as another file: a custom section more.
fn marked(plugin: &[u8]) -> Vec<u8> {
    [plugin, b"\0\x05\x04mark"].concat()
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn subnet(number: usize) -> String {
    format!("10.50.{}.0/24", 100 + number)
}

/// How often the node told of each subnet of ours that it joined or left.
fn told(node: &Node, kind: &str) -> Result<BTreeMap<String, usize>> {
    let (status, body) = node.get("/api/v1/events?limit=1000")?;
    ensure!(status == 200, "{body}");
    let events: Value = serde_json::from_str(&body)?;
    let mut counted = BTreeMap::new();
    for event in events.as_array().context("no list")?.iter().filter(|event| event["kind"] == kind) {
        let about = event["item"].as_str().with_context(|| format!("of several at once: {event}"))?;
        *counted.entry(about.to_owned()).or_default() += 1;
    }
    Ok(counted)
}

fn amid_leases() -> Result<()> {
    let lab = Lab::new("swap-store")?;
    let etcd = Etcd::with_config(&lab, &config("udp"))?;
    let plain = std::fs::read(artifacts::plugins().join("store-etcd.wasm"))?;
    let builds = [plain.clone(), marked(&plain)];
    let a = lab.node("a")?;
    a.drop_plugin("store-etcd.wasm", &builds[0])?;
    a.start(etcd.launch().flags(&Node::PLUGIN_FLAGS))?;
    a.ready(SOON)?;
    let numbers: Vec<usize> = (0..LEASES).collect();
    let mut swaps = 0;
    for kind in ["joined", "left"] {
        for burst in numbers.chunks(BURST) {
            swaps += 1;
            let next = &builds[swaps % 2];
            a.drop_plugin("store-etcd.wasm", next)?;
            // The daemon looks at the file, compiles it and lets it take over while these come.
            for number in burst {
                let (key, value) = (place(&subnet(*number)), format!(r#"{{"PublicIP":"192.168.77.{number}","BackendType":"udp"}}"#));
                match kind {
                    "joined" => etcd.ctl(&["put", &key, &value])?,
                    _ => etcd.ctl(&["del", &key])?,
                };
            }
            wait_until(&format!("word that all of {burst:?} have {kind}"), SOON, || {
                let told = told(&a, kind)?;
                Ok(ensure!(burst.iter().all(|number| told.contains_key(&subnet(*number))), "{told:?}"))
            })?;
            wait_until("the other file in charge", SOON, || {
                let plugin = a.plugin_in_charge(PLUGIN)?;
                Ok(ensure!(plugin["digest"] == digest(next).as_str() && plugin["state"] == "active", "{plugin}"))
            })?;
        }
    }
    // Whatever would be told twice has been by then.
    let last = subnet(LEASES);
    etcd.ctl(&["put", &place(&last), r#"{"PublicIP":"192.168.77.99","BackendType":"udp"}"#])?;
    a.wait_for_lease(last, SOON)?;
    for kind in ["joined", "left"] {
        let told = told(&a, kind)?;
        let wrong: Vec<_> =
            numbers.iter().map(|number| (subnet(*number), told.get(&subnet(*number)))).filter(|one| one.1 != Some(&1)).collect();
        ensure!(wrong.is_empty(), "{kind} otherwise than once: {wrong:?}");
    }
    println!("{LEASES} leases came and went over {swaps} swaps");
    Ok(())
}
