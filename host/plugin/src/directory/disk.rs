//! Whole, synced, atomic writes to one directory, and reads that never see half a file.
//!
//! A file is written beside its place and then linked (must not exist) or renamed (must be as expected) there. Expecting and renaming
//! are one act under `flock` of `.lock`, which other
//! nodes honour, also over NFS. Symbolic links are never followed. A file's version is its inode, size and modification time, whose
//! lowest digits are random: so two writes within one
//! tick of the file system's clock differ too.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, Flock, FlockArg, OFlag, RenameFlags, open, openat, renameat, renameat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat, futimens};
use nix::sys::time::TimeSpec;
use nix::unistd::{LinkatFlags, UnlinkatFlags, geteuid, linkat, unlinkat};

use super::age::Ages;
use crate::wit::directory::{Entry, Failure};

/// Largest file that is read, in bytes.
const LARGEST: u64 = 1 << 20;
/// How long the lock is waited for; it is held for microseconds, unless its holder was stopped amid.
const LOCK_WAIT: Duration = Duration::from_secs(5);
/// Of the lock's file: whoever may open it, even to read, can hold the lock for ever.
const PRIVATE: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR);
/// Beginning of temporary names; what a writer that died left behind is removed after a while.
const TEMPORARY: &str = ".tmp-";
/// Age in milliseconds at which a temporary file has no writer any more.
const STALE_MS: u32 = 60_000;

/// One directory.
pub(super) struct Disk {
    path: PathBuf,
    ages: Ages,
}

impl Disk {
    pub(super) fn new(path: PathBuf) -> Disk {
        Disk { path, ages: Ages::default() }
    }

    /// All files with a name that the contract allows, whatever they are.
    pub(super) fn listing(&self) -> Result<Vec<Entry>, Failure> {
        let folder = self.open()?;
        let names = names(&folder).map_err(|errno| self.broken("list", errno))?;
        let now = self.ages.now(&folder);
        let mut entries = Vec::with_capacity(names.len());
        for name in names {
            // A file that went between the two calls is not there.
            let Ok(stat) = fstatat(&folder, name.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW) else { continue };
            if name.starts_with(TEMPORARY) && now.age_ms(&stat) > STALE_MS {
                let _ = unlinkat(&folder, name.as_str(), UnlinkatFlags::NoRemoveDir);
            } else if well_named(&name).is_ok() {
                entries.push(Entry { version: version(&stat), age_ms: now.age_ms(&stat), name });
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    pub(super) fn read(&self, name: &str) -> Result<(Vec<u8>, Entry), Failure> {
        well_named(name)?;
        let folder = self.open()?;
        for _ in 0..3 {
            let (content, before, after) = self.read_once(&folder, name)?;
            // A writer that is not twill may have been amid its work.
            if version(&before) == version(&after) && content.len() as i64 == after.st_size {
                return Ok((content, self.entry(&folder, name, &after)));
            }
        }
        Err(Failure::Broken(format!("{name} changes while it is read")))
    }

    pub(super) fn create(&self, name: &str, content: &[u8]) -> Result<Entry, Failure> {
        well_named(name)?;
        let folder = self.open()?;
        let file = self.temporary(&folder, content)?;
        file.place_new(name).map_err(|errno| failure("create", name, errno))?;
        self.settle(&folder, name)
    }

    pub(super) fn replace(&self, name: &str, content: &[u8], expected: &str) -> Result<Entry, Failure> {
        well_named(name)?;
        let folder = self.open()?;
        let file = self.temporary(&folder, content)?;
        let _lock = self.lock(&folder)?;
        expect(&folder, name, expected)?;
        file.place_over(name).map_err(|errno| failure("replace", name, errno))?;
        self.settle(&folder, name)
    }

    pub(super) fn remove(&self, name: &str, expected: &str) -> Result<(), Failure> {
        well_named(name)?;
        let folder = self.open()?;
        let _lock = self.lock(&folder)?;
        expect(&folder, name, expected)?;
        unlinkat(&folder, name, UnlinkatFlags::NoRemoveDir).map_err(|errno| failure("remove", name, errno))?;
        sync(&folder).map_err(|errno| failure("sync", name, errno))
    }

    fn open(&self) -> Result<OwnedFd, Failure> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        open(&self.path, flags, Mode::empty()).map_err(|errno| self.broken("open", errno))
    }

    fn broken(&self, act: &str, errno: Errno) -> Failure {
        match errno {
            // Not to be taken for a missing file.
            Errno::ENOENT => Failure::Broken(format!("the directory {} does not exist", self.path.display())),
            _ => failure(act, &format!("the directory {}", self.path.display()), errno),
        }
    }

    fn read_once(&self, folder: &OwnedFd, name: &str) -> Result<(Vec<u8>, FileStat, FileStat), Failure> {
        let failed = |errno| failure("read", name, errno);
        // Not to hang on a pipe that somebody put there.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let mut file = File::from(openat(folder, name, flags, Mode::empty()).map_err(failed)?);
        let before = fstat(&file).map_err(failed)?;
        if SFlag::from_bits_truncate(before.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
            return Err(Failure::Broken(format!("{name} is not a plain file")));
        }
        if before.st_size as u64 > LARGEST {
            return Err(Failure::Broken(format!("{name} is larger than 1 MiB")));
        }
        let mut content = Vec::with_capacity(before.st_size as usize);
        (&mut file).take(LARGEST + 1).read_to_end(&mut content).map_err(|error| failed(errno_of(&error)))?;
        let after = fstat(&file).map_err(failed)?;
        Ok((content, before, after))
    }

    /// A synced file of that content under a name of its own.
    fn temporary<'a>(&self, folder: &'a OwnedFd, content: &[u8]) -> Result<Temporary<'a>, Failure> {
        if content.len() as u64 > LARGEST {
            return Err(Failure::Broken("the content is larger than 1 MiB".into()));
        }
        Temporary::write(folder, content).map_err(|errno| failure("write a file to", &self.path.display().to_string(), errno))
    }

