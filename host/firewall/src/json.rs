//! What `nft -j` prints (libnftables-json(5)), as far as it concerns us. Rules that say more or else than ours are [`Action::Foreign`].

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};
use twill_model::firewall::{Action, Match, Rule};

/// Text that nft should not have printed.
#[derive(Debug, thiserror::Error)]
#[error("nft printed what is not its JSON: {0}")]
pub struct Unreadable(String);

pub(crate) fn rule_of(rule: &Value) -> Rule {
    let comment = text(rule, "comment").to_owned();
    let parts = parts(rule);
    let read = parts.split_last().and_then(|(last, before)| {
        let when: Option<Vec<Match>> = before.iter().map(|part| condition(&part["match"])).collect();
        Some((when?, action(last)?))
    });
    let (when, then) = read.unwrap_or((Vec::new(), Action::Foreign));
    Rule { when, then, comment }
}

/// What a rule says, without counters, and without iptables' comments, which nft shows as a match.
pub(crate) fn parts(rule: &Value) -> Vec<&Value> {
    let says_nothing = |part: &&Value| part.get("counter").is_some() || part["xt"]["name"] == "comment";
    rule["expr"].as_array().into_iter().flatten().filter(|part| !says_nothing(part)).collect()
}

/// The prefixes that a rule names as source or destination.
pub(crate) fn prefixes(rule: &Value) -> Vec<IpNet> {
    let named = |part: &Value| matches!(text(&part["match"]["left"]["payload"], "field"), "saddr" | "daddr");
    parts(rule).into_iter().filter(|part| named(part)).filter_map(|part| prefix(&part["match"]["right"])).collect()
}

/// True for a rule that leads into the chain of that name, whatever its conditions.
pub(crate) fn leads_to(rule: &Value, chain: &str) -> bool {
    parts(rule).iter().any(|part| ["jump", "goto"].iter().any(|word| part[word]["target"] == chain))
}

/// True for a rule without conditions behind which nothing is reached any more.
pub(crate) fn ends_chain(rule: &Value) -> bool {
    match &parts(rule)[..] {
        [only] => is_any(only, &["accept", "return"]) || drops(only),
        _ => false,
    }
}

/// True for a rule without conditions that drops.
pub(crate) fn drops_all(rule: &Value) -> bool {
    matches!(&parts(rule)[..], [only] if drops(only))
}

fn drops(part: &Value) -> bool {
    is_any(part, &["drop", "reject"]) || matches!(text(&part["xt"], "name"), "DROP" | "REJECT")
}

fn is_any(part: &Value, words: &[&str]) -> bool {
    words.iter().any(|word| part.get(word).is_some())
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
    if is && left["payload"] == json!({"protocol": "tcp", "field": "flags"}) && right == "syn" {
        return Some(Match::Syn);
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
        "mangle" if *of == json!({"key": {"tcp option": {"name": "maxseg", "field": "size"}}, "value": {"rt": {"key": "mtu"}}}) => {
            Some(Action::ClampMss)
        }
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

/// All objects of a kind in what nft printed: one document a command.
pub(crate) fn objects(json: &str, kind: &str) -> Result<Vec<Value>, Unreadable> {
    let mut found = Vec::new();
    let mut documents = 0;
    for document in serde_json::Deserializer::from_str(json).into_iter::<Value>() {
        let mut document = document.map_err(|error| Unreadable(error.to_string()))?;
        let Some(Value::Array(all)) = document.get_mut("nftables").map(Value::take) else {
            return Err(Unreadable("there is no list \"nftables\" in it".into()));
        };
        found.extend(all.into_iter().filter_map(|mut object| object.get_mut(kind).map(Value::take)));
        documents += 1;
    }
    if documents == 0 { Err(Unreadable("nothing at all".into())) } else { Ok(found) }
}

pub(crate) fn text<'a>(of: &'a Value, key: &str) -> &'a str {
    of[key].as_str().unwrap_or_default()
}
