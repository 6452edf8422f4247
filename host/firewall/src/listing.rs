//! The rules of nftables as `nft -j` lists them: first which chains there are, then whole the tables that concern us.

use std::collections::BTreeMap;

use serde_json::Value;
use twill_model::firewall::{Action, Chain, Family, Hook, Rule, Table};

use crate::json::{Unreadable, objects, rule_of, text};
use crate::names::{FLANNEL_TABLES, chain_name, flannels_chain, opening_name};

/// Family and name of a table.
pub type TableName = (String, String);

/// Which tables and chains there are.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Heads {
    tables: Vec<TableName>,
    chains: Vec<Value>,
}

impl Heads {
    /// Reads what one run of `nft -j 'list tables; list chains'` prints.
    ///
    /// # Errors
    /// It is not nft's JSON.
    pub fn read(json: &str) -> Result<Heads, Unreadable> {
        let named = |table: &Value| (text(table, "family").to_owned(), text(table, "name").to_owned());
        Ok(Heads { tables: objects(json, "table")?.iter().map(named).collect(), chains: objects(json, "chain")? })
    }

    /// The tables to be listed whole for the instance whose tables have this name: its own, those with chains of ours or flannel's, and those that
    /// see forwarded packets.
    pub fn concerning(&self, own: &str) -> Vec<TableName> {
        let hooks = [Hook::Forward, Hook::Postrouting];
        let chains: Vec<String> = hooks.iter().flat_map(|hook| [flannels_chain(*hook).to_owned(), chain_name(own, *hook)]).collect();
        let named = |name: &str| chains.iter().any(|chain| chain == name) || name == opening_name(own);
        let of_chain = |chain: &&Value| text(chain, "hook") == "forward" || named(text(chain, "name"));
        let name_of = |chain: &Value| (text(chain, "family").to_owned(), text(chain, "table").to_owned());
        let by_name =
            |(family, table): &&TableName| table == own || FLANNEL_TABLES.iter().any(|(of, name)| of.word() == family && name == table);
        let mut names: Vec<TableName> = self.chains.iter().filter(of_chain).map(name_of).collect();
        names.extend(self.tables.iter().filter(by_name).cloned());
        names.retain(|(family, _)| ["ip", "ip6", "inet"].contains(&family.as_str()));
        names.sort();
        names.dedup();
        names
    }
}

/// The tables that concern us.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Listing {
    tables: BTreeMap<TableName, (Vec<Value>, Vec<Value>)>,
}

impl Listing {
    /// Adds a table as `nft -j list table` shows it.
    ///
    /// # Errors
    /// It is not nft's JSON.
    pub fn add(&mut self, name: TableName, json: &str) -> Result<(), Unreadable> {
        self.tables.insert(name, (objects(json, "chain")?, objects(json, "rule")?));
        Ok(())
    }

    /// The tables that there are.
    pub(crate) fn names(&self) -> impl Iterator<Item = &TableName> {
        self.tables.keys()
    }

    pub(crate) fn has_table(&self, family: &str, table: &str) -> bool {
        self.chains(family, table).is_some()
    }

    fn chains(&self, family: &str, table: &str) -> Option<&[Value]> {
        Some(&self.tables.get(&(family.to_owned(), table.to_owned()))?.0)
    }

    /// The chains of a table that see forwarded packets first.
    pub(crate) fn forward_chains(&self, family: &str, table: &str) -> impl Iterator<Item = &Value> {
        self.chains(family, table).unwrap_or_default().iter().filter(|chain| text(chain, "hook") == "forward")
    }

    pub(crate) fn has_chain(&self, family: &str, table: &str, chain: &str) -> bool {
        self.chains(family, table).unwrap_or_default().iter().any(|there| text(there, "name") == chain)
    }

    /// All rules of a table, in order within each chain.
    pub(crate) fn rules(&self, family: &str, table: &str) -> &[Value] {
        self.tables.get(&(family.to_owned(), table.to_owned())).map_or(&[], |(_, rules)| rules)
    }

    /// The rules of a chain in their order.
    pub(crate) fn of_chain<'a>(&'a self, family: &str, table: &str, chain: &'a str) -> impl Iterator<Item = &'a Value> {
        self.rules(family, table).iter().filter(move |rule| text(rule, "chain") == chain)
    }

    /// The tables of that name, as rules of ours.
    pub(crate) fn own(&self, table: &str) -> Vec<Table> {
        [Family::Ip, Family::Ip6].into_iter().filter_map(|family| self.own_table(family, table)).collect()
    }

    fn own_table(&self, family: Family, table: &str) -> Option<Table> {
        let mut chains = Vec::new();
        for chain in self.chains(family.word(), table)? {
            let mut rules: Vec<Rule> = self.of_chain(family.word(), table, text(chain, "name")).map(rule_of).collect();
            let hook = hook_of(chain).unwrap_or_else(|| {
                // A chain that is none of ours makes the table differ.
                rules.push(Rule { when: Vec::new(), then: Action::Foreign, comment: String::new() });
                Hook::Forward
            });
            chains.push(Chain { hook, rules });
        }
        chains.sort_by_key(|chain| chain.hook);
        Some(Table { family, chains })
    }
}

/// The hook of a chain that stands as ours do.
fn hook_of(chain: &Value) -> Option<Hook> {
    let place = (text(chain, "name"), text(chain, "type"), text(chain, "hook"), chain["prio"].as_i64(), text(chain, "policy"));
    match place {
        ("forward", "filter", "forward", Some(0), "accept") => Some(Hook::Forward),
        ("postrouting", "nat", "postrouting", Some(100), "accept") => Some(Hook::Postrouting),
        _ => None,
    }
}

#[cfg(test)]
#[path = "listing_tests.rs"]
mod tests;
