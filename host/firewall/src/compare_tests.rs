use super::*;
use crate::testing::{table, wanted};

fn flannels() -> Listing {
    let mut listing = Listing::default();
    table(&mut listing, "ip", "flannel-ipv4", &["forward forward accept"], &["forward saddr 10.1.0.0/16 accept"]);
    listing
}

fn usual(family: Family, saved: &str, legacy: bool) -> Tables {
    Tables { family, kind: Kind::Usual { legacy, random: true }, saved: Saved::read(saved).expect("iptables-save's text") }
}

#[test]
fn in_nft_new_rules_come_before_what_they_replace_in_one_transaction() {
    let seen = Seen { nft: Some(flannels()), iptables: vec![] };
    let found = compare(&seen, &wanted(Engine::Nft));
    assert_eq!(found.work.len(), 1);
    let text = &found.work[0].script;
    assert!(text.starts_with(&script(&wanted(Engine::Nft))) && text.ends_with("delete table ip flannel-ipv4\n"), "{text}");
    assert!(!found.filter.is(&wanted(Engine::Nft)));
}

#[test]
fn in_iptables_the_rules_are_in_force_before_nfts_go() {
    let mut listing = flannels();
    table(&mut listing, "ip", "twill", &["forward forward accept"], &[]);
    let iptables = vec![usual(Family::Ip, "", false), usual(Family::Ip6, "", false)];
    let found = compare(&Seen { nft: Some(listing), iptables }, &wanted(Engine::Iptables));
    let readers: Vec<Reader> = found.work.iter().map(|work| work.reader).collect();
    let kind = Kind::Usual { legacy: false, random: true };
    assert_eq!(readers, [Reader::Restore(Family::Ip, kind), Reader::Restore(Family::Ip6, kind), Reader::Nft]);
    assert_eq!(found.work[2].script, "delete table ip twill\ndelete table ip flannel-ipv4\n");
    assert_eq!(found.filter.left_over, ["table ip twill", "table ip flannel-ipv4"]);
}

#[test]
fn flannels_chains_in_the_older_iptables_go_last() {
    let older =
        "*nat\n:FLANNEL-POSTRTG - [0:0]\n-A POSTROUTING -j FLANNEL-POSTRTG\n-A FLANNEL-POSTRTG -s 10.1.0.0/16 -j MASQUERADE\nCOMMIT\n";
    let older = Tables { family: Family::Ip, kind: Kind::Legacy, saved: Saved::read(older).expect("iptables-save's text") };
    let found = compare(&Seen { nft: Some(Listing::default()), iptables: vec![older] }, &wanted(Engine::Nft));
    assert_eq!(found.work.last().map(|work| work.reader), Some(Reader::Restore(Family::Ip, Kind::Legacy)));
    assert_eq!(found.filter.left_over, ["chain FLANNEL-POSTRTG of iptables-legacy"]);
}

#[test]
fn the_chains_that_iptables_nft_keeps_in_nftables_are_the_rules_themselves_unless_the_rules_are_in_the_older_kind() {
    let mut listing = Listing::default();
    table(&mut listing, "ip", "filter", &["FLANNEL-FWD"], &["FLANNEL-FWD saddr 10.1.0.0/16 accept"]);
    let left_over = |legacy: bool| {
        let seen = Seen { nft: Some(listing.clone()), iptables: vec![usual(Family::Ip, "", legacy)] };
        compare(&seen, &wanted(Engine::Iptables)).filter.left_over
    };
    assert_eq!(left_over(false), [""; 0]);
    assert_eq!(left_over(true), ["chain FLANNEL-FWD of table ip filter"]);
}

#[test]
fn nothing_is_done_where_nothing_is_and_nothing_is_wanted() {
    let none = wanted(Engine::Nft).emptied();
    let found = compare(&Seen { nft: Some(Listing::default()), iptables: vec![] }, &none);
    assert!(found.work.is_empty() && found.filter.is(&none), "{found:?}");
    assert!(compare(&Seen::default(), &none).filter.is(&none));
}
