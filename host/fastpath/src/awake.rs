//! Keeps a core from falling asleep while lone packets follow each other closely, as questions and answers do.
//!
//! A core with nothing to do is halted, and the interrupt of the next packet has to wake it first, on either side of every round trip: some microseconds on bare
//! metal, 10 to 20 in a virtual machine. Hypervisors and their guests therefore look around for a moment before they halt
//! (Documentation/virt/guest-halt-polling.rst). Here a thread of the node does so on the core of the pump that receives: it spins there in the class that takes
//! no turn from others of its control group (SCHED_IDLE). Between groups that class means nothing, and each gets its share: so it leaves the core, for up to a
//! second, when it finds that it got less than a seventh of it in 100 ms. It begins when packets make it worth while, and rests as soon as none comes.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;

use crate::bulk::Bulk;
use crate::schedule::is_lone;
use crate::syscall::Scheduling;

/// Packets that come within so much of each other follow closely: some round trips between two pods.
const CLOSELY: Duration = Duration::from_micros(200);
/// So many of them make it worth while.
const MANY: u32 = 64;
/// Between two looks at the clock: turns of 10 to 50 ns each.
const TURNS: usize = 16;
/// Between two looks at the clock no more than that goes by unless somebody else has the core.
const LOOK: Duration = Duration::from_micros(5);
/// What it got of the core is looked at in such whiles.
const WHILE: Duration = Duration::from_millis(100);
/// With less than so much of a while others want the core. Measured: a quarter to a third where lone packets alone need it, a fifteenth beside one who computes.
const LEAST: Duration = Duration::from_millis(14);
/// A rest that is longer is one for want of packets. A pump that has to wait for the core beside others makes shorter ones, which count as theirs.
const LONG_REST: Duration = Duration::from_millis(25);
/// How long the core is left to them: twice as long each time they come back soon.
const AWAY: Range<Duration> = Duration::from_millis(10)..Duration::from_secs(1);
/// A core that nobody else wanted for so long is a free one.
const FREE: Duration = Duration::from_secs(1);
/// The calling thread.
const THIS_THREAD: Pid = Pid::from_raw(0);

/// True where this process has several cores and no limit of processor time, which would count the spinner's: std counts fewer cores then (cgroups) than it may use.
pub fn has_cores_to_spare() -> bool {
    let counted = thread::available_parallelism().map_or(1, |count| count.get());
    let set = sched_getaffinity(THIS_THREAD).unwrap_or_default();
    are_to_spare(counted, (0..CpuSet::count()).filter(|core| set.is_set(*core).unwrap_or(false)).count())
}

fn are_to_spare(counted: usize, usable: usize) -> bool {
    counted > 1 && counted == usable
}

/// What a pump that receives saw last.
#[derive(Debug, Default)]
pub struct Row {
    last: Duration,
    len: u32,
    bulk_ms: u64,
}

impl Row {
    /// Notes a batch of so many packets with so many bytes in all, which the calling thread has just carried; the spinner is told when they make it worth while.
    /// Beside bulk that goes out they may be its acknowledgments, and a core that is never idle takes over no thread that waits at another.
    pub fn carried(&mut self, packets: usize, bytes: usize, bulk: &Bulk, spinner: &Spinner) {
        let bulk_ms = bulk.last_ms();
        let is_quiet = std::mem::replace(&mut self.bulk_ms, bulk_ms) == bulk_ms;
        if !is_quiet || !is_lone(packets, bytes) {
            self.len = 0;
            return;
        }
        let now = spinner.told.start.elapsed();
        if self.is_long_with(now) {
            spinner.tell(now, sched_getcpu());
        }
    }

    /// Adds a packet. One that is late halves the row only, since now and then something else takes the core.
    fn is_long_with(&mut self, now: Duration) -> bool {
        let is_close = now - std::mem::replace(&mut self.last, now) < CLOSELY;
        self.len = if is_close { (self.len + 1).min(MANY) } else { self.len / 2 };
        self.len == MANY
    }
}

/// The thread that spins, one a node. It ends after this was dropped.
#[derive(Debug)]
pub struct Spinner {
    told: Arc<Told>,
    thread: Option<Thread>,
}

