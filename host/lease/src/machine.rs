//! Which machine this is: a hash of `/etc/machine-id`, or of the host name where there is none. The id itself is nobody else's business (machine-id(5)).

use std::fmt;
use std::fs;

use sha2::{Digest, Sha256};

/// A machine, as told by one of two marks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Machine {
    mark: &'static str,
    hash: String,
}

/// Marks, the better one first.
const MARKS: [&str; 2] = ["machine-id", "hostname"];

impl Machine {
    /// The one that this runs on.
    pub(crate) fn this() -> Machine {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Machine::of(&read("/etc/machine-id"), &read("/proc/sys/kernel/hostname"))
    }

    /// The one with that machine id, or, where it is empty or not given out yet, with that host name.
    pub(crate) fn of(machine_id: &str, hostname: &str) -> Machine {
        match machine_id.trim() {
            "" | "uninitialized" => Machine::marked(MARKS[1], hostname.trim()),
            id => Machine::marked(MARKS[0], id),
        }
    }

    /// Reads what `to_string` wrote.
    pub(crate) fn parse(text: &str) -> Option<Machine> {
        let (mark, hash) = text.split_once(' ')?;
        let mark = MARKS.into_iter().find(|known| *known == mark)?;
        (hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| Machine { mark, hash: hash.into() })
    }

    /// True when both are told by the same mark, and it differs: a machine that was given an id, or lost it, is not another one.
    pub(crate) fn differs(&self, other: &Machine) -> bool {
        self.mark == other.mark && self.hash != other.hash
    }

    fn marked(mark: &'static str, text: &str) -> Machine {
        let digest = Sha256::digest(format!("twill {mark} {text}"));
        Machine { mark, hash: digest.iter().map(|byte| format!("{byte:02x}")).collect() }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.mark, self.hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_told_by_its_id_and_else_by_its_name() {
        assert!(Machine::of("1\n", "a").differs(&Machine::of("2\n", "a")));
        assert!(!Machine::of("1\n", "a").differs(&Machine::of("1", "b")));
        for none in ["", "\n", "uninitialized\n"] {
            assert!(Machine::of(none, "a").differs(&Machine::of(none, "b")));
            assert!(!Machine::of(none, "a").differs(&Machine::of("1", "b")), "an id that comes later makes no other machine");
        }
    }

    #[test]
    fn it_is_written_without_the_id_and_read_again() {
        let machine = Machine::of("0123456789abcdef", "a");
        assert!(!machine.to_string().contains("0123456789abcdef"));
        assert_eq!(Machine::parse(&machine.to_string()), Some(machine));
        for text in ["", "machine-id", "machine-id 12", "serial 12"] {
            assert_eq!(Machine::parse(text), None, "{text}");
        }
    }
}
