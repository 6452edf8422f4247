//! From pods to peers: reads frames from the TUN device, sends their packets to the nodes that have the destinations, and answers those that
//! cannot go on.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering::Relaxed;

use nix::poll::PollFlags;

use crate::clock;
use crate::drops::DropReason;
use crate::fragment::fragments;
use crate::icmp::{self, Budget, Complaint};
use crate::pump::Ends;
use crate::table::Table;
use crate::tun::Queue;
use crate::udp::{BATCH, SLOT};
use crate::verdict::{as_ipv4, is_unreachable, steer};
use crate::vnet::{self, VnetHeader};

/// Carries packets until the tunnel ends or its device is deleted.
pub fn run(ends: &Ends) {
    let signal = &ends.shared.signal;
    let mut frames = Frames::default();
    let mut outbox = Outbox::default();
    while !signal.is_ended() {
        let Ok(count) = frames.read(&ends.queue) else { return signal.lose() };
        if count > 0 {
            let table = ends.shared.table.load();
            outbox.forward(&Turn::new(ends, &table), &mut frames);
        }
        if count < BATCH {
            let woken = signal.wait((ends.queue.as_fd(), PollFlags::POLLIN), (ends.socket.as_fd(), PollFlags::empty()));
            if woken.device_gone {
                return signal.lose();
            }
            if woken.socket_error {
                ends.read_reports(&ends.shared.table.load(), clock::boot_ms());
            }
        }
    }
}

/// A batch of frames from the TUN device, each in a slot of its own.
struct Frames {
    bytes: Box<[u8]>,
    lengths: [usize; BATCH],
    count: usize,
}

impl Default for Frames {
    fn default() -> Self {
        Frames { bytes: vec![0; BATCH * SLOT].into_boxed_slice(), lengths: [0; BATCH], count: 0 }
    }
}

impl Frames {
    /// Reads until the queue is empty or the batch is full. An error means that the device is lost.
    fn read(&mut self, queue: &Queue) -> io::Result<usize> {
        self.count = 0;
        for (slot, length) in self.bytes.chunks_exact_mut(SLOT).zip(&mut self.lengths) {
            match queue.read(slot) {
                Ok(read) => *length = read,
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => break,
                Err(error) => return Err(error),
            }
            self.count += 1;
        }
        Ok(self.count)
    }

    /// Completes what the kernel left undone of a frame's packet. Offloads are off, so that there is nothing to do on kernels that obey.
    fn complete(&mut self, index: usize) -> bool {
        let frame = &mut self.bytes[index * SLOT..][..self.lengths[index]];
        let Some((header, _)) = VnetHeader::parse(frame) else { return false };
        !header.is_super_packet() && header.complete_checksum(&mut frame[vnet::HEADER..])
    }

    fn packet(&self, index: usize) -> &[u8] {
        &self.bytes[index * SLOT..][vnet::HEADER..self.lengths[index]]
    }
}

/// What stays the same while one batch is carried.
struct Turn<'a> {
    ends: &'a Ends,
    table: &'a Table,
    now_ms: u64,
}

impl<'a> Turn<'a> {
    fn new(ends: &'a Ends, table: &'a Table) -> Self {
        Turn { ends, table, now_ms: clock::boot_ms() }
    }

    fn may_send(&self) -> bool {
        self.now_ms < self.ends.shared.valid_until.load(Relaxed)
    }

    fn count_sent(&self, target: u32, bytes: usize) {
        self.ends.tally.traffic.add(bytes);
        self.table.target(target).peer.sent[self.ends.lane].add(bytes);
    }

    fn note_drop(&self, reason: DropReason, packet: &[u8], outer: Option<SocketAddrV4>) {
        let inner = as_ipv4(packet).map_or(Ipv4Addr::UNSPECIFIED, |packet| packet.destination());
        self.ends.tally.note_drop(reason, outer.map_or(Ipv4Addr::UNSPECIFIED, |outer| *outer.ip()), inner);
    }
}

/// Packets that wait to be sent together, and room for what is made on the way.
struct Outbox {
    waiting: Vec<Waiting>,
    budget: Budget,
    fragments: Vec<u8>,
    pieces: Vec<Range<usize>>,
}

#[derive(Clone, Copy)]
struct Waiting {
    frame: usize,
    target: u32,
}

impl Default for Outbox {
    fn default() -> Self {
        Outbox { waiting: Vec::with_capacity(BATCH), budget: Budget::new(clock::boot_ms()), fragments: Vec::new(), pieces: Vec::new() }
    }
}

impl Outbox {
    fn forward(&mut self, turn: &Turn<'_>, frames: &mut Frames) {
        let may_send = turn.may_send();
        for frame in 0..frames.count {
            if !frames.complete(frame) {
                turn.ends.tally.note_drop(DropReason::Offload, Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED);
            } else if !may_send {
                turn.note_drop(DropReason::LeaseUnchecked, frames.packet(frame), None);
            } else {
                self.sort(turn, frames, frame);
            }
        }
        self.flush(turn, frames);
    }

