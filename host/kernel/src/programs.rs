//! Running the programs `nft` and `iptables`: rules go in as text on standard input, never through a shell.

use std::io::ErrorKind;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use twill_firewall::{Unreadable, Unsaved};
use twill_model::firewall::Engine;
use twill_reconcile::ports::Refused;

/// Where programs are looked for: in PATH, and where they are on systems whose PATH lacks it for users.
const FOLDERS: &[&str] = &["", "/usr/sbin/", "/sbin/"];

/// Some milliseconds are usual. Repairs of routes wait meanwhile, so a longer wait is a failure.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a program did not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FilterError {
    #[error("{}", missing(.0))]
    Missing(String),
    #[error("{0} cannot be run: {1}")]
    Run(String, std::io::Error),
    #[error("{program} gave no answer within {} s", PATIENCE.as_secs())]
    Silent { program: String },
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error(transparent)]
    Unsaved(#[from] Unsaved),
}

impl FilterError {
    /// As the reconciler is told it.
    pub(crate) fn refused(&self, act: &str) -> Refused {
        Refused { act: act.to_owned(), cause: self.to_string() }
    }
}

fn missing(program: &str) -> String {
    let (package, other) = match program {
        "nft" => ("nftables", Engine::Iptables),
        _ => ("iptables", Engine::Nft),
    };
    let other = match other {
        Engine::Nft => "--firewall=nft",
        Engine::Iptables => "--firewall=iptables",
    };
    format!(
        "the program {program} is not installed; install the package {package}, or choose {other}, or --forward-rules=leave without --ip-masq"
    )
}

/// Runs a program to its end and returns what it printed. `started` is told its process id before it is told what to do.
pub(crate) async fn run(program: &str, words: &[&str], input: &str, started: impl Fn(u32)) -> Result<String, FilterError> {
    let attempts = async {
        for folder in FOLDERS {
            match one(&format!("{folder}{program}"), program, words, input, &started).await {
                Err(FilterError::Run(_, error)) if error.kind() == ErrorKind::NotFound => {}
                done => return done,
            }
        }
        Err(FilterError::Missing(program.to_owned()))
    };
    tokio::time::timeout(PATIENCE, attempts).await.unwrap_or_else(|_| Err(FilterError::Silent { program: program.to_owned() }))
}

async fn one(path: &str, program: &str, words: &[&str], input: &str, started: impl Fn(u32)) -> Result<String, FilterError> {
    let mut command = Command::new(path);
    command.args(words).env("LC_ALL", "C").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let failed = |error| FilterError::Run(program.to_owned(), error);
    let mut child = command.spawn().map_err(failed)?;
    child.id().into_iter().for_each(started);
    if let Some(mut stdin) = child.stdin.take() {
        // A child that ended early says why on its error output.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    let output = child.wait_with_output().await.map_err(failed)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(FilterError::Refused(complaint(program, &String::from_utf8_lossy(&output.stderr), output.status)))
}

/// The line that says what is wrong; below it nft quotes the rule, before it iptables may warn of something else.
fn complaint(program: &str, said: &str, status: ExitStatus) -> String {
    let mut lines = said.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.next().map_or_else(|| format!("{program} ended with {status} and said nothing"), |line| format!("{program} says: {line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn told(program: &str, words: &[&str]) -> String {
        run(program, words, "", |_| {}).await.expect_err("it fails").to_string()
    }

    #[tokio::test]
    async fn a_missing_program_is_named_with_its_package() {
        assert!(told("no-such-iptables-save", &[]).await.contains("install the package iptables, or choose --firewall=nft"));
        assert!(missing("nft").contains("install the package nftables, or choose --firewall=iptables"));
    }

    #[tokio::test]
    async fn what_a_program_does_not_do_is_told_in_its_words() {
        let said = told("ls", &["-f", "-", "/nowhere"]).await;
        assert!(said.starts_with("ls says: ls: "), "{said}");
        assert!(told("false", &[]).await.ends_with("and said nothing"));
        assert_eq!(run("cat", &[], "text", |_| {}).await.expect("it prints"), "text");
    }

    #[test]
    fn warnings_are_no_complaint() {
        let said = "# Warning: iptables-legacy tables present\n\niptables-restore: line 3 failed\n";
        assert_eq!(complaint("iptables-restore", said, ExitStatus::default()), "iptables-restore says: iptables-restore: line 3 failed");
    }
}
