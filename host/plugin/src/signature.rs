//! Signatures of plugin files by minisign (Ed25519; <https://jedisct1.github.io/minisign/>). Where an operator names keys, a file comes into use only if
//! `FILE.minisig` beside it is a signature of it by one of them. `minisign -Sm backend-x.wasm` makes such a file.

use std::path::{Path, PathBuf};

use minisign_verify::{PublicKey, Signature};

/// The keys of whom an operator trusts; none: files need no signature.
#[derive(Debug, Clone, Default)]
pub struct Keys(Vec<PublicKey>);

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the key {path}: {cause}; it is to be a public key as `minisign -G` writes it")]
pub struct KeyError {
    path: PathBuf,
    cause: minisign_verify::Error,
}

impl Keys {
    /// Reads the public keys, a file each.
    ///
    /// # Errors
    /// One is missing, or is no such key.
    pub fn read(paths: &[PathBuf]) -> Result<Keys, KeyError> {
        let read = |path: &PathBuf| PublicKey::from_file(path).map_err(|cause| KeyError { path: path.clone(), cause });
        paths.iter().map(read).collect::<Result<_, _>>().map(Keys)
    }

    /// Looks for a signature of `bytes` beside the file. Blocks.
    ///
    /// # Errors
    /// In words: there is none, or it is by nobody who is trusted.
    pub(crate) fn check(&self, file: &Path, bytes: &[u8]) -> Result<(), String> {
        if self.0.is_empty() {
            return Ok(());
        }
        let beside = beside(file);
        let name = beside.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&beside).map_err(|error| format!("it is not signed: {name} cannot be read: {error}"))?;
        let signature =
            Signature::decode(&text).map_err(|error| format!("it is not signed: {name} is no signature of minisign's: {error}"))?;
        // Signatures by minisign before 0.8 are over the bytes themselves; they are as good.
        let signed = self.0.iter().any(|key| key.verify(bytes, &signature, true).is_ok());
        signed.then_some(()).ok_or_else(|| format!("its signature {name} is not one of these bytes by a key that --plugin-key names"))
    }
}

/// `backend-x.wasm.minisig`.
fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".minisig");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made by minisign 0.11 for this test: `minisign -GW`, then `minisign -SWm`.
    const KEY: &str = include_str!("../tests/signature/key.pub");
    const SIGNED: &[u8] = include_bytes!("../tests/signature/signed");
    const SIGNATURE: &str = include_str!("../tests/signature/signed.minisig");
    const OTHER_KEY: &str = include_str!("../tests/signature/other.pub");

    #[test]
    fn a_signature_is_for_its_bytes_and_by_its_key() {
        let home = tempfile::tempdir().expect("a directory");
        let path = |name: &str| home.path().join(name);
        let write = |name: &str, bytes: &[u8]| std::fs::write(path(name), bytes).expect("written");
        write("key", KEY.as_bytes());
        write("other", OTHER_KEY.as_bytes());
        let keys = |names: &[&str]| Keys::read(&names.iter().map(|name| path(name)).collect::<Vec<_>>()).expect("keys");
        let file = path("x.wasm");
        assert_eq!(keys(&[]).check(&file, SIGNED), Ok(()), "nobody wants a signature");
        assert!(keys(&["key"]).check(&file, SIGNED).expect_err("none").contains("it is not signed: x.wasm.minisig cannot be read"));
        write("x.wasm.minisig", b"nonsense");
        assert!(keys(&["key"]).check(&file, SIGNED).expect_err("none").contains("no signature of minisign's"));
        write("x.wasm.minisig", SIGNATURE.as_bytes());
        assert_eq!(keys(&["other", "key"]).check(&file, SIGNED), Ok(()));
        assert!(keys(&["other"]).check(&file, SIGNED).expect_err("another key").contains("--plugin-key"));
        assert!(keys(&["key"]).check(&file, b"other bytes").expect_err("other bytes").contains("--plugin-key"));
    }

    #[test]
    fn what_is_no_key_is_refused_by_name() {
        let error = Keys::read(&["/does/not/exist".into()]).expect_err("missing").to_string();
        assert!(error.contains("/does/not/exist") && error.contains("minisign -G"), "{error}");
    }
}
