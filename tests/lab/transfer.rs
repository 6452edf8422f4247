//! A file from pod to pod by TCP, checksummed at both ends.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use sha2::{Digest, Sha256};

use crate::pod::Pod;
use crate::stream::step_back;

/// How long either end may wait for the other.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes a write.
const CHUNK: usize = 64 * 1024;

/// A transfer that arrived whole.
#[derive(Debug, Clone)]
pub struct Transfer {
    /// Bytes.
    pub bytes: u64,
    /// From the first byte to the last checksum.
    pub took: Duration,
    /// SHA-256 of what arrived, in hex; the same was sent.
    pub checksum: String,
}

impl Transfer {
    /// Gigabits a second.
    pub fn gbit_per_s(&self) -> f64 {
        self.bytes as f64 * 8.0 / self.took.as_secs_f64() / 1e9
    }
}

/// Sends `bytes` bytes that no one can guess from one pod to another; an error unless all arrive unchanged.
pub fn transfer(from: &Pod, to: &Pod, bytes: u64) -> Result<Transfer> {
    transfer_to(from, (to, to.address().into()), bytes)
}

/// The same to one of the other pod's addresses.
pub fn transfer_to(from: &Pod, (to, address): (&Pod, IpAddr), bytes: u64) -> Result<Transfer> {
    let listener = to.net().inside(|| Ok(TcpListener::bind((address, 0))?))?;
    let address = listener.local_addr()?;
    let start = Instant::now();
    let (sent, received) = std::thread::scope(|scope| {
        let receiver = scope.spawn(|| receive(&listener, &AtomicU64::new(0)));
        let mut left = bytes;
        let more = || {
            let size = left.min(CHUNK as u64);
            left -= size;
            size as usize
        };
        let sent = from.net().inside(|| send(&TcpStream::connect_timeout(&address, PATIENCE)?, more));
        if sent.is_err() {
            // Nobody comes any more: wake the one who waits.
            let _ = to.net().inside(|| Ok(TcpStream::connect(address)?));
        }
        (sent, receiver.join())
    });
    let sent = sent.with_context(|| format!("cannot send from {} to {}", from.name(), to.name()))?;
    let (count, checksum) = received.map_err(|_| anyhow!("the receiver panicked"))??;
    ensure!(count == bytes, "{bytes} bytes were sent from {} to {}, {count} arrived", from.name(), to.name());
    ensure!(sent == checksum, "what {} sent and {} received differ", from.name(), to.name());
    Ok(Transfer { bytes, took: start.elapsed(), checksum })
}

/// A transfer without an end of its own: it goes on until it is told to finish.
#[derive(Debug)]
pub struct Bulk {
    stop: Arc<AtomicBool>,
    arrived: Arc<AtomicU64>,
    sender: JoinHandle<Result<String>>,
    receiver: JoinHandle<Result<(u64, String)>>,
}

impl Bulk {
    /// Begins to send from one pod to another, as fast as it goes.
    pub fn start(from: &Pod, to: &Pod) -> Result<Bulk> {
        let listener = to.net().inside(|| Ok(TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?))?;
        let address = (to.address(), listener.local_addr()?.port());
        let stream = from.net().inside(|| Ok(TcpStream::connect_timeout(&address.into(), PATIENCE)?))?;
        let (stop, arrived) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (ended, shown) = (stop.clone(), arrived.clone());
        let receiver = std::thread::spawn(move || receive(&listener, &shown));
        let sender = std::thread::spawn(move || {
            step_back();
            send(&stream, || if ended.load(Ordering::Relaxed) { 0 } else { CHUNK })
        });
        Ok(Bulk { stop, arrived, sender, receiver })
    }

    /// Bytes that have arrived so far.
    pub fn arrived(&self) -> u64 {
        self.arrived.load(Ordering::Relaxed)
    }

    /// Ends it, and tells how many bytes came; an error unless all arrived unchanged.
    pub fn finish(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.sender.join().map_err(|_| anyhow!("the sender panicked"))?.context("the transfer broke")?;
        let (count, checksum) = self.receiver.join().map_err(|_| anyhow!("the receiver panicked"))??;
        ensure!(sent == checksum, "what was sent and what was received differ");
        Ok(count)
    }
}

/// Sends as many bytes at once as `more` says, until it says none.
fn send(mut stream: &TcpStream, mut more: impl FnMut() -> usize) -> Result<String> {
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut hash = Sha256::new();
    let mut noise = Noise::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        let size = more();
        if size == 0 {
            break;
        }
        noise.fill(&mut chunk[..size]);
        hash.update(&chunk[..size]);
        stream.write_all(&chunk[..size])?;
    }
    stream.shutdown(Shutdown::Write)?;
    // The other end closes when it has everything.
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.read_to_end(&mut Vec::new())?;
    Ok(hex(&hash.finalize()))
}

fn receive(listener: &TcpListener, arrived: &AtomicU64) -> Result<(u64, String)> {
    let (mut stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    let mut count = 0;
    loop {
        match stream.read(&mut chunk)? {
            0 => return Ok((count, hex(&hash.finalize()))),
            size => {
                hash.update(&chunk[..size]);
                count += size as u64;
                arrived.store(count, Ordering::Relaxed);
            }
        }
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// xorshift64*: fast bytes without a pattern, seeded by the clock.
pub(crate) struct Noise(u64);

impl Noise {
    pub(crate) fn new() -> Noise {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Noise(now.as_nanos() as u64 | 1)
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for word in bytes.chunks_mut(8) {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            let value = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes();
            word.copy_from_slice(&value[..word.len()]);
        }
    }
}
