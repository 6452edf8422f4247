//! Which Rust builds the plugins. Three can: one that has the target `wasm32-unknown-unknown` installed, a distribution's that has the standard
//! library's sources, and one to which rustup can add the target.
//!
//! [`find`] looks around, [`choose`] decides (pure), in this order: what is here before what must be fetched. No path is assumed but those that the
//! tools themselves name.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use semver::Version;

/// The target that plugins are built for.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// A Rust that can build plugins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Toolchain {
    /// The one on the path, as it is.
    Ready(Version),
    /// A distribution's, which first builds the standard library from its sources.
    FromSource {
        /// Its version.
        version: Version,
        /// The folder of its `rustc` and `cargo`.
        bin: PathBuf,
        /// A linker for WebAssembly: `rust-lld` or `wasm-ld`.
        linker: PathBuf,
    },
    /// The one on the path, once rustup has added the target.
    Rustup(Version),
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Toolchain::Ready(version) | Toolchain::Rustup(version) => write!(f, "rustc {version}"),
            Toolchain::FromSource { version, bin, .. } => write!(f, "rustc {version} of {} (standard library from source)", bin.display()),
        }
    }
}

/// A `rustc` that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rust {
    bin: PathBuf,
    version: Version,
    has_target: bool,
    has_sources: bool,
}

/// All that was found.
#[derive(Debug, Clone, Default)]
struct Machine {
    /// In the order of the path; the first is the one that plain `rustc` means.
    rusts: Vec<Rust>,
    linker: Option<PathBuf>,
    rustup: bool,
}

/// Finds a toolchain of at least version `wanted`, and has rustup add the target where that is the way.
pub fn find(wanted: &Version) -> Result<Toolchain> {
    let Some(toolchain) = choose(&look_around(), wanted) else { bail!("{}", advice(wanted)) };
    if matches!(toolchain, Toolchain::Rustup(_)) {
        add_target()?;
    }
    Ok(toolchain)
}

fn choose(machine: &Machine, wanted: &Version) -> Option<Toolchain> {
    let first = machine.rusts.first().filter(|rust| rust.version >= *wanted);
    if let Some(rust) = first.filter(|rust| rust.has_target) {
        return Some(Toolchain::Ready(rust.version.clone()));
    }
    let from_source = machine.rusts.iter().find(|rust| rust.has_sources && rust.version >= *wanted).zip(machine.linker.clone());
    if let Some((rust, linker)) = from_source {
        return Some(Toolchain::FromSource { version: rust.version.clone(), bin: rust.bin.clone(), linker });
    }
    first.filter(|_| machine.rustup).map(|rust| Toolchain::Rustup(rust.version.clone()))
}

/// What to install, when nothing here will do.
fn advice(wanted: &Version) -> String {
    format!(
        "no Rust here can build plugins: it takes {wanted} or newer with the target {TARGET}.\n\
         With rustup: rustup target add {TARGET}\n\
         Debian, Ubuntu: apt install rustc-web cargo-web rust-web-src lld"
    )
}

fn add_target() -> Result<()> {
    println!("adding the target {TARGET} to Rust (rustup target add {TARGET})");
    let status = Command::new("rustup").args(["target", "add", TARGET]).status().context("cannot run rustup")?;
    if !status.success() {
        bail!(
            "rustup could not add the target {TARGET}. On Debian and Ubuntu the packages rustc-web, cargo-web and rust-web-src do without rustup's download"
        );
    }
    Ok(())
}

fn look_around() -> Machine {
    let path: Vec<PathBuf> = env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect();
    let mut rusts: Vec<Rust> = Vec::new();
    for bin in path.iter().filter(|bin| bin.join("rustc").is_file() && bin.join("cargo").is_file()) {
        let bin = bin.canonicalize().unwrap_or_else(|_| bin.clone());
        if !rusts.iter().any(|rust| rust.bin == bin) {
            rusts.extend(inspect(bin));
        }
    }
    let linker = rusts.iter().find_map(|rust| rust_lld(&rust.bin)).or_else(|| find_linker(&path));
    Machine { rusts, linker, rustup: path.iter().any(|bin| bin.join("rustup").is_file()) }
}

