//! A node's daemon: start it now, later or from a barrier; stop, kill, freeze and thaw it; read its log and its use of the machine.

use std::fs::File;
use std::io::{PipeReader, PipeWriter, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, SysconfVar, sysconf};

use crate::artifacts;
use crate::node::Node;
use crate::wait::wait_until;

/// A daemon that was started.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    log: PathBuf,
}

/// When and how to start a daemon.
#[derive(Debug, Default)]
pub struct Launch {
    flags: Vec<String>,
    after: Option<Duration>,
    gate: Option<PipeReader>,
    without_store: bool,
    variables: Vec<(String, String)>,
    /// A program in flanneld's place, called as flanneld is.
    flanneld: Option<PathBuf>,
}

impl Launch {
    /// At once, with the lab's store.
    pub fn now() -> Launch {
        Launch::default()
    }

    /// After a while.
    pub fn after(pause: Duration) -> Launch {
        Launch { after: Some(pause), ..Launch::default() }
    }

    /// When the barrier opens.
    pub fn at(barrier: &Barrier) -> Result<Launch> {
        Ok(Launch { gate: Some(barrier.gate.try_clone()?), ..Launch::default() })
    }

    /// At once, this program as flanneld: its arguments are flannel's flags.
    pub fn flanneld(program: &Path) -> Launch {
        Launch { flanneld: Some(program.into()), without_store: true, ..Launch::default() }
    }

    /// Without the lab's store, with these flags instead.
    pub fn on(mut self, flags: &[String]) -> Launch {
        self.flags.extend_from_slice(flags);
        self.without_store()
    }

    /// With this variable in its environment.
    pub fn variable(mut self, name: &str, value: &str) -> Launch {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// With these flags of `twill run` too.
    pub fn flags(mut self, flags: &[&str]) -> Launch {
        self.flags.extend(flags.iter().map(|flag| flag.to_string()));
        self
    }

    /// Without the flags that name the lab's store.
    pub fn without_store(mut self) -> Launch {
        self.without_store = true;
        self
    }

    /// The words for `sh`: wait as told, then become the daemon.
    fn script(&self) -> String {
        match (self.after, &self.gate) {
            (Some(pause), _) => format!("sleep {}; exec \"$@\"", pause.as_secs_f64()),
            (None, Some(_)) => "read -r _; exec \"$@\"".into(),
            (None, None) => "exec \"$@\"".into(),
        }
    }
}

/// Holds daemons back until it opens.
#[derive(Debug)]
pub struct Barrier {
    gate: PipeReader,
    key: PipeWriter,
}

impl Barrier {
    /// A closed one.
    pub fn new() -> Result<Barrier> {
        let (gate, key) = std::io::pipe()?;
        Ok(Barrier { gate, key })
    }

    /// Lets `count` waiting daemons go: each reads one line.
    pub fn open(mut self, count: usize) -> Result<()> {
        Ok(self.key.write_all("\n".repeat(count).as_bytes())?)
    }
}

impl Node {
    /// Starts `twill run` on this node.
    pub fn start(&self, launch: Launch) -> Result<()> {
        ensure!(self.daemon.borrow().is_none(), "node {} has a daemon already", self.name());
        let log = self.new_log()?;
        let file = File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        let mut command = self.command("/bin/sh")?;
        command.args(["-c", &launch.script(), "twill"]);
        match &launch.flanneld {
            None => command.arg(artifacts::twill()).arg("run"),
            Some(program) => command.arg(program),
        };
        if !launch.without_store {
            command.args(["--store", "file", "--store-dir"]).arg(self.store());
        }
        command.args(&launch.flags).envs(launch.variables).stdout(file.try_clone()?).stderr(file);
        command.stdin(launch.gate.map_or_else(Stdio::null, Stdio::from));
        let child = command.spawn().with_context(|| format!("cannot start twill on {}", self.name()))?;
        *self.daemon.borrow_mut() = Some(Daemon { child, log });
        Ok(())
    }

    fn new_log(&self) -> Result<PathBuf> {
        let number = self.starts.get() + 1;
        self.starts.set(number);
        let dir = artifacts::logs(&crate::world::role().unwrap_or_default());
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        Ok(dir.join(format!("{}.{number}.log", self.name())))
    }

