//! What a fault costs: packets lost on streams, and seconds until all is whole again.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::{Stream, wait_until};

use crate::story::SOON;

/// Longer than any repair may take, on a machine where three tests run at once.
const REPAIRED: Duration = Duration::from_secs(2);

/// The toll of one fault.
pub struct Toll {
    name: &'static str,
    streams: Vec<Stream>,
    within: Duration,
}

impl Toll {
    /// Counts on these streams.
    pub fn of(name: &'static str, streams: impl IntoIterator<Item = Stream>) -> Toll {
        Toll { name, streams: streams.into_iter().collect(), within: REPAIRED }
    }

    /// With this long for a repair.
    pub fn within(self, within: Duration) -> Toll {
        Toll { within, ..self }
    }

    /// Does the damage and waits until `whole` and until all streams flow; an error when that takes longer than it may. Returns how long it took.
    pub fn damage(&self, what: &str, damage: impl FnOnce() -> Result<()>, whole: impl FnMut() -> Result<()>) -> Result<Duration> {
        damage().with_context(|| what.to_owned())?;
        let began = Instant::now();
        wait_until(&format!("the repair after: {what}"), SOON, whole)?;
        let before: Vec<u64> = self.streams.iter().map(Stream::newest).collect();
        wait_until(&format!("packets after: {what}"), SOON, || {
            let now: Vec<u64> = self.streams.iter().map(Stream::newest).collect();
            ensure!(before.iter().zip(&now).all(|(before, now)| now > before), "{before:?} became {now:?}");
            Ok(())
        })?;
        let took = began.elapsed();
        println!("{}: {what}: whole after {took:?}", self.name);
        ensure!(took <= self.within, "{}: {what}: whole only after {took:?}", self.name);
        Ok(took)
    }

    /// Ends the streams: none may have lost more than so many packets.
    pub fn pay(self, at_most: u64) -> Result<()> {
        for stream in self.streams {
            let report = stream.stop()?;
            println!("{}: {report}", self.name);
            ensure!(report.sent > 0 && report.lost_on_the_way() <= at_most, "{}: {report}", self.name);
        }
        Ok(())
    }
}
