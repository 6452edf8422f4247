//! Asking etcd: the trait [`Etcd`] with its implementation by the host, the typed calls on top of it, and what refusals mean to a caller.
//!
//! Everything else in the plugin is written against the trait, so that native tests can speak to an etcd of their own.

use serde::Serialize;
use serde::de::DeserializeOwned;
use twill_guest::store::http::{self, Failure, Reply, Request};
use twill_guest::store::{Trouble, clock};

use crate::wire::{Found, Grant, Granted, OfLease, Outcome, Range, Refused, Transaction};

/// The upstream's name in the operator's settings.
pub const UPSTREAM: &str = "etcd";
/// Milliseconds for a whole answer. Two of them and the host's slack for a watch is not used up.
const TIMEOUT_MS: u32 = 4_000;
/// Keys in one answer: what a guest reads between two calls to the host.
const PAGE: i64 = 1_000;

/// The etcd that the operator granted.
pub trait Etcd {
    /// A stream of news.
    type Stream: Stream;
    /// Posts a JSON text; status and body of the answer.
    fn post(&self, path: &str, body: Vec<u8>) -> Result<(u16, Vec<u8>), Failure>;
    /// Posts a JSON text whose answer is read as it arrives; ends when the server loses its leader.
    fn open(&self, path: &str, body: Vec<u8>) -> Result<Self::Stream, Failure>;
    /// Unix time in milliseconds, by this node's clock.
    fn now(&self) -> f64;
}

/// An answer that is read as it arrives.
pub trait Stream {
    /// The status code.
    fn status(&self) -> u16;
    /// The next piece; none at the end, an empty one when nothing arrived in time.
    fn read(&self, wait_ms: u32) -> Result<Option<Vec<u8>>, Failure>;
}

/// The host's.
#[derive(Debug, Clone, Copy)]
pub struct Host;

impl Etcd for Host {
    type Stream = Reply;

    fn post(&self, path: &str, body: Vec<u8>) -> Result<(u16, Vec<u8>), Failure> {
        http::send(&request(path, body, vec![])).map(|answer| (answer.status, answer.body))
    }

    fn open(&self, path: &str, body: Vec<u8>) -> Result<Reply, Failure> {
        http::open(&request(path, body, vec![("Grpc-Metadata-hasleader".into(), "true".into())]))
    }

    fn now(&self) -> f64 {
        clock::now()
    }
}

impl Stream for Reply {
    fn status(&self) -> u16 {
        Reply::status(self)
    }

    fn read(&self, wait_ms: u32) -> Result<Option<Vec<u8>>, Failure> {
        Reply::read(self, wait_ms)
    }
}

fn request(path: &str, body: Vec<u8>, mut headers: Vec<(String, String)>) -> Request {
    headers.push(("Content-Type".into(), "application/json".into()));
    Request { upstream: UPSTREAM.into(), method: "POST".into(), path: path.into(), headers, body, timeout_ms: TIMEOUT_MS }
}

/// Reads a range.
pub fn range(etcd: &impl Etcd, range: &Range) -> Result<Found, Trouble> {
    call(etcd, "/v3/kv/range", range)
}

/// All keys from `first` to before `end`, at one revision, which the answer's header tells.
pub fn list(etcd: &impl Etcd, (first, end): (String, String)) -> Result<Found, Trouble> {
    let mut page = Range { key: first.into(), range_end: end.into(), limit: PAGE, ..Range::default() };
    let mut all = range(etcd, &page)?;
    page.revision = all.header.revision;
    while all.more {
        let Some(last) = all.kvs.last() else { break };
        page.key = last.key.clone();
        page.key.0.push(0);
        let next = range(etcd, &page)?;
        all.kvs.extend(next.kvs);
        all.more = next.more;
    }
    Ok(all)
}

/// Does one thing or the other.
pub fn transact(etcd: &impl Etcd, transaction: &Transaction) -> Result<Outcome, Trouble> {
    call(etcd, "/v3/kv/txn", transaction)
}

/// A new etcd lease of so many seconds.
pub fn grant(etcd: &impl Etcd, seconds: u32) -> Result<Granted, Trouble> {
    call(etcd, "/v3/lease/grant", &Grant { ttl: seconds.into() })
}

