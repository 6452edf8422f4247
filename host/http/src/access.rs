//! Who may do what: rights are a matter of the door a request came through, the page that it was sent from, and what it shows of itself.
//!
//! | door | reading | changing |
//! |---|---|---|
//! | the Unix socket | whoever may open it | the same |
//! | TCP on loopback | everybody on this machine | with the token |
//! | TCP elsewhere | with the token or a client certificate | the same |
//!
//! A page of another site is let through to nothing but the dashboard's own pages, so that a link to them works.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;

use crate::problem::Problem;

/// The shortest token in characters. Nobody guesses 20 of them by asking.
const SHORTEST: usize = 20;

/// The longest token file in bytes.
const LONGEST: u64 = 4_096;

/// Why a token file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// It cannot be read.
    #[error("cannot read the API's token from {0}: {1}")]
    Read(PathBuf, #[source] io::Error),
    /// Others may read it.
    #[error("the file with the API's token, {0}, can be read or changed by everybody on this machine (mode {1:o}): chmod 600 {0}")]
    Open(PathBuf, u32),
    /// It is no token.
    #[error(
        "the API's token in {0} is no token: it must be one line of {SHORTEST} printable characters or more, such as the output of `openssl rand -hex 32`"
    )]
    Unfit(PathBuf),
}

/// The token that lets its bearer change things. The file is read again when it changes, so that a new token comes into use, and an old one goes out of it, without a
/// restart.
#[derive(Debug)]
pub struct Token {
    path: PathBuf,
    known: Mutex<Known>,
}

/// What was read, and by what to see that it is still so.
#[derive(Debug, PartialEq, Eq)]
struct Known {
    mark: Mark,
    secret: Option<Secret>,
}

/// Inode, seconds and nanoseconds of the last change of content or mode.
type Mark = (u64, i64, i64);

#[derive(PartialEq, Eq)]
struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

impl Token {
    /// The token in `path`.
    ///
    /// # Errors
    /// The file cannot be read, is open to everybody, or holds no token.
    pub fn open(path: &Path) -> Result<Token, TokenError> {
        let (mark, secret) = read(path)?;
        Ok(Token { path: path.into(), known: Mutex::new(Known { mark, secret: Some(secret) }) })
    }

    /// True when `shown` is the token, as the file says now. How long it takes does not tell how much of it was right.
    fn is(&self, shown: &str) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if mark_of(&self.path) != Some(known.mark) {
            *known = match read(&self.path) {
                Ok((mark, secret)) => Known { mark, secret: Some(secret) },
                Err(error) => {
                    if known.secret.is_some() {
                        tracing::warn!("{error}; until that is mended no token is good");
                    }
                    Known { mark: mark_of(&self.path).unwrap_or_default(), secret: None }
                }
            };
        }
        known.secret.as_ref().is_some_and(|secret| secret.0.as_bytes().ct_eq(shown.as_bytes()).into())
    }
}

fn mark_of(path: &Path) -> Option<Mark> {
    let found = std::fs::metadata(path).ok()?;
    Some((found.ino(), found.ctime(), found.ctime_nsec()))
}

fn read(path: &Path) -> Result<(Mark, Secret), TokenError> {
    let unreadable = |error| TokenError::Read(path.into(), error);
    let file = File::open(path).map_err(unreadable)?;
    let found = file.metadata().map_err(unreadable)?;
    if found.mode() & 0o007 != 0 {
        return Err(TokenError::Open(path.into(), found.mode() & 0o777));
    }
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text).map_err(unreadable)?;
    let token = text.trim();
    if token.len() < SHORTEST || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(TokenError::Unfit(path.into()));
    }
    Ok(((found.ino(), found.ctime(), found.ctime_nsec()), Secret(token.into())))
}

/// What a TCP door asks of those who come through it.
#[derive(Debug, Default)]
pub struct Access {
    /// The token, if there is one.
    pub token: Option<Token>,
    /// Names beside localhost by which the API may be asked for.
    pub names: Vec<String>,
    /// Everybody who comes through has shown a client certificate, in the TLS handshake.
    pub certified: bool,
}

