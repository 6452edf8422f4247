//! Two nodes of one machine as two machines: each keeps to its own half of the cores, and takes its packets from the wire there, as a network card has it that
//! interrupts its own machine. Without that the receiving node's work is done by the sender's system call, and where both pods come to stand on one core the
//! kernel's ways wake nobody at all for a packet, which no two machines can do.

use std::fs;

use anyhow::{Context, Result};
use lab::process::run;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::path::pair::Pair;

/// The calling thread.
const THIS_THREAD: Pid = Pid::from_raw(0);

/// Both nodes on their halves, until this is dropped.
#[derive(Debug)]
pub struct Apart<'a> {
    pair: &'a Pair,
    programs: [Vec<u32>; 2],
    /// The cores of each node.
    pub halves: [CpuSet; 2],
    all: CpuSet,
}

impl<'a> Apart<'a> {
    /// Puts them there, each with the programs of that node that carry packets; none where the machine has one core, or this user may not say where packets are
    /// received (that takes the machine's own root).
    pub fn new(pair: &'a Pair, programs: [Vec<u32>; 2]) -> Result<Option<Apart<'a>>> {
        let all = sched_getaffinity(THIS_THREAD)?;
        let numbers = numbers(&all);
        if numbers.len() < 2 || !is_own_root()? {
            return Ok(None);
        }
        let (first, second) = numbers.split_at(numbers.len() / 2);
        let apart = Apart { pair, programs, halves: [set(first)?, set(second)?], all };
        for node in 0..2 {
            apart.place(node, &apart.halves[node], &apart.halves[node])?;
        }
        Ok(Some(apart))
    }

    /// Keeps what carries a node's packets on these cores, and takes packets from the wire on those; on none is the kernel's default, the core that was interrupted
    /// or sent.
    fn place(&self, node: usize, cores: &CpuSet, receiving: &CpuSet) -> Result<()> {
        self.programs[node].iter().try_for_each(|pid| keep_on(*pid, cores))?;
        let mask = numbers(receiving).into_iter().fold(0u128, |mask, core| mask | 1 << core);
        // The file lies in the namespace's own sysfs.
        let script = format!("mount -t sysfs sysfs /sys && echo {mask:x} >/sys/class/net/eth0/queues/rx-0/rps_cpus");
        let words = ["--mount", "sh", "-c", &script];
        run(self.pair.nodes[node].net().command("unshare")?.args(words)).context("cannot say where packets are received").map(drop)
    }
}

impl Drop for Apart<'_> {
    fn drop(&mut self) {
        for node in 0..2 {
            let _ = self.place(node, &self.all, &CpuSet::new());
        }
        let _ = enter(&self.all);
    }
}

fn numbers(cores: &CpuSet) -> Vec<usize> {
    (0..CpuSet::count()).filter(|core| cores.is_set(*core).unwrap_or(false)).collect()
}

fn set(numbers: &[usize]) -> Result<CpuSet> {
    let mut cores = CpuSet::new();
    numbers.iter().try_for_each(|core| cores.set(*core))?;
    Ok(cores)
}

/// Keeps the calling thread on those cores.
pub fn enter(cores: &CpuSet) -> Result<()> {
    Ok(sched_setaffinity(THIS_THREAD, cores)?)
}

/// All threads of a process.
fn keep_on(pid: u32, set: &CpuSet) -> Result<()> {
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let thread: i32 = thread?.file_name().to_string_lossy().parse()?;
        match sched_setaffinity(Pid::from_raw(thread), set) {
            // It has ended meanwhile.
            Err(nix::errno::Errno::ESRCH) => {}
            other => other?,
        }
    }
    Ok(())
}

/// True outside of user namespaces: there the first id of all is root's own.
fn is_own_root() -> Result<bool> {
    let map = fs::read_to_string("/proc/self/uid_map")?;
    Ok(map.split_whitespace().eq(["0", "0", "4294967295"]))
}