/// What the thread is told, and whether it listens. Nothing hangs on any of it being seen at once.
#[derive(Debug)]
struct Told {
    start: Instant,
    /// When the last packet came, in nanoseconds since the start.
    last: AtomicU64,
    /// Where its pump was then.
    core: AtomicUsize,
    is_resting: AtomicBool,
    /// It rests until then at least, in nanoseconds since the start.
    away_until: AtomicU64,
    is_ended: AtomicBool,
}

impl Spinner {
    /// Starts it, to rest at first. Where the system has no thread for it, or will not let it give way to all others, cores sleep as ever.
    pub fn start() -> Spinner {
        let told = Arc::new(Told::new());
        let body = Arc::clone(&told);
        // It is not waited for in the end: on a busy core it may be long until it sees that, and it holds nothing but what it is told.
        let started = thread::Builder::new().name("keep awake".into()).spawn(move || body.keep_awake());
        Spinner { told, thread: started.ok().map(|handle| handle.thread().clone()) }
    }

    /// Another packet came at that moment, to a pump on that core. While the packets of one pump keep it busy those of others are none of its business.
    fn tell(&self, now: Duration, core: Result<usize, Errno>) {
        let (told, Ok(core)) = (&self.told, core) else { return };
        if told.is_fresh(now) && told.core.load(Relaxed) != core || now < nanos(&told.away_until) {
            return;
        }
        told.core.store(core, Relaxed);
        told.last.store(now.as_nanos() as u64, Relaxed);
        if told.is_resting.load(Relaxed) && told.is_resting.swap(false, Relaxed) {
            self.wake();
        }
    }

    fn wake(&self) {
        self.thread.as_ref().into_iter().for_each(Thread::unpark);
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.told.is_ended.store(true, Relaxed);
        self.wake();
    }
}

impl Told {
    fn new() -> Told {
        Told {
            start: Instant::now(),
            last: 0.into(),
            core: 0.into(),
            is_resting: true.into(),
            away_until: 0.into(),
            is_ended: false.into(),
        }
    }

    fn is_fresh(&self, now: Duration) -> bool {
        now.saturating_sub(nanos(&self.last)) < CLOSELY
    }

    fn keep_awake(&self) {
        // At any other priority it would take time from those who work.
        if Scheduling::of(libc::SCHED_IDLE).apply().is_err() {
            return;
        }
        let anywhere = sched_getaffinity(THIS_THREAD);
        let (mut away, mut back, mut share) = (AWAY.start, Duration::ZERO, Share::default());
        while !self.is_ended.load(Relaxed) {
            if self.is_resting.load(Relaxed) {
                // Else it would have to win the core where it was last, before it can go to another.
                let _ = anywhere.and_then(|cores| sched_setaffinity(THIS_THREAD, &cores));
                thread::park();
                continue;
            }
            if let Some(wanted) = self.spin(&mut share) {
                away = next_away(away, wanted.saturating_sub(back));
                back = wanted + away;
                self.away_until.store(back.as_nanos() as u64, Relaxed);
            }
            self.is_resting.store(true, Relaxed);
        }
    }

    /// Until no packet comes, or others have work for the core; tells when that was found.
    fn spin(&self, share: &mut Share) -> Option<Duration> {
        let (core, begun) = (self.core.load(Relaxed), self.start.elapsed());
        share.come_back(begun, core);
        if go_to(core).is_err() {
            // A core that it may not use is one to stay away from as well.
            return Some(begun);
        }
        while self.core.load(Relaxed) == core && !self.is_ended.load(Relaxed) {
            (0..TURNS).for_each(|_| std::hint::spin_loop());
            let now = self.start.elapsed();
            if share.is_little_at(now) {
                return Some(now);
            }
            if !self.is_fresh(now) {
                return None;
            }
        }
        None
    }
}

/// How much of the core it got in the current while.
#[derive(Debug, Default)]
struct Share {
    core: usize,
    since: Duration,
    /// When it last looked at the clock.
    looked: Duration,
    own: Duration,
}

impl Share {
    /// It spins again, from that moment on: after a long rest, or on another core, in a new while.
    fn come_back(&mut self, now: Duration, core: usize) {
        if now.saturating_sub(self.looked) > LONG_REST || core != self.core {
            *self = Share { core, since: now, looked: now, own: Duration::ZERO };
        }
    }

