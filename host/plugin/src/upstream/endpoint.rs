//! The address of a server: `http://` or `https://`, a host and a port. Pure.

use std::fmt;
use std::str::FromStr;

use hyper::Uri;

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub(super) secure: bool,
    /// Name or address, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

/// Why a text is no endpoint. It never repeats the text, in which a password may be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadEndpoint {
    /// Neither `http://` nor `https://` stands before it, or nothing behind.
    #[error("an endpoint is written like http://192.0.2.1:2379 or https://etcd.example:2379")]
    Shape,
    /// It holds a user or password.
    #[error("an endpoint holds no user and no password; they have settings of their own")]
    Secret,
    /// It goes on after the port.
    #[error("an endpoint ends with its port; a path cannot be given")]
    Path,
}

impl Endpoint {
    /// What requests carry as their host, and what people read: host and port, brackets where IPv6 needs them.
    pub(super) fn authority(&self) -> String {
        let brackets = self.host.contains(':');
        let host = if brackets { format!("[{}]", self.host) } else { self.host.clone() };
        format!("{host}:{}", self.port)
    }

    /// True when it is spoken to by TLS.
    pub fn is_secure(&self) -> bool {
        self.secure
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.secure { "https" } else { "http" }, self.authority())
    }
}

impl FromStr for Endpoint {
    type Err = BadEndpoint;

    fn from_str(text: &str) -> Result<Self, BadEndpoint> {
        if text.contains('@') {
            return Err(BadEndpoint::Secret);
        }
        let uri: Uri = text.trim().parse().map_err(|_| BadEndpoint::Shape)?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(BadEndpoint::Shape),
        };
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(BadEndpoint::Path);
        }
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        // A port that is too large is no port at all to the parser.
        let named = uri.authority().is_some_and(|authority| authority.port_u16().is_some() || Some(authority.as_str()) == uri.host());
        if host.is_empty() || !named {
            return Err(BadEndpoint::Shape);
        }
        Ok(Endpoint { secure, host, port: uri.port_u16().unwrap_or(if secure { 443 } else { 80 }) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_and_shown() {
        for (text, shown) in [
            ("http://127.0.0.1:2379", "http://127.0.0.1:2379"),
            ("https://etcd.example", "https://etcd.example:443"),
            ("http://[fd98::1]:2379/", "http://[fd98::1]:2379"),
        ] {
            assert_eq!(text.parse::<Endpoint>().map(|endpoint| endpoint.to_string()), Ok(shown.into()));
        }
    }

    #[test]
    fn what_is_no_endpoint_is_refused_without_being_repeated() {
        for (text, why) in [
            ("127.0.0.1:2379", BadEndpoint::Shape),
            ("unix:///run/etcd", BadEndpoint::Shape),
            ("http://", BadEndpoint::Shape),
            ("http://a:99999", BadEndpoint::Shape),
            ("http://root:secret@a:1", BadEndpoint::Secret),
            ("http://a:1/v3", BadEndpoint::Path),
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(why), "{text}");
        }
    }
}
