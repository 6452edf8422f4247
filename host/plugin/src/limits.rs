//! What a plugin may use: the settings, and the account of one instance.
//!
//! Time is charged while the guest computes and never while it waits in the host. The call hook starts and stops the watch, the epoch
//! callback
//! looks at it every tick. The callback is itself a call into the host, as `memory.grow` is; so a *stretch* of computing that the
//! callback interrupted goes
//! on afterwards, and the whole call has a limit too.

use std::time::{Duration, Instant};

use wasmtime::{CallHook, ResourceLimiter};

use crate::engine::Running;
use crate::error::Overrun;

/// Limits of every instance; the defaults suit plugins in all languages that were tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory of an instance in bytes, all its memories together.
    pub memory: usize,
    /// Elements of one table.
    pub table_elements: usize,
    /// Core instances inside one component.
    pub instances: usize,
    /// Bytes that one call may hand to the host.
    pub handed_over: usize,
    /// Computing without a call to the host.
    pub stretch: Duration,
    /// Computing in one exported call.
    pub computing: Duration,
    /// Calls to the host in one exported call.
    pub host_calls: u64,
    /// Log lines in one exported call; more ends the call.
    pub log_lines: u32,
    /// Time for an answer of a backend, waiting included.
    pub plan_wall: Duration,
    /// Time for an answer of a store, waiting included.
    pub store_wall: Duration,
    /// Time that a watch may take beyond the wait that was asked for.
    pub watch_slack: Duration,
    /// Items in one answer of a backend; an answer with more is refused whole.
    pub items: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            memory: 128 << 20,
            table_elements: 100_000,
            instances: 256,
            handed_over: 32 << 20,
            stretch: Duration::from_millis(200),
            computing: Duration::from_secs(1),
            host_calls: 100_000,
            log_lines: 1_000,
            plan_wall: Duration::from_secs(2),
            store_wall: Duration::from_secs(30),
            watch_slack: Duration::from_secs(10),
            items: 4_096,
        }
    }
}

/// The account of one instance: what it has used in this call, and its memory.
pub(crate) struct Account {
    limits: Limits,
    running: Running,
    /// When the guest was last entered; none while the host has the word.
    entered: Option<Instant>,
    stretch: Duration,
    computing: Duration,
    host_calls: u64,
    /// The call into the host that is under way is the epoch callback.
    ticked: bool,
    memory: usize,
    peak: usize,
    /// Memory or a table was refused in this call, which most likely is why it trapped.
    starved: Option<Overrun>,
}

impl Account {
    pub(crate) fn new(limits: Limits, running: Running) -> Account {
        Account {
            limits,
            running,
            entered: None,
            stretch: Duration::ZERO,
            computing: Duration::ZERO,
            host_calls: 0,
            ticked: false,
            memory: 0,
            peak: 0,
            starved: None,
        }
    }

    /// Opens the account of a new exported call.
    pub(crate) fn begin(&mut self) {
        self.leave();
        (self.stretch, self.computing) = (Duration::ZERO, Duration::ZERO);
        (self.host_calls, self.ticked, self.starved) = (0, false, None);
    }

    /// What the guest has computed in this call.
    pub(crate) fn computed(&self) -> Duration {
        self.computing
    }

    /// The most memory that the instance has had, in bytes.
    pub(crate) fn peak(&self) -> usize {
        self.peak
    }

    /// The limit that memory or a table was refused by in this call.
    pub(crate) fn starved(&self) -> Option<Overrun> {
        self.starved.clone()
    }

    /// The limit that an error is about which wasmtime knows only by its words.
    pub(crate) fn exceeded(&self, error: &wasmtime::Error) -> Option<Overrun> {
        let words = error.root_cause().to_string();
        if words.contains("fuel allocated for hostcalls has been exhausted") {
            return Some(Overrun::Output(self.limits.handed_over));
        }
        words.contains("instance count too high").then_some(Overrun::Instances(self.limits.instances))
    }

