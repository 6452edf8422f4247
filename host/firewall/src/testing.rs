//! Listings of nft for tests, told in few words: what nft 1.0.6 prints of rules that iptables-nft 1.8.9 and nft wrote.

use serde_json::{Value, json};
use twill_model::Prefixes;
use twill_model::firewall::{Engine, Ruleset};

use crate::{FirewallInput, Listing, rules};

/// The rules of the network 10.1.0.0/16 and the subnet 10.1.7.0/24, with their like in IPv6.
pub(crate) fn wanted(engine: Engine) -> Ruleset {
    rules(&FirewallInput {
        networks: Prefixes { v4: "10.1.0.0/16".parse().ok(), v6: "fd00:1::/48".parse().ok() },
        subnets: Prefixes { v4: "10.1.7.0/24".parse().ok(), v6: "fd00:1:0:7::/64".parse().ok() },
        masquerade: true,
        forward: true,
        clamp_mss: false,
        random: true,
        instance: "twill",
        engine,
        earlier: &[],
    })
}

/// Adds a table: its chains ("NAME", or "NAME hook policy"), and its rules ("CHAIN words # comment"), whose handles count from 100.
pub(crate) fn table(listing: &mut Listing, family: &str, name: &str, chains: &[&str], rules: &[&str]) {
    let chain = |text: &&str| match text.split(' ').collect::<Vec<_>>()[..] {
        [chain, hook, policy] => json!({"chain": {"name": chain, "hook": hook, "policy": policy, "type": "filter", "prio": 0}}),
        _ => json!({"chain": {"name": text}}),
    };
    let rule = |(number, text): (usize, &&str)| {
        let (chain, words) = text.split_once(' ').expect("a chain and words");
        let (words, comment) = words.split_once(" # ").unwrap_or((words, ""));
        json!({"rule": {"chain": chain, "handle": 100 + number, "comment": comment, "expr": expression(family, words)}})
    };
    let all: Vec<Value> = chains.iter().map(chain).chain(rules.iter().enumerate().map(rule)).collect();
    listing.add((family.into(), name.into()), &json!({"nftables": all}).to_string()).expect("nft's JSON");
}

/// "saddr NET", "daddr NET", "daddr!= NET", "mark", "jump CHAIN", and verdicts; "iifname" stands for any other condition.
fn expression(family: &str, words: &str) -> Vec<Value> {
    let mut parts = vec![json!({"xt": {"type": "match", "name": "comment"}}), json!({"counter": {"packets": 0, "bytes": 0}})];
    let mut words = words.split(' ');
    while let Some(word) = words.next() {
        parts.push(match word {
            "saddr" | "daddr" | "saddr!=" | "daddr!=" => {
                let (addr, len) = words.next().and_then(|net| net.split_once('/')).expect("a prefix");
                let op = if word.ends_with("!=") { "!=" } else { "==" };
                let left = json!({"payload": {"protocol": family, "field": word.trim_end_matches("!=")}});
                json!({"match": {"op": op, "left": left, "right": {"prefix": {"addr": addr, "len": len.parse::<u8>().expect("a length")}}}})
            }
            "mark" => json!({"match": {"op": "==", "left": {"&": [{"meta": {"key": "mark"}}, 16384]}, "right": 16384}}),
            "iifname" => json!({"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "eth7"}}),
            "jump" | "goto" => json!({word: {"target": words.next()}}),
            "REJECT" | "MASQUERADE" => json!({"xt": {"type": "target", "name": word}}),
            verdict => json!({verdict: null}),
        });
    }
    parts
}
