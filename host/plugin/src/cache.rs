//! Compiled components on disk, so that only the first start compiles.
//!
//! A file is named by the component's digest, the engine's flags and version, and the digest of its own content. Loading machine code
//! means trusting it: the
//! folder and the file must be this user's and writable by nobody else, and the content must match its name. Anything else is compiled
//! again; without a usable
//! folder everything is compiled at each start, which is slower and no less right.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tracing::{debug, info, warn};
use wasmtime::Engine;
use wasmtime::component::Component;

/// Compiled components that are kept; when there are more, those that were not loaded for the longest time go.
const KEPT: usize = 64;

/// Where compiled components lie; `None` inside when no folder may be trusted.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    folder: Option<PathBuf>,
    flags: String,
}

impl Cache {
    /// Opens the folder, or makes it with mode 0700; one that cannot be trusted is not used, and the log says why.
    pub(crate) fn open(folder: &Path, engine: &Engine) -> Cache {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let usable = make(folder).and_then(|()| trusted(&std::fs::symlink_metadata(folder)?, 0o077));
        if let Err(error) = &usable {
            warn!(folder = %folder.display(), cause = %error, "compiled plugins are not kept: each start compiles them");
        }
        Cache { folder: usable.is_ok().then(|| folder.to_owned()), flags: format!("{:016x}", hasher.finish()) }
    }

    /// The component of `bytes`: loaded when it was compiled before, else compiled and kept. Blocks; compiling takes from 0.1 s to many
    /// seconds.
    pub(crate) fn component(&self, engine: &Engine, name: &str, digest: &str, bytes: &[u8]) -> wasmtime::Result<Component> {
        let stem = format!("{digest}-{}", self.flags);
        if let Some(component) = self.load(engine, &stem) {
            return Ok(component);
        }
        info!(plugin = name, kib = bytes.len() >> 10, "compiling a plugin, once");
        let started = std::time::Instant::now();
        let component = Component::from_binary(engine, bytes)?;
        info!(plugin = name, ms = started.elapsed().as_millis() as u64, "compiled");
        if let Err(error) = self.keep(&stem, &component.serialize()?) {
            warn!(plugin = name, cause = %error, "cannot keep the compiled plugin: the next start compiles it again");
        }
        Ok(component)
    }

    fn load(&self, engine: &Engine, stem: &str) -> Option<Component> {
        let path = self.find(stem)?;
        match read_trusted(&path, engine) {
            Ok(component) => {
                debug!(file = %path.display(), "loaded a compiled plugin");
                touch(&path);
                Some(component)
            }
            Err(error) => {
                warn!(file = %path.display(), cause = %error, "a compiled plugin is not used: it is compiled again");
                // Gone or not, a fresh file takes its place.
                let _ = std::fs::remove_file(&path);
                None
            }
        }
    }

    /// The file whose name begins with the stem.
    fn find(&self, stem: &str) -> Option<PathBuf> {
        let entries = std::fs::read_dir(self.folder.as_ref()?).ok()?;
        let of_stem = |name: &str| name.strip_prefix(stem).is_some_and(|rest| rest.starts_with('-') && rest.ends_with(".cwasm"));
        entries.flatten().find(|entry| entry.file_name().to_str().is_some_and(of_stem)).map(|entry| entry.path())
    }

