//! The clock that leases are judged by on this node: `CLOCK_BOOTTIME`, which also counts suspended time.
//!
//! The wall clock serves one thing only: to judge a remembered lease after a reboot, when the boot clock has begun anew.

use std::time::{SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

/// The time, as the keeper asks for it. Tests steer one of their own.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since boot, suspended time included.
    fn boot_ms(&self) -> u64;
    /// Milliseconds since the Unix epoch.
    fn unix_ms(&self) -> u64;
    /// Differs from boot to boot.
    fn boot_id(&self) -> String;
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn boot_ms(&self) -> u64 {
        let now = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("every Linux since 2.6.39 has CLOCK_BOOTTIME");
        u64::try_from(now.tv_sec()).unwrap_or(0) * 1000 + u64::try_from(now.tv_nsec()).unwrap_or(0) / 1_000_000
    }

    fn unix_ms(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn boot_id(&self) -> String {
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_clock_does_not_run_backwards() {
        let first = SystemClock.boot_ms();
        assert!(first > 0 && SystemClock.boot_ms() >= first);
    }
}
