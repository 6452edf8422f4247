//! Why the kernel would not do a thing, in words: the errno's text and, where the kernel gave one, its own sentence (extended acknowledgement).
//!
//! [`Failure`] lives inside this room; [`Failure::refused`] turns it into what other rooms see.

use nix::errno::Errno;
use twill_reconcile::ports::Refused;

/// `NLMSGERR_ATTR_MSG` of linux/netlink.h: a zero-terminated string.
const TEXT_ATTRIBUTE: u16 = 1;
/// Length of `struct nlmsghdr` (linux/netlink.h): the copy of the request's header that precedes the attributes.
const REQUEST_HEADER: usize = 16;
/// The upper two bits of an attribute's type are flags.
const ATTRIBUTE_TYPE: u16 = 0x3fff;

/// What came back instead of success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The kernel said no.
    Errno {
        /// The errno.
        errno: Errno,
        /// The kernel's sentence.
        text: Option<String>,
    },
    /// The connection ended before the answer.
    Closed,
    /// Twill itself will not, for this reason.
    Own(String),
}

impl Failure {
    /// From the negative `code` of an error message and the bytes behind it.
    pub(crate) fn from_code(code: i32, behind: &[u8]) -> Self {
        Self::Errno { errno: Errno::from_raw(code.saturating_abs()), text: extended_text(behind) }
    }

    /// True when it is one of these errnos.
    pub(crate) fn is(&self, errnos: &[Errno]) -> bool {
        matches!(self, Self::Errno { errno, .. } if errnos.contains(errno))
    }

    /// The cause in words.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Errno { errno, text: Some(text) } => format!("{} ({})", errno_words(*errno), lower_first(text.trim_end_matches('.'))),
            Self::Errno { errno, text: None } => errno_words(*errno),
            Self::Closed => "the netlink connection was closed".to_owned(),
            Self::Own(words) => words.clone(),
        }
    }

    /// What other rooms see: `act` is verb and object.
    pub(crate) fn refused(self, act: impl Into<String>) -> Refused {
        Refused { act: act.into(), cause: self.words() }
    }
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::Errno { errno, text: None }
    }
}

/// An errno in words, with what to do where that helps.
pub(crate) fn errno_words(errno: Errno) -> String {
    match errno {
        Errno::EPERM => "operation not permitted; CAP_NET_ADMIN is needed".to_owned(),
        other => lower_first(other.desc()),
    }
}

/// An I/O error in words, without Rust's "(os error 2)".
pub(crate) fn io_words(error: &std::io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |code| errno_words(Errno::from_raw(code)))
}

/// "No such device" becomes "no such device"; "IPv6 is disabled" and "I/O error" stay.
fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        (Some(first), Some(second)) if second.is_lowercase() || second == ' ' => first.to_lowercase().chain(text.chars().skip(1)).collect(),
        _ => text.to_owned(),
    }
}

/// The kernel's sentence among the attributes behind the request's header (`NETLINK_CAP_ACK` keeps the request itself out).
fn extended_text(behind: &[u8]) -> Option<String> {
    let mut rest = behind.get(REQUEST_HEADER..)?;
    while let [l0, l1, t0, t1, ..] = *rest {
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = rest.get(4..length)?;
        if u16::from_ne_bytes([t0, t1]) & ATTRIBUTE_TYPE == TEXT_ATTRIBUTE {
            let text = value.split(|byte| *byte == 0).next()?;
            return Some(String::from_utf8_lossy(text).into_owned()).filter(|text| !text.is_empty());
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(value.len() + 4).expect("a short value");
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn the_kernels_sentence_follows_the_errno() {
        let behind = [vec![0; 16], attribute(2, &[1, 2, 3, 4]), attribute(1, b"Nexthop has invalid gateway\0")].concat();
        let failure = Failure::from_code(-101, &behind);
        assert_eq!(failure.words(), "network is unreachable (nexthop has invalid gateway)");
    }

    #[test]
    fn an_answer_cut_short_still_gives_the_errno() {
        let whole = [vec![0; 16], attribute(1, b"Nexthop has invalid gateway\0")].concat();
        for end in 0..whole.len() - 1 {
            assert_eq!(Failure::from_code(-19, &whole[..end]).words(), "no such device", "cut at {end}");
        }
    }

    #[test]
    fn only_ordinary_words_are_lowered() {
        assert_eq!(lower_first("No such device"), "no such device");
        assert_eq!(lower_first("A route exists"), "a route exists");
        assert_eq!(lower_first("IPv6 is disabled on nexthop device"), "IPv6 is disabled on nexthop device");
        assert_eq!(lower_first("I/O error"), "I/O error");
        assert_eq!(lower_first(""), "");
    }
}