    /// Writes a file whole: a crash leaves it there or not, never half.
    fn keep(&self, stem: &str, code: &[u8]) -> io::Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let path = folder.join(format!("{stem}-{}.cwasm", hex(&Sha256::digest(code))));
        let temporary = folder.join(format!(".{stem}.{}", std::process::id()));
        let written = write_synced(&temporary, code).and_then(|()| std::fs::rename(&temporary, &path));
        if written.is_err() {
            // The first error is the one to tell.
            let _ = std::fs::remove_file(&temporary);
        }
        self.sweep(folder);
        written
    }

    /// Takes away what was not loaded for the longest time, when there is a lot. What is in use is mapped and stays so.
    fn sweep(&self, folder: &Path) {
        let Ok(entries) = std::fs::read_dir(folder) else { return };
        let of_ours = |entry: &std::fs::DirEntry| entry.path().extension().is_some_and(|extension| extension == "cwasm");
        let mut files: Vec<_> =
            entries.flatten().filter(of_ours).filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path()))).collect();
        files.sort();
        for (_, path) in files.iter().rev().skip(KEPT) {
            // One that stays costs its room and nothing else.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Notes that a file was loaded just now.
fn touch(path: &Path) {
    let now = std::fs::FileTimes::new().set_modified(std::time::SystemTime::now());
    // A folder that cannot be written costs the order in which files go, and nothing else.
    let _ = std::fs::File::options().append(true).open(path).and_then(|file| file.set_times(now));
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn make(folder: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn write_synced(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).custom_flags(nix::libc::O_NOFOLLOW).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Opens, checks and maps a compiled component. What is checked is the open file, so that nobody can swap it in between.
fn read_trusted(path: &Path, engine: &Engine) -> io::Result<Component> {
    let mut file = std::fs::OpenOptions::new().read(true).custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_CLOEXEC).open(path)?;
    trusted(&file.metadata()?, 0o022)?;
    let named = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.rsplit_once('-')).map(|(_, sum)| sum);
    if named != Some(&digest_of(&mut file)?) {
        return Err(io::Error::other("its content was changed or cut off"));
    }
    let same_file = format!("/proc/self/fd/{}", file.as_raw_fd());
    // SAFETY: `deserialize_file` trusts the bytes to be machine code that this engine's compiler wrote.
    // - The file and its folder belong to this user and nobody else may write to them (checked on the open file and on the folder).
    // - Its content has the digest that its name carries, so it is whole; the name carries the engine's flags too, and wasmtime compares
    // them again.
    // - It is replaced by renaming only, never rewritten, so the mapping cannot change while it is in use.
    unsafe { Component::deserialize_file(engine, same_file) }.map_err(|error| io::Error::other(error.root_cause().to_string()))
}

/// Refuses what belongs to another user or carries one of the `forbidden` permissions.
fn trusted(meta: &std::fs::Metadata, forbidden: u32) -> io::Result<()> {
    let own = nix::unistd::geteuid().as_raw();
    if !meta.is_dir() && !meta.is_file() {
        return Err(io::Error::other("it is neither a folder nor a plain file"));
    }
    if meta.uid() != own {
        return Err(io::Error::other(format!("it belongs to user {} and not to user {own}: remove it", meta.uid())));
    }
    if meta.mode() & forbidden != 0 {
        return Err(io::Error::other(format!("others may reach it (mode {:o}): remove it, or run chmod go-rwx", meta.mode() & 0o7777)));
    }
    Ok(())
}

fn digest_of(file: &mut std::fs::File) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0u8; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&hasher.finalize())),
            count => hasher.update(&buffer[..count]),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    fn files(folder: &Path) -> Vec<PathBuf> {
        std::fs::read_dir(folder).expect("the folder").flatten().map(|entry| entry.path()).collect()
    }

    /// A cache in a fresh folder that holds the empty component, and that component's file.
    fn filled(parent: &Path) -> (Engine, Cache, PathBuf) {
        let engine = crate::engine::engine().expect("an engine");
        let folder = parent.join("cache");
        let cache = Cache::open(&folder, &engine);
        cache.component(&engine, "empty", "d1", EMPTY).expect("compiled");
        let [file] = &files(&folder)[..] else { panic!("one file was to be kept") };
        (engine, cache, file.clone())
    }

    #[test]
    fn the_second_time_nothing_is_compiled() {
        let parent = tempfile::tempdir().expect("a folder");
        let (engine, cache, file) = filled(parent.path());
        assert!(cache.load(&engine, &format!("d1-{}", cache.flags)).is_some());
        assert_eq!(std::fs::metadata(parent.path().join("cache")).expect("the folder").mode() & 0o777, 0o700);
        assert_eq!(std::fs::metadata(file).expect("the file").mode() & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_file_is_made_anew() {
        let parent = tempfile::tempdir().expect("a folder");
        for damage in [|code: &mut Vec<u8>| code.truncate(100), |code: &mut Vec<u8>| *code.last_mut().expect("not empty") ^= 1] {
            let (engine, cache, file) = filled(parent.path());
            let mut code = std::fs::read(&file).expect("the file");
            damage(&mut code);
            std::fs::write(&file, &code).expect("damaged");
            assert!(cache.load(&engine, &format!("d1-{}", cache.flags)).is_none());
            cache.component(&engine, "empty", "d1", EMPTY).expect("compiled again");
            assert!(cache.load(&engine, &format!("d1-{}", cache.flags)).is_some());
        }
    }

    #[test]
    fn a_file_that_others_may_write_is_not_loaded() {
        let parent = tempfile::tempdir().expect("a folder");
        let (engine, cache, file) = filled(parent.path());
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).expect("chmod");
        assert!(cache.load(&engine, &format!("d1-{}", cache.flags)).is_none());
    }

    #[test]
    fn a_symbolic_link_is_not_followed() {
        let parent = tempfile::tempdir().expect("a folder");
        let (engine, cache, file) = filled(parent.path());
        let elsewhere = parent.path().join("elsewhere");
        std::fs::rename(&file, &elsewhere).expect("moved");
        std::os::unix::fs::symlink(&elsewhere, &file).expect("linked");
        assert!(cache.load(&engine, &format!("d1-{}", cache.flags)).is_none());
    }

    #[test]
    fn a_folder_that_others_may_reach_or_own_is_not_used() {
        let parent = tempfile::tempdir().expect("a folder");
        let engine = crate::engine::engine().expect("an engine");
        let open = parent.path().join("open");
        std::fs::create_dir(&open).expect("made");
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o755)).expect("chmod");
        assert!(Cache::open(&open, &engine).folder.is_none());
        let cache = Cache::open(&open, &engine);
        cache.component(&engine, "empty", "d1", EMPTY).expect("compiled without a cache");
        assert!(files(&open).is_empty());
        if nix::unistd::chown(parent.path(), Some(nix::unistd::Uid::from_raw(65534)), None).is_err() {
            println!("skipped: giving a folder away needs root");
            return;
        }
        std::fs::set_permissions(parent.path(), std::fs::Permissions::from_mode(0o700)).expect("chmod");
        assert!(Cache::open(parent.path(), &engine).folder.is_none());
    }

    #[test]
    fn what_was_not_loaded_for_the_longest_time_goes() {
        let parent = tempfile::tempdir().expect("a folder");
        let (engine, cache, file) = filled(parent.path());
        let old = std::fs::FileTimes::new().set_modified(std::time::SystemTime::UNIX_EPOCH);
        for number in 0..KEPT {
            std::fs::File::create(file.with_file_name(format!("{number}.cwasm"))).expect("made").set_times(old).expect("aged");
        }
        assert!(cache.load(&engine, &format!("d1-{}", cache.flags)).is_some(), "it is loaded now");
        cache.component(&engine, "empty", "d2", EMPTY).expect("compiled");
        assert_eq!(files(&parent.path().join("cache")).len(), KEPT);
        assert!(cache.load(&engine, &format!("d1-{}", cache.flags)).is_some(), "what was loaded last is still there");
    }

    /// Another user who has the folder to himself for a while (a wrong umask, a restored backup) leaves a file, a link and a whole folder of his own.
    #[test]
    fn what_another_user_left_is_never_run() {
        use nix::unistd::{Uid, chown};
        let nobody = Some(Uid::from_raw(65534));
        let parent = tempfile::tempdir().expect("a folder");
        let (engine, cache, file) = filled(parent.path());
        if chown(&file, nobody, None).is_err() {
            println!("skipped: giving a file away needs root");
            return;
        }
        assert!(cache.load(&engine, &format!("d1-{}", cache.flags)).is_none(), "his file was loaded");
        assert!(!file.exists(), "it is out of the way");
        cache.component(&engine, "empty", "d1", EMPTY).expect("compiled again");
        assert!(cache.load(&engine, &format!("d1-{}", cache.flags)).is_some());

        let his = parent.path().join("his.cwasm");
        std::fs::copy(&file, &his).expect("copied");
        chown(&his, nobody, None).expect("given away");
        std::fs::remove_file(&file).expect("removed");
        std::os::unix::fs::symlink(&his, &file).expect("linked");
        assert!(cache.load(&engine, &format!("d1-{}", cache.flags)).is_none(), "his link was followed");

        let folder = parent.path().join("cache");
        chown(&folder, nobody, None).expect("given away");
        assert!(Cache::open(&folder, &engine).folder.is_none(), "his folder was used");
        let elsewhere = parent.path().join("elsewhere");
        std::os::unix::fs::symlink(&folder, &elsewhere).expect("linked");
        assert!(Cache::open(&elsewhere, &engine).folder.is_none(), "a link to a folder was used");
    }
}
