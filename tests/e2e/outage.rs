//! `twill why` on the history of a real outage: while it lasts, and when it is over.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use lab::harness::Test;
use lab::wait_until;
use serde_json::Value;

use crate::doctor::why;
use crate::story::cluster;

/// The tests of this subject.
pub const TESTS: &[Test] = &[Test::new("why: a partition is told of while it lasts, and of its time when it has healed", partition)];

/// Until lost and found echoes are noticed, on a busy machine.
const NOTICED: Duration = Duration::from_secs(60);
/// How long the outage is looked at.
const LASTS: Duration = Duration::from_secs(3);

fn now_ms() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64)
}

/// It is said since when, and that was in these milliseconds.
fn since_within(told: &Value, from: u64, to: u64) -> Result<()> {
    let since = told["since_ms"].as_u64();
    Ok(ensure!(since.is_some_and(|since| (from..=to).contains(&since)), "since {since:?} is not from {from} to {to}: {told:#}"))
}

fn partition() -> Result<()> {
    let (lab, [a, b], [p, q]) = cluster(["a", "b"])?;
    let subnet = b.subnet()?;
    let proved = |reaches: bool| {
        wait_until(&format!("the answer {reaches}"), NOTICED, || {
            let told = why(&a, &["here", &subnet])?;
            ensure!(told["reaches"] == reaches, "{told:#}");
            Ok(told)
        })
    };
    proved(true)?;
    // A path counts as broken when it was proved before.
    wait_until("a proved path", NOTICED, || Ok(ensure!(a.api("paths")?[0]["ways"][0]["verdict"] == "proved", "{}", a.api("paths")?)))?;
    let cut = now_ms()?;
    lab.partition(&a, &b)?;
    let broken = proved(false)?;
    let noticed = now_ms()?;
    since_within(&broken, cut, noticed)?;
    // Nothing happened to this peer before but that it came.
    ensure!(broken["before"]["kind"] == "joined", "{broken:#}");
    ensure!(broken["before"]["at_ms"].as_u64().is_some_and(|at| at < cut), "what came later is no cause: {broken:#}");
    std::thread::sleep(LASTS);
    lab.heal(&a, &b)?;
    let healed = now_ms()?;
    p.reaches(&q, NOTICED)?;
    let well = proved(true)?;
    since_within(&well, noticed, now_ms()?)?;

    // Whole seconds ago, and so within the time that was only looked at.
    let back = (now_ms()? - (healed + noticed) / 2).div_ceil(1_000);
    let then = why(&a, &["here", &subnet, "--at", &format!("{back}s ago")])?;
    ensure!(then["at_ms"].as_u64().is_some_and(|at| (noticed..healed).contains(&at)), "{then:#}");
    ensure!(then["reaches"] == false && then["since_ms"] == broken["since_ms"], "{then:#} and not as it was told then: {broken:#}");
    ensure!(why(&a, &["here", &subnet])?["reaches"] == true);
    Ok(())
}
