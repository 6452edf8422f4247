//! Packets of one size from pod to pod, as many as arrive: by plain senders, each of whose packets goes through the pod's kernel by itself, or by one that gives
//! the kernel runs of them and so is never the bottleneck. Each packet has its sender's number and a sequence number, which show what was overtaken within its flow.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use lab::netns::NetNs;
use nix::sys::socket::{setsockopt, sockopt};

/// IPv4 and UDP headers.
const HEADERS: usize = 28;
/// Packets that one send of a run holds at most, and bytes.
const RUN: usize = 64;
const RUN_BYTES: usize = 60_000;
const WARM_UP: Duration = Duration::from_millis(100);

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Senders {
    /// One thread that hands over [`RUN`] packets a system call (sendmmsg).
    Plain,
    /// So many threads with a socket each, a system call a packet.
    Singly(usize),
    /// One thread that sends runs (UDP_SEGMENT), to a receiver that takes runs (UDP_GRO).
    Runs,
}

/// What a window saw.
#[derive(Debug, Clone, Copy)]
pub struct Flooded {
    /// Thousands of packets that arrived a second.
    pub kpps: f64,
    /// Of a million that arrived, those that another of their flow had overtaken.
    pub overtaken: f64,
}

/// Sends packets of `size` bytes, IP header and all.
pub fn flood(from: &NetNs, to: &NetNs, address: Ipv4Addr, size: usize, senders: Senders, window: Duration) -> Result<Flooded> {
    let payload = size - HEADERS;
    let (count, at_once, are_runs) = match senders {
        Senders::Plain => (1, RUN, false),
        Senders::Singly(count) => (count, 1, false),
        Senders::Runs => (1, RUN.min(RUN_BYTES / payload), true),
    };
    let receiver = to.inside(|| Ok(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?))?;
    receiver.set_read_timeout(Some(Duration::from_millis(50)))?;
    setsockopt(&receiver, sockopt::RcvBuf, &(4 << 20))?;
    setsockopt(&receiver, sockopt::UdpGroSegment, &are_runs)?;
    let target = SocketAddr::from((address, receiver.local_addr()?.port()));
    let socket = |_| -> Result<UdpSocket> {
        let socket = from.inside(|| Ok(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?))?;
        socket.connect(target)?;
        setsockopt(&socket, sockopt::UdpGsoSegment, &if are_runs { payload as i32 } else { 0 })?;
        Ok(socket)
    };
    let sockets: Vec<UdpSocket> = (0..count).map(socket).collect::<Result<_>>()?;
    let (arrived, late, done) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let rate = thread::scope(|scope| {
        scope.spawn(|| take(&receiver, payload, &arrived, &late, &done));
        for (flow, socket) in sockets.iter().enumerate() {
            let done = &done;
            scope.spawn(move || send(socket, flow as u32, payload, at_once, are_runs, done));
        }
        thread::sleep(WARM_UP);
        let (start, before) = (Instant::now(), arrived.load(Relaxed));
        thread::sleep(window);
        let rate = (arrived.load(Relaxed) - before) as f64 / start.elapsed().as_secs_f64();
        done.store(true, Relaxed);
        rate
    });
    let overtaken = late.load(Relaxed) as f64 / arrived.load(Relaxed).max(1) as f64;
    Ok(Flooded { kpps: rate / 1e3, overtaken: overtaken * 1e6 })
}

/// Errors are of no matter: what does not leave does not arrive.
fn send(socket: &UdpSocket, flow: u32, payload: usize, at_once: usize, are_runs: bool, done: &AtomicBool) {
    let mut bytes = vec![0; payload * at_once];
    bytes.chunks_exact_mut(payload).for_each(|packet| packet[..4].copy_from_slice(&flow.to_ne_bytes()));
    let mut next = 1u64;
    while !done.load(Relaxed) {
        for packet in bytes.chunks_exact_mut(payload) {
            packet[4..12].copy_from_slice(&next.to_ne_bytes());
            next += 1;
        }
        if are_runs || at_once == 1 {
            let _ = socket.send(&bytes);
        } else {
            send_each(socket, &bytes, payload);
        }
    }
}

/// One system call, a message for each packet.
fn send_each(socket: &UdpSocket, bytes: &[u8], payload: usize) {
    // SAFETY: both are plain data, for which all zeros is a value.
    let (mut slices, mut headers): ([libc::iovec; RUN], [libc::mmsghdr; RUN]) = unsafe { std::mem::zeroed() };
    let packets = bytes.chunks_exact(payload).take(RUN);
    let count = packets.len();
    for ((packet, slice), header) in packets.zip(&mut slices).zip(&mut headers) {
        *slice = libc::iovec { iov_base: packet.as_ptr().cast_mut().cast(), iov_len: packet.len() };
        header.msg_hdr.msg_iov = slice;
        header.msg_hdr.msg_iovlen = 1;
    }
    // SAFETY: each of the `count` headers points to a slice on this stack frame, and each slice to bytes that are borrowed for the call, which reads them.
    unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count as u32, 0) };
}

/// Receives until `done` and the queue is empty.
fn take(socket: &UdpSocket, payload: usize, arrived: &AtomicU64, late: &AtomicU64, done: &AtomicBool) {
    let mut room = Room::new();
    let mut latest = [0u64; 64];
    loop {
        let lengths = room.receive(socket);
        if lengths.is_empty() && done.load(Relaxed) {
            return;
        }
        for (slot, len) in lengths.into_iter().enumerate() {
            for packet in room.slots[slot][..len].chunks_exact(payload) {
                let flow = u32::from_ne_bytes([packet[0], packet[1], packet[2], packet[3]]) as usize % latest.len();
                let number = packet[4..12].iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
                if number <= latest[flow] {
                    late.fetch_add(1, Relaxed);
                }
                latest[flow] = latest[flow].max(number);
            }
            arrived.fetch_add((len / payload) as u64, Relaxed);
        }
    }
}

/// Room for what one call receives.
struct Room {
    slots: Vec<Vec<u8>>,
}

const SLOTS: usize = 32;

impl Room {
    fn new() -> Room {
        Room { slots: vec![vec![0; 65_536]; SLOTS] }
    }

    /// Lengths of what arrived; empty after the socket's time limit.
    fn receive(&mut self, socket: &UdpSocket) -> Vec<usize> {
        // SAFETY: both are plain data, for which all zeros is a value.
        let (mut slices, mut headers): ([libc::iovec; SLOTS], [libc::mmsghdr; SLOTS]) = unsafe { std::mem::zeroed() };
        for ((slot, slice), header) in self.slots.iter_mut().zip(&mut slices).zip(&mut headers) {
            *slice = libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: slot.len() };
            header.msg_hdr.msg_iov = slice;
            header.msg_hdr.msg_iovlen = 1;
        }
        // SAFETY: each header points to a slice on this stack frame, and each slice to a slot of `self`, borrowed mutably for the call.
        let count =
            unsafe { libc::recvmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), SLOTS as u32, libc::MSG_WAITFORONE, std::ptr::null_mut()) };
        headers[..count.max(0) as usize].iter().map(|header| header.msg_len as usize).collect()
    }
}
