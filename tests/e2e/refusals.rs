//! A daemon that cannot start says why in one clear sentence, with an exit code that fits.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail, ensure};
use lab::harness::Test;
use lab::process::{outcome, said};
use lab::{Lab, Node, artifacts};

use crate::story::NETWORK;

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("refusals: not root", not_root),
    Test::new("refusals: no /dev/net/tun", no_tun),
    Test::new("refusals: an interface that is not there", no_interface),
    Test::new("refusals: no plugin", no_plugin),
    Test::new("refusals: no store named", no_store),
    Test::new("refusals: a store that there is no plugin for", unknown_store),
    Test::new("refusals: flags that are wrong", wrong_flags),
    Test::new("refusals: a config of bad JSON, wrong types, a network too small", bad_config),
];

fn node(config: &str) -> Result<(Lab, Node)> {
    let lab = Lab::new("refusal")?;
    if !config.is_empty() {
        std::fs::write(lab.store().join("config.json"), config)?;
    }
    let node = lab.node("a")?;
    Ok((lab, node))
}

fn good() -> String {
    format!(r#"{{"Network":"{NETWORK}"}}"#)
}

/// The command ends with that code, having said one sentence with these words.
fn refuses(command: &mut Command, code: i32, words: &[&str]) -> Result<()> {
    let output = outcome(command)?;
    let told = said(&output);
    ensure!(output.status.code() == Some(code), "{} instead of code {code}: {told}", output.status);
    let Some((_, sentence)) = told.split_once("twill: ") else { bail!("there is no sentence of twill's: {told}") };
    for word in words {
        ensure!(sentence.to_lowercase().contains(&word.to_lowercase()), "\"{word}\" is not in: {sentence}");
    }
    ensure!(sentence.lines().count() <= 6, "that is no sentence but a page: {sentence}");
    ensure!(!told.contains("panicked") && !told.contains("RUST_BACKTRACE"), "{told}");
    Ok(())
}

/// `twill run` with the lab's store, ended by `timeout` (code 124) after twenty seconds if it does not refuse.
fn run(node: &Node) -> Result<Command> {
    let mut command = node.command("timeout")?;
    command.args(["20"]).arg(artifacts::twill()).args(["run", "--store", "file", "--store-dir"]).arg(node.store());
    Ok(command)
}

fn not_root() -> Result<()> {
    let (_lab, a) = node(&good())?;
    // A further user namespace without a mapping: the kernel shows the process as nobody.
    let mut command = a.command("unshare")?;
    command.arg("--user").arg(artifacts::twill()).args(["run", "--store", "file", "--store-dir"]).arg(a.store());
    refuses(&mut command, 77, &["root"])
}

fn no_tun() -> Result<()> {
    let (_lab, a) = node(&good())?;
    let mut command = a.view()?.hide(Path::new("/dev/net")).command("timeout".as_ref());
    command.args(["20"]).arg(artifacts::twill()).args(["run", "--store", "file", "--store-dir"]).arg(a.store());
    refuses(&mut command, 69, &["/dev/net/tun"])
}

fn no_interface() -> Result<()> {
    let (_lab, a) = node(&good())?;
    refuses(run(&a)?.args(["--iface", "wan7"]), 69, &["wan7"])?;
    // Without a default route yet, as early at boot, it waits, and says for what.
    a.ip("route delete default")?;
    let mut waiting = a.command("timeout")?;
    waiting.args(["3"]).arg(artifacts::twill()).args(["run", "--store", "file", "--store-dir"]).arg(a.store());
    let output = outcome(&mut waiting)?;
    let told = said(&output);
    ensure!(output.status.code() == Some(124) && told.contains("--iface") && told.contains("waits"), "{}: {told}", output.status);
    Ok(())
}

fn no_plugin() -> Result<()> {
    let (_lab, a) = node(&good())?;
    let bare = a.dir("lib").join("bare");
    std::fs::create_dir_all(&bare)?;
    std::fs::copy(artifacts::twill(), bare.join("twill"))?;
    let mut command = a.command("timeout")?;
    command.args(["20", "/var/lib/bare/twill", "run", "--store", "file", "--store-dir"]).arg(a.store());
    refuses(&mut command, 69, &["plugin"])
}

fn no_store() -> Result<()> {
    let (_lab, a) = node(&good())?;
    let mut command = a.command("timeout")?;
    // It says which stores there are, and how to name one.
    refuses(command.args(["20"]).arg(artifacts::twill()).arg("run"), 64, &["--store", "file"])
}

fn unknown_store() -> Result<()> {
    let (_lab, a) = node(&good())?;
    let mut command = a.command("timeout")?;
    refuses(command.args(["20"]).arg(artifacts::twill()).args(["run", "--store", "cupboard"]), 69, &["cupboard"])
}

fn wrong_flags() -> Result<()> {
    let (_lab, a) = node(&good())?;
    for flags in [["--lease-ttl", "soon"], ["--lease-renew-margin", "24h"], ["--listen", "everywhere"], ["--colour", "red"]] {
        let output = outcome(run(&a)?.args(flags))?;
        ensure!(output.status.code() == Some(64) && said(&output).contains(flags[0]), "{flags:?}: {}: {}", output.status, said(&output));
    }
    Ok(())
}

fn bad_config() -> Result<()> {
    let (lab, a) = node("")?;
    let cases = [("{\"Network\":", "JSON"), (r#"{"Network":7}"#, "Network"), (r#"{"Network":"10.1.0.0/31"}"#, "Network")];
    for (config, word) in cases {
        std::fs::write(lab.store().join("config.json"), config)?;
        refuses(&mut run(&a)?, 78, &[word])?;
    }
    Ok(())
}
