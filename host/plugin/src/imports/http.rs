//! The interface `http`. An upstream is granted by name in the operator's settings; there is no kind of upstream yet that could be
//! granted, so every request
//! is answered with `not-granted`, and nothing leaves the machine.

use wasmtime::component::Resource;

use crate::guest::Guest;
use crate::wit::http::{Failure, Host, HostReply, Request, Response};

/// A body that is read as it arrives. Only a granted upstream gives one, so there is none.
#[derive(Debug)]
pub enum Reply {}

impl Host for Guest {
    async fn send(&mut self, request: Request) -> wasmtime::Result<Result<Response, Failure>> {
        Ok(Err(Failure::NotGranted(request.upstream)))
    }

    async fn open(&mut self, request: Request) -> wasmtime::Result<Result<Resource<Reply>, Failure>> {
        Ok(Err(Failure::NotGranted(request.upstream)))
    }
}

impl HostReply for Guest {
    async fn status(&mut self, reply: Resource<Reply>) -> wasmtime::Result<u16> {
        match *self.replies().get(&reply)? {}
    }

    async fn read(&mut self, reply: Resource<Reply>, _wait_ms: u32) -> wasmtime::Result<Result<Option<Vec<u8>>, Failure>> {
        match *self.replies().get(&reply)? {}
    }

    async fn drop(&mut self, reply: Resource<Reply>) -> wasmtime::Result<()> {
        match self.replies().delete(reply)? {}
    }
}
