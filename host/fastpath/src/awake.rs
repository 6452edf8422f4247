//! Keeps the core of a pump from falling asleep while lone packets follow each other closely, as questions and answers do.
//!
//! A core with nothing to do is halted, and the interrupt of the next packet has to wake it first, on either side of every round trip: some microseconds on bare
//! metal, 10 to 20 in a virtual machine. Hypervisors and their guests therefore look around for a moment before they halt
//! (Documentation/virt/guest-halt-polling.rst). This does so for the pump of the way in, with a thread beside it that spins in the class that gets only what
//! nobody else wants (SCHED_IDLE): whoever wakes takes the core from it at once, and the scheduler counts that core as a free one. It begins when it is worth
//! while, and rests as soon as no packet comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;

use crate::pace::SHORT;
use crate::syscall;

/// Packets that come within so much of each other follow closely: some round trips between two pods.
const CLOSELY: Duration = Duration::from_micros(200);
/// So many of them make it worth while.
const MANY: u32 = 64;
/// Between two looks at the clock: turns of some 10 ns each.
const TURNS: usize = 16;

/// What the pump saw last, and the thread that keeps its core awake, once there was cause for one.
#[derive(Debug)]
pub struct Awake {
    row: Row,
    start: Instant,
    keeper: Option<Keeper>,
    /// It may begin.
    is_wanted: bool,
}

impl Awake {
    /// Nothing seen yet. Where it is not wanted nothing comes of it either.
    pub fn new(is_wanted: bool) -> Self {
        Awake { row: Row::default(), start: Instant::now(), keeper: None, is_wanted }
    }

    /// Notes a batch of so many packets with so many bytes in all, which the calling thread has just carried.
    pub fn carried(&mut self, packets: usize, bytes: usize) {
        if !self.is_wanted {
            return;
        }
        if packets != 1 || bytes > SHORT {
            return self.row.end();
        }
        let now = self.start.elapsed();
        if self.row.is_long_with(now) {
            self.keeper.get_or_insert_with(|| Keeper::start(self.start)).tell(now);
        }
    }
}

/// How many lone packets followed each other closely.
#[derive(Debug, Default)]
struct Row {
    last: Duration,
    len: u32,
}

impl Row {
    /// Adds a packet. One that is late halves the row only, since now and then something else takes the core.
    fn is_long_with(&mut self, now: Duration) -> bool {
        let is_close = now - std::mem::replace(&mut self.last, now) < CLOSELY;
        self.len = if is_close { (self.len + 1).min(MANY) } else { self.len / 2 };
        self.len == MANY
    }

    fn end(&mut self) {
        self.len = 0;
    }
}

/// The thread that spins. It ends with this.
#[derive(Debug)]
struct Keeper {
    told: Arc<Told>,
    thread: Option<JoinHandle<()>>,
}

/// What it is told, and whether it listens.
#[derive(Debug)]
struct Told {
    start: Instant,
    /// When the last packet came, in nanoseconds since the start.
    last: AtomicU64,
    /// Where the pump was then.
    core: AtomicUsize,
    is_resting: AtomicBool,
    is_ended: AtomicBool,
}

impl Keeper {
    /// Starts it, or nothing where there are too many threads: then cores sleep as ever.
    fn start(start: Instant) -> Keeper {
        let told = Told { start, last: 0.into(), core: 0.into(), is_resting: true.into(), is_ended: false.into() };
        let told = Arc::new(told);
        let body = Arc::clone(&told);
        let thread = thread::Builder::new().name("awake".into()).spawn(move || body.keep_awake());
        Keeper { told, thread: thread.ok() }
    }

    /// Another packet came at that moment, on the core of the calling thread.
    fn tell(&self, now: Duration) {
        self.told.last.store(now.as_nanos() as u64, Relaxed);
        self.told.core.store(sched_getcpu().unwrap_or(0), Relaxed);
        if self.told.is_resting.load(Relaxed) && self.told.is_resting.swap(false, Relaxed) {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.told.is_ended.store(true, Relaxed);
        self.wake();
        // It cannot panic, and looks at that in each of its turns.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Told {
    fn keep_awake(&self) {
        // At any other priority it would take time from those who work.
        if syscall::take_what_is_left().is_err() {
            return;
        }
        let mut core = None;
        while !self.is_ended.load(Relaxed) {
            if self.is_quiet() {
                self.is_resting.store(true, Relaxed);
                while self.is_resting.load(Relaxed) && !self.is_ended.load(Relaxed) {
                    thread::park();
                }
            }
            let wanted = self.core.load(Relaxed);
            if core.replace(wanted) != Some(wanted) {
                go_to(wanted);
            }
            (0..TURNS).for_each(|_| std::hint::spin_loop());
        }
    }

    fn is_quiet(&self) -> bool {
        let last = Duration::from_nanos(self.last.load(Relaxed));
        self.start.elapsed().saturating_sub(last) > CLOSELY
    }
}

/// Where the thread may not go there it stays where it is.
fn go_to(core: usize) {
    const THIS_THREAD: Pid = Pid::from_raw(0);
    let mut cores = CpuSet::new();
    let _ = cores.set(core).and_then(|()| sched_setaffinity(THIS_THREAD, &cores));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds so many packets, one every `gap`; tells after how many the row was long.
    fn long_after(row: &mut Row, packets: u32, gap: Duration) -> Option<u32> {
        (1..=packets).find(|_| row.is_long_with(row.last + gap))
    }

    #[test]
    fn only_packets_that_follow_closely_are_worth_it() {
        assert_eq!(long_after(&mut Row::default(), 10_000, CLOSELY), None);
        assert_eq!(long_after(&mut Row::default(), 10_000, CLOSELY / 2), Some(MANY));
    }

    #[test]
    fn one_that_is_late_does_not_end_a_row_and_a_batch_does() {
        let mut row = Row::default();
        long_after(&mut row, MANY, CLOSELY / 2);
        assert!(!row.is_long_with(row.last + CLOSELY));
        assert_eq!(long_after(&mut row, MANY, CLOSELY / 2), Some(MANY / 2));
        row.end();
        assert_eq!(long_after(&mut row, 10_000, CLOSELY / 2), Some(MANY));
    }

    #[test]
    fn it_begins_with_packets_and_rests_without_them() {
        let mut awake = Awake::new(true);
        let begun = Instant::now();
        // A test machine may be slow at times, so that rows are halved; in the end there is one that is long.
        while awake.keeper.is_none() && begun.elapsed() < Duration::from_secs(20) {
            awake.carried(1, 60);
        }
        let told = Arc::clone(&awake.keeper.as_ref().expect("closely enough").told);
        while !told.is_resting.load(Relaxed) && begun.elapsed() < Duration::from_secs(40) {
            thread::yield_now();
        }
        assert!(told.is_resting.load(Relaxed), "no packet comes any more");
        drop(awake);
        assert_eq!(Arc::strong_count(&told), 1, "its thread has ended");
    }

    #[test]
    fn where_it_is_not_wanted_nothing_spins() {
        let mut awake = Awake::new(false);
        (0..10 * MANY).for_each(|_| awake.carried(1, 60));
        assert!(awake.keeper.is_none());
    }
}
