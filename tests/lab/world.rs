//! A world of its own: the process starts itself again under `unshare`, as first process of new user, network, mount, pid, UTS and IPC namespaces.
//!
//! Whatever it makes there (links, mounts, processes) is gone when it ends, also by SIGKILL; it ends when its parent ends. No root is needed where the kernel lets
//! users make user namespaces; real root falls back to doing without one. `settle` is the first thing that the inner process does.

use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;

use crate::artifacts;
use crate::process::run;

/// Where the lab keeps its files: a tmpfs of its own.
pub const ROOT: &str = "/mnt";

/// The variable that tells a process inside what it is there for.
pub const ROLE: &str = "TWILL_LAB_ROLE";

const WITH_USER: &[&str] = &["--user", "--map-root-user"];
const ALWAYS: &[&str] = &["--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc"];

/// What this process is there for inside a world; none outside.
pub fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

/// A command that starts this very program again inside a world, with a role. It dies with the thread that spawns it.
pub fn again(role: &str) -> Result<Command> {
    again_as(role, flags()?)
}

/// The same with the machine's own root, for what refuses to run in a user namespace.
pub fn again_as_root(role: &str) -> Result<Command> {
    again_as(role, &[])
}

fn again_as(role: &str, user: &[&str]) -> Result<Command> {
    let mut command = Command::new("unshare");
    command.args(user).args(ALWAYS).arg("--").arg(std::env::current_exe()?).env(ROLE, role);
    // SAFETY: between fork and exec only prctl(2) is called, which is async-signal-safe and allocates nothing.
    unsafe { command.pre_exec(|| Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?)) };
    Ok(command)
}

/// The user-namespace flags that this kernel and user get along with.
fn flags() -> Result<&'static [&'static str]> {
    if works(WITH_USER) {
        return Ok(WITH_USER);
    }
    if nix::unistd::geteuid().is_root() && works(&[]) {
        return Ok(&[]);
    }
    bail!(
        "this user may not make namespaces: run as root, or allow user namespaces (sysctl kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)"
    )
}

/// True for the machine's own root, outside of user namespaces, with the right to make namespaces: [`again_as_root`] then works.
pub fn is_own_root() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    nix::unistd::geteuid().is_root() && map.split_whitespace().eq(["0", "0", "4294967295"]) && works(&[])
}

fn works(user: &[&str]) -> bool {
    let quiet = Command::new("unshare").args(user).args(ALWAYS).arg("true").stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.is_ok_and(|status| status.success())
}

/// Furnishes a new world: a tmpfs on /run and on [`ROOT`], the built programs visible below it, loopback up.
pub fn settle() -> Result<()> {
    let target = std::fs::File::open(artifacts::outside())
        .with_context(|| format!("cannot open {}: build first (make build)", artifacts::outside().display()))?;
    tmpfs(Path::new("/run"))?;
    tmpfs(Path::new(ROOT))?;
    for dir in ["target", "nodes", "store"] {
        std::fs::create_dir(Path::new(ROOT).join(dir))?;
    }
    bind(&PathBuf::from(format!("/proc/self/fd/{}", target.as_raw_fd())), &artifacts::inside())?;
    std::fs::create_dir_all(artifacts::cache())?;
    run(Command::new("ip").args(["link", "set", "lo", "up"]))?;
    Ok(())
}

fn tmpfs(on: &Path) -> Result<()> {
    mount(Some("tmpfs"), on, Some("tmpfs"), MsFlags::empty(), Some("mode=755"))
        .with_context(|| format!("cannot mount a tmpfs on {}", on.display()))
}

fn bind(from: &Path, on: &Path) -> Result<()> {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(from), on, None::<&str>, flags, None::<&str>).with_context(|| format!("cannot bind {} on {}", from.display(), on.display()))
}

/// What the kernel or this user's rights lack for a lab, each with a reason; asked inside a settled world.
pub fn missing() -> Vec<(&'static str, String)> {
    let probes: [(&str, &[&str]); 4] = [
        ("namespaces", &["ip", "netns", "add", "probe"]),
        ("bridge", &["ip", "link", "add", "probe", "type", "bridge"]),
        ("tun", &["ip", "tuntap", "add", "probe1", "mode", "tun"]),
        ("nft", &["nft", "add", "table", "inet", "probe"]),
    ];
    let attempt = |(name, words): (&'static str, &[&str])| {
        let outcome = run(Command::new(words[0]).args(&words[1..]));
        outcome.err().map(|error| (name, format!("{error:#}").replace('\n', " ")))
    };
    probes.into_iter().filter_map(attempt).collect()
}
