//! How a node signs in at an upstream. Secrets are read when they are needed and are never shown.

use std::fmt;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderValue;

/// A password or token.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// Itself.
    Text(String),
    /// The file that holds it, read anew each time it is needed; blanks and line ends around it do not count.
    File(PathBuf),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Secret::Text(_) => f.write_str("Text(not shown)"),
            Secret::File(path) => write!(f, "File({})", path.display()),
        }
    }
}

impl Secret {
    /// The secret; the error names the file.
    pub(super) fn read(&self) -> Result<String, String> {
        match self {
            Secret::Text(text) => Ok(text.clone()),
            Secret::File(path) => match std::fs::read_to_string(path) {
                Ok(text) if text.trim().is_empty() => Err(format!("the file {} is empty", path.display())),
                Ok(text) => Ok(text.trim().to_owned()),
                Err(error) => Err(format!("cannot read the file {}: {error}", path.display())),
            },
        }
    }
}

/// How a node signs in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Credentials {
    /// Not at all, or by the client certificate alone.
    #[default]
    None,
    /// User and password with every request (RFC 7617).
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A token with every request (RFC 6750).
    Bearer(Secret),
    /// User and password once, for a token that etcd gives out and takes back when it likes.
    EtcdLogin {
        /// The user.
        user: String,
        /// The password.
        password: Secret,
    },
}

impl Credentials {
    /// The header field `Authorization` for kinds that need no login.
    pub(super) fn fixed(&self) -> Result<Option<HeaderValue>, String> {
        match self {
            Credentials::None | Credentials::EtcdLogin { .. } => Ok(None),
            Credentials::Basic { user, password } => {
                let pair = format!("{user}:{}", password.read()?);
                hidden(&format!("Basic {}", STANDARD.encode(pair))).map(Some)
            }
            Credentials::Bearer(token) => hidden(&format!("Bearer {}", token.read()?)).map(Some),
        }
    }
}

/// A header value that no log shows.
pub(super) fn hidden(text: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(text).map_err(|_| "the password or token holds characters that HTTP cannot carry".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let credentials = Credentials::Basic { user: "root".into(), password: Secret::Text("hunter2".into()) };
        let header = credentials.fixed().expect("readable").expect("a header");
        assert_eq!(header, "Basic cm9vdDpodW50ZXIy");
        assert!(!format!("{credentials:?} {header:?}").contains("unter"));
        assert!(!format!("{header:?}").contains("cm9v"));
    }

    #[test]
    fn files_are_read_anew_and_named_when_they_cannot_be() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("token");
        let credentials = Credentials::Bearer(Secret::File(path.clone()));
        assert!(credentials.fixed().expect_err("missing").contains("token: No such file"));
        for token in ["one", "two"] {
            std::fs::write(&path, format!("{token}\n")).expect("written");
            assert_eq!(credentials.fixed(), Ok(Some(HeaderValue::from_str(&format!("Bearer {token}")).expect("plain"))));
        }
    }
}
