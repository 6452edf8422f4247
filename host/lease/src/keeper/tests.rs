//! The keeper over a store in memory, in paused time: what it does when all goes well, and when it does not.

mod config;
mod failure;
mod race;

use tempfile::tempdir;
use twill_model::event::Weight;
use twill_model::{Lifetime, NodeId};

use crate::testing::memory::Memory;
use crate::testing::node::{Start, pass};
use crate::testing::{lease, lease_of_flannel, net};

pub(crate) const CONFIG: &str = r#"{"Network": "10.3.0.0/16"}"#;

#[tokio::test(start_paused = true)]
async fn a_first_start_claims_a_subnet_and_sees_the_peers() {
    let (store, state) = (Memory::with_config(CONFIG), tempdir().expect("a directory"));
    store.put(lease("b", "10.3.9.0/24", "192.0.2.9"));
    let node = Start::new("a", &state).run(&store);
    let own = node.own().await;
    let cluster = node.now();
    assert!(cluster.complete && !cluster.remembered && cluster.store.reachable && cluster.problems.is_empty(), "{cluster:#?}");
    assert_eq!(cluster.peers.iter().map(|peer| peer.subnets).collect::<Vec<_>>(), [net("10.3.9.0/24")]);
    assert!(node.may_send());
    store.put(lease("c", "10.3.10.0/24", "192.0.2.10"));
    node.until(|cluster| cluster.peers.len() == 2).await;
    store.delete(&[net("10.3.9.0/24")]);
    node.until(|cluster| cluster.peers.len() == 1).await;
    assert_eq!(node.own().await, own);
}

#[tokio::test(start_paused = true)]
async fn a_restart_keeps_the_subnet() {
    let (store, state) = (Memory::with_config(CONFIG), tempdir().expect("a directory"));
    let node = Start::new("a", &state).run(&store);
    let own = node.own().await;
    node.kill().await;
    let node = Start::new("a", &state).run(&store);
    assert_eq!(node.own().await, own);
    node.stop().await;
    assert_eq!(store.leases().len(), 1, "a stopped node gives nothing back");
    let elsewhere = tempdir().expect("a directory");
    let node = Start::new("a", &elsewhere).run(&store);
    assert_eq!(node.own().await, own, "the id alone is enough");
}

#[tokio::test(start_paused = true)]
async fn flannels_lease_at_the_same_address_is_taken_up() {
    let (store, state) = (Memory::with_config(CONFIG), tempdir().expect("a directory"));
    store.put(lease_of_flannel("10.3.7.0/24", "192.0.2.1"));
    let node = Start::new("a", &state).run(&store);
    assert_eq!(node.own().await, net("10.3.7.0/24"));
    assert_eq!(store.leases()[0].node, Some(NodeId("a".into())));
}

/// flannel's rule for its subnet file: wished for, but only where it fits and nobody holds it.
#[tokio::test(start_paused = true)]
async fn the_subnet_of_the_file_is_taken_where_it_is_free_and_fits() {
    let store = Memory::with_config(CONFIG);
    for (from_file, own) in [("10.3.77.0/24", true), ("10.4.77.0/24", false), ("10.3.77.0/25", false)] {
        let state = tempdir().expect("a directory");
        let node = Start { from_file: net(from_file), ..Start::new("a", &state) }.run(&store);
        assert_eq!(node.own().await == net(from_file), own, "{from_file}");
        node.stop().await;
        store.delete(&store.leases().iter().map(|lease| lease.subnets).collect::<Vec<_>>());
    }
    store.put(lease("b", "10.3.77.0/24", "192.0.2.9"));
    let state = tempdir().expect("a directory");
    let node = Start { from_file: net("10.3.77.0/24"), ..Start::new("a", &state) }.run(&store);
    assert_ne!(node.own().await, net("10.3.77.0/24"));
}

#[tokio::test(start_paused = true)]
async fn renewals_come_in_time_and_are_no_news_for_others() {
    let (store, state, other) = (Memory::with_config(CONFIG), tempdir().expect("a directory"), tempdir().expect("a directory"));
    let node = Start::new("a", &state).term(3).run(&store);
    let own = node.own().await;
    let watcher = Start { address: "192.0.2.2", ..Start::new("b", &other) }.run(&store);
    watcher.own().await;
    let (before, told) = (watcher.said().len(), watcher.now().told[&own]);
    for _ in 0..60 {
        pass(1).await;
        assert!(node.may_send());
        assert_eq!(node.now().own.as_ref().map(|lease| lease.subnets), Some(own));
    }
    assert!((55..=70).contains(&store.writes()), "one write a second, not {}", store.writes());
    assert_eq!(watcher.said().len(), before, "{:?}", watcher.said());
    assert!(watcher.now().told[&own] > told + 50_000, "lifetimes are kept fresh");
}

