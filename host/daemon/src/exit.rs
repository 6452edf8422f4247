//! How a command ends badly: one sentence on standard error, and an exit code that scripts can act on (after BSD's sysexits.h).

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

/// What went wrong, in words and as a code.
#[derive(Debug)]
pub struct Exit {
    code: u8,
    sentence: String,
}

impl Exit {
    /// Something failed that may go well the next time (1).
    pub fn failed(sentence: impl Display) -> Exit {
        Exit { code: 1, sentence: sentence.to_string() }
    }

    /// Flags or settings are wrong (64, EX_USAGE).
    pub fn usage(sentence: impl Display) -> Exit {
        Exit { code: 64, sentence: sentence.to_string() }
    }

    /// This machine lacks something: an interface, /dev/net/tun, a plugin (69, EX_UNAVAILABLE).
    pub fn lacking(sentence: impl Display) -> Exit {
        Exit { code: 69, sentence: sentence.to_string() }
    }

    /// Not allowed (77, EX_NOPERM).
    pub fn denied(sentence: impl Display) -> Exit {
        Exit { code: 77, sentence: sentence.to_string() }
    }

    /// The network config is wrong (78, EX_CONFIG).
    pub fn config(sentence: impl Display) -> Exit {
        Exit { code: 78, sentence: sentence.to_string() }
    }

    /// Ends without a sentence: it was said already.
    pub fn silent(code: u8) -> Exit {
        Exit { code, sentence: String::new() }
    }

    /// The same, said in the log instead.
    pub fn logged(self) -> Exit {
        if !self.sentence.is_empty() {
            tracing::error!("{}", self.sentence);
        }
        Exit::silent(self.code)
    }

    /// What is said.
    pub fn sentence(&self) -> &str {
        &self.sentence
    }

    /// Says the sentence and gives the code.
    pub fn say(self) -> ExitCode {
        if !self.sentence.is_empty() {
            // Nobody may be left to read it, which changes nothing about how it ended.
            let _ = writeln!(io::stderr(), "twill: {}", self.sentence);
        }
        ExitCode::from(self.code)
    }
}
