//! One long TCP connection from pod to pod that carries a little all the time, checksummed at both ends: it breaks when a packet is lost for good, or when its
//! path resets it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use sha2::{Digest, Sha256};

use crate::pod::Pod;
use crate::transfer::{Noise, hex};

/// Bytes a write, and the pause after it: some 6 MB a second.
const CHUNK: usize = 32 * 1024;
const PAUSE: Duration = Duration::from_millis(5);
/// How long either end may wait for the other.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection that carries.
#[derive(Debug)]
pub struct Trickle {
    stop: Arc<AtomicBool>,
    arrived: Arc<AtomicU64>,
    sender: JoinHandle<Result<String>>,
    receiver: JoinHandle<Result<(String, Duration)>>,
}

/// What it carried.
#[derive(Debug)]
pub struct Carried {
    /// Bytes, the same at both ends.
    pub bytes: u64,
    /// The longest time between two arrivals.
    pub longest_silence: Duration,
}

impl Trickle {
    /// Connects and begins.
    pub fn start(from: &Pod, to: &Pod) -> Result<Trickle> {
        let listener = to.net().inside(|| Ok(TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?))?;
        let address = (to.address(), listener.local_addr()?.port());
        let sending = from.net().inside(|| Ok(TcpStream::connect_timeout(&address.into(), PATIENCE)?))?;
        let (receiving, _) = listener.accept()?;
        let (stop, arrived) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (until, count) = (stop.clone(), arrived.clone());
        let sender = std::thread::spawn(move || send(&sending, &until));
        let receiver = std::thread::spawn(move || receive(&receiving, &count));
        Ok(Trickle { stop, arrived, sender, receiver })
    }

    /// Ends it; an error unless everything arrived unchanged over the one connection.
    pub fn stop(self) -> Result<Carried> {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.sender.join().map_err(|_| anyhow!("the sender panicked"))?.context("the sending end of the TCP connection")?;
        let received = self.receiver.join().map_err(|_| anyhow!("the receiver panicked"))?;
        let (received, longest_silence) = received.context("the receiving end of the TCP connection")?;
        ensure!(sent == received, "what was sent over TCP and what arrived differ");
        Ok(Carried { bytes: self.arrived.load(Ordering::Relaxed), longest_silence })
    }
}

fn send(mut stream: &TcpStream, stop: &AtomicBool) -> Result<String> {
    stream.set_write_timeout(Some(PATIENCE))?;
    let (mut hash, mut noise, mut chunk) = (Sha256::new(), Noise::new(), vec![0; CHUNK]);
    while !stop.load(Ordering::Relaxed) {
        noise.fill(&mut chunk);
        hash.update(&chunk);
        stream.write_all(&chunk)?;
        std::thread::sleep(PAUSE);
    }
    stream.shutdown(Shutdown::Write)?;
    Ok(hex(&hash.finalize()))
}

fn receive(mut stream: &TcpStream, count: &AtomicU64) -> Result<(String, Duration)> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let (mut hash, mut chunk) = (Sha256::new(), vec![0; CHUNK]);
    let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
    loop {
        match stream.read(&mut chunk)? {
            0 => return Ok((hex(&hash.finalize()), longest)),
            size => {
                hash.update(&chunk[..size]);
                count.fetch_add(size as u64, Ordering::Relaxed);
                longest = longest.max(last.elapsed());
                last = Instant::now();
            }
        }
    }
}
