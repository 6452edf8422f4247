//! How the pumps of a tunnel are woken and ended: an event descriptor that each waits on, beside its sources of packets.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use tokio::sync::Notify;

/// Shared by the pumps of one tunnel and the forwarder.
#[derive(Debug)]
pub struct Signal {
    ended: AtomicBool,
    gone: AtomicBool,
    event: EventFd,
    changed: Arc<Notify>,
}

impl Signal {
    /// `changed` is told when the tunnel goes.
    pub fn new(changed: Arc<Notify>) -> nix::Result<Self> {
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Signal { ended: AtomicBool::new(false), gone: AtomicBool::new(false), event, changed })
    }

    /// Ends all pumps of the tunnel.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
        // The counter stays above zero, so that every pump sees it; it cannot overflow.
        let _ = self.event.write(1);
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

    /// Sleeps until there is something to read from `source`, or it has an error, or the pumps are to end. True when it has an error: a device was deleted, a
    /// socket has something in its error queue. Just these two are waited for, since each costs a little at every wake-up.
    pub fn wait(&self, source: BorrowedFd<'_>) -> bool {
        let mut polled = [PollFd::new(self.event.as_fd(), PollFlags::POLLIN), PollFd::new(source, PollFlags::POLLIN)];
        while poll(&mut polled, PollTimeout::NONE) == Err(Errno::EINTR) {}
        let error = PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL;
        polled[1].revents().is_some_and(|seen| seen.intersects(error))
    }

    /// Sleeps for `ms`, or until the pumps are to end: for errors that would otherwise repeat at once.
    pub fn pause(&self, ms: u16) {
        let _ = poll(&mut [PollFd::new(self.event.as_fd(), PollFlags::POLLIN)], ms);
    }
}
