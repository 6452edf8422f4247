//! Claiming: one winner, no overlap, found again, kept as written.

use std::collections::BTreeSet;

use twill_lease::store::Store;
use twill_model::{Lease, Prefixes, Way};
use twill_plugin::StoreHandle;

use super::{Bench, During, TERM, find, is_conflict, refused, subnet, take, wish};
use crate::report::{Verdict, kept_unless};

/// Nodes that race, subnets that they race for, and how often.
const RACERS: u16 = 6;
const SUBNETS: u16 = 3;
const ROUNDS: u16 = 4;

pub(super) async fn one_winner(bench: &Bench<'_>) -> Verdict {
    let mut stores = Vec::new();
    for number in 0..RACERS {
        stores.push(bench.open(number.into()).await.during("the store could not be opened again")?);
    }
    let mut faults = Vec::new();
    for round in 0..ROUNDS {
        let candidates: Vec<Prefixes> = (0..SUBNETS).map(|place| subnet(100 + round * SUBNETS + place)).collect();
        let mut racing = tokio::task::JoinSet::new();
        for (number, store) in (1..).zip(stores.clone()) {
            let candidates = candidates.clone();
            racing.spawn(async move { (number, store.claim(candidates, wish(number, TERM)).await) });
        }
        let (mut won, mut held) = (Vec::new(), Vec::new());
        for (number, claimed) in racing.join_all().await {
            match claimed {
                Ok(lease) => {
                    won.push(lease.lease.subnets);
                    held.push((number, lease));
                }
                Err(error) if is_conflict(&error) => {}
                Err(error) => faults.push(format!("round {round}: node {number} was told: {error}")),
            }
        }
        let different: BTreeSet<_> = won.iter().copied().collect();
        if different.len() != won.len() {
            faults.push(format!("round {round}: {} nodes hold {} subnets", won.len(), different.len()));
        } else if won.len() < usize::from(SUBNETS) {
            faults.push(format!("round {round}: of {SUBNETS} free subnets only {} were given out", won.len()));
        }
        for (number, lease) in held {
            let index = usize::from(number) - 1;
            // What two hold cannot be given back twice.
            let _ = stores[index].release(lease).await;
        }
    }
    kept_unless(faults, format!("{ROUNDS} races of {RACERS} nodes for {SUBNETS} subnets"))
}

pub(super) async fn no_overlap(a: &StoreHandle, b: &StoreHandle) -> Verdict {
    let mine = take(a, 130, wish(1, TERM)).await?;
    let mut faults = Vec::new();
    let around = |length: u8| {
        let net = subnet(130).v4.map(|net| net.addr()).and_then(|base| ipnet::Ipv4Net::new(base, length).ok());
        Prefixes { v4: net.map(|net| net.trunc()), v6: None }
    };
    for (length, what) in [(24, "a subnet that another holds"), (23, "a wider range around it"), (25, "a part of it")] {
        let claimed = b.claim(vec![around(length)], wish(2, TERM)).await;
        refused(claimed, what, is_conflict, "conflict", &mut faults);
    }
    let next = b.claim(vec![around(24), subnet(131)], wish(2, TERM)).await.during("the second of two candidates")?;
    if next.lease.subnets != subnet(131) {
        faults.push(format!("of a held and a free candidate it took {}", next.lease.subnets));
    }
    a.release(mine).await.during("release")?;
    b.release(next).await.during("release")?;
    kept_unless(faults, "the same, a wider and a narrower range refused; the next candidate taken")
}

pub(super) async fn again(a: &StoreHandle, b: &StoreHandle) -> Verdict {
    let candidates = vec![subnet(135), subnet(136)];
    let first = a.claim(candidates.clone(), wish(1, TERM)).await.during("claim")?;
    let second = b.claim(candidates, wish(1, TERM)).await.during("the same claim again, as after a lost answer")?;
    let mut faults = Vec::new();
    if second.lease.subnets != first.lease.subnets {
        faults.push(format!("the first time it took {}, the second time {}", first.lease.subnets, second.lease.subnets));
        // Both are there now.
        let _ = a.release(first).await;
    }
    b.release(second).await.during("the token of the second answer was not the last one")?;
    kept_unless(faults, "the same lease, with a token that holds")
}

pub(super) async fn keeps(a: &StoreHandle, b: &StoreHandle) -> Verdict {
    let way = |backend: &str, options: &str| Way { backend: backend.into(), options: options.into(), data_v4: None, data_v6: None };
    let first = Way { data_v4: Some(r#"{"VNI":1,"VtepMAC":"0a:1b:2c:3d:4e:5f"}"#.into()), ..way("vxlan", r#"{"VNI":1,"ä": [ 1,2 ]}"#) };
    let wanted = Lease { ways: vec![first, way("udp", r#"{"Port":  8285}"#)], ..wish(1, TERM) };
    let held = take(a, 140, wanted.clone()).await?;
    let mut faults = Vec::new();
    let compare = |found: &Lease, by: &str, faults: &mut Vec<String>| {
        let wanted = Lease { subnets: subnet(140), life: found.life, ..wanted.clone() };
        if *found != wanted {
            faults.push(format!("{by} has {found:?}\n               instead of {wanted:?}"));
        }
    };
    compare(&held.lease, "the answer of claim", &mut faults);
    match find(b, subnet(140)).await? {
        Some(found) => compare(&found, "another node's read", &mut faults),
        None => faults.push("another node's read does not show the lease".into()),
    }
    a.release(held).await.during("release")?;
    kept_unless(faults, "two ways with options and data, read by another node")
}
