//! `twill down` leaves the kernel as it was before the first start, also where what twill keeps on disk is lost, and takes nothing of another instance.

use anyhow::{Result, ensure};
use lab::harness::Test;
use lab::{Lab, Launch, Node, wait_until};

use crate::change::wait_for_all;
use crate::families::{V4, V6, machines, start};
use crate::kernel_state::{Facts, differences, facts, rules};
use crate::story::SOON;

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("leftovers: after `twill down` the kernel is as before the first start: udp", whole_udp),
    Test::new("leftovers: the same: vxlan in both families", whole_vxlan),
    Test::new("leftovers: the same: host-gw in both families", whole_host_gw),
    Test::new(
        "leftovers: the same after two changes of backend: all ways go, and the filters of reverse paths are as before",
        after_changes,
    ),
    Test::new("leftovers: links, routes and rules are found without what twill kept on disk: udp", lost_udp),
    Test::new("leftovers: the same: vxlan", lost_vxlan),
    Test::new("leftovers: what is another instance's stays", two_instances),
];

/// Ends a daemon and takes away what it made.
fn down(node: &Node, flags: &[&str]) -> Result<String> {
    node.stop()?;
    node.twill(&[&["down"], flags].concat())
}

fn as_before(node: &Node, before: &Facts, rules_before: &str) -> Result<()> {
    let left = differences(before, &facts(node)?);
    ensure!(left.is_empty(), "left behind: {left:#?}");
    ensure!(rules(node)? == rules_before, "left behind: {}", rules(node)?);
    Ok(())
}

fn whole_udp() -> Result<()> {
    whole("udp", V4)
}

fn whole_vxlan() -> Result<()> {
    whole("vxlan", &format!("{V4},{V6}"))
}

fn whole_host_gw() -> Result<()> {
    whole("host-gw", &format!("{V4},{V6}"))
}

fn whole(backend: &str, families: &str) -> Result<()> {
    let (_lab, [a, b]) = machines(&format!(r#"{{{families},"Backend":{{"Type":"{backend}"}}}}"#), ["a", "b"])?;
    // Settings that somebody made on purpose come back too.
    a.rp_filter(1)?;
    let (before, rules_before) = (facts(&a)?, rules(&a)?);
    for node in [&a, &b] {
        node.start(Launch::now().flags(&["--ip-masq"]))?;
    }
    a.ready(SOON)?;
    b.ready(SOON)?;
    a.wait_for_lease(b.subnet()?, SOON)?;
    ensure!(!differences(&before, &facts(&a)?).is_empty());
    down(&a, &[])?;
    as_before(&a, &before, &rules_before)?;
    ensure!(a.subnet_env("FLANNEL_MTU").is_err(), "subnet.env is still there");
    let again = a.twill(&["down"])?;
    ensure!(!again.contains("removed"), "a second `down` found something: {again}");
    Ok(())
}

fn after_changes() -> Result<()> {
    let (lab, [a, b]) = machines(&format!(r#"{{{V4},"Backend":{{"Type":"udp"}}}}"#), ["a", "b"])?;
    for (conf, mode) in [("all", "1"), ("default", "0"), ("eth0", "1")] {
        a.net().sysctl(&format!("net.ipv4.conf.{conf}.rp_filter"), mode)?;
    }
    let (before, rules_before) = (facts(&a)?, rules(&a)?);
    for node in [&a, &b] {
        node.start(Launch::now().flags(&["--ip-masq"]))?;
    }
    a.ready(SOON)?;
    b.ready(SOON)?;
    for way in ["vxlan", "host-gw"] {
        lab.config(&format!(r#"{{{V4},"Backend":{{"Type":"{way}"}}}}"#))?;
        wait_for_all(&[&a, &b], way)?;
    }
    // Three ways are received on, two of them by links, and packets may come back otherwise than they went.
    ensure!(a.has_link("flannel0") && a.has_link("flannel.1"), "{}", a.ip("-br link")?);
    let changed = differences(&before, &facts(&a)?);
    let set = |place: &str, name: &str| changed.keys().any(|(kind, what)| kind == "sysctl" && what.contains(place) && what.contains(name));
    let all = set("eth0", "rp_filter") && set("flannel0", "rp_filter") && set("eth0", "arp_announce");
    ensure!(all, "not all that is to be put back was set: {changed:#?}");
    down(&a, &[])?;
    as_before(&a, &before, &rules_before)
}

fn lost_udp() -> Result<()> {
    lost("udp")
}

fn lost_vxlan() -> Result<()> {
    lost("vxlan")
}

fn lost(backend: &str) -> Result<()> {
    let (_lab, [a, b]) = machines(&format!(r#"{{{V4},"Backend":{{"Type":"{backend}"}}}}"#), ["a", "b"])?;
    let without_settings = |facts: Facts| -> Facts { facts.into_iter().filter(|((kind, _), _)| kind != "sysctl").collect() };
    let (before, rules_before) = (without_settings(facts(&a)?), rules(&a)?);
    start(&[&a, &b])?;
    a.stop()?;
    std::fs::remove_dir_all(a.dir("lib").join("twill"))?;
    // It is the protocol of its routes that makes a link twill's.
    a.ip("link add foreign type vxlan id 77 dev eth0 dstport 4777")?;
    a.ip("link set foreign up")?;
    a.ip("route add 10.50.200.0/24 dev foreign proto static")?;
    let told = a.twill(&["down"])?;
    ensure!(a.has_link("foreign") && a.ip("route show 10.50.200.0/24")?.contains("foreign"), "{told}");
    a.ip("link delete foreign")?;
    let left = differences(&before, &without_settings(facts(&a)?));
    ensure!(left.is_empty(), "left behind: {left:#?}\n{told}");
    ensure!(rules(&a)? == rules_before, "left behind: {}", rules(&a)?);
    ensure!(a.subnet_env("FLANNEL_MTU").is_err() && told.contains("left kernel settings"), "{told}");
    Ok(())
}

fn two_instances() -> Result<()> {
    let lab = Lab::new("two")?;
    lab.network("10.50.0.0/16")?;
    let a = lab.node("a")?;
    let second = lab.store().with_extension("second");
    std::fs::create_dir_all(&second)?;
    let path = second.display().to_string();
    let config = r#"{"Network":"10.77.0.0/16","Backend":{"Type":"udp","Port":9285}}"#;
    a.twill(&["config", "set", "--store", "file", "--store-dir", &path, config])?;
    a.start(Launch::now())?;
    a.ready(SOON)?;
    a.stop()?;
    let flags = ["--store", "file", "--store-dir", &path, "--instance", "two", "--subnet-file", "/run/flannel/two.env"];
    a.start(Launch::now().without_store().flags(&flags))?;
    wait_until("the second instance", SOON, || Ok(ensure!(a.dir("run").join("flannel/two.env").exists())))?;
    a.stop()?;
    let both = facts(&a)?;
    ensure!(a.has_link("flannel0") && a.has_link("flannel1"));
    // Without its own notes the first instance must find its link, and leave the other one's.
    std::fs::remove_file(a.dir("lib").join("twill/twill/links.json"))?;
    a.twill(&["down"])?;
    ensure!(!a.has_link("flannel0") && a.has_link("flannel1"), "{both:?}");
    ensure!(a.ip("route show proto 73")?.contains("10.77.0.0/16"), "{}", a.ip("route show proto 73")?);
    a.twill(&["down", "--instance", "two", "--subnet-file", "/run/flannel/two.env"])?;
    ensure!(!a.has_link("flannel1") && !rules(&a)?.contains("twill"), "{}", rules(&a)?);
    Ok(())
}
