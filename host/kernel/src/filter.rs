//! The packet filter, through the program `nft`: rules go in as text on its standard input, never through a shell, and come back as JSON.
//!
//! nft is run to write, and to read after somebody else changed something; in between the answer is remembered. What the text and the JSON mean is the
//! firewall room's to know.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::Mutex;
use tracing::warn;
use twill_firewall::{Barrier, Unreadable, advice, barrier, chains, read, script};
use twill_model::firewall::{Filter, Ruleset};
use twill_reconcile::ports::Refused;

use crate::filter_news::FilterMonitor;

/// Where nft is looked for: in PATH, and where it is on systems whose PATH lacks it for users.
const PROGRAMS: &[&str] = &["nft", "/usr/sbin/nft"];

/// Some milliseconds are usual. Repairs of routes wait meanwhile, so a longer wait is a failure.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why nft did not do its work.
#[derive(Debug, thiserror::Error)]
enum NftError {
    #[error("the program nft is not installed; install the package nftables, or choose --forward-rules=leave without --ip-masq")]
    Missing,
    #[error("nft cannot be run: {0}")]
    Run(#[from] std::io::Error),
    #[error("nft gave no answer within {} s", PATIENCE.as_secs())]
    Silent,
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

/// The packet filter of this network namespace, as far as it is ours.
#[derive(Debug)]
pub(crate) struct PacketFilter {
    /// None where the kernel cannot tell of changes; then every look runs nft.
    monitor: Option<FilterMonitor>,
    seen: Mutex<Option<Seen>>,
    programs: &'static [&'static str],
}

/// What was read last.
#[derive(Debug)]
struct Seen {
    /// The count of changes before it was read.
    changes: u64,
    ours: Ruleset,
    barriers: Vec<Barrier>,
}

impl PacketFilter {
    /// Starts to listen for changes, in the network namespace of the calling thread.
    pub(crate) fn open() -> Self {
        let monitor = FilterMonitor::open().inspect_err(|error| warn!(%error, "cannot listen for packet filter changes"));
        Self { monitor: monitor.ok(), seen: Mutex::new(None), programs: PROGRAMS }
    }

    /// Waits for a change by another hand.
    pub(crate) async fn news(&self) {
        match &self.monitor {
            Some(monitor) => monitor.news().await,
            None => std::future::pending().await,
        }
    }

    /// What there is of the tables that `wanted` names, and what stands in its way.
    pub(crate) async fn look(&self, wanted: &Ruleset) -> Result<Filter, Refused> {
        let mut seen = self.seen.lock().await;
        let fresh = |seen: &Seen| seen.ours.table == wanted.table && self.changes() == Some(seen.changes);
        if !seen.as_ref().is_some_and(fresh) {
            *seen = self.read(wanted).await.map_err(|error| refused("read the packet filter's rules", &error))?;
        }
        let Some(seen) = &*seen else {
            return Ok(Filter { ours: Ruleset { table: wanted.table.clone(), tables: vec![] }, obstacles: vec![] });
        };
        let obstacles = advice(&seen.barriers, wanted);
        self.watch(wanted, seen.barriers.iter().filter(|_| !obstacles.is_empty()));
        Ok(Filter { ours: seen.ours.clone(), obstacles })
    }

    /// Replaces all own tables at once.
    pub(crate) async fn replace(&self, wanted: &Ruleset) -> Result<(), Refused> {
        let mut seen = self.seen.lock().await;
        *seen = None;
        let done = self.nft(&["-f", "-"], Some(script(wanted))).await;
        done.map(drop).map_err(|error| refused(&format!("make {wanted}"), &error))
    }

    /// None when there is no nft, and nobody wants rules.
    async fn read(&self, wanted: &Ruleset) -> Result<Option<Seen>, NftError> {
        self.watch(wanted, std::iter::empty());
        let changes = self.changes().unwrap_or_default();
        let found = match self.nft(&["-j", "list", "chains"], None).await {
            Err(NftError::Missing) if wanted.tables.is_empty() => return Ok(None),
            found => chains(&found?, &wanted.table)?,
        };
        let mut listings = Vec::new();
        for family in found.own {
            listings.push((family, self.nft(&["-j", "list", "table", family.word(), &wanted.table], None).await?));
        }
        let mut barriers = Vec::new();
        for there in found.barriers {
            let listing = self.nft(&["-j", "list", "table", &there.family, &there.table], None).await?;
            barriers.push(barrier(there, &listing)?);
        }
        Ok(Some(Seen { changes, ours: read(&wanted.table, &listings)?, barriers }))
    }

