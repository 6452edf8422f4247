//! A network namespace with a name that `ip netns` knows. Code runs inside it on a thread of its own, programs by `command`.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns};
use serde_json::Value;

use crate::process::{json, run};

/// A network namespace; it ends with the world.
#[derive(Debug)]
pub struct NetNs {
    name: String,
    file: File,
}

impl NetNs {
    /// Makes one, with loopback up.
    pub fn create(name: &str) -> Result<NetNs> {
        run(Command::new("ip").args(["netns", "add", name]))?;
        let file = File::open(format!("/run/netns/{name}")).with_context(|| format!("cannot open namespace {name}"))?;
        let ns = NetNs { name: name.into(), file };
        ns.ip("link set lo up")?;
        Ok(ns)
    }

    /// That of a running process, such as a container's.
    pub fn of_process(name: &str, pid: u32) -> Result<NetNs> {
        let path = format!("/proc/{pid}/ns/net");
        Ok(NetNs { name: name.into(), file: File::open(&path).with_context(|| format!("cannot open {path}"))? })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same namespace once more, for another thread.
    pub fn try_clone(&self) -> Result<NetNs> {
        Ok(NetNs { name: self.name.clone(), file: self.file()? })
    }

    /// A descriptor of it.
    pub fn file(&self) -> Result<File> {
        Ok(self.file.try_clone()?)
    }

    /// Runs `work` on a thread inside; sockets opened there stay inside wherever they are used later.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(self.file.as_fd(), CloneFlags::CLONE_NEWNET).with_context(|| format!("cannot enter namespace {}", self.name))?;
                work()
            });
            thread.join().map_err(|_| anyhow!("work inside namespace {} panicked", self.name))?
        })
    }

    /// A program that runs inside.
    pub fn command(&self, program: &str) -> Result<Command> {
        let file = self.file()?;
        let mut command = Command::new(program);
        // SAFETY: between fork and exec only setns(2) is called, on a descriptor that the closure owns; nothing is allocated.
        unsafe { command.pre_exec(move || Ok(setns(file.as_fd(), CloneFlags::CLONE_NEWNET)?)) };
        Ok(command)
    }

    /// `ip` with these words.
    pub fn ip(&self, words: &str) -> Result<String> {
        run(self.command("ip")?.args(words.split_whitespace()))
    }

    /// `ip -j` with these words.
    pub fn ip_json(&self, words: &str) -> Result<Value> {
        json(self.command("ip")?.args(["-j", "-d"]).args(words.split_whitespace()))
    }

    /// Writes a setting below /proc/sys, such as `net.ipv4.conf.all.rp_filter`.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        self.inside(|| std::fs::write(&path, value).with_context(|| format!("cannot write {value} to {path}")))
    }

    /// Reads a setting below /proc/sys.
    pub fn read_sysctl(&self, name: &str) -> Result<String> {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        self.inside(|| Ok(std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?.trim().to_string()))
    }

    /// Feeds a ruleset to `nft -f -`.
    pub fn nft(&self, rules: &str) -> Result<()> {
        use std::io::Write;
        use std::process::Stdio;
        let mut child = self.command("nft")?.args(["-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        child.stdin.take().context("nft has no standard input")?.write_all(rules.as_bytes())?;
        let output = child.wait_with_output()?;
        anyhow::ensure!(output.status.success(), "nft refused {rules:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }
}
