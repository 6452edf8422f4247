//! The directory's promises, on a local file system: whole writes, one winner, names, waking.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use super::disk::{Disk, well_named};
use super::watch::Watch;
use crate::wit::directory::Failure;

fn disk(folder: &Path) -> Disk {
    Disk::new(folder.to_owned())
}

#[test]
fn names_outside_the_rule_are_refused() {
    for good in ["a", "10.1.2.0-24", "node:1&2_x", &"n".repeat(200)] {
        assert!(well_named(good).is_ok(), "{good} was refused");
    }
    for bad in ["", ".", "..", ".lock", "a/b", "/etc/passwd", "a b", "a\0", "ä", &"n".repeat(201)] {
        assert!(matches!(well_named(bad), Err(Failure::Denied(_))), "{bad:?} was taken");
    }
}

#[test]
fn what_is_written_is_read_and_listed() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = disk(folder.path());
    let made = disk.create("a", b"one").expect("created");
    let (content, read) = disk.read("a").expect("read");
    assert_eq!((content.as_slice(), &read.version), (&b"one"[..], &made.version));
    let replaced = disk.replace("a", b"two", &made.version).expect("replaced");
    assert_ne!(replaced.version, made.version);
    let listing = disk.listing().expect("listed");
    assert_eq!((listing.len(), &listing[0].version), (1, &replaced.version));
    assert!(listing[0].age_ms < 60_000);
    disk.remove("a", &replaced.version).expect("removed");
    assert!(matches!(disk.read("a"), Err(Failure::Missing)));
    let left: Vec<_> = std::fs::read_dir(folder.path()).expect("listed").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, [".lock"], "something was left behind");
}

#[test]
fn writes_are_conditional() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = disk(folder.path());
    let first = disk.create("a", b"one").expect("created");
    assert!(matches!(disk.create("a", b"other"), Err(Failure::Exists)));
    disk.replace("a", b"two", &first.version).expect("replaced");
    assert!(matches!(disk.replace("a", b"three", &first.version), Err(Failure::Changed)));
    assert!(matches!(disk.remove("a", &first.version), Err(Failure::Changed)));
    assert!(matches!(disk.replace("b", b"x", &first.version), Err(Failure::Missing)));
    assert_eq!(disk.read("a").expect("read").0, b"two");
}

#[test]
fn nobody_else_may_open_the_lock_also_where_it_was_made_open() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let lock = folder.path().join(".lock");
    let mode = || std::fs::metadata(&lock).expect("it is there").permissions().mode() & 0o777;
    let disk = disk(folder.path());
    let first = disk.create("a", b"one").expect("created");
    let second = disk.replace("a", b"two", &first.version).expect("replaced");
    assert_eq!(mode(), 0o600);
    std::fs::set_permissions(&lock, std::fs::Permissions::from_mode(0o644)).expect("changed");
    disk.replace("a", b"three", &second.version).expect("replaced");
    assert_eq!(mode(), 0o600);
}

#[test]
fn versions_differ_however_fast_writes_follow() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = disk(folder.path());
    let mut versions = vec![disk.create("a", b"same").expect("created").version];
    for _ in 0..200 {
        let last = versions.last().expect("one").clone();
        versions.push(disk.replace("a", b"same", &last).expect("replaced").version);
    }
    versions.sort();
    versions.dedup();
    assert_eq!(versions.len(), 201);
}

#[test]
fn of_many_writers_one_wins() {
    let folder = tempfile::tempdir().expect("a folder");
    let start = disk(folder.path()).create("counter", b"0").expect("created").version;
    let (writers, barrier) = (8, Barrier::new(8));
    let race = |act: &(dyn Fn(&Disk, usize) -> bool + Sync)| {
        std::thread::scope(|scope| {
            let run = |number| {
                let (disk, barrier) = (disk(folder.path()), &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    act(&disk, number)
                })
            };
            let threads: Vec<_> = (0..writers).map(run).collect();
            threads.into_iter().map(|thread| thread.join().expect("it ends")).filter(|won| *won).count()
        })
    };
    for round in 0..20 {
        assert_eq!(race(&|disk, number| disk.create(&format!("claim{round}"), number.to_string().as_bytes()).is_ok()), 1);
    }
    assert_eq!(race(&|disk, number| disk.replace("counter", number.to_string().as_bytes(), &start).is_ok()), 1);
}

#[test]
fn increments_by_many_are_all_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    disk(folder.path()).create("counter", b"0").expect("created");
    let increment = |disk: &Disk| loop {
        let (content, entry) = disk.read("counter").expect("read");
        let value: u32 = String::from_utf8(content).expect("text").parse().expect("a whole number, never half a file");
        match disk.replace("counter", (value + 1).to_string().as_bytes(), &entry.version) {
            Ok(_) => return,
            Err(Failure::Changed) => {}
            Err(other) => panic!("{other:?}"),
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..25).for_each(|_| increment(&disk(folder.path()))));
        }
    });
    assert_eq!(disk(folder.path()).read("counter").expect("read").0, b"100");
}

