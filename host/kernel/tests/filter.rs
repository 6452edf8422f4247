//! The packet filter by the real nft: what is written is what is read, another hand's changes are heard, foreign tables are left alone.

mod lab;

use std::io::Write;
use std::process::{Command, Stdio};

use lab::{in_namespace, kernel, quiet, sleeps_on, wakes};
use twill_firewall::{FirewallInput, rules};
use twill_kernel::Netlink;
use twill_model::Prefixes;
use twill_model::firewall::{Engine, Ruleset};
use twill_reconcile::ports::Kernel;

fn wanted() -> Ruleset {
    rules(&FirewallInput {
        networks: Prefixes { v4: "10.1.0.0/16".parse().ok(), v6: "fd00:1::/48".parse().ok() },
        subnets: Prefixes { v4: "10.1.7.0/24".parse().ok(), v6: "fd00:1:0:7::/64".parse().ok() },
        masquerade: true,
        forward: true,
        clamp_mss: true,
        random: true,
        instance: "twill",
        engine: Engine::Nft,
        earlier: &[],
    })
}

/// Runs `nft -f -` with these lines, as another hand does.
fn nft(lines: &str) {
    let mut child = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().expect("nft runs");
    child.stdin.take().expect("its input").write_all(lines.as_bytes()).expect("it reads");
    assert!(child.wait().expect("it ends").success(), "{lines}");
}

/// Everything that nft knows, for people.
fn everything() -> String {
    let output = Command::new("nft").args(["list", "ruleset"]).output().expect("nft runs");
    String::from_utf8(output.stdout).expect("text")
}

async fn ours(kernel: &Netlink) -> Ruleset {
    kernel.filter(wanted()).await.expect("it is read").ours
}

async fn obstacles(kernel: &Netlink) -> Vec<String> {
    kernel.filter(wanted()).await.expect("it is read").obstacles
}

fn with_nft(story: impl AsyncFnOnce() + Send + 'static) {
    match Command::new("nft").arg("--version").output() {
        Ok(_) => in_namespace(async || story().await),
        Err(error) if std::env::var_os("TWILL_COMPLETE").is_some() => panic!("nft cannot be run ({error})"),
        Err(error) => println!("skipped: nft cannot be run ({error})"),
    }
}

#[test]
fn what_is_written_is_what_is_read() {
    with_nft(async || {
        let (kernel, _directory) = kernel();
        let none = wanted().emptied();
        assert_eq!(ours(&kernel).await, none);
        kernel.replace_rules(wanted()).await.expect("it is written");
        assert_eq!(ours(&kernel).await, wanted());
        let plain = rules(&FirewallInput {
            networks: Prefixes { v4: "10.1.0.0/16".parse().ok(), v6: None },
            subnets: Prefixes { v4: "10.1.7.0/32".parse().ok(), v6: None },
            masquerade: true,
            forward: false,
            clamp_mss: false,
            random: false,
            instance: "twill",
            engine: Engine::Nft,
            earlier: &[],
        });
        kernel.replace_rules(plain.clone()).await.expect("it is written");
        assert_eq!(kernel.filter(plain.clone()).await.expect("it is read").ours, plain);
        assert!(!everything().contains("ip6"), "the table of the other family is gone: {}", everything());
        kernel.replace_rules(none.clone()).await.expect("it is written");
        assert_eq!(ours(&kernel).await, none);
        assert_eq!(everything(), "");
    });
}

#[test]
fn another_hand_is_heard_and_our_own_is_not() {
    with_nft(async || {
        let (kernel, _directory) = kernel();
        ours(&kernel).await;
        quiet(&kernel).await;
        kernel.replace_rules(wanted()).await.expect("it is written");
        assert_eq!(ours(&kernel).await, wanted());
        sleeps_on(&kernel, "our own writing").await;
        for damage in [
            "delete table ip twill\n",
            "flush ruleset\n",
            "flush chain ip twill postrouting\n",
            "insert rule ip6 twill forward ip6 daddr fd00:1:9::/64 drop\n",
            "add rule ip twill postrouting counter\n",
            "add chain ip twill other\n",
            "delete chain ip twill forward\n",
        ] {
            nft(damage);
            wakes(&kernel, damage).await;
            assert_ne!(ours(&kernel).await, wanted(), "{damage}");
            kernel.replace_rules(wanted()).await.expect("it is written");
            assert_eq!(ours(&kernel).await, wanted(), "{damage}");
            sleeps_on(&kernel, "our own repair").await;
        }
    });
}

#[test]
fn foreign_tables_are_left_alone_and_their_rules_wake_nobody() {
    with_nft(async || {
        let (kernel, _directory) = kernel();
        let foreign = "table ip nat {\n\tchain x {\n\t\tip saddr 10.0.0.0/8 counter packets 0 bytes 0 masquerade\n\t}\n}\n\
                       table inet twill {\n\tchain y {\n\t\taccept\n\t}\n}\n";
        nft(foreign);
        ours(&kernel).await;
        kernel.replace_rules(wanted()).await.expect("it is written");
        quiet(&kernel).await;
        nft("add rule ip nat x accept\n");
        sleeps_on(&kernel, "a rule of somebody else").await;
        let none = wanted().emptied();
        let taken = kernel.take_rules_down(none.clone()).await.expect("it is taken away");
        assert_eq!(taken, ["tables ip twill, ip6 twill"]);
        let left = everything();
        assert!(left.contains("table ip nat") && left.contains("table inet twill") && !left.contains("10.1.7.0"), "{left}");
        assert_eq!(kernel.take_rules_down(none).await, Ok(vec![]));
    });
}

#[test]
fn a_chain_that_drops_is_an_obstacle_until_it_is_opened() {
    with_nft(async || {
        let (kernel, _directory) = kernel();
        kernel.replace_rules(wanted()).await.expect("it is written");
        assert_eq!(obstacles(&kernel).await, [""; 0]);
        nft("table ip site {\n chain f { type filter hook forward priority 0; policy drop; }\n}\n");
        wakes(&kernel, "a chain that drops").await;
        let told = obstacles(&kernel).await;
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("nft insert rule ip site f ip saddr 10.1.0.0/16 accept"), "{told:?}");
        nft("add rule ip site f ip saddr 10.1.0.0/16 counter accept\nadd rule ip site f ip daddr 10.1.0.0/16 accept\n");
        wakes(&kernel, "the chain is opened").await;
        assert_eq!(obstacles(&kernel).await, [""; 0]);
    });
}
