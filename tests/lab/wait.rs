//! Waiting for something to become so, with a deadline, and saying what was seen instead when it does not.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// Looks again and again until `look` succeeds, and returns what it found. On timeout the error holds the last thing that was seen.
pub fn wait_until<T>(what: &str, within: Duration, mut look: impl FnMut() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        let seen = match look() {
            Ok(found) => return Ok(found),
            Err(error) => error,
        };
        if start.elapsed() >= within {
            return Err(anyhow!("waited {within:?} for {what}; the last look: {seen:#}"));
        }
        std::thread::sleep(PAUSE);
    }
}

/// [`wait_until`] for a plain condition; `look` returns whether it holds and what it saw.
pub fn poll(what: &str, within: Duration, mut look: impl FnMut() -> Result<(bool, String)>) -> Result<()> {
    wait_until(what, within, || match look()? {
        (true, _) => Ok(()),
        (false, seen) => Err(anyhow!("{seen}")),
    })
}