/// How long an etcd lease lives on, and the keys that end with it.
pub fn time_to_live(etcd: &impl Etcd, id: i64) -> Result<Granted, Trouble> {
    call(etcd, "/v3/lease/timetolive", &OfLease { id, keys: true })
}

/// Ends an etcd lease that no key hangs on any more. One that cannot be ended now ends by itself.
pub fn end_unused(etcd: &impl Etcd, id: i64) {
    if id != 0 && time_to_live(etcd, id).is_ok_and(|lease| lease.ttl > 0 && lease.keys.is_empty()) {
        let _: Result<serde_json::Value, Trouble> = call(etcd, "/v3/lease/revoke", &OfLease { id, keys: false });
    }
}

fn call<T: DeserializeOwned>(etcd: &impl Etcd, path: &str, question: &impl Serialize) -> Result<T, Trouble> {
    let (status, body) = etcd.post(path, json(question)?).map_err(trouble)?;
    if status != 200 {
        return Err(refused(status, &body));
    }
    serde_json::from_slice(&body).map_err(|error| Trouble::Retry(format!("cannot understand etcd's answer to {path}: {error}")))
}

/// A question as JSON.
pub fn json(question: &impl Serialize) -> Result<Vec<u8>, Trouble> {
    serde_json::to_vec(question).map_err(|error| Trouble::Invalid(format!("cannot ask etcd: {error}")))
}

/// What a failed request means to the host.
pub fn trouble(failure: Failure) -> Trouble {
    match failure {
        Failure::NotGranted(_) => Trouble::Denied("no etcd is granted to this store".into()),
        Failure::Unreachable(why) => Trouble::Retry(format!("cannot reach etcd: {why}")),
        Failure::TimedOut => Trouble::Retry("etcd did not answer in time".into()),
        Failure::Login(why) => Trouble::Denied(format!("cannot sign in: {why}")),
        Failure::TooLarge(limit) => Trouble::Retry(format!("etcd's answer is larger than {limit} bytes")),
        Failure::BrokenOff(why) => Trouble::Retry(format!("the connection to etcd broke off: {why}")),
    }
}

/// What an answer with an error status means to the host.
pub fn refused(status: u16, body: &[u8]) -> Trouble {
    match serde_json::from_slice::<Refused>(body) {
        Ok(Refused { message, code: Some(code) }) => refusal(code, &message),
        _ if status == 404 => Trouble::Retry("etcd's JSON gateway is off: start etcd (3.4 or newer) with --enable-grpc-gateway".into()),
        _ => {
            let said: String = String::from_utf8_lossy(body).trim().chars().take(200).collect();
            Trouble::Retry(format!("etcd answered with status {status}: {said}"))
        }
    }
}

/// What a refusal by gRPC's code means to the host.
pub fn refusal(code: i64, message: &str) -> Trouble {
    const PERMISSION_DENIED: i64 = 7;
    const UNAUTHENTICATED: i64 = 16;
    let words = message.trim_start_matches("etcdserver: ");
    match code {
        PERMISSION_DENIED => Trouble::Denied(format!("etcd does not let this user do it: {words}")),
        UNAUTHENTICATED => Trouble::Denied(format!("etcd does not know who asks: {words}")),
        _ if words.contains("user name is empty") => Trouble::Denied("etcd wants a user and a password, and none are configured".into()),
        _ => Trouble::Retry(format!("etcd says: {words}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_apart() {
        let said = |status, body: &str| refused(status, body.as_bytes());
        assert!(matches!(said(404, "Not Found\n"), Trouble::Retry(text) if text.contains("JSON gateway is off")));
        let missing = r#"{"error":"etcdserver: requested lease not found","message":"etcdserver: requested lease not found","code":5}"#;
        assert_eq!(said(404, missing), Trouble::Retry("etcd says: requested lease not found".into()));
        assert!(matches!(said(403, r#"{"message":"etcdserver: permission denied","code":7}"#), Trouble::Denied(_)));
        assert!(
            matches!(said(400, r#"{"message":"etcdserver: user name is empty","code":3}"#), Trouble::Denied(text) if text.contains("wants a user"))
        );
        assert_eq!(said(502, "<html>"), Trouble::Retry("etcd answered with status 502: <html>".into()));
    }
}
