use twill_model::firewall::Engine;

use super::*;
use crate::testing::wanted;

/// The rules of flannel's specification (its iptables mode) for the network 10.1.0.0/16 and the subnet 10.1.7.0/24.
const IPV4: &str = r#"*filter
:FLANNEL-FWD - [0:0]
-A FLANNEL-FWD -s 10.1.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
-A FLANNEL-FWD -d 10.1.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
-A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD
COMMIT
*nat
:FLANNEL-POSTRTG - [0:0]
-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.1.7.0/24 -d 10.1.0.0/16 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.1.0.0/16 -d 10.1.7.0/24 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG ! -s 10.1.0.0/16 -d 10.1.7.0/24 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.1.0.0/16 ! -d 224.0.0.0/4 -m comment --comment "flanneld masq" -j MASQUERADE --random-fully
-A FLANNEL-POSTRTG ! -s 10.1.0.0/16 -d 10.1.0.0/16 -m comment --comment "flanneld masq" -j MASQUERADE --random-fully
-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
COMMIT
"#;

/// The same for fd00:1::/48 and fd00:1:0:7::/64.
const IPV6: &str = r#"*filter
:FLANNEL-FWD - [0:0]
-A FLANNEL-FWD -s fd00:1::/48 -m comment --comment "flanneld forward" -j ACCEPT
-A FLANNEL-FWD -d fd00:1::/48 -m comment --comment "flanneld forward" -j ACCEPT
-A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD
COMMIT
*nat
:FLANNEL-POSTRTG - [0:0]
-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s fd00:1:0:7::/64 -d fd00:1::/48 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s fd00:1::/48 -d fd00:1:0:7::/64 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG ! -s fd00:1::/48 -d fd00:1:0:7::/64 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s fd00:1::/48 ! -d ff00::/8 -m comment --comment "flanneld masq" -j MASQUERADE --random-fully
-A FLANNEL-POSTRTG ! -s fd00:1::/48 -d fd00:1::/48 -m comment --comment "flanneld masq" -j MASQUERADE --random-fully
-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
COMMIT
"#;

fn against(saved: &str, family: Family, table: Option<&Table>, random: bool) -> Difference {
    let saved = Saved::read(saved).expect("iptables-save's text");
    difference(&saved, family, table, &wanted(Engine::Iptables), "iptables", random)
}

fn compared(saved: &str) -> Difference {
    against(saved, Family::Ip, Some(&wanted(Engine::Iptables).tables[0]), true)
}

/// What iptables-save prints after IPV4 was restored: the jumps come before the chains that they lead to.
fn restored() -> String {
    let builtin =
        |text: &str, table: &str, chain: &str| text.replace(&format!("*{table}\n"), &format!("*{table}\n:{chain} ACCEPT [0:0]\n"));
    builtin(&builtin(IPV4, "filter", "FORWARD"), "nat", "POSTROUTING")
}

#[test]
fn the_text_is_flannels_table_in_both_families() {
    assert_eq!(compared("").script, IPV4);
    assert_eq!(against("", Family::Ip6, Some(&wanted(Engine::Iptables).tables[1]), true).script, IPV6);
}

#[test]
fn what_was_restored_is_what_is_wanted_and_nothing_is_written() {
    let found = compared(&restored());
    assert_eq!(found.script, "");
    assert_eq!(found.there.as_ref(), Some(&wanted(Engine::Iptables).tables[0]));
    assert!(found.entrances.len() == 2 && found.entrances.iter().all(|entrance| entrance.in_place), "{:?}", found.entrances);
}

#[test]
fn an_iptables_without_random_ports_is_not_told_of_them_and_not_found_wanting() {
    let plain = against("", Family::Ip, Some(&wanted(Engine::Iptables).tables[0]), false);
    assert_eq!(plain.script, IPV4.replace(" --random-fully", ""));
    let there = against(&restored().replace(" --random-fully", ""), Family::Ip, Some(&wanted(Engine::Iptables).tables[0]), false);
    assert_eq!((there.script.as_str(), there.there.as_ref()), ("", Some(&wanted(Engine::Iptables).tables[0])));
}