#[test]
fn links_pipes_and_large_files_are_broken_and_listed() {
    let folder = tempfile::tempdir().expect("a folder");
    let secret = tempfile::NamedTempFile::new().expect("a file");
    symlink(secret.path(), folder.path().join("link")).expect("linked");
    std::fs::create_dir(folder.path().join("folder")).expect("made");
    nix::unistd::mkfifo(&folder.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).expect("made");
    std::fs::write(folder.path().join("large"), vec![0u8; (1 << 20) + 1]).expect("written");
    std::fs::write(folder.path().join("odd name"), b"x").expect("written");
    let disk = disk(folder.path());
    let names: Vec<String> = disk.listing().expect("listed").into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["folder", "large", "link", "pipe"]);
    for name in names {
        assert!(matches!(disk.read(&name), Err(Failure::Broken(_))), "{name} was read");
    }
    assert!(matches!(disk.create("big", &vec![0u8; (1 << 20) + 1]), Err(Failure::Broken(_))));
}

#[test]
fn what_dead_writers_left_is_cleared_after_a_minute() {
    let folder = tempfile::tempdir().expect("a folder");
    let (old, new) = (folder.path().join(".tmp-1-old"), folder.path().join(".tmp-1-new"));
    std::fs::write(&new, b"").expect("written");
    let file = std::fs::File::create(&old).expect("made");
    file.set_modified(std::time::SystemTime::now() - Duration::from_secs(120)).expect("aged");
    assert!(disk(folder.path()).listing().expect("listed").is_empty());
    assert!(!old.exists() && new.exists());
}

#[test]
fn a_missing_directory_is_broken_and_not_empty() {
    let folder = tempfile::tempdir().expect("a folder");
    let gone = disk(&folder.path().join("gone"));
    let Err(Failure::Broken(text)) = gone.listing() else { panic!("it was listed") };
    assert!(text.ends_with("gone does not exist"), "{text}");
    assert!(matches!(gone.create("a", b""), Err(Failure::Broken(_))));
}

/// Starts waiting, does `act` once the wait is under way, and tells how long after it the wait ended.
async fn wakes(watch: &mut Watch, act: impl FnOnce()) -> Duration {
    let mut waiting = Box::pin(watch.changed(Duration::from_secs(30)));
    assert!(tokio::time::timeout(Duration::from_millis(20), &mut waiting).await.is_err(), "nothing happened yet");
    let acted = Instant::now();
    act();
    assert!(waiting.await);
    acted.elapsed()
}

#[tokio::test]
async fn a_wait_ends_with_each_kind_of_change() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = disk(folder.path());
    let mut watch = Watch::new(folder.path().to_owned());
    assert!(watch.changed(Duration::from_secs(30)).await, "the first wait cannot know");
    assert!(!watch.changed(Duration::from_millis(20)).await, "nothing changed");
    let mut version = String::new();
    let took = wakes(&mut watch, || version = disk.create("a", b"1").expect("created").version).await;
    assert!(took < Duration::from_millis(100), "{took:?}");
    let took = wakes(&mut watch, || version = disk.replace("a", b"2", &version).expect("replaced").version).await;
    assert!(took < Duration::from_millis(100), "{took:?}");
    let took = wakes(&mut watch, || disk.remove("a", &version).expect("removed")).await;
    assert!(took < Duration::from_millis(100), "{took:?}");
}

#[tokio::test]
async fn nothing_between_two_waits_is_missed() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut watch = Watch::new(folder.path().to_owned());
    watch.changed(Duration::ZERO).await;
    disk(folder.path()).create("a", b"1").expect("created");
    assert!(watch.changed(Duration::from_secs(30)).await);
}

#[tokio::test]
async fn a_directory_that_goes_and_comes_wakes_twice() {
    let parent = tempfile::tempdir().expect("a folder");
    let path = parent.path().join("data");
    let mut watch = Watch::new(path.clone());
    let took = wakes(&mut watch, || std::fs::create_dir(&path).expect("made")).await;
    assert!(took < Duration::from_millis(500), "{took:?}");
    let took = wakes(&mut watch, || std::fs::remove_dir(&path).expect("removed")).await;
    assert!(took < Duration::from_millis(100), "{took:?}");
    let took = wakes(&mut watch, || std::fs::create_dir(&path).expect("made")).await;
    assert!(took < Duration::from_millis(500), "{took:?}");
}
