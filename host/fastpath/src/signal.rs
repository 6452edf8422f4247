//! How the pumps of a tunnel are ended: a flag that each looks at before it sleeps, and a signal that wakes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
