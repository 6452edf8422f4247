//! How long a daemon takes from its start to `/readyz`, with plugins compiled before and without, and how much memory it then holds.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lab::process::run;
use lab::{Lab, Launch, Node, artifacts};

use crate::table::Table;

const ROUNDS: usize = 15;
/// The bars.
const READY_MS: f64 = 300.0;
const MEMORY_MB: f64 = 40.0;
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts the daemon again and again, the ways interleaved.
pub fn measure() -> Result<bool> {
    let lab = Lab::new("start")?;
    lab.network("10.50.0.0/16")?;
    let node = lab.node("a")?;
    start(&node, Launch::now())?;
    node.kill()?;
    let (mut bare, mut cached, mut cold, mut memory) = (vec![], vec![], vec![], vec![]);
    for round in 0..ROUNDS {
        bare.push(version()?);
        cached.push(start(&node, Launch::now())?);
        memory.push(node.memory_kb("VmRSS")? as f64 / 1000.0);
        node.kill()?;
        cold.push(start(&node, Launch::now().flags(&["--cache-dir", &format!("/run/cold-{round}")]))?);
        node.kill()?;
    }
    let mut table = Table::new(&format!("start of a daemon, {ROUNDS} rounds, interleaved"));
    table.row("twill --version (the bare process)", "ms", bare, None);
    table.row("to /readyz, plugins compiled before", "ms", cached, Some(READY_MS));
    table.row("to /readyz, nothing compiled before", "ms", cold, None);
    table.row("resident memory when ready", "MB", memory, Some(MEMORY_MB));
    print!("{table}");
    Ok(table.all_met())
}

fn version() -> Result<f64> {
    let start = Instant::now();
    run(Command::new(artifacts::twill()).arg("--version"))?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

/// Milliseconds from the start of the process to the first 200 of `/readyz`.
fn start(node: &Node, launch: Launch) -> Result<f64> {
    let start = Instant::now();
    node.start(launch)?;
    while !matches!(node.get("/readyz"), Ok((200, _))) {
        ensure!(node.ended()?.is_none() && start.elapsed() < PATIENCE, "the daemon does not get ready:\n{}", node.log()?);
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(start.elapsed().as_secs_f64() * 1e3)
}
