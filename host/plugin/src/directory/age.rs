//! How old a file is, by the clock of the file system that keeps it.
//!
//! On a local file system that is this machine's clock. On a network file system it is the server's: a file just written there tells it.
//! So nodes whose clocks differ agree on
//! ages, and an age never depends on when a node last set its clock.

use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::stat::{FileStat, fstat};
use nix::sys::statfs::fstatfs;

use super::disk::Temporary;

/// How long what the server's clock said is good for.
const GOOD_FOR: Duration = Duration::from_secs(10);

/// `f_type` of file systems whose files others may write without this kernel knowing (statfs(2), linux/magic.h): NFS, SMB2, CIFS, SMB,
/// FUSE, 9P, Ceph, AFS, Coda, GFS2,
/// OCFS2, Lustre.
const NETWORK: [u32; 12] = [
    0x6969,
    0xFE53_4D42,
    0xFF53_4D42,
    0x517B,
    0x6573_5546,
    0x0102_1997,
    0x00C3_6400,
    0x5346_414F,
    0x7375_7245,
    0x0116_1970,
    0x7461_636F,
    0x0BD0_0BD0,
];

/// True where other machines may change files unseen by this kernel. A folder that cannot be asked counts as local.
pub(super) fn on_network(folder: &OwnedFd) -> bool {
    // The field's width differs by architecture; the magic numbers have 32 bits.
    fstatfs(folder).is_ok_and(|stat| NETWORK.contains(&(stat.filesystem_type().0 as u32)))
}

/// The file system's clock, remembered for a while where asking costs a write.
#[derive(Default)]
pub(super) struct Ages {
    server: Mutex<Option<(Instant, Now)>>,
}

/// A moment of the file system's clock, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Now(i64);

impl Ages {
    pub(super) fn now(&self, folder: &OwnedFd) -> Now {
        if !on_network(folder) {
            return Now::here();
        }
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((asked, then)) = *server
            && asked.elapsed() < GOOD_FOR
        {
            return Now(then.0 + asked.elapsed().as_millis() as i64);
        }
        match Now::probe(folder) {
            Ok(now) => {
                *server = Some((Instant::now(), now));
                now
            }
            Err(errno) => {
                tracing::warn!(cause = errno.desc(), "cannot ask the file server's clock by writing a file: ages are by this node's clock");
                Now::here()
            }
        }
    }
}

impl Now {
    fn here() -> Now {
        Now(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64)
    }

    /// The modification time of a file that was just written.
    fn probe(folder: &OwnedFd) -> nix::Result<Now> {
        let file = Temporary::write(folder, b"what time is it")?;
        Ok(Now(milliseconds(&fstat(&file.file)?)))
    }

    /// The age of a file in milliseconds; 0 for one from the future, and never more than fits.
    pub(super) fn age_ms(self, stat: &FileStat) -> u32 {
        u32::try_from(self.0.saturating_sub(milliseconds(stat)).max(0)).unwrap_or(u32::MAX)
    }
}

fn milliseconds(stat: &FileStat) -> i64 {
    stat.st_mtime.saturating_mul(1000).saturating_add(stat.st_mtime_nsec / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modified(seconds: i64) -> FileStat {
        let folder = tempfile::tempfile().expect("a file");
        let mut stat = fstat(&folder).expect("its state");
        (stat.st_mtime, stat.st_mtime_nsec) = (seconds, 500_000_000);
        stat
    }

    #[test]
    fn ages_saturate_at_both_ends() {
        assert_eq!(Now(10_000).age_ms(&modified(9)), 500);
        assert_eq!(Now(10_000).age_ms(&modified(11)), 0);
        assert_eq!(Now(i64::MAX).age_ms(&modified(0)), u32::MAX);
    }

    #[test]
    fn a_probe_tells_the_time_of_a_local_file_system_too() {
        let folder = tempfile::tempdir().expect("a folder");
        let opened = OwnedFd::from(std::fs::File::open(folder.path()).expect("opened"));
        let probed = Now::probe(&opened).expect("probed");
        assert!((probed.0 - Now::here().0).abs() < 1_000);
        assert_eq!(std::fs::read_dir(folder.path()).expect("listed").count(), 0, "the probe was left behind");
    }
}
