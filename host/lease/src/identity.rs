//! Who this node is: an id and a seed, each a small file in the state directory, made once from the kernel's random numbers and kept for ever.
//!
//! The id (`node-id`, readable by all) owns leases; the seed (`seed`, 0600) is what backends derive MAC addresses from and is never shown. Both belong to
//! the machine that the file `machine` (0600) names: on another one, as after copying a disk, they are made anew.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use twill_model::NodeId;

use crate::machine::Machine;

/// Id and seed of a node.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The stable id, a random UUID.
    pub id: NodeId,
    /// 32 random bytes in hex. Secret.
    pub seed: String,
}

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The file system refused.
    #[error("cannot {act} {}: {cause}", path.display())]
    File {
        /// "read", "write", "remove", "lock" or "make the directory".
        act: &'static str,
        /// What file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The file holds something else.
    #[error("cannot use {}: it does not hold {expected}; put it right, or remove it and twill makes a new one (the node then counts as another node)", path.display())]
    Malformed {
        /// What file.
        path: PathBuf,
        /// What should be in it.
        expected: &'static str,
    },
}

/// Reads the identity from the state directory, or makes it. The directory is made where it is missing. Daemons that start at once agree on one. When another
/// machine made it, a new one is made, which a warning in the log tells.
///
/// # Errors
/// [`IdentityError`] where the directory cannot be used or holds a file of other content.
pub fn identity(state_dir: &Path) -> Result<Identity, IdentityError> {
    identity_on(state_dir, &Machine::this())
}

/// The identity as [`identity`] would read it; none where it would make one. Nothing is written.
///
/// # Errors
/// As [`identity`].
pub fn known_identity(state_dir: &Path) -> Result<Option<Identity>, IdentityError> {
    known_on(state_dir, &Machine::this())
}

fn known_on(state_dir: &Path, machine: &Machine) -> Result<Option<Identity>, IdentityError> {
    let anothers = fs::read_to_string(state_dir.join("machine"))
        .ok()
        .and_then(|text| Machine::parse(text.trim()))
        .is_some_and(|it| it.differs(machine));
    if anothers || !["node-id", "seed"].iter().all(|name| state_dir.join(name).exists()) {
        return Ok(None);
    }
    read_both(state_dir).map(Some)
}

/// Both files, which are made where they are missing.
fn read_both(state_dir: &Path) -> Result<Identity, IdentityError> {
    let id = kept(state_dir.join("node-id"), 0o644, uuid, is_id, "an id of 1 to 64 letters, digits, dots, dashes or underscores")?;
    let seed = kept(state_dir.join("seed"), 0o600, || hex(&random::<32>()?), is_seed, "64 hex digits")?;
    Ok(Identity { id: NodeId(id), seed })
}

fn identity_on(state_dir: &Path, machine: &Machine) -> Result<Identity, IdentityError> {
    fs::create_dir_all(state_dir).map_err(|cause| IdentityError::File { act: "make the directory", path: state_dir.into(), cause })?;
    if let Some(former) = leave_another_machines(state_dir, machine)? {
        tracing::warn!(
            former,
            "the state directory {} comes from another machine; this node gets an id and a seed of its own, and with them another lease",
            state_dir.display()
        );
    }
    read_both(state_dir)
}

/// Removes id and seed where another machine made them; returns the id that was.
fn leave_another_machines(state_dir: &Path, machine: &Machine) -> Result<Option<String>, IdentityError> {
    let path = state_dir.join("machine");
    let failed = |act: &'static str| {
        let path = path.clone();
        move |cause| IdentityError::File { act, path, cause }
    };
    let known =
        || kept(path.clone(), 0o600, || Ok(machine.to_string()), |text| Machine::parse(text).is_some(), "the hash of a machine's id");
    if !Machine::parse(&known()?).is_some_and(|known| known.differs(machine)) {
        return Ok(None);
    }
    // Daemons that start at once agree on who makes the new ones: whoever has the lock looks again.
    let file = File::open(&path).map_err(failed("read"))?;
    file.lock().map_err(failed("lock"))?;
    if !Machine::parse(&known()?).is_some_and(|known| known.differs(machine)) {
        return Ok(None);
    }
    let former = fs::read_to_string(state_dir.join("node-id")).unwrap_or_default().trim().to_owned();
    for name in ["node-id", "seed"] {
        let path = state_dir.join(name);
        match fs::remove_file(&path) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(IdentityError::File { act: "remove", path, cause }),
            _ => {}
        }
    }
    write_over(&path, &machine.to_string()).map_err(failed("write"))?;
    Ok(Some(former))
}

