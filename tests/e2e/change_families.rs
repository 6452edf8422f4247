//! The backend changes in a cluster of both address families: a pair moves when both are proved, and neither loses anything.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use anyhow::{Result, ensure};
use lab::harness::Test;
use lab::{Lab, Node, Pod, Stream};

use crate::change::{Traffic, path, wait_for_all, wait_for_path};
use crate::families::{V4, V6, answers, cluster, give_v6, underlay_v6};
use crate::story::goes_on;

/// The tests of this subject.
pub const TESTS: &[Test] = &[
    Test::new("change: a pair of both families goes through all backends, and neither family loses anything", both_families),
    Test::new("change: IPv6 alone that is silent keeps a pair of both families on the old way, and status says so", v6_silent),
];

/// Two nodes with a pod each, which has addresses of both families.
struct Pair {
    lab: Lab,
    nodes: [Node; 2],
    pods: [Pod; 2],
    v6: [Ipv6Addr; 2],
}

impl Pair {
    fn start() -> Result<Pair> {
        let (lab, nodes, pods) = cluster(&config("udp"), ["a", "b"])?;
        let v6 = [give_v6(&nodes[0], &pods[0])?, give_v6(&nodes[1], &pods[1])?];
        for (from, to) in [(0, 1), (1, 0)] {
            answers(|| pods[from].net().command("ping"), &[], v6[to])?;
        }
        Ok(Pair { lab, nodes, pods, v6 })
    }

    fn change(&self, backend: &str) -> Result<()> {
        self.lab.config(&config(backend))
    }

    /// Traffic of every kind by IPv4, and streams by IPv6.
    fn traffic(&self) -> Result<(Traffic, Vec<Stream>)> {
        let ([a, b], [p, q]) = (&self.nodes, &self.pods);
        let by_v4 = Traffic::between((a, p), (b, q))?;
        let mut by_v6 = Vec::new();
        for (from, to) in [(0, 1), (1, 0)] {
            for bytes in [8, 1380] {
                let to = (&self.pods[to], IpAddr::from(self.v6[to]));
                by_v6.push(Stream::to(&self.pods[from], to, Duration::from_millis(1), bytes)?);
            }
        }
        by_v6.iter().try_for_each(goes_on)?;
        Ok((by_v4, by_v6))
    }

    /// By which links a node sends to the other's pod, by IPv4 and by IPv6.
    fn sends_by(&self, from: usize, to: usize, links: [&str; 2]) -> Result<()> {
        let targets = [IpAddr::from(self.pods[to].address()), IpAddr::from(self.v6[to])];
        for (target, link) in targets.into_iter().zip(links) {
            let route = self.nodes[from].ip(&format!("route get {target}"))?;
            ensure!(route.contains(&format!("dev {link} ")), "{route}");
        }
        Ok(())
    }
}

fn config(backend: &str) -> String {
    format!(r#"{{{V4},{V6},"Backend":{{"Type":"{backend}"}}}}"#)
}

/// Ends all of it: nothing was lost by either family.
fn nothing_lost((by_v4, by_v6): (Traffic, Vec<Stream>)) -> Result<()> {
    by_v4.goes_on()?;
    by_v6.iter().try_for_each(goes_on)?;
    let reports: Vec<_> = by_v6.into_iter().map(Stream::stop).collect::<Result<_>>()?;
    reports.iter().for_each(|report| println!("{report}"));
    by_v4.nothing_lost()?;
    reports.iter().try_for_each(|report| report.nothing_lost())
}

fn both_families() -> Result<()> {
    let pair = Pair::start()?;
    let [a, b] = &pair.nodes;
    wait_for_all(&[a, b], "udp")?;
    let traffic = pair.traffic()?;
    for (way, links) in [("vxlan", ["flannel.1", "flannel-v6.1"]), ("host-gw", ["eth0"; 2]), ("udp", ["flannel0"; 2])] {
        pair.change(way)?;
        wait_for_all(&[a, b], way)?;
        pair.sends_by(0, 1, links)?;
        pair.sends_by(1, 0, links)?;
        traffic.0.goes_on()?;
        traffic.1.iter().try_for_each(goes_on)?;
    }
    nothing_lost(traffic)
}

fn v6_silent() -> Result<()> {
    let pair = Pair::start()?;
    let [a, b] = &pair.nodes;
    wait_for_all(&[a, b], "udp")?;
    // VXLAN's packets of the family travel over the same family of the underlay.
    for (node, other) in [(a, b), (b, a)] {
        let rule = format!("ip6 saddr {} udp dport 8472 drop;", underlay_v6(other));
        node.firewall(&format!("chain in {{ type filter hook input priority 0; {rule} }}"))?;
    }
    let traffic = pair.traffic()?;
    pair.change("vxlan")?;
    for (from, to) in [(a, b), (b, a)] {
        wait_for_path(from, to, "udp", "held")?;
        let held = path(from, to)?;
        let reason = held["reason"].as_str().unwrap_or_default();
        ensure!(reason.starts_with("vxlan: ") && reason.contains("of IPv6") && reason.contains("did not come back"), "{held}");
    }
    pair.sends_by(0, 1, ["flannel0"; 2])?;
    pair.sends_by(1, 0, ["flannel0"; 2])?;
    a.firewall("")?;
    b.firewall("")?;
    wait_for_all(&[a, b], "vxlan")?;
    pair.sends_by(0, 1, ["flannel.1", "flannel-v6.1"])?;
    nothing_lost(traffic)
}
