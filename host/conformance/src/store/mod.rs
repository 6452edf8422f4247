//! The rules for stores, put to a real store that must be empty: what a store promises it promises about writes by several nodes at once.
//!
//! Every rule works in subnets of its own and gives back what it took. Handles are instances of their own, half of them loaded a second time.

mod claims;
mod config;
mod own;
mod reserve;
mod watch;

use std::time::{Duration, Instant};

use twill_lease::store::{Change, Held, Store, StoreError};
use twill_model::{Lease, Lifetime, Prefixes, Way};
use twill_plugin::{Grants, Inspected, PluginError, Plugins, StoreHandle};

use crate::report::{Findings, Miss, Verdict, broken, kept_unless};
use crate::sample::{self, Families};
use crate::{CheckError, Wishes, rules, schema};

/// How long a change may take to arrive, polling included.
const SOON: Duration = Duration::from_secs(10);
/// A watch's wait in milliseconds; long enough to span a poll.
const WAIT_MS: u32 = 3_000;
/// The term of leases that are to outlive the suite, in seconds.
const TERM: u32 = 3_600;
/// The config that the suite leaves behind where the store cannot remove one.
const CONFIG: &str = r#"{"Network": "10.64.0.0/10",  "Backend":{"Type":"udp" } }"#;

/// The store, opened as often as is asked for.
pub(crate) struct Bench<'a> {
    plugins: &'a [Plugins; 2],
    inspected: &'a Inspected,
    wishes: &'a Wishes,
    /// A temporary directory for a store that wants one and was given none.
    grants: Grants,
}

/// Puts all rules to the store that was loaded twice.
///
/// # Errors
/// It lacks a grant, or is in use.
pub(crate) async fn check(
    plugins: &[Plugins; 2],
    inspected: &Inspected,
    wishes: &Wishes,
    findings: &mut Findings,
) -> Result<(), CheckError> {
    let mut grants = wishes.grants.clone();
    let temporary = (inspected.directory && grants.directory.is_none()).then(tempfile::tempdir).transpose();
    let temporary = temporary.map_err(|cause| CheckError::File { path: std::env::temp_dir(), cause })?;
    if let Some(folder) = &temporary {
        grants.directory = Some(folder.path().to_owned());
    }
    let bench = Bench { plugins, inspected, wishes, grants };
    let a = bench.open(0).await?;
    match a.read().await {
        Err(error) => {
            findings.fail(&rules::CONDITIONAL_CONFIG, vec![format!("the empty store cannot be read: {error}")]);
            return Ok(());
        }
        Ok(found) if !found.leases.is_empty() || found.config.is_some() => {
            let what = if found.leases.is_empty() { "a config".into() } else { format!("{} leases", found.leases.len()) };
            return Err(CheckError::InUse(inspected.status.name.clone(), what));
        }
        Ok(_) => {}
    }
    let b = bench.open(1).await?;
    put!(wishes, findings, REFUSES_WRONG_OPTIONS, bench.refuses_wrong_options().await);
    put!(wishes, findings, CONDITIONAL_CONFIG, config::conditional(&a, &b).await);
    put!(wishes, findings, ONE_WINNER, claims::one_winner(&bench).await);
    put!(wishes, findings, NO_OVERLAP, claims::no_overlap(&a, &b).await);
    put!(wishes, findings, CLAIM_AGAIN, claims::again(&a, &b).await);
    put!(wishes, findings, KEEPS_LEASES, claims::keeps(&a, &b).await);
    put!(wishes, findings, ADOPTS_ITS_OWN, own::adopts(&a, &b).await);
    put!(wishes, findings, STALE_TOKEN, own::stale_token(&a, &b).await);
    put!(wishes, findings, RELEASES, own::releases(&a, &b).await);
    put!(wishes, findings, WATCH_IN_ORDER, watch::in_order(&a, &b).await);
    put!(wishes, findings, WATCH_RESUMES, watch::resumes(&bench, &a).await);
    put!(wishes, findings, WATCH_WAITS, watch::waits(&a, &b).await);
    put!(wishes, findings, LOST_CURSOR, watch::lost_cursor(&b).await);
    put!(wishes, findings, TERMS_END, watch::terms_end(&a, &b).await);
    put!(wishes, findings, RESERVATIONS, reserve::reservations(&a, &b).await);
    put!(wishes, findings, RETRY_WHEN_AWAY, bench.retry_when_away().await);
    Ok(())
}

