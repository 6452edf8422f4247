//! Until when the fast path may send. A task of its own, so that no slow call to a store can hold it up.
//!
//! The permit runs to the end of the own lease. As long as this process runs it moves the permit on shortly before it ends, a step at a time: while the store is
//! away the own lease is kept. A process that was frozen does not run, so its permit ends by itself; on waking the fence stays shut and says so, and only the
//! store's word ([`Fence::open`]) opens it again. `u64::MAX` (a reservation, which no store ends) is never looked at again. A remembered lease opens the fence until its
//! recorded end: before that nobody else can have it. When that end has passed, the store is asked first.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::{Guard, millis};
use crate::clock::Clock;
use crate::term::STEP;

/// How often the boot clock is looked at anyway: timers stand still while a machine is suspended, the boot clock does not.
const GLANCE: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy)]
enum Permit {
    /// Nothing may be sent.
    Shut,
    /// Until then; looked at so long before.
    Until { end_ms: u64, lead_ms: u64 },
    /// It ended while this process did not run.
    Frozen,
}

/// What the fence says to whoever asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passage {
    /// The fast path may send.
    Open,
    /// Not any more: the permit ended before it was moved on.
    Ended,
    /// Nothing may be sent.
    Shut,
}

struct Shared {
    permit: Mutex<Permit>,
    guard: Guard,
    changed: Notify,
    frozen: Notify,
}

/// The fast path's permit.
pub(super) struct Fence {
    shared: Arc<Shared>,
    _task: JoinSet<()>,
}

impl Fence {
    /// A shut fence. Must be made inside a tokio runtime.
    pub(super) fn new<C: Clock>(clock: Arc<C>, guard: Guard) -> Fence {
        let shared = Arc::new(Shared { permit: Mutex::new(Permit::Shut), guard, changed: Notify::new(), frozen: Notify::new() });
        let mut task = JoinSet::new();
        task.spawn(keep_open(shared.clone(), clock));
        Fence { shared, _task: task }
    }

    /// The own lease is ours until `end_ms` of the boot clock.
    pub(super) fn open(&self, end_ms: u64, lead: Duration) {
        self.shared.set(Permit::Until { end_ms, lead_ms: millis(lead) }, end_ms);
    }

    /// The own lease is not ours any more, or may not be.
    pub(super) fn shut(&self) {
        self.shared.set(Permit::Shut, 0);
    }

    /// Whether anything may be sent at `now_ms` of the boot clock.
    pub(super) fn passage(&self, now_ms: u64) -> Passage {
        match *self.shared.permit.lock().unwrap_or_else(std::sync::PoisonError::into_inner) {
            Permit::Until { end_ms, .. } if now_ms < end_ms => Passage::Open,
            Permit::Until { .. } | Permit::Frozen => Passage::Ended,
            Permit::Shut => Passage::Shut,
        }
    }

    /// Waits until the permit has ended while this process did not run. Cancel-safe.
    pub(super) async fn frozen(&self) {
        self.shared.frozen.notified().await;
    }
}

impl Shared {
    /// Permit and guard change under one lock, so that the guard hears the newest word last.
    fn set(&self, permit: Permit, guard_ms: u64) {
        let mut current = self.permit.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *current = permit;
        (self.guard)(guard_ms);
        self.changed.notify_one();
    }

    /// Moves the permit on if it is about to end; returns how long nothing needs to be done, or none when only a change matters.
    fn look(&self, now_ms: u64) -> Option<Duration> {
        let mut current = self.permit.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let Permit::Until { end_ms, lead_ms } = *current else { return None };
        if end_ms == u64::MAX {
            return None;
        }
        if now_ms >= end_ms {
            *current = Permit::Frozen;
            self.frozen.notify_one();
            return None;
        }
        let left = end_ms - now_ms;
        if left > lead_ms {
            return Some(Duration::from_millis(left - lead_ms));
        }
        let end_ms = now_ms + millis(STEP);
        *current = Permit::Until { end_ms, lead_ms: millis(STEP / 2) };
        (self.guard)(end_ms);
        Some(STEP / 2)
    }
}

async fn keep_open<C: Clock>(shared: Arc<Shared>, clock: Arc<C>) {
    loop {
        match shared.look(clock.boot_ms()) {
            None => shared.changed.notified().await,
            Some(pause) => tokio::select! {
                () = shared.changed.notified() => {}
                () = tokio::time::sleep(pause.min(GLANCE)) => {}
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestClock;
    use std::sync::atomic::{AtomicU64, Ordering};

    const LEAD: Duration = Duration::from_millis(250);

    fn fence() -> (Fence, Arc<TestClock>, Arc<AtomicU64>) {
        let clock = Arc::new(TestClock::default());
        let told = Arc::new(AtomicU64::new(0));
        let guard = told.clone();
        (Fence::new(clock.clone(), Arc::new(move |until| guard.store(until, Ordering::SeqCst))), clock, told)
    }

    async fn pass(milliseconds: u64) {
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn it_moves_on_while_the_process_runs() {
        let (fence, clock, told) = fence();
        let end = clock.boot_ms() + 3000;
        fence.open(end, LEAD);
        assert_eq!(told.load(Ordering::SeqCst), end);
        pass(2700).await;
        assert_eq!(told.load(Ordering::SeqCst), end, "not before it must");
        for _ in 0..20 {
            pass(1000).await;
            assert!(told.load(Ordering::SeqCst) > clock.boot_ms());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_freeze_it_stays_shut_until_it_is_opened() {
        let (fence, clock, told) = fence();
        let end = clock.boot_ms() + 3000;
        fence.open(end, LEAD);
        pass(1000).await;
        clock.jump(5000);
        fence.frozen().await;
        pass(10_000).await;
        assert_eq!(told.load(Ordering::SeqCst), end, "nobody may open it but the store");
        let next = clock.boot_ms() + 3000;
        fence.open(next, LEAD);
        assert_eq!(told.load(Ordering::SeqCst), next);
    }

    #[tokio::test(start_paused = true)]
    async fn a_freeze_that_ends_in_time_is_none() {
        let (fence, clock, told) = fence();
        fence.open(clock.boot_ms() + 60_000, LEAD);
        pass(1000).await;
        clock.jump(50_000);
        pass(20_000).await;
        assert!(told.load(Ordering::SeqCst) > clock.boot_ms());
        assert!(tokio::time::timeout(LEAD, fence.frozen()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_suspended_machine_is_noticed_soon_after_it_wakes() {
        let (fence, clock, _) = fence();
        fence.open(clock.boot_ms() + 86_400_000, LEAD);
        pass(1000).await;
        clock.jump(90_000_000);
        tokio::time::timeout(2 * GLANCE, fence.frozen()).await.expect("noticed, though no timer for the end of the term was near");
    }

    #[tokio::test(start_paused = true)]
    async fn shut_is_shut_and_a_reservation_has_no_end() {
        let (fence, clock, told) = fence();
        fence.open(u64::MAX, LEAD);
        pass(100_000).await;
        clock.jump(1_000_000);
        pass(100_000).await;
        assert_eq!(told.load(Ordering::SeqCst), u64::MAX);
        fence.shut();
        pass(100_000).await;
        assert_eq!(told.load(Ordering::SeqCst), 0);
    }
}
