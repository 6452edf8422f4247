//! One run of cargo: a plugin's package to a core WebAssembly module.
//!
//! Plugins have a target folder of their own (`guests` below cargo's), so that their build neither waits for nor blocks another. A run a
//! component, since cargo would unite the features of packages built together.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::guests::{Guest, Workspace};
use crate::toolchain::{TARGET, Toolchain};

/// Builds `guest` and tells where its core module lies.
pub fn core_module(workspace: &Workspace, toolchain: &Toolchain, guest: &Guest) -> Result<PathBuf> {
    let folder = workspace.target.join("guests");
    let mut cargo = command(toolchain)?;
    cargo.current_dir(&workspace.root).args([
        "rustc",
        "--quiet",
        "--lib",
        "--crate-type",
        "cdylib",
        "--profile",
        "guest",
        "--target",
        TARGET,
        "--package",
        &guest.package,
    ]);
    cargo.args(guest.variant.iter().flat_map(|variant| ["--features", variant]));
    cargo.arg("--target-dir").arg(&folder).env("CARGO_ENCODED_RUSTFLAGS", remapped_paths(workspace)).env_remove("RUSTFLAGS");
    let status = cargo.status().context("cannot run cargo")?;
    ensure!(status.success(), "cannot build {} for {TARGET}: see cargo's messages above", guest.package);
    Ok(folder.join(TARGET).join("guest").join(guest.module_name()))
}

fn command(toolchain: &Toolchain) -> Result<Command> {
    let Toolchain::FromSource { bin, linker, .. } = toolchain else { return Ok(Command::new("cargo")) };
    let mut cargo = Command::new(bin.join("cargo"));
    // The distribution's stable compiler builds its own standard library, for which cargo wants the switch of the nightly ones.
    cargo.arg("-Zbuild-std=std,panic_abort").env("RUSTC_BOOTSTRAP", "1");
    cargo.env("RUSTC", bin.join("rustc")).env("RUSTDOC", bin.join("rustdoc")).env("PATH", path_with(bin)?);
    cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
    Ok(cargo)
}

fn path_with(first: &Path) -> Result<OsString> {
    let rest = env::var_os("PATH").unwrap_or_default();
    env::join_paths(std::iter::once(first.to_owned()).chain(env::split_paths(&rest))).context("cannot set PATH")
}

/// Flags that keep this machine's folders out of the components, so that equal sources make equal files everywhere.
fn remapped_paths(workspace: &Workspace) -> OsString {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    let mut flags = OsString::new();
    for (folder, name) in [(Some(workspace.root.clone()), "twill"), (home, "cargo")] {
        let Some(folder) = folder else { continue };
        if !flags.is_empty() {
            flags.push("\x1f");
        }
        flags.push("--remap-path-prefix=");
        flags.push(folder);
        flags.push(format!("={name}"));
    }
    flags
}
