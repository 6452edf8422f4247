//! The grammar of command-line flags in Go programs, as flanneld's are (Go's package `flag`). Pure.
//!
//! A flag has one dash or two. Its value stands behind `=` or is the next word, but a truth value never takes the next word. The first word that is no
//! flag, or `--`, ends the flags. What the flags mean is told by the caller; flags of GNU's kind (`-abc`, `--no-x`) are not known here.

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `-x`, `-x=true`, `-x=0`: never the next word.
    Truth,
    /// A whole number as Go writes them: decimal, 0x, 0o, 0b, a leading 0 for octal.
    Number,
    /// Any text.
    Text,
}

/// A value, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Of a truth flag.
    Truth(bool),
    /// Of a number flag.
    Number(i64),
    /// Of a text flag.
    Text(String),
}

/// What was read: the flags in the order given, and the words behind the last one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags {
    /// Name without dashes, and value.
    pub given: Vec<(String, Value)>,
    /// Words that are no flags; nothing behind the first of them was read as one.
    pub rest: Vec<String>,
}

/// Why the flags cannot be read, or need not be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlagError {
    /// `-h`, `-help` and no flag of that name: help is wanted.
    #[error("help is wanted")]
    Help,
    /// Dashes without a name.
    #[error("\"{0}\" is no flag: a name is expected behind one dash or two")]
    Syntax(String),
    /// There is no such flag.
    #[error("there is no flag \"--{0}\"")]
    Unknown(String),
    /// The last word is a flag that takes a value.
    #[error("the flag \"--{0}\" takes a value, and there is none")]
    NoValue(String),
    /// The value does not fit.
    #[error("the flag \"--{0}\": {1}")]
    Value(String, ValueError),
}

/// Why a text is no value of a kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Neither true nor false.
    #[error("\"{0}\" is neither true nor false (nor 1, 0, t, f)")]
    Truth(String),
    /// No number.
    #[error("\"{0}\" is no whole number")]
    Number(String),
}

/// Reads `words` (without the program's name); `kind_of` knows the flags.
///
/// # Errors
/// A word that starts with a dash and is no flag, or has no fitting value; or help is asked for.
pub fn read<'w>(words: impl IntoIterator<Item = &'w str>, kind_of: impl Fn(&str) -> Option<Kind>) -> Result<Flags, FlagError> {
    let mut words = words.into_iter();
    let mut flags = Flags::default();
    while let Some(word) = words.next() {
        if word == "--" {
            break;
        }
        let Some((name, value)) = split(word)? else {
            flags.rest.push(word.to_owned());
            break;
        };
        let kind = kind_of(name).ok_or_else(|| unknown(name))?;
        let value = match (value, kind) {
            (Some(value), _) => value,
            (None, Kind::Truth) => "true",
            (None, _) => words.next().ok_or_else(|| FlagError::NoValue(name.to_owned()))?,
        };
        let value = kind.value(value).map_err(|error| FlagError::Value(name.to_owned(), error))?;
        flags.given.push((name.to_owned(), value));
    }
    flags.rest.extend(words.map(str::to_owned));
    Ok(flags)
}

/// Name and inline value of a flag; none for a word that is no flag.
fn split(word: &str) -> Result<Option<(&str, Option<&str>)>, FlagError> {
    let Some(bare) = name_and_value(word) else { return Ok(None) };
    if bare.is_empty() || bare.starts_with(['-', '=']) {
        return Err(FlagError::Syntax(word.to_owned()));
    }
    Ok(Some(bare.split_once('=').map_or((bare, None), |(name, value)| (name, Some(value)))))
}

/// The word without its dashes, when it has some; a single dash is a word of its own.
fn name_and_value(word: &str) -> Option<&str> {
    let bare = word.strip_prefix('-').filter(|bare| !bare.is_empty())?;
    Some(bare.strip_prefix('-').unwrap_or(bare))
}

/// The name that a word has as a flag, whether there is such a flag or not.
pub fn name(word: &str) -> Option<&str> {
    split(word).ok().flatten().map(|(name, _)| name)
}

fn unknown(name: &str) -> FlagError {
    if name == "help" || name == "h" { FlagError::Help } else { FlagError::Unknown(name.to_owned()) }
}

impl Kind {
    /// Reads a text as a value of this kind.
    ///
    /// # Errors
    /// It is none.
    pub fn value(self, text: &str) -> Result<Value, ValueError> {
        match self {
            Kind::Truth => truth(text).map(Value::Truth).ok_or_else(|| ValueError::Truth(text.to_owned())),
            Kind::Number => number(text).map(Value::Number).ok_or_else(|| ValueError::Number(text.to_owned())),
            Kind::Text => Ok(Value::Text(text.to_owned())),
        }
    }
}

fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn number(text: &str) -> Option<i64> {
    let (negative, bare) = match text.strip_prefix('-') {
        Some(bare) => (true, bare),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = radix(bare);
    if !digits.starts_with(|first: char| first.is_digit(radix)) {
        return None;
    }
    let magnitude = i128::from_str_radix(digits, radix).ok()?;
    i64::try_from(if negative { -magnitude } else { magnitude }).ok()
}

fn radix(bare: &str) -> (u32, &str) {
    let prefixes = [("0x", 16), ("0X", 16), ("0o", 8), ("0O", 8), ("0b", 2), ("0B", 2)];
    let prefixed = prefixes.iter().find_map(|(prefix, radix)| Some((*radix, bare.strip_prefix(prefix)?)));
    prefixed.unwrap_or(if bare.len() > 1 && bare.starts_with('0') { (8, &bare[1..]) } else { (10, bare) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(name: &str) -> Option<Kind> {
        match name {
            "ip-masq" => Some(Kind::Truth),
            "v" => Some(Kind::Number),
            "iface" => Some(Kind::Text),
            _ => None,
        }
    }

    fn reads(line: &str) -> Result<Flags, FlagError> {
        read(line.split(' ').filter(|word| !word.is_empty()), kind_of)
    }

    /// The flags as `name=value`, then the rest behind a bar.
    fn shown(line: &str) -> String {
        let flags = reads(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        let given = flags.given.iter().map(|(name, value)| match value {
            Value::Truth(truth) => format!("{name}={truth}"),
            Value::Number(number) => format!("{name}={number}"),
            Value::Text(text) => format!("{name}={text}"),
        });
        format!("{} | {}", given.collect::<Vec<_>>().join(" "), flags.rest.join(" "))
    }

    #[test]
    fn flags_are_read_as_go_reads_them() {
        let table = [
            ("", " | "),
            ("-iface=eth0", "iface=eth0 | "),
            ("--iface=eth0", "iface=eth0 | "),
            ("-iface eth0", "iface=eth0 | "),
            ("--iface eth0 --iface eth1", "iface=eth0 iface=eth1 | "),
            ("-iface=", "iface= | "),
            ("-iface=a=b", "iface=a=b | "),
            ("-iface -v -v 3", "iface=-v v=3 | "),
            ("-iface -- -v 3", "iface=-- v=3 | "),
            ("-ip-masq", "ip-masq=true | "),
            ("-ip-masq -v 4", "ip-masq=true v=4 | "),
            ("-ip-masq=0 --ip-masq=T", "ip-masq=false ip-masq=true | "),
            ("-ip-masq false -v=4", "ip-masq=true | false -v=4"),
            ("-v=4 -- -ip-masq", "v=4 | -ip-masq"),
            ("-v=4 - -ip-masq", "v=4 | - -ip-masq"),
            ("-v 0x10", "v=16 | "),
            ("-v=010", "v=8 | "),
            ("-v=-1", "v=-1 | "),
        ];
        for (line, wanted) in table {
            assert_eq!(shown(line), wanted, "{line}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_in_words() {
        let table = [
            ("-h", "help is wanted"),
            ("--help", "help is wanted"),
            ("-v=1 -help", "help is wanted"),
            ("---v", "\"---v\" is no flag: a name is expected behind one dash or two"),
            ("-=4", "\"-=4\" is no flag: a name is expected behind one dash or two"),
            ("--=4", "\"--=4\" is no flag: a name is expected behind one dash or two"),
            ("-etcd-endpoint=x", "there is no flag \"--etcd-endpoint\""),
            ("-iface", "the flag \"--iface\" takes a value, and there is none"),
            ("-ip-masq=yes", "the flag \"--ip-masq\": \"yes\" is neither true nor false (nor 1, 0, t, f)"),
            ("-v=high", "the flag \"--v\": \"high\" is no whole number"),
            ("-v=", "the flag \"--v\": \"\" is no whole number"),
            ("-v=--1", "the flag \"--v\": \"--1\" is no whole number"),
            ("-v=99999999999999999999", "the flag \"--v\": \"99999999999999999999\" is no whole number"),
        ];
        for (line, wanted) in table {
            assert_eq!(reads(line).map_err(|error| error.to_string()), Err(wanted.to_owned()), "{line}");
        }
    }

    #[test]
    fn a_flags_name_is_known_whatever_follows_it() {
        let table = [("-v=4", Some("v")), ("--ip-masq", Some("ip-masq")), ("run", None), ("-", None), ("--", None), ("-=", None)];
        for (word, wanted) in table {
            assert_eq!(name(word), wanted, "{word}");
        }
    }
}
