//! The packet filter of this network namespace, read and written by the programs nft and iptables. What their texts mean is the firewall room's to know.
//!
//! They are run to write, and to read after somebody else changed something; in between what was read is remembered.

use std::path::Path;
use std::time::Duration;

use tokio::sync::{Mutex, OnceCell};
use tokio::time::Instant;
use tracing::warn;
use twill_firewall::{Comparison, Heads, Kind, Listing, Reader, Saved, Seen, Tables, compare, iptables};
use twill_model::firewall::{Engine, Family, Filter, Ruleset};
use twill_reconcile::ports::Refused;

use crate::filter_news::FilterMonitor;
use crate::programs::{FilterError, run};

/// Time between looks where the kernel does not tell of changes, as with iptables-legacy; flannel's `--iptables-resync`.
const BLIND: Duration = Duration::from_secs(5);

/// Where the kernel lists the tables of iptables-legacy.
const LEGACY_TABLES: [(Family, &str); 2] =
    [(Family::Ip, "/proc/thread-self/net/ip_tables_names"), (Family::Ip6, "/proc/thread-self/net/ip6_tables_names")];

/// The packet filter, as far as it is ours.
#[derive(Debug)]
pub(crate) struct PacketFilter {
    /// None where the kernel cannot tell of changes; then every look reads.
    monitor: Option<FilterMonitor>,
    latest: Mutex<Option<Latest>>,
    /// What `iptables --version` tells.
    usual: OnceCell<Kind>,
}

/// What was read last.
#[derive(Debug)]
struct Latest {
    /// The count of changes before it was read.
    changes: u64,
    /// The table and the engine that it was read for.
    read_for: (String, Engine),
    /// When it is out of date without a word of a change.
    until: Option<Instant>,
    seen: Seen,
}

impl PacketFilter {
    /// Starts to listen for changes, in the network namespace of the calling thread.
    pub(crate) fn open() -> Self {
        let monitor = FilterMonitor::open().inspect_err(|error| warn!(%error, "cannot listen for packet filter changes"));
        Self { monitor: monitor.ok(), latest: Mutex::default(), usual: OnceCell::new() }
    }

    /// Waits for a change by another hand, or until it is time to look for one.
    pub(crate) async fn news(&self) {
        let until = self.latest.lock().await.as_ref().and_then(|latest| latest.until);
        let told = async {
            match &self.monitor {
                Some(monitor) => monitor.news().await,
                None => std::future::pending().await,
            }
        };
        let due = async {
            match until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = told => {}
            () = due => {}
        }
    }

    /// What there is of the rules that `wanted` is about, and what stands in their way.
    pub(crate) async fn look(&self, wanted: &Ruleset) -> Result<Filter, Refused> {
        Ok(self.compare(wanted).await.map_err(|error| error.refused("read the packet filter's rules"))?.filter)
    }

    /// Makes all rules as wanted: first what is to be in force, then away with the rest.
    pub(crate) async fn replace(&self, wanted: &Ruleset) -> Result<(), Refused> {
        let done = self.write(wanted).await;
        *self.latest.lock().await = None;
        done.map_err(|error| error.refused(&format!("make {wanted}")))
    }

    async fn write(&self, wanted: &Ruleset) -> Result<(), FilterError> {
        for work in self.compare(wanted).await?.work {
            match work.reader {
                Reader::Nft => self.run("nft", &["-f", "-"], &work.script).await?,
                Reader::Restore(family, kind) => self.restore(family, kind, &work.script).await?,
            };
        }
        Ok(())
    }

    async fn restore(&self, family: Family, kind: Kind, script: &str) -> Result<String, FilterError> {
        let program = program(family, kind, "restore");
        match kind {
            // As old as this it does not know how to wait for another one either.
            Kind::Usual { random: false, .. } => self.run(&program, &["--noflush"], script).await,
            _ => self.run(&program, &["--noflush", "--wait", "2"], script).await,
        }
    }

    async fn compare(&self, wanted: &Ruleset) -> Result<Comparison, FilterError> {
        let read_for = (wanted.table.clone(), wanted.engine);
        let mut latest = self.latest.lock().await;
        let fresh = |latest: &Latest| {
            latest.read_for == read_for && self.changes() == Some(latest.changes) && latest.until.is_none_or(|until| Instant::now() < until)
        };
        if let Some(latest) = latest.as_ref().filter(|latest| fresh(latest)) {
            return Ok(compare(&latest.seen, wanted));
        }
        self.watch(wanted, &[]);
        let changes = self.changes().unwrap_or_default();
        let seen = self.read(wanted).await?;
        let blind = seen.iptables.iter().any(|tables| !matches!(tables.kind, Kind::Usual { legacy: false, .. }));
        let until = blind.then(|| Instant::now() + BLIND);
        let comparison = compare(&seen, wanted);
        *latest = Some(Latest { changes, read_for, until, seen });
        Ok(comparison)
    }

