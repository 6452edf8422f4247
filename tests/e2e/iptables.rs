//! Rules in iptables: flannel's chains to the letter, what they do to packets, what is repaired, and nothing left when the other engine takes over.

use anyhow::{Context, Result, ensure};
use lab::harness::Test;
use lab::process::run;
use lab::{Lab, Launch, Node, wait_until};

use crate::firewall::{IPTABLES, base, masked, masked_over, sees, switch_address};
use crate::story::{NETWORK, SOON, flowing, goes_on};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("iptables: flannel's rules to the letter, and packets keep or change their source as they say", rules).needs(IPTABLES),
    Test::new("iptables: deleted, reordered and flushed rules are back, the jump stays, and all is told", drift).needs(IPTABLES),
    Test::new("iptables: from a stopped flanneld's rules to nftables, to iptables and back, without a lost packet", switching)
        .needs(IPTABLES),
    Test::new("iptables: another network's rules go with neither start nor down", neighbours).needs(IPTABLES),
];

const FLAGS: [&str; 3] = ["--ip-masq", "--firewall", "iptables"];

/// What iptables-save shows by flannel's specification for the network 10.50.0.0/16 and this subnet: of `filter`, then of `nat`.
fn flannels(subnet: &str) -> [String; 2] {
    let forward = "-A FORWARD -m comment --comment \"flanneld forward\" -j FLANNEL-FWD
-A FLANNEL-FWD -s 10.50.0.0/16 -m comment --comment \"flanneld forward\" -j ACCEPT
-A FLANNEL-FWD -d 10.50.0.0/16 -m comment --comment \"flanneld forward\" -j ACCEPT
";
    let masq = "-A POSTROUTING -m comment --comment \"flanneld masq\" -j FLANNEL-POSTRTG
-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -m comment --comment \"flanneld masq\" -j RETURN
-A FLANNEL-POSTRTG -s SUBNET -d 10.50.0.0/16 -m comment --comment \"flanneld masq\" -j RETURN
-A FLANNEL-POSTRTG -s 10.50.0.0/16 -d SUBNET -m comment --comment \"flanneld masq\" -j RETURN
-A FLANNEL-POSTRTG ! -s 10.50.0.0/16 -d SUBNET -m comment --comment \"flanneld masq\" -j RETURN
-A FLANNEL-POSTRTG -s 10.50.0.0/16 ! -d 224.0.0.0/4 -m comment --comment \"flanneld masq\" -j MASQUERADE --random-fully
-A FLANNEL-POSTRTG ! -s 10.50.0.0/16 -d 10.50.0.0/16 -m comment --comment \"flanneld masq\" -j MASQUERADE --random-fully
";
    [forward.to_owned(), masq.replace("SUBNET", subnet)]
}

/// The rules that iptables-save shows: of `filter`, then of `nat`.
pub fn saved(node: &Node) -> Result<[String; 2]> {
    let table = |name: &str| {
        let text = run(node.net().command("iptables-save")?.args(["-t", name]))?;
        Ok::<_, anyhow::Error>(text.lines().filter(|line| line.starts_with("-A")).map(|line| format!("{line}\n")).collect())
    };
    Ok([table("filter")?, table("nat")?])
}

/// Runs a program on the node, as another hand does.
pub fn by_hand(node: &Node, words: &str) -> Result<String> {
    let mut words = words.split(' ');
    let program = words.next().context("a program")?;
    run(node.net().command(program)?.args(words))
}

fn settled(node: &Node, wanted: &[String; 2]) -> Result<()> {
    wait_until("flannel's rules in iptables", SOON, || {
        let there = saved(node)?;
        ensure!(there == *wanted, "{}\ninstead of\n{}", there.concat(), wanted.concat());
        Ok(())
    })
}

fn rules() -> Result<()> {
    let (lab, [a, b], [p, q]) = masked(&FLAGS)?;
    settled(&a, &flannels(&a.subnet()?))?;
    ensure!(!by_hand(&a, "nft list tables")?.contains("twill"), "a table of nftables beside iptables' rules");
    let state = a.api("state")?.to_string();
    ensure!(state.contains("jump from FORWARD to FLANNEL-FWD of iptables"), "{state}");
    sees(lab.switch(), switch_address(&lab)?, p.net(), p.address(), a.address()).context("pod to the outside")?;
    sees(q.net(), q.address(), p.net(), p.address(), p.address()).context("pod to a pod elsewhere")?;
    sees(q.net(), q.address(), a.net(), a.address(), base(&a)?).context("host to a pod elsewhere")?;
    sees(p.net(), p.address(), a.net(), a.address(), a.address()).context("host to its own pod")?;
    sees(b.net(), b.address(), p.net(), p.address(), a.address()).context("pod to another host")?;
    let plain = lab.node("plain")?;
    plain.start(Launch::now().flags(&["--ip-masq", "--ip-masq-fully-random-disable", "--forward-rules=leave", "--firewall=iptables"]))?;
    plain.ready(SOON)?;
    let [_, masq] = flannels(&plain.subnet()?);
    settled(&plain, &[String::new(), masq.replace(" --random-fully", "")])
}

