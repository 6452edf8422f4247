//! End-to-end tests: real daemons, real plugins and real packets, each test in a lab of its own. One subject a file.

mod away;
mod claims;
mod config;
mod datagrams;
mod expiry;
mod farewell;
mod hostile;
mod idle;
mod instruments;
mod joining;
mod path;
mod refusals;
mod repair;
mod restart;
mod story;

use std::process::ExitCode;

use lab::harness::{Test, main as run};

fn main() -> ExitCode {
    let subjects: [&[Test]; 14] = [
        instruments::TESTS,
        joining::TESTS,
        restart::TESTS,
        path::TESTS,
        datagrams::TESTS,
        repair::TESTS,
        hostile::TESTS,
        away::TESTS,
        expiry::TESTS,
        config::TESTS,
        refusals::TESTS,
        farewell::TESTS,
        claims::TESTS,
        idle::TESTS,
    ];
    run(&subjects.concat())
}