    async fn read(&self, wanted: &Ruleset) -> Result<Seen, FilterError> {
        let nft = match self.read_nft(wanted).await {
            Err(FilterError::Missing(_)) if wanted.engine == Engine::Iptables || wanted.tables.is_empty() => None,
            read => Some(read?),
        };
        let mut tables = Vec::new();
        let usual = match wanted.engine {
            Engine::Iptables => Some(self.usual().await?),
            // What nft would show of iptables' tables, iptables itself shows, if anything.
            Engine::Nft if nft.is_none() => self.usual().await.ok(),
            Engine::Nft => None,
        };
        if let Some(usual) = usual {
            for family in [Family::Ip, Family::Ip6] {
                match self.saved(family, usual).await {
                    Ok(read) => tables.push(read),
                    Err(error) if wanted.tables.iter().any(|table| table.family == family) => return Err(error),
                    // A machine without IPv6 need not have ip6tables.
                    Err(_) => {}
                }
            }
        }
        if !matches!(self.usual.get(), Some(Kind::Usual { legacy: true, .. })) {
            for (family, names) in LEGACY_TABLES {
                if std::fs::read_to_string(Path::new(names)).is_ok_and(|names| !names.trim().is_empty()) {
                    // Where it is not installed nobody can have used it from here.
                    tables.extend(self.saved(family, Kind::Legacy).await.ok());
                }
            }
        }
        Ok(Seen { nft, iptables: tables })
    }

    async fn read_nft(&self, wanted: &Ruleset) -> Result<Listing, FilterError> {
        let heads = Heads::read(&self.run("nft", &["-j", "list tables; list chains"], "").await?)?;
        let concerning = heads.concerning(&wanted.table);
        self.watch(wanted, &concerning);
        let mut listing = Listing::default();
        for (family, table) in concerning {
            let json = self.run("nft", &["-j", "list", "table", &family, &table], "").await?;
            listing.add((family, table), &json)?;
        }
        Ok(listing)
    }

    async fn saved(&self, family: Family, kind: Kind) -> Result<Tables, FilterError> {
        let text = self.run(&program(family, kind, "save"), &[], "").await?;
        Ok(Tables { family, kind, saved: Saved::read(&text)? })
    }

    /// Which iptables is in use here.
    async fn usual(&self) -> Result<Kind, FilterError> {
        self.usual.get_or_try_init(|| async { Ok(kind(&self.run("iptables", &["--version"], "").await?)) }).await.copied()
    }

    fn changes(&self) -> Option<u64> {
        self.monitor.as_ref().map(FilterMonitor::changes)
    }

    fn watch(&self, wanted: &Ruleset, tables: &[(String, String)]) {
        let iptables: &[&str] = if wanted.engine == Engine::Iptables { &["filter", "nat"] } else { &[] };
        let all = tables.iter().map(|(_, table)| table.as_str()).chain(iptables.iter().copied()).chain([wanted.table.as_str()]);
        if let Some(monitor) = &self.monitor {
            monitor.watch(all.map(str::to_owned));
        }
    }

    async fn run(&self, program: &str, words: &[&str], input: &str) -> Result<String, FilterError> {
        let ignore = |process| self.monitor.iter().for_each(|monitor| monitor.ignore(process));
        run(program, words, input, ignore).await
    }
}

/// "iptables-save", "ip6tables-legacy-restore".
fn program(family: Family, kind: Kind, does: &str) -> String {
    let legacy = if kind == Kind::Legacy { "-legacy" } else { "" };
    format!("{}{legacy}-{does}", iptables(family))
}

/// By "iptables v1.8.9 (nf_tables)". Before 1.8 there was the older kind alone; `--random-fully` came with 1.6.2.
fn kind(version: &str) -> Kind {
    let number = version.split_whitespace().find_map(|word| word.strip_prefix('v')).unwrap_or_default();
    let parts: Vec<u32> = number.split('.').map_while(|part| part.parse().ok()).collect();
    Kind::Usual { legacy: !version.contains("nf_tables"), random: parts.as_slice() >= [1, 6, 2].as_slice() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_tells_the_kind_of_iptables() {
        let table = [
            ("iptables v1.8.9 (nf_tables)", false, true),
            ("iptables v1.8.2 (legacy)", true, true),
            ("iptables v1.6.2", true, true),
            ("iptables v1.6.1", true, false),
            ("iptables v1.10 (nf_tables)", false, true),
            ("something else", true, false),
        ];
        for (version, legacy, random) in table {
            assert_eq!(kind(version), Kind::Usual { legacy, random }, "{version}");
        }
    }

    #[test]
    fn programs_are_called_by_family_and_kind() {
        let usual = Kind::Usual { legacy: true, random: true };
        assert_eq!(program(Family::Ip, usual, "save"), "iptables-save");
        assert_eq!(program(Family::Ip6, Kind::Legacy, "restore"), "ip6tables-legacy-restore");
    }
}
