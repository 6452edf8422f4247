//! twill: an overlay network for containers. One binary: the daemon (`twill run`) and the commands that talk to it.
//!
//! Parse, load settings, build, run, drain. What the parts are and how they are joined stands in [`node`].

mod bundle;
mod cli;
mod clock;
mod compat;
mod doctor;
mod exit;
mod node;
mod settings;
mod why;

use std::process::ExitCode;

/// Gives memory back that a burst of news left free (.cargo/config.toml sets how soon), which the C library's does not.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match cli::main(std::env::args_os().collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(exit) => exit.say(),
    }
}
