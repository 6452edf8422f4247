//! The interface `log`: lines of a plugin become events of the daemon's log, named, cut and counted.
//!
//! A plugin cannot flood the log: in one call lines beyond a first hundred are dropped and counted, and far more end the call.

use std::sync::Mutex;

use crate::error::Overrun;
use crate::guest::Guest;
use crate::wit::log::Host;
use crate::wit::types::{self, Level};

/// Lines of one call that are written; later ones are only counted.
const WRITTEN: u32 = 100;
/// Longest line in bytes.
const LINE: usize = 4 << 10;

/// The log of one instance; also takes what it writes to its standard streams.
pub(crate) struct Log {
    plugin: String,
    most: u32,
    lines: Mutex<u32>,
}

impl Log {
    pub(crate) fn new(plugin: &str, most: u32) -> Log {
        Log { plugin: plugin.into(), most, lines: Mutex::new(0) }
    }

    /// A new exported call begins: its lines are counted from none.
    pub(crate) fn begin(&self) {
        let dropped = std::mem::take(&mut *self.count()).saturating_sub(WRITTEN);
        if dropped > 0 {
            tracing::warn!(plugin = self.plugin, dropped, "log lines of one call were dropped");
        }
    }

    /// Writes a line, or counts it; too many are an error that ends the call.
    pub(crate) fn write(&self, level: Level, text: &str) -> Result<(), Overrun> {
        let lines = {
            let mut count = self.count();
            *count += 1;
            *count
        };
        if lines > self.most {
            return Err(Overrun::LogLines(self.most));
        }
        if lines <= WRITTEN {
            self.tell(level, &clean(text));
        }
        Ok(())
    }

    fn tell(&self, level: Level, text: &str) {
        let plugin = self.plugin.as_str();
        match level {
            Level::Trace => tracing::trace!(target: "twill::guest", plugin, "{text}"),
            Level::Debug => tracing::debug!(target: "twill::guest", plugin, "{text}"),
            Level::Info => tracing::info!(target: "twill::guest", plugin, "{text}"),
            Level::Warn => tracing::warn!(target: "twill::guest", plugin, "{text}"),
            Level::Error => tracing::error!(target: "twill::guest", plugin, "{text}"),
        }
    }

    fn count(&self) -> std::sync::MutexGuard<'_, u32> {
        self.lines.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// At most a line's length, without control characters: a plugin cannot forge a second line or colour a terminal.
fn clean(text: &str) -> String {
    let cut = &text[..text.floor_char_boundary(LINE)];
    cut.trim_end().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl Host for Guest {
    async fn write(&mut self, level: Level, text: String) -> wasmtime::Result<()> {
        Ok(self.log.write(level, &text)?)
    }
}

impl types::Host for Guest {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_and_cleaned() {
        assert_eq!(clean("one\ntwo\x1b[31m\n"), "one two [31m");
        let long = "ä".repeat(LINE);
        assert_eq!(clean(&long).len(), LINE);
        assert_eq!(clean(&format!("x{long}")).len(), LINE - 1);
    }

    #[test]
    fn a_flood_ends_the_call_and_the_next_call_starts_anew() {
        let log = Log::new("backend-x", 3);
        for _ in 0..3 {
            assert_eq!(log.write(Level::Trace, "again"), Ok(()));
        }
        assert_eq!(log.write(Level::Trace, "again"), Err(Overrun::LogLines(3)));
        log.begin();
        assert_eq!(log.write(Level::Trace, "again"), Ok(()));
    }
}
