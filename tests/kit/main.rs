//! The developer kit, as somebody uses it who has nothing but the program: new projects in every language build, test and conform; and every command of the guide works, in its order.
//!
//! The commands that need root and two machines are run by an end-to-end test, on the component that is left in `target/guide`.

mod console;

use std::path::{Path, PathBuf};
use std::process::Command;

use console::{Block, blocks};

fn target() -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    let target = std::env::var_os("TWILL_TARGET").map_or_else(default, PathBuf::from);
    target.canonicalize().expect("the target folder: make build")
}

fn guide() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../web/docs/write-a-plugin.md")).expect("the guide")
}

/// Runs a line in `folder` as a reader's shell does, with this build's `twill` first on the path; what it printed.
fn shell(line: &str, folder: &Path) -> Result<String, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(target().join("release")).chain(std::env::split_paths(&path))).expect("a path");
    let mut command = Command::new("bash");
    command.args(["-ec", line]).current_dir(folder).env("PATH", path).env("TWILL_CACHE_DIR", target().join("tmp/kit-cache"));
    // Dependencies of all projects of this run are compiled once.
    let output = command.env("CARGO_TARGET_DIR", target().join("kit")).output().expect("bash runs");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(said) } else { Err(format!("`{line}` failed ({}):\n{said}", output.status)) }
}

/// True when the tools of a language are here; else a word why not, which is a failure where nothing may be lacking.
fn has(tool: &str, language: &str) -> bool {
    let there = target().join("tools").join(tool).exists();
    if !there {
        assert!(std::env::var_os("TWILL_COMPLETE").is_none(), "the tools for {language} are not there");
        println!("skipped: the guide's part on {language} (its tools cannot be had here; make examples)");
    }
    there
}

/// Runs the `$` lines of these blocks; a line of `cd` holds for what follows.
fn run(blocks: &[Block], home: &Path) -> PathBuf {
    let mut folder = home.to_owned();
    for line in blocks.iter().flat_map(|block| &block.user) {
        if let Some(into) = line.strip_prefix("cd ") {
            folder = folder.join(into);
            assert!(folder.is_dir(), "the guide goes to {}", folder.display());
            continue;
        }
        let said = shell(line, &folder);
        // The one line that shows a refusal is to fail as the text says.
        match line.contains("routed.json") && line.starts_with("twill") {
            true => assert!(said.is_ok_and(|said| said.contains("198.18.0.2 is not on this link")), "`{line}` says nothing of the link"),
            false => drop(said.unwrap_or_else(|failure| panic!("{failure}"))),
        }
    }
    folder
}

fn section<'a>(guide: &'a str, title: &str) -> &'a str {
    let from = guide.find(&format!("\n## {title}\n")).unwrap_or_else(|| panic!("the guide has no section {title}"));
    let rest = &guide[from + 1..];
    rest.find("\n## ").map_or(rest, |end| &rest[..end])
}

#[test]
fn every_command_of_the_guide_works_in_its_order() {
    let guide = guide();
    let home = tempfile::tempdir().expect("a folder");
    let rust = guide.split("\n## In Python\n").next().expect("a first part");
    let project = run(&blocks(rust), home.path());
    let built = target().join("guide");
    std::fs::create_dir_all(&built).expect("a folder");
    std::fs::copy(project.join("nearest.wasm"), built.join("nearest.wasm")).expect("the component");
    let small = shell("twill plugin try nearest.wasm --input small.json --json", &project).expect("a plan");
    assert!(small.contains("\"pod_mtu\": 1400") && small.contains("dev eth0 mtu 1400"), "{small}");
    for (title, tool) in [("In Python", "python"), ("In JavaScript", "js")] {
        if has(tool, title) {
            run(&blocks(section(&guide, title)), home.path());
        }
    }
}

#[test]
fn a_new_store_keeps_to_all_rules() {
    let home = tempfile::tempdir().expect("a folder");
    let shell = |line: &str, folder: &Path| shell(line, folder).unwrap_or_else(|failure| panic!("{failure}"));
    shell("twill plugin new --lang rust --kind store my-store", home.path());
    let project = home.path().join("my-store");
    let tested = shell("cargo test", &project);
    assert!(tested.contains("a_reservation_waits_for_its_node ... ok"), "{tested}");
    shell("twill plugin build", &project);
    let report = shell("twill plugin check my-store.wasm", &project);
    assert!(report.contains("store-my-store conforms"), "{report}");
}

#[test]
fn prompts_are_commands_and_the_rest_is_not() {
    let text = "a\n```console\n$ one\nprinted\n# two\n```\n```json\n$ three\n```\n";
    assert_eq!(blocks(text), [Block { user: vec!["one".into()], root: vec!["two".into()] }]);
}

#[test]
fn a_command_that_fails_would_be_seen() {
    let folder = tempfile::tempdir().expect("a folder");
    assert!(shell("twill plugin inspect absent.wasm", folder.path()).is_err_and(|said| said.contains("absent.wasm")));
    assert!(shell("false; true", folder.path()).is_err());
}

#[test]
fn what_is_wrong_with_a_call_is_said_with_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("module.wasm"), b"\0asm\x01\0\0\0").expect("written");
    std::fs::write(folder.path().join("wrong.json"), r#"{"pier": {}}"#).expect("written");
    let udp = target().join("plugins/backend-udp.wasm").display().to_string();
    let file = target().join("plugins/store-file.wasm").display().to_string();
    for (line, code, words) in [
        ("twill plugin inspect absent.wasm".to_owned(), 64, "cannot read absent.wasm"),
        ("twill plugin inspect module.wasm".into(), 1, "core WebAssembly module and not a component"),
        (format!("twill plugin try {udp} --input wrong.json"), 64, "--example prints one"),
        (format!("twill plugin try {file}"), 64, "stores make no plans"),
        (format!("twill plugin check {udp} --only lawfull"), 64, "twill plugin check --rules lists them"),
        (format!("twill plugin check {udp} --upstream x"), 64, "NAME=VALUE"),
        (format!("twill plugin check {}", target().join("plugins/store-redis.wasm").display()), 64, "--upstream redis=http://"),
        ("twill plugin build".into(), 64, "there is no Cargo.toml"),
        ("twill plugin new --lang python --kind store x".into(), 64, "--lang rust"),
    ] {
        let said =
            shell(&format!("{line} || {{ code=$?; [ $code = {code} ] || echo \"the code is $code\"; }}"), folder.path()).expect("it ends");
        assert!(said.contains(words) && !said.contains("the code is"), "`{line}` is to end with {code} and to say {words:?}:\n{said}");
    }
}

#[test]
fn a_project_is_never_written_over_another() {
    let folder = tempfile::tempdir().expect("a folder");
    shell("twill plugin new --lang js taken", folder.path()).expect("made");
    let again = shell("twill plugin new --lang js taken", folder.path()).expect_err("refused");
    assert!(again.contains("taken is there already"), "{again}");
    let wrong = shell("twill plugin new --lang js Wrong_name", folder.path()).expect_err("refused");
    assert!(wrong.contains("begins with a letter"), "{wrong}");
}
