//! End-to-end tests: real daemons, real plugins and real packets, each test in a lab of its own. One subject a file.

mod instruments;

use std::process::ExitCode;

use lab::harness::{Test, main as run};

fn main() -> ExitCode {
    let subjects: [&[Test]; 1] = [instruments::TESTS];
    run(&subjects.concat())
}
