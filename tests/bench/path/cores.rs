//! Two nodes of one machine as two machines: each keeps to its own half of the cores, and takes its packets from the wire there, as a network card has it that
//! interrupts its own machine. Without that the receiving node's work is done by the sender's system call, and where both pods come to stand on one core the
//! kernel's ways wake nobody at all for a packet, which no two machines can do.

use std::fs;

use anyhow::{Context, Result};
use lab::process::run;
use lab::world;
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
        if numbers.len() < 2 || !world::is_own_root() {
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
        // The file lies in the namespace's own sysfs.
        let script = format!("mount -t sysfs sysfs /sys && echo {} >/sys/class/net/eth0/queues/rx-0/rps_cpus", mask(&numbers(receiving)));
        let words = ["--mount", "sh", "-c", &script];
        run(self.pair.nodes[node].net().command("unshare")?.args(words)).context("cannot say where packets are received").map(drop)
    }
}

impl Drop for Apart<'_> {
    fn drop(&mut self) {
        for node in 0..2 {
            if let Err(error) = self.place(node, &self.all, &CpuSet::new()) {
                eprintln!("bench: nodes stay apart, and figures to come are of no use: {error:#}");
            }
        }
        let _ = enter(&self.all);
    }
}

fn numbers(cores: &CpuSet) -> Vec<usize> {
    (0..CpuSet::count()).filter(|core| cores.is_set(*core).unwrap_or(false)).collect()
}

/// As the kernel reads sets of cores (`bitmap_parse`): words of 32 bits, the highest first.
fn mask(numbers: &[usize]) -> String {
    let word = |at: usize| numbers.iter().filter(|core| **core / 32 == at).fold(0u32, |word, core| word | 1 << (core % 32));
    let words = numbers.iter().max().map_or(0, |highest| highest / 32);
    (0..=words).rev().map(|at| format!("{:08x}", word(at))).collect::<Vec<_>>().join(",")
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

#[cfg(test)]
mod tests {
    use super::mask;

    #[test]
    fn masks_are_words_the_highest_first() {
        assert_eq!(mask(&[]), "00000000");
        assert_eq!(mask(&[0, 5]), "00000021");
        assert_eq!(mask(&[1, 32, 95]), "80000000,00000001,00000002");
    }
}
