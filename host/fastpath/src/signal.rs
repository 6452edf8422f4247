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

    /// Sleeps until the device or one of the sockets (at most two) has something of the events asked for, an error, or the pumps are to end.
    pub fn wait<'a>(&'a self, device: (BorrowedFd<'a>, PollFlags), sockets: impl Iterator<Item = (BorrowedFd<'a>, PollFlags)>) -> Woken {
        let end = PollFd::new(self.event.as_fd(), PollFlags::POLLIN);
        let mut polled = [end.clone(), PollFd::new(device.0, device.1), end.clone(), end];
        let mut count = 2;
        for (place, (socket, events)) in polled[2..].iter_mut().zip(sockets) {
            *place = PollFd::new(socket, events);
            count += 1;
        }
        let polled = &mut polled[..count];
        while poll(polled, PollTimeout::NONE) == Err(Errno::EINTR) {}
        let error = PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL;
        let failed = |polled: &PollFd<'_>| polled.revents().is_some_and(|seen| seen.intersects(error));
        Woken { device_gone: failed(&polled[1]), socket_error: polled[2..].iter().any(failed) }
    }

    /// Sleeps for `ms`, or until the pumps are to end: for errors that would otherwise repeat at once.
    pub fn pause(&self, ms: u16) {
        let _ = poll(&mut [PollFd::new(self.event.as_fd(), PollFlags::POLLIN)], ms);
    }
}
