//! Answers over a node with one peer and a short past.

use twill_model::event::Told;
use twill_model::status::{ItemStatus, PathStatus};
use twill_model::{Addresses, Lifetime, Prefixes};

use super::*;

const PEER: &str = "10.1.2.0/24";

fn lease(subnet: &str, public: &str, own: bool) -> LeaseStatus {
    LeaseStatus {
        subnets: Prefixes { v4: subnet.parse().ok(), v6: None },
        public: Addresses { v4: public.parse().ok(), v6: None },
        node: Some(format!("{}beef", subnet.replace(['.', '/'], ""))),
        ways: Vec::new(),
        way: Some("udp".into()),
        reason: None,
        own,
        life: Lifetime::Seconds(60),
        seen_ms: 0,
    }
}

fn node() -> Snapshot {
    let mut snapshot = Snapshot {
        leases: vec![lease("10.1.1.0/24", "192.0.2.1", true), lease(PEER, "192.0.2.2", false), lease("10.1.3.0/24", "192.0.2.22", false)],
        ..Snapshot::default()
    };
    snapshot.node.hostname = "a".into();
    snapshot.paths =
        vec![PathStatus { subnets: snapshot.leases[1].subnets, state: PathState::Moved, way: Some("udp".into()), ..PathStatus::default() }];
    snapshot
}

fn down(snapshot: &mut Snapshot, leg: &str) {
    snapshot.paths[0].state = PathState::Down;
    snapshot.paths[0].leg = Some(leg.into());
}

fn past() -> Vec<Event> {
    let told = [
        (1_000, Weight::Info, Told::new(Kind::Daemon, "twill started")),
        (2_000, Weight::Info, Told::new(Kind::Joined, "node b joined").about(PEER)),
        (3_000, Weight::Info, Told::new(Kind::Path, "reached by udp").about(PEER).because("udp")),
        (4_000, Weight::Warn, Told::new(Kind::Store, "the store does not answer").about("store")),
        (5_000, Weight::Warn, Told::new(Kind::Repair, "route 10.1.3.0/24 dev flannel0: gone").about("route 10.1.3.0/24 dev flannel0")),
        (6_000, Weight::Warn, Told::new(Kind::Contested, "route 10.1.2.0/24 is left alone").about("route 10.1.2.0/24 dev flannel0")),
        (7_000, Weight::Info, Told::new(Kind::Store, "the store answers again").about("store")),
        (8_000, Weight::Warn, Told::new(Kind::Path, "not reached").about(PEER).because("from here to the peer by udp")),
        (9_000, Weight::Warn, Told::new(Kind::Path, "not reached, and tried on").about(PEER).because("from here to the peer by udp")),
        (9_500, Weight::Warn, Told::new(Kind::Drops, "flannel0: 3 packets dropped").about("flannel0")),
    ];
    told.into_iter().enumerate().map(|(n, (at, weight, told))| told.event(n as u64 + 1, at, weight, "reconcile")).collect()
}

#[test]
fn a_path_that_works_does_so_since_it_was_proved() {
    let answer = why(&node(), &past()[..4], "a", "10.1.2.7", None, 20_000).expect("an answer");
    assert_eq!((answer.reaches, answer.since_ms), (Some(true), Some(3_000)));
    assert_eq!(answer.before.as_ref().and_then(|event| event.kind), Some(Kind::Joined));
    assert!(
        answer.faults.is_empty() && answer.words().starts_with("10.1.1.0/24 reaches 10.1.2.0/24 at 1970-01-01T00:00:20.000Z: udp\n"),
        "{}",
        answer.words()
    );
}

#[test]
fn a_broken_path_is_told_with_its_first_moment_and_what_concerns_the_peer_before_it() {
    let mut snapshot = node();
    down(&mut snapshot, "from here to the peer by udp");
    let answer = why(&snapshot, &past(), "here", PEER, None, 20_000).expect("an answer");
    assert_eq!((answer.reaches, answer.since_ms), (Some(false), Some(8_000)));
    assert_eq!(answer.before.as_ref().map(|event| event.id), Some(6), "not the store's return, which is nearer");
    assert!(answer.faults.iter().any(|fault| fault.contains("from here to the peer by udp")), "{:?}", answer.faults);
}