    fn changes(&self) -> Option<u64> {
        self.monitor.as_ref().map(FilterMonitor::changes)
    }

    fn watch<'a>(&self, wanted: &Ruleset, barriers: impl Iterator<Item = &'a Barrier>) {
        if let Some(monitor) = &self.monitor {
            monitor.watch(std::iter::once(wanted.table.clone()).chain(barriers.map(|there| there.table.clone())));
        }
    }

    async fn nft(&self, words: &[&str], input: Option<String>) -> Result<String, NftError> {
        let run = async {
            for program in self.programs {
                match self.run(program, words, input.as_deref()).await {
                    Err(NftError::Run(error)) if error.kind() == std::io::ErrorKind::NotFound => {}
                    done => return done,
                }
            }
            Err(NftError::Missing)
        };
        tokio::time::timeout(PATIENCE, run).await.unwrap_or(Err(NftError::Silent))
    }

    async fn run(&self, program: &str, words: &[&str], input: Option<&str>) -> Result<String, NftError> {
        let mut command = Command::new(program);
        command.args(words).env("LC_ALL", "C").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        if let (Some(monitor), Some(id)) = (&self.monitor, child.id()) {
            // Before it is told what to do.
            monitor.ignore(id);
        }
        if let Some(mut stdin) = child.stdin.take() {
            // A child that ended early says why on its error output.
            let _ = stdin.write_all(input.unwrap_or_default().as_bytes()).await;
        }
        let output = child.wait_with_output().await?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(NftError::Refused(first_line(&String::from_utf8_lossy(&output.stderr), output.status)))
    }
}

/// The line that says what is wrong; below it nft quotes the rule.
fn first_line(said: &str, status: std::process::ExitStatus) -> String {
    let line = said.lines().find(|line| !line.trim().is_empty());
    line.map_or_else(|| format!("nft ended with {status} and said nothing"), |line| format!("nft says: {}", line.trim()))
}

fn refused(act: &str, error: &NftError) -> Refused {
    Refused { act: act.to_owned(), cause: error.to_string() }
}

#[cfg(test)]
mod tests {
    use twill_model::firewall::{Family, Table};

    use super::*;

    fn filter(programs: &'static [&'static str]) -> PacketFilter {
        PacketFilter { monitor: None, seen: Mutex::new(None), programs }
    }

    fn wanted() -> Ruleset {
        Ruleset { table: "twill".into(), tables: vec![Table { family: Family::Ip, chains: vec![] }] }
    }

    #[tokio::test]
    async fn without_nft_the_package_is_named_where_rules_are_wanted_and_else_all_is_well() {
        let filter = filter(&["no-such-nft", "/nowhere/nft"]);
        let refused = filter.look(&wanted()).await.expect_err("there is no nft");
        assert!(refused.to_string().contains("install the package nftables"), "{refused}");
        let none = Ruleset { tables: vec![], ..wanted() };
        assert_eq!(filter.look(&none).await, Ok(Filter { ours: none, obstacles: vec![] }));
    }

    #[tokio::test]
    async fn what_nft_does_not_do_is_told_in_its_words() {
        // It takes the words of nft and ends with a complaint.
        let refused = filter(&["ls"]).replace(&wanted()).await.expect_err("ls is no nft");
        assert!(refused.to_string().starts_with("cannot make table ip twill: nft says: ls: "), "{refused}");
        let refused = filter(&["false"]).look(&wanted()).await.expect_err("it fails");
        assert!(refused.to_string().ends_with("and said nothing"), "{refused}");
        let refused = filter(&["true"]).look(&wanted()).await.expect_err("it says nothing");
        assert!(refused.to_string().contains("not its JSON"), "{refused}");
    }
}
