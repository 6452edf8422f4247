//! What the keeper does when the store, the lease or the node itself fails.

use super::*;
use crate::testing::node::Node;
use std::time::Duration;
use twill_model::{Lease, Prefixes};

async fn running(store: &Memory, state: &tempfile::TempDir, term: u64) -> (Node, Prefixes) {
    let node = Start::new("a", state).term(term).run(store);
    let own = node.own().await;
    (node, own)
}

fn thief(subnets: Prefixes) -> Lease {
    Lease { subnets, ..lease("thief", "10.3.0.0/24", "192.0.2.66") }
}

fn crowd(count: u8) -> Vec<Lease> {
    (1..=count).map(|i| lease(&format!("n{i}"), &format!("10.3.{}.0/24", 200 + i), &format!("192.0.2.{}", 100 + i))).collect()
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_another_node_took_is_lost_at_once() {
    let (store, state) = (Memory::with_config(CONFIG), tempdir().expect("a directory"));
    let (node, own) = running(&store, &state, 86_400).await;
    store.put(thief(own));
    node.until(|cluster| cluster.own.is_none()).await;
    assert!(!node.may_send());
    let next = node.own().await;
    assert_ne!(next, own);
    assert!(node.may_send() && node.has_said(Weight::Error, "no longer this node's"));
    assert!(node.now().peers.iter().any(|peer| peer.subnets == own), "the thief is a peer now");
}

#[tokio::test(start_paused = true)]
async fn another_machine_with_this_nodes_id_is_told_of_and_not_fought() {
    let (store, state) = (Memory::with_config(CONFIG), tempdir().expect("a directory"));
    let (node, own) = running(&store, &state, 3).await;
    store.put(Lease { subnets: own, life: Lifetime::Reserved, ..lease("a", "10.3.0.0/24", "192.0.2.77") });
    let cluster = node.until(|cluster| cluster.own.is_none()).await;
    assert!(!node.may_send() && !cluster.permit);
    let cluster = node.until(|cluster| !cluster.problems.is_empty()).await;
    assert!(cluster.problems[0].contains("192.0.2.77") && cluster.problems[0].contains("node-id"), "{:?}", cluster.problems);
    let writes = store.writes();
    store.put(lease("b", "10.3.9.0/24", "192.0.2.9"));
    pass(100).await;
    assert_eq!((store.writes(), node.now().own.is_none()), (writes + 1, true), "nothing is written against it");
    assert_eq!(node.said().iter().filter(|(weight, _)| *weight == Weight::Error).count(), 1, "{:?}", node.said());
    store.delete(&[own]);
    assert_eq!(node.own().await, own);
    assert!(node.may_send() && node.now().problems.is_empty());
}

#[tokio::test(start_paused = true)]
async fn of_two_machines_with_one_id_one_goes_on() {
    let (store, state, copy) = (Memory::with_config(CONFIG), tempdir().expect("a directory"), tempdir().expect("a directory"));
    let (first, own) = running(&store, &state, 3).await;
    let second = Start { address: "192.0.2.2", ..Start::new("a", &copy) }.term(3).run(&store);
    assert_eq!(second.own().await, own);
    first.until(|cluster| cluster.own.is_none() && cluster.problems.iter().any(|problem| problem.contains("192.0.2.2"))).await;
    for _ in 0..100 {
        pass(1).await;
        assert!(!first.may_send() && second.may_send());
    }
    second.handle.release().await.expect("released");
    assert_eq!(first.own().await, own);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_vanished_is_claimed_again_and_never_given_up() {
    let (store, state) = (Memory::with_config(CONFIG), tempdir().expect("a directory"));
    let (node, own) = running(&store, &state, 86_400).await;
    let mut cluster = node.handle.cluster();
    store.delete(&[own]);
    while store.leases().is_empty() {
        tokio::time::timeout(Duration::from_secs(2), cluster.changed()).await.expect("soon").expect("the keeper runs");
        assert_eq!(cluster.borrow_and_update().own.as_ref().map(|lease| lease.subnets), Some(own));
    }
    assert_eq!(store.leases()[0].subnets, own);
    assert!(node.may_send());
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_costs_no_lease() {
    let (store, state) = (Memory::with_config(CONFIG), tempdir().expect("a directory"));
    store.lose_answers(1);
    let (node, own) = running(&store, &state, 3).await;
    assert_eq!(store.leases().len(), 1, "the claim that was done is found again");
    store.lose_answers(1);
    pass(30).await;
    assert_eq!(node.own().await, own);
    assert!(!node.said().iter().any(|(weight, _)| *weight == Weight::Error), "{:?}", node.said());
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_away_the_lease_is_kept() {
    let (store, state) = (Memory::with_config(CONFIG), tempdir().expect("a directory"));
    let (node, own) = running(&store, &state, 3).await;
    store.set_away(true);
    for _ in 0..100 {
        pass(1).await;
        assert!(node.may_send());
    }
    let cluster = node.now();
    assert!(!cluster.store.reachable && cluster.complete && cluster.own.is_some());
    let complaints = node.said().iter().filter(|(_, text)| text.contains("cannot be used now")).count();
    assert!(complaints <= 4, "{complaints} complaints in 100 seconds");
    store.set_away(false);
    node.until(|cluster| cluster.store.reachable && cluster.problems.is_empty()).await;
    node.until(|_| store.leases().first().is_some_and(|lease| lease.subnets == own)).await;
}

#[tokio::test(start_paused = true)]
async fn a_start_without_the_store_goes_on_with_what_was_remembered() {
    let (store, state) = (Memory::with_config(CONFIG), tempdir().expect("a directory"));
    store.put(lease("b", "10.3.9.0/24", "192.0.2.9"));
    let (node, own) = running(&store, &state, 86_400).await;
    node.stop().await;
    store.set_away(true);
    let node = Start::new("a", &state).run(&store);
    let cluster = node.until(|cluster| cluster.remembered).await;
    assert_eq!(cluster.own.as_ref().map(|lease| lease.subnets), Some(own));
    assert!(cluster.peers.len() == 1 && cluster.config.is_some() && !cluster.complete, "{cluster:#?}");
    assert!(node.may_send(), "the lease has not ended");
    pass(30).await;
    assert!(!node.now().complete);
    store.set_away(false);
    assert_eq!(node.own().await, own);
    assert!(!node.now().remembered);
}

#[tokio::test(start_paused = true)]
async fn a_remembered_lease_that_has_ended_is_shown_and_not_sent_from() {
    let (store, state) = (Memory::with_config(CONFIG), tempdir().expect("a directory"));
    let (node, own) = running(&store, &state, 3).await;
    node.stop().await;
    store.set_away(true);
    let node = Start::new("a", &state).term(3).run(&store);
    node.clock.jump(60_000);
    node.until(|cluster| cluster.remembered).await;
    pass(30).await;
    assert!(!node.may_send() && node.now().own.is_some());
    store.set_away(false);
    assert_eq!(node.own().await, own);
    assert!(node.may_send());
}

#[tokio::test(start_paused = true)]
async fn a_restart_after_the_term_with_the_store_away_has_no_permit_and_says_so() {
    const WHY: &str = "the own lease ended while the store was away; nothing is sent until the store has confirmed it";
    let (store, state) = (Memory::with_config(CONFIG), tempdir().expect("a directory"));
    let (node, own) = running(&store, &state, 3).await;
    assert!(node.now().permit);
    node.stop().await;
    store.set_away(true);
    let node = Start::new("a", &state).term(3).run(&store);
    node.clock.jump(8_000);
    let cluster = node.until(|cluster| cluster.remembered).await;
    assert_eq!((cluster.own.as_ref().map(|lease| lease.subnets), cluster.permit), (Some(own), false));
    assert!(cluster.problems.iter().any(|problem| problem == WHY), "{:?}", cluster.problems);
    pass(30).await;
    assert!(!node.now().permit && !node.may_send());
    store.set_away(false);
    let cluster = node.until(|cluster| cluster.permit).await;
    assert!(cluster.problems.is_empty() && node.may_send(), "{:?}", cluster.problems);
}

#[tokio::test(start_paused = true)]
async fn a_bare_store_in_the_place_of_the_known_one_is_a_store_away() {
    let (store, state) = (Memory::with_config(CONFIG), tempdir().expect("a directory"));
    crowd(5).into_iter().for_each(|lease| store.put(lease));
    let (node, own) = running(&store, &state, 3).await;
    let share = store.unmount();
    node.until(|cluster| cluster.problems.iter().any(|problem| problem.contains("is the share mounted?"))).await;
    pass(300).await;
    let cluster = node.now();
    assert!(cluster.peers.len() == 5 && cluster.held.is_empty() && cluster.permit && !cluster.store.reachable, "{cluster:#?}");
    assert!(cluster.own.as_ref().is_some_and(|lease| lease.subnets == own) && store.leases().is_empty(), "nothing is claimed");
    store.mount(share);
    node.until(|cluster| cluster.store.reachable && cluster.problems.is_empty()).await;
    assert_eq!((node.own().await, node.now().peers.len()), (own, 5));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_was_emptied_gets_the_own_lease_again_though_its_config_is_gone() {
    let (store, state) = (Memory::with_config(CONFIG).into_server(), tempdir().expect("a directory"));
    crowd(5).into_iter().for_each(|lease| store.put(lease));
    let (node, own) = running(&store, &state, 86_400).await;
    store.wipe_with_config();
    node.until(|cluster| cluster.problems.iter().any(|problem| problem.contains("config is gone from the store"))).await;
    node.until(|_| store.leases().iter().any(|lease| lease.subnets == own)).await;
    let cluster = node.now();
    assert!(cluster.store.reachable && cluster.permit && cluster.config.is_some(), "{cluster:#?}");
    assert_eq!(cluster.held.len(), 5, "peers have their time to come back");
}

#[tokio::test(start_paused = true)]
async fn of_two_strays_the_older_one_wins_after_a_restart_too() {
    let (store, state) = (Memory::with_config(CONFIG), tempdir().expect("a directory"));
    let (old, new) = (net("10.3.9.0/25"), net("10.3.8.0/23"));
    store.put(Lease { subnets: old, ..thief(old) });
    let (node, _) = running(&store, &state, 86_400).await;
    store.put(lease("new", "10.3.8.0/23", "192.0.2.67"));
    let loser = |cluster: &crate::cluster::Cluster| cluster.collisions.first().map(|collision| collision.loser.subnets);
    node.until(|cluster| loser(cluster) == Some(new)).await;
    node.stop().await;
    store.set_away(true);
    let node = Start::new("a", &state).run(&store);
    let cluster = node.until(|cluster| cluster.remembered).await;
    assert_eq!(loser(&cluster), Some(new));
    store.set_away(false);
    node.own().await;
    assert_eq!(loser(&node.now()), Some(new));
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_cannot_be_written_is_told_once_and_tried_now_and_then() {
    let (store, state) = (Memory::with_config(CONFIG), tempdir().expect("a directory"));
    std::fs::create_dir(state.path().join("book.json")).expect("made");
    std::fs::write(state.path().join("book.json/x"), "").expect("written");
    let (node, _) = running(&store, &state, 3).await;
    node.until(|cluster| cluster.problems.iter().any(|problem| problem.contains("will not know the cluster"))).await;
    pass(300).await;
    let told = node.said().iter().filter(|(_, text)| text.contains("will not know the cluster")).count();
    assert_eq!(told, 1, "{:?}", node.said());
    assert_eq!(std::fs::read_dir(state.path()).expect("listed").count(), 1, "no draft is left");
    std::fs::remove_dir_all(state.path().join("book.json")).expect("removed");
    node.until(|cluster| cluster.problems.is_empty()).await;
    assert!(state.path().join("book.json").is_file());
}

#[tokio::test(start_paused = true)]
async fn after_a_freeze_nothing_is_sent_before_the_store_was_asked() {
    let (store, state) = (Memory::with_config(CONFIG), tempdir().expect("a directory"));
    let (node, own) = running(&store, &state, 3).await;
    store.set_away(true);
    node.clock.jump(60_000);
    store.put(thief(own));
    let end = node.guard();
    pass(60).await;
    assert_eq!(node.guard(), end, "the permit was not moved on");
    store.set_away(false);
    store.put(Lease { life: Lifetime::Reserved, ..thief(own) });
    let cluster = node.until(|cluster| cluster.own.as_ref().is_some_and(|lease| lease.subnets != own)).await;
    assert!(cluster.peers.iter().any(|peer| peer.subnets == own));
    assert!(node.may_send());
    assert!(node.has_said(Weight::Warn, "did not run"));
    assert!(node.has_said(Weight::Error, "no longer this node's: node thief"), "{:?}", node.said());
}

#[tokio::test(start_paused = true)]
async fn after_a_freeze_without_a_successor_the_subnet_is_the_same() {
    let (store, state) = (Memory::with_config(CONFIG), tempdir().expect("a directory"));
    let (node, own) = running(&store, &state, 3).await;
    store.delete(&[own]);
    node.clock.jump(60_000);
    node.until(|cluster| store.leases().len() == 1 && cluster.renewal.is_some_and(|at| at > 61_500)).await;
    assert_eq!(node.own().await, own);
    assert!(node.may_send());
}

#[tokio::test(start_paused = true)]
async fn what_a_compaction_hid_is_found_by_reading_anew() {
    let (store, state) = (Memory::with_config(CONFIG), tempdir().expect("a directory"));
    store.put(lease("b", "10.3.9.0/24", "192.0.2.9"));
    let (node, _) = running(&store, &state, 86_400).await;
    node.until(|cluster| cluster.peers.len() == 1).await;
    store.set_away(true);
    pass(40).await;
    store.delete(&[net("10.3.9.0/24")]);
    store.put(lease("c", "10.3.10.0/24", "192.0.2.10"));
    store.compact();
    store.set_away(false);
    let cluster = node.until(|cluster| cluster.peers.iter().any(|peer| peer.subnets == net("10.3.10.0/24"))).await;
    assert_eq!(cluster.peers.len(), 1);
    assert!(node.has_said(Weight::Info, "read anew"));
    store.put(lease("d", "10.3.11.0/24", "192.0.2.11"));
    node.until(|cluster| cluster.peers.len() == 2).await;
}

#[tokio::test(start_paused = true)]
async fn peers_are_shown_oldest_first_whatever_their_subnets() {
    let (store, state) = (Memory::with_config(CONFIG), tempdir().expect("a directory"));
    let (node, _) = running(&store, &state, 86_400).await;
    let arrivals = ["10.3.11.0/24", "10.3.9.0/24", "10.3.10.0/24"];
    for (number, subnet) in arrivals.into_iter().enumerate() {
        store.put(lease(&format!("n{number}"), subnet, &format!("192.0.2.{}", 20 + number)));
        node.until(|cluster| cluster.peers.len() == number + 1).await;
    }
    let shown: Vec<String> = node.now().peers.iter().map(|peer| peer.subnets.to_string()).collect();
    assert_eq!(shown, arrivals, "of two that want one place in the kernel the older is to keep it");
}

#[tokio::test(start_paused = true)]
async fn a_crowd_that_vanishes_is_held_for_a_minute() {
    let (store, state) = (Memory::with_config(CONFIG), tempdir().expect("a directory"));
    crowd(5).into_iter().for_each(|lease| store.put(lease));
    let (node, _) = running(&store, &state, 86_400).await;
    store.delete(&crowd(4).iter().map(|lease| lease.subnets).collect::<Vec<_>>());
    let cluster = node.until(|cluster| cluster.held.len() == 4).await;
    assert_eq!(cluster.peers.len(), 5);
    pass(58).await;
    assert_eq!(node.now().peers.len(), 5);
    node.until(|cluster| cluster.peers.len() == 1 && cluster.held.is_empty()).await;
}

/// Two are no crowd, but with this node's own lease they cannot have ended by themselves.
#[tokio::test(start_paused = true)]
async fn peers_that_vanish_together_with_the_own_lease_are_held() {
    let (store, state) = (Memory::with_config(CONFIG), tempdir().expect("a directory"));
    crowd(2).into_iter().for_each(|lease| store.put(lease));
    let (node, own) = running(&store, &state, 86_400).await;
    store.delete(&crowd(2).iter().map(|lease| lease.subnets).chain([own]).collect::<Vec<_>>());
    let cluster = node.until(|cluster| cluster.held.len() == 2).await;
    assert_eq!(cluster.peers.len(), 2);
    assert_eq!(node.own().await, own);
    node.until(|cluster| cluster.peers.is_empty() && cluster.held.is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn a_wiped_store_gets_the_own_lease_again_and_takes_no_peer_away() {
    let (store, state) = (Memory::with_config(CONFIG), tempdir().expect("a directory"));
    crowd(2).into_iter().for_each(|lease| store.put(lease));
    let (node, own) = running(&store, &state, 86_400).await;
    let mut cluster = node.handle.cluster();
    store.wipe();
    while store.leases().is_empty() {
        cluster.changed().await.expect("the keeper runs");
        let now = cluster.borrow_and_update().clone();
        assert!(now.peers.len() == 2 && now.own.as_ref().is_some_and(|lease| lease.subnets == own));
    }
    assert_eq!(store.leases()[0].subnets, own);
    store.put(crowd(1)[0].clone());
    node.until(|cluster| cluster.held.len() == 1).await;
    node.until(|cluster| cluster.peers.len() == 1).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_no_lease_is_told_once_and_forgotten_when_put_right() {
    let (store, state) = (Memory::with_config(CONFIG), tempdir().expect("a directory"));
    store.set_odd(Some("10.3.4.0-24"));
    let (node, _) = running(&store, &state, 86_400).await;
    assert_eq!(node.now().store.oddities.len(), 1);
    store.set_odd(Some("10.3.5.0-24"));
    node.until(|cluster| cluster.store.oddities.iter().any(|oddity| oddity.place == "10.3.5.0-24")).await;
    pass(100).await;
    assert_eq!(node.said().iter().filter(|(_, text)| text.contains("half a file")).count(), 2, "{:?}", node.said());
    store.set_odd(None);
    node.until(|cluster| cluster.store.oddities.is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn what_the_watch_never_told_is_found_in_the_end() {
    let (store, state) = (Memory::with_config(CONFIG), tempdir().expect("a directory"));
    let (node, own) = running(&store, &state, 86_400).await;
    store.delete_silently(&own);
    pass(700).await;
    assert_eq!(store.leases().iter().map(|lease| lease.subnets).collect::<Vec<_>>(), [own]);
    assert_eq!(node.own().await, own);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_broke_down_is_started_anew() {
    let (store, state) = (Memory::with_config(CONFIG), tempdir().expect("a directory"));
    let (node, _) = running(&store, &state, 86_400).await;
    store.break_watch();
    pass(1).await;
    assert!(node.has_said(Weight::Error, "broke down"), "{:?}", node.said());
    store.put(lease("c", "10.3.10.0/24", "192.0.2.10"));
    node.until(|cluster| cluster.peers.len() == 1).await;
}
