//! `make demo`: three nodes with pods on this machine, joined by real twill daemons, proved by real traffic.
//!
//! The process that is started stays outside: it forwards the dashboard out of the lab and ends everything on Ctrl-C. It starts itself again inside a lab,
//! where the story is told. `twill-demo in NAME [COMMAND…]`, run inside by nsenter, is the door to a node or pod.

mod inside;
mod outside;
mod page;

use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use lab::view::View;
use lab::{artifacts, world};

const USAGE: &str = "usage: twill-demo [--once] | twill-demo in NODE-OR-POD [COMMAND…]";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[&str]) -> Result<ExitCode> {
    match (args, world::role()) {
        (["in", name, command @ ..], _) => enter(name, command),
        ([] | ["--once"], None) => outside::run(args),
        ([] | ["--once"], Some(_)) => inside::run(!args.is_empty()).map(|()| ExitCode::SUCCESS),
        _ => bail!("{USAGE}"),
    }
}

/// Becomes a command, or a shell, on a node or in a pod.
fn enter(name: &str, command: &[&str]) -> Result<ExitCode> {
    let (program, args) = command.split_first().unwrap_or((&"/bin/sh", &[]));
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = View::of(name)?.command(program.as_ref());
    command.args(args).env("PATH", format!("{}:{path}", artifacts::inside().join("release").display())).env("PS1", format!("{name}# "));
    Err(command.exec()).with_context(|| format!("cannot run {program}"))
}
