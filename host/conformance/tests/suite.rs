//! The suite can pass and it can fail: twill's own plugins keep to all rules, and for every rule there is a plugin that breaks it and is told so by the
//! rule's name. The plugins are those that `make plugins` leaves; without them the tests are skipped by name, or fail where TWILL_COMPLETE says
//! that nothing may be lacking.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use twill_conformance::{Outcome, Report, Wishes, check, rules};
use twill_plugin::Grants;

fn target() -> PathBuf {
    std::env::var_os("TWILL_TARGET").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"), PathBuf::from)
}

/// A plugin that was built; none, and a word why, when it was not.
fn built(folder: &str, name: &str) -> Option<PathBuf> {
    let file = target().join(folder).join(format!("{name}.wasm"));
    if !file.is_file() {
        assert!(std::env::var_os("TWILL_COMPLETE").is_none(), "{} is not built (make plugins)", file.display());
        println!("skipped: {} is not built (make plugins)", file.display());
    }
    file.is_file().then_some(file)
}

fn wishes(options: String, only: &[&str]) -> Wishes {
    let only = only.iter().map(ToString::to_string).collect();
    Wishes { cache: target().join("tmp/conformance-cache"), options, grants: Grants::default(), within: None, only }
}

async fn keeps_all(name: &str) -> Option<Report> {
    let report = check(&built("plugins", name)?, &wishes("{}".into(), &[])).await.expect("it can be checked");
    println!("{report}");
    assert!(report.conforms, "{report}");
    Some(report)
}

#[tokio::test(flavor = "multi_thread")]
async fn our_backends_keep_to_all_rules() {
    for name in ["backend-alloc", "backend-host-gw", "backend-udp", "backend-vxlan"] {
        let Some(report) = keeps_all(name).await else { return };
        let skipped = report.findings.iter().filter(|finding| matches!(finding.outcome, Outcome::Skipped { .. }));
        assert!(skipped.count() <= 1, "{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn our_store_of_files_keeps_to_all_rules() {
    let Some(report) = keeps_all("store-file").await else { return };
    let kept = report.findings.iter().filter(|finding| matches!(finding.outcome, Outcome::Kept { .. })).count();
    assert_eq!(kept, rules::ALL.iter().filter(|(world, _)| *world != "backend").count() - 1, "{report}");
}

/// Plugins that were built when their version of the contract was released, and never since.
#[tokio::test(flavor = "multi_thread")]
async fn plugins_of_long_ago_keep_to_all_rules() {
    let folder = tempfile::tempdir().expect("a folder");
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/frozen");
    let versions = kept.read_dir().expect("versions").flatten().map(|entry| entry.path()).filter(|path| path.is_dir());
    let packed = versions.flat_map(|version| version.read_dir().expect("files").flatten().map(|entry| entry.path()));
    let mut count = 0;
    for packed in packed.filter(|path| path.to_string_lossy().ends_with(".wasm.gz")) {
        let unpacked = std::process::Command::new("gzip").arg("-dc").arg(&packed).output().expect("gzip runs").stdout;
        let file = folder.path().join(format!("{count}.wasm"));
        std::fs::write(&file, unpacked).expect("written");
        let report = check(&file, &wishes("{}".into(), &[])).await.expect("it can be checked");
        assert!(report.conforms, "{}:\n{report}", packed.display());
        count += 1;
    }
    assert!(count >= 2, "the kept plugins are gone");
}

/// The rules that a faulty plugin breaks when it is asked to, put one by one.
async fn breaks_each(file: &Path, world: &str) {
    let plain = check(file, &wishes("{}".into(), &[])).await.expect("it can be checked");
    assert!(plain.conforms, "without a fault it is to keep to all rules:\n{plain}");
    let named = rules::ALL.iter().filter(|(of, rule)| *of == world || rule.name == "refuses-wrong-options");
    for (_, rule) in named {
        let options = format!("{{\"Breaks\":\"{}\"}}", rule.name);
        let report = check(file, &wishes(options, &[rule.name])).await.expect("it can be checked");
        assert_eq!(report.broken(), [rule.name], "{report}");
        assert!(report.to_string().contains(rule.advice), "{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_rule_for_backends_catches_who_breaks_it() {
    let Some(file) = built("test-plugins", "faulty-backend-plain") else { return };
    breaks_each(&file, "backend").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_rule_for_stores_catches_who_breaks_it() {
    let Some(file) = built("test-plugins", "faulty-store") else { return };
    breaks_each(&file, "store").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_says_nothing_of_itself_is_told() {
    let Some(file) = built("test-plugins", "faulty-backend-mute") else { return };
    let report = check(&file, &wishes("{}".into(), &["describes-itself"])).await.expect("it can be checked");
    assert_eq!(report.broken(), ["describes-itself"], "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_plugin_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("module.wasm");
    std::fs::write(&file, b"\0asm\x01\0\0\0").expect("written");
    let report = check(&file, &wishes("{}".into(), &[])).await.expect("it can be checked");
    assert_eq!(report.broken(), ["loads"], "{report}");
    let absent = check(&folder.path().join("absent.wasm"), &wishes("{}".into(), &[])).await.expect_err("not there");
    assert!(absent.to_string().contains("absent.wasm"), "{absent}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_in_use_is_left_alone() {
    let Some(file) = built("plugins", "store-file") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("config.json"), r#"{"Network":"10.1.0.0/16"}"#).expect("written");
    let grants = Grants { directory: Some(folder.path().to_owned()), ..Grants::default() };
    let refused = check(&file, &Wishes { grants, ..wishes("{}".into(), &[]) }).await.expect_err("in use");
    assert!(refused.to_string().contains("store-file holds a config"), "{refused}");
    let names: BTreeSet<_> = folder.path().read_dir().expect("listed").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(names, BTreeSet::from(["config.json".into()]), "the suite wrote all the same");
}
