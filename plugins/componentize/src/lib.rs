//! Builds plugins that are written in Rust, and turns them into WebAssembly components: finds a Rust that can build for `wasm32-unknown-unknown`, builds
//! every package of a workspace with a table `[package.metadata.twill]`, and leaves `<package name without "twill-">.wasm`. What has not changed is
//! neither built nor written again.

mod build;
mod encode;
mod guests;
mod toolchain;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Result;

/// Builds all plugins of the workspace around `folder` whose packages lie in `guests` into `out` ("plugins" in cargo's target folder), telling of each on
/// standard output; their files.
///
/// # Errors
/// No Rust here can do it, there is no plugin, or one cannot be built; says what to install, or shows what cargo said.
pub fn build(folder: &Path, out: Option<&Path>, guests: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let workspace = guests::read_workspace(folder)?;
    let out = out.map_or_else(|| workspace.target.join("plugins"), Path::to_path_buf);
    let guests = guests::below(&workspace, guests)?;
    let toolchain = toolchain::find(&workspace.rust_version)?;
    println!("building {} plugin files into {} with {toolchain}", guests.len(), out.display());
    let mut files = Vec::new();
    for guest in &guests {
        print!("  {} ", guest.file_name());
        io::stdout().flush()?;
        let module = build::core_module(&workspace, &toolchain, guest)?;
        let file = out.join(guest.file_name());
        println!("{}", encode::component(&module, &file)?);
        files.push(file);
    }
    Ok(files)
}
