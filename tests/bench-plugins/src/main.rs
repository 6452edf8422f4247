//! `make bench-plugins`: what it costs that a backend is a plugin. The same logic called natively stands beside it, and all ways take turns in one run, since
//! figures of different hours do not compare.
//!
//! It wants the built plugins (`make build`) and leaves its table in web/docs/plugins-cost.md.

mod cluster;
mod measure;
mod report;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::report::Report;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-plugins: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut report = Report::default();
    runtime.block_on(async {
        measure::calls(&mut report).await?;
        measure::whole_plan(&mut report).await?;
        measure::starts(&mut report).await?;
        measure::memory(&mut report).await?;
        measure::swaps(&mut report).await
    })?;
    print!("{}", report.table());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web/docs/plugins-cost.md");
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    std::fs::write(&path, report.document()).with_context(|| format!("cannot write {}", path.display()))?;
    println!("\nwritten: {}", path.display());
    Ok(())
}

/// A built plugin file.
fn built(folder: &str, file: &str) -> Result<(PathBuf, Vec<u8>)> {
    let path = lab::artifacts::outside().join(folder).join(file);
    let bytes = std::fs::read(&path).with_context(|| format!("{} is not built: make build", path.display()))?;
    Ok((path, bytes))
}
