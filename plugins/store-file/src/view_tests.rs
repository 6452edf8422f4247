use super::*;
use crate::memory::{Memory, claimed, lease, v4};
use crate::name::IDENTITY;
use crate::own;
use proptest::prelude::*;
use std::collections::BTreeMap;
use twill_guest::store::{Lease, Lifetime, Prefixes};

const X: &str = "10.1.1.0/24";
const FILE: &str = "10.1.1.0-24.lease";

/// The changes since `cursor`, which is moved on.
fn next(dir: &Memory, cursor: &mut String, wait_ms: u32) -> Vec<Change> {
    let changes = watch(dir, cursor, wait_ms).expect("watched");
    *cursor = changes.cursor;
    changes.changes
}

fn oddity(place: &str, reason: &str) -> Oddity {
    Oddity { place: place.into(), reason: reason.into() }
}

#[test]
fn an_empty_directory_is_an_empty_store_that_reading_leaves_empty() {
    let dir = Memory::default();
    let first = read(&dir).expect("readable");
    assert_eq!((first.config, first.leases, first.oddities, first.identity.as_str()), (None, vec![], vec![], ""));
    watch(&dir, &first.cursor, 0).expect("watched");
    assert_eq!(dir.text(IDENTITY), None, "it may be a share's mount point");
}

