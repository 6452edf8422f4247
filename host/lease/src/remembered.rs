//! What the node knew when it last ran: config, own lease and the book of leases, in `book.json` in the state directory.
//!
//! Read at start, so that a restart while the store is away goes on with what was known. It is a copy and never the truth: a missing, unreadable or foreign
//! file costs a warning and nothing else.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use twill_model::Lease;

use crate::clock::Clock;

const VERSION: u32 = 1;

/// What is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// The network config in force, verbatim.
    pub config: Option<String>,
    /// The own lease.
    pub own: Option<Lease>,
    /// When the own lease ends.
    pub own_ends: Option<End>,
    /// The store that all this comes from.
    pub identity: Option<String>,
    /// All leases, the own one too; the oldest first, since of overlapping ones the older wins.
    pub leases: Vec<Lease>,
}

/// When a lease ends, such that it can be judged by a later process: by the boot clock in the same boot, else by the wall clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// The boot that `boot_ms` belongs to.
    pub boot_id: String,
    /// Milliseconds of the boot clock; `u64::MAX` for a reservation.
    pub boot_ms: u64,
    /// The same moment in milliseconds since the Unix epoch.
    pub unix_ms: u64,
}

impl End {
    /// The end that is `boot_ms` by this boot's clock.
    pub fn at(boot_ms: u64, clock: &impl Clock) -> End {
        let left = boot_ms.saturating_sub(clock.boot_ms());
        End { boot_id: clock.boot_id(), boot_ms, unix_ms: clock.unix_ms().saturating_add(left) }
    }

    /// The end by this boot's clock. After a reboot the wall clock tells how much is left; a reservation has no end whatever the clock.
    pub fn boot_ms(&self, clock: &impl Clock) -> u64 {
        if self.boot_ms == u64::MAX || (self.boot_id == clock.boot_id() && !self.boot_id.is_empty()) {
            return self.boot_ms;
        }
        clock.boot_ms().saturating_add(self.unix_ms.saturating_sub(clock.unix_ms()))
    }
}

/// Why the file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RememberedError {
    /// The file system refused.
    #[error("cannot {act} {}: {cause}", path.display())]
    File {
        /// "read" or "write".
        act: &'static str,
        /// What file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The content is not ours, or was cut short.
    #[error("cannot use {}: {cause}; it is passed over and written anew", path.display())]
    Foreign {
        /// What file.
        path: PathBuf,
        /// Why.
        cause: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    version: u32,
    #[serde(flatten)]
    content: T,
}

/// The file in the state directory.
pub fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("book.json")
}

/// Reads what is remembered; none when there is no file yet.
///
/// # Errors
/// [`RememberedError`]; the caller warns and goes on without.
pub fn read(state_dir: &Path) -> Result<Option<Remembered>, RememberedError> {
    let path = path(state_dir);
    let text = match fs::read(&path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(RememberedError::File { act: "read", path, cause }),
        Ok(text) => text,
    };
    let foreign = |cause: String| RememberedError::Foreign { path: path.clone(), cause };
    let found: Versioned<serde_json::Value> = serde_json::from_slice(&text).map_err(|error| foreign(error.to_string()))?;
    if found.version != VERSION {
        return Err(foreign(format!("it is of version {}, and this twill writes version {VERSION}", found.version)));
    }
    serde_json::from_value(found.content).map(Some).map_err(|error| foreign(error.to_string()))
}

/// Writes it, whole or not at all; the directory is made where it is missing.
///
/// # Errors
/// [`RememberedError::File`].
pub fn write(state_dir: &Path, content: &Remembered) -> Result<(), RememberedError> {
    let path = path(state_dir);
    replace(state_dir, &path, content).map_err(|cause| RememberedError::File { act: "write", path, cause })
}

fn replace(state_dir: &Path, path: &Path, content: &Remembered) -> io::Result<()> {
    fs::create_dir_all(state_dir)?;
    let draft = path.with_extension("json.new");
    let written = write_draft(&draft, content).and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        // What is left of it is in nobody's way, and written over by the next attempt.
        let _ = fs::remove_file(&draft);
    }
    written
}

/// The draft has one name, not a random one: there is one writer a state directory, and an error must read the same each time.
fn write_draft(draft: &Path, content: &Remembered) -> io::Result<()> {
    let mut file = fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(draft)?;
    file.write_all(&serde_json::to_vec(&Versioned { version: VERSION, content })?)?;
    file.sync_all()
}

/// Writes one state directory's file from several threads such that an older content never replaces a newer one.
#[derive(Debug)]
pub struct Disk {
    state_dir: PathBuf,
    made: u64,
    written: Arc<Mutex<u64>>,
}

impl Disk {
    /// A writer for this state directory.
    pub fn new(state_dir: PathBuf) -> Disk {
        Disk { state_dir, made: 0, written: Arc::default() }
    }

    /// A write that any thread may do; one that comes too late does nothing.
    pub fn job(&mut self, content: Remembered) -> impl FnOnce() -> Result<(), RememberedError> + Send + 'static {
        self.made += 1;
        let (state_dir, number, written) = (self.state_dir.clone(), self.made, self.written.clone());
        move || {
            let mut newest = written.lock().unwrap_or_else(PoisonError::into_inner);
            if number > *newest {
                write(&state_dir, &content)?;
                *newest = number;
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestClock, lease};

    fn some() -> Remembered {
        let own = lease("me", "10.3.1.0/24", "192.0.2.1");
        Remembered {
            config: Some(r#"{"Network": "10.3.0.0/16"}"#.into()),
            own: Some(own.clone()),
            own_ends: Some(End { boot_id: "b".into(), boot_ms: 5, unix_ms: 6 }),
            identity: Some("s".into()),
            leases: vec![own, lease("you", "10.3.2.0/24", "192.0.2.2")],
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(read(dir.path()).expect("no file is no error"), None);
        write(dir.path(), &some()).expect("written");
        assert_eq!(read(dir.path()).expect("read"), Some(some()));
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 1, "nothing is left beside it");
    }

    #[test]
    fn an_older_content_never_replaces_a_newer_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut disk = Disk::new(dir.path().into());
        let older = disk.job(Remembered::default());
        let newer = disk.job(some());
        newer().expect("written");
        older().expect("passed over");
        assert_eq!(read(dir.path()).expect("read"), Some(some()));
    }

    #[test]
    fn a_foreign_or_broken_file_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().expect("a directory");
        for content in ["", "{", "[]", r#"{"version": 2}"#, r#"{"version": 1, "leases": 3}"#] {
            fs::write(path(dir.path()), content).expect("written");
            let error = read(dir.path()).expect_err(content);
            assert!(error.to_string().contains("book.json"), "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_is_judged_by_the_boot_clock_and_after_a_reboot_by_the_wall_clock() {
        let clock = TestClock::default();
        let end = End::at(clock.boot_ms() + 5000, &clock);
        assert_eq!(end.boot_ms(&clock), clock.boot_ms() + 5000);
        let rebooted = TestClock::rebooted(2000);
        assert_eq!(end.boot_ms(&rebooted), rebooted.boot_ms() + 3000);
        let later = TestClock::rebooted(9000);
        assert_eq!(end.boot_ms(&later), later.boot_ms(), "it has ended");
        assert_eq!(End::at(u64::MAX, &clock).boot_ms(&rebooted), u64::MAX);
    }
}
