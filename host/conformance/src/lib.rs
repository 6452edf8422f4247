//! The conformance suite for plugins: what the contract in `wit/` demands of every backend and store, as rules that are put to one file and
//! answered by a report which names what is wrong and what to do.
//!
//! [`check`] is the way in; [`rules::ALL`] lists the rules. Backends are asked about a cluster of their own ([`sample`]) in two instances with another
//! clock and other random numbers, and what they plan goes through the reconciler's real policy ([`law`]). Stores are really written to, so they must
//! be empty: [`store`]. [`trial`] makes one plan for people to look at.

/// Puts one rule, if it is wanted.
macro_rules! put {
    ($wishes:expr, $findings:expr, $rule:ident, $verdict:expr) => {
        if $wishes.want(&$crate::rules::$rule) {
            let verdict = $verdict;
            $findings.take(&$crate::rules::$rule, verdict);
        }
    };
}

pub mod backend;
pub mod law;
pub mod question;
pub mod report;
pub mod rules;
pub mod sample;
pub mod schema;
pub mod store;
pub mod trial;

use std::path::{Path, PathBuf};
use std::time::Duration;

use twill_plugin::{Grants, Inspected, Keys, LimitTable, PluginError, PluginSettings, Plugins, Refusals, Surroundings};

pub use report::{Finding, Outcome, Report};

use crate::report::Findings;
use crate::rules::Rule;

/// How a file is to be checked.
#[derive(Debug, Clone)]
pub struct Wishes {
    /// Folder for compiled plugins.
    pub cache: PathBuf,
    /// A backend's options (the config's `Backend` object), or a store's: JSON text.
    pub options: String,
    /// What a store may use. It is written to.
    pub grants: Grants,
    /// Computing time for the plan of [`backend::PEERS`] peers; none: a second for plugins without WASI (Rust), ten for others.
    pub within: Option<Duration>,
    /// Names of the only rules to put; empty: all.
    pub only: Vec<String>,
}

impl Wishes {
    pub(crate) fn want(&self, rule: &Rule) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == rule.name)
    }
}

/// Why a file could not be checked at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// It is not there.
    #[error("cannot read {path}: {cause}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The plugin host does not run here, or lacks a grant.
    #[error(transparent)]
    Host(#[from] PluginError),
    /// The store is in use.
    #[error("{0} holds {1}: the suite writes to the store, so give it an empty one")]
    InUse(String, String),
}

/// Loads one file, with these surroundings.
///
/// # Errors
/// The file cannot be read, or the host does not run. A file that does not fit is no error: it is inspected as refused.
pub async fn load(file: &Path, cache: &Path, surroundings: Surroundings) -> Result<(Plugins, Inspected), CheckError> {
    std::fs::File::open(file).map_err(|cause| CheckError::File { path: file.into(), cause })?;
    let settings = PluginSettings {
        folders: vec![file.into()],
        cache: cache.into(),
        limits: LimitTable::default(),
        lock: None,
        kept: None,
        keys: Keys::default(),
    };
    let plugins = Plugins::open_in(settings, surroundings).await?;
    let gone = || CheckError::File { path: file.into(), cause: std::io::ErrorKind::NotFound.into() };
    let inspected = plugins.inspect().into_iter().next().ok_or_else(gone)?;
    Ok((plugins, inspected))
}

/// Other surroundings than the usual: another hour, other random numbers.
pub const ELSEWHERE: Surroundings = Surroundings { clock: Duration::from_secs(1_999_999_999), seed: 101 };

/// Puts every rule of the file's world to it.
///
/// # Errors
/// What kept the suite from being run; what is wrong with the plugin is in the report.
pub async fn check(file: &Path, wishes: &Wishes) -> Result<Report, CheckError> {
    let (usual, inspected) = load(file, &wishes.cache, Surroundings::default()).await?;
    let mut findings = Findings::default();
    if let Some(reason) = inspected.status.error.as_ref().filter(|_| inspected.kind.is_none()) {
        findings.fail(&rules::LOADS, vec![reason.clone()]);
        return Ok(findings.report(&inspected));
    }
    findings.pass(&rules::LOADS, format!("fits the world \"{}\"", inspected.status.world.as_deref().unwrap_or("none")));
    put!(wishes, findings, DESCRIBES_ITSELF, schema::describes_itself(&inspected));
    let (elsewhere, _) = load(file, &wishes.cache, ELSEWHERE).await?;
    match inspected.status.world.as_deref() {
        Some("backend") => backend::check(&[usual, elsewhere], &inspected, wishes, &mut findings).await,
        _ => store::check(&[usual, elsewhere], &inspected, wishes, &mut findings).await?,
    }
    Ok(findings.report(&inspected))
}

/// A place where items are told that the host could make nothing of.
pub(crate) fn listening() -> (Refusals, std::sync::Arc<std::sync::Mutex<Vec<String>>>) {
    let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let heard = told.clone();
    let refusals = Refusals::to(move |refused| {
        let whom = refused.lease.map_or_else(|| "this node".to_owned(), |lease| lease.to_string());
        heard.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(format!("for {whom}: {}: {}", refused.item, refused.reason));
    });
    (refusals, told)
}
