//! An answer whose body is read as it arrives. Dropping it closes the connection.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};

use super::client::Failure;
use super::connect::Sender;
use super::tls;

/// The most that one read gives.
const PIECE: usize = 64 << 10;

/// An open answer.
pub struct Reply {
    status: u16,
    /// What arrived and was not given out yet.
    pending: Bytes,
    /// The rest; none after its end.
    body: Option<Incoming>,
    /// The connection lives as long as the answer.
    _connection: Option<Sender>,
}

impl Reply {
    pub(super) fn streamed(status: u16, body: Incoming, connection: Sender) -> Reply {
        Reply { status, pending: Bytes::new(), body: Some(body), _connection: Some(connection) }
    }

    pub(super) fn whole(status: u16, body: Bytes) -> Reply {
        Reply { status, pending: body, body: None, _connection: None }
    }

    /// The status code.
    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    /// The next piece; none at the end, an empty one when nothing arrived in time.
    pub(crate) async fn read(&mut self, wait: Duration) -> Result<Option<Bytes>, Failure> {
        if self.pending.is_empty() {
            match tokio::time::timeout(wait, self.next()).await {
                Ok(Ok(Some(data))) => self.pending = data,
                Ok(Ok(None)) => return Ok(None),
                Ok(Err(failure)) => return Err(failure),
                Err(_) => return Ok(Some(Bytes::new())),
            }
        }
        Ok(Some(self.pending.split_to(self.pending.len().min(PIECE))))
    }

    /// The next data that is not empty. Cancel-safe.
    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        let Some(body) = &mut self.body else { return Ok(None) };
        while let Some(frame) = body.frame().await {
            match frame.map_err(|error| Failure::BrokenOff(tls::words(&error)))?.into_data() {
                Ok(data) if !data.is_empty() => return Ok(Some(data)),
                _ => {}
            }
        }
        self.body = None;
        Ok(None)
    }
}

/// The whole of a body; at most `limit` bytes.
pub(super) async fn collect(mut body: Incoming, limit: u32) -> Result<Bytes, Failure> {
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(|error| Failure::BrokenOff(tls::words(&error)))?.into_data() {
            if whole.len() + data.len() > limit as usize {
                return Err(Failure::TooLarge(limit));
            }
            whole.extend_from_slice(&data);
        }
    }
    Ok(whole.into())
}
