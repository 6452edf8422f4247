//! `twill-componentize`: builds the workspace's plugins and turns them into WebAssembly components.
//!
//! `cargo run --release -p twill-componentize -- --out target/plugins` finds a Rust that can build for `wasm32-unknown-unknown`, builds every
//! package with a table `[package.metadata.twill]` and leaves `<package name without "twill-">.wasm` in the output folder. What has not changed is
//! neither built nor written again. It builds Rust only; other languages bring tools of their own.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

/// Builds plugins and turns them into WebAssembly components.
#[derive(Parser)]
struct Arguments {
    /// Folder to leave the components in [default: "plugins" in cargo's target folder]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Folders to look for plugin packages in
    #[arg(long, value_name = "DIR", num_args = 1.., default_value = "plugins")]
    guests: Vec<PathBuf>,
}

fn main() -> ExitCode {
    let Arguments { out, guests } = Arguments::parse();
    match twill_componentize::build(Path::new("."), out.as_deref(), &guests) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("twill-componentize: {error:#}");
            ExitCode::FAILURE
        }
    }
}
