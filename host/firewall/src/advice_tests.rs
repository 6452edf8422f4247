use super::*;
use crate::testing::{table, wanted};

fn told(chains: &[&str], rules: &[&str], family: &str, name: &str) -> Vec<String> {
    let mut listing = Listing::default();
    table(&mut listing, family, name, chains, rules);
    advice(&listing, &wanted(Engine::Nft), true)
}

#[test]
fn a_chain_of_nft_that_drops_is_named_for_each_family_with_the_command_that_opens_it() {
    for (chains, rules) in
        [(&["fw forward drop"][..], &[][..]), (&["fw forward accept"], &["fw drop"]), (&["fw forward accept"], &["fw REJECT"])]
    {
        let told = told(chains, rules, "inet", "site");
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].starts_with("chain fw of table inet site drops"), "{told:?}");
        let command =
            "run: nft insert rule inet site fw ip6 saddr fd00:1::/48 accept && nft insert rule inet site fw ip6 daddr fd00:1::/48 accept";
        assert!(told[1].ends_with(command), "{told:?}");
    }
    assert_eq!(told(&["fw forward accept"], &["fw iifname drop"], "inet", "site"), [""; 0]);
    assert_eq!(told(&["fw forward drop"], &[], "ip", "site").len(), 1, "a table of one family");
    assert_eq!(told(&["fw input drop"], &[], "inet", "site"), [""; 0], "not forwarded packets");
}

#[test]
fn what_is_open_both_ways_is_no_barrier() {
    assert_eq!(told(&["fw forward drop"], &["fw saddr 10.0.0.0/8 accept"], "ip", "site").len(), 1);
    assert_eq!(told(&["fw forward drop"], &["fw saddr 10.0.0.0/8 accept", "x daddr 10.1.0.0/16 accept"], "ip", "site"), [""; 0]);
    assert_eq!(told(&["fw forward drop"], &["fw saddr 10.1.0.0/17 accept", "fw daddr 10.1.0.0/16 accept"], "ip", "site").len(), 1);
}

#[test]
fn firewalld_is_told_in_its_own_words_until_it_trusts_the_network() {
    let chains = ["filter_FORWARD forward accept"];
    let told_of = told(&chains, &["filter_FORWARD REJECT"], "inet", "firewalld");
    assert!(
        told_of[0].ends_with("run: firewall-cmd --permanent --zone=trusted --add-source=10.1.0.0/16 && firewall-cmd --reload"),
        "{told_of:?}"
    );
    let trusting = ["filter_FORWARD_ZONES saddr 10.1.0.0/16 goto filter_FWD_trusted", "filter_FORWARD REJECT"];
    let told = told(&chains, &trusting, "inet", "firewalld");
    assert!(told.len() == 1 && told[0].contains("fd00:1::/48"), "{told:?}");
}

#[test]
fn iptables_older_tables_are_told_and_those_we_open_are_not() {
    assert_eq!(told(&["FORWARD forward drop"], &[], "ip", "filter"), [""; 0]);
    let saved = Saved::read("*filter\n:FORWARD DROP [0:0]\nCOMMIT\n").expect("iptables-save's text");
    let told = legacy_advice(&saved, Family::Ip, &wanted(Engine::Nft));
    let command = "run: iptables-legacy -I FORWARD -s 10.1.0.0/16 -j ACCEPT && iptables-legacy -I FORWARD -d 10.1.0.0/16 -j ACCEPT";
    assert!(told.len() == 1 && told[0].ends_with(command), "{told:?}");
}
