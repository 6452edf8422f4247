//! `make bench`: what twill costs, measured with real daemons in a lab, against a reference in the same run, since figures of different hours do not compare.
//!
//! Each subject is a file with a function that measures and prints a table. A bar that is missed makes the exit code 1. `twill-bench WORD` runs the subjects whose
//! names hold the word, `--quick` in few and short rounds.

mod crowd;
mod page;
mod path;
mod peers;
mod plot;
mod report;
mod start;
mod table;

use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use lab::cgroups::Cgroups;
use lab::{artifacts, daemon, world};

/// A subject's name and its measurement, which prints what it finds and tells whether all bars are met.
type Subject = (&'static str, fn() -> Result<bool>);

/// The subjects.
const SUBJECTS: &[Subject] = &[
    ("start", start::measure),
    ("peers", peers::measure),
    ("page-leases", page::leases),
    ("page-followers", page::followers),
    ("path-veth", path::over_veth),
    ("path-card", path::over_card),
];

/// Set for the processes inside, when `--quick` was said.
const QUICK: &str = "TWILL_BENCH_QUICK";
const USAGE: &str = "usage: twill-bench [--quick] [WORD]   (the subjects whose names hold WORD)\n       twill-bench --report           (writes the report of the path anew, from the figures of its last runs)";

/// True when few and short rounds are wanted: a look, not figures to quote.
fn is_quick() -> bool {
    std::env::var_os(QUICK).is_some()
}

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
    let (mut wanted, mut quick) = (String::new(), false);
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--quick" => quick = true,
            "--report" => return report::write().map(|()| ExitCode::SUCCESS),
            flag if flag.starts_with('-') => bail!("{USAGE}"),
            word => wanted = word.into(),
        }
    }
    let (mut code, mut paths, mut pages) = (ExitCode::SUCCESS, 0, 0);
    for (name, _) in SUBJECTS.iter().filter(|(name, _)| name.contains(&wanted)) {
        // Each in a world of its own, so that none sees another's leftovers.
        let role = format!("bench-{name}");
        // Only the machine's own root may say on which core a node receives.
        let mut command =
            if name.starts_with("path") && world::is_own_root() { world::again_as_root(&role)? } else { world::again(&role)? };
        // However it ends, its cgroups go.
        let cgroups = Cgroups::new();
        cgroups.tell(&mut command);
        if quick {
            command.env(QUICK, "1");
        }
        let status = command.stdin(Stdio::null()).status()?;
        if !status.success() {
            code = ExitCode::FAILURE;
        }
        paths += usize::from(name.starts_with("path"));
        pages += usize::from(name.starts_with("page"));
    }
    // Few short rounds are nothing to publish.
    if paths == 2 && !quick {
        report::write()?;
    }
    if pages == 2 && !quick {
        page::write()?;
    }
    Ok(code)
}

fn inside(role: &str) -> Result<ExitCode> {
    let measure = SUBJECTS.iter().find(|(name, _)| role.ends_with(name)).context("no such subject")?.1;
    world::settle()?;
    let _ = std::fs::remove_dir_all(artifacts::logs(role));
    let all_met = measure().inspect_err(|_| daemon::print_logs(role))?;
    Ok(if all_met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