impl Access {
    /// Lets a request through, or says why not. `loopback`: the door can be reached from this machine only.
    ///
    /// # Errors
    /// The problem to answer with.
    pub fn judge(&self, loopback: bool, method: &Method, uri: &Uri, headers: &HeaderMap, host: &str) -> Result<(), Problem> {
        let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        same_site(reads && !is_api(uri.path()), headers, host)?;
        let shown = match shown_token(headers) {
            _ if self.certified => return Ok(()),
            None => false,
            Some(shown) if self.token.as_ref().is_some_and(|token| token.is(&shown)) => true,
            Some(_) => return Err(unauthorized("the token is wrong")),
        };
        match (reads, shown, &self.token) {
            (_, true, _) => Ok(()),
            (true, false, _) if loopback || is_probe(uri.path()) => Ok(()),
            (true, false, _) => {
                Err(unauthorized("show the token: Authorization: Bearer …, or in a browser as the password, with any user name"))
            }
            (false, false, Some(_)) => Err(unauthorized("changes take the token: Authorization: Bearer …")),
            (false, false, None) => Err(Problem::new(
                StatusCode::FORBIDDEN,
                "over TCP nothing is changed without a token: start the daemon with --api-token-file, or use the twill command on this machine",
            )),
        }
    }
}

fn unauthorized(detail: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, detail)
        .with(header::WWW_AUTHENTICATE, "Bearer realm=\"twill\", Basic realm=\"twill\", charset=\"UTF-8\"")
}

/// What needs no token anywhere: it says little, and probes have none.
fn is_probe(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz")
}

fn is_api(path: &str) -> bool {
    path == "/metrics" || path == "/api" || path.starts_with("/api/") || is_probe(path)
}

