//! The two clocks of the fast path, read once a batch: the boot clock for terms and limits, the wall clock for what people read.

use std::time::{SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

/// Milliseconds of CLOCK_BOOTTIME, which goes on while the machine is suspended.
pub fn boot_ms() -> u64 {
    // The clock exists since Linux 2.6.39. Without it the answer is "for ever later", so that no packet leaves on a lease that cannot be checked.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(u64::MAX, |now| now.tv_sec() as u64 * 1000 + now.tv_nsec() as u64 / 1_000_000)
}

/// Milliseconds since the Unix epoch.
pub fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
