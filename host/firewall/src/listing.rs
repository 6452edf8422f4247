//! Reading what `nft -j` lists (libnftables-json(5)), as far as it concerns us. Rules that say more or else than ours are [`Action::Foreign`].

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;
use twill_model::firewall::{Action, Chain, Family, Hook, Match, Rule, Ruleset, Table};

use crate::advice::Barrier;

/// Text that nft should not have printed.
#[derive(Debug, thiserror::Error)]
#[error("nft printed what is not its JSON: {0}")]
pub struct Unreadable(String);

/// What `nft -j list chains` tells: where there are own tables, and what drops forwarded packets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chains {
    /// Families in which a table of that name has chains.
    pub own: Vec<Family>,
    /// Foreign chains that drop what they do not accept; what they accept is not known yet.
    pub barriers: Vec<Barrier>,
}

/// Reads `nft -j list chains` for the instance whose tables have this name.
///
/// # Errors
/// It is not nft's JSON.
pub fn chains(json: &str, table: &str) -> Result<Chains, Unreadable> {
    let mut found = Chains::default();
    let all = objects(json, "chain")?;
    for chain in &all {
        let family = text(chain, "family");
        match Family::read(family).filter(|_| text(chain, "table") == table) {
            Some(family) if !found.own.contains(&family) => found.own.push(family),
            None if text(chain, "hook") == "forward" && text(chain, "policy") == "drop" => {
                let of_table = |other: &&Value| text(other, "family") == family && text(other, "table") == text(chain, "table");
                let docker = all.iter().filter(of_table).any(|other| text(other, "name") == "DOCKER-USER");
                found.barriers.push(Barrier {
                    family: family.to_owned(),
                    table: text(chain, "table").to_owned(),
                    chain: text(chain, "name").to_owned(),
                    docker,
                    accepts_from: Vec::new(),
                    accepts_to: Vec::new(),
                });
            }
            _ => {}
        }
    }
    Ok(found)
}

/// Reads `nft -j list table` of each own table.
///
/// # Errors
/// It is not nft's JSON.
pub fn read(table: &str, listings: &[(Family, String)]) -> Result<Ruleset, Unreadable> {
    let tables = listings.iter().map(|(family, json)| read_table(*family, json)).collect::<Result<_, _>>()?;
    Ok(Ruleset { table: table.to_owned(), tables })
}

/// Completes a barrier by `nft -j list table` of its table: what its rules accept by address alone.
///
/// # Errors
/// It is not nft's JSON.
pub fn barrier(mut barrier: Barrier, json: &str) -> Result<Barrier, Unreadable> {
    for rule in objects(json, "rule")?.iter().filter_map(accepts) {
        match rule {
            Match::From(net) => barrier.accepts_from.push(net),
            Match::To(net) => barrier.accepts_to.push(net),
            _ => {}
        }
    }
    Ok(barrier)
}

/// The one condition of a rule that accepts by it.
fn accepts(rule: &Value) -> Option<Match> {
    let read = rule_of(rule);
    match (&read.when[..], &read.then) {
        ([one], Action::Accept) => Some(*one),
        _ => None,
    }
}

fn read_table(family: Family, json: &str) -> Result<Table, Unreadable> {
    let rules = objects(json, "rule")?;
    let mut chains = Vec::new();
    for chain in objects(json, "chain")? {
        let of_chain = rules.iter().filter(|rule| text(rule, "chain") == text(&chain, "name"));
        let mut rules: Vec<Rule> = of_chain.map(rule_of).collect();
        let hook = hook_of(&chain).unwrap_or_else(|| {
            // A chain that is none of ours makes the table differ.
            rules.push(Rule { when: Vec::new(), then: Action::Foreign, comment: String::new() });
            Hook::Forward
        });
        chains.push(Chain { hook, rules });
    }
    chains.sort_by_key(|chain| chain.hook);
    Ok(Table { family, chains })
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

fn rule_of(rule: &Value) -> Rule {
    let parts: Vec<&Value> = rule["expr"].as_array().into_iter().flatten().filter(|part| part.get("counter").is_none()).collect();
    let comment = text(rule, "comment").to_owned();
    let read = parts.split_last().and_then(|(last, before)| {
        let when: Option<Vec<Match>> = before.iter().map(|part| condition(&part["match"])).collect();
        Some((when?, action(last)?))
    });
    let (when, then) = read.unwrap_or((Vec::new(), Action::Foreign));
    Rule { when, then, comment }
}

fn condition(part: &Value) -> Option<Match> {
    let (left, right) = (&part["left"], &part["right"]);
    let is = match text(part, "op") {
        "==" | "in" => true,
        "!=" => false,
        _ => return None,
    };
    if let Some(masked) = left["&"].as_array() {
        let [what, mask] = &masked[..] else { return None };
        let bit = mask.as_u64().filter(|bit| is && what["meta"]["key"] == "mark" && right.as_u64() == Some(*bit))?;
        return u32::try_from(bit).ok().map(Match::Mark);
    }
    let net = prefix(right)?;
    match (text(&left["payload"], "field"), is) {
        ("saddr", true) => Some(Match::From(net)),
        ("saddr", false) => Some(Match::NotFrom(net)),
        ("daddr", true) => Some(Match::To(net)),
        ("daddr", false) => Some(Match::NotTo(net)),
        _ => None,
    }
}

fn prefix(value: &Value) -> Option<IpNet> {
    match value.as_str() {
        Some(address) => address.parse::<IpAddr>().ok().map(IpNet::from),
        None => {
            let length = u8::try_from(value["prefix"]["len"].as_u64()?).ok()?;
            IpNet::new(text(&value["prefix"], "addr").parse().ok()?, length).ok()
        }
    }
}

fn action(part: &Value) -> Option<Action> {
    let (word, of) = part.as_object()?.iter().next()?;
    match word.as_str() {
        "accept" => Some(Action::Accept),
        "return" => Some(Action::Return),
        "masquerade" => Some(Action::Masquerade { random: random(of)? }),
        "snat" if of.get("port").is_none() => Some(Action::Snat { to: text(of, "addr").parse().ok()?, random: random(of)? }),
        _ => None,
    }
}

/// Whether the only flag is that for random ports; none when there are others.
fn random(of: &Value) -> Option<bool> {
    let flags: Vec<&str> = match of.get("flags") {
        None => Vec::new(),
        Some(Value::Array(flags)) => flags.iter().filter_map(Value::as_str).collect(),
        Some(flag) => flag.as_str().into_iter().collect(),
    };
    match &flags[..] {
        [] => Some(false),
        ["fully-random"] => Some(true),
        _ => None,
    }
}

/// All objects of a kind in a listing.
fn objects(json: &str, kind: &str) -> Result<Vec<Value>, Unreadable> {
    let mut listing: Value = serde_json::from_str(json).map_err(|error| Unreadable(error.to_string()))?;
    let Some(Value::Array(all)) = listing.get_mut("nftables").map(Value::take) else {
        return Err(Unreadable("there is no list \"nftables\" in it".into()));
    };
    Ok(all.into_iter().filter_map(|mut object| object.get_mut(kind).map(Value::take)).collect())
}

fn text<'a>(of: &'a Value, key: &str) -> &'a str {
    of[key].as_str().unwrap_or_default()
}

#[cfg(test)]
#[path = "listing_tests.rs"]
mod tests;