    /// Looks at the clock. True when a while is over in which it got little.
    fn is_little_at(&mut self, now: Duration) -> bool {
        let gap = now.saturating_sub(std::mem::replace(&mut self.looked, now));
        if gap < LOOK {
            self.own += gap;
        }
        if now.saturating_sub(self.since) < WHILE {
            return false;
        }
        let is_little = self.own < LEAST;
        (self.since, self.own) = (now, Duration::ZERO);
        is_little
    }
}

/// How long to stay away, after having stayed away for `last` and been back since then for `back`.
fn next_away(last: Duration, back: Duration) -> Duration {
    if back > FREE { AWAY.start } else { (last * 2).min(AWAY.end) }
}

fn nanos(since_start: &AtomicU64) -> Duration {
    Duration::from_nanos(since_start.load(Relaxed))
}

fn go_to(core: usize) -> Result<(), Errno> {
    let mut cores = CpuSet::new();
    cores.set(core)?;
    sched_setaffinity(THIS_THREAD, &cores)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds so many packets, one every `gap`; tells after how many the row was long.
    fn long_after(row: &mut Row, packets: u32, gap: Duration) -> Option<u32> {
        (1..=packets).find(|_| row.is_long_with(row.last + gap))
    }

    fn without_thread() -> Spinner {
        Spinner { told: Arc::new(Told::new()), thread: None }
    }

    fn until(what: &str, is: impl Fn() -> bool) {
        let begun = Instant::now();
        while !is() {
            assert!(begun.elapsed() < Duration::from_secs(120), "{what}");
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn only_packets_that_follow_closely_are_worth_it() {
        assert_eq!(long_after(&mut Row::default(), 10_000, CLOSELY), None);
        assert_eq!(long_after(&mut Row::default(), 10_000, CLOSELY / 2), Some(MANY));
    }

    #[test]
    fn one_that_is_late_halves_a_row() {
        let mut row = Row::default();
        long_after(&mut row, MANY, CLOSELY / 2);
        assert!(!row.is_long_with(row.last + CLOSELY));
        assert_eq!(long_after(&mut row, MANY, CLOSELY / 2), Some(MANY / 2));
    }

    #[test]
    fn batches_long_packets_and_streams_end_a_row() {
        let spinner = without_thread();
        let len_after = |packets, bytes, bulk_out| {
            let bulk = Bulk::default();
            let mut row = Row { last: spinner.told.start.elapsed(), len: MANY - 1, bulk_ms: bulk.last_ms() };
            bulk.note(bulk_out, 1_000);
            row.carried(packets, bytes, &bulk, &spinner);
            row.len
        };
        assert_ne!(len_after(1, 60, 0), 0, "a lone packet");
        assert_eq!([len_after(2, 120, 0), len_after(1, 60_000, 0), len_after(1, 60, 60_000)], [0; 3]);
    }

    /// True when a thread of that name is bound to that core, is of the idle class, and has worked; the 41st and 14th fields of its stat say so (proc_pid_stat(5)).
    fn works_on(core: usize, name: &str) -> bool {
        let threads = std::fs::read_dir("/proc/self/task").expect("threads").filter_map(|thread| Some(thread.ok()?.path()));
        threads.into_iter().any(|thread| {
            let file = |file: &str| std::fs::read_to_string(thread.join(file)).unwrap_or_default();
            let (stat, status) = (file("stat"), file("status"));
            let fields: Vec<i32> = stat.rsplit(") ").next().unwrap_or_default().split(' ').map(|text| text.parse().unwrap_or(0)).collect();
            let field = |number: usize| fields.get(number - 3).copied();
            stat.contains(&format!("({name})"))
                && status.contains(&format!("Cpus_allowed_list:\t{core}\n"))
                && field(41) == Some(libc::SCHED_IDLE)
                && field(14) > Some(0)
        })
    }

    #[test]
    fn it_spins_on_the_core_of_the_pump_in_the_class_that_gives_way() {
        let usable = sched_getaffinity(THIS_THREAD).expect("cores");
        let mut cores = (0..CpuSet::count()).filter(|core| usable.is_set(*core).unwrap_or(false));
        let (Some(own), Some(core)) = (cores.next(), cores.next()) else { return println!("skipped: one core") };
        // It would have to win that of the thread that tells it.
        go_to(own).expect("a core");
        let spinner = Spinner::start();
        until("it spins", || {
            let begun = Instant::now();
            while begun.elapsed() < CLOSELY * 100 {
                spinner.tell(spinner.told.start.elapsed(), Ok(core));
            }
            works_on(core, "keep awake")
        });
    }

    #[test]
    fn a_core_that_it_may_not_use_is_left_alone() {
        let spinner = Spinner::start();
        until("it stays away", || {
            spinner.tell(spinner.told.start.elapsed(), Ok(CpuSet::count() - 1));
            nanos(&spinner.told.away_until) > Duration::ZERO
        });
    }

    #[test]
    fn it_begins_with_packets_and_rests_without_them() {
        let spinner = Spinner::start();
        let core = sched_getcpu().expect("a core");
        spinner.tell(spinner.told.start.elapsed(), Ok(core));
        until("no packet comes any more", || spinner.told.is_resting.load(Relaxed));
        let told = Arc::clone(&spinner.told);
        drop(spinner);
        until("its thread ends", || Arc::strong_count(&told) == 1);
    }

    #[test]
    fn it_stays_with_one_pump_and_away_from_who_works() {
        let spinner = without_thread();
        let second = Duration::from_secs(1);
        spinner.tell(second, Ok(0));
        spinner.tell(second + CLOSELY / 2, Ok(1));
        assert_eq!(spinner.told.core.load(Relaxed), 0, "another pump");
        spinner.tell(second + CLOSELY * 2, Ok(1));
        assert_eq!(spinner.told.core.load(Relaxed), 1, "the first has no packets any more");
        spinner.told.away_until.store((second * 3).as_nanos() as u64, Relaxed);
        spinner.tell(second * 2, Ok(0));
        assert_eq!(nanos(&spinner.told.last), second + CLOSELY * 2, "somebody works there");
    }

    #[test]
    fn a_core_of_which_little_is_left_is_others() {
        // Of every 70 µs it has 20, or beside one who computes 4.
        for (looks, is_little) in [(10, false), (2, true)] {
            let (mut share, mut now) = (Share::default(), Duration::ZERO);
            let mut look = |gap: Duration| {
                now += gap;
                share.is_little_at(now)
            };
            let mut trip = || {
                let own: Vec<bool> = (0..looks).map(|_| look(Duration::from_micros(2))).collect();
                own.contains(&true) | look(Duration::from_micros(70 - 2 * looks))
            };
            assert_eq!((0..10_000).any(|_| trip()), is_little, "{looks}");
        }
    }

    #[test]
    fn rests_for_want_of_packets_are_nobodys_time() {
        for (rest, is_others) in
            [(LONG_REST * 2, false), (WHILE, false), (WHILE * 3 / 2, false), (WHILE * 50, false), (LONG_REST / 2, true)]
        {
            let (mut share, mut now) = (Share::default(), Duration::ZERO);
            // It spins for half a millisecond, and rests.
            let mut turn = || {
                share.come_back(now, 0);
                let is_little = (0..250).any(|_| {
                    now += Duration::from_micros(2);
                    share.is_little_at(now)
                });
                now += rest;
                is_little
            };
            assert_eq!((0..100).any(|_| turn()), is_others, "{rest:?}");
        }
    }

    #[test]
    fn a_core_on_which_it_gets_no_turn_is_others() {
        let mut share = Share::default();
        share.come_back(WHILE, 0);
        assert!(!share.is_little_at(WHILE + WHILE / 2));
        assert!(share.is_little_at(WHILE * 5), "not a turn in all that time");
    }

    #[test]
    fn it_stays_away_the_longer_the_more_is_done() {
        let next = |away: &Duration| Some(next_away(*away, Duration::ZERO));
        let times: Vec<Duration> = std::iter::successors(Some(AWAY.start), next).take(9).collect();
        assert_eq!(times[..3], [10, 20, 40].map(Duration::from_millis));
        assert_eq!(times[8], AWAY.end);
        assert_eq!(next_away(AWAY.end, FREE * 2), AWAY.start, "a core with little to do");
    }

    #[test]
    fn cores_are_to_spare_where_there_are_some_and_no_limit() {
        assert!(are_to_spare(2, 2));
        assert!(!are_to_spare(1, 1), "one core");
        assert!(!are_to_spare(1, 8), "a limit below one core");
        assert!(!are_to_spare(3, 8), "a limit of three and a half");
    }
}
