//! Asking Redis through Webdis: a command is a path, `EVAL/script/1/prefix/…`, with every argument percent-encoded; the answer is JSON.
//!
//! Webdis answers `{"EVAL": value}`, where a Redis array is a list and an error is `[false, "ERR …"]`; see its README, "Formats".

use serde_json::Value;
use twill_guest::store::Trouble;
use twill_guest::store::http::{self, Failure, Reply, Request};

/// The upstream's name in the operator's settings.
pub const UPSTREAM: &str = "redis";
/// Milliseconds for a whole answer.
const TIMEOUT_MS: u32 = 4_000;
/// What every script begins with.
const BEGIN: &str = include_str!("lua/begin.lua");

/// A script after its beginning.
#[derive(Debug, Clone, Copy)]
pub struct Script(&'static str);

/// Everything.
pub const READ: Script = Script(include_str!("lua/read.lua"));
/// One lease.
pub const ONE: Script = Script(include_str!("lua/one.lua"));
/// Writes a lease on a condition.
pub const PUT: Script = Script(include_str!("lua/put.lua"));
/// Removes a lease on a condition.
pub const REMOVE: Script = Script(include_str!("lua/remove.lua"));
/// Writes the config on a condition.
pub const CONFIG: Script = Script(include_str!("lua/config.lua"));
/// What has changed.
pub const NEWS: Script = Script(include_str!("lua/news.lua"));

/// The Redis that the operator granted.
#[derive(Debug, Clone)]
pub struct Redis {
    prefix: String,
    /// Goes into the mark of a store that is made anew.
    node_name: String,
}

impl Redis {
    /// All keys begin with `prefix`.
    pub fn new(prefix: &str, node_name: &str) -> Redis {
        Redis { prefix: prefix.into(), node_name: node_name.into() }
    }

    /// Runs a script; what it returns, as texts.
    ///
    /// # Errors
    /// Redis cannot be reached, or refuses.
    pub fn run(&self, script: Script, arguments: &[&str]) -> Result<Vec<String>, Trouble> {
        let script = format!("{BEGIN}\n{}", script.0);
        let words = ["EVAL", &script, "1", &self.prefix, &self.node_name];
        let command: Vec<String> = words.iter().chain(arguments).map(|word| encoded(word)).collect();
        let request = request("POST", "/", command.join("/").into_bytes());
        let answer = http::send(&request).map_err(trouble)?;
        texts(answer.status, &answer.body)
    }

    /// A stream that says something whenever there is news.
    ///
    /// # Errors
    /// Redis cannot be reached.
    pub fn subscribe(&self) -> Result<Reply, Trouble> {
        let channel = format!("{}:news", self.prefix);
        let reply = http::open(&request("GET", &format!("/SUBSCRIBE/{}", encoded(&channel)), vec![])).map_err(trouble)?;
        if reply.status() == 200 { Ok(reply) } else { Err(refused(reply.status(), b"to subscribe")) }
    }
}

fn request(method: &str, path: &str, body: Vec<u8>) -> Request {
    Request { upstream: UPSTREAM.into(), method: method.into(), path: path.into(), headers: vec![], body, timeout_ms: TIMEOUT_MS }
}

/// A word of a command. A dot is encoded too: Webdis takes what follows the last one for a format.
fn encoded(word: &str) -> String {
    word.bytes().fold(String::with_capacity(word.len() * 2), |mut text, byte| {
        if byte.is_ascii_alphanumeric() {
            text.push(byte.into())
        } else {
            text.push_str(&format!("%{byte:02X}"))
        }
        text
    })
}

/// The texts of an answer.
fn texts(status: u16, body: &[u8]) -> Result<Vec<String>, Trouble> {
    if status != 200 {
        return Err(refused(status, body));
    }
    let garbled = || Trouble::Retry(format!("cannot understand Webdis's answer: {}", words(body)));
    let answer: Value = serde_json::from_slice(body).map_err(|_| garbled())?;
    match answer.get("EVAL") {
        Some(Value::Array(list)) => match &list[..] {
            [Value::Bool(false), Value::String(error)] => Err(error_of(error)),
            list => list.iter().map(|value| value.as_str().map(str::to_owned).ok_or_else(garbled)).collect(),
        },
        _ => Err(garbled()),
    }
}

/// What an error of Redis means to the host.
fn error_of(error: &str) -> Trouble {
    let denied = ["NOAUTH", "NOPERM", "WRONGPASS"].iter().any(|code| error.starts_with(code));
    if denied { Trouble::Denied(format!("Redis says: {error}")) } else { Trouble::Retry(format!("Redis says: {error}")) }
}

fn refused(status: u16, body: &[u8]) -> Trouble {
    match status {
        401 | 403 => {
            Trouble::Denied(format!("Webdis does not let this node do it (status {status}): its acl must allow EVAL and SUBSCRIBE"))
        }
        503 => Trouble::Retry("Webdis cannot reach its Redis".into()),
        _ => Trouble::Retry(format!("Webdis answered with status {status}: {}", words(body))),
    }
}

fn words(body: &[u8]) -> String {
    String::from_utf8_lossy(body).trim().chars().take(200).collect()
}

/// What a failed request means to the host.
pub fn trouble(failure: Failure) -> Trouble {
    match failure {
        Failure::NotGranted(_) => Trouble::Denied("no Redis is granted to this store".into()),
        Failure::Unreachable(why) => Trouble::Retry(format!("cannot reach Webdis: {why}")),
        Failure::TimedOut => Trouble::Retry("Webdis did not answer in time".into()),
        Failure::Login(why) => Trouble::Denied(format!("cannot sign in: {why}")),
        Failure::TooLarge(limit) => Trouble::Retry(format!("Webdis's answer is larger than {limit} bytes")),
        Failure::BrokenOff(why) => Trouble::Retry(format!("the connection to Webdis broke off: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use twill_guest::fake;

    use super::*;

    #[test]
    fn a_command_is_a_path_of_encoded_words() {
        fake::http::serve(UPSTREAM, |request| {
            let body = String::from_utf8(request.body.clone()).expect("text");
            assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/"));
            assert!(body.starts_with("EVAL/%2D%2D%20What%20every"), "{body}");
            assert!(body.ends_with("/1/%7Bt%7D/node/10%2E1%2E2%2E0%2D24/%C3%A4%2F"), "{body}");
            assert!(!body.contains('.'), "Webdis would take it for a format");
            Ok(fake::http::answer(200, br#"{"EVAL":["1","\u00e4"]}"#))
        });
        let redis = Redis::new("{t}", "node");
        assert_eq!(redis.run(ONE, &["10.1.2.0-24", "ä/"]), Ok(vec!["1".into(), "ä".into()]));
    }

    #[test]
    fn refusals_are_told_apart() {
        let said = |status, body: &str| texts(status, body.as_bytes()).expect_err("refused");
        assert!(matches!(said(403, ""), Trouble::Denied(text) if text.contains("EVAL and SUBSCRIBE")));
        assert!(matches!(said(503, ""), Trouble::Retry(text) if text.contains("its Redis")));
        assert!(matches!(said(200, r#"{"EVAL":[false,"NOAUTH Authentication required."]}"#), Trouble::Denied(_)));
        assert!(matches!(said(200, r#"{"EVAL":[false,"LOADING Redis is loading"]}"#), Trouble::Retry(_)));
        assert!(matches!(said(200, r#"{"EVAL":null}"#), Trouble::Retry(_)));
        assert!(matches!(said(200, "<html>"), Trouble::Retry(_)));
    }

    #[test]
    fn what_is_not_granted_is_denied() {
        assert!(matches!(Redis::new("t", "n").run(READ, &[]), Err(Trouble::Denied(_))));
    }
}
