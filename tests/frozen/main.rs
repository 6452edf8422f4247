//! What must never change: the text of a released contract, and the plugins that were built against it.

use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

/// A version's folder in `wit/`, and the digest over its files: for each, by name, its name, a line end, its length, a line end and its content.
const CONTRACTS: &[(&str, &str)] = &[("0.1.0", "773d0223021f73519f80065eb30126d72b027472d5c444323f6b80894e9e596d")];

/// Largest plugin that is kept, compressed, in bytes.
const LARGEST: u64 = 150 << 10;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = folder.read_dir().expect("the folder").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

fn name(path: &Path) -> String {
    path.file_name().expect("a name").to_string_lossy().into_owned()
}

fn hex(digest: impl AsRef<[u8]>) -> String {
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn digest_of_folder(folder: &Path) -> String {
    let mut hasher = Sha256::new();
    for file in files(folder) {
        let content = std::fs::read(&file).expect("readable");
        hasher.update(format!("{}\n{}\n", name(&file), content.len()));
        hasher.update(content);
    }
    hex(hasher.finalize())
}

#[test]
fn a_released_contract_is_never_edited() {
    for (version, digest) in CONTRACTS {
        let now = digest_of_folder(&repository().join("wit").join(version));
        assert_eq!(
            now, *digest,
            "wit/{version} was edited. It is released: undo that, and put the change into a new folder (wit/README.md)"
        );
    }
}

#[test]
fn every_folder_of_the_contract_is_held_here_and_has_its_witnesses() {
    let folders: Vec<String> = files(&repository().join("wit")).iter().filter(|path| path.is_dir()).map(|path| name(path)).collect();
    let held: Vec<&str> = CONTRACTS.iter().map(|(version, _)| *version).collect();
    assert_eq!(folders, held, "a new version of the contract gets its digest here when it is released");
    for version in held {
        assert!(repository().join("tests/frozen").join(version).join("SHA256SUMS").is_file(), "no plugins were kept for {version}");
    }
}

#[test]
fn plugins_that_were_built_once_are_the_files_that_were_built() {
    for (version, _) in CONTRACTS {
        let folder = repository().join("tests/frozen").join(version);
        let sums = std::fs::read_to_string(folder.join("SHA256SUMS")).expect("digests");
        assert!(sums.lines().count() >= 2, "a store and a backend at least");
        for line in sums.lines() {
            let (digest, name) = line.split_once("  ").expect("digest and name");
            let file = folder.join(format!("{name}.gz"));
            let size = std::fs::metadata(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display())).len();
            assert!(size <= LARGEST, "{name} has {size} bytes");
            let unpacked = Command::new("gzip").arg("-dc").arg(&file).output().expect("gzip runs").stdout;
            assert_eq!(hex(Sha256::digest(&unpacked)), digest, "{name} was rebuilt or damaged: bring back the file that was released");
        }
        assert!(folder.join("sources.tar.gz").is_file(), "the sources of {version}'s plugins");
    }
}