    fn lock(&self, folder: &OwnedFd) -> Result<Flock<File>, Failure> {
        let flags = OFlag::O_CREAT | OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let opened = openat(folder, ".lock", flags, PRIVATE).map_err(|errno| failure("open", ".lock", errno))?;
        keep_private(&opened).map_err(|errno| failure("change the mode of", ".lock", errno))?;
        let (mut file, since) = (File::from(opened), Instant::now());
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(lock),
                Err((back, Errno::EWOULDBLOCK | Errno::EINTR)) if since.elapsed() < LOCK_WAIT => file = back,
                Err((_, Errno::EWOULDBLOCK)) => {
                    return Err(Failure::Broken(format!("the lock {}/.lock is not let go of", self.path.display())));
                }
                Err((_, errno)) => return Err(failure("lock", ".lock", errno)),
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// After a write: makes it last, and tells what there is now.
    fn settle(&self, folder: &OwnedFd, name: &str) -> Result<Entry, Failure> {
        sync(folder).map_err(|errno| failure("sync", name, errno))?;
        let stat = fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(|errno| failure("look at", name, errno))?;
        Ok(self.entry(folder, name, &stat))
    }

    fn entry(&self, folder: &OwnedFd, name: &str, stat: &FileStat) -> Entry {
        Entry { name: name.into(), version: version(stat), age_ms: self.ages.now(folder).age_ms(stat) }
    }
}

/// A file that has no place yet; it is gone when it is dropped.
pub(super) struct Temporary<'a> {
    folder: &'a OwnedFd,
    name: String,
    pub(super) file: File,
}

