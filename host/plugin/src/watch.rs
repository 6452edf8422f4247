//! Waits until something in the plugin folders may have changed.
//!
//! The kernel tells (inotify) of the folders, and of the nearest folder above one that is missing. What it tells is waited out until it has been quiet for a
//! while, so that a file is looked at when its copying is most likely done. Every ten seconds count as a change too: a network file system tells nothing of other
//! machines, and looking costs a `stat` a file.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use inotify::{EventMask, Inotify, WatchMask};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// Quiet time after the last event.
const QUIET: Duration = Duration::from_millis(200);
/// Somebody who writes without end holds up the others no longer than this.
const LONGEST: Duration = Duration::from_secs(3);
/// How often it is looked without having been told.
const PERIOD: Duration = Duration::from_secs(10);

/// Looks at the plugin folders.
pub(crate) struct Watch {
    folders: Vec<PathBuf>,
    told: Option<Told>,
}

/// What the kernel was asked to tell of.
struct Told {
    inotify: AsyncFd<Inotify>,
    places: Vec<Place>,
}

/// A folder that is there: path, device and inode.
type Place = (PathBuf, u64, u64);

/// What the kernel told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// Nothing that matters.
    Nothing,
    /// A plugin file.
    Plugin,
    /// A folder came or went, or events were lost.
    Folder,
}

impl Watch {
    pub(crate) fn new(folders: Vec<PathBuf>) -> Watch {
        let told =
            Told::ask(&folders).inspect_err(|error| tracing::warn!(cause = %error, "plugin folders are looked at every ten seconds only"));
        Watch { folders, told: told.ok() }
    }

    /// Returns when something may have changed. What changes between two calls is not missed. Cancel-safe.
    pub(crate) async fn changed(&mut self) {
        let period = Instant::now() + PERIOD;
        loop {
            let Some(told) = &mut self.told else {
                sleep(PERIOD).await;
                self.told = Told::ask(&self.folders).ok();
                return;
            };
            match timeout_at(period, told.next()).await {
                Ok(Ok(Seen::Nothing)) if !told.is_stale(&self.folders) => {}
                Ok(Ok(Seen::Plugin)) => return self.settle().await,
                Ok(_) => {
                    self.told = Told::ask(&self.folders).ok();
                    return self.settle().await;
                }
                Err(_) => {
                    if told.is_stale(&self.folders) {
                        self.told = Told::ask(&self.folders).ok();
                    }
                    return;
                }
            }
        }
    }

    /// Waits until nothing was told for a while.
    async fn settle(&mut self) {
        let end = Instant::now() + LONGEST;
        while let Some(told) = &mut self.told
            && Instant::now() < end
        {
            match timeout(QUIET, told.next()).await {
                Ok(Ok(Seen::Nothing | Seen::Plugin)) => {}
                Ok(_) => self.told = Told::ask(&self.folders).ok(),
                Err(_) => return,
            }
        }
    }
}

impl Told {
    fn ask(folders: &[PathBuf]) -> io::Result<Told> {
        let inotify = Inotify::init()?;
        let entries = WatchMask::CREATE | WatchMask::MODIFY | WatchMask::CLOSE_WRITE | WatchMask::ATTRIB;
        let moves = WatchMask::MOVED_TO | WatchMask::MOVED_FROM | WatchMask::DELETE | WatchMask::DELETE_SELF | WatchMask::MOVE_SELF;
        let mut places = places(folders);
        loop {
            for (path, ..) in &places {
                inotify.watches().add(path, entries | moves | WatchMask::ONLYDIR)?;
            }
            // A folder that came while its watch was being set is seen now.
            let now = self::places(folders);
            if now == places {
                break;
            }
            places = now;
        }
        // SAFETY: the file descriptor must be open and the same for as long as it is registered.
        // - `Inotify` owns it and answers `as_raw_fd` with it always.
        // - It closes it when it is dropped or by `close`, which takes it by value; neither happens while the `AsyncFd` holds it.
        let inotify = unsafe { AsyncFd::register_with_interest(inotify, Interest::READABLE) }?;
        Ok(Told { inotify, places })
    }

    /// True when other folders are to be looked at than those that the kernel tells of.
    fn is_stale(&self, folders: &[PathBuf]) -> bool {
        places(folders) != self.places
    }

    async fn next(&mut self) -> io::Result<Seen> {
        loop {
            let mut ready = self.inotify.readable_mut().await?;
            if let Ok(seen) = ready.try_io(|inotify| drain(inotify.get_mut())) {
                return seen;
            }
        }
    }
}

