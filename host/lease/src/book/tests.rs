use super::*;
use crate::testing::{lease, net};
use proptest::prelude::*;
use twill_model::Lifetime;

fn peers(count: u8) -> Vec<Lease> {
    (1..=count).map(|i| lease(&format!("n{i}"), &format!("10.3.{i}.0/24"), &format!("192.0.2.{i}"))).collect()
}

fn nobody(_: &Lease) -> bool {
    false
}

fn filled(count: u8) -> Book {
    let mut book = Book::default();
    book.replace(peers(count), "s1", nobody, 0);
    book
}

fn subnets(book: &Book) -> Vec<Prefixes> {
    book.leases().map(|lease| lease.subnets).collect()
}

#[test]
fn a_renewal_changes_nothing_but_the_lifetime() {
    let mut book = filled(2);
    let renewed = Lease { life: Lifetime::Seconds(77), ..peers(1)[0].clone() };
    assert!(book.apply(&[Change::Put(renewed.clone())], nobody, 5).is_empty());
    assert_eq!(book.at(&renewed.subnets), Some(&renewed));
    assert_eq!(book.told()[&renewed.subnets], 5);
}

#[test]
fn a_peer_with_a_new_address_is_announced() {
    let mut book = filled(2);
    let moved = lease("n1", "10.3.1.0/24", "192.0.2.99");
    let mut leases = peers(2);
    leases[0] = moved.clone();
    assert_eq!(book.replace(leases, "s1", nobody, 1), Difference { altered: vec![moved], ..Difference::default() });
}

#[test]
fn few_that_vanish_are_struck_out_at_once() {
    let mut book = filled(4);
    let difference = book.replace(peers(2), "s1", nobody, 1);
    assert_eq!((difference.left.len(), difference.held.len()), (2, 0));
    assert_eq!(book.leases().count(), 2);
    let mut book = filled(20);
    let difference = book.replace(peers(16), "s1", nobody, 1);
    assert_eq!((difference.left.len(), difference.held.len()), (4, 0), "four of twenty are not more than a fifth");
}

#[test]
fn many_that_vanish_are_held_for_a_minute() {
    let mut book = filled(4);
    assert_eq!(book.replace(peers(1), "s1", nobody, 1000).held.len(), 3);
    assert_eq!(book.leases().count(), 4);
    assert_eq!(book.at(&net("10.3.4.0/24")), None);
    assert!(book.replace(peers(1), "s1", nobody, 30_000).is_empty(), "a second look must not start the minute anew");
    assert_eq!(book.next_hold_end(), Some(61_000));
    assert!(book.end_holds(60_999).is_empty());
    assert_eq!(book.end_holds(61_000).len(), 3);
    assert_eq!(book.next_hold_end(), None);
}

#[test]
fn a_wave_of_removals_by_the_watch_is_held_too() {
    let mut book = filled(5);
    let wave: Vec<Change> = peers(3).into_iter().map(|lease| Change::Gone(lease.subnets)).collect();
    assert_eq!(book.apply(&wave, nobody, 0).held.len(), 3);
    assert_eq!(book.apply(&[Change::Gone(net("10.3.5.0/24"))], nobody, 0).left.len(), 1);
}

#[test]
fn the_own_lease_is_never_held_and_peers_that_go_with_it_are() {
    let mut book = filled(3);
    let own = |lease: &Lease| lease.subnets == net("10.3.1.0/24");
    let difference = book.replace(Vec::new(), "s1", own, 0);
    // A store that forgets this very node has not lost its peers only.
    assert_eq!((difference.left.len(), difference.held.len()), (1, 2));
}

#[test]
fn a_store_made_anew_holds_whoever_is_missing() {
    let mut book = filled(2);
    let difference = book.replace(peers(1), "s2", nobody, 0);
    assert_eq!((difference.left.len(), difference.held.len()), (0, 1));
    assert_eq!(book.identity(), Some("s2"));
}

#[test]
fn a_held_peer_that_returns_is_no_news() {
    let mut book = filled(4);
    book.replace(Vec::new(), "s1", nobody, 0);
    assert!(book.replace(peers(4), "s1", nobody, 10).is_empty());
    assert_eq!(book.next_hold_end(), None);
}

#[test]
fn a_new_owner_of_a_held_subnet_wins_at_once() {
    let mut book = filled(4);
    book.replace(Vec::new(), "s1", nobody, 0);
    let same = lease("new", "10.3.1.0/24", "192.0.2.50");
    let wider = lease("newer", "10.3.2.0/23", "192.0.2.51");
    let difference = book.apply(&[Change::Put(same.clone()), Change::Put(wider.clone())], nobody, 1);
    assert_eq!(difference.altered, [same]);
    assert_eq!(difference.joined, [wider]);
    assert_eq!(subnets(&book), [net("10.3.1.0/24"), net("10.3.2.0/23"), net("10.3.4.0/24")]);
    assert!(book.collisions(None).is_empty());
}

