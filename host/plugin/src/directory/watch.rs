//! Waits until something in the directory may have changed.
//!
//! On local file systems the kernel tells (inotify); its watch stays between calls, so nothing that happens between two waits is missed,
//! and the first wait answers at once. On
//! network file systems other machines write unseen: there every two seconds count as a change. A directory that is missing is looked
//! for ten times a second.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use inotify::{EventMask, Inotify, WatchMask};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::age::on_network;

/// How often a network file system counts as changed, and a local one is checked for having been replaced or mounted over.
const PERIOD: Duration = Duration::from_secs(2);
/// How often a missing directory is looked for.
const SEARCH: Duration = Duration::from_millis(100);

/// Waits for changes of one directory.
pub(super) struct Watch {
    path: PathBuf,
    eye: Eye,
}

/// What is being looked at.
enum Eye {
    /// Nothing yet, or the directory went away.
    Shut,
    /// A local directory (device and inode), and the kernel's telling.
    Told(u64, u64, AsyncFd<Inotify>),
    /// A network file system: nothing tells.
    Blind,
}

impl Watch {
    pub(super) fn new(path: PathBuf) -> Watch {
        Watch { path, eye: Eye::Shut }
    }

    /// True as soon as something may have changed, false after `most`.
    pub(super) async fn changed(&mut self, most: Duration) -> bool {
        let end = Instant::now() + most;
        loop {
            let slice = end.min(Instant::now() + PERIOD);
            let changed = match &mut self.eye {
                Eye::Shut => self.search(end).await,
                Eye::Told(..) => self.told(slice).await,
                Eye::Blind => {
                    self.eye = Eye::Shut;
                    sleep_until(slice).await;
                    slice < end || most >= PERIOD
                }
            };
            if changed || Instant::now() >= end {
                return changed;
            }
        }
    }

    /// Looks for the directory until it is there. It may hold anything by then, so that counts as a change.
    async fn search(&mut self, end: Instant) -> bool {
        loop {
            let path = self.path.clone();
            // A file server that does not answer must not hold up a worker.
            let looked = tokio::task::spawn_blocking(move || look(&path)).await.unwrap_or_else(|ended| Err(io::Error::other(ended)));
            match looked {
                Ok(Eye::Blind) => {
                    self.eye = Eye::Blind;
                    return false;
                }
                Ok(eye) => {
                    self.eye = eye;
                    return true;
                }
                Err(_) if Instant::now() >= end => return false,
                Err(_) => sleep_until(end.min(Instant::now() + SEARCH)).await,
            }
        }
    }

    /// Waits for the kernel until `slice`. A directory that is another one by then is a change, and looked at anew.
    async fn told(&mut self, slice: Instant) -> bool {
        let Eye::Told(device, inode, told) = &mut self.eye else { return false };
        let seen = timeout_at(slice, next_change(told)).await;
        let same = std::fs::metadata(&self.path).is_ok_and(|meta| (meta.dev(), meta.ino()) == (*device, *inode));
        let intact = matches!(seen, Ok(Ok(Seen::Entry)) | Err(_));
        if !same || !intact {
            self.eye = Eye::Shut;
            return true;
        }
        seen.is_ok()
    }
}

/// What the kernel told.
enum Seen {
    /// Some entry changed.
    Entry,
    /// The directory itself went, or events were lost.
    Lost,
}

async fn next_change(told: &mut AsyncFd<Inotify>) -> io::Result<Seen> {
    loop {
        let mut ready = told.readable_mut().await?;
        match ready.try_io(|inotify| drain(inotify.get_mut())) {
            Ok(Ok(Some(seen))) => return Ok(seen),
            Ok(Err(error)) => return Err(error),
            Ok(Ok(None)) | Err(_) => {}
        }
    }
}

/// Reads all events that are there; none of them may matter, as those of temporary files do not.
fn drain(inotify: &mut Inotify) -> io::Result<Option<Seen>> {
    let mut buffer = [0u8; 4096];
    let mut seen = None;
    loop {
        match inotify.read_events(&mut buffer) {
            Ok(events) => {
                for event in events {
                    if event.mask.intersects(
                        EventMask::IGNORED | EventMask::DELETE_SELF | EventMask::MOVE_SELF | EventMask::Q_OVERFLOW | EventMask::UNMOUNT,
                    ) {
                        return Ok(Some(Seen::Lost));
                    }
                    if event.name.is_some_and(visible) {
                        seen = Some(Seen::Entry);
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && seen.is_some() => return Ok(seen),
            Err(error) => return Err(error),
        }
    }
}

fn visible(name: &OsStr) -> bool {
    !name.as_encoded_bytes().starts_with(b".")
}

fn look(path: &Path) -> io::Result<Eye> {
    let folder = std::fs::File::open(path)?;
    let meta = folder.metadata()?;
    if on_network(&OwnedFd::from(folder)) {
        return Ok(Eye::Blind);
    }
    let inotify = Inotify::init()?;
    let entries = WatchMask::CREATE | WatchMask::MOVED_TO | WatchMask::MOVED_FROM | WatchMask::DELETE | WatchMask::CLOSE_WRITE;
    inotify.watches().add(path, entries | WatchMask::DELETE_SELF | WatchMask::MOVE_SELF | WatchMask::ONLYDIR)?;
    // SAFETY: the file descriptor must be open and the same for as long as it is registered.
    // - `Inotify` owns it and answers `as_raw_fd` with it always.
    // - It closes it when it is dropped or by `close`, which takes it by value; neither happens while the `AsyncFd` holds it.
    let told = unsafe { AsyncFd::register_with_interest(inotify, Interest::READABLE) }?;
    Ok(Eye::Told(meta.dev(), meta.ino(), told))
}