    fn sort(&mut self, turn: &Turn<'_>, frames: &Frames, frame: usize) {
        let packet = frames.packet(frame);
        match steer(packet, turn.table) {
            Ok(target) if packet.len() <= turn.table.target(target).peer.payload_limit(turn.now_ms) => {
                self.waiting.push(Waiting { frame, target });
            }
            Ok(target) => {
                // What came before it in the same flow must also leave before it.
                self.flush(turn, frames);
                self.cut(turn, packet, target);
            }
            Err(stopped) => {
                turn.ends.tally.note_drop(stopped.reason, Ipv4Addr::UNSPECIFIED, stopped.inner);
                if is_unreachable(stopped.reason) {
                    self.answer(turn, packet, Complaint::NetUnreachable);
                }
            }
        }
    }

    /// Sends all that waits. Each error settles or retries one packet, so that this ends after at most two tries a packet.
    fn flush(&mut self, turn: &Turn<'_>, frames: &Frames) {
        let waiting = std::mem::take(&mut self.waiting);
        let (mut at, mut tried) = (0, false);
        while at < waiting.len() {
            let datagrams = waiting[at..].iter().map(|one| (turn.table.target(one.target).to, frames.packet(one.frame)));
            match turn.ends.socket.send(datagrams) {
                Ok(sent) => {
                    let left = &waiting[at..at + sent];
                    left.iter().for_each(|one| turn.count_sent(one.target, frames.packet(one.frame).len()));
                    (at, tried) = (at + sent, false);
                }
                Err(error) if is_full(&error) => {
                    let lost = &waiting[at..];
                    lost.iter().for_each(|one| {
                        turn.note_drop(DropReason::SocketFull, frames.packet(one.frame), Some(turn.table.target(one.target).to))
                    });
                    break;
                }
                Err(error) => {
                    let again = !self.settle(turn, frames, waiting[at], &error, tried);
                    (at, tried) = if again { (at, true) } else { (at + 1, false) };
                }
            }
        }
        self.waiting = waiting;
        self.waiting.clear();
    }

    /// The kernel refused a packet, or told of an earlier one's fate instead of sending it. False when the packet is to be tried again.
    fn settle(&mut self, turn: &Turn<'_>, frames: &Frames, one: Waiting, error: &io::Error, tried: bool) -> bool {
        turn.ends.read_reports(turn.table, turn.now_ms);
        let (packet, target) = (frames.packet(one.frame), turn.table.target(one.target));
        if packet.len() > target.peer.payload_limit(turn.now_ms) {
            self.cut(turn, packet, one.target);
        } else if !tried {
            return false;
        } else {
            let reason = if error.raw_os_error() == Some(libc::EMSGSIZE) { DropReason::TooBig } else { DropReason::SendFailed };
            turn.note_drop(reason, packet, Some(target.to));
        }
        true
    }

    /// A packet that the path does not carry whole: sent in fragments where that is allowed, else answered with the size that fits.
    fn cut(&mut self, turn: &Turn<'_>, packet: &[u8], target: u32) {
        let to = turn.table.target(target);
        let limit = to.peer.payload_limit(turn.now_ms);
        let cut = as_ipv4(packet).is_some_and(|packet| fragments(&packet, limit, &mut self.fragments, &mut self.pieces));
        if !cut {
            turn.note_drop(DropReason::TooBig, packet, Some(to.to));
            return self.answer(turn, packet, Complaint::FragmentationNeeded(limit.min(u16::MAX.into()) as u16));
        }
        for pieces in self.pieces.chunks(BATCH) {
            let datagrams = pieces.iter().map(|piece| (to.to, &self.fragments[piece.clone()]));
            let sent = turn.ends.socket.send(datagrams).unwrap_or(0);
            pieces[..sent].iter().for_each(|piece| turn.count_sent(target, piece.len()));
            if sent < pieces.len() {
                return turn.note_drop(DropReason::SendFailed, packet, Some(to.to));
            }
        }
    }

    /// Tells the pod, by way of the TUN device, unless the standard or the budget forbids it.
    fn answer(&mut self, turn: &Turn<'_>, packet: &[u8], complaint: Complaint) {
        let (Some(packet), Some(from)) = (as_ipv4(packet), turn.table.answers_from) else { return };
        let mut message = [0; icmp::LONGEST];
        let Some(length) = icmp::answer(&packet, complaint, from, &mut message) else { return };
        if self.budget.take(turn.now_ms) {
            let mut frame = [0; vnet::HEADER + icmp::LONGEST];
            frame[vnet::HEADER..].copy_from_slice(&message);
            // An answer may be lost like any packet.
            let _ = turn.ends.queue.write(&frame[..vnet::HEADER + length]);
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM))
}
