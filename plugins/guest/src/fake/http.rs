//! Servers that a test makes of closures.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use super::clock::{millis, pass_until};
use crate::bindings::store::twill::plugin::http::{Failure, Request, Response};

/// Answers a request.
type Server = Rc<dyn Fn(&Request) -> Result<Response, Failure>>;
/// Answers a request with a stream.
type Streamer = Rc<dyn Fn(&Request) -> Result<Reply, Failure>>;

thread_local! {
    static SERVERS: RefCell<BTreeMap<String, Server>> = const { RefCell::new(BTreeMap::new()) };
    static STREAMERS: RefCell<BTreeMap<String, Streamer>> = const { RefCell::new(BTreeMap::new()) };
    static OPEN: Cell<usize> = const { Cell::new(0) };
}

/// Most streams that an instance may have open.
const MOST_OPEN: usize = 8;

/// Grants the upstream of that name, answered by `server`.
pub fn serve(upstream: &str, server: impl Fn(&Request) -> Result<Response, Failure> + 'static) {
    SERVERS.with_borrow_mut(|servers| servers.insert(upstream.to_owned(), Rc::new(server)));
}

/// Has `open` on the upstream of that name answered by `streamer`.
pub fn stream(upstream: &str, streamer: impl Fn(&Request) -> Result<Reply, Failure> + 'static) {
    STREAMERS.with_borrow_mut(|streamers| streamers.insert(upstream.to_owned(), Rc::new(streamer)));
}

/// An answer without header fields.
pub fn answer(status: u16, body: &[u8]) -> Response {
    Response { status, headers: Vec::new(), body: body.to_vec() }
}

/// An answer that arrives in pieces.
pub struct Reply {
    status: u16,
    /// Moments and pieces; after the last the body ends.
    pieces: RefCell<VecDeque<(u64, Vec<u8>)>>,
    /// It stays open after the last piece.
    endless: bool,
    counted: Cell<bool>,
}

impl Reply {
    /// Pieces with the milliseconds after which each arrives, counted from now; then the body ends.
    pub fn of(status: u16, pieces: &[(u32, &[u8])]) -> Reply {
        let pieces = pieces.iter().map(|(delay, piece)| (millis() + u64::from(*delay), piece.to_vec())).collect();
        Reply { status, pieces: RefCell::new(pieces), endless: false, counted: Cell::new(false) }
    }

    /// The same, and nothing more after the last piece, as of a server that has no news.
    pub fn endless(mut self) -> Reply {
        self.endless = true;
        self
    }

    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    pub(crate) fn read(&self, wait_ms: u32) -> Result<Option<Vec<u8>>, Failure> {
        let end = millis() + u64::from(wait_ms);
        let due = self.pieces.borrow().front().map(|(due, _)| *due);
        match due {
            None if !self.endless => Ok(None),
            Some(due) if due <= end => {
                pass_until(due, || false);
                Ok(self.pieces.borrow_mut().pop_front().map(|(_, piece)| piece))
            }
            _ => {
                pass_until(end, || false);
                Ok(Some(Vec::new()))
            }
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if self.counted.get() {
            OPEN.set(OPEN.get().saturating_sub(1));
        }
    }
}

pub(crate) fn send(request: &Request) -> Result<Response, Failure> {
    let server = SERVERS.with_borrow(|servers| servers.get(&request.upstream).cloned());
    server.ok_or_else(|| Failure::NotGranted(request.upstream.clone()))?(request)
}

pub(crate) fn open(request: &Request) -> Result<Reply, Failure> {
    let streamer = STREAMERS.with_borrow(|streamers| streamers.get(&request.upstream).cloned());
    let reply = streamer.ok_or_else(|| Failure::NotGranted(request.upstream.clone()))?(request)?;
    assert!(OPEN.get() < MOST_OPEN, "more than {MOST_OPEN} replies are open: let go of those that are read to their end");
    OPEN.set(OPEN.get() + 1);
    reply.counted.set(true);
    Ok(reply)
}

pub(super) fn reset() {
    SERVERS.take();
    STREAMERS.take();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(upstream: &str) -> Request {
        let (method, path) = ("GET".into(), "/".into());
        Request { upstream: upstream.into(), method, path, headers: vec![], body: vec![], timeout_ms: 1_000 }
    }

    #[test]
    fn only_what_is_served_answers() {
        serve("a", |request| Ok(answer(200, request.path.as_bytes())));
        assert_eq!(send(&request("a")).expect("an answer").body, b"/");
        assert!(matches!(send(&request("b")), Err(Failure::NotGranted(name)) if name == "b"));
    }

    #[test]
    fn pieces_arrive_at_their_moments() {
        stream("a", |_| Ok(Reply::of(200, &[(0, b"x"), (300, b"y")])));
        let reply = open(&request("a")).expect("a stream");
        let began = millis();
        assert_eq!(reply.read(100).expect("read"), Some(b"x".to_vec()));
        assert_eq!(reply.read(100).expect("read"), Some(vec![]));
        assert_eq!(reply.read(1_000).expect("read"), Some(b"y".to_vec()));
        assert_eq!((reply.read(1_000).expect("read"), millis() - began), (None, 300));
    }
}