    /// The guest gains or loses the word. True when the deadline is to be armed anew.
    pub(crate) fn turn(&mut self, turn: CallHook) -> Result<bool, Overrun> {
        match turn {
            CallHook::CallingWasm | CallHook::ReturningFromHost => Ok(self.enter()),
            CallHook::ReturningFromWasm => {
                self.leave();
                Ok(false)
            }
            CallHook::CallingHost => {
                self.leave();
                self.host_calls += 1;
                if self.host_calls > self.limits.host_calls { Err(Overrun::HostCalls(self.limits.host_calls)) } else { Ok(false) }
            }
        }
    }

    /// The epoch callback: the guest has computed for a tick more.
    pub(crate) fn tick(&mut self) -> Result<(), Overrun> {
        self.ticked = true;
        let now = self.entered.map_or(Duration::ZERO, |entered| entered.elapsed());
        let (stretch, computing) = (self.stretch + now, self.computing + now);
        if stretch > self.limits.stretch {
            return Err(Overrun::Stretch(stretch.as_millis()));
        }
        if computing > self.limits.computing {
            return Err(Overrun::Computing(computing.as_millis()));
        }
        Ok(())
    }

    fn enter(&mut self) -> bool {
        let fresh = !std::mem::take(&mut self.ticked);
        if fresh {
            self.stretch = Duration::ZERO;
        } else {
            self.host_calls = self.host_calls.saturating_sub(1);
        }
        self.running.start();
        self.entered = Some(Instant::now());
        fresh
    }

    fn leave(&mut self) {
        if let Some(entered) = self.entered.take() {
            let used = entered.elapsed();
            self.stretch += used;
            self.computing += used;
            self.running.stop();
        }
    }
}

impl ResourceLimiter for Account {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let wanted = self.memory.saturating_add(desired.saturating_sub(current));
        if wanted > self.limits.memory {
            self.starved = Some(Overrun::Memory(self.limits.memory));
            return Ok(false);
        }
        self.memory = wanted;
        self.peak = self.peak.max(wanted);
        Ok(true)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let fits = desired <= self.limits.table_elements;
        if !fits {
            self.starved = Some(Overrun::Table(self.limits.table_elements));
        }
        Ok(fits)
    }

    fn instances(&self) -> usize {
        self.limits.instances
    }

    fn tables(&self) -> usize {
        self.limits.instances
    }

    fn memories(&self) -> usize {
        self.limits.instances
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Ticker;

    fn account(limits: Limits) -> Account {
        Account::new(limits, Ticker::idle().running())
    }

    #[test]
    fn memory_is_counted_over_all_memories() {
        let mut account = account(Limits { memory: 3 << 16, ..Limits::default() });
        assert!(account.memory_growing(0, 1 << 16, None).expect("no error"));
        assert!(account.memory_growing(0, 2 << 16, None).expect("no error"));
        assert!(!account.memory_growing(2 << 16, 3 << 16, None).expect("no error"));
        assert_eq!(account.starved(), Some(Overrun::Memory(3 << 16)));
        assert_eq!(account.peak(), 3 << 16);
    }

    #[test]
    fn a_stretch_that_the_tick_interrupts_goes_on() {
        let mut account = account(Limits { stretch: Duration::ZERO, ..Limits::default() });
        account.turn(CallHook::CallingWasm).expect("entered");
        account.turn(CallHook::CallingHost).expect("the tick");
        assert!(matches!(account.tick(), Err(Overrun::Stretch(_))));
    }

    #[test]
    fn a_call_to_the_host_ends_the_stretch() {
        let mut account = account(Limits::default());
        account.turn(CallHook::CallingWasm).expect("entered");
        account.turn(CallHook::CallingHost).expect("a host call");
        assert!(account.turn(CallHook::ReturningFromHost).expect("back"), "the deadline is armed anew");
        assert_eq!(account.stretch, Duration::ZERO);
    }

    #[test]
    fn host_calls_are_capped_and_ticks_are_not_counted() {
        let mut account = account(Limits { host_calls: 1, ..Limits::default() });
        account.turn(CallHook::CallingWasm).expect("entered");
        account.turn(CallHook::CallingHost).expect("the tick");
        account.tick().expect("within its time");
        assert!(!account.turn(CallHook::ReturningFromHost).expect("back"), "the deadline stands");
        account.turn(CallHook::CallingHost).expect("the first real one");
        account.turn(CallHook::ReturningFromHost).expect("back");
        assert_eq!(account.turn(CallHook::CallingHost), Err(Overrun::HostCalls(1)));
    }
}