impl<'a> Temporary<'a> {
    pub(super) fn write(folder: &'a OwnedFd, content: &[u8]) -> Result<Temporary<'a>, Errno> {
        let name = format!("{TEMPORARY}{}-{:016x}", std::process::id(), unlike());
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = File::from(openat(folder, name.as_str(), flags, Mode::from_bits_truncate(0o644))?);
        let temporary = Temporary { folder, name, file };
        (&temporary.file).write_all(content).map_err(|error| errno_of(&error))?;
        temporary.set_time()?;
        temporary.file.sync_all().map_err(|error| errno_of(&error))?;
        Ok(temporary)
    }

    /// Makes the lowest digits of the modification time random, a millisecond at most; the rest is the file system's own time.
    fn set_time(&self) -> Result<(), Errno> {
        let stat = fstat(&self.file)?;
        let nanoseconds = (stat.st_mtime_nsec & !0xf_ffff) | (unlike() & 0xf_ffff) as i64;
        let time = TimeSpec::new(stat.st_mtime, nanoseconds.min(999_999_999));
        futimens(&self.file, &TimeSpec::UTIME_OMIT, &time)
    }

    /// Gives it a name that nothing has.
    fn place_new(&self, name: &str) -> Result<(), Errno> {
        match linkat(self.folder, self.name.as_str(), self.folder, name, LinkatFlags::empty()) {
            // Over NFS a repeated request may fail although the first one did it.
            Err(Errno::EEXIST) if fstat(&self.file)?.st_nlink == 2 => Ok(()),
            // File systems without hard links.
            Err(Errno::EPERM | Errno::EOPNOTSUPP | Errno::ENOSYS) => {
                renameat2(self.folder, self.name.as_str(), self.folder, name, RenameFlags::RENAME_NOREPLACE)
            }
            other => other,
        }
    }

    /// Gives it a name, whatever had it.
    fn place_over(&self, name: &str) -> Result<(), Errno> {
        renameat(self.folder, self.name.as_str(), self.folder, name)
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        // Renamed, it is gone already.
        let _ = unlinkat(self.folder, self.name.as_str(), UnlinkatFlags::NoRemoveDir);
    }
}

/// The contract's rule for names: [A-Za-z0-9._&:-]{1,200}, no leading dot.
pub(super) fn well_named(name: &str) -> Result<(), Failure> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._&:-".contains(&byte);
    if (1..=200).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(fits) {
        return Ok(());
    }
    Err(Failure::Denied(format!("{name:?} is not a name: 1 to 200 of A-Z a-z 0-9 . _ & : -, no leading dot")))
}

/// Takes an own file from everybody else.
fn keep_private(file: &OwnedFd) -> Result<(), Errno> {
    let stat = fstat(file)?;
    if stat.st_uid != geteuid().as_raw() || Mode::from_bits_truncate(stat.st_mode) == PRIVATE {
        return Ok(());
    }
    fchmod(file, PRIVATE)
}

fn version(stat: &FileStat) -> String {
    format!("{:x}.{:x}.{:x}.{:x}", stat.st_ino, stat.st_size, stat.st_mtime, stat.st_mtime_nsec)
}

fn expect(folder: &OwnedFd, name: &str, expected: &str) -> Result<(), Failure> {
    let stat = fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(|errno| failure("look at", name, errno))?;
    if version(&stat) == expected { Ok(()) } else { Err(Failure::Changed) }
}

fn names(folder: &OwnedFd) -> Result<Vec<String>, Errno> {
    let mut dir = Dir::openat(folder, ".", OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    let mut names = Vec::new();
    for entry in dir.iter() {
        if let Ok(name) = entry?.file_name().to_str() {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// Makes renames and links in the directory last. File systems that cannot sync a directory need not.
fn sync(folder: &OwnedFd) -> Result<(), Errno> {
    match nix::unistd::fsync(folder.as_fd()) {
        Err(Errno::EINVAL | Errno::EROFS) => Ok(()),
        other => other,
    }
}

fn failure(act: &str, what: &str, errno: Errno) -> Failure {
    match errno {
        Errno::EEXIST => Failure::Exists,
        Errno::ENOENT => Failure::Missing,
        Errno::EACCES | Errno::EPERM | Errno::EROFS => Failure::Denied(format!("cannot {act} {what}: {}", errno.desc())),
        Errno::ENOSPC | Errno::EDQUOT => Failure::Full(format!("cannot {act} {what}: {}", errno.desc())),
        Errno::ELOOP => Failure::Broken(format!("{what} is a symbolic link")),
        _ => Failure::Broken(format!("cannot {act} {what}: {}", errno.desc())),
    }
}

fn errno_of(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

/// A number unlike all others that this machine's processes get: hashed from a random key, a counter and the process.
fn unlike() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    RandomState::new().hash_one((COUNT.fetch_add(1, Ordering::Relaxed), std::process::id()))
}
