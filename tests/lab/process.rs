//! Running programs to their end: what they print is the answer, or the error.

use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Runs to the end and returns standard output; any other exit than 0 is an error that holds what was printed.
pub fn run(command: &mut Command) -> Result<String> {
    let output = outcome(command)?;
    if !output.status.success() {
        bail!("{} ({}): {}", words(command), output.status, said(&output));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs to the end, whatever the exit status.
pub fn outcome(command: &mut Command) -> Result<Output> {
    command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {}", words(command)))
}

/// Runs to the end and reads standard output as JSON.
pub fn json(command: &mut Command) -> Result<Value> {
    let text = run(command)?;
    if text.trim().is_empty() {
        return Ok(Value::Array(Vec::new()));
    }
    serde_json::from_str(&text).with_context(|| format!("{} did not print JSON: {text}", words(command)))
}

/// Both outputs as one text.
pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)).trim().to_string()
}

fn words(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
