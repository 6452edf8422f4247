//! `make bench`: what twill costs, measured with real daemons in a lab, against a reference in the same run, since figures of different hours do not compare.
//!
//! Each subject is a file with a function that fills a [`Table`]. A bar that is missed makes the exit code 1. `twill-bench WORD` runs the subjects whose names hold the word.

mod start;
mod table;

use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result};
use lab::{artifacts, daemon, world};

use crate::table::Table;

/// A subject's name and its measurement.
type Subject = (&'static str, fn() -> Result<Table>);

/// The subjects.
const SUBJECTS: &[Subject] = &[("start", start::measure)];

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode> {
    if let Some(role) = world::role() {
        return inside(&role);
    }
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let mut code = ExitCode::SUCCESS;
    for (name, _) in SUBJECTS.iter().filter(|(name, _)| name.contains(&wanted)) {
        // Each in a world of its own, so that none sees another's leftovers.
        let status = world::again(&format!("bench-{name}"))?.stdin(Stdio::null()).status()?;
        if !status.success() {
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}

fn inside(role: &str) -> Result<ExitCode> {
    let measure = SUBJECTS.iter().find(|(name, _)| role.ends_with(name)).context("no such subject")?.1;
    world::settle()?;
    let _ = std::fs::remove_dir_all(artifacts::logs(role));
    let table = measure().inspect_err(|_| daemon::print_logs(role))?;
    print!("{table}");
    Ok(if table.all_met() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
