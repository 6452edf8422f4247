//! A stream of numbered datagrams between two pods, to see which were lost, doubled or late.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use socket2::SockRef;

use crate::pod::Pod;

/// A datagram's number, in bytes.
const NUMBER: usize = 8;
/// Room for what the receiver has not read yet, in bytes; each datagram takes the kernel about 800. The kernel may give less.
const ROOM: usize = 2 << 20;
/// Quiet time after the last datagram that ends the waiting for stragglers.
const STRAGGLERS: Duration = Duration::from_millis(500);

/// A running stream: one datagram every interval, numbered from 0.
#[derive(Debug)]
pub struct Stream {
    stop: Arc<AtomicBool>,
    newest: Arc<AtomicU64>,
    sender: JoinHandle<Vec<Instant>>,
    receiver: JoinHandle<(BTreeMap<u64, Vec<Instant>>, u64)>,
    name: String,
}

/// What became of a stream.
#[derive(Debug)]
pub struct Report {
    /// Which stream.
    pub name: String,
    /// Datagrams sent.
    pub sent: u64,
    /// Numbers that were never read, ascending.
    pub lost: Vec<u64>,
    /// So many of them had arrived, and fell off the receiver's full queue: on a busy machine the test reads too late.
    pub overflowed: u64,
    /// Copies beyond the first.
    pub duplicates: u64,
    /// The longest time between two arrivals.
    pub longest_silence: Duration,
    /// When each number that arrived did so first.
    pub arrivals: BTreeMap<u64, Instant>,
}

impl Stream {
    /// Starts one that sends every `interval`.
    pub fn start(from: &Pod, to: &Pod, interval: Duration) -> Result<Stream> {
        Stream::sized(from, to, interval, NUMBER)
    }

    /// The same with datagrams of `bytes` bytes.
    pub fn sized(from: &Pod, to: &Pod, interval: Duration, bytes: usize) -> Result<Stream> {
        let listening = to.net().inside(|| Ok(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?))?;
        // Half a second for which a busy machine keeps the receiver waiting is not a packet that the network lost.
        SockRef::from(&listening).set_recv_buffer_size(ROOM)?;
        let sending = from.net().inside(|| Ok(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?))?;
        sending.connect((to.address(), listening.local_addr()?.port()))?;
        listening.set_read_timeout(Some(Duration::from_millis(50)))?;
        let (stop, newest) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (sender_stop, receiver_stop, shown) = (stop.clone(), stop.clone(), newest.clone());
        let sender = std::thread::spawn(move || send(&sending, interval, bytes.max(NUMBER), &sender_stop));
        let receiver = std::thread::spawn(move || receive(&listening, &receiver_stop, &shown));
        Ok(Stream { stop, newest, sender, receiver, name: format!("{} to {}", from.name(), to.name()) })
    }

    /// One more than the newest number that arrived; 0 before the first.
    pub fn newest(&self) -> u64 {
        self.newest.load(Ordering::Relaxed)
    }

    /// Ends it, waits for stragglers and counts.
    pub fn stop(self) -> Result<Report> {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.sender.join().map_err(|_| anyhow!("the sender panicked"))?;
        let (seen, overflowed) = self.receiver.join().map_err(|_| anyhow!("the receiver panicked"))?;
        Ok(Report { overflowed, ..report(self.name, sent.len() as u64, seen) })
    }
}

impl Report {
    /// An error unless every datagram arrived, and at least one did.
    pub fn nothing_lost(&self) -> Result<()> {
        anyhow::ensure!(self.sent > 0 && self.lost_on_the_way() == 0, "{self}");
        Ok(())
    }

    /// How many never arrived.
    pub fn lost_on_the_way(&self) -> u64 {
        (self.lost.len() as u64).saturating_sub(self.overflowed)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} sent, {} lost, {} doubled, longest silence {:?}",
            self.name,
            self.sent,
            self.lost.len(),
            self.duplicates,
            self.longest_silence
        )?;
        if !self.lost.is_empty() {
            write!(f, ", lost {}, {} of them at the receiver", ranges(&self.lost), self.overflowed)?;
        }
        Ok(())
    }
}

