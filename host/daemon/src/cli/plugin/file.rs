//! One plugin file, outside of any daemon: where it is, and where its compiled code may lie.

use std::future::Future;
use std::path::{Path, PathBuf};

use clap::Args;
use twill_conformance::{CheckError, load};
use twill_plugin::{Inspected, Plugins, Surroundings};

use crate::exit::Exit;

/// Which file.
#[derive(Debug, Args)]
pub struct OneFile {
    /// The plugin: a WebAssembly component (*.wasm).
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Folder for compiled plugins [default: twill in the user's cache folder].
    #[arg(long, env = "TWILL_CACHE_DIR", value_name = "DIR", hide_env_values = true)]
    cache_dir: Option<PathBuf>,
}

impl OneFile {
    /// The file at this path.
    pub fn at(file: PathBuf, cache_dir: Option<PathBuf>) -> OneFile {
        OneFile { file, cache_dir }
    }

    /// The folder for compiled plugins: one's own, so that no root is needed.
    pub fn cache(&self) -> PathBuf {
        let of = |variable: &str| std::env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from);
        let users = || of("XDG_CACHE_HOME").or_else(|| of("HOME").map(|home| home.join(".cache"))).map(|cache| cache.join("twill"));
        self.cache_dir.clone().or_else(users).unwrap_or_else(|| std::env::temp_dir().join("twill-cache"))
    }

    /// Loads the file; one that does not fit is no error yet.
    ///
    /// # Errors
    /// It is not there, or the plugin host does not run here.
    pub async fn load(&self) -> Result<(Plugins, Inspected), Exit> {
        load(&self.file, &self.cache(), Surroundings::default()).await.map_err(unusable)
    }
}

/// The exit for what kept a file from being looked at.
pub fn unusable(error: CheckError) -> Exit {
    match error {
        CheckError::File { .. } => Exit::usage(error),
        other => Exit::lacking(other),
    }
}

/// The exit for a file that does not fit.
pub fn misfit(file: &Path, inspected: &Inspected) -> Option<Exit> {
    let reason = inspected.status.error.as_ref().filter(|_| inspected.kind.is_none())?;
    Some(Exit::failed(format!("{} is no plugin for this twill: {reason}", file.display())))
}

/// Runs work that calls plugins to its end: a guest that computes holds a thread, so there are two.
pub fn run<T>(work: impl Future<Output = Result<T, Exit>>) -> Result<T, Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(Exit::failed)?;
    let answer = runtime.block_on(work);
    runtime.shutdown_background();
    answer
}
