//! The test runner: each test runs in a process and a world of its own, several at a time; a test that this kernel cannot run is shown as ignored, with the reason.
//!
//! The output and the arguments (a filter, `--list`, `--test-threads`) are cargo test's own.

use std::process::{ExitCode, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial};

use crate::cgroups::Cgroups;
use crate::{artifacts, containers, daemon, random, world};

/// Tests that run at the same time unless `--test-threads` says otherwise.
const JOBS: usize = 3;
/// The role of the process that finds out what this kernel can do.
const PROBE: &str = "probe";

/// One test.
#[derive(Debug, Clone, Copy)]
pub struct Test {
    /// Its name: subject and claim.
    pub name: &'static str,
    /// What it does; runs inside a settled world.
    pub run: fn() -> Result<()>,
    /// It takes minutes: only under `TWILL_LONG=1`.
    pub long: bool,
    /// It wants the machine for itself: it measures.
    pub alone: bool,
    /// What it cannot do without.
    pub needs: &'static [Need],
    /// It starts container daemons, which want the machine's own root and leave cgroups behind.
    pub containers: bool,
}

/// Something that a test cannot do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// A program on this machine; under CI its lack is a failure.
    Program(&'static str),
    /// A variable that the operator has to set; the text says to what.
    Variable(&'static str, &'static str),
    /// A file on this machine, and the Debian package that it comes from; under CI its lack is a failure.
    File(&'static str, &'static str),
    /// A file below the target directory, and what makes it; under CI its lack is a failure.
    Built(&'static str, &'static str),
    /// A command that works in a network namespace of its own on this machine's kernel; under CI its lack is a failure.
    Works(&'static [&'static str]),
}

impl Need {
    /// What to do so that the test can run; none when it can.
    fn lacking(self) -> Option<String> {
        let installed = |program| {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
        };
        match self {
            Need::Program(program) if !installed(program) => Some(format!("{program} is not installed")),
            Need::Variable(name, value) if std::env::var_os(name).is_none() => Some(format!("set {name} to {value}")),
            Need::File(path, package) if !std::path::Path::new(path).exists() => Some(format!("{package} is not installed")),
            Need::Built(path, maker) if !artifacts::outside().join(path).exists() => Some(format!("{path} is not there: {maker}")),
            Need::Works(words) => {
                let mut alone = std::process::Command::new("unshare");
                let lack = crate::process::run(alone.args(["--map-root-user", "--net"]).args(words)).err()?;
                Some(format!("`{}` does not work here: {}", words.join(" "), format!("{lack:#}").replace('\n', " ")))
            }
            _ => None,
        }
    }

    fn is_operators(self) -> bool {
        matches!(self, Need::Variable(..))
    }
}

impl Test {
    /// A test for every run.
    pub const fn new(name: &'static str, run: fn() -> Result<()>) -> Test {
        Test { name, run, long: false, alone: false, needs: &[], containers: false }
    }

    /// A test that takes minutes.
    pub const fn long(name: &'static str, run: fn() -> Result<()>) -> Test {
        Test { name, run, long: true, alone: false, needs: &[], containers: false }
    }

    /// The same test with the machine to itself, after the others.
    pub const fn alone(mut self) -> Test {
        self.alone = true;
        self
    }

    /// The same test with the machine's own root instead of a user namespace's, for container daemons.
    pub const fn with_containers(mut self) -> Test {
        self.containers = true;
        self
    }

    /// The same test, which cannot do without these.
    pub const fn needs(mut self, needs: &'static [Need]) -> Test {
        self.needs = needs;
        self
    }
}

/// True when the full forms of tests are wanted (`make test-long`).
pub fn long() -> bool {
    std::env::var_os("TWILL_LONG").is_some_and(|value| value == "1")
}

/// True where nothing may be lacking: what a test needs and this machine does not have is a failure there.
fn complete() -> bool {
    ["CI", "TWILL_COMPLETE"].iter().any(|name| std::env::var_os(name).is_some())
}

/// The main function of a test program.
pub fn main(tests: &[Test]) -> ExitCode {
    match world::role() {
        Some(role) if role == PROBE => probe(),
        Some(role) => inside(tests, &role),
        None => outside(tests),
    }
}

fn probe() -> ExitCode {
    let missing = world::settle().map(|()| world::missing());
    match missing {
        Ok(missing) => missing.iter().for_each(|(name, reason)| println!("{name}: {reason}")),
        Err(error) => println!("namespaces: {error:#}"),
    }
    ExitCode::SUCCESS
}

fn inside(tests: &[Test], role: &str) -> ExitCode {
    let Some(test) = tests.iter().find(|test| test.name == role) else {
        println!("there is no test {role}");
        return ExitCode::FAILURE;
    };
    let outcome = world::settle().and_then(|()| {
        let _ = std::fs::remove_dir_all(artifacts::logs(test.name));
        (test.run)()
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error:#}");
            daemon::print_logs(test.name);
            ExitCode::FAILURE
        }
    }
}