impl Bench<'_> {
    /// One more instance of the store.
    pub(crate) async fn open(&self, which: usize) -> Result<StoreHandle, PluginError> {
        self.open_with(which, &self.wishes.options, self.grants.clone()).await
    }

    async fn open_with(&self, which: usize, options: &str, grants: Grants) -> Result<StoreHandle, PluginError> {
        let kind = self.inspected.kind.as_deref().unwrap_or_default();
        self.plugins[which % 2].open_store(kind, options, "conformance", grants).await
    }

    async fn refuses_wrong_options(&self) -> Verdict {
        let wrong = schema::forbidden(&self.inspected.schema, &self.wishes.options);
        let mut faults = Vec::new();
        for (name, options) in &wrong {
            match self.open_with(0, options, self.grants.clone()).await.map(drop) {
                Err(PluginError::Configure { cause: StoreError::Invalid(_), .. }) => {}
                Err(other) => faults.push(format!("{name}: {options} is not called invalid: {other}")),
                Ok(()) => faults.push(format!("{name}: {options} was taken")),
            }
        }
        if wrong.is_empty() {
            return Err(Miss::Skipped("its schema has no options that could be wrong".into()));
        }
        kept_unless(faults, format!("{} wrong options refused", wrong.len()))
    }

    /// The same store in a place where nothing is: a directory that does not exist, a port that nobody listens on.
    async fn retry_when_away(&self) -> Verdict {
        let mut grants = self.grants.clone();
        grants.directory = grants.directory.map(|folder| folder.join("away"));
        for upstream in grants.upstreams.values_mut() {
            upstream.endpoints = "http://127.0.0.1:1".parse().into_iter().collect();
        }
        let away =
            self.open_with(0, &self.wishes.options, grants).await.map_err(|error| broken(format!("it cannot be opened: {error}")))?;
        let calls = [("read", away.read().await.map(drop)), ("claim", away.claim(vec![subnet(1)], wish(1, TERM)).await.map(drop))];
        let faults = calls.into_iter().filter_map(|(call, answer)| match answer {
            Err(StoreError::Retry(_)) => None,
            Err(other) => Some(format!("{call} says: {other}")),
            Ok(()) => Some(format!("{call} succeeded")),
        });
        kept_unless(faults.collect(), "read and claim say so")
    }
}

/// The subnet of that number.
fn subnet(number: u16) -> Prefixes {
    sample::subnets(number, Families::V4)
}

/// What the node of that number wants, for a term in seconds.
fn wish(node: u16, term: u32) -> Lease {
    let ways = vec![Way { backend: "udp".into(), options: r#"{"Port":8285}"#.into(), data_v4: None, data_v6: None }];
    let mut lease = sample::lease(node, Families::V4, ways);
    lease.public.v6 = None;
    Lease { life: Lifetime::Seconds(term), ..lease }
}

/// Says what was being done when a store failed.
pub(crate) trait During<T> {
    fn during(self, act: &str) -> Result<T, Miss>;
}

impl<T, E: std::fmt::Display> During<T> for Result<T, E> {
    fn during(self, act: &str) -> Result<T, Miss> {
        self.map_err(|error| broken(format!("{act}: {error}")))
    }
}

/// A claim of one subnet that must go well.
async fn take(store: &StoreHandle, number: u16, lease: Lease) -> Result<Held, Miss> {
    let held = store.claim(vec![subnet(number)], lease).await.during("a free subnet could not be claimed")?;
    if held.lease.subnets == subnet(number) {
        Ok(held)
    } else {
        Err(broken(format!("{} was claimed, {} was held", subnet(number), held.lease.subnets)))
    }
}

/// The lease of that subnet, as `store` reads it.
async fn find(store: &StoreHandle, subnets: Prefixes) -> Result<Option<Lease>, Miss> {
    let snapshot = store.read().await.during("read")?;
    Ok(snapshot.leases.into_iter().find(|lease| lease.subnets == subnets))
}

/// Wants a refusal of one kind; another answer is the fault.
fn refused<T: std::fmt::Debug>(
    answer: Result<T, StoreError>,
    act: &str,
    wanted: fn(&StoreError) -> bool,
    called: &str,
    faults: &mut Vec<String>,
) {
    match answer {
        Err(error) if wanted(&error) => {}
        Err(error) => faults.push(format!("{act}: \"{called}\" expected, it said: {error}")),
        Ok(value) => faults.push(format!("{act}: \"{called}\" expected, it succeeded: {value:?}")),
    }
}

fn is_conflict(error: &StoreError) -> bool {
    matches!(error, StoreError::Conflict(_))
}

fn is_missing(error: &StoreError) -> bool {
    matches!(error, StoreError::NotFound(_))
}

/// Conflict or not found: what a lost lease's holder may be told.
fn is_lost(error: &StoreError) -> bool {
    is_conflict(error) || is_missing(error)
}

/// How long to wait after "again later".
const AGAIN: Duration = Duration::from_millis(100);

/// Watches until `enough`, at most for a while; the changes and the last cursor.
async fn follow(store: &StoreHandle, mut cursor: String, enough: impl Fn(&[Change]) -> bool) -> Result<(Vec<Change>, String), Miss> {
    let (started, mut seen) = (Instant::now(), Vec::new());
    loop {
        let more = match store.watch(cursor.clone(), WAIT_MS).await {
            // "Again later" is a normal answer, such as when a connection broke off.
            Err(StoreError::Retry(_)) if started.elapsed() < SOON => {
                tokio::time::sleep(AGAIN).await;
                continue;
            }
            answer => answer.during("watch")?,
        };
        seen.extend(more.changes);
        cursor = more.cursor;
        if enough(&seen) {
            return Ok((seen, cursor));
        }
        if started.elapsed() > SOON {
            return Err(broken(format!("after {:.0?} a watch had told only {}", started.elapsed(), told(&seen))));
        }
    }
}

/// Changes in words.
fn told(changes: &[Change]) -> String {
    if changes.is_empty() {
        return "nothing".into();
    }
    let words = changes.iter().map(|change| match change {
        Change::Config(Some(_)) => "config".into(),
        Change::Config(None) => "no config".into(),
        Change::Put(lease) => format!("put {}", lease.subnets),
        Change::Gone(subnets) => format!("gone {subnets}"),
        Change::Oddity(oddity) => format!("oddity at {}", oddity.place),
    });
    words.collect::<Vec<String>>().join(", ")
}