#[test]
fn a_changed_chain_is_written_anew_and_its_jump_stays_where_it_is() {
    let masq = "-A FLANNEL-POSTRTG -s 10.1.0.0/16 ! -d 224.0.0.0/4 -m comment --comment \"flanneld masq\" -j MASQUERADE --random-fully\n";
    let mark = "-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -m comment --comment \"flanneld masq\" -j RETURN\n";
    let jump = "-A POSTROUTING -m comment --comment \"flanneld masq\" -j FLANNEL-POSTRTG\n";
    let wanted = IPV4[IPV4.find("*nat").expect("it is there")..].replace(jump, "");
    for damaged in [
        restored().replace(masq, ""),
        restored().replace(mark, "").replace(jump, &format!("{mark}{jump}")),
        restored().replace(masq, &format!("{masq}{masq}")),
        restored().replace("0x4000/0x4000", "0x4000/0xffff"),
        restored().replace("10.1.7.0/24", "10.1.8.0/24"),
    ] {
        assert_eq!(compared(&damaged).script, wanted, "{damaged}");
    }
}

#[test]
fn a_jump_that_is_gone_doubled_or_not_reached_is_made_again() {
    let jump = "-A FORWARD -m comment --comment \"flanneld forward\" -j FLANNEL-FWD\n";
    let made =
        |script: &str| compared(script).script.lines().filter(|line| !line.starts_with(['*', 'C'])).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(made(&restored().replace(jump, "")), [jump.trim_end()]);
    let delete = jump.trim_end().replace("-A", "-D");
    assert_eq!(made(&restored().replace(jump, &format!("{jump}{jump}"))), [delete.as_str(), &delete, jump.trim_end()]);
    let behind = made(&restored().replace(jump, &format!("-A FORWARD -i lo -j ACCEPT\n-A FORWARD -j REJECT\n{jump}")));
    assert_eq!(behind, [delete, jump.trim_end().replace("-A FORWARD", "-I FORWARD 2")]);
}

#[test]
fn docker_leads_into_the_chain_too() {
    let docker = ":DOCKER-USER - [0:0]\n-A FORWARD -j DOCKER-USER\n-A DOCKER-USER -j RETURN\n";
    let found = compared(&restored().replace(":FLANNEL-FWD - [0:0]\n", &format!(":FLANNEL-FWD - [0:0]\n{docker}")));
    assert_eq!(found.script, "*filter\n-I DOCKER-USER 1 -m comment --comment \"flanneld forward\" -j FLANNEL-FWD\nCOMMIT\n");
}

#[test]
fn what_is_not_wanted_goes_and_another_networks_rules_stay() {
    let gone = against(&restored(), Family::Ip, None, true);
    let nat =
        "*nat\n-D POSTROUTING -m comment --comment \"flanneld masq\" -j FLANNEL-POSTRTG\n-F FLANNEL-POSTRTG\n-X FLANNEL-POSTRTG\nCOMMIT\n";
    assert!(gone.script.ends_with(nat), "{}", gone.script);
    assert_eq!(gone.left_over, ["chain FLANNEL-FWD of iptables", "chain FLANNEL-POSTRTG of iptables"]);
    let theirs = restored().replace("10.1.", "10.2.");
    assert_eq!(against(&theirs, Family::Ip, None, true).script, "");
    let both = compared(&theirs).script;
    let kept = "-A FLANNEL-FWD -s 10.2.0.0/16 -m comment --comment \"flanneld forward\" -j ACCEPT\n";
    assert!(both.contains(kept) && both.contains("-A FLANNEL-FWD -s 10.1.0.0/16") && !both.contains("-A FORWARD"), "{both}");
}
