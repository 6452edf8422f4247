//! Signing in at etcd: user and password for a token (`/v3/auth/authenticate`). Pure but for the token's cell in `client`.

use hyper::header::HeaderValue;
use serde::{Deserialize, Serialize};

use super::credentials::{Secret, hidden};

/// Where etcd's JSON gateway takes a login.
pub(super) const PATH: &str = "/v3/auth/authenticate";
/// Error texts of etcd that mean: sign in, or sign in again. A token ends after five minutes of disuse, with etcd's process, and when users are changed.
const UNSIGNED: [&str; 4] = ["invalid auth token", "user name is empty", "revision of auth store is old", "revision in header is old"];

/// What a login led to.
#[derive(Debug, Clone)]
pub(super) struct Token {
    /// The field `Authorization`; none where etcd asks nobody to sign in.
    pub(super) header: Option<HeaderValue>,
    /// Which login that was.
    pub(super) number: u64,
}

#[derive(Serialize)]
struct Question<'a> {
    name: &'a str,
    password: &'a str,
}

#[derive(Deserialize)]
struct Answer {
    token: String,
}

/// The body of a login.
pub(super) fn question(user: &str, password: &Secret) -> Result<Vec<u8>, String> {
    let password = password.read()?;
    serde_json::to_vec(&Question { name: user, password: &password }).map_err(|error| format!("cannot write the login: {error}"))
}

/// What etcd answered to it; none in the result: etcd asks nobody to sign in.
pub(super) fn answer(status: u16, body: &[u8], user: &str) -> Result<Option<HeaderValue>, String> {
    let text = String::from_utf8_lossy(body);
    match status {
        200 => {
            let answer: Answer = serde_json::from_slice(body).map_err(|_| "etcd's answer to the login holds no token".to_owned())?;
            hidden(&answer.token).map(Some)
        }
        _ if text.contains("authentication is not enabled") => Ok(None),
        _ if text.contains("authentication failed") => Err(format!("etcd does not accept user \"{user}\" with the configured password")),
        404 => Err(format!("the server knows no {PATH} (status 404): etcd's JSON gateway is off, or this is no etcd")),
        _ if text.contains("CommonName") => {
            Err("an etcd with users takes no client certificate that has a common name (CN) by its JSON gateway; use one without".into())
        }
        _ => Err(format!("etcd answered the login of user \"{user}\" with status {status}")),
    }
}

/// True when an answer says that the token of the request, or its lack, is the trouble.
pub(super) fn is_unsigned(status: u16, body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body);
    status == 401 || ((400..500).contains(&status) && UNSIGNED.iter().any(|words| text.contains(words)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_etcd_are_understood() {
        assert_eq!(answer(200, br#"{"header":{},"token":"abc.7"}"#, "u"), Ok(Some(HeaderValue::from_static("abc.7"))));
        assert_eq!(answer(412, br#"{"error":"etcdserver: authentication is not enabled","code":9}"#, "u"), Ok(None));
        let wrong = br#"{"error":"etcdserver: authentication failed, invalid user ID or password","code":3}"#;
        assert_eq!(answer(400, wrong, "u"), Err("etcd does not accept user \"u\" with the configured password".into()));
        assert!(answer(400, b"CommonName of client sending a request against gateway", "u").is_err_and(|why| why.contains("(CN)")));
        assert!(answer(404, b"Not Found\n", "u").expect_err("no gateway").contains("gateway is off"));
    }

    #[test]
    fn only_an_answer_about_the_token_asks_for_another_login() {
        assert!(is_unsigned(401, b""));
        assert!(is_unsigned(400, br#"{"error":"etcdserver: user name is empty","code":3}"#));
        assert!(!is_unsigned(403, br#"{"error":"etcdserver: permission denied","code":7}"#));
        assert!(!is_unsigned(200, b"invalid auth token"));
    }
}