#[test]
fn whoever_writes_first_makes_the_identity_and_watchers_stay() {
    let writes: [fn(&Memory); 2] = [|dir| drop(claimed(dir, "a", &[X])), |dir| write_config(dir, "a", "{}", None).expect("none yet")];
    for write in writes {
        let dir = Memory::default();
        let mut cursor = read(&dir).expect("readable").cursor;
        write(&dir);
        assert_eq!(next(&dir, &mut cursor, 0).len(), 1, "no place is lost");
        let identity = read(&dir).expect("readable").identity;
        assert_eq!(identity, r#"{"made":0,"by":"a"}"#);
        claimed(&dir, "bb", &["10.1.2.0/24"]).expect("free");
        assert_eq!(read(&dir).expect("readable").identity, identity);
    }
}

#[test]
fn one_file_that_cannot_be_read_is_odd_and_spoils_nothing_else() {
    let dir = Memory::default();
    claimed(&dir, "a", &[X]).expect("free");
    dir.drop_in(CONFIG, b"{}");
    let cursor = read(&dir).expect("readable").cursor;
    for failure in [Failure::Broken("not a plain file".into()), Failure::Denied("permission denied".into())] {
        for name in [CONFIG, "10.1.9.0-24.lease", IDENTITY] {
            let dir = dir.copied();
            dir.drop_in(name, b"");
            dir.spoil(name, failure.clone());
            let snapshot = read(&dir).expect("the rest is readable");
            assert_eq!(snapshot.leases, [lease("a", X)]);
            assert_eq!(snapshot.config.is_none(), name == CONFIG);
            assert!(snapshot.oddities.len() == 1 && snapshot.oddities[0].place == name, "{:?}", snapshot.oddities);
            assert!(snapshot.oddities[0].reason.starts_with("not readable: "), "{:?}", snapshot.oddities);
            if name != IDENTITY {
                let mut cursor = cursor.clone();
                let changes = next(&dir, &mut cursor, 0);
                assert!(matches!(&changes[..], [Change::Oddity(odd)] if odd.place == name), "{changes:?}");
                assert_eq!(next(&dir, &mut cursor, 0), [], "it is told once");
            }
        }
    }
}

#[test]
fn what_does_not_belong_is_named_and_the_rest_is_read() {
    let dir = Memory::default();
    claimed(&dir, "a", &[X]).expect("free");
    dir.drop_in("config.json", b" {\"Network\": \"10.1.0.0/16\"}\n");
    dir.drop_in("10.1.9.0-24.lease", b"{\"version\":1,\"node\":\"hal");
    dir.drop_in("10.1.8.0-24.lease", dir.text(FILE).expect("there").as_bytes());
    dir.drop_in("notes.txt", b"");
    dir.drop_in("config.json~", b"");
    let snapshot = read(&dir).expect("readable");
    assert_eq!(snapshot.config.as_deref(), Some(" {\"Network\": \"10.1.0.0/16\"}\n"));
    assert_eq!(snapshot.leases, [lease("a", X)]);
    let places: Vec<&str> = snapshot.oddities.iter().map(|oddity| oddity.place.as_str()).collect();
    assert_eq!(places, ["10.1.8.0-24.lease", "10.1.9.0-24.lease", "notes.txt"]);
    assert!(snapshot.oddities[0].reason.contains("not those of the file's name"));
    assert!(snapshot.oddities[1].reason.starts_with("not a lease: "), "{:?}", snapshot.oddities[1]);
    assert_eq!(snapshot.oddities[2], oddity("notes.txt", "neither the config nor a lease"));
}

#[test]
fn unknown_fields_are_passed_over_and_unknown_versions_are_not_guessed_at() {
    let dir = Memory::default();
    claimed(&dir, "a", &[X]).expect("free");
    let text = dir.text(FILE).expect("there");
    dir.drop_in(FILE, text.replacen('{', r#"{"colour":"blue","#, 1).as_bytes());
    assert_eq!(read(&dir).expect("readable").leases.len(), 1);
    dir.drop_in(FILE, text.replacen(r#""version": 1"#, r#""version": 2"#, 1).as_bytes());
    assert!(read(&dir).expect("readable").oddities[0].reason.contains("format 2"));
}

#[test]
fn a_directory_that_cannot_be_read_is_never_an_empty_answer() {
    let dir = Memory::default();
    claimed(&dir, "a", &[X]).expect("free");
    let cursor = read(&dir).expect("readable").cursor;
    for failure in [Failure::Denied("permission denied".into()), Failure::Missing, Failure::Broken("stale file handle".into())] {
        *dir.broken.borrow_mut() = Some(failure);
        assert!(matches!(read(&dir), Err(Trouble::Retry(_))));
        assert!(matches!(watch(&dir, &cursor, 0), Err(Trouble::Retry(_))));
    }
}

#[test]
fn each_change_is_told_once() {
    let dir = Memory::default();
    let mut cursor = read(&dir).expect("readable").cursor;
    assert_eq!(next(&dir, &mut cursor, 0), []);
    let held = claimed(&dir, "a", &[X]).expect("free");
    assert_eq!(next(&dir, &mut cursor, 0), [Change::Put(lease("a", X))]);
    own::publish(&dir, &held).expect("mine");
    assert_eq!(next(&dir, &mut cursor, 0), [Change::Put(lease("a", X))], "a renewal is told");
    dir.drop_in("config.json", b"{}");
    dir.delete(FILE);
    assert_eq!(next(&dir, &mut cursor, 0), [Change::Config(Some("{}".into())), Change::Gone(v4(X))]);
    dir.delete("config.json");
    assert_eq!(next(&dir, &mut cursor, 0), [Change::Config(None)]);
    dir.drop_in("notes.txt", b"");
    assert_eq!(next(&dir, &mut cursor, 0), [Change::Oddity(oddity("notes.txt", "neither the config nor a lease"))]);
    dir.delete("notes.txt");
    assert_eq!(next(&dir, &mut cursor, 0), []);
}

#[test]
fn a_watch_returns_at_the_change_and_not_before() {
    let dir = Memory::default();
    let mut cursor = read(&dir).expect("readable").cursor;
    dir.happenings.borrow_mut().push_back(Box::new(|dir| dir.pass(300)));
    dir.happenings.borrow_mut().push_back(Box::new(|dir| {
        dir.pass(200);
        claimed(dir, "a", &[X]).expect("free");
    }));
    assert_eq!(next(&dir, &mut cursor, 1000), [Change::Put(lease("a", X))]);
    assert_eq!(*dir.waits.borrow(), [1000, 700]);
    dir.waits.borrow_mut().clear();
    assert_eq!(next(&dir, &mut cursor, 1000), []);
    assert_eq!(*dir.waits.borrow(), [1000]);
}

#[test]
fn the_end_of_a_lease_is_told_when_it_comes_and_its_return_too() {
    let dir = Memory::default();
    let held = claimed(&dir, "a", &[X]).expect("free");
    dir.pass(59_000);
    let mut cursor = read(&dir).expect("readable").cursor;
    assert_eq!(next(&dir, &mut cursor, 30_000), [Change::Gone(v4(X))]);
    assert_eq!(*dir.waits.borrow(), [1000]);
    assert_eq!(next(&dir, &mut cursor, 0), [], "it is told once");
    assert_eq!(read(&dir).expect("readable").leases, []);
    own::publish(&dir, &held).expect("mine still");
    assert_eq!(next(&dir, &mut cursor, 0), [Change::Put(lease("a", X))]);
}

#[test]
fn a_lease_overwritten_by_rubbish_counts_until_its_term_is_over() {
    let dir = Memory::default();
    claimed(&dir, "a", &[X]).expect("free");
    let mut cursor = read(&dir).expect("readable").cursor;
    dir.drop_in(FILE, b"");
    assert!(matches!(next(&dir, &mut cursor, 0)[..], [Change::Oddity(_)]));
    dir.pass(59_000);
    assert_eq!(next(&dir, &mut cursor, 0), []);
    dir.pass(1_000);
    assert_eq!(next(&dir, &mut cursor, 0), [Change::Gone(v4(X))]);
    assert_eq!(next(&dir, &mut cursor, 0), []);
}

#[test]
fn a_directory_made_anew_is_another_store() {
    let dir = Memory::default();
    claimed(&dir, "a", &[X]).expect("free");
    let cursor = read(&dir).expect("readable").cursor;
    dir.delete(IDENTITY);
    assert!(matches!(watch(&dir, &cursor, 0), Err(Trouble::LostCursor(_))));
    identity::make(&dir, "bb").expect("made");
    assert!(matches!(watch(&dir, &cursor, 0), Err(Trouble::LostCursor(_))));
    assert!(matches!(watch(&dir, "x", 0), Err(Trouble::LostCursor(_))));
}

#[test]
fn the_config_is_written_only_over_the_text_it_was_made_from() {
    let dir = Memory::default();
    let conflicts = |outcome| assert!(matches!(outcome, Err(Trouble::Conflict(_))));
    conflicts(write_config(&dir, "a", "2", Some("1")));
    write_config(&dir, "a", "1", None).expect("there was none");
    conflicts(write_config(&dir, "a", "2", None));
    conflicts(write_config(&dir, "a", "2", Some("1 ")));
    write_config(&dir, "a", "2", Some("1")).expect("unchanged since");
    assert_eq!(dir.text(CONFIG).as_deref(), Some("2"));
}

#[derive(Debug, Clone)]
enum Happens {
    Claims(u8, u8),
    Breaks(u8),
    Vanishes(u8),
    Passes(u32),
    Configures(String),
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        4 => (0..4u8, 0..4u8).prop_map(|(node, net)| Happens::Claims(node, net)),
        1 => (0..4u8).prop_map(Happens::Breaks),
        1 => (0..4u8).prop_map(Happens::Vanishes),
        3 => (0..90_000u32).prop_map(Happens::Passes),
        1 => "[a-z]{0,3}".prop_map(Happens::Configures),
    ]
}

fn happen(dir: &Memory, what: &Happens) {
    let file = |net: &u8| format!("10.1.{net}.0-24.lease");
    match what {
        Happens::Claims(node, net) => drop(claimed(dir, &"n".repeat(1 + usize::from(*node)), &[&format!("10.1.{net}.0/24")])),
        Happens::Breaks(net) => drop(dir.drop_in(&file(net), b"rubbish")),
        Happens::Vanishes(net) => dir.delete(&file(net)),
        Happens::Passes(milliseconds) => dir.pass((*milliseconds).into()),
        Happens::Configures(text) => drop(dir.drop_in(CONFIG, text.as_bytes())),
    }
}

fn timeless(lease: Lease) -> (Option<String>, Lease) {
    (lease.subnets.v4.clone(), Lease { life: Lifetime::Unknown, ..lease })
}

proptest! {
    /// Whoever applies all changes knows what `read` would say; a lease whose file was spoilt under it may stay longer.
    #[test]
    fn changes_applied_are_what_a_reading_shows(batches in prop::collection::vec(prop::collection::vec(happens(), 0..6), 0..8)) {
        let dir = Memory::default();
        let mut cursor = read(&dir).expect("readable").cursor;
        let (mut config, mut leases) = (None, BTreeMap::new());
        for batch in &batches {
            batch.iter().for_each(|what| happen(&dir, what));
            for change in next(&dir, &mut cursor, 0) {
                match change {
                    Change::Config(text) => config = text,
                    Change::Put(lease) => leases.extend([timeless(lease)]),
                    Change::Gone(subnets) => prop_assert!(leases.remove(&subnets.v4).is_some(), "{subnets:?} was never there"),
                    Change::Oddity(_) => {}
                }
            }
            let shown = read(&dir).expect("readable");
            let odd = |subnets: &Prefixes| {
                let name = file_name(&Subnets::parse(subnets).expect("subnets"));
                shown.oddities.iter().any(|oddity| oddity.place == name)
            };
            let applied: BTreeMap<_, _> = leases.clone().into_iter().filter(|(_, lease)| !odd(&lease.subnets)).collect();
            prop_assert_eq!(&config, &shown.config);
            prop_assert_eq!(applied, shown.leases.into_iter().map(timeless).collect());
        }
    }
}
