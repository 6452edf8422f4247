//! The part of the demo that stays on the machine: it starts the lab, forwards the dashboard out of it, and ends it.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{wait_until, world};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::{inside, page};

/// Starts the lab with the same arguments and stays until it ends or somebody ends the demo. Answers with the lab's exit code.
pub fn run(args: &[&str]) -> Result<ExitCode> {
    // Blocked before any thread is made, so that `wait` below gets them and nobody else.
    let ends = signals();
    ends.thread_block().context("cannot block signals")?;
    // When unshare is killed, its child becomes ours.
    prctl::set_child_subreaper(true).context("cannot adopt the lab's processes")?;
    let listener = page::listen().context("cannot listen on the loopback address")?;
    let page = format!("http://{}", listener.local_addr()?);
    let mut command = world::again("demo")?;
    let mut lab = command.args(args).env(inside::PAGE, page).stdin(Stdio::piped()).spawn().context("cannot start the lab")?;
    let first = first_process(&mut lab)?;
    writeln!(lab.stdin.as_mut().context("the lab has no standard input")?, "{first}")?;
    let socket = PathBuf::from(format!("/proc/{first}/root")).join(inside::SOCKET.trim_start_matches('/'));
    page::forward_tcp(listener, move || Ok(UnixStream::connect(&socket)?.into()));
    let status = match attend(&ends, &mut lab)? {
        Some(status) => status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1),
        None => {
            println!("\nending the demo");
            lab.kill()?;
            lab.wait()?;
            0
        }
    };
    // Whoever ends, the lab's first process ends last: the rest is gone then.
    let _ = waitpid(first, None);
    Ok(ExitCode::from(status))
}

fn signals() -> SigSet {
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGCHLD].into_iter().collect()
}

/// Waits for the lab's end, or for a signal that asks for it (none).
fn attend(ends: &SigSet, lab: &mut Child) -> Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = lab.try_wait()? {
            return Ok(Some(status));
        }
        if ends.wait()? != Signal::SIGCHLD {
            return Ok(None);
        }
    }
}

/// The first process of the lab, by its id outside.
fn first_process(lab: &mut Child) -> Result<Pid> {
    let unshare = lab.id();
    wait_until("the lab's first process", Duration::from_secs(10), || {
        ensure!(lab.try_wait()?.is_none(), "unshare has ended");
        let children = std::fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children"))?;
        Ok(Pid::from_raw(children.split_whitespace().next().context("unshare has no child yet")?.parse()?))
    })
}
