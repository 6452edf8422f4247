//! Kernel settings below /proc/sys/net: read, set, put back.
//!
//! Before a setting is changed for the first time the value found is written to a record on disk, so that [`Sysctls::restore`] can undo the change
//! in another run of the daemon. The record holds for one boot: after the next the kernel starts from its own values again.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use twill_model::state::Sysctl;
use twill_reconcile::ports::Refused;

use crate::words::io_words;

const ROOT: &str = "/proc/sys";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What became of one setting on the way back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Restored {
    /// It has the value found first again.
    Back(Sysctl),
    /// Its path is gone, with the link it belonged to.
    Gone(String),
    /// Another hand gave it the value named here since; it is left alone.
    LeftAlone(Sysctl),
    /// The kernel refused.
    Refused(Refused),
}

/// The settings that twill changed.
#[derive(Debug)]
pub struct Sysctls {
    record: PathBuf,
    // Held across reading and writing the record.
    turn: Mutex<()>,
}

/// The file's content.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    boot: String,
    /// By path.
    settings: BTreeMap<String, Changed>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Changed {
    found: String,
    set: String,
}

/// The present value of a setting, without its newline; none when the path is none of the network's settings or is not there.
pub fn read(path: &str) -> Option<String> {
    fs::read_to_string(file(path)?).ok().map(|value| value.trim_end().to_owned())
}

impl Sysctls {
    /// Settings whose first values are kept in the file `record`; its directory must be there when a setting is changed.
    pub fn new(record: PathBuf) -> Self {
        Self { record, turn: Mutex::new(()) }
    }

    /// Gives a setting a value. Nothing is written when it has that value already.
    ///
    /// # Errors
    /// The path is not below net/, the record cannot be written (then the setting is not touched), or the kernel refuses.
    pub fn set(&self, sysctl: &Sysctl) -> Result<(), Refused> {
        let refused = |cause: String| Refused { act: format!("set {} to {}", sysctl.path, sysctl.value), cause };
        let file = file(&sysctl.path).ok_or_else(|| refused("it is not a path below net/".into()))?;
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let found = fs::read_to_string(&file).map_err(|error| refused(io_words(&error)))?.trim_end().to_owned();
        if found == sysctl.value {
            return Ok(());
        }
        let recorded = self.remember(sysctl, found);
        recorded.map_err(|error| refused(format!("{} cannot be written: {}", self.record.display(), io_words(&error))))?;
        fs::write(&file, &sysctl.value).map_err(|error| refused(io_words(&error)))
    }

    /// Puts every recorded setting back and removes the record; what the kernel refused stays in it.
    ///
    /// # Errors
    /// The record is there and cannot be read, or cannot be rewritten.
    pub fn restore(&self) -> Result<Vec<Restored>, Refused> {
        let refused =
            |error: io::Error| Refused { act: format!("put back the settings in {}", self.record.display()), cause: io_words(&error) };
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut record = self.load().map_err(refused)?;
        let mut outcome = Vec::new();
        record.settings.retain(|path, changed| {
            let one = put_back(path, changed);
            let keep = matches!(one, Restored::Refused(_));
            outcome.push(one);
            keep
        });
        if record.settings.is_empty() { remove(&self.record) } else { self.store(&record) }.map_err(refused)?;
        Ok(outcome)
    }

    fn remember(&self, sysctl: &Sysctl, found: String) -> io::Result<()> {
        let mut record = self.load()?;
        let changed = Changed { found, set: sysctl.value.clone() };
        let entry = record.settings.entry(sysctl.path.clone()).and_modify(|known| known.set.clone_from(&changed.set));
        entry.or_insert(changed);
        self.store(&record)
    }

    /// The record of this boot; empty when there is none.
    fn load(&self) -> io::Result<Record> {
        let boot = fs::read_to_string(BOOT_ID)?.trim_end().to_owned();
        let record = match fs::read(&self.record) {
            Ok(bytes) => serde_json::from_slice::<Record>(&bytes).map_err(io::Error::other)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Record::default(),
            Err(error) => return Err(error),
        };
        Ok(if record.boot == boot { record } else { Record { boot, settings: BTreeMap::new() } })
    }

    /// Replaces the record at once: a crash leaves the old or the new one.
    fn store(&self, record: &Record) -> io::Result<()> {
        let fresh = self.record.with_extension("json.new");
        let mut file = fs::File::create(&fresh)?;
        file.write_all(&serde_json::to_vec_pretty(record).map_err(io::Error::other)?)?;
        file.sync_all()?;
        fs::rename(&fresh, &self.record)?;
        let directory = self.record.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::File::open(directory)?.sync_all()
    }
}

fn put_back(path: &str, changed: &Changed) -> Restored {
    let Some(now) = read(path) else { return Restored::Gone(path.to_owned()) };
    if now != changed.set && now != changed.found {
        return Restored::LeftAlone(Sysctl { path: path.to_owned(), value: now });
    }
    let back = Sysctl { path: path.to_owned(), value: changed.found.clone() };
    let written = file(path).map_or(Err(io::ErrorKind::NotFound.into()), |file| fs::write(file, &back.value));
    match written {
        Ok(()) => Restored::Back(back),
        Err(error) => Restored::Refused(Refused { act: format!("set {path} to {}", back.value), cause: io_words(&error) }),
    }
}

/// The file of a setting, when its path stays below net/.
fn file(path: &str) -> Option<PathBuf> {
    let fits = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\0');
    (path.starts_with("net/") && path.split('/').all(fits)).then(|| Path::new(ROOT).join(path))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_below_net_are_settings() {
        assert_eq!(file("net/ipv4/conf/flannel.1/rp_filter"), Some("/proc/sys/net/ipv4/conf/flannel.1/rp_filter".into()));
        for bad in [
            "kernel/core_pattern",
            "net/../kernel/core_pattern",
            "/net/ipv4/ip_forward",
            "net//ipv4",
            "net/./ipv4",
            "net/",
            "net",
            "",
            "net/a\0b",
        ] {
            assert_eq!(file(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_value_found_first_stays_in_the_record() {
        let directory = tempfile::tempdir().expect("a directory");
        let sysctls = Sysctls::new(directory.path().join("sysctls.json"));
        let to = |value: &str| Sysctl { path: "net/ipv4/ip_forward".into(), value: value.into() };
        sysctls.remember(&to("1"), "0".into()).expect("a record");
        sysctls.remember(&to("2"), "1".into()).expect("a record");
        let record = sysctls.load().expect("the record");
        assert_eq!(record.settings["net/ipv4/ip_forward"], Changed { found: "0".into(), set: "2".into() });
    }

    #[test]
    fn the_record_of_another_boot_is_void() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("sysctls.json");
        fs::write(&file, r#"{"boot":"another","settings":{"net/ipv4/ip_forward":{"found":"0","set":"1"}}}"#).expect("a file");
        assert_eq!(Sysctls::new(file.clone()).restore(), Ok(vec![]));
        assert!(!file.exists());
    }

    #[test]
    fn a_record_that_is_no_record_is_reported() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("sysctls.json");
        fs::write(&file, "half a rec").expect("a file");
        let refused = Sysctls::new(file.clone()).restore().expect_err("a refusal");
        assert!(refused.act.contains("sysctls.json"), "{refused}");
        assert!(file.exists(), "it is kept for somebody to look at");
    }
}
