//! A stream of numbered datagrams between two pods, to see which were lost, doubled or late.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
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
/// How often the receiver looks: woken at every datagram, dozens of streams would leave the machine no time for the network.
const LOOK: Duration = Duration::from_millis(4);
/// Quiet time after the last datagram that ends the waiting for stragglers.
const STRAGGLERS: Duration = Duration::from_millis(500);

/// A running stream: one datagram every interval, numbered from 0.
#[derive(Debug)]
pub struct Stream {
    stop: Arc<AtomicBool>,
    newest: Arc<AtomicU64>,
    sender: JoinHandle<u64>,
    receiver: JoinHandle<Seen>,
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
    /// The greatest number that arrived.
    pub last: Option<u64>,
}

/// What a receiver has read: little for each datagram, since a stream may run for half an hour.
#[derive(Debug, Default)]
struct Seen {
    /// By number: whether it was read.
    read: Vec<bool>,
    duplicates: u64,
    overflowed: u64,
    newest: Option<Instant>,
    longest_silence: Duration,
}

impl Seen {
    fn note(&mut self, number: u64, now: Instant) {
        let Ok(place) = usize::try_from(number) else { return };
        if self.read.len() <= place {
            self.read.resize(place + 1, false);
        }
        if std::mem::replace(&mut self.read[place], true) {
            self.duplicates += 1;
            return;
        }
        let silence = self.newest.replace(now).map(|before| now - before);
        self.longest_silence = self.longest_silence.max(silence.unwrap_or_default());
    }
}

impl Stream {
    /// Starts one that sends every `interval`.
    pub fn start(from: &Pod, to: &Pod, interval: Duration) -> Result<Stream> {
        Stream::sized(from, to, interval, NUMBER)
    }

    /// The same with datagrams of `bytes` bytes.
    pub fn sized(from: &Pod, to: &Pod, interval: Duration, bytes: usize) -> Result<Stream> {
        Stream::to(from, (to, to.address().into()), interval, bytes)
    }

    /// The same to an address of the pod, of whichever family.
    pub fn to(from: &Pod, (to, address): (&Pod, IpAddr), interval: Duration, bytes: usize) -> Result<Stream> {
        let any = anywhere(address);
        let listening = to.net().inside(|| Ok(UdpSocket::bind((any, 0))?))?;
        // Half a second for which a busy machine keeps the receiver waiting is not a packet that the network lost.
        SockRef::from(&listening).set_recv_buffer_size(ROOM)?;
        let sending = from.net().inside(|| Ok(UdpSocket::bind((any, 0))?))?;
        sending.connect((address, listening.local_addr()?.port()))?;
        listening.set_nonblocking(true)?;
        let (stop, newest) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (sender_stop, receiver_stop, shown) = (stop.clone(), stop.clone(), newest.clone());
        let sender = std::thread::spawn(move || send(&sending, interval, bytes.max(NUMBER), &sender_stop));
        let receiver = std::thread::spawn(move || receive(&listening, &receiver_stop, &shown));
        Ok(Stream { stop, newest, sender, receiver, name: format!("{} to {} by {address}", from.name(), to.name()) })
    }

    /// One more than the newest number that arrived; 0 before the first.
    pub fn newest(&self) -> u64 {
        self.newest.load(Ordering::Relaxed)
    }

    /// Sends no more; [`Stream::stop`] counts later. For many streams, so that the last do not run on while the first are counted.
    pub fn halt(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Ends it, waits for stragglers and counts.
    pub fn stop(self) -> Result<Report> {
        self.halt();
        let sent = self.sender.join().map_err(|_| anyhow!("the sender panicked"))?;
        let seen = self.receiver.join().map_err(|_| anyhow!("the receiver panicked"))?;
        Ok(report(self.name, sent, &seen))
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

/// The address of that family that stands for all of a host's own.
pub(crate) fn anywhere(like: IpAddr) -> IpAddr {
    if like.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

/// This thread gets the processor after those that are tested: on a busy machine the traffic thins, instead of keeping a daemon from its queue.
pub(crate) fn step_back() {
    const BEHIND: i32 = 5;
    // SAFETY: both calls take and give numbers only; 0 is the calling thread (sched(7): on Linux the nice value is a thread's).
    unsafe {
        let now = libc::getpriority(libc::PRIO_PROCESS, 0);
        libc::setpriority(libc::PRIO_PROCESS, 0, now + BEHIND);
    }
}

/// A sender that comes late goes on from there: what a busy machine held back must not come as a burst that no queue is made for.
fn send(socket: &UdpSocket, interval: Duration, bytes: usize, stop: &AtomicBool) -> u64 {
    step_back();
    let mut next = Instant::now();
    let mut sent: u64 = 0;
    let mut datagram = vec![0; bytes];
    while !stop.load(Ordering::Relaxed) {
        // A datagram that the kernel refuses counts as sent: to the pod it is lost.
        datagram[..NUMBER].copy_from_slice(&sent.to_be_bytes());
        let _ = socket.send(&datagram);
        sent += 1;
        let now = Instant::now();
        next = now.max(next + interval);
        std::thread::sleep(next - now);
    }
    sent
}

fn receive(socket: &UdpSocket, stop: &AtomicBool, newest: &AtomicU64) -> Seen {
    let mut seen = Seen::default();
    let mut last = Instant::now();
    let mut buffer = [0; 65_535];
    while !(stop.load(Ordering::Relaxed) && last.elapsed() > STRAGGLERS) {
        while let Ok(NUMBER..) = socket.recv(&mut buffer) {
            let number = u64::from_be_bytes(buffer[..NUMBER].try_into().expect("eight bytes"));
            last = Instant::now();
            seen.note(number, last);
            newest.fetch_max(number + 1, Ordering::Relaxed);
        }
        std::thread::sleep(LOOK);
    }
    Seen { overflowed: drops(socket), ..seen }
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

fn report(name: String, sent: u64, seen: &Seen) -> Report {
    let read = |number: &u64| usize::try_from(*number).is_ok_and(|place| seen.read.get(place) == Some(&true));
    Report {
        name,
        sent,
        lost: (0..sent).filter(|number| !read(number)).collect(),
        overflowed: seen.overflowed,
        duplicates: seen.duplicates,
        longest_silence: seen.longest_silence,
        last: seen.read.len().checked_sub(1).map(|last| last as u64),
    }
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
        let mut seen = Seen::default();
        for (number, after) in [(0, 0), (1, 1), (1, 1), (4, 31)] {
            seen.note(number, now + Duration::from_millis(after));
        }
        let report = report("x".into(), 6, &seen);
        assert_eq!((report.lost.as_slice(), report.duplicates, report.last), ([2, 3, 5].as_slice(), 1, Some(4)));
        assert_eq!(report.longest_silence, Duration::from_millis(30));
        assert!(report.nothing_lost().is_err());
        assert!(report.to_string().ends_with("lost 2-3, 5, 0 of them at the receiver"), "{report}");
        assert!(Report { overflowed: 3, ..report }.nothing_lost().is_ok());
    }
}
