//! HTTP to servers that the operator has granted by name.

#[cfg(target_family = "wasm")]
use crate::bindings::store::twill::plugin::http;
#[cfg(not(target_family = "wasm"))]
use crate::fake::http;

pub use crate::bindings::store::twill::plugin::http::{Failure, Request, Response};

/// An answer whose body is read as it arrives, such as a watch. Letting go of it closes the connection.
pub struct Reply(http::Reply);

impl Reply {
    /// The status code.
    pub fn status(&self) -> u16 {
        self.0.status()
    }

    /// The next piece of the body; none at the end, an empty one when nothing arrived in `wait_ms` milliseconds.
    ///
    /// # Errors
    /// The connection broke off.
    pub fn read(&self, wait_ms: u32) -> Result<Option<Vec<u8>>, Failure> {
        self.0.read(wait_ms)
    }
}

/// Sends a request and waits for the whole answer.
///
/// # Errors
/// No answer came; one with an error status is an answer.
pub fn send(request: &Request) -> Result<Response, Failure> {
    http::send(request)
}

/// Sends a request and waits for the head of the answer.
///
/// # Errors
/// As [`send`].
pub fn open(request: &Request) -> Result<Reply, Failure> {
    http::open(request).map(Reply)
}