#[tokio::test(start_paused = true)]
async fn a_margin_says_how_long_before_its_end_the_lease_is_renewed() {
    let (store, state) = (Memory::with_config(CONFIG), tempdir().expect("a directory"));
    let margin = Some(std::time::Duration::from_secs(30));
    let node = Start { margin, ..Start::new("a", &state).term(300) }.run(&store);
    node.own().await;
    let (writes, renewal) = (store.writes(), node.now().renewal.expect("a renewal"));
    let left = renewal - crate::clock::Clock::boot_ms(node.clock.as_ref());
    assert!((268_000..=270_000).contains(&left), "renewed in {left} ms");
    pass(260).await;
    assert_eq!(store.writes(), writes, "too early");
    pass(12).await;
    assert_eq!(store.writes(), writes + 1);
    assert!(node.may_send());
}

#[tokio::test(start_paused = true)]
async fn a_reservation_stays_one_and_has_no_end() {
    let (store, state) = (Memory::with_config(CONFIG), tempdir().expect("a directory"));
    store.put(crate::testing::reserved(lease_of_flannel("10.3.7.0/24", "192.0.2.1")));
    let node = Start::new("a", &state).term(3).run(&store);
    node.until(|cluster| cluster.complete && cluster.own.is_some()).await;
    pass(100).await;
    assert_eq!(store.leases()[0].life, Lifetime::Reserved);
    assert_eq!((node.guard(), node.now().renewal), (u64::MAX, None));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_pinned_while_it_is_held_stays_in_use() {
    let (store, state) = (Memory::with_config(CONFIG), tempdir().expect("a directory"));
    let node = Start::new("a", &state).term(30).run(&store);
    let own = node.own().await;
    let lease = store.leases()[0].clone();
    store.put(crate::testing::reserved(lease.clone()));
    node.until(|cluster| cluster.own.as_ref().is_some_and(|own| own.life == Lifetime::Reserved) && cluster.renewal.is_none()).await;
    assert!(node.may_send() && node.guard() == u64::MAX, "nothing was interrupted");
    store.put(lease);
    assert_eq!(node.own().await, own);
    for _ in 0..60 {
        pass(1).await;
        assert!(node.may_send() && !node.has_said(Weight::Error, "no longer"), "{:?}", node.said());
    }
    assert!(matches!(store.leases()[0].life, Lifetime::Seconds(_)));
}

#[tokio::test(start_paused = true)]
async fn a_new_address_is_published_on_the_same_subnet() {
    let (store, state) = (Memory::with_config(CONFIG), tempdir().expect("a directory"));
    let node = Start::new("a", &state).run(&store);
    let own = node.own().await;
    node.move_to("192.0.2.77");
    let cluster = node.until(|cluster| cluster.own.as_ref().is_some_and(|own| own.public.v4 == Some([192, 0, 2, 77].into()))).await;
    assert_eq!(cluster.own.as_ref().map(|lease| lease.subnets), Some(own));
    assert_eq!(store.leases().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_store_hears_of_the_first_plan_once_there_is_a_confirmed_lease() {
    let (store, state) = (Memory::with_config(CONFIG), tempdir().expect("a directory"));
    store.set_away(true);
    let node = Start::new("a", &state).run(&store);
    node.handle.plan_in_force().await;
    pass(10).await;
    assert!(store.ready_leases().is_empty());
    store.set_away(false);
    let own = node.own().await;
    pass(1).await;
    assert_eq!(store.ready_leases(), [own]);
}

#[tokio::test(start_paused = true)]
async fn released_on_request_it_is_gone_and_the_keeper_ends() {
    let (store, state) = (Memory::with_config(CONFIG), tempdir().expect("a directory"));
    let node = Start::new("a", &state).run(&store);
    node.own().await;
    store.set_away(true);
    node.handle.release().await.expect_err("the store is away");
    assert!(node.may_send(), "it goes on as before");
    store.set_away(false);
    node.handle.release().await.expect("released");
    assert!(store.leases().is_empty() && !node.may_send());
    assert!(node.has_said(Weight::Info, "given back"));
    node.task.await.expect("no panic").expect("a plain end");
}

#[tokio::test(start_paused = true)]
async fn a_withdrawn_lease_is_gone_for_others_and_used_here_until_somebody_takes_the_subnet() {
    let (store, state) = (Memory::with_config(CONFIG), tempdir().expect("a directory"));
    let node = Start::new("a", &state).run(&store);
    let own = node.own().await;
    store.set_away(true);
    node.handle.withdraw().await.expect_err("the store is away");
    assert!(!node.now().withdrawn, "it goes on as before");
    store.set_away(false);
    node.handle.withdraw().await.expect("withdrawn");
    let cluster = node.until(|cluster| cluster.withdrawn).await;
    assert!(store.leases().is_empty() && cluster.problems.iter().any(|problem| problem.contains("drained")), "{cluster:#?}");
    store.put(lease("b", "10.3.200.0/24", "192.0.2.9"));
    node.until(|cluster| cluster.peers.len() == 1).await;
    pass(300).await;
    assert!(node.may_send() && node.now().own.is_some(), "what is under way still arrives");
    assert_eq!(store.leases().len(), 1, "no other lease is claimed");
    store.put(lease("c", &own.to_string(), "192.0.2.10"));
    node.until(|cluster| cluster.own.is_none()).await;
    assert!(!node.may_send());
}
