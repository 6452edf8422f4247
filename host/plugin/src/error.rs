//! What can go wrong between the host and a plugin.

use std::path::PathBuf;

use twill_lease::store::StoreError;

/// Why the plugins could not be opened, or a store not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PluginError {
    /// The WebAssembly engine does not run on this machine.
    #[error("cannot start the WebAssembly engine: {0}")]
    Engine(String),
    /// A folder is there and cannot be read.
    #[error("cannot read the plugin folder {path}: {cause}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The lock file cannot be used.
    #[error(transparent)]
    Lock(#[from] crate::lock::LockError),
    /// The version before cannot take over again.
    #[error("cannot go back to the {plugin} before: {why}")]
    GoingBack {
        /// The plugin.
        plugin: String,
        /// Why not.
        why: String,
    },
    /// No store of that name is loaded.
    #[error("no store plugin \"{name}\" is loaded; {found}")]
    NoStore {
        /// The name asked for.
        name: String,
        /// What there is instead, or why the file of that name was refused.
        found: String,
    },
    /// The store needs something that was not granted.
    #[error("{plugin} needs {what}: {advice}")]
    NotGranted {
        /// The plugin.
        plugin: String,
        /// A directory, or an upstream with its name.
        what: String,
        /// What to do.
        advice: String,
    },
    /// The store refused its options, or failed at once.
    #[error("cannot configure {plugin}: {cause}")]
    Configure {
        /// The plugin.
        plugin: String,
        /// What it said.
        cause: StoreError,
    },
}

/// How a call overran what it is allowed; ends the call, and with it the instance.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Overrun {
    /// It computed too long without asking the host for anything.
    #[error("it computed for {0} ms without a pause, as if in an endless loop")]
    Stretch(u128),
    /// It computed too long in all.
    #[error("it computed for {0} ms in one call")]
    Computing(u128),
    /// It asked the host too often.
    #[error("it called the host more than {0} times in one call")]
    HostCalls(u64),
    /// It logged too much.
    #[error("it logged more than {0} lines in one call")]
    LogLines(u32),
    /// It wanted too much memory.
    #[error("it wanted more than {} MiB of memory", .0 >> 20)]
    Memory(usize),
    /// It wanted too long a table.
    #[error("it wanted a table of more than {0} elements")]
    Table(usize),
    /// What it handed over at once, as an answer or in a call to the host, was too much.
    #[error("it handed over more than {} MiB at once", .0 >> 20)]
    Output(usize),
    /// It is made of too many core modules.
    #[error("it is made of more than {0} instances of core modules")]
    Instances(usize),
    /// The answer took too long, waiting included.
    #[error("it gave no answer within {0} ms")]
    Wall(u128),
}

/// Why a call brought no answer of the plugin's own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallError {
    /// The plugin failed: trap, time, memory. Names the plugin.
    #[error("{plugin} failed: {cause}")]
    Failed { plugin: String, cause: String },
    /// It failed before and is not tried again yet.
    #[error("{plugin} failed {failures} times in a row and is tried again in {wait_ms} ms: {cause}")]
    BackingOff { plugin: String, failures: u32, wait_ms: u128, cause: String },
    /// A fresh instance of a store refused its options.
    #[error("{0}")]
    Configure(StoreError),
    /// The daemon is ending.
    #[error("{plugin} is being stopped")]
    Stopped { plugin: String },
}

/// The cause of a failed call in a sentence without addresses and backtraces.
pub(crate) fn cause_of(error: &wasmtime::Error) -> String {
    if let Some(overrun) = error.downcast_ref::<Overrun>() {
        return overrun.to_string();
    }
    match error.downcast_ref::<wasmtime::Trap>() {
        Some(wasmtime::Trap::UnreachableCodeReached) => "it panicked or gave up (trap: unreachable code reached)".into(),
        Some(trap) => format!("trap: {}", trap.to_string().trim_start_matches("wasm trap: ")),
        None => error.root_cause().to_string(),
    }
}
