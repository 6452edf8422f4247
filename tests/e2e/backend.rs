//! `twill backend` and `twill explain`: what they promise, what they do, what they tell.

use anyhow::{Context, Result, ensure};
use lab::harness::Test;
use lab::process::{outcome, said};
use lab::{artifacts, wait_until};

use crate::change::{CHANGED, Traffic, filter_vxlan, path, use_backend, wait_for_all, wait_for_path};
use crate::families::published;
use crate::story::{SOON, cluster};

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("backend: one command previews, changes, follows, and goes back, and nothing is lost", commanded),
    Test::new("backend: half-way through a change one command takes it back, and nothing is lost", half_way),
    Test::new("backend: another VXLAN port is announced as disruptive and refused without the flag", disruptive),
    Test::new("backend: while a real flannel node is there, its backend stays the first that is published", flannels),
    Test::new("backend: a kernel that refuses the new link keeps its node on what it has", refused_link),
    Test::new("explain: a good path leg by leg, and the broken leg of a bad one", explained),
];

fn commanded() -> Result<()> {
    let (_lab, nodes, [p, q]) = cluster(["a", "b"])?;
    let [a, b] = &nodes;
    let traffic = Traffic::between((a, &p), (b, &q))?;
    let preview = a.twill(&["backend", "use", "vxlan", "--preview"])?;
    ensure!(preview.contains("backend vxlan for 2 nodes") && preview.contains("this node") && preview.contains("lossless"), "{preview}");
    ensure!(path(a, b)?["way"] == "udp", "a preview changed something: {}", path(a, b)?);
    let told = a.twill(&["backend", "use", "vxlan"])?;
    ensure!(told.contains("1 of 1 pairs moved"), "{told}");
    wait_for_all(&[a, b], "vxlan")?;
    let status = b.twill(&["backend", "status"])?;
    ensure!(status.contains("backend vxlan: 1 of 1 pairs moved, from this node") && status.contains("receives by vxlan, udp"), "{status}");
    ensure!(status.contains("2 of 2 nodes of the cluster receive by vxlan first"), "{status}");
    // Another node than the one that gave the order can take it back.
    let told = b.twill(&["backend", "abort", "--no-wait"])?;
    ensure!(told.contains("backend udp for 2 nodes"), "{told}");
    wait_for_all(&[a, b], "udp")?;
    traffic.goes_on()?;
    traffic.nothing_lost()
}

fn half_way() -> Result<()> {
    let (lab, nodes, [p, q, r]) = cluster(["a", "b", "c"])?;
    let [a, b, c] = &nodes;
    wait_for_all(&[a, b, c], "udp")?;
    filter_vxlan(a, c)?;
    let mut traffic = Traffic::between((a, &p), (b, &q))?;
    traffic.add((a, &p), (c, &r))?;
    traffic.add((c, &r), (a, &p))?;
    let use_it = ["backend", "use", "vxlan", "--set", "vni=7"];
    let preview = a.twill(&[use_it.as_slice(), &["--preview"]].concat())?;
    ensure!(preview.contains("backend vxlan for 3 nodes"), "{preview}");
    for (node, own) in [(a, true), (b, false), (c, false)] {
        let (subnet, id) = (node.subnet()?, published(&lab, node)?["node"].as_str().context("no node id")?.to_owned());
        let who = if own { "this node" } else { &id[..12] };
        let line =
            preview.lines().find(|line| line.contains(&subnet)).with_context(|| format!("no line of {}:\n{preview}", node.name()))?;
        let does = "receives by vxlan beside udp, is moved to it pair by pair";
        ensure!(line.contains(who) && line.ends_with(does) && line.contains("this node") == own, "{line}");
    }
    let told = a.twill(&use_it)?;
    ensure!(told.contains("1 of 2 pairs moved, 1 held"), "{told}");
    for (from, to, pod) in [(a, b, &q), (b, a, &p)] {
        wait_for_path(from, to, "vxlan", "moved")?;
        let route = from.ip(&format!("route get {}", pod.address()))?;
        ensure!(route.contains("dev flannel.7 "), "{route}");
    }
    for (from, to) in [(a, c), (c, a)] {
        wait_for_path(from, to, "udp", "held")?;
    }
    let told = b.twill(&["backend", "abort", "--no-wait"])?;
    ensure!(told.contains("backend udp for 3 nodes"), "{told}");
    wait_for_all(&[a, b, c], "udp")?;
    let status = c.twill(&["backend", "status"])?;
    ensure!(status.contains("backend udp: 2 of 2 pairs moved, from this node"), "{status}");
    ensure!(status.contains("3 of 3 nodes of the cluster receive by udp first"), "{status}");
    traffic.goes_on()?;
    traffic.nothing_lost()
}