fn drift() -> Result<()> {
    let (_lab, [a, _b], _pods) = masked(&FLAGS)?;
    let wanted = flannels(&a.subnet()?);
    settled(&a, &wanted)?;
    let first = "FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -j RETURN";
    for damage in [
        "iptables -t nat -F FLANNEL-POSTRTG".to_owned(),
        "iptables -t nat -D FLANNEL-POSTRTG 4".to_owned(),
        format!("iptables -t nat -A {first}"),
        "iptables -D FLANNEL-FWD 1".to_owned(),
        "iptables -F FORWARD".to_owned(),
        "nft flush ruleset".to_owned(),
    ] {
        let before = a.events()?.len();
        by_hand(&a, &damage)?;
        settled(&a, &wanted).with_context(|| format!("after `{damage}`"))?;
        wait_until("word of the repair", SOON, || {
            let told = a.events()?.split_off(before).into_iter().filter(|event| event.contains("rules of iptables")).count();
            ensure!(told == 1, "`{damage}` was told {told} times: {:?}", a.events()?);
            Ok(())
        })?;
    }
    // Somebody's rule behind ours stays behind it when ours are mended, and nothing is written while nothing is wrong.
    by_hand(&a, "iptables -A FORWARD -i lo -j DROP")?;
    by_hand(&a, "iptables -D FLANNEL-FWD 2")?;
    let [filter, nat] = wanted;
    let jump = filter.lines().next().context("a jump")?;
    settled(&a, &[filter.replace(jump, &format!("{jump}\n-A FORWARD -i lo -j DROP")), nat])
}

fn switching() -> Result<()> {
    let (_lab, [a, _b], [p, q]) = masked_over("vxlan", &["--ip-masq"])?;
    let subnet = a.subnet()?;
    a.stop()?;
    // As flanneld left it on a host that drops: its rules alone let packets pass.
    flannel_leaves(&a, "10.50.0.0/16", &subnet)?;
    by_hand(&a, "iptables -P FORWARD DROP")?;
    by_hand(&a, "nft delete table ip twill")?;
    let streams = [flowing(&p, &q)?, flowing(&q, &p)?];
    let [filter, nat] = flannels(&subnet);
    for engine in ["nft", "iptables", "nft", "iptables"] {
        a.start(Launch::now().flags(&["--ip-masq", "--firewall", engine]))?;
        a.ready(SOON)?;
        wait_until(&format!("the rules in {engine} alone"), SOON, || {
            let there = by_hand(&a, "nft list ruleset")?;
            let (in_nft, opened) = (there.contains("table ip twill"), there.contains("TWILL-FWD"));
            ensure!(!there.contains("flannel-ipv") && (in_nft, opened) == (engine == "nft", engine == "nft"), "{there}");
            let wanted = if engine == "nft" { String::new() } else { filter.clone() + &nat };
            let flannels: String =
                saved(&a)?.concat().lines().filter(|line| line.contains("FLANNEL")).map(|line| format!("{line}\n")).collect();
            ensure!(flannels == wanted, "{flannels}");
            Ok(())
        })?;
        streams.iter().try_for_each(goes_on)?;
        a.stop()?;
    }
    for stream in streams {
        stream.stop()?.nothing_lost()?;
    }
    let told = a.twill(&["down"])?;
    ensure!(told.contains("removed chain FLANNEL-POSTRTG"), "{told}");
    ensure!(saved(&a)?.concat().is_empty(), "{:?}", saved(&a)?);
    Ok(())
}

/// What a stopped flanneld leaves: its chains and its tables.
pub fn flannel_leaves(node: &Node, network: &str, subnet: &str) -> Result<()> {
    let [filter, nat] = flannels(subnet).map(|text| text.replace("10.50.0.0/16", network));
    let chains = format!("*filter\n:FLANNEL-FWD - [0:0]\n{filter}COMMIT\n*nat\n:FLANNEL-POSTRTG - [0:0]\n{nat}COMMIT\n");
    let file = node.dir("run").join("flannel.rules");
    std::fs::write(&file, chains)?;
    by_hand(node, &format!("iptables-restore --noflush {}", file.display()))?;
    node.net().nft(&format!("table ip flannel-ipv4 {{\n chain forward {{\n type filter hook forward priority 0;\n ip saddr {network} accept\n }}\n}}\ntable ip6 flannel-ipv6 {{\n}}\n"))
}

fn neighbours() -> Result<()> {
    let lab = Lab::new("neighbours")?;
    lab.network(NETWORK)?;
    for (number, flags) in [&["--ip-masq"][..], &FLAGS].into_iter().enumerate() {
        let a = lab.node(&format!("n{number}"))?;
        flannel_leaves(&a, "10.60.0.0/16", "10.60.3.0/24")?;
        let (before, tables) = (saved(&a)?, by_hand(&a, "nft list table ip flannel-ipv4")?);
        a.start(Launch::now().flags(flags))?;
        a.ready(SOON)?;
        wait_until("twill's rules", SOON, || {
            let there = by_hand(&a, "nft list ruleset")? + &saved(&a)?.concat();
            ensure!(there.contains("10.50.0.0/16"), "{there}");
            for line in before.concat().lines().filter(|line| line.contains("10.60.")) {
                ensure!(there.contains(line), "{line} is gone: {there}");
            }
            Ok(())
        })?;
        ensure!(by_hand(&a, "nft list table ip flannel-ipv4")? == tables, "another flannel's table was touched");
        a.stop()?;
        a.twill(&["down"])?;
        ensure!(saved(&a)? == before, "{:?} instead of {before:?}", saved(&a)?);
    }
    Ok(())
}
