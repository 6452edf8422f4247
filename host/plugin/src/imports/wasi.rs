//! WASI 0.2, linked empty: no arguments, environment, files or sockets. Tooling of Python and JavaScript imports it, so it is there;
//! what a plugin writes to its standard
//! streams goes to its log, so that tracebacks are not lost. For backends clocks stand still and random numbers are the same in each
//! instance.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::random::Deterministic;
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtx};

use super::log::Log;
use crate::grants::{Surroundings, World};
use crate::wit::types::Level;

/// The WASI of a fresh instance.
pub(crate) fn empty(world: World, surroundings: Surroundings, log: &Arc<Log>) -> WasiCtx {
    let mut builder = WasiCtx::builder();
    builder.stdout(Lines { log: log.clone(), level: Level::Info }).stderr(Lines { log: log.clone(), level: Level::Warn });
    builder.allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false).max_random_size(1 << 20);
    if world == World::Backend {
        let seeded = || seeded(surroundings.seed);
        builder.wall_clock(Still(surroundings.clock)).monotonic_clock(Still(surroundings.clock));
        builder.secure_random(seeded()).insecure_random(seeded()).insecure_random_seed(surroundings.seed.into());
    }
    builder.build()
}

/// A clock that stands still at this time.
struct Still(Duration);

impl HostWallClock for Still {
    fn resolution(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn now(&self) -> Duration {
        self.0
    }
}

impl HostMonotonicClock for Still {
    fn resolution(&self) -> u64 {
        1_000_000_000
    }

    fn now(&self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// The same bytes over and over; a hash map needs them to be there, nothing here needs them to be random.
fn seeded(seed: u8) -> Deterministic {
    Deterministic::new((0..=255u8).map(|byte| byte.wrapping_mul(167).wrapping_add(13).wrapping_add(seed)).collect())
}

/// A standard stream that ends in the log, a line at a time.
struct Lines {
    log: Arc<Log>,
    level: Level,
}

impl IsTerminal for Lines {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Lines {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(Splitter { log: self.log.clone(), level: self.level, rest: Vec::new() })
    }
}

/// Cuts what is written into lines.
struct Splitter {
    log: Arc<Log>,
    level: Level,
    rest: Vec<u8>,
}

impl Splitter {
    fn line(&self, bytes: &[u8]) -> io::Result<()> {
        self.log.write(self.level, &String::from_utf8_lossy(bytes)).map_err(io::Error::other)
    }
}

impl AsyncWrite for Splitter {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.rest.extend_from_slice(bytes);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n').or((self.rest.len() > 4096).then_some(4096)) {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            self.line(&line)?;
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Drop for Splitter {
    fn drop(&mut self) {
        if !self.rest.is_empty() {
            // The instance is going; a line too many has nobody left to stop.
            let _ = self.line(&self.rest);
        }
    }
}
