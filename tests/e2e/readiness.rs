//! Readiness by the data path: a node that nobody reaches any more is not ready, its peers are, and the metrics say what was measured.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use lab::harness::Test;
use lab::{Node, wait_until};

use crate::story::{SOON, cluster, flowing, goes_on};

/// The tests of this subject.
pub const TESTS: &[Test] = &[Test::new(
    "readiness: a node whose firewall drops the tunnels' port is not ready until it takes it again, and its peers are",
    cut_off,
)];

/// A metric of one peer of a node's.
fn of_peer(node: &Node, name: &str, peer: &Node) -> Result<f64> {
    let (status, text) = node.get("/metrics")?;
    let start = format!("{name}{{peer=\"{}\"", peer.subnet()?);
    let line = text.lines().find(|line| line.starts_with(&start)).with_context(|| format!("{status}: no {start} in {text}"))?;
    Ok(line.split(' ').next_back().context("no value")?.parse()?)
}

fn cut_off() -> Result<()> {
    const SENTENCE: &str = "no peer is reached, though the hosts of 2 answer: the fault is most likely on this node or its firewall";
    let (_lab, [a, b, c], [p, q, r]) = cluster(["a", "b", "c"])?;
    let loss = |node: &Node, peer: &Node| of_peer(node, "twill_peer_loss_ratio", peer);
    for peer in [&b, &c] {
        wait_until("echoes that come back", SOON, || {
            let (lost, trip) = (loss(&a, peer)?, of_peer(&a, "twill_peer_round_trip_seconds", peer)?);
            // The first ones go out before the peer is there.
            ensure!(lost < 0.5 && trip > 0.0 && trip < 0.5, "{lost} lost, {trip} s there and back");
            Ok(())
        })?;
    }
    let stream = flowing(&q, &r)?;
    a.net().nft("table inet guard {\n chain in {\n type filter hook input priority 0;\n udp dport 8285 drop\n }\n}\n")?;
    let began = Instant::now();
    wait_until("the cut-off node to say so", 2 * SOON, || {
        let (status, body) = a.get("/readyz")?;
        ensure!(status == 503 && body.contains(SENTENCE), "{status} {body}");
        ensure!(loss(&a, &b)? > 0.5 && loss(&a, &c)? > 0.5, "{} and {} lost", loss(&a, &b)?, loss(&a, &c)?);
        Ok(())
    })?;
    println!("not ready {:?} after the port was closed", began.elapsed());
    // To the peers it is one that is silent; they reach each other.
    wait_until("the peers to miss it", SOON, || Ok(ensure!(loss(&b, &a)? > 0.5 && loss(&b, &c)? < 0.5, "{}", loss(&b, &a)?)))?;
    for peer in [&b, &c] {
        let (status, body) = peer.get("/readyz")?;
        ensure!(status == 200, "{} is taken for cut off too: {body}", peer.name());
    }
    ensure!(p.ping(&q).is_err(), "packets pass the closed port");
    a.net().nft("delete table inet guard\n")?;
    let began = Instant::now();
    a.ready(SOON)?;
    println!("ready again {:?} after it was opened", began.elapsed());
    wait_until("echoes that come back again", 2 * SOON, || Ok(ensure!(loss(&a, &b)? < 0.5, "{} lost", loss(&a, &b)?)))?;
    goes_on(&stream)?;
    stream.stop()?.nothing_lost()?;
    p.reaches(&q, SOON)
}