fn outside(tests: &[Test]) -> ExitCode {
    let mut args = Arguments::from_args();
    args.test_threads.get_or_insert(JOBS);
    let lacking = lacking();
    if let Some(reason) = lacking.as_ref().filter(|_| complete()) {
        eprintln!("the lab cannot run here, and under CI that is a failure: {reason}");
        return ExitCode::FAILURE;
    }
    let wanted = |test: &&Test| args.filter.as_ref().is_none_or(|words| test.name.contains(words));
    let (alone, together): (Vec<&Test>, Vec<&Test>) = tests.iter().filter(wanted).partition(|test| test.alone);
    let threads = args.test_threads;
    let mut run = |group: Vec<&Test>, threads: Option<usize>| {
        args.test_threads = threads;
        let trials: Vec<Trial> = group.into_iter().map(|test| trial(test, lacking.as_deref(), args.nocapture || long())).collect();
        if trials.is_empty() { 0 } else { libtest_mimic::run(&args, trials).num_failed }
    };
    let failed = run(together, threads) + run(alone, Some(1));
    if failed == 0 {
        return ExitCode::SUCCESS;
    }
    // The long form has time for each test, and a loss that is rare is what it looks for: there the first failure counts.
    let again: Vec<&Test> = tests.iter().filter(|test| has_failed(test.name)).collect();
    if long() || again.len() as u64 != failed || failed > MOST_AGAIN {
        return ExitCode::from(101);
    }
    // On a busy machine three labs at a time take each other's milliseconds. What failed is tried once more by itself, and that counts.
    println!("\nonce more, each by itself, since they failed beside others: {}", names(&again));
    let lost = run(again.clone(), Some(1));
    let told: Vec<&Test> = again.iter().copied().filter(|test| !failed_again(test.name)).collect();
    told.iter().for_each(|test| println!("\n---- what the first try of \"{}\" said ----\n{}", test.name, first_words(test.name)));
    println!("\npassed only by a second try: {}", if told.is_empty() { "none".into() } else { names(&told) });
    if lost == 0 { ExitCode::SUCCESS } else { ExitCode::from(101) }
}

/// A run of a test that failed.
struct Failure {
    name: &'static str,
    said: String,
}

/// The runs that failed, in order: one of a test, or two.
static FAILED: Mutex<Vec<Failure>> = Mutex::new(Vec::new());

/// More failures than this are no matter of a busy machine.
const MOST_AGAIN: u64 = 6;

fn failures_of<T>(name: &str, ask: impl FnOnce(&[&Failure]) -> T) -> T {
    let failed = FAILED.lock().unwrap_or_else(PoisonError::into_inner);
    ask(&failed.iter().filter(|failure| failure.name == name).collect::<Vec<_>>())
}

fn has_failed(name: &str) -> bool {
    failures_of(name, |failures| !failures.is_empty())
}

fn failed_again(name: &str) -> bool {
    failures_of(name, |failures| failures.len() > 1)
}

/// What the first run that failed said.
fn first_words(name: &str) -> String {
    failures_of(name, |failures| failures.first().map(|failure| failure.said.clone())).unwrap_or_default()
}

fn names(tests: &[&Test]) -> String {
    tests.iter().map(|test| format!("\"{}\"", test.name)).collect::<Vec<_>>().join(", ")
}

/// Why no lab can be made here, in one line; none when one can.
fn lacking() -> Option<String> {
    let answer = world::again(PROBE).and_then(|mut command| crate::process::run(&mut command));
    let text = answer.unwrap_or_else(|error| format!("{error:#}"));
    let line = text.trim().replace('\n', "; ");
    (!line.is_empty()).then_some(line)
}

fn trial(test: &Test, lacking: Option<&str>, shown: bool) -> Trial {
    let (test, name) = (*test, test.name);
    let need = test.needs.iter().find_map(|need| Some((need, need.lacking()?)));
    let no_containers = test.containers.then(containers::lacking).flatten();
    let reason = match (lacking, need) {
        (Some(reason), _) => reason.to_owned(),
        (None, _) if test.long && !long() => "make test-long".into(),
        (None, Some((need, lack))) if complete() && !need.is_operators() => return Trial::test(name, move || Err(lack.into())),
        (None, Some((_, lack))) => lack,
        (None, None) => match no_containers {
            Some(lack) => lack,
            None => return Trial::test(name, move || in_a_world(test, shown)),
        },
    };
    Trial::test(name, || Ok(())).with_ignored_flag(true).with_kind(format!("skipped: {reason}"))
}

/// What a passing test prints, such as the figures that it measured, is `shown` with `--nocapture` and in the long form; what it could not do, always.
fn in_a_world(test: Test, shown: bool) -> Result<(), Failed> {
    // However the test ends, its cgroups go.
    let cgroups = test.containers.then(Cgroups::new);
    let command = if test.containers { world::again_as_root(test.name) } else { world::again(test.name) };
    let mut command = command.map_err(|error| Failed::from(format!("{error:#}")))?;
    cgroups.iter().for_each(|cgroups| cgroups.tell(&mut command));
    // A second try goes the way of the first.
    if let Some(seed) = random::printed_seed(&first_words(test.name)) {
        command.env(random::SEED, seed.to_string());
    }
    let output = command.stdin(Stdio::null()).output()?;
    if !output.status.success() {
        let said = format!("{}\n{}", output.status, crate::process::said(&output));
        FAILED.lock().unwrap_or_else(PoisonError::into_inner).push(Failure { name: test.name, said: said.clone() });
        return Err(Failed::from(said));
    }
    let said = crate::process::said(&output);
    said.lines().filter(|line| shown || line.starts_with("skipped:")).for_each(|line| println!("    {line}"));
    Ok(())
}
