//! `twill-componentize`: builds the workspace's plugins and turns them into WebAssembly components.
//!
//! `cargo run --release -p twill-componentize -- --out target/plugins` finds a Rust that can build for `wasm32-unknown-unknown`, builds every
//! package with a table `[package.metadata.twill]` and leaves `<package name without "twill-">.wasm` in the output folder. What has not changed is
//! neither built nor written again. It builds Rust only; other languages bring tools of their own.

mod build;
mod encode;
mod guests;
mod toolchain;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
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
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("twill-componentize: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let workspace = guests::read_workspace()?;
    let out = arguments.out.clone().unwrap_or_else(|| workspace.target.join("plugins"));
    let guests = guests::below(&workspace, &arguments.guests)?;
    let toolchain = toolchain::find(&workspace.rust_version)?;
    println!("building {} plugin files into {} with {toolchain}", guests.len(), out.display());
    for guest in &guests {
        print!("  {} ", guest.file_name());
        io::stdout().flush()?;
        let module = build::core_module(&workspace, &toolchain, guest)?;
        println!("{}", encode::component(&module, &out.join(guest.file_name()))?);
    }
    Ok(())
}
