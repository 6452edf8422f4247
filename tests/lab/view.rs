//! What a process on a node sees: the node's network namespace, its host name, and /run, /var/lib and /var/cache of its own.
//!
//! Each process gets namespaces made at its start, over the node's lasting directories; so default paths are exercised and nothing has to be kept alive.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

use crate::artifacts;
use crate::world::ROOT;

/// The surroundings of one process, ready to be taken on between fork and exec.
#[derive(Debug)]
pub struct View {
    net: File,
    host: String,
    binds: Vec<(CString, CString)>,
    hidden: Vec<CString>,
}

impl View {
    /// What a process on the node, or in the pod, of that name sees.
    pub fn of(name: &str) -> Result<View> {
        let net = File::open(Path::new("/run/netns").join(name)).with_context(|| format!("there is no node or pod {name} in this lab"))?;
        let view = View::new(net, name);
        let own = node_dir(name);
        if !own.exists() {
            return Ok(view);
        }
        // /run goes last: binding it hides where the namespaces' names are.
        let view = view.bind(&own.join("lib"), Path::new("/var/lib")).bind(&artifacts::cache(), Path::new("/var/cache"));
        Ok(view.bind(&own.join("run"), Path::new("/run")))
    }

    /// A process in `net` on the host `host`.
    pub fn new(net: File, host: &str) -> View {
        View { net, host: host.into(), binds: Vec::new(), hidden: Vec::new() }
    }

    /// Shows `from` at `at`.
    pub fn bind(mut self, from: &Path, at: &Path) -> View {
        self.binds.push((c_path(from), c_path(at)));
        self
    }

    /// Shows an empty directory at `at`.
    pub fn hide(mut self, at: &Path) -> View {
        self.hidden.push(c_path(at));
        self
    }

    /// A program that runs with this view.
    pub fn command(self, program: &Path) -> Command {
        let mut command = Command::new(program);
        // SAFETY: between fork and exec `enter` makes system calls only; its strings were allocated before the fork.
        unsafe { command.pre_exec(move || self.enter()) };
        command
    }

    fn enter(&self) -> io::Result<()> {
        let none: Option<&str> = None;
        setns(self.net.as_fd(), CloneFlags::CLONE_NEWNET)?;
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS)?;
        nix::unistd::sethostname(&self.host)?;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        for (from, at) in &self.binds {
            mount(Some(from.as_c_str()), at.as_c_str(), none, MsFlags::MS_BIND, none)?;
        }
        for at in &self.hidden {
            mount(Some("tmpfs"), at.as_c_str(), Some("tmpfs"), MsFlags::empty(), none)?;
        }
        Ok(())
    }
}

/// The directories of a node, as the lab sees them.
pub fn node_dir(name: &str) -> PathBuf {
    Path::new(ROOT).join("nodes").join(name)
}

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("paths of the lab hold no zero byte")
}