/// None when it does not run, such as a rustup without a default toolchain.
fn inspect(bin: PathBuf) -> Option<Rust> {
    let verbose = ask(&bin, &["-vV"])?;
    let release = verbose.lines().find_map(|line| line.strip_prefix("release: "))?;
    let rustlib = PathBuf::from(ask(&bin, &["--print", "sysroot"])?).join("lib/rustlib");
    Some(Rust {
        version: Version::parse(release).ok()?,
        has_target: rustlib.join(TARGET).join("lib").is_dir(),
        has_sources: rustlib.join("src/rust/library/std/Cargo.toml").is_file(),
        bin,
    })
}

/// The linker that rustup's toolchains bring along.
fn rust_lld(bin: &Path) -> Option<PathBuf> {
    let host = ask(bin, &["-vV"])?.lines().find_map(|line| line.strip_prefix("host: ").map(String::from))?;
    let linker = PathBuf::from(ask(bin, &["--print", "sysroot"])?).join("lib/rustlib").join(host).join("bin/rust-lld");
    linker.is_file().then_some(linker)
}

/// A linker on the path: lld's, also under the names that carry a version ("wasm-ld-19").
fn find_linker(path: &[PathBuf]) -> Option<PathBuf> {
    let exact = path.iter().flat_map(|bin| ["rust-lld", "wasm-ld"].map(|name| bin.join(name))).find(|file| file.is_file());
    let versioned = || {
        let files = path.iter().filter_map(|bin| bin.read_dir().ok()).flatten().filter_map(Result::ok).map(|entry| entry.path());
        files.filter(|file| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("wasm-ld-"))).max()
    };
    exact.or_else(versioned)
}

fn ask(bin: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new(bin.join("rustc")).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: Version = Version::new(1, 95, 0);

    fn rust(bin: &str, minor: u64, has_target: bool, has_sources: bool) -> Rust {
        Rust { bin: bin.into(), version: Version::new(1, minor, 0), has_target, has_sources }
    }

    fn machine(rusts: Vec<Rust>, linker: bool, rustup: bool) -> Machine {
        Machine { rusts, linker: linker.then(|| "/l/wasm-ld".into()), rustup }
    }

    #[test]
    fn an_installed_target_is_used_before_everything_else() {
        let found = machine(vec![rust("/a", 95, true, true), rust("/usr/bin", 96, false, true)], true, true);
        assert_eq!(choose(&found, &WANTED), Some(Toolchain::Ready(WANTED)));
    }

    #[test]
    fn sources_here_come_before_a_download() {
        let found = machine(vec![rust("/a", 95, false, false), rust("/usr/bin", 96, false, true)], true, true);
        let expected = Toolchain::FromSource { version: Version::new(1, 96, 0), bin: "/usr/bin".into(), linker: "/l/wasm-ld".into() };
        assert_eq!(choose(&found, &WANTED), Some(expected));
    }

    #[test]
    fn sources_without_a_linker_leave_rustup() {
        let found = machine(vec![rust("/a", 95, false, false), rust("/usr/bin", 96, false, true)], false, true);
        assert_eq!(choose(&found, &WANTED), Some(Toolchain::Rustup(WANTED)));
    }

    #[test]
    fn too_old_is_not_taken() {
        assert_eq!(choose(&machine(vec![rust("/a", 94, true, true)], true, true), &WANTED), None);
        assert_eq!(choose(&machine(vec![], true, true), &WANTED), None);
    }

    #[test]
    fn advice_names_the_commands() {
        let advice = advice(&WANTED);
        assert!(advice.contains("rustup target add wasm32-unknown-unknown") && advice.contains("apt install") && advice.contains("1.95.0"));
    }
}
