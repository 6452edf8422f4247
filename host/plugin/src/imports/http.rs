//! The interface `http`: what a guest sees of the upstreams that its operator has granted. Addresses, TLS and credentials are added in `upstream`.

use std::time::Duration;

use hyper::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use hyper::{Method, Uri};
use wasmtime::component::Resource;

use crate::guest::Guest;
use crate::upstream;
pub use crate::upstream::Reply;
use crate::wit::http::{Failure, Host, HostReply, Request, Response};

/// Answers that an instance may hold open.
const OPEN: usize = 8;
/// Header fields that are the host's own; a guest's are passed over.
const OWN: [HeaderName; 9] = [AUTHORIZATION, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];

impl Host for Guest {
    async fn send(&mut self, request: Request) -> wasmtime::Result<Result<Response, Failure>> {
        let Some(client) = self.upstream(&request.upstream) else { return Ok(Err(Failure::NotGranted(request.upstream))) };
        let request = match readable(request) {
            Ok(request) => request,
            Err(why) => return Ok(Err(Failure::Unreachable(why))),
        };
        Ok(match client.send(&request).await {
            Ok(answer) => Ok(Response { status: answer.status, headers: fields(&answer.headers), body: answer.body.into() }),
            Err(failure) => Err(failure.into()),
        })
    }

    async fn open(&mut self, request: Request) -> wasmtime::Result<Result<Resource<Reply>, Failure>> {
        let Some(client) = self.upstream(&request.upstream) else { return Ok(Err(Failure::NotGranted(request.upstream))) };
        if self.open_replies >= OPEN {
            return Ok(Err(Failure::Unreachable(format!("{OPEN} answers are open already: let go of one"))));
        }
        let request = match readable(request) {
            Ok(request) => request,
            Err(why) => return Ok(Err(Failure::Unreachable(why))),
        };
        match client.open(&request).await {
            Ok(reply) => {
                self.open_replies += 1;
                Ok(Ok(self.replies().push(reply)?))
            }
            Err(failure) => Ok(Err(failure.into())),
        }
    }
}

impl HostReply for Guest {
    async fn status(&mut self, reply: Resource<Reply>) -> wasmtime::Result<u16> {
        Ok(self.replies().get(&reply)?.status())
    }

    async fn read(&mut self, reply: Resource<Reply>, wait_ms: u32) -> wasmtime::Result<Result<Option<Vec<u8>>, Failure>> {
        let piece = self.replies().get_mut(&reply)?.read(Duration::from_millis(wait_ms.into())).await;
        Ok(piece.map(|piece| piece.map(Into::into)).map_err(Failure::from))
    }

    async fn drop(&mut self, reply: Resource<Reply>) -> wasmtime::Result<()> {
        self.replies().delete(reply)?;
        self.open_replies = self.open_replies.saturating_sub(1);
        Ok(())
    }
}

impl From<upstream::Failure> for Failure {
    fn from(failure: upstream::Failure) -> Self {
        match failure {
            upstream::Failure::Unreachable(why) => Failure::Unreachable(why),
            upstream::Failure::TimedOut => Failure::TimedOut,
            upstream::Failure::Login(why) => Failure::Login(why),
            upstream::Failure::TooLarge(limit) => Failure::TooLarge(limit),
            upstream::Failure::BrokenOff(why) => Failure::BrokenOff(why),
        }
    }
}

/// Reads what a guest asks for; the error says what is no HTTP.
fn readable(request: Request) -> Result<upstream::Request, String> {
    let method = Method::from_bytes(request.method.as_bytes()).map_err(|_| "the request's method is none".to_owned())?;
    let path = Some(request.path).filter(|path| path.starts_with('/')).and_then(|path| path.parse::<Uri>().ok());
    let path = path.ok_or_else(|| "the request's path does not begin with \"/\", or holds what none can".to_owned())?;
    let mut headers = HeaderMap::new();
    for (name, value) in request.headers {
        let field = name.parse::<HeaderName>().ok().zip(HeaderValue::from_str(&value).ok());
        let (name, value) = field.ok_or_else(|| format!("\"{}\" is no header field", name.escape_debug()))?;
        if !OWN.contains(&name) {
            headers.append(name, value);
        }
    }
    let timeout = Duration::from_millis(request.timeout_ms.into());
    Ok(upstream::Request { method, path, headers, body: request.body.into(), timeout })
}

fn fields(headers: &HeaderMap) -> Vec<(String, String)> {
    headers.iter().map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(path: &str, headers: &[(&str, &str)]) -> Request {
        let headers = headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        Request { upstream: "etcd".into(), method: "POST".into(), path: path.into(), headers, body: vec![], timeout_ms: 1 }
    }

    #[test]
    fn what_is_the_host_s_own_is_passed_over() {
        let fields = [("authorization", "Basic eA=="), ("Host", "elsewhere"), ("content-length", "7"), ("Accept", "*/*")];
        let read = readable(request("/v3/kv/range?x=1", &fields)).expect("a request");
        assert_eq!(read.headers.into_iter().collect::<Vec<_>>(), [(Some(hyper::header::ACCEPT), HeaderValue::from_static("*/*"))]);
    }

    #[test]
    fn a_request_stays_at_its_upstream() {
        for path in ["http://elsewhere/", "//elsewhere\r\nX: y", "v3", ""] {
            assert!(readable(request(path, &[])).is_err(), "{path} was let through");
        }
        assert!(readable(request("/", &[("X", "a\r\nHost: b")])).is_err());
    }
}
