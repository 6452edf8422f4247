//! The packet filter by the real iptables, of both kinds: flannel's text, drift, left-overs, switching, and openings in its tables.

mod lab;

use std::io::Write;
use std::process::{Command, Stdio};

use lab::{in_namespace, kernel, quiet, sleeps_on, wakes};
use twill_firewall::{FirewallInput, rules};
use twill_kernel::Netlink;
use twill_model::Prefixes;
use twill_model::firewall::{Engine, Ruleset};
use twill_reconcile::ports::Kernel;

/// What iptables-save shows of flannel's rules (its specification, iptables mode) for 10.1.0.0/16 and 10.1.7.0/24.
const FLANNEL: [&str; 2] = [
    r#"-A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD
-A FLANNEL-FWD -s 10.1.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
-A FLANNEL-FWD -d 10.1.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
"#,
    r#"-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.1.7.0/24 -d 10.1.0.0/16 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.1.0.0/16 -d 10.1.7.0/24 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG ! -s 10.1.0.0/16 -d 10.1.7.0/24 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.1.0.0/16 ! -d 224.0.0.0/4 -m comment --comment "flanneld masq" -j MASQUERADE --random-fully
-A FLANNEL-POSTRTG ! -s 10.1.0.0/16 -d 10.1.0.0/16 -m comment --comment "flanneld masq" -j MASQUERADE --random-fully
"#,
];