#[test]
fn what_was_then_is_told_by_the_events_of_then() {
    let mut snapshot = node();
    down(&mut snapshot, "x");
    let then = |at| why(&snapshot, &past(), "here", PEER, Some(at), 20_000).expect("an answer");
    assert_eq!((then(3_500).reaches, then(3_500).since_ms), (Some(true), Some(3_000)));
    assert_eq!((then(8_500).reaches, then(8_500).since_ms), (Some(false), Some(8_000)));
    assert_eq!((then(1_500).reaches, then(1_500).since_ms), (None, None));
    assert!(then(8_500).faults.is_empty(), "what is wrong now is of no use for then");
}

#[test]
fn without_an_event_of_its_own_what_all_peers_have_in_common_is_told() {
    let told = [
        (1_000, Weight::Info, Told::new(Kind::Path, "9 peers are reached")),
        (2_000, Weight::Warn, Told::new(Kind::Underlay, "the underlay eth0 changed").about("eth0")),
        (3_000, Weight::Warn, Told::new(Kind::Path, "9 peers are not reached")),
    ];
    let past: Vec<Event> = told.into_iter().enumerate().map(|(n, (at, weight, told))| told.event(n as u64 + 1, at, weight, "x")).collect();
    let answer = why(&node(), &past, "here", PEER, Some(4_000), 20_000).expect("an answer");
    assert_eq!((answer.reaches, answer.since_ms), (Some(false), Some(3_000)));
    assert_eq!(answer.before.and_then(|event| event.kind), Some(Kind::Underlay));
}

#[test]
fn items_that_are_amiss_are_faults_if_they_are_the_peers_or_everybodys() {
    let mut snapshot = node();
    let item = |what: &str, lease: Option<usize>| ItemStatus {
        kind: "route".into(),
        what: what.into(),
        desired: None,
        observed: Some(format!("{what} dev eth0")),
        standing: Standing::Missing,
        backend: "udp".into(),
        lease: lease.map(|n| snapshot.leases[n].subnets),
        reason: None,
    };
    snapshot.state = vec![item("10.1.2.0/24", Some(1)), item("10.1.3.0/24", Some(2)), item("10.1.0.0/16", None)].into();
    let faults = why(&snapshot, &[], "here", PEER, None, 1).expect("an answer").faults;
    assert_eq!(
        faults,
        [
            "route 10.1.2.0/24 is missing: there is 10.1.2.0/24 dev eth0 in its place",
            "route 10.1.0.0/16 is missing: there is 10.1.0.0/16 dev eth0 in its place"
        ]
    );
}

#[test]
fn nodes_are_found_by_what_people_call_them() {
    let snapshot = node();
    for name in ["here", "a", "10.1.1.0/24", "10.1.1.250", "192.0.2.1", "1011024beef", "10110"] {
        assert!(find(&snapshot, name).expect(name).own, "{name}");
    }
    for (a, b, words) in [
        ("here", "b", "no node is called \"b\""),
        ("here", "a", "both are this node"),
        (PEER, "10.1.3.0/24", "neither"),
        ("101", PEER, "no node"),
        ("1010", PEER, "no node"),
    ] {
        let error = why(&snapshot, &[], a, b, None, 1).expect_err(a);
        assert!(error.contains(words), "{a} {b}: {error}");
    }
    let back = why(&snapshot, &[], PEER, "here", None, 1).expect("an answer");
    assert!(back.note.is_some_and(|note| note.contains("ask on it")));
}

#[test]
fn a_name_is_found_as_a_word_only() {
    assert!(
        names_it("node x at 192.0.2.2 left: 10.1.2.0/24", "192.0.2.2")
            && names_it("192.0.2.2:8285", "192.0.2.2")
            && names_it("at 192.0.2.2.", "192.0.2.2")
    );
    assert!(!names_it("192.0.2.22", "192.0.2.2") && !names_it("1192.0.2.2", "192.0.2.2") && !names_it("192.0.2.2.7", "192.0.2.2"));
    assert!(names_it("fd00::1", "fd00::1") && !names_it("fd00::1:2", "fd00::1"));
}
