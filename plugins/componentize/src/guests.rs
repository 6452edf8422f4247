//! Which packages of the workspace are plugins: those with a table `[package.metadata.twill]`.
//!
//! The table may hold `variants`, a list of cargo features: then each feature makes a component of its own, named after it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use semver::Version;
use serde::Deserialize;

/// The workspace as cargo describes it.
#[derive(Debug)]
pub struct Workspace {
    /// Its root folder.
    pub root: PathBuf,
    /// cargo's target folder (`CARGO_TARGET_DIR` is honoured).
    pub target: PathBuf,
    /// The least Rust that its packages ask for.
    pub rust_version: Version,
    packages: Vec<Package>,
}

/// One component to build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    /// Name of the cargo package.
    pub package: String,
    /// The cargo feature that makes this variant.
    pub variant: Option<String>,
}

impl Guest {
    /// The component's file name: package name without "twill-", then the variant.
    pub fn file_name(&self) -> String {
        let name = self.package.strip_prefix("twill-").unwrap_or(&self.package);
        match &self.variant {
            Some(variant) => format!("{name}-{variant}.wasm"),
            None => format!("{name}.wasm"),
        }
    }

    /// The core module's file name, as rustc writes it.
    pub fn module_name(&self) -> String {
        format!("{}.wasm", self.package.replace('-', "_"))
    }
}

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    target_directory: PathBuf,
    workspace_root: PathBuf,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    rust_version: Option<String>,
    metadata: Option<PackageMetadata>,
}

#[derive(Debug, Deserialize)]
struct PackageMetadata {
    twill: Option<Marker>,
}

#[derive(Debug, Deserialize)]
struct Marker {
    #[serde(default)]
    variants: Vec<String>,
}

/// Asks cargo for the workspace around a folder.
pub fn read_workspace(folder: &Path) -> Result<Workspace> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(folder)
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .output()
        .context("cannot run cargo")?;
    ensure!(output.status.success(), "cannot read the workspace: {}", String::from_utf8_lossy(&output.stderr).trim());
    parse(&output.stdout)
}

fn parse(metadata: &[u8]) -> Result<Workspace> {
    let Metadata { packages, target_directory, workspace_root } =
        serde_json::from_slice(metadata).context("cannot read cargo's metadata")?;
    let versions = packages.iter().filter_map(|package| package.rust_version.as_deref()).filter_map(full_version);
    let rust_version = versions.max().unwrap_or_else(|| Version::new(1, 0, 0));
    Ok(Workspace { root: workspace_root, target: target_directory, rust_version, packages })
}

/// "1.95" means 1.95.0.
fn full_version(text: &str) -> Option<Version> {
    Version::parse(text).or_else(|_| Version::parse(&format!("{text}.0"))).ok()
}

/// The plugins whose packages lie in `folders`, in the order of their names.
pub fn below(workspace: &Workspace, folders: &[PathBuf]) -> Result<Vec<Guest>> {
    let mut guests: Vec<Guest> = Vec::new();
    for folder in folders {
        let folder = folder.canonicalize().with_context(|| format!("cannot look for plugins in {}", folder.display()))?;
        guests.extend(workspace.packages.iter().filter(|package| lies_below(package, &folder)).flat_map(variants));
    }
    guests.sort_by_key(Guest::file_name);
    guests.dedup();
    if guests.is_empty() {
        bail!("no package with a table [package.metadata.twill] lies in the given folders");
    }
    Ok(guests)
}

fn lies_below(package: &Package, folder: &Path) -> bool {
    package.manifest_path.canonicalize().is_ok_and(|path| path.starts_with(folder))
}

fn variants(package: &Package) -> Vec<Guest> {
    let Some(marker) = package.metadata.as_ref().and_then(|metadata| metadata.twill.as_ref()) else { return Vec::new() };
    let guest = |variant: Option<&String>| Guest { package: package.name.clone(), variant: variant.cloned() };
    if marker.variants.is_empty() { vec![guest(None)] } else { marker.variants.iter().map(|variant| guest(Some(variant))).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const METADATA: &[u8] = br#"{"packages":[
        {"name":"twill-backend-udp","manifest_path":"/w/plugins/u/Cargo.toml","rust_version":"1.95","metadata":{"twill":{}}},
        {"name":"hostile","manifest_path":"/w/tests/h/Cargo.toml","rust_version":"1.90.2","metadata":{"twill":{"variants":["traps","loops"]}}},
        {"name":"twill","manifest_path":"/w/host/Cargo.toml","rust_version":null,"metadata":null}],
        "target_directory":"/w/target","workspace_root":"/w"}"#;

    #[test]
    fn marked_packages_are_plugins_and_variants_are_files_of_their_own() {
        let workspace = parse(METADATA).expect("metadata");
        let files: Vec<String> = workspace.packages.iter().flat_map(variants).map(|guest| guest.file_name()).collect();
        assert_eq!(files, ["backend-udp.wasm", "hostile-traps.wasm", "hostile-loops.wasm"]);
        assert_eq!(workspace.rust_version, Version::new(1, 95, 0));
    }

    #[test]
    fn core_modules_are_named_as_rustc_names_them() {
        assert_eq!(Guest { package: "twill-backend-udp".into(), variant: None }.module_name(), "twill_backend_udp.wasm");
    }
}
