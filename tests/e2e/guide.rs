//! The guide's last step, on two machines: the component that its commands left, run by the commands that it names.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use lab::harness::{Need, Test};
use lab::{Lab, Node, artifacts, wait_until};

use crate::story::{SOON, all_pairs};

#[path = "../kit/console.rs"]
mod console;

/// The tests of this subject.
pub const TESTS: &[Test] = &[Test::new("guide: the backend that it builds carries packets, by the commands that it names", guide)
    .needs(&[Need::Built("guide/nearest.wasm", "make kit")])];

/// The document with the commands.
const GUIDE: &str = include_str!("../../web/docs/write-a-plugin.md");

fn guide() -> Result<()> {
    let built = artifacts::inside().join("guide/nearest.wasm");
    let lines: Vec<String> = console::blocks(GUIDE).into_iter().flat_map(|block| block.root).collect();
    ensure!(lines.iter().any(|line| line.starts_with("twill run ")), "the guide runs no daemon: {lines:?}");
    let lab = Lab::new("guide")?;
    let [a, b] = [lab.node("a")?, lab.node("b")?];
    let mut daemons = Vec::new();
    for (place, node) in [&a, &b].into_iter().enumerate() {
        // What needs no daemon comes first; the config is written once, by the first.
        for line in lines.iter().filter(|line| place == 0 || !line.starts_with("twill config")) {
            let home = built.parent().context("a folder")?;
            if line.starts_with("twill plugin list") || line.starts_with("twill routes") {
                wait_until("a ready daemon", SOON, || {
                    node.get("/readyz").and_then(|(status, body)| {
                        ensure!(status == 200, "{body}");
                        Ok(())
                    })
                })?;
            }
            daemons.extend(run(node, line, home)?);
        }
    }
    lab.wait_for_routes(&[&a, &b], SOON)?;
    let pods = [a.pod("p1")?, b.pod("p1")?];
    all_pairs(&pods)?;
    let route = a.ip(&format!("route show {}", b.subnet()?))?;
    ensure!(route.contains(&format!("via {}", b.address())) && route.contains("mtu 1400"), "{route}");
    ensure!(a.subnet_env("FLANNEL_MTU")? == "1400");
    for mut daemon in daemons {
        daemon.kill()?;
        daemon.wait()?;
    }
    Ok(())
}

/// Runs a line as root's shell on the node does, in the folder of the component; a line that ends with "&" goes on.
fn run(node: &Node, line: &str, home: &std::path::Path) -> Result<Option<std::process::Child>> {
    let store = node.store().to_str().context("a path")?;
    // The reader's shared directory is the lab's.
    let line = line.replace("/srv/twill", store);
    let mut command = node.command("/bin/bash")?;
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", artifacts::twill().parent().context("a folder")?.display());
    command.current_dir(home).env("PATH", path).stdin(Stdio::null());
    match line.strip_suffix(" &") {
        Some(daemon) => {
            let log = std::fs::File::create(node.dir("lib").join("guide.log"))?;
            let words = format!("exec {daemon}");
            Ok(Some(command.args(["-c", &words]).stdout(log.try_clone()?).stderr(log).spawn()?))
        }
        None => {
            lab::process::run(command.args(["-ec", &line])).with_context(|| format!("the guide's `{line}` fails"))?;
            Ok(None)
        }
    }
}