    /// Waits until its daemon says that it is ready; an end of the daemon is an error at once.
    pub fn ready(&self, within: Duration) -> Result<()> {
        let start = Instant::now();
        loop {
            let seen = match self.get("/readyz") {
                Ok((200, _)) => return Ok(()),
                Ok((status, body)) => format!("{status} {body}"),
                Err(error) => format!("{error:#}"),
            };
            if let Some(status) = self.ended()? {
                bail!("the daemon of {} ended ({status}):\n{}", self.name(), self.log()?);
            }
            ensure!(start.elapsed() < within, "the daemon of {} is not ready after {within:?}: {seen}", self.name());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// How its daemon ended, if it has.
    pub fn ended(&self) -> Result<Option<ExitStatus>> {
        self.with_daemon(|daemon| Ok(daemon.child.try_wait()?))
    }

    /// Asks its daemon to end (SIGTERM) and waits for it.
    pub fn stop(&self) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait_for_end(Duration::from_secs(10))
    }

    /// Waits for the end of its daemon.
    pub fn wait_for_end(&self, within: Duration) -> Result<ExitStatus> {
        let status = wait_until(&format!("the end of twill on {}", self.name()), within, || self.ended()?.context("it runs"))?;
        self.daemon.borrow_mut().take();
        Ok(status)
    }

    /// Kills its daemon with SIGKILL.
    pub fn kill(&self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        let status = self.wait_for_end(Duration::from_secs(10))?;
        ensure!(status.signal() == Some(9), "the daemon of {} had ended before it was killed: {status}", self.name());
        Ok(())
    }

    /// Stops its daemon's clockwork (SIGSTOP) without its knowing.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)?;
        self.wait_for_state('T')
    }

    /// Lets a frozen daemon go on.
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// Has its daemon look through the plugin folders again (SIGHUP).
    pub fn reload(&self) -> Result<()> {
        self.signal(Signal::SIGHUP)
    }

    /// What its present daemon has logged.
    pub fn log(&self) -> Result<String> {
        self.with_daemon(|daemon| Ok(String::from_utf8_lossy(&std::fs::read(&daemon.log)?).into_owned()))
    }

    /// The process id of its daemon.
    pub fn pid(&self) -> Result<u32> {
        self.with_daemon(|daemon| Ok(daemon.child.id()))
    }

    /// Processor time that its daemon has used.
    pub fn cpu_time(&self) -> Result<Duration> {
        let stat = self.proc("stat")?;
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |index: usize| -> Result<u64> { Ok(fields.get(index).context("/proc/PID/stat is short")?.parse()?) };
        let per_second = sysconf(SysconfVar::CLK_TCK)?.context("no clock tick")? as u64;
        Ok(Duration::from_millis((ticks(11)? + ticks(12)?) * 1000 / per_second))
    }

    /// A figure of /proc/PID/status in kilobytes, such as "VmRSS" or "RssAnon".
    pub fn memory_kb(&self, what: &str) -> Result<u64> {
        let status = self.proc("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':'));
        let figure = line.and_then(|rest| rest.split_whitespace().next());
        Ok(figure.with_context(|| format!("no {what} in /proc/PID/status"))?.parse()?)
    }

    fn wait_for_state(&self, state: char) -> Result<()> {
        wait_until("the daemon's state", Duration::from_secs(2), || {
            let stat = self.proc("stat")?;
            let seen = stat.rsplit(')').next().and_then(|rest| rest.trim_start().chars().next());
            ensure!(seen == Some(state), "{stat}");
            Ok(())
        })
    }

    fn proc(&self, file: &str) -> Result<String> {
        Ok(std::fs::read_to_string(format!("/proc/{}/{file}", self.pid()?))?)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(self.pid()? as i32), signal)?)
    }

    fn with_daemon<T>(&self, look: impl FnOnce(&mut Daemon) -> Result<T>) -> Result<T> {
        let mut daemon = self.daemon.borrow_mut();
        look(daemon.as_mut().with_context(|| format!("node {} has no daemon", self.name()))?)
    }
}

/// Prints the ends of all logs of this world's daemons, for a failed test.
pub fn print_logs(test: &str) {
    let dir = artifacts::logs(test);
    let Ok(entries) = std::fs::read_dir(&dir) else { return };
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    for file in files {
        let text = std::fs::read(&file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        println!("---- {} (last lines of {})", file.file_name().unwrap_or_default().to_string_lossy(), lines.len());
        for line in &lines[lines.len().saturating_sub(30)..] {
            println!("{line}");
        }
    }
}
