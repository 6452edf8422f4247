//! Speaking to an upstream: fail-over in order with memory of the last good endpoint, a few connections kept open, and the login where one is needed.
//!
//! A request goes to the next endpoint only while it certainly was not sent; after that a failure is the caller's to judge, since the server
//! may have done what was asked.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue};
use hyper::{Method, Response, Uri};

use super::Upstream;
use super::connect::{Sender, connect};
use super::credentials::Credentials;
use super::login::{self, Token};
use super::reply::{Reply, collect};

/// The most that the body of a whole answer may hold, in bytes.
const BODY: u32 = 16 << 20;
/// The most that the answer to a login, or a stream's refusal, may hold.
const NOTE: u32 = 64 << 10;
/// Connections kept open without use.
const IDLE: usize = 2;

/// What is asked of an upstream.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// Path with query.
    pub(crate) path: Uri,
    /// Without those that are the host's own.
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) timeout: Duration,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Why there is no answer. No text holds a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    Unreachable(String),
    TimedOut,
    Login(String),
    TooLarge(u32),
    BrokenOff(String),
}

/// An upstream in use; the instances of a store share one.
#[derive(Debug)]
pub(crate) struct Client {
    upstream: Upstream,
    /// Place of the endpoint that is asked first.
    good: AtomicUsize,
    idle: Mutex<Vec<(usize, Sender)>>,
    token: tokio::sync::Mutex<Option<Token>>,
}

/// The head of an answer, and where it came from.
struct Headed {
    place: usize,
    sender: Sender,
    response: Response<Incoming>,
}

/// Why one endpoint gave no answer.
enum Miss {
    /// The request was not sent.
    Unsent(String),
    /// It was, or may have been.
    Lost(String),
}

impl Client {
    pub(crate) fn new(upstream: Upstream) -> Client {
        Client { upstream, good: AtomicUsize::new(0), idle: Mutex::default(), token: tokio::sync::Mutex::default() }
    }

    /// Sends a request and waits for the whole answer.
    pub(crate) async fn send(&self, request: &Request) -> Result<Answer, Failure> {
        self.in_time(request.timeout, async {
            let signed = self.sign(None).await?;
            let answer = self.whole(request, signed.header.clone(), BODY).await?;
            if !self.is_unsigned(answer.status, &answer.body) {
                return Ok(answer);
            }
            let signed = self.sign(Some(signed.number)).await?;
            self.whole(request, signed.header, BODY).await
        })
        .await
    }

    /// Sends a request and waits for the head of the answer.
    pub(crate) async fn open(&self, request: &Request) -> Result<Reply, Failure> {
        self.in_time(request.timeout, async {
            let signed = self.sign(None).await?;
            match self.head(request, signed.header.clone()).await? {
                reply if reply.status() < 400 => Ok(reply),
                mut refusal => {
                    let said = refusal.read(Duration::MAX).await?.unwrap_or_default();
                    if !self.is_unsigned(refusal.status(), &said) {
                        return Ok(Reply::whole(refusal.status(), said));
                    }
                    let signed = self.sign(Some(signed.number)).await?;
                    self.head(request, signed.header).await
                }
            }
        })
        .await
    }

    /// An endpoint that is silent is not asked first the next time.
    async fn in_time<T>(&self, limit: Duration, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let first = self.good.load(Ordering::Relaxed);
        let done = tokio::time::timeout(limit, work).await.unwrap_or(Err(Failure::TimedOut));
        if done.as_ref().is_err_and(|failure| *failure == Failure::TimedOut) {
            self.pass_over(first);
        }
        done
    }

    async fn whole(&self, request: &Request, signature: Option<HeaderValue>, limit: u32) -> Result<Answer, Failure> {
        let Headed { place, sender, response } = self.ask(request, signature).await?;
        let (head, body) = response.into_parts();
        let body = collect(body, limit).await.inspect_err(|_| self.pass_over(place))?;
        self.keep(place, sender);
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
    }

    async fn head(&self, request: &Request, signature: Option<HeaderValue>) -> Result<Reply, Failure> {
        let Headed { sender, response, .. } = self.ask(request, signature).await?;
        let status = response.status().as_u16();
        Ok(Reply::streamed(status, response.into_body(), sender))
    }

