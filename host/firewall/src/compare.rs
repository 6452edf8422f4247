//! All of it together: what was read of the packet filter against the rules that are wanted, and the work that makes it so.

use twill_model::firewall::{Engine, Family, Filter, Ruleset, Table};

use crate::advice::{advice, legacy_advice, opens_iptables};
use crate::left_over::left_over;
use crate::listing::Listing;
use crate::names::iptables;
use crate::opening::openings;
use crate::restore::{Difference, difference};
use crate::saved::Saved;
use crate::script;

/// What was read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Seen {
    /// nftables; none where the program nft is not installed.
    pub nft: Option<Listing>,
    /// iptables' tables, as far as they were read by iptables.
    pub iptables: Vec<Tables>,
}

/// iptables' tables of one family.
#[derive(Debug, Clone, PartialEq)]
pub struct Tables {
    /// Whose packets they see.
    pub family: Family,
    /// Which iptables.
    pub kind: Kind,
    /// What it printed.
    pub saved: Saved,
}

/// Which iptables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The one that is called iptables here, which holds our rules where they are wanted in iptables.
    Usual {
        /// Its tables are not seen by nft.
        legacy: bool,
        /// It knows `--random-fully`.
        random: bool,
    },
    /// The older kind beside the other one: it shall hold nothing of ours.
    Legacy,
}

/// Text for one run of a program's standard input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    /// Who reads it.
    pub reader: Reader,
    /// What it reads.
    pub script: String,
}

/// Who reads a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// `nft -f -`.
    Nft,
    /// `iptables-restore --noflush` or its sister for IPv6, of that kind.
    Restore(Family, Kind),
}

/// What there is, and the work that is to be done in this order: what is wanted is in force before anything else is taken away.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Comparison {
    /// What there is.
    pub filter: Filter,
    /// What to do; nothing when all is as wanted.
    pub work: Vec<Work>,
}

/// Compares what was read with what is wanted.
pub fn compare(seen: &Seen, wanted: &Ruleset) -> Comparison {
    let legacy = seen.iptables.iter().any(|tables| matches!(tables.kind, Kind::Usual { legacy: true, .. }));
    let mut found = Comparison { filter: Filter { ours: wanted.emptied(), ..Filter::default() }, work: Vec::new() };
    let (usual, older): (Vec<&Tables>, Vec<&Tables>) = seen.iptables.iter().partition(|tables| tables.kind != Kind::Legacy);
    for tables in usual {
        let table = wanted.tables.iter().find(|table| table.family == tables.family && wanted.engine == Engine::Iptables);
        found.iptables(tables, table, wanted);
    }
    if let Some(listing) = &seen.nft {
        found.nft(listing, wanted, legacy);
    }
    for tables in older {
        found.iptables(tables, None, wanted);
        found.filter.obstacles.extend(legacy_advice(&tables.saved, tables.family, wanted));
    }
    found
}

impl Comparison {
    fn iptables(&mut self, tables: &Tables, table: Option<&Table>, wanted: &Ruleset) {
        let (random, suffix) = match tables.kind {
            Kind::Usual { random, .. } => (random, ""),
            Kind::Legacy => (true, "-legacy"),
        };
        let program = format!("{}{suffix}", iptables(tables.family));
        let Difference { there, entrances, left_over, script } = difference(&tables.saved, tables.family, table, wanted, &program, random);
        self.filter.ours.tables.extend(there);
        self.filter.entrances.extend(entrances);
        self.filter.left_over.extend(left_over);
        self.add(Reader::Restore(tables.family, tables.kind), script);
    }

    fn nft(&mut self, listing: &Listing, wanted: &Ruleset, legacy: bool) {
        let mut text = String::new();
        if wanted.engine == Engine::Nft {
            self.filter.ours.tables = listing.own(&wanted.table);
            if self.filter.ours.tables != wanted.tables {
                text.push_str(&script(wanted));
            }
        }
        let opened = openings(listing, wanted);
        let old = left_over(listing, wanted, wanted.engine == Engine::Nft || legacy);
        self.filter.entrances.extend(opened.entrances);
        self.filter.left_over.extend(opened.left_over.into_iter().chain(old.words));
        self.filter.obstacles.extend(advice(listing, wanted, opens_iptables(wanted, legacy)));
        // One transaction: the new rules, then what they replace.
        self.add(Reader::Nft, text + &opened.script + &old.script);
    }

    fn add(&mut self, reader: Reader, script: String) {
        if !script.is_empty() {
            self.work.push(Work { reader, script });
        }
    }
}

#[cfg(test)]
#[path = "compare_tests.rs"]
mod tests;