#[test]
fn of_overlapping_leases_the_one_already_there_wins() {
    let mut book = filled(2);
    let wide = lease("wide", "10.3.0.0/22", "192.0.2.60");
    let mut leases = vec![wide.clone()];
    leases.extend(peers(2));
    book.replace(leases, "s1", nobody, 0);
    let found = book.collisions(None);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].loser, wide);
}

#[test]
fn who_was_there_first_is_known_after_a_restart() {
    let mut book = Book::default();
    let (old, new) = (lease("old", "10.3.9.0/24", "192.0.2.1"), lease("new", "10.3.8.0/23", "192.0.2.2"));
    book.replace(vec![old.clone()], "s", nobody, 0);
    book.apply(&[Change::Put(new.clone())], nobody, 1);
    let kept: Vec<Lease> = book.by_arrival().into_iter().map(|lease| Lease::clone(lease)).collect();
    assert_eq!(kept, [old.clone(), new.clone()]);
    let mut book = Book::recalled(kept, Some("s".into()), 0);
    book.replace(vec![new.clone(), old], "s", nobody, 2);
    assert_eq!(book.collisions(None).into_iter().map(|collision| collision.loser).collect::<Vec<_>>(), [new]);
}

#[test]
fn a_stray_wide_lease_makes_no_peer_vanish() {
    let config = NetworkConfig::parse(r#"{"Network": "10.3.0.0/16"}"#).expect("a good config");
    let wide = lease("stray", "10.3.0.0/16", "192.0.2.60");
    let mut book = Book::default();
    book.replace([vec![wide.clone()], peers(3)].concat(), "s", nobody, 0);
    let losers: Vec<Lease> = book.collisions(Some(&config)).into_iter().map(|collision| collision.loser).collect();
    assert_eq!(losers, [wide]);
}

#[test]
fn a_store_that_was_written_to_for_the_first_time_is_the_same() {
    let mut book = Book::default();
    book.replace(peers(2), "", nobody, 0);
    assert_eq!(book.replace(peers(1), "made", nobody, 1).left.len(), 1);
    assert_eq!(book.replace(Vec::new(), "other", nobody, 2).held.len(), 1);
}

#[test]
fn gone_and_put_in_one_batch_end_as_the_last_says() {
    let mut book = filled(1);
    let there = peers(1)[0].clone();
    assert!(book.apply(&[Change::Gone(there.subnets), Change::Put(there.clone())], nobody, 0).is_empty());
    assert_eq!(book.apply(&[Change::Put(there.clone()), Change::Gone(there.subnets)], nobody, 0).left, [there]);
}

fn some_leases() -> impl Strategy<Value = Vec<Lease>> {
    proptest::collection::btree_map(0u8..40, 0u8..4, 0..40)
        .prop_map(|map| map.into_iter().map(|(i, node)| lease(&format!("n{i}-{node}"), &format!("10.3.{i}.0/24"), "192.0.2.1")).collect())
}

proptest! {
    #[test]
    fn after_a_snapshot_and_its_holds_the_book_is_the_snapshot(first in some_leases(), second in some_leases()) {
        let mut book = Book::default();
        book.replace(first, "s", nobody, 0);
        book.replace(second.clone(), "s", nobody, 1);
        book.end_holds(1 + HOLD_MS);
        prop_assert_eq!(book.leases().map(|lease| Lease::clone(lease)).collect::<Vec<_>>(), second);
    }

    #[test]
    fn a_snapshot_and_the_changes_that_lead_to_it_agree(first in some_leases(), second in some_leases()) {
        let mut by_snapshot = Book::default();
        by_snapshot.replace(first.clone(), "s", nobody, 0);
        let mut by_changes = by_snapshot.clone();
        let gone = first.iter().filter(|old| second.iter().all(|new| new.subnets != old.subnets)).map(|old| Change::Gone(old.subnets));
        let changes: Vec<Change> = gone.chain(second.iter().cloned().map(Change::Put)).collect();
        prop_assert_eq!(by_snapshot.replace(second, "s", nobody, 1), by_changes.apply(&changes, nobody, 1));
        prop_assert_eq!(by_snapshot.leases().collect::<Vec<_>>(), by_changes.leases().collect::<Vec<_>>());
    }
}
