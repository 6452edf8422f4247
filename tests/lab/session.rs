//! A TCP connection that is used all the time: a record goes there and back every few milliseconds, to see whether it breaks and how long it ever stalls.

use std::fmt;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use crate::netns::NetNs;
use crate::stream::anywhere;
use crate::wait::wait_until;

/// The pause between two records.
const PAUSE: Duration = Duration::from_millis(5);
/// A machine that keeps even loopback waiting for longer is too busy to tell anything: that fails.
const MOST_FORGIVEN: Duration = Duration::from_millis(500);
/// The longest that a record may take: after that the connection counts as broken.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection in use.
#[derive(Debug)]
pub struct Session {
    name: String,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    client: JoinHandle<Result<Used>>,
}

/// What became of a connection.
#[derive(Debug)]
pub struct Used {
    /// Records that came back.
    pub records: u64,
    /// The longest time that a record took.
    pub longest: Duration,
    /// Segments that the sender had to send again (tcp_info's total_retrans).
    pub again: u32,
}

impl Session {
    /// Opens one from `from` to `address` in `to`. `name` appears in messages.
    pub fn open(name: &str, from: &NetNs, to: &NetNs, address: impl Into<IpAddr>) -> Result<Session> {
        let address = address.into();
        let listener = to.inside(|| Ok(TcpListener::bind((anywhere(address), 0))?))?;
        let port = listener.local_addr()?.port();
        Session::to(name, from, listener, (address, port))
    }

    /// Opens one from `from` to `target`, where `listener` is met, whatever translates addresses on the way.
    pub fn to(name: &str, from: &NetNs, listener: TcpListener, target: impl Into<SocketAddr>) -> Result<Session> {
        let target = target.into();
        let stream =
            from.inside(|| Ok(TcpStream::connect_timeout(&target, PATIENCE)?)).with_context(|| format!("{name}: cannot connect"))?;
        let (mut echo, _) = listener.accept()?;
        drop(listener);
        echo.set_nodelay(true)?;
        std::thread::spawn(move || {
            let mut record = [0; 8];
            while echo.read_exact(&mut record).is_ok() {
                echo.write_all(&record)?;
            }
            Ok::<_, std::io::Error>(())
        });
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let stop = Arc::new(AtomicBool::new(false));
        let done = Arc::new(AtomicU64::new(0));
        let (ended, shown) = (stop.clone(), done.clone());
        let client = std::thread::spawn(move || use_it(stream, &ended, &shown));
        Ok(Session { name: name.into(), stop, done, client })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Waits until so many more records came back.
    pub fn goes_on(&self, records: u64) -> Result<()> {
        let before = self.done.load(Ordering::Relaxed);
        wait_until(&format!("{} to go on", self.name), PATIENCE, || {
            let done = self.done.load(Ordering::Relaxed) - before;
            ensure!(done >= records, "{done} of {records} more records came back");
            Ok(())
        })
    }

    /// Ends it. An error when it broke.
    pub fn close(self) -> Result<Used> {
        self.stop.store(true, Ordering::Relaxed);
        let used = self.client.join().map_err(|_| anyhow!("{}: the client panicked", self.name))?;
        used.with_context(|| format!("the connection {} broke", self.name))
    }
}

impl Used {
    /// An error when some record took longer than `limit`, beside what this busy machine itself kept everything waiting (`control`).
    pub fn never_stalled(&self, limit: Duration, control: &Used) -> Result<()> {
        let allowed = limit + control.longest.min(MOST_FORGIVEN);
        ensure!(self.records > 0 && self.longest <= allowed, "{self}; beside it on loopback {control}");
        Ok(())
    }
}

impl fmt::Display for Used {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} records, the longest took {:?}, {} segments sent again", self.records, self.longest, self.again)
    }
}

fn use_it(mut stream: TcpStream, stop: &AtomicBool, done: &AtomicU64) -> Result<Used> {
    let mut used = Used { records: 0, longest: Duration::ZERO, again: 0 };
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let sent = used.records.to_be_bytes();
        stream.write_all(&sent)?;
        let mut back = [0; 8];
        stream.read_exact(&mut back)?;
        ensure!(back == sent, "another record came back");
        used.records += 1;
        done.store(used.records, Ordering::Relaxed);
        used.longest = used.longest.max(begun.elapsed());
        std::thread::sleep(PAUSE);
    }
    used.again = socket_again(&stream)?;
    Ok(used)
}

/// `tcpi_total_retrans` of linux/tcp.h: at byte 100 of `struct tcp_info`.
fn socket_again(stream: &TcpStream) -> Result<u32> {
    use std::os::fd::AsRawFd;
    let mut info = [0u8; 104];
    let mut length = info.len() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes into a buffer of that length, which outlives the call.
    let got = unsafe { libc::getsockopt(stream.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &raw mut length) };
    ensure!(got == 0, "cannot read TCP_INFO: {}", std::io::Error::last_os_error());
    Ok(u32::from_ne_bytes(info[100..104].try_into()?))
}
