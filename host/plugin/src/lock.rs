//! `plugins.lock`: the plugin files that an operator has approved, by name and digest. With `--locked` nothing else comes into use.
//!
//! ```toml
//! [[plugin]]
//! name = "backend-udp"
//! version = "0.1.0"
//! digest = "sha256:…"
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use semver::Version;
use serde::{Deserialize, Serialize};

/// What stands before a digest, so that a later twill may use another sum.
const SHA256: &str = "sha256:";

/// The approved files, one a name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lock(BTreeMap<String, Locked>);

/// One approved file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locked {
    /// The plugin's version, for people.
    pub version: String,
    /// SHA-256 of the file in hex.
    pub digest: String,
}

/// Why a lock file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// It cannot be read.
    #[error("cannot read {0}: {1}; `twill plugin pin` writes it while the daemon runs unlocked")]
    Read(PathBuf, std::io::Error),
    /// It is not of the form that `twill plugin pin` writes.
    #[error("cannot understand {0}: {1}")]
    Form(PathBuf, String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    plugin: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    version: String,
    digest: String,
}

impl Lock {
    /// Reads the file.
    ///
    /// # Errors
    /// It is missing, cannot be read, or is of another form.
    pub fn read(path: &Path) -> Result<Lock, LockError> {
        let text = std::fs::read_to_string(path).map_err(|error| LockError::Read(path.into(), error))?;
        Lock::parse(&text).map_err(|why| LockError::Form(path.into(), why))
    }

    fn parse(text: &str) -> Result<Lock, String> {
        let document: Document = toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
        let mut lock = Lock::default();
        for Entry { name, version, digest } in document.plugin {
            let hex = digest.strip_prefix(SHA256).filter(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()));
            let hex = hex.ok_or_else(|| format!("the digest of {name} is not {SHA256} and 64 hexadecimal digits"))?;
            if lock.0.insert(name.clone(), Locked { version, digest: hex.to_ascii_lowercase() }).is_some() {
                return Err(format!("{name} is named twice"));
            }
        }
        Ok(lock)
    }

    /// The text of the file, by name, so that equal locks are equal files.
    pub fn text(&self) -> String {
        let head = "# Written by `twill plugin pin`. With --locked the daemon uses these plugin files and no others.\n";
        let entry = |(name, locked): (&String, &Locked)| {
            format!("\n[[plugin]]\nname = \"{name}\"\nversion = \"{}\"\ndigest = \"{SHA256}{}\"\n", locked.version, locked.digest)
        };
        self.0.iter().map(entry).fold(head.to_owned(), |text, entry| text + &entry)
    }

    /// Approves a file, in place of the one that had its name.
    pub fn approve(&mut self, name: &str, locked: Locked) {
        self.0.insert(name.into(), locked);
    }

    /// Why the file is not the approved one; none when it is.
    pub(crate) fn bar(&self, name: &str, version: &Version, digest: &str) -> Option<String> {
        let short = |digest: &str| digest.chars().take(12).collect::<String>();
        let advice = format!("`twill plugin pin {name}@{}` approves it", short(digest));
        match self.0.get(name) {
            Some(locked) if locked.digest == digest => None,
            Some(locked) => Some(format!(
                "plugins.lock names another file for {name}: {} ({}), not {version} ({}); {advice}",
                locked.version,
                short(&locked.digest),
                short(digest)
            )),
            None => Some(format!("plugins.lock does not name {name}; {advice}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock() -> Lock {
        let mut lock = Lock::default();
        lock.approve("store-file", Locked { version: "0.1.0".into(), digest: "cd".repeat(32) });
        lock.approve("backend-udp", Locked { version: "1.2.3".into(), digest: "ab".repeat(32) });
        lock
    }

    #[test]
    fn what_is_written_is_read_again() {
        let text = lock().text();
        assert_eq!(Lock::parse(&text), Ok(lock()), "{text}");
        assert!(text.find("backend-udp") < text.find("store-file"), "{text}");
    }

    #[test]
    fn another_digest_or_name_is_barred_with_advice() {
        let version = Version::new(1, 2, 4);
        assert_eq!(lock().bar("backend-udp", &version, &"ab".repeat(32)), None);
        let other = lock().bar("backend-udp", &version, &"ef".repeat(32)).expect("barred");
        assert!(
            other.starts_with("plugins.lock names another file for backend-udp: 1.2.3 (abababababab), not 1.2.4 (efefefefefef)"),
            "{other}"
        );
        assert!(other.ends_with("`twill plugin pin backend-udp@efefefefefef` approves it"), "{other}");
        assert!(lock().bar("backend-vxlan", &version, "x").expect("barred").contains("does not name backend-vxlan"));
    }

    #[test]
    fn a_file_of_another_form_is_refused_with_the_culprit() {
        for (text, word) in [
            ("plugin = 1", "plugin"),
            ("[[plugin]]\nname = \"a\"\nversion = \"1.0.0\"\ndigest = \"sha256:12\"", "64 hexadecimal digits"),
            ("[[plugins]]\nname = \"a\"", "plugins"),
        ] {
            let error = Lock::parse(text).expect_err(text);
            assert!(error.contains(word), "{text}: {error}");
        }
        let twice = format!("{}{}", lock().text(), lock().text());
        assert!(Lock::parse(&twice).expect_err("twice").contains("named twice"));
    }
}