/// The token of a request: as a bearer's (RFC 6750), or as a password (RFC 7617) because that is what browsers ask for.
fn shown_token(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().unwrap_or_default();
    let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
    if scheme.eq_ignore_ascii_case("basic") {
        let pair = STANDARD.decode(rest.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
        return Some(pair.split_once(':').map_or(String::new(), |(_, password)| password.to_owned()));
    }
    Some(if scheme.eq_ignore_ascii_case("bearer") { rest.trim().to_owned() } else { String::new() })
}

/// Refuses what a page of another site sends. Browsers say where a request comes from, by Origin (RFC 6454) and by Sec-Fetch-Site (W3C Fetch Metadata);
/// programs say nothing. `page`: a link may lead here.
fn same_site(page: bool, headers: &HeaderMap, host: &str) -> Result<(), Problem> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let foreign = |from: &str| {
        Problem::new(StatusCode::FORBIDDEN, format!("{from} may not use this API; open the dashboard itself, or use a program"))
    };
    if let Some(origin) = text("origin") {
        let own = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        if !own.is_some_and(|own| own.eq_ignore_ascii_case(host)) {
            return Err(foreign(&format!("a page of {origin}")));
        }
    }
    match text("sec-fetch-site") {
        Some("cross-site" | "same-site") if !page => Err(foreign("a page of another site")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const TOKEN: &str = "correct-horse-battery-staple";

    fn file(text: &str, mode: u32) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("written");
        std::fs::set_permissions(file.path(), PermissionsExt::from_mode(mode)).expect("a mode");
        file
    }

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value"))).collect()
    }

    /// The status of a refusal; 200 when there is none.
    fn judged(access: &Access, loopback: bool, method: &Method, path: &str, lines: &[(&'static str, &str)]) -> u16 {
        let uri: Uri = path.parse().expect("a path");
        match access.judge(loopback, method, &uri, &headers(lines), "127.0.0.1:4646") {
            Ok(()) => 200,
            Err(problem) => axum::response::IntoResponse::into_response(problem).status().as_u16(),
        }
    }

    fn with_token(file: &tempfile::NamedTempFile) -> Access {
        Access { token: Some(Token::open(file.path()).expect("a token")), ..Access::default() }
    }

    #[test]
    fn a_token_file_must_be_closed_and_hold_a_token() {
        assert!(Token::open(file(TOKEN, 0o600).path()).is_ok());
        assert!(Token::open(file(&format!("  {TOKEN}\n"), 0o640).path()).is_ok());
        for (text, mode, words) in [
            (TOKEN, 0o644, "chmod 600"),
            (TOKEN, 0o602, "chmod 600"),
            ("", 0o600, "openssl rand"),
            ("short", 0o600, "openssl rand"),
            ("two words that are long enough", 0o600, "openssl rand"),
        ] {
            let error = Token::open(file(text, mode).path()).expect_err(text).to_string();
            assert!(error.contains(words) && !error.contains(TOKEN), "{error}");
        }
        assert!(Token::open(Path::new("/no/such/file")).expect_err("nothing").to_string().contains("/no/such/file"));
    }

    #[test]
    fn a_new_token_comes_into_use_and_the_old_one_goes_out_of_it() {
        let file = file(TOKEN, 0o600);
        let token = Token::open(file.path()).expect("a token");
        assert!(token.is(TOKEN) && !token.is("another-token-of-that-length"));
        let fresh = file.path().with_extension("new");
        std::fs::write(&fresh, "another-token-of-that-length").expect("written");
        std::fs::set_permissions(&fresh, PermissionsExt::from_mode(0o600)).expect("a mode");
        std::fs::rename(&fresh, file.path()).expect("replaced");
        assert!(!token.is(TOKEN) && token.is("another-token-of-that-length"));
        std::fs::set_permissions(file.path(), PermissionsExt::from_mode(0o644)).expect("a mode");
        assert!(!token.is("another-token-of-that-length"), "everybody can read it now");
    }

    #[test]
    fn changes_take_the_token_everywhere_and_reading_only_beyond_loopback() {
        let file = file(TOKEN, 0o600);
        let (bare, access) = (Access::default(), with_token(&file));
        let bearer = format!("Bearer {TOKEN}");
        let basic = format!("Basic {}", STANDARD.encode(format!("anybody:{TOKEN}")));
        let change = "/api/v1/release";
        for (access, loopback, method, path, shown, wanted) in [
            (&bare, true, Method::GET, "/api/v1/node", None, 200),
            (&bare, true, Method::POST, change, None, 403),
            (&bare, true, Method::DELETE, change, None, 403),
            (&bare, true, Method::POST, change, Some(bearer.as_str()), 401),
            (&access, true, Method::GET, "/api/v1/node", None, 200),
            (&access, true, Method::POST, change, None, 401),
            (&access, true, Method::POST, change, Some("Bearer wrong"), 401),
            (&access, true, Method::POST, change, Some(TOKEN), 401),
            (&access, true, Method::POST, change, Some("Bearer"), 401),
            (&access, true, Method::GET, "/api/v1/node", Some("Bearer wrong"), 401),
            (&access, true, Method::POST, change, Some(&bearer), 200),
            (&access, true, Method::POST, change, Some(&basic), 200),
            (&access, false, Method::GET, "/api/v1/node", None, 401),
            (&access, false, Method::GET, "/", None, 401),
            (&access, false, Method::GET, "/metrics", None, 401),
            (&access, false, Method::GET, "/readyz", None, 200),
            (&access, false, Method::GET, "/api/v1/node", Some(&basic), 200),
            (&access, false, Method::POST, change, Some(&bearer), 200),
        ] {
            let lines: Vec<_> = shown.map(|shown| ("authorization", shown)).into_iter().collect();
            assert_eq!(judged(access, loopback, &method, path, &lines), wanted, "{method} {path} {shown:?} loopback {loopback}");
        }
        let certified = Access { certified: true, ..Access::default() };
        assert_eq!(judged(&certified, false, &Method::POST, change, &[]), 200);
    }

    #[test]
    fn pages_of_other_sites_are_refused_even_with_the_token() {
        let file = file(TOKEN, 0o600);
        let access = with_token(&file);
        let bearer = format!("Bearer {TOKEN}");
        for foreign in [
            ("origin", "https://evil.example"),
            ("origin", "null"),
            ("origin", "http://127.0.0.1:4647"),
            ("origin", "http://127.0.0.1:4646.evil.example"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            for (method, path) in [(Method::POST, "/api/v1/release"), (Method::GET, "/api/v1/node"), (Method::POST, "/")] {
                assert_eq!(
                    judged(&access, true, &method, path, &[foreign, ("authorization", &bearer)]),
                    403,
                    "{foreign:?} {method} {path}"
                );
            }
        }
        for own in [
            ("origin", "http://127.0.0.1:4646"),
            ("origin", "https://127.0.0.1:4646"),
            ("sec-fetch-site", "same-origin"),
            ("sec-fetch-site", "none"),
        ] {
            assert_eq!(judged(&access, true, &Method::POST, "/api/v1/release", &[own, ("authorization", &bearer)]), 200, "{own:?}");
        }
        assert_eq!(judged(&access, true, &Method::GET, "/leases", &[("sec-fetch-site", "cross-site")]), 200, "a link to the dashboard");
    }
}