/// Reads all events that are there.
fn drain(inotify: &mut Inotify) -> io::Result<Seen> {
    let mut buffer = [0u8; 4096];
    let mut seen = None;
    loop {
        match inotify.read_events(&mut buffer) {
            Ok(events) => {
                for event in events {
                    let folder =
                        EventMask::IGNORED | EventMask::DELETE_SELF | EventMask::MOVE_SELF | EventMask::Q_OVERFLOW | EventMask::UNMOUNT;
                    let plugin =
                        event.name.is_some_and(|name| Path::new(name).extension().is_some_and(|end| end == "wasm" || end == "minisig"));
                    let now = if event.mask.intersects(folder) {
                        Seen::Folder
                    } else if plugin {
                        Seen::Plugin
                    } else {
                        Seen::Nothing
                    };
                    let weight = |seen: Seen| seen as u8;
                    seen = seen.filter(|before| weight(*before) >= weight(now)).or(Some(now));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return seen.ok_or(error),
            Err(error) => return Err(error),
        }
    }
}

/// The folders that are there, and for each that is missing the nearest one above it.
fn places(folders: &[PathBuf]) -> Vec<Place> {
    let mut places: Vec<Place> = folders.iter().filter_map(|folder| folder.ancestors().find_map(place)).collect();
    places.sort();
    places.dedup();
    places
}

fn place(path: &Path) -> Option<Place> {
    let meta = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_dir)?;
    Some((path.to_owned(), meta.dev(), meta.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long `watch` takes to see what `act` does; none when it does not before the period is over.
    async fn seen(watch: &mut Watch, act: impl FnOnce()) -> Option<Duration> {
        act();
        let started = Instant::now();
        timeout(PERIOD / 2, watch.changed()).await.ok().map(|()| started.elapsed())
    }

    fn write(path: PathBuf) {
        std::fs::write(path, b"x").expect("written");
    }

    #[tokio::test]
    async fn a_file_is_seen_once_it_is_quiet() {
        let home = tempfile::tempdir().expect("a folder");
        let mut watch = Watch::new(vec![home.path().to_owned()]);
        let took = seen(&mut watch, || write(home.path().join("a.wasm"))).await.expect("seen");
        assert!(took >= QUIET, "{took:?}");
        assert!(seen(&mut watch, || write(home.path().join("a.wasm.minisig"))).await.is_some(), "a signature");
        assert!(seen(&mut watch, || std::fs::remove_file(home.path().join("a.wasm")).expect("removed")).await.is_some());
    }

    #[tokio::test]
    async fn other_files_are_no_reason_to_look() {
        let home = tempfile::tempdir().expect("a folder");
        let mut watch = Watch::new(vec![home.path().to_owned()]);
        write(home.path().join("notes.txt"));
        assert!(timeout(QUIET * 3, watch.changed()).await.is_err());
    }

    #[tokio::test]
    async fn a_folder_that_appears_later_is_seen_with_what_is_in_it() {
        let home = tempfile::tempdir().expect("a folder");
        let folder = home.path().join("etc/twill/plugins");
        let mut watch = Watch::new(vec![folder.clone()]);
        assert!(seen(&mut watch, || std::fs::create_dir_all(&folder).expect("made")).await.is_some());
        assert!(seen(&mut watch, || write(folder.join("a.wasm"))).await.is_some());
        assert!(seen(&mut watch, || std::fs::rename(&folder, home.path().join("old")).expect("moved")).await.is_some());
        assert!(seen(&mut watch, || std::fs::create_dir_all(&folder).expect("made again")).await.is_some());
        assert!(seen(&mut watch, || write(folder.join("b.wasm"))).await.is_some());
    }

    #[tokio::test]
    async fn a_slow_copy_is_waited_out() {
        let home = tempfile::tempdir().expect("a folder");
        let mut watch = Watch::new(vec![home.path().to_owned()]);
        let path = home.path().join("a.wasm");
        let copying = tokio::spawn(async move {
            use std::io::Write;
            let mut file = std::fs::File::create(path).expect("made");
            for _ in 0..10 {
                file.write_all(b"part").expect("written");
                sleep(QUIET / 4).await;
            }
            Instant::now()
        });
        watch.changed().await;
        let done = copying.await.expect("copied");
        assert!(Instant::now() >= done + QUIET / 2, "looked at amid the copying");
    }
}
