//! The asking connection: one request, one answer; dumps one after the other (the kernel runs one dump a socket); a bound on requests in
//! flight, so that the answers always fit into the receive buffer.
//!
//! Dumps are strict: the kernel filters by what the header asks for instead of ignoring it (Linux 4.20).

use std::io;

use futures_util::{Stream, StreamExt};
use netlink_packet_core::{DoneMessage, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::AsyncSocket;
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::sync::{Mutex, Semaphore};
use tracing::debug;

use crate::words::Failure;

/// Requests whose answers are awaited at the same time, at most. An answer takes under 1 KiB of the receive buffer.
const IN_FLIGHT: usize = 128;
/// How often a dump is taken again because the state changed meanwhile. After that the last one counts: what it may lack is made again, which
/// changes nothing if it was there.
const DUMP_TRIES: usize = 4;
/// Receive buffer of both connections, in bytes. Takes some ten thousand notifications.
pub(crate) const RECEIVE_BUFFER: usize = 8 << 20;

/// One change of the kernel's state.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    /// The message.
    pub(crate) message: RouteNetlinkMessage,
    /// Flags beside `NLM_F_REQUEST` and `NLM_F_ACK`.
    pub(crate) flags: u16,
    /// Errors that mean: it is so already.
    pub(crate) settled: &'static [Errno],
}

/// The asking connection.
#[derive(Debug)]
pub(crate) struct Asker {
    handle: rtnetlink::Handle,
    dumping: Mutex<()>,
    flights: Semaphore,
}

impl Asker {
    /// Opens the connection in the network namespace of the calling thread; its task runs on the current runtime and ends with the last handle.
    pub(crate) fn open() -> io::Result<Self> {
        let (mut connection, handle, _) = rtnetlink::new_connection_with_strict_check()?;
        connection.set_forward_ack(true);
        connection.set_forward_done(true);
        let socket = connection.socket_mut().socket_mut();
        socket.set_ext_ack(true)?;
        socket.set_cap_ack(true)?;
        widen(socket)?;
        tokio::spawn(connection);
        Ok(Self { handle, dumping: Mutex::new(()), flights: Semaphore::new(IN_FLIGHT) })
    }

    /// Sends a change and waits for the kernel's word on it.
    pub(crate) async fn change(&self, change: Change) -> Result<(), Failure> {
        let _flight = self.flights.acquire().await.map_err(|_| Failure::Closed)?;
        let answers = self.send(change.message, NLM_F_ACK | change.flags)?;
        match acknowledged(answers).await {
            Err(failure) if failure.is(change.settled) => Ok(()),
            answer => answer,
        }
    }

    /// Asks for one object.
    pub(crate) async fn get(&self, message: RouteNetlinkMessage) -> Result<RouteNetlinkMessage, Failure> {
        let _flight = self.flights.acquire().await.map_err(|_| Failure::Closed)?;
        let mut answers = self.send(message, 0)?;
        while let Some(answer) = answers.next().await {
            match answer.payload {
                NetlinkPayload::InnerMessage(inner) => return Ok(inner),
                NetlinkPayload::Error(error) => return Err(failure(error.code.map_or(0, |code| code.get()), &error.header)),
                _ => {}
            }
        }
        Err(Failure::Closed)
    }

    /// Asks for all objects of a kind, again when they changed meanwhile.
    pub(crate) async fn dump(&self, message: RouteNetlinkMessage) -> Result<Vec<RouteNetlinkMessage>, Failure> {
        let _alone = self.dumping.lock().await;
        for _ in 1..DUMP_TRIES {
            let (parts, whole) = self.dump_once(message.clone()).await?;
            if whole {
                return Ok(parts);
            }
        }
        debug!(tries = DUMP_TRIES, "kernel state changes while it is read");
        Ok(self.dump_once(message).await?.0)
    }

    /// What a dump gave, and whether it is of one moment.
    async fn dump_once(&self, message: RouteNetlinkMessage) -> Result<(Vec<RouteNetlinkMessage>, bool), Failure> {
        let mut answers = self.send(message, NLM_F_DUMP)?;
        let mut parts = Vec::new();
        let mut whole = true;
        while let Some(answer) = answers.next().await {
            whole &= answer.header.flags & NLM_F_DUMP_INTR == 0;
            match answer.payload {
                NetlinkPayload::InnerMessage(part) => parts.push(part),
                NetlinkPayload::Done(DoneMessage { code: 0, .. }) => return Ok((parts, whole)),
                NetlinkPayload::Done(done) => return Err(failure(done.code, &[])),
                NetlinkPayload::Error(error) => return Err(failure(error.code.map_or(0, |code| code.get()), &error.header)),
                _ => {}
            }
        }
        Err(Failure::Closed)
    }

    fn send(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<impl Stream<Item = NetlinkMessage<RouteNetlinkMessage>> + Unpin + use<>, Failure> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | flags;
        self.handle.clone().request(request).map(Box::pin).map_err(|_| Failure::Closed)
    }
}

async fn acknowledged(mut answers: impl Stream<Item = NetlinkMessage<RouteNetlinkMessage>> + Unpin) -> Result<(), Failure> {
    while let Some(answer) = answers.next().await {
        if let NetlinkPayload::Error(error) = answer.payload {
            return error.code.map_or(Ok(()), |code| Err(Failure::from_code(code.get(), &error.header)));
        }
    }
    Err(Failure::Closed)
}

/// A request that wants an object and gets an acknowledgement was not understood.
fn failure(code: i32, behind: &[u8]) -> Failure {
    if code == 0 { Errno::EBADMSG.into() } else { Failure::from_code(code, behind) }
}

/// Makes the receive buffer large: beyond the system's limit with CAP_NET_ADMIN, else up to it.
pub(crate) fn widen(socket: &netlink_sys::Socket) -> io::Result<()> {
    match setsockopt(socket, sockopt::RcvBufForce, &RECEIVE_BUFFER) {
        Ok(()) => Ok(()),
        Err(_) => setsockopt(socket, sockopt::RcvBuf, &RECEIVE_BUFFER).map_err(io::Error::from),
    }
}