fn disruptive() -> Result<()> {
    let (lab, nodes, [p, q]) = cluster(["a", "b"])?;
    let [a, b] = &nodes;
    use_backend(&lab, r#"{"Type":"vxlan"}"#)?;
    wait_for_all(&[a, b], "vxlan")?;
    let words = ["backend", "use", "vxlan", "--set", "Port=4789"];
    let output = outcome(a.command(artifacts::twill())?.args(words))?;
    ensure!(
        !output.status.success() && said(&output).contains("--allow-disruption") && said(&output).contains("flannel.1"),
        "{}",
        said(&output)
    );
    let link = a.ip("-d link show dev flannel.1")?;
    ensure!(link.contains("dstport 8472"), "{link}");
    a.twill(&[words.as_slice(), &["--allow-disruption", "--no-wait"]].concat())?;
    b.twill(&["config", "accept"])?;
    for node in [a, b] {
        wait_until("the new port", SOON, || {
            let link = node.ip("-d link show dev flannel.1")?;
            ensure!(link.contains("dstport 4789"), "{link}");
            Ok(())
        })?;
    }
    p.reaches(&q, SOON)
}

fn flannels() -> Result<()> {
    let (lab, nodes, _pods) = cluster(["a", "b"])?;
    let [a, b] = &nodes;
    let flannel = r#"{"version":1,"node":null,"subnets":{"v4":"10.50.250.0/24"},"public":{"v4":"192.168.50.250"},"ways":[{"backend":"","options":"{}"}],"term":86400}"#;
    std::fs::write(lab.store().join("10.50.250.0-24.lease"), flannel)?;
    a.wait_for_lease("10.50.250.0/24".into(), SOON)?;
    use_backend(&lab, r#"{"Type":"vxlan"}"#)?;
    for (from, to) in [(a, b), (b, a)] {
        wait_for_path(from, to, "vxlan", "moved")?;
        let lease = published(&lab, from)?;
        ensure!(lease["ways"][0]["backend"] == "udp" && lease["ways"][1]["backend"] == "vxlan", "{lease}");
    }
    let status = a.twill(&["backend", "status"])?;
    ensure!(status.contains("udp is published first: 1 real flannel nodes know no other"), "{status}");
    std::fs::remove_file(lab.store().join("10.50.250.0-24.lease"))?;
    wait_until("vxlan to be published first", CHANGED, || {
        let lease = published(&lab, a)?;
        ensure!(lease["ways"][0]["backend"] == "vxlan", "{lease}");
        Ok(())
    })
}

fn refused_link() -> Result<()> {
    let (lab, nodes, [p, q]) = cluster(["a", "b"])?;
    let [a, b] = &nodes;
    // The kernel has each VXLAN once: another device has it already.
    a.ip(&format!("link add other type vxlan id 1 dev eth0 local {} dstport 8472", a.address()))?;
    let traffic = Traffic::between((a, &p), (b, &q))?;
    use_backend(&lab, r#"{"Type":"vxlan"}"#)?;
    wait_until("the node without VXLAN to publish udp alone", CHANGED, || {
        let lease = published(&lab, a)?;
        ensure!(lease["ways"].as_array().is_some_and(|ways| ways.len() == 1) && lease["ways"][0]["backend"] == "udp", "{lease}");
        Ok(())
    })?;
    wait_for_path(b, a, "udp", "moved")?;
    a.ready(SOON)?;
    traffic.goes_on()?;
    traffic.nothing_lost()
}

fn explained() -> Result<()> {
    let (lab, nodes, [_p, q]) = cluster(["a", "b"])?;
    let [a, b] = &nodes;
    wait_for_path(a, b, "udp", "moved")?;
    let address = q.address().to_string();
    let told = a.twill(&["explain", &address])?;
    for leg in ["lease", "node", "ways", "way", "link", "route", "endpoint", "sender", "proof"] {
        ensure!(told.lines().any(|line| line.split_whitespace().next() == Some(leg)), "there is no leg \"{leg}\" in:\n{told}");
    }
    ensure!(told.contains("flannel0") && told.contains(&b.address().to_string()) && !told.contains("->"), "{told}");
    lab.partition(a, b)?;
    wait_for_path(a, b, "udp", "down")?;
    let output = outcome(a.command(artifacts::twill())?.args(["explain", &address]))?;
    let broken = said(&output).lines().find(|line| line.starts_with("->")).map(str::to_owned).context("no leg is marked")?;
    ensure!(output.status.code() == Some(1) && broken.contains("proof"), "{broken}");
    let nobody = outcome(a.command(artifacts::twill())?.args(["explain", "10.50.251.7"]))?;
    ensure!(said(&nobody).contains("nobody holds a subnet"), "{}", said(&nobody));
    Ok(())
}
