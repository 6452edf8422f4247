//! The direction of dependencies between the rooms of the host: model <- lease, reconcile, firewall <- kernel, plugin, fastpath, http <- daemon, never sideways.
//! A room's outer ring may use its inner ones; `http` is told everything by the model's snapshot and needs nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// What each room may build on, beside crates from elsewhere. Tests count too.
const MAY_USE: &[(&str, &[&str])] = &[
    ("twill-model", &[]),
    ("twill-lease", &["twill-model"]),
    ("twill-reconcile", &["twill-model"]),
    ("twill-firewall", &["twill-model"]),
    ("twill-probe", &["twill-model"]),
    ("twill-kernel", &["twill-model", "twill-reconcile", "twill-firewall"]),
    ("twill-plugin", &["twill-model", "twill-lease", "twill-reconcile"]),
    ("twill-fastpath", &["twill-model", "twill-reconcile"]),
    ("twill-http", &["twill-model"]),
    ("twill-conformance", &["twill-model", "twill-lease", "twill-reconcile", "twill-plugin"]),
    (
        "twill",
        &[
            "twill-model",
            "twill-lease",
            "twill-reconcile",
            "twill-kernel",
            "twill-firewall",
            "twill-plugin",
            "twill-fastpath",
            "twill-probe",
            "twill-http",
            "twill-conformance",
            "twill-componentize",
        ],
    ),
    ("twill-guest", &[]),
    ("twill-componentize", &[]),
    ("twill-tests", &[]),
    ("twill-bench-plugins", &["twill-model", "twill-reconcile", "twill-plugin", "twill-guest", "twill-backend-udp", "twill-tests"]),
    ("twill-faulty-backend", &["twill-guest"]),
    ("twill-faulty-store", &["twill-guest", "twill-store-file"]),
    ("twill-hostile-backend", &["twill-guest", "twill-backend-udp"]),
    ("twill-hostile-store", &["twill-guest", "twill-store-file"]),
    ("twill-swap-backend", &["twill-guest", "twill-backend-host-gw"]),
];

/// The data path's modules that may hold unsafe code: thin wraps of system calls. Its library denies it everywhere else.
const MAY_BE_UNSAFE: [&str; 2] = ["mmsg", "syscall"];

#[test]
fn unsafe_code_of_the_data_path_is_in_two_small_modules() {
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/fastpath/src");
    let library = std::fs::read_to_string(source.join("lib.rs")).expect("the data path's library");
    assert!(library.contains("#![deny(unsafe_code)]"), "the library no longer denies unsafe code");
    let mut allowed: Vec<&str> =
        library.split("#[allow(unsafe_code)]\npub mod ").skip(1).filter_map(|rest| rest.split(';').next()).collect();
    allowed.sort_unstable();
    assert_eq!(allowed, MAY_BE_UNSAFE);
    for entry in std::fs::read_dir(&source).expect("its sources").map(|entry| entry.expect("an entry").path()) {
        let Ok(text) = std::fs::read_to_string(&entry) else { continue };
        let is_library = entry.ends_with("lib.rs");
        assert!(is_library || !text.contains("allow(unsafe_code)"), "{} allows itself unsafe code", entry.display());
    }
    for module in MAY_BE_UNSAFE {
        let lines = std::fs::read_to_string(source.join(format!("{module}.rs"))).expect("a module").lines().count();
        assert!(lines <= 250, "{module}.rs has {lines} lines: too many to be read with care");
    }
}

/// Plugins are guests: they build on the guest crate alone.
const PLUGIN_MAY_USE: &[&str] = &["twill-guest"];

#[test]
fn rooms_depend_in_one_direction() {
    let rooms = rooms();
    assert!(rooms.len() >= MAY_USE.len(), "cargo metadata shows only {:?}", rooms.keys());
    let wrong: Vec<String> = rooms.iter().flat_map(|(room, uses)| forbidden(room, uses)).collect();
    assert!(wrong.is_empty(), "dependencies against the direction of the rooms:\n{}", wrong.join("\n"));
}

#[test]
fn every_named_room_is_there() {
    let rooms = rooms();
    let gone: Vec<&str> = MAY_USE.iter().map(|(room, _)| *room).filter(|room| !rooms.contains_key(*room)).collect();
    assert!(gone.is_empty(), "named here and not in the workspace: {gone:?}");
}

#[test]
fn a_sideways_dependency_would_be_seen() {
    let uses = BTreeSet::from(["twill-model".to_string(), "twill-kernel".to_string()]);
    assert_eq!(forbidden("twill-http", &uses), ["twill-http must not use twill-kernel"]);
    assert_eq!(forbidden("twill-backend-udp", &uses).len(), 2);
}

fn forbidden(room: &str, uses: &BTreeSet<String>) -> Vec<String> {
    let allowed = MAY_USE.iter().find(|(name, _)| *name == room).map_or(PLUGIN_MAY_USE, |(_, allowed)| allowed);
    let wrong = uses.iter().filter(|used| !allowed.contains(&used.as_str()));
    wrong.map(|used| format!("{room} must not use {used}")).collect()
}

/// Each package of the workspace with the packages of the workspace that it depends on.
fn rooms() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO")).args(["metadata", "--no-deps", "--format-version", "1"]).output().expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    packages.iter().map(|package| (name(package), dependencies(package))).collect()
}

/// Dependencies by path, whatever their kind.
fn dependencies(package: &Value) -> BTreeSet<String> {
    let all = package["dependencies"].as_array().into_iter().flatten();
    all.filter(|dependency| dependency["path"].is_string()).map(name).collect()
}

fn name(of: &Value) -> String {
    of["name"].as_str().expect("a name").to_string()
}
