//! The interface `clock`: wall time that does not jump within a call, and sleep that is not charged.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::guest::Guest;
use crate::wit::clock::Host;

/// The clock of one call: the wall time at its start, and a monotonic clock from there.
pub(crate) struct Clock {
    started_ms: u64,
    since: Instant,
}

impl Clock {
    pub(crate) fn start() -> Clock {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock { started_ms: since_epoch.as_millis() as u64, since: Instant::now() }
    }

    /// Whole milliseconds since the Unix epoch.
    fn now(&self) -> f64 {
        (self.started_ms + self.since.elapsed().as_millis() as u64) as f64
    }
}

impl Host for Guest {
    async fn now(&mut self) -> wasmtime::Result<f64> {
        Ok(self.clock.now())
    }

    async fn sleep(&mut self, milliseconds: u32) -> wasmtime::Result<()> {
        tokio::time::sleep(Duration::from_millis(milliseconds.into())).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn now_is_whole_milliseconds_of_the_wall_clock() {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as f64;
        let now = Clock::start().now();
        assert_eq!(now.fract(), 0.0);
        assert!((now - wall).abs() < 5_000.0, "{now} is far from {wall}");
    }
}