fn wanted(engine: Engine) -> Ruleset {
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

/// Runs a program to its end, as another hand does, and returns what it printed.
fn run(words: &str) -> String {
    let mut words = words.split_whitespace();
    let output = Command::new(words.next().expect("a program")).args(words).output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

fn feed(program: &str, words: &[&str], text: &str) {
    let mut child = Command::new(program).args(words).stdin(Stdio::piped()).spawn().expect("it runs");
    child.stdin.take().expect("its input").write_all(text.as_bytes()).expect("it reads");
    assert!(child.wait().expect("it ends").success(), "{program}: {text}");
}

/// The rules of a table of that kind of iptables: "" or "-legacy".
fn saved(kind: &str, table: &str) -> String {
    let text = run(&format!("iptables{kind}-save -t {table}"));
    text.lines().filter(|line| line.starts_with("-A")).map(|line| format!("{line}\n")).collect()
}

/// What flannel leaves in a kind of iptables, for a network such as "10.1.".
fn flannel_was_here(kind: &str, network: &str) {
    let [filter, nat] = FLANNEL.map(|text| text.replace("10.1.", network));
    let text = format!("*filter\n:FLANNEL-FWD - [0:0]\n{filter}COMMIT\n*nat\n:FLANNEL-POSTRTG - [0:0]\n{nat}COMMIT\n");
    feed(&format!("iptables{kind}-restore"), &["--noflush"], &text);
}

async fn settled(kernel: &Netlink, engine: Engine) -> bool {
    kernel.filter(wanted(engine)).await.expect("it is read").is(&wanted(engine))
}

async fn settle(kernel: &Netlink, engine: Engine) {
    kernel.replace_rules(wanted(engine)).await.expect("it is written");
    let there = kernel.filter(wanted(engine)).await.expect("it is read");
    assert_eq!(there.ours, wanted(engine));
    assert!(there.is(&wanted(engine)), "{there:#?}");
}

fn with_iptables(story: impl AsyncFnOnce() + Send + 'static) {
    let lacking =
        ["nft", "iptables", "iptables-legacy"].into_iter().find(|program| Command::new(program).arg("--version").output().is_err());
    match lacking {
        None => in_namespace(async || story().await),
        Some(program) if std::env::var_os("TWILL_COMPLETE").is_some() => panic!("{program} is not installed"),
        Some(program) => println!("skipped: {program} is not installed"),
    }
}

#[test]
fn the_rules_are_flannels_and_another_hand_is_heard() {
    with_iptables(async || {
        let (kernel, _directory) = kernel();
        run("iptables -t nat -A POSTROUTING -o lo -j ACCEPT");
        settle(&kernel, Engine::Iptables).await;
        assert_eq!(saved("", "filter"), FLANNEL[0]);
        assert_eq!(saved("", "nat"), format!("-A POSTROUTING -o lo -j ACCEPT\n{}", FLANNEL[1]));
        assert!(run("ip6tables-save").contains("-A FLANNEL-POSTRTG -s fd00:1::/48 ! -d ff00::/8 "));
        quiet(&kernel).await;
        for damage in [
            "iptables -t nat -F FLANNEL-POSTRTG",
            "iptables -t nat -D FLANNEL-POSTRTG 2",
            "iptables -F FORWARD",
            "iptables -I FLANNEL-FWD -j DROP",
            "ip6tables -t nat -F",
            "nft flush ruleset",
        ] {
            run(damage);
            wakes(&kernel, damage).await;
            assert!(!settled(&kernel, Engine::Iptables).await, "{damage}");
            settle(&kernel, Engine::Iptables).await;
            sleeps_on(&kernel, "our own repair").await;
        }
    });
}

#[test]
fn a_jump_that_stands_well_does_not_move() {
    with_iptables(async || {
        let (kernel, _directory) = kernel();
        settle(&kernel, Engine::Iptables).await;
        quiet(&kernel).await;
        run("iptables -A FORWARD -i lo -j DROP");
        run("iptables -D FLANNEL-FWD 1");
        wakes(&kernel, "a rule that is gone").await;
        settle(&kernel, Engine::Iptables).await;
        assert_eq!(saved("", "filter").lines().nth(1), Some("-A FORWARD -i lo -j DROP"), "{}", saved("", "filter"));
    });
}

#[test]
fn switching_leaves_nothing_of_the_other_and_down_nothing_at_all() {
    with_iptables(async || {
        let (kernel, _directory) = kernel();
        settle(&kernel, Engine::Nft).await;
        settle(&kernel, Engine::Iptables).await;
        assert!(!run("nft list tables").contains("twill"), "{}", run("nft list tables"));
        settle(&kernel, Engine::Nft).await;
        assert!(!run("nft list ruleset").contains("FLANNEL"), "{}", run("nft list ruleset"));
        settle(&kernel, Engine::Iptables).await;
        let taken = kernel.take_rules_down(wanted(Engine::Nft).emptied()).await.expect("it is taken away");
        assert_eq!(taken.len(), 4, "two chains in two families: {taken:?}");
        let left = run("nft list ruleset");
        assert!(!left.contains("FLANNEL") && !left.contains("10.1."), "{left}");
    });
}

#[test]
fn what_flannel_left_goes_in_every_kind_and_another_networks_stays() {
    with_iptables(async || {
        for engine in [Engine::Nft, Engine::Iptables] {
            let (kernel, _directory) = kernel();
            flannel_was_here("", "10.1.");
            flannel_was_here("-legacy", "10.1.");
            run("iptables -N THEIRS");
            feed(
                "nft",
                &["-f", "-"],
                "table ip flannel-ipv4 {\n chain forward {\n ip saddr 10.1.0.0/16 accept\n }\n}\ntable ip6 flannel-ipv6 {\n}\n",
            );
            settle(&kernel, engine).await;
            assert_eq!(saved("-legacy", "filter") + &saved("-legacy", "nat"), "");
            let tables = run("nft list tables");
            assert!(!tables.contains("flannel"), "{tables}");
            let left = if engine == Engine::Nft { String::new() } else { FLANNEL.concat() };
            assert_eq!(saved("", "filter") + &saved("", "nat"), left);
            assert!(run("iptables-save").contains(":THEIRS"), "a chain of somebody else went too");
            kernel.take_rules_down(wanted(Engine::Nft).emptied()).await.expect("it is taken away");
            run("nft flush ruleset");
        }
        let (kernel, _directory) = kernel();
        flannel_was_here("", "10.2.");
        flannel_was_here("-legacy", "10.2.");
        feed("nft", &["-f", "-"], "table ip flannel-ipv4 {\n chain forward {\n ip saddr 10.2.0.0/16 accept\n }\n}\n");
        let before = (saved("", "filter") + &saved("", "nat"), saved("-legacy", "filter") + &saved("-legacy", "nat"));
        settle(&kernel, Engine::Nft).await;
        assert_eq!((saved("", "filter") + &saved("", "nat"), saved("-legacy", "filter") + &saved("-legacy", "nat")), before);
        assert!(run("nft list tables").contains("flannel-ipv4"));
        // In iptables both networks' rules are in the chains of the same name.
        settle(&kernel, Engine::Iptables).await;
        let both = saved("", "filter");
        assert!(both.contains("-A FLANNEL-FWD -s 10.1.0.0/16") && both.contains("-A FLANNEL-FWD -s 10.2.0.0/16"), "{both}");
        kernel.take_rules_down(wanted(Engine::Iptables).emptied()).await.expect("it is taken away");
        assert_eq!(saved("", "filter") + &saved("", "nat"), before.0);
    });
}

#[test]
fn a_policy_that_drops_is_opened_and_closed_again_beside_docker_too() {
    with_iptables(async || {
        let (kernel, _directory) = kernel();
        settle(&kernel, Engine::Nft).await;
        quiet(&kernel).await;
        run("iptables -P FORWARD DROP");
        wakes(&kernel, "a policy that drops").await;
        settle(&kernel, Engine::Nft).await;
        let opened = saved("", "filter");
        let wanted_rules = "-A FORWARD -m comment --comment \"twill: packets of the overlay\" -j TWILL-FWD\n\
                            -A TWILL-FWD -s 10.1.0.0/16 -m comment --comment \"from the overlay\" -j ACCEPT\n\
                            -A TWILL-FWD -d 10.1.0.0/16 -m comment --comment \"to the overlay\" -j ACCEPT\n";
        assert_eq!(opened, wanted_rules);
        for docker in ["-N DOCKER-USER", "-A DOCKER-USER -i lo -j DROP", "-A DOCKER-USER -j RETURN", "-I FORWARD -j DOCKER-USER"] {
            run(&format!("iptables {docker}"));
        }
        wakes(&kernel, "Docker's chain").await;
        settle(&kernel, Engine::Nft).await;
        let chains: Vec<String> = saved("", "filter").lines().map(|line| line.split(' ').skip(1).collect::<Vec<_>>().join(" ")).collect();
        let user: Vec<&String> = chains.iter().filter(|line| line.starts_with("DOCKER-USER")).collect();
        assert!(user.len() == 3 && user[1].ends_with("-j TWILL-FWD") && user[2].ends_with("-j RETURN"), "{chains:#?}");
        assert!(chains.iter().all(|line| !(line.starts_with("FORWARD") && line.contains("TWILL"))), "{chains:#?}");
        kernel.take_rules_down(wanted(Engine::Nft).emptied()).await.expect("it is taken away");
        assert!(!run("iptables-save").contains("TWILL"), "{}", run("iptables-save"));
    });
}