    /// Asks one endpoint after the other, the last good one first.
    async fn ask(&self, request: &Request, signature: Option<HeaderValue>) -> Result<Headed, Failure> {
        let count = self.upstream.endpoints.len();
        let first = self.good.load(Ordering::Relaxed);
        let mut tried = Vec::new();
        for place in (0..count).map(|turn| (first + turn) % count) {
            match self.ask_at(place, request, signature.clone()).await {
                Ok(headed) => {
                    self.good.store(place, Ordering::Relaxed);
                    return Ok(headed);
                }
                Err(Miss::Unsent(why)) => tried.push(format!("{}: {why}", self.upstream.endpoints[place])),
                Err(Miss::Lost(why)) => {
                    self.pass_over(place);
                    return Err(Failure::BrokenOff(format!("{}: {why}", self.upstream.endpoints[place])));
                }
            }
        }
        Err(Failure::Unreachable(tried.join("; ")))
    }

    async fn ask_at(&self, place: usize, request: &Request, signature: Option<HeaderValue>) -> Result<Headed, Miss> {
        let endpoint = &self.upstream.endpoints[place];
        let mut message = message(request, &endpoint.authority(), signature)?;
        while let Some(mut sender) = self.idle_at(place) {
            if sender.ready().await.is_err() {
                continue;
            }
            match sender.try_send_request(message).await {
                Ok(response) => return Ok(Headed { place, sender, response }),
                Err(mut failed) => match failed.take_message() {
                    Some(unsent) => message = unsent,
                    None => return Err(Miss::Lost(self.upstream.tls.words(failed.error()))),
                },
            }
        }
        let mut sender = connect(endpoint, &self.upstream.tls).await.map_err(Miss::Unsent)?;
        match sender.try_send_request(message).await {
            Ok(response) => Ok(Headed { place, sender, response }),
            Err(mut failed) => {
                let why = self.upstream.tls.words(failed.error());
                Err(if failed.take_message().is_some() { Miss::Unsent(why) } else { Miss::Lost(why) })
            }
        }
    }

    /// What `Authorization` is to say. `worn` is the login whose token was not accepted.
    async fn sign(&self, worn: Option<u64>) -> Result<Token, Failure> {
        let Credentials::EtcdLogin { user, password } = &self.upstream.credentials else {
            let header = self.upstream.credentials.fixed().map_err(Failure::Login)?;
            return Ok(Token { header, number: 0 });
        };
        let mut token = self.token.lock().await;
        if let Some(token) = token.as_ref().filter(|token| Some(token.number) != worn) {
            return Ok(token.clone());
        }
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        let body = login::question(user, password).map_err(Failure::Login)?.into();
        let request = Request { method: Method::POST, path: Uri::from_static(login::PATH), headers, body, timeout: Duration::MAX };
        let answer = self.whole(&request, None, NOTE).await?;
        let header = login::answer(answer.status, &answer.body, user).map_err(Failure::Login)?;
        let fresh = Token { header, number: worn.map_or(1, |number| number + 1) };
        *token = Some(fresh.clone());
        Ok(fresh)
    }

    fn is_unsigned(&self, status: u16, body: &[u8]) -> bool {
        matches!(self.upstream.credentials, Credentials::EtcdLogin { .. }) && login::is_unsigned(status, body)
    }

    fn pass_over(&self, place: usize) {
        let next = (place + 1) % self.upstream.endpoints.len().max(1);
        // Only when nobody has chosen anew meanwhile.
        let _ = self.good.compare_exchange(place, next, Ordering::Relaxed, Ordering::Relaxed);
        self.idle().retain(|(at, _)| *at != place);
    }

    fn keep(&self, place: usize, sender: Sender) {
        let mut idle = self.idle();
        if idle.len() < IDLE {
            idle.push((place, sender));
        }
    }

    fn idle_at(&self, place: usize) -> Option<Sender> {
        let mut idle = self.idle();
        idle.retain(|(_, sender)| !sender.is_closed());
        let found = idle.iter().position(|(at, _)| *at == place)?;
        Some(idle.swap_remove(found).1)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(usize, Sender)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn message(request: &Request, authority: &str, signature: Option<HeaderValue>) -> Result<hyper::Request<Full<Bytes>>, Miss> {
    let mut message = hyper::Request::new(Full::new(request.body.clone()));
    *message.method_mut() = request.method.clone();
    *message.uri_mut() = request.path.clone();
    *message.headers_mut() = request.headers.clone();
    let host = HeaderValue::from_str(authority).map_err(|_| Miss::Unsent("its name is none that HTTP can carry".into()))?;
    message.headers_mut().insert(HOST, host);
    if let Some(signature) = signature {
        message.headers_mut().insert(AUTHORIZATION, signature);
    }
    Ok(message)
}