fn send(socket: &UdpSocket, interval: Duration, bytes: usize, stop: &AtomicBool) -> Vec<Instant> {
    let start = Instant::now();
    let mut sent = Vec::new();
    let mut datagram = vec![0; bytes];
    while !stop.load(Ordering::Relaxed) {
        // A datagram that the kernel refuses counts as sent: to the pod it is lost.
        datagram[..NUMBER].copy_from_slice(&(sent.len() as u64).to_be_bytes());
        let _ = socket.send(&datagram);
        sent.push(Instant::now());
        std::thread::sleep((start + interval * sent.len() as u32).saturating_duration_since(Instant::now()));
    }
    sent
}

fn receive(socket: &UdpSocket, stop: &AtomicBool, newest: &AtomicU64) -> (BTreeMap<u64, Vec<Instant>>, u64) {
    let mut seen: BTreeMap<u64, Vec<Instant>> = BTreeMap::new();
    let mut last = Instant::now();
    let mut buffer = [0; 65_535];
    while !(stop.load(Ordering::Relaxed) && last.elapsed() > STRAGGLERS) {
        if let Ok(NUMBER..) = socket.recv(&mut buffer) {
            let number = u64::from_be_bytes(buffer[..NUMBER].try_into().expect("eight bytes"));
            last = Instant::now();
            seen.entry(number).or_default().push(last);
            newest.fetch_max(number + 1, Ordering::Relaxed);
        }
    }
    (seen, drops(socket))
}

/// Datagrams that the kernel dropped because the socket's queue was full (`SK_MEMINFO_DROPS`, include/uapi/linux/sock_diag.h).
fn drops(socket: &UdpSocket) -> u64 {
    // include/uapi/asm-generic/socket.h
    const SO_MEMINFO: libc::c_int = 55;
    const SK_MEMINFO_DROPS: usize = 8;
    let mut info = [0u32; SK_MEMINFO_DROPS + 1];
    let mut size = std::mem::size_of_val(&info) as libc::socklen_t;
    // SAFETY: the descriptor is open, and the kernel writes at most `size` bytes to `info`.
    let outcome = unsafe { libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, SO_MEMINFO, info.as_mut_ptr().cast(), &mut size) };
    if outcome == 0 { info[SK_MEMINFO_DROPS].into() } else { 0 }
}

fn report(name: String, sent: u64, seen: BTreeMap<u64, Vec<Instant>>) -> Report {
    let lost = (0..sent).filter(|number| !seen.contains_key(number)).collect();
    let duplicates = seen.values().map(|times| times.len() as u64 - 1).sum();
    let arrivals: BTreeMap<u64, Instant> = seen.iter().map(|(number, times)| (*number, times[0])).collect();
    let mut times: Vec<Instant> = arrivals.values().copied().collect();
    times.sort();
    let longest_silence = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
    Report { name, sent, lost, overflowed: 0, duplicates, longest_silence, arrivals }
}

/// "3, 7-9" for 3, 7, 8, 9.
fn ranges(numbers: &[u64]) -> String {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for &number in numbers {
        match runs.last_mut() {
            Some((_, end)) if *end + 1 == number => *end = number,
            _ => runs.push((number, number)),
        }
    }
    let words = runs.iter().map(|(from, to)| if from == to { from.to_string() } else { format!("{from}-{to}") });
    words.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_and_copies_are_counted() {
        let now = Instant::now();
        let seen = BTreeMap::from([(0, vec![now]), (1, vec![now, now]), (4, vec![now + Duration::from_millis(30)])]);
        let report = report("x".into(), 6, seen);
        assert_eq!((report.lost.as_slice(), report.duplicates), ([2, 3, 5].as_slice(), 1));
        assert_eq!(report.longest_silence, Duration::from_millis(30));
        assert!(report.nothing_lost().is_err());
        assert!(report.to_string().ends_with("lost 2-3, 5, 0 of them at the receiver"), "{report}");
        assert!(Report { overflowed: 3, ..report }.nothing_lost().is_ok());
    }
}
