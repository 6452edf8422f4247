//! Openings for forwarded packets in iptables' table `filter`, while our rules are in tables of our own: an accept there does not overrule a drop here.
//!
//! Where its chain FORWARD drops what it does not accept (Docker sets it so), or Docker's own chains do, a chain of ours accepts the overlay's packets. Docker keeps
//! the chain DOCKER-USER for such rules, and leads into it before everything else; without Docker FORWARD itself leads into ours. It goes behind
//! the rules that are there, so that what the operator drops stays dropped.

use std::fmt::Write;

use ipnet::IpNet;
use serde_json::Value;
use twill_model::firewall::{Action, Engine, Entrance, Family, Hook, Rule, Ruleset};

use crate::advice::{accepted, accepts_both_ways};
use crate::json::{drops_all, ends_chain, leads_to, parts, rule_of, text};
use crate::listing::Listing;
use crate::names::{chain_name, flannels_chain, opening_name};
use crate::place::{Line, belongs_before, stands_well};
use crate::rules::forward;
use crate::script::rule_words;

/// iptables' table and chain for forwarded packets, and Docker's chain for the operator's rules.
const TABLE: &str = "filter";
const FORWARD: &str = "FORWARD";
const DOCKERS: &str = "DOCKER-USER";

/// What there is to say of openings, and nft's words that make them so.
#[derive(Debug, Default)]
pub(crate) struct Openings {
    pub entrances: Vec<Entrance>,
    pub left_over: Vec<String>,
    pub script: String,
}

/// Compares the openings that there are with those that are needed.
pub(crate) fn openings(listing: &Listing, wanted: &Ruleset) -> Openings {
    let mut found = Openings::default();
    for family in [Family::Ip, Family::Ip6] {
        let table = OneTable { listing, family: family.word(), own: &wanted.table, chain: opening_name(&wanted.table) };
        let network = accepted(wanted).find(|network| network.addr().is_ipv4() == (family == Family::Ip));
        match network.filter(|network| wanted.engine == Engine::Nft && table.is_needed(*network)) {
            Some(network) => table.open(network, &mut found),
            None => table.close(&mut found),
        }
    }
    found
}

/// True when the table `filter` of this family keeps out what its chains do not accept.
pub(crate) fn drops_forwarded(listing: &Listing, family: &str) -> bool {
    let closed = |chain: &Value| text(chain, "policy") == "drop" || listing.of_chain(family, TABLE, FORWARD).any(drops_all);
    listing.forward_chains(family, TABLE).filter(|chain| text(chain, "name") == FORWARD).any(closed)
}

struct OneTable<'a> {
    listing: &'a Listing,
    family: &'static str,
    /// The name of our own tables.
    own: &'a str,
    chain: String,
}

impl OneTable<'_> {
    fn is_needed(&self, network: IpNet) -> bool {
        let there = self.listing.forward_chains(self.family, TABLE).any(|chain| text(chain, "name") == FORWARD);
        // Rules of ours, and of a stopped flanneld, do not count: they may be about to go.
        let ours = [self.chain.clone(), flannels_chain(Hook::Forward).to_owned(), chain_name(self.own, Hook::Forward)];
        let others = self.listing.rules(self.family, TABLE).iter().filter(|rule| !ours.iter().any(|chain| text(rule, "chain") == chain));
        there && (drops_forwarded(self.listing, self.family) || self.docker()) && !accepts_both_ways(others, network)
    }

    /// True when Docker leads forwarded packets through its chain for the operator's rules.
    fn docker(&self) -> bool {
        let leads = |rule: &Value| leads_to(rule, DOCKERS) && parts(rule).len() == 1;
        self.listing.has_chain(self.family, TABLE, DOCKERS) && self.listing.of_chain(self.family, TABLE, FORWARD).any(leads)
    }

    fn open(&self, network: IpNet, found: &mut Openings) {
        let OneTable { listing, family, chain, .. } = self;
        let from = if self.docker() { DOCKERS } else { FORWARD };
        let wanted = forward(network);
        let there: Vec<Rule> = listing.of_chain(family, TABLE, chain).map(rule_of).collect();
        let lines: Vec<Line> = listing.of_chain(family, TABLE, from).map(|rule| self.line(rule)).collect();
        let elsewhere = self.entrances().any(|rule| text(rule, "chain") != from);
        let in_place = there == wanted && stands_well(&lines) && !elsewhere;
        found.entrances.push(Entrance { what: format!("jump from chain {from} of table {family} {TABLE} to {chain}"), in_place });
        if in_place {
            return;
        }
        // Writing to a String cannot fail.
        let _ = writeln!(found.script, "add chain {family} {TABLE} {chain}\nflush chain {family} {TABLE} {chain}");
        let of = if *family == "ip" { Family::Ip } else { Family::Ip6 };
        for rule in &wanted {
            let _ = writeln!(found.script, "add rule {family} {TABLE} {chain} {}", rule_words(of, rule));
        }
        self.delete_entrances(&mut found.script);
        let others: Vec<&Value> = listing.of_chain(family, TABLE, from).filter(|rule| !leads_to(rule, chain)).collect();
        let place = match belongs_before(&lines).and_then(|at| others.get(at)) {
            Some(end) => format!("insert rule {family} {TABLE} {from} handle {}", end["handle"]),
            None => format!("add rule {family} {TABLE} {from}"),
        };
        let _ = writeln!(found.script, "{place} jump {chain} comment \"twill: packets of the overlay\"");
    }

    fn line(&self, rule: &Value) -> Line {
        match rule {
            rule if leads_to(rule, &self.chain) && parts(rule).len() == 1 => Line::Entrance,
            rule if ends_chain(rule) => Line::End,
            _ => Line::Other,
        }
    }

    fn close(&self, found: &mut Openings) {
        let OneTable { listing, family, chain, .. } = self;
        if !listing.has_chain(family, TABLE, chain) {
            return;
        }
        found.left_over.push(format!("chain {chain} of table {family} {TABLE}"));
        self.delete_entrances(&mut found.script);
        let _ = writeln!(found.script, "flush chain {family} {TABLE} {chain}\ndelete chain {family} {TABLE} {chain}");
    }

    fn entrances(&self) -> impl Iterator<Item = &Value> {
        self.listing.rules(self.family, TABLE).iter().filter(|rule| leads_to(rule, &self.chain))
    }

    fn delete_entrances(&self, script: &mut String) {
        for rule in self.entrances() {
            let _ = writeln!(script, "delete rule {} {TABLE} {} handle {}", self.family, text(rule, "chain"), rule["handle"]);
        }
    }
}

/// Rules that accept by one condition: what they accept.
pub(crate) fn accepts<'a>(rules: impl Iterator<Item = &'a Value>) -> impl Iterator<Item = twill_model::firewall::Match> {
    rules.map(rule_of).filter_map(|read| match (&read.when[..], &read.then) {
        ([one], Action::Accept) => Some(*one),
        _ => None,
    })
}

#[cfg(test)]
#[path = "opening_tests.rs"]
mod tests;
