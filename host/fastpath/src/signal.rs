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

/// What woke a pump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Woken {
    /// The device was deleted.
    pub device_gone: bool,
    /// The socket has something in its error queue.
    pub socket_error: bool,
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

    /// Sleeps until `device` or `socket` has something of the events asked for, an error, or the pumps are to end.
    pub fn wait(&self, device: (BorrowedFd<'_>, PollFlags), socket: (BorrowedFd<'_>, PollFlags)) -> Woken {
        let mut polled =
            [PollFd::new(device.0, device.1), PollFd::new(socket.0, socket.1), PollFd::new(self.event.as_fd(), PollFlags::POLLIN)];
        while poll(&mut polled, PollTimeout::NONE) == Err(Errno::EINTR) {}
        let has = |index: usize, events: PollFlags| polled[index].revents().is_some_and(|seen| seen.intersects(events));
        let error = PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL;
        Woken { device_gone: has(0, error), socket_error: has(1, error) }
    }

    /// Sleeps for `ms`, or until the pumps are to end: for errors that would otherwise repeat at once.
    pub fn pause(&self, ms: u16) {
        let _ = poll(&mut [PollFd::new(self.event.as_fd(), PollFlags::POLLIN)], ms);
    }
}
