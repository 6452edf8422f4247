//! One daemon an instance: a lock on a file in the run directory, held as long as [`InstanceLock`] lives, gone with the process however it dies.
//!
//! The file stays; it holds the holder's process id, for the message that the next one gets.

use std::fs::{self, File, Permissions, TryLockError};
use std::io::{self, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::words::io_words;

/// The file's mode: whoever may open it, even to read, can hold the lock for ever.
const PRIVATE: u32 = 0o600;

/// Why the instance cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another process has it.
    #[error("cannot lock {}: another twill{} runs as this instance; stop it, or name another instance", path.display(), holder(*pid))]
    Held {
        /// The lock's file.
        path: PathBuf,
        /// The other's process id, where the file tells it.
        pid: Option<u32>,
    },
    /// The file cannot be made or locked.
    #[error("cannot lock {}: {}", path.display(), io_words(cause))]
    Io {
        /// The lock's file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        cause: io::Error,
    },
}

/// The lock of an instance.
#[derive(Debug)]
pub struct InstanceLock {
    _file: File,
}

impl InstanceLock {
    /// Takes the lock `<run_dir>/lock`; makes the directory if it is missing.
    ///
    /// # Errors
    /// Another process holds it, or the file cannot be had.
    pub fn take(run_dir: &Path) -> Result<Self, LockError> {
        let path = run_dir.join("lock");
        let failed = |cause| LockError::Io { path: path.clone(), cause };
        fs::create_dir_all(run_dir).map_err(failed)?;
        let mut file = File::options().read(true).write(true).create(true).truncate(false).mode(PRIVATE).open(&path).map_err(failed)?;
        keep_private(&file).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LockError::Held { pid: pid_in(&path), path }),
            Err(TryLockError::Error(cause)) => return Err(failed(cause)),
        }
        sign(&mut file).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

/// Who holds a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// Its process id, where the file tells it.
    pub pid: Option<u32>,
}

/// Who holds the lock of the instance in `run_dir`; none when nobody does.
///
/// # Errors
/// The file is there and cannot be opened.
pub fn held_by(run_dir: &Path) -> io::Result<Option<Holder>> {
    let path = run_dir.join("lock");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(Some(Holder { pid: pid_in(&path) })),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Takes an own file from everybody else: one from before was made readable.
fn keep_private(file: &File) -> io::Result<()> {
    let found = file.metadata()?;
    if found.uid() != nix::unistd::geteuid().as_raw() || found.mode() & 0o777 == PRIVATE {
        return Ok(());
    }
    file.set_permissions(Permissions::from_mode(PRIVATE))
}

fn sign(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn pid_in(path: &Path) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn holder(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_holds_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let run_dir = directory.path().join("twill");
        let first = InstanceLock::take(&run_dir).expect("the lock");
        let words = InstanceLock::take(&run_dir).expect_err("a refusal").to_string();
        assert!(words.contains(&format!("(process {})", std::process::id())), "{words}");
        assert_eq!(held_by(&run_dir).expect("an answer"), Some(Holder { pid: Some(std::process::id()) }));
        drop(first);
        assert_eq!(held_by(&run_dir).expect("an answer"), None);
        InstanceLock::take(&run_dir).expect("it is free again");
    }

    #[test]
    fn nobody_else_may_open_it_also_where_it_was_made_open() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("lock");
        let mode = || fs::metadata(&path).expect("it is there").mode() & 0o777;
        drop(InstanceLock::take(directory.path()).expect("the lock"));
        assert_eq!(mode(), PRIVATE);
        fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("changed");
        drop(InstanceLock::take(directory.path()).expect("the lock"));
        assert_eq!(mode(), PRIVATE);
    }

    #[test]
    fn a_run_directory_that_cannot_be_is_reported() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("file");
        fs::write(&file, "").expect("a file");
        assert!(matches!(InstanceLock::take(&file), Err(LockError::Io { .. })));
    }
}
