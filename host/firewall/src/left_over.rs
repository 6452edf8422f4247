//! What others, or we ourselves by another engine, left in nftables, and nft's words that take it away: flannel's tables, and chains in iptables'
//! tables (iptables-nft keeps them in nftables). Only what speaks of our network is ours; what speaks of another one is left as it is.

use std::fmt::Write;

use serde_json::Value;
use twill_model::firewall::{Engine, Family, Hook, Ruleset};

use crate::json::{leads_to, prefixes, text};
use crate::listing::Listing;
use crate::names::{FLANNEL_TABLES, anothers, builtin, chain_name, flannels_chain};

/// What is to go, in words each, and how.
#[derive(Debug, Default)]
pub(crate) struct LeftOver {
    pub words: Vec<String>,
    pub script: String,
}

/// Everything of ours in nftables beside the rules that are wanted there. `chains`: chains in iptables' tables are left over too.
pub(crate) fn left_over(listing: &Listing, wanted: &Ruleset, chains: bool) -> LeftOver {
    let mut found = LeftOver::default();
    if wanted.engine != Engine::Nft {
        own_tables(listing, &wanted.table, &mut found);
    }
    flannels_tables(listing, wanted, &mut found);
    if chains {
        for family in [Family::Ip, Family::Ip6] {
            for hook in [Hook::Forward, Hook::Postrouting] {
                let own = chain_name(&wanted.table, hook);
                if own != flannels_chain(hook) {
                    chain(listing, family, hook, &own, None, &mut found);
                }
                chain(listing, family, hook, flannels_chain(hook), Some(wanted), &mut found);
            }
        }
    }
    found
}

fn own_tables(listing: &Listing, table: &str, found: &mut LeftOver) {
    for family in [Family::Ip, Family::Ip6].iter().filter(|family| listing.has_table(family.word(), table)) {
        drop_table(*family, table, found);
    }
}

fn flannels_tables(listing: &Listing, wanted: &Ruleset, found: &mut LeftOver) {
    let named =
        |(family, table): &(Family, &str)| -> Vec<ipnet::IpNet> { listing.rules(family.word(), table).iter().flat_map(prefixes).collect() };
    // An empty one goes with the other.
    let theirs = FLANNEL_TABLES.iter().any(|one| anothers(&named(one), &wanted.claims));
    let there = FLANNEL_TABLES.iter().filter(|(family, table)| listing.has_table(family.word(), table));
    let left_alone =
        |one: &(Family, &str)| wanted.claims.is_empty() || anothers(&named(one), &wanted.claims) || theirs && named(one).is_empty();
    for (family, table) in there.filter(|one| !left_alone(one)) {
        drop_table(*family, table, found);
    }
}

fn drop_table(family: Family, table: &str, found: &mut LeftOver) {
    found.words.push(format!("table {} {table}", family.word()));
    // Writing to a String cannot fail.
    let _ = writeln!(found.script, "delete table {} {table}", family.word());
}

/// A chain in iptables' tables. `shared`: others may have rules in a chain of this name.
fn chain(listing: &Listing, family: Family, hook: Hook, name: &str, shared: Option<&Ruleset>, found: &mut LeftOver) {
    let (family, table) = (family.word(), builtin(hook).0);
    if !listing.has_chain(family, table, name) {
        return;
    }
    let rules: Vec<&Value> = listing.of_chain(family, table, name).collect();
    let theirs = |rule: &&&Value| shared.is_some_and(|wanted| anothers(&prefixes(rule), &wanted.claims));
    if !rules.iter().any(|rule| theirs(&rule)) && shared.is_none_or(|wanted| !wanted.claims.is_empty()) {
        found.words.push(format!("chain {name} of table {family} {table}"));
        for rule in listing.rules(family, table).iter().filter(|rule| leads_to(rule, name)) {
            delete(rule, family, table, &mut found.script);
        }
        let _ = writeln!(found.script, "flush chain {family} {table} {name}\ndelete chain {family} {table} {name}");
        return;
    }
    // What names no network serves the others too.
    let ours: Vec<&&Value> = rules.iter().filter(|rule| !theirs(rule) && !prefixes(rule).is_empty()).collect();
    if !ours.is_empty() {
        found.words.push(format!("rules for our network in chain {name} of table {family} {table}"));
        ours.into_iter().for_each(|rule| delete(rule, family, table, &mut found.script));
    }
}

fn delete(rule: &Value, family: &str, table: &str, script: &mut String) {
    let _ = writeln!(script, "delete rule {family} {table} {} handle {}", text(rule, "chain"), rule["handle"]);
}

#[cfg(test)]
#[path = "left_over_tests.rs"]
mod tests;
