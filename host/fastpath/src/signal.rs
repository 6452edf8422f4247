//! How the pumps of a tunnel are ended: a flag that each looks at before it sleeps, and a signal that wakes it.

use std::os::unix::thread::JoinHandleExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use nix::sys::pthread::pthread_kill;
use nix::sys::signal::{SigSet, Signal as Number};
use tokio::sync::Notify;

/// Shared by the pumps of one tunnel and the forwarder.
#[derive(Debug)]
pub struct Signal {
    ended: AtomicBool,
    gone: AtomicBool,
    changed: Arc<Notify>,
}

impl Signal {
    /// `changed` is told when the tunnel goes.
    pub fn new(changed: Arc<Notify>) -> Self {
        Signal { ended: AtomicBool::new(false), gone: AtomicBool::new(false), changed }
    }

    /// Ends all pumps of the tunnel, as soon as they wake.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// True once the pumps are to end.
    pub fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Ends all pumps since the tunnel no longer works, and tells so.
    pub fn lose(&self) {
        self.gone.store(true, Ordering::Release);
        self.end();
        self.changed.notify_one();
    }

    /// True once the tunnel was lost.
    pub fn is_lost(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }
}

/// Lets the signal reach the calling thread, whatever its parents have blocked.
pub fn accept_interrupts() {
    let mut signals = SigSet::empty();
    signals.add(Number::SIGURG);
    // It fails for signal sets alone that are none.
    let _ = signals.thread_unblock();
}

/// Wakes a thread from the system call that it sleeps in, if it does. One that has ended is left alone.
pub fn interrupt<T>(thread: &JoinHandle<T>) {
    // The thread was not joined, so that its id is still its own.
    let _ = pthread_kill(thread.as_pthread_t(), Number::SIGURG);
}