fn kept(
    path: PathBuf,
    mode: u32,
    make: impl FnOnce() -> io::Result<String>,
    good: fn(&str) -> bool,
    expected: &'static str,
) -> Result<String, IdentityError> {
    let failed = |act: &'static str| move |(path, cause)| IdentityError::File { act, path, cause };
    if !path.exists() {
        make().and_then(|text| write_new(&path, &text, mode)).map_err(|cause| failed("write")((path.clone(), cause)))?;
    }
    let text = fs::read_to_string(&path).map_err(|cause| failed("read")((path.clone(), cause)))?;
    let text = text.trim();
    if good(text) { Ok(text.to_owned()) } else { Err(IdentityError::Malformed { path, expected }) }
}

/// Replaces a file, readable by root alone, whole or not at all.
fn write_over(path: &Path, text: &str) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new(".")))?;
    writeln!(file, "{text}")?;
    file.as_file().sync_all()?;
    file.persist(path).map(|_| ()).map_err(|error| error.error)
}

/// Writes the whole file or nothing; when another daemon was first, its file stays.
fn write_new(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new(".")))?;
    file.as_file().set_permissions(Permissions::from_mode(mode))?;
    writeln!(file, "{text}")?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error.error),
        Ok(_) => Ok(()),
    }
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> io::Result<String> {
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A random UUID (RFC 9562, version 4).
fn uuid() -> io::Result<String> {
    let mut bytes = random::<16>()?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits = hex(&bytes)?;
    Ok(format!("{}-{}-{}-{}-{}", &digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]))
}

fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

fn is_seed(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("it is there").permissions().mode() & 0o777
    }

    #[test]
    fn an_identity_is_made_once_and_kept() {
        let dir = tempfile::tempdir().expect("a directory");
        let state = dir.path().join("deep/state");
        let first = identity(&state).expect("made");
        assert!(is_id(&first.id.0) && first.id.0.len() == 36 && is_seed(&first.seed));
        assert!(identity(&state).expect("read") == first);
        assert_eq!((mode(&state.join("node-id")), mode(&state.join("seed"))), (0o644, 0o600));
        assert!(identity(&dir.path().join("other")).expect("made") != first);
    }

    fn made_at_once(state_dir: &Path, machine: &Machine) -> Vec<Identity> {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| identity_on(state_dir, machine).expect("an identity"))).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        })
    }

    #[test]
    fn daemons_that_start_at_once_agree() {
        let dir = tempfile::tempdir().expect("a directory");
        let here = made_at_once(dir.path(), &Machine::of("one", "host"));
        assert!(here.iter().all(|identity| *identity == here[0]));
        let there = made_at_once(dir.path(), &Machine::of("two", "host"));
        assert!(there.iter().all(|identity| *identity == there[0]));
        assert!(here[0] != there[0]);
    }

    #[test]
    fn a_copy_on_another_machine_gets_an_id_and_a_seed_of_its_own() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |machine: &Machine| identity_on(dir.path(), machine).expect("an identity");
        let (one, two) = (Machine::of("one", "host"), Machine::of("two", "host"));
        let first = at(&one);
        assert!(at(&one) == first && mode(&dir.path().join("machine")) == 0o600);
        let second = at(&two);
        assert!(second.id != first.id && second.seed != first.seed);
        assert!(at(&two) == second && mode(&dir.path().join("machine")) == 0o600);
        assert_eq!(leave_another_machines(dir.path(), &one).expect("removed"), Some(second.id.0));
    }

    #[test]
    fn what_is_known_is_told_without_a_trace() {
        let dir = tempfile::tempdir().expect("a directory");
        let (one, two) = (Machine::of("one", "host"), Machine::of("two", "host"));
        assert!(
            known_on(&dir.path().join("deep"), &one).expect("nothing").is_none()
                && fs::read_dir(dir.path()).expect("listed").next().is_none()
        );
        let made = identity_on(dir.path(), &one).expect("made");
        assert!(known_on(dir.path(), &one).expect("read") == Some(made));
        assert!(known_on(dir.path(), &two).expect("another machine's").is_none());
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 3);
    }

    #[test]
    fn a_state_directory_from_before_is_this_machines() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("node-id"), "from-before\n").expect("written");
        for _ in 0..2 {
            assert_eq!(identity_on(dir.path(), &Machine::of("one", "host")).expect("an identity").id.0, "from-before");
        }
    }

    #[test]
    fn a_file_of_other_content_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("node-id"), "no id\n").expect("written");
        let error = identity(dir.path()).err().expect("refused").to_string();
        assert!(error.contains("node-id") && error.contains("remove it"), "{error}");
    }
}
