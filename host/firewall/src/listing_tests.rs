use twill_model::Prefixes;
use twill_model::firewall::Engine;

use super::*;
use crate::{FirewallInput, rules};

/// What nft 1.0.6 tells of the table that [`rules`] plans.
const LISTING: &str = r#"{"nftables": [{"metainfo": {"version": "1.0.6", "json_schema_version": 1}},
{"table": {"family": "ip", "name": "twill", "handle": 2}},
{"chain": {"family": "ip", "table": "twill", "name": "forward", "handle": 1, "type": "filter", "hook": "forward", "prio": 0, "policy": "accept"}},
{"chain": {"family": "ip", "table": "twill", "name": "postrouting", "handle": 2, "type": "nat", "hook": "postrouting", "prio": 100, "policy": "accept"}},
{"rule": {"family": "ip", "table": "twill", "chain": "forward", "handle": 3, "comment": "from the overlay", "expr": [
 {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": {"prefix": {"addr": "10.1.0.0", "len": 16}}}}, {"accept": null}]}},
{"rule": {"family": "ip", "table": "twill", "chain": "forward", "handle": 4, "comment": "to the overlay", "expr": [
 {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "daddr"}}, "right": {"prefix": {"addr": "10.1.0.0", "len": 16}}}}, {"accept": null}]}},
{"rule": {"family": "ip", "table": "twill", "chain": "postrouting", "handle": 5, "comment": "somebody else translates it", "expr": [
 {"match": {"op": "==", "left": {"&": [{"meta": {"key": "mark"}}, 16384]}, "right": 16384}}, {"return": null}]}},
{"rule": {"family": "ip", "table": "twill", "chain": "postrouting", "handle": 6, "comment": "pods to pods", "expr": [
 {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": {"prefix": {"addr": "10.1.0.0", "len": 16}}}},
 {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "daddr"}}, "right": {"prefix": {"addr": "10.1.0.0", "len": 16}}}}, {"return": null}]}},
{"rule": {"family": "ip", "table": "twill", "chain": "postrouting", "handle": 8, "comment": "anyone to own pods", "expr": [
 {"match": {"op": "!=", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": {"prefix": {"addr": "10.1.0.0", "len": 16}}}},
 {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "daddr"}}, "right": {"prefix": {"addr": "10.1.7.0", "len": 24}}}}, {"return": null}]}},
{"rule": {"family": "ip", "table": "twill", "chain": "postrouting", "handle": 9, "comment": "pods to the outside", "expr": [
 {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": {"prefix": {"addr": "10.1.0.0", "len": 16}}}},
 {"match": {"op": "!=", "left": {"payload": {"protocol": "ip", "field": "daddr"}}, "right": {"prefix": {"addr": "224.0.0.0", "len": 4}}}},
 {"masquerade": {"flags": "fully-random"}}]}},
{"rule": {"family": "ip", "table": "twill", "chain": "postrouting", "handle": 10, "comment": "the outside to other nodes' pods", "expr": [
 {"match": {"op": "!=", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": {"prefix": {"addr": "10.1.0.0", "len": 16}}}},
 {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "daddr"}}, "right": {"prefix": {"addr": "10.1.0.0", "len": 16}}}},
 {"snat": {"addr": "10.1.7.0", "flags": ["fully-random"]}}]}}]}"#;

/// The two documents of `nft -j 'list tables; list chains'`, shortened.
const TABLES: &str = r#"{"nftables": [{"metainfo": {}}, {"table": {"family": "ip", "name": "twill"}}, {"table": {"family": "ip", "name": "raw"}},
{"table": {"family": "ip6", "name": "flannel-ipv6"}}, {"table": {"family": "inet", "name": "twill"}}]}"#;
const CHAINS: &str = r#"{"nftables": [{"metainfo": {}},
{"chain": {"family": "ip6", "table": "twill-blue", "name": "forward", "type": "filter", "hook": "forward", "prio": 0, "policy": "accept"}},
{"chain": {"family": "inet", "table": "site", "name": "f", "type": "filter", "hook": "forward", "prio": 0, "policy": "accept"}},
{"chain": {"family": "bridge", "table": "b", "name": "f", "type": "filter", "hook": "forward", "prio": 0, "policy": "accept"}},
{"chain": {"family": "ip", "table": "filter", "name": "TWILL-FWD"}},
{"chain": {"family": "ip", "table": "nat", "name": "FLANNEL-POSTRTG"}},
{"chain": {"family": "ip", "table": "mangle", "name": "FORWARDED"}},
{"chain": {"family": "ip6", "table": "filter", "name": "INPUT", "type": "filter", "hook": "input", "prio": 0, "policy": "drop"}}]}"#;

fn planned() -> Vec<Table> {
    rules(&FirewallInput {
        networks: Prefixes { v4: "10.1.0.0/16".parse().ok(), v6: None },
        subnets: Prefixes { v4: "10.1.7.0/24".parse().ok(), v6: None },
        masquerade: true,
        forward: true,
        clamp_mss: false,
        random: true,
        instance: "twill",
        engine: Engine::Nft,
        earlier: &[],
    })
    .tables
}

fn listed(json: &str) -> Vec<Table> {
    let mut listing = Listing::default();
    listing.add(("ip".into(), "twill".into()), json).expect("nft's JSON");
    listing.own("twill")
}

#[test]
fn what_nft_lists_is_what_was_planned() {
    assert_eq!(listed(LISTING), planned());
}

#[test]
fn every_change_by_another_hand_makes_a_difference() {
    for (from, to) in [
        ("16384", "32768"),
        ("\"op\": \"!=\"", "\"op\": \"==\""),
        ("\"len\": 24", "\"len\": 25"),
        ("10.1.7.0\", \"flags", "10.1.7.1\", \"flags"),
        ("[\"fully-random\"]", "[\"fully-random\", \"persistent\"]"),
        ("{\"flags\": \"fully-random\"}", "null"),
        ("\"prio\": 100", "\"prio\": 99"),
        ("\"hook\": \"forward\"", "\"hook\": \"input\""),
        ("{\"accept\": null}", "{\"drop\": null}"),
        ("\"name\": \"forward\"", "\"name\": \"other\""),
        ("pods to the outside", ""),
        ("{\"return\": null}", "{\"log\": {}}, {\"return\": null}"),
    ] {
        assert_ne!(LISTING.replace(from, to), LISTING, "{from} is not in the listing");
        assert_ne!(listed(&LISTING.replace(from, to)), planned(), "{from} became {to}");
    }
}

#[test]
fn what_concerns_us_is_listed_whole() {
    let heads = Heads::read(&format!("{TABLES}\n{CHAINS}")).expect("nft's JSON");
    let names = heads.concerning("twill");
    let names: Vec<String> = names.iter().map(|(family, table)| format!("{family} {table}")).collect();
    let wanted = ["inet site", "inet twill", "ip filter", "ip nat", "ip twill", "ip6 flannel-ipv6", "ip6 twill-blue"];
    assert_eq!(names, wanted, "own and flannel's tables, flannel's chains, and whoever sees forwarded packets");
}

#[test]
fn what_is_not_nfts_json_is_said() {
    for bad in ["", "Error: no", "{}", "[]"] {
        assert!(Listing::default().add(("ip".into(), "twill".into()), bad).is_err() && Heads::read(bad).is_err(), "{bad}");
    }
}
