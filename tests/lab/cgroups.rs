//! Control groups, which live outside of every namespace: [`Cgroups`] takes those of a world away from outside, however the world ends.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Result;

use crate::netns::NetNs;
use crate::wait::wait_until;

/// Where they are (cgroups(7)): one hierarchy, or one for each controller.
const ALL: &str = "/sys/fs/cgroup";
/// The variable that tells a world the name of its cgroups.
const NAME: &str = "TWILL_LAB_CGROUPS";

/// The cgroups of one world, below one of a name that no other has; with this value they are gone.
#[derive(Debug)]
pub struct Cgroups(String);

impl Cgroups {
    /// A name; there is no such cgroup yet.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Cgroups {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        static SWEPT: Once = Once::new();
        SWEPT.call_once(sweep);
        Cgroups(format!("{}{}-{}", prefix(), std::process::id(), NEXT.fetch_add(1, Relaxed)))
    }

    /// Tells it to the world that is to be.
    pub fn tell(&self, world: &mut Command) {
        world.env(NAME, &self.0);
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        hierarchies().map(|folder| folder.join(&self.0)).filter(|folder| folder.is_dir()).for_each(|folder| remove(&folder));
    }
}

fn hierarchies() -> impl Iterator<Item = PathBuf> {
    let above = fs::read_dir(ALL).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    above.chain([PathBuf::from(ALL)])
}

/// What names of this pid namespace begin with (its inode, pid_namespaces(7)); the maker's process follows.
fn prefix() -> String {
    let numbers = fs::metadata("/proc/self/ns/pid").map_or(0, |namespace| namespace.ino());
    format!("twill-lab-{numbers}-")
}

/// Takes away what processes have left that were killed.
fn sweep() {
    let left = hierarchies().flat_map(|folder| fs::read_dir(folder).into_iter().flatten()).filter_map(|entry| Some(entry.ok()?.path()));
    let has_ended = |folder: &PathBuf| {
        let maker = folder.file_name().and_then(|name| name.to_str()?.strip_prefix(&prefix())?.split('-').next()?.parse::<u32>().ok());
        maker.is_some_and(|process| !Path::new("/proc").join(process.to_string()).exists())
    };
    left.filter(has_ended).for_each(|folder| remove(&folder));
}

/// Removes a cgroup with those in it; the files in it are the kernel's.
fn remove(folder: &Path) {
    let inner = fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    inner.filter(|path| path.is_dir()).for_each(|path| remove(&path));
    // A process that is just ending may be in it still.
    let _ = wait_until("an empty cgroup", Duration::from_secs(3), || Ok(fs::remove_dir(folder)?));
}

/// What this world was told.
pub fn name() -> String {
    std::env::var(NAME).unwrap_or_else(|_| "twill-lab".into())
}

/// A group whose processes the scheduler gives their share of the processors together, as it does with those of a container.
#[derive(Debug)]
pub struct Scheduled(PathBuf);

impl Scheduled {
    /// One of that name among this world's; none, and a word why, where there can be none.
    pub fn new(name: &str) -> Option<Scheduled> {
        static TOLD: Once = Once::new();
        let tell = |why: String| TOLD.call_once(|| eprintln!("no control groups: {why}"));
        let Some(all) = scheduling() else {
            tell("the machine has none of processor time, or does not hand them down".into());
            return None;
        };
        let (ours, group) = (all.join(self::name()), all.join(self::name()).join(name));
        let made = make(&ours).and_then(|()| hand_down(&ours)).and_then(|()| make(&group));
        made.inspect_err(|error| tell(format!("cannot make {}: {error}", group.display()))).ok()?;
        Some(Scheduled(group))
    }

    /// A program that runs in it, and inside that network namespace.
    pub fn command(&self, net: &NetNs, program: &str) -> Result<Command> {
        let mut command = net.command("sh")?;
        command.args(["-c", "echo 0 >\"$0\" && exec \"$@\""]).arg(self.0.join("cgroup.procs")).arg(program);
        Ok(command)
    }
}

/// The hierarchy whose groups the scheduler knows: one of its own, or the one of all controllers, if those are handed down there.
fn scheduling() -> Option<PathBuf> {
    let all = PathBuf::from(ALL);
    let of_its_own = all.join("cpu");
    let is_handed_down = || fs::read_to_string(all.join(HANDED_DOWN)).is_ok_and(|names| names.split_whitespace().any(|name| name == "cpu"));
    if of_its_own.join("cgroup.procs").exists() { Some(of_its_own) } else { is_handed_down().then_some(all) }
}

/// Where a group of the hierarchy of all controllers says which of them the groups in it have.
const HANDED_DOWN: &str = "cgroup.subtree_control";

fn hand_down(group: &Path) -> std::io::Result<()> {
    let file = group.join(HANDED_DOWN);
    if file.exists() { fs::write(file, "+cpu") } else { Ok(()) }
}

fn make(group: &Path) -> std::io::Result<()> {
    match fs::create_dir(group) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}
