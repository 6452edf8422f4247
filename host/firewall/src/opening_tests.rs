use super::*;
use crate::testing::{table, wanted};

const OPEN: &str = "add chain ip filter TWILL-FWD
flush chain ip filter TWILL-FWD
add rule ip filter TWILL-FWD ip saddr 10.1.0.0/16 accept comment \"from the overlay\"
add rule ip filter TWILL-FWD ip daddr 10.1.0.0/16 accept comment \"to the overlay\"
";

fn filter(chains: &[&str], rules: &[&str]) -> Listing {
    let mut listing = Listing::default();
    table(&mut listing, "ip", "filter", chains, rules);
    listing
}

fn script(chains: &[&str], rules: &[&str]) -> String {
    openings(&filter(chains, rules), &wanted(Engine::Nft)).script
}

#[test]
fn a_policy_that_drops_is_opened_at_the_end_and_a_closing_rule_before_it() {
    let jump = "jump TWILL-FWD comment \"twill: packets of the overlay\"\n";
    assert_eq!(script(&["FORWARD forward drop"], &["FORWARD iifname drop"]), format!("{OPEN}add rule ip filter FORWARD {jump}"));
    let closing = script(&["FORWARD forward accept"], &["FORWARD iifname accept", "FORWARD REJECT"]);
    assert_eq!(closing, format!("{OPEN}insert rule ip filter FORWARD handle 101 {jump}"));
}

#[test]
fn docker_has_a_chain_for_it() {
    let chains = ["FORWARD forward accept", "DOCKER-USER"];
    let script = script(&chains, &["FORWARD jump DOCKER-USER", "DOCKER-USER iifname drop", "DOCKER-USER return"]);
    assert!(script.starts_with(OPEN) && script.contains("insert rule ip filter DOCKER-USER handle 102 jump TWILL-FWD"), "{script}");
}

#[test]
fn rules_that_are_about_to_go_are_no_reason_to_do_without() {
    let flannels = ["FLANNEL-FWD saddr 10.1.0.0/16 accept", "FLANNEL-FWD daddr 10.1.0.0/16 accept", "FORWARD jump FLANNEL-FWD"];
    assert!(script(&["FORWARD forward drop", "FLANNEL-FWD"], &flannels).starts_with(OPEN));
}

#[test]
fn what_drops_nothing_or_is_open_is_left_alone() {
    assert_eq!(script(&["FORWARD forward accept"], &["FORWARD iifname drop"]), "");
    assert_eq!(script(&["FORWARD forward accept", "DOCKER-USER"], &[]), "", "Docker's chain is not led into");
    assert_eq!(script(&["FORWARD forward drop"], &["FORWARD saddr 10.1.0.0/16 accept", "FORWARD daddr 10.1.0.0/16 accept"]), "");
}

/// What nft shows of an opening.
fn opened(policy: &str, more: &[&str]) -> Listing {
    let rules = [
        "TWILL-FWD saddr 10.1.0.0/16 accept # from the overlay",
        "TWILL-FWD daddr 10.1.0.0/16 accept # to the overlay",
        "FORWARD jump TWILL-FWD",
    ];
    let mut listing = Listing::default();
    let chain = format!("FORWARD forward {policy}");
    let words = [&rules[..], more].concat();
    table(&mut listing, "ip", "filter", &[&chain, "TWILL-FWD"], &words);
    listing
}

#[test]
fn an_opening_in_place_is_not_written_again_and_a_doubled_one_is() {
    let found = openings(&opened("drop", &[]), &wanted(Engine::Nft));
    assert_eq!((found.script.as_str(), found.entrances[0].in_place), ("", true));
    let found = openings(&opened("drop", &["FORWARD jump TWILL-FWD"]), &wanted(Engine::Nft));
    assert!(!found.entrances[0].in_place && found.script.contains("delete rule ip filter FORWARD handle 103"), "{}", found.script);
    let changed = openings(&opened("drop", &["TWILL-FWD drop"]), &wanted(Engine::Nft));
    assert!(changed.script.starts_with(OPEN), "{}", changed.script);
}

#[test]
fn an_opening_that_nobody_needs_goes() {
    let gone = "delete rule ip filter FORWARD handle 102\nflush chain ip filter TWILL-FWD\ndelete chain ip filter TWILL-FWD\n";
    for (listing, wanted) in [
        (opened("accept", &[]), wanted(Engine::Nft)),
        (opened("drop", &[]), wanted(Engine::Iptables)),
        (opened("drop", &[]), wanted(Engine::Nft).emptied()),
    ] {
        let found = openings(&listing, &wanted);
        assert_eq!(found.script, gone);
        assert_eq!(found.left_over, ["chain TWILL-FWD of table ip filter"]);
    }
}
