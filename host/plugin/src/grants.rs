//! What a component may import: a pure check of its imports against its world, and what an operator grants to a store.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use semver::{Version, VersionReq};

use crate::upstream::Upstream;
use crate::wit::{CONTRACT, PACKAGE};

/// The two kinds of plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum World {
    /// Holds config and leases.
    Store,
    /// Turns leases into items.
    Backend,
}

impl World {
    /// "store" or "backend".
    pub(crate) fn word(self) -> &'static str {
        match self {
            World::Store => "store",
            World::Backend => "backend",
        }
    }

    /// The interface whose export makes a component one of this world.
    fn export(self) -> &'static str {
        match self {
            World::Store => "store-api",
            World::Backend => "backend-api",
        }
    }

    fn imports(self) -> &'static [&'static str] {
        match self {
            World::Store => &["types", "log", "clock", "http", "directory"],
            World::Backend => &["types", "log"],
        }
    }
}

/// What the operator grants to a store. Nothing is granted by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    /// The one directory that the plugin may read and write. It must exist; it may come and go while the daemon runs.
    pub directory: Option<PathBuf>,
    /// The servers that it may speak to, under the names by which it asks for them.
    pub upstreams: BTreeMap<String, Upstream>,
}

/// What a backend finds around it, which its answers must not depend on. Only tests of plugins choose another than the usual one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// What its clocks say, since the epoch; they stand still.
    pub clock: Duration,
    /// What its random numbers begin with.
    pub seed: u8,
}

/// Why a component does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Misfit {
    #[error(
        "it is no twill plugin: it exports neither {PACKAGE}/store-api@{CONTRACT} nor {PACKAGE}/backend-api@{CONTRACT}, only {0}; build it for the world \"store\" or \"backend\""
    )]
    Foreign(String),
    #[error("it speaks version {0} of the contract, this twill speaks {CONTRACT}: build it against wit/{CONTRACT}, or use a newer twill")]
    Contract(String),
    #[error("it exports both store-api and backend-api: make it two plugins")]
    Both,
    #[error("it imports {import}, which a {} is not given; a {} may import {}", .world.word(), .world.word(), offered(*.world))]
    Import { import: String, world: World },
}

/// The world of a component by the names of its exports.
pub(crate) fn world_of<'a>(exports: impl IntoIterator<Item = &'a str>) -> Result<World, Misfit> {
    let exports: Vec<&str> = exports.into_iter().collect();
    let mut worlds = Vec::new();
    for world in [World::Store, World::Backend] {
        match exports.iter().filter_map(|name| version_of(name, world.export())).next() {
            Some(CONTRACT) => worlds.push(world),
            Some(other) => return Err(Misfit::Contract(other.into())),
            None => {}
        }
    }
    match worlds[..] {
        [world] => Ok(world),
        [] => Err(Misfit::Foreign(if exports.is_empty() { "nothing".into() } else { exports.join(", ") })),
        _ => Err(Misfit::Both),
    }
}

/// Refuses the first import that the world does not offer. WASI 0.2 is linked empty, so importing it is never a reason.
pub(crate) fn check_imports<'a>(world: World, imports: impl IntoIterator<Item = &'a str>) -> Result<(), Misfit> {
    match imports.into_iter().find(|import| !offers(world, import)) {
        Some(import) => Err(Misfit::Import { import: import.into(), world }),
        None => Ok(()),
    }
}

fn offers(world: World, import: &str) -> bool {
    let ours = world.imports().iter().any(|name| version_of(import, name) == Some(CONTRACT));
    ours || is_empty_wasi(import)
}

/// WASI's packages that are linked, in any release of 0.2.
fn is_empty_wasi(import: &str) -> bool {
    let Some((path, version)) = import.split_once('@') else { return false };
    let package = path.split_once('/').map_or(path, |(package, _)| package);
    let linked = ["wasi:cli", "wasi:clocks", "wasi:filesystem", "wasi:io", "wasi:random", "wasi:sockets"];
    let release = VersionReq::parse("~0.2").ok().zip(Version::parse(version).ok());
    linked.contains(&package) && release.is_some_and(|(range, version)| range.matches(&version))
}

/// The version in `twill:plugin/<interface>@<version>`.
fn version_of<'a>(name: &'a str, interface: &str) -> Option<&'a str> {
    name.strip_prefix(PACKAGE)?.strip_prefix('/')?.strip_prefix(interface)?.strip_prefix('@')
}

fn offered(world: World) -> String {
    let ours: Vec<String> = world.imports().iter().map(|name| format!("{PACKAGE}/{name}@{CONTRACT}")).collect();
    format!("{} and WASI 0.2 (which is linked empty)", ours.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_export_says_the_world() {
        assert_eq!(world_of(["twill:plugin/store-api@0.1.0"]), Ok(World::Store));
        assert_eq!(world_of(["memory", "twill:plugin/backend-api@0.1.0"]), Ok(World::Backend));
    }

    #[test]
    fn strangers_are_refused_with_what_they_are() {
        assert_eq!(world_of(["wasi:cli/run@0.2.3"]), Err(Misfit::Foreign("wasi:cli/run@0.2.3".into())));
        assert_eq!(world_of([]), Err(Misfit::Foreign("nothing".into())));
        assert_eq!(world_of(["twill:plugin/store-api@0.9.0"]), Err(Misfit::Contract("0.9.0".into())));
        assert_eq!(world_of(["twill:plugin/store-api@0.1.0", "twill:plugin/backend-api@0.1.0"]), Err(Misfit::Both));
    }

    #[test]
    fn a_backend_gets_no_clock_and_nobody_a_foreign_interface() {
        let clock = "twill:plugin/clock@0.1.0";
        assert_eq!(check_imports(World::Store, [clock]), Ok(()));
        assert!(check_imports(World::Backend, [clock]).is_err());
        for foreign in
            ["wasi:http/outgoing-handler@0.2.3", "wasi:cli/stdin@0.3.0", "wasi:cli/stdin", "acme:thing/api@1.0.0", "twill:plugin/log@0.2.0"]
        {
            assert!(check_imports(World::Store, [foreign]).is_err(), "{foreign} was let in");
        }
    }

    #[test]
    fn any_release_of_wasi_0_2_is_let_in() {
        let imports = [
            "wasi:cli/environment@0.2.3",
            "wasi:clocks/wall-clock@0.2.9",
            "wasi:io/poll@0.2.12",
            "twill:plugin/types@0.1.0",
            "twill:plugin/log@0.1.0",
        ];
        assert_eq!(check_imports(World::Backend, imports), Ok(()));
    }
}
