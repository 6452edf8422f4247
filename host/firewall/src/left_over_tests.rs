use super::*;
use crate::testing::{table, wanted};

/// The rules that flannel leaves in its chain for masquerading, in the words of `testing`.
fn flannels(network: &str, subnet: &str) -> Vec<String> {
    vec![
        "FLANNEL-POSTRTG mark return".into(),
        format!("FLANNEL-POSTRTG saddr {subnet} daddr {network} return"),
        format!("FLANNEL-POSTRTG saddr!= {network} daddr {subnet} return"),
        format!("FLANNEL-POSTRTG saddr {network} daddr!= 224.0.0.0/4 MASQUERADE"),
    ]
}

fn nat(rules: &[String], more: &[&str]) -> Listing {
    let rules: Vec<&str> = rules.iter().map(String::as_str).chain(more.iter().copied()).collect();
    let mut listing = Listing::default();
    table(&mut listing, "ip", "nat", &["POSTROUTING postrouting accept", "FLANNEL-POSTRTG"], &rules);
    listing
}

#[test]
fn flannels_chain_for_our_network_goes_with_what_leads_to_it() {
    let listing = nat(&flannels("10.1.0.0/16", "10.1.7.0/24"), &["POSTROUTING iifname MASQUERADE", "POSTROUTING jump FLANNEL-POSTRTG"]);
    let found = left_over(&listing, &wanted(Engine::Nft), true);
    assert_eq!(found.words, ["chain FLANNEL-POSTRTG of table ip nat"]);
    let script = "delete rule ip nat POSTROUTING handle 105\nflush chain ip nat FLANNEL-POSTRTG\ndelete chain ip nat FLANNEL-POSTRTG\n";
    assert_eq!(found.script, script);
    assert!(left_over(&listing, &wanted(Engine::Iptables), false).words.is_empty(), "these are the rules themselves");
}

#[test]
fn another_networks_chain_is_left_alone_and_of_a_common_one_only_ours_go() {
    let theirs = flannels("10.2.0.0/16", "10.2.7.0/24");
    assert!(left_over(&nat(&theirs, &["POSTROUTING jump FLANNEL-POSTRTG"]), &wanted(Engine::Nft), true).words.is_empty());
    let both = [flannels("10.1.0.0/16", "10.1.7.0/24"), theirs].concat();
    let found = left_over(&nat(&both, &["POSTROUTING jump FLANNEL-POSTRTG"]), &wanted(Engine::Nft), true);
    assert_eq!(found.words, ["rules for our network in chain FLANNEL-POSTRTG of table ip nat"]);
    let deleted = [101, 102, 103].map(|handle| format!("delete rule ip nat FLANNEL-POSTRTG handle {handle}\n")).concat();
    assert_eq!(found.script, deleted);
}

#[test]
fn without_a_network_nothing_is_known_to_be_ours() {
    let nobodys = Ruleset { claims: vec![], ..wanted(Engine::Nft) };
    assert!(left_over(&nat(&flannels("10.1.0.0/16", "10.1.7.0/24"), &[]), &nobodys, true).words.is_empty());
    assert!(left_over(&nat(&[], &[]), &nobodys, true).words.is_empty());
}

#[test]
fn flannels_tables_go_unless_they_are_another_networks() {
    let tables = |network: &str| {
        let mut listing = Listing::default();
        let rule = format!("forward saddr {network} accept");
        table(&mut listing, "ip", "flannel-ipv4", &["forward forward accept"], &[&rule]);
        table(&mut listing, "ip6", "flannel-ipv6", &[], &[]);
        left_over(&listing, &wanted(Engine::Nft), true)
    };
    let found = tables("10.1.0.0/16");
    assert_eq!(found.words, ["table ip flannel-ipv4", "table ip6 flannel-ipv6"]);
    assert_eq!(found.script, "delete table ip flannel-ipv4\ndelete table ip6 flannel-ipv6\n");
    assert!(tables("10.2.0.0/16").words.is_empty());
}

#[test]
fn own_tables_go_when_iptables_holds_the_rules() {
    let mut listing = Listing::default();
    table(&mut listing, "ip6", "twill", &["forward forward accept"], &[]);
    assert_eq!(left_over(&listing, &wanted(Engine::Iptables), false).script, "delete table ip6 twill\n");
    assert_eq!(left_over(&listing, &wanted(Engine::Nft), true).script, "");
}
