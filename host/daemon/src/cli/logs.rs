//! Where log lines go and what they look like: text for people, JSON for machines, and for systemd's journal lines without a time, which the journal knows better, but with
//! the priority that it asks for.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;

use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::exit::Exit;
use crate::settings::LogFormat;

/// Starts logging to standard error.
///
/// # Errors
/// The filter makes no sense.
pub fn start(filter: &str, format: LogFormat) -> Result<(), Exit> {
    // The netlink library warns of its own end.
    let full = format!("netlink_proto=error,{filter}");
    let filter = EnvFilter::try_new(full).map_err(|error| Exit::usage(format!("--log \"{filter}\": {error}")))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    match format {
        LogFormat::Json => lines.json().init(),
        LogFormat::Text if is_journal() => {
            lines.with_target(false).without_time().with_level(false).with_ansi(false).with_writer(Journal).init()
        }
        LogFormat::Text => lines.with_target(false).init(),
    }
    Ok(())
}

/// True when lines are read by a program, which wants each of them in one form.
pub fn are_for_machines(format: LogFormat) -> bool {
    format == LogFormat::Json || is_journal()
}

/// True when standard error is the journal's stream: systemd says its device and inode in JOURNAL_STREAM (systemd.exec(5)).
fn is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let own = nix::sys::stat::fstat(io::stderr().as_fd());
    own.is_ok_and(|own| stream == format!("{}:{}", own.st_dev, own.st_ino))
}

/// Writes lines with the priority in front, as sd-daemon(3) has it.
struct Journal;

impl<'a> MakeWriter<'a> for Journal {
    type Writer = Prioritised;

    fn make_writer(&'a self) -> Prioritised {
        Prioritised(6)
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Prioritised {
        Prioritised(priority(*metadata.level()))
    }
}

/// syslog(3)'s priorities: err, warning, info, debug.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

/// Standard error, each line with a priority.
struct Prioritised(u8);

impl Write for Prioritised {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        io::stderr().write_all(&prioritised(self.0, text))?;
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

fn prioritised(priority: u8, text: &[u8]) -> Vec<u8> {
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    lines.flat_map(|line| [format!("<{priority}>").as_bytes(), line].concat()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_has_its_priority() {
        assert_eq!(prioritised(priority(Level::WARN), b"one\ntwo\n"), b"<4>one\n<4>two\n");
    }
}
