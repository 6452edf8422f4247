//! What a batch from the TUN device turns into: packets that wait to be sent together, in runs, and answers to those that cannot go on.
//!
//! Packets are laid one behind the other, super-packets split into theirs, so that a run is one piece of memory: to the kernel each piece costs more than copying it
//! here. Packets to one target leave in the order in which they came. Where the queue has more than a batch takes, packets that do not fill a run are held for the next batch.

use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

use crate::clock;
use crate::drops::DropReason;
use crate::fragment::fragments;
use crate::frames::{Carried, Frames};
use crate::header::Packet as IpPacket;
use crate::icmp::{self, Budget};
use crate::icmp6;
use crate::run::{self, run};
use crate::sending::{Packet, Sent};
use crate::table::Table;
use crate::turn::Turn;
use crate::udp::Socket;
use crate::verdict::{is_unreachable, steer};
use crate::vnet;

/// Packets that wait at most: super-packets of tiny segments are sent in parts.
const MOST_WAITING: usize = 512;

/// Packets that wait to be sent together, and room for what is made on the way.
pub struct Outbox {
    waiting: Vec<Waiting>,
    /// Their bytes.
    packets: Vec<u8>,
    is_mixed: bool,
    /// The table by which the held packets were sorted.
    held_by: Option<Arc<Table>>,
    /// How many frames came so far.
    frames: usize,
    budget: Budget,
    /// A packet that does not wait.
    single: Vec<u8>,
    fragments: Vec<u8>,
    cuts: Vec<Range<usize>>,
}

/// A packet that waits.
struct Waiting {
    /// The number of the frame that it came in.
    frame: usize,
    target: u32,
    place: Range<usize>,
}

impl Default for Outbox {
    fn default() -> Self {
        Outbox {
            waiting: Vec::with_capacity(MOST_WAITING),
            packets: Vec::new(),
            is_mixed: false,
            held_by: None,
            frames: 0,
            budget: Budget::new(clock::boot_ms()),
            single: Vec::new(),
            fragments: Vec::new(),
            cuts: Vec::new(),
        }
    }
}

impl Outbox {
    /// Sends what the first `count` frames carry, and what was held before. When that may not be all that there is, and all goes to one peer, the last packets may be held
    /// until the next call.
    pub fn forward(&mut self, turn: &Turn<'_>, frames: &mut Frames, count: usize) {
        let may_send = turn.may_send();
        let was_holding = self.is_holding();
        self.review_held(turn, may_send);
        let before = self.frames;
        self.frames = before.wrapping_add(count);
        for frame in 0..count {
            let carried = if frames.complete(frame) { frames.open(frame) } else { None };
            match carried {
                None => turn.ends.tally.note_drop(DropReason::Offload, None, None),
                Some(carried) if !may_send => turn.note_drops(carried.count(), DropReason::LeaseUnchecked, carried.packet, None),
                Some(carried) => self.sort(turn, before.wrapping_add(frame), carried),
            }
        }
        let front = match self.filled(turn) {
            // What still fills no run is not held again.
            0 if was_holding => self.waiting.len(),
            filled if frames.is_full() => filled,
            _ => self.waiting.len(),
        };
        self.flush_front(turn, front);
        self.held_by = (!self.waiting.is_empty()).then(|| Arc::clone(turn.table));
    }

    /// True while packets are held.
    pub fn is_holding(&self) -> bool {
        self.held_by.is_some()
    }

    /// Sends what is held.
    pub fn send_held(&mut self, turn: &Turn<'_>) {
        self.review_held(turn, turn.may_send());
        self.flush(turn);
    }

    /// Held packets stay only under the table by which they were sorted; under another they are sent, and when nothing may be sent any more they are dropped as all are.
    fn review_held(&mut self, turn: &Turn<'_>, may_send: bool) {
        let Some(table) = self.held_by.take() else { return };
        if !may_send {
            self.waiting.drain(..).for_each(|packet| turn.note_drops(1, DropReason::LeaseUnchecked, &self.packets[packet.place], None));
            self.packets.clear();
        } else if !Arc::ptr_eq(&table, turn.table) {
            self.flush(&Turn { table: &table, ..*turn });
        }
    }

    /// How many of those that wait fill runs.
    fn filled(&self, turn: &Turn<'_>) -> usize {
        let all = self.waiting.len();
        let to_first = self.waiting.first().and_then(|first| turn.ends.socket_to(turn.table.target(first.target).to.ip()));
        let Some(socket) = to_first.filter(|_| !self.is_mixed) else { return all };
        let packet = |number: usize| (self.waiting[number].target, self.waiting[number].place.len());
        run::filled(all, packet, socket.longest_run())
    }

    fn sort(&mut self, turn: &Turn<'_>, frame: usize, carried: Carried<'_>) {
        if carried.whole.is_some() {
            turn.ends.tally.crossings.add_super_packet(carried.count());
        }
        match steer(carried.packet, turn.table) {
            Ok(target) if carried.longest() <= turn.limit(target) => self.enqueue(turn, frame, carried, target),
            Ok(target) => {
                // What came before it in the same flow must also leave before it.
                self.flush(turn);
                self.cut_all(turn, carried, target);
            }
            Err(stopped) => {
                turn.ends.tally.note_drops(carried.count(), stopped.reason, None, stopped.inner);
                if is_unreachable(stopped.reason) {
                    self.with_packet(carried, 0, |outbox, packet| outbox.answer(turn, packet, None));
                }
            }
        }
    }

    fn enqueue(&mut self, turn: &Turn<'_>, frame: usize, carried: Carried<'_>, target: u32) {
        for number in 0..carried.count() {
            if self.waiting.len() == MOST_WAITING {
                self.flush(turn);
            }
            let place = carried.append(number, &mut self.packets);
            self.is_mixed |= self.waiting.last().is_some_and(|last| last.target != target);
            self.waiting.push(Waiting { frame, target, place });
        }
    }

    /// Sends all that waits.
    fn flush(&mut self, turn: &Turn<'_>) {
        self.flush_front(turn, self.waiting.len());
    }

    /// Sends so many of those that wait. Each turn of the loop settles a packet or tries it alone, so that this ends after at most two tries a packet.
    fn flush_front(&mut self, turn: &Turn<'_>, count: usize) {
        let (mut waiting, mut packets) = (std::mem::take(&mut self.waiting), std::mem::take(&mut self.packets));
        if std::mem::take(&mut self.is_mixed) {
            waiting.sort_unstable_by_key(|packet| (packet.target, packet.place.start));
        }
        let mut batch = Batch { turn, waiting: &waiting[..count], packets: &packets, at: 0, alone: false, doubt: None, answered: None };
        while let Some(front) = batch.waiting.get(batch.at) {
            let Some(socket) = turn.ends.socket_to(batch.to(front)) else {
                batch.drop_front(1, DropReason::SendFailed);
                continue;
            };
            if front.place.len() > turn.limit(front.target) {
                self.cut_front(&mut batch);
            } else if let Err(error) = batch.send(socket) {
                self.settle(&mut batch, socket, &error);
            }
        }
        let gone = waiting.get(count).map_or(packets.len(), |left| left.place.start);
        waiting.drain(..count);
        waiting.iter_mut().for_each(|held| held.place = held.place.start - gone..held.place.end - gone);
        packets.drain(..gone);
        (self.waiting, self.packets) = (waiting, packets);
    }

    /// The kernel refused the packets in front, or told of an earlier one's fate instead of sending them.
    fn settle(&mut self, batch: &mut Batch<'_>, socket: &Socket, error: &io::Error) {
        let turn = batch.turn;
        if is_full(error) {
            return batch.drop_front(batch.reached_by(socket).len(), refusal(error));
        }
        turn.ends.read_reports(turn.table, turn.now_ms);
        if !batch.alone {
            batch.judge_run(socket, error);
            batch.alone = true;
            return;
        }
        (batch.alone, batch.doubt) = (false, None);
        let front = &batch.waiting[batch.at];
        // One that the path does not carry, as was just learned, is cut in the next turn of the loop.
        if front.place.len() <= turn.limit(front.target) {
            batch.drop_front(1, refusal(error));
        }
    }

    /// The packet in front is too long. Of a super-packet only the first such one is answered.
    fn cut_front(&mut self, batch: &mut Batch<'_>) {
        let front = &batch.waiting[batch.at];
        if !self.cut(batch.turn, batch.bytes(front), front.target, batch.answered != Some(front.frame)) {
            batch.answered = Some(front.frame);
        }
        batch.go_on(1);
    }

    /// What the path does not carry whole. Only the first segment of a super-packet is answered.
    fn cut_all(&mut self, turn: &Turn<'_>, carried: Carried<'_>, target: u32) {
        for number in 0..carried.count() {
            self.with_packet(carried, number, |outbox, packet| outbox.cut(turn, packet, target, number == 0));
        }
    }

    fn with_packet<T>(&mut self, carried: Carried<'_>, number: usize, act: impl FnOnce(&mut Self, &[u8]) -> T) -> T {
        let mut packet = std::mem::take(&mut self.single);
        packet.clear();
        carried.append(number, &mut packet);
        let done = act(self, &packet);
        self.single = packet;
        done
    }

    /// Sends a packet in fragments where that is allowed; else drops it, answers with the size that fits if `answer`, and gives false.
    fn cut(&mut self, turn: &Turn<'_>, packet: &[u8], target: u32, answer: bool) -> bool {
        let (to, limit) = (turn.table.target(target).to, turn.limit(target));
        let cut = match IpPacket::parse(packet) {
            Ok(IpPacket::V4(packet)) => fragments(&packet, limit, &mut self.fragments, &mut self.cuts),
            // Only its sender may fragment IPv6.
            _ => false,
        };
        let Some(socket) = turn.ends.socket_to(to.ip()).filter(|_| cut) else {
            turn.note_drops(1, DropReason::TooBig, packet, Some(target));
            if answer {
                self.answer(turn, packet, Some(limit));
            }
            return false;
        };
        let (mut at, mut tried_again) = (0, false);
        while at < self.cuts.len() {
            let fragment = |number: usize| Packet { target, to, place: self.cuts[at + number].clone() };
            let sent = socket.send(&self.fragments, self.cuts.len() - at, fragment, 1);
            let sent = match sent {
                Ok(Sent { packets, is_cut_short: false, .. }) => packets,
                Err(error) if is_full(&error) || tried_again => {
                    turn.note_drops(1, refusal(&error), packet, Some(target));
                    break;
                }
                // Perhaps that the path carries less than was known: the next packet is cut to that. Or it is about an earlier packet, of another peer even.
                told => {
                    turn.ends.read_reports(turn.table, turn.now_ms);
                    told.map_or(0, |sent| sent.packets)
                }
            };
            tried_again = sent == 0;
            turn.count_sent(target, sent, self.cuts[at..at + sent].iter().map(Range::len).sum());
            at += sent;
        }
        true
    }

    /// Tells the pod, by way of the TUN device, unless the standard or the budget forbids it: the length that fits, or that nobody has the destination.
    fn answer(&mut self, turn: &Turn<'_>, packet: &[u8], fits: Option<usize>) {
        let from = turn.table.answers_from;
        let mut message = [0; icmp6::LONGEST];
        let length = match IpPacket::parse(packet) {
            Ok(IpPacket::V4(packet)) => from.v4.and_then(|from| {
                let fits = fits.map(|limit| icmp::Complaint::FragmentationNeeded(limit.min(u16::MAX.into()) as u16));
                icmp::answer(&packet, fits.unwrap_or(icmp::Complaint::NetUnreachable), from, message.first_chunk_mut()?)
            }),
            Ok(IpPacket::V6(packet)) => from.v6.and_then(|from| {
                let complaint = fits.map_or(icmp6::Complaint::NoRoute, |limit| icmp6::Complaint::TooBig(limit as u32));
                icmp6::answer(&packet, complaint, from, &mut message)
            }),
            Err(_) => None,
        };
        if let Some(length) = length.filter(|_| self.budget.take(turn.now_ms)) {
            // An answer may be lost like any packet.
            let _ = turn.ends.queue.write(&[IoSlice::new(&[0; vnet::HEADER]), IoSlice::new(&message[..length])]);
        }
    }
}

/// What is being sent: all that waited, and how far it is.
struct Batch<'a> {
    turn: &'a Turn<'a>,
    waiting: &'a [Waiting],
    /// The bytes of all packets.
    packets: &'a [u8],
    at: usize,
    /// The last send failed: the packets in front are tried without runs.
    alone: bool,
    /// The error of a run to that target, which may have been about its length, or about runs: its first packet, tried alone, will tell.
    doubt: Option<(u32, io::Error)>,
    /// The frame of which a packet was answered last.
    answered: Option<usize>,
}

impl<'a> Batch<'a> {
    fn bytes(&self, packet: &Waiting) -> &'a [u8] {
        &self.packets[packet.place.clone()]
    }

    fn to(&self, packet: &Waiting) -> IpAddr {
        self.turn.table.target(packet.target).to.ip()
    }

    /// What waits in front and that socket reaches.
    fn reached_by(&self, socket: &Socket) -> &'a [Waiting] {
        let left = &self.waiting[self.at..];
        &left[..left.iter().position(|packet| !socket.reaches(self.to(packet))).unwrap_or(left.len())]
    }

    /// Sends from the front what that socket reaches, and counts what left.
    fn send(&mut self, socket: &Socket) -> io::Result<()> {
        let left = self.reached_by(socket);
        let packet = |number: usize| {
            let Waiting { target, place, .. } = &left[number];
            Packet { target: *target, to: self.turn.table.target(*target).to, place: place.clone() }
        };
        let most = if self.alone { 1 } else { socket.longest_run() };
        let Sent { packets: sent, has_run, is_cut_short } = socket.send(self.packets, left.len(), packet, most)?;
        if has_run {
            socket.was_taken();
        }
        if is_cut_short {
            self.turn.ends.read_reports(self.turn.table, self.turn.now_ms);
        }
        for run in left[..sent].chunk_by(|one, next| one.target == next.target) {
            self.turn.count_sent(run[0].target, run.len(), run.iter().map(|packet| packet.place.len()).sum());
        }
        (self.at, self.alone) = (self.at + sent, false);
        // It left alone as it would not among others.
        if let Some((target, error)) = self.doubt.take().filter(|_| socket.was_refused()) {
            self.stop_segmenting(socket, target, &error);
        }
        Ok(())
    }

    fn drop_front(&mut self, count: usize, reason: DropReason) {
        for packet in &self.waiting[self.at..self.at + count] {
            self.turn.note_drops(1, reason, self.bytes(packet), Some(packet.target));
        }
        self.go_on(count);
    }

    /// So many in front are settled, and with them what was tried with the first.
    fn go_on(&mut self, count: usize) {
        (self.at, self.alone, self.doubt) = (self.at + count, false, None);
    }

    /// What the error of a run says about runs.
    fn judge_run(&mut self, socket: &Socket, error: &io::Error) {
        let front = self.waiting[self.at..].iter().map(|packet| (packet.target, packet.place.len()));
        let target = self.waiting[self.at].target;
        match about_runs(error, run(front, socket.longest_run())) {
            AboutRuns::Nothing => {}
            AboutRuns::Perhaps => self.doubt = Some((target, io::Error::from_raw_os_error(libc::EINVAL))),
            AboutRuns::Refused => self.stop_segmenting(socket, target, error),
        }
    }

    fn stop_segmenting(&self, socket: &Socket, target: u32, error: &io::Error) {
        if socket.stop_segmenting() {
            // Each socket finds that by itself.
            self.turn.ends.shared.refusals.runs.call_once(|| {
                tracing::warn!(
                    peer = %self.turn.table.target(target).to.ip(),
                    %error,
                    "the underlay cannot segment UDP datagrams (UDP_SEGMENT): each packet is sent by itself from now on, which is slower"
                );
            });
        }
    }
}

/// What the error of a send says about runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AboutRuns {
    Nothing,
    /// That is known once the first packet was tried alone.
    Perhaps,
    Refused,
}

/// By how many packets the first run has.
fn about_runs(error: &io::Error, run: usize) -> AboutRuns {
    match error.raw_os_error() {
        // The device (before Linux 6.11) or the path (IPsec) cannot have checksums computed late (udp_send_skb).
        Some(libc::EIO) if run > 1 => AboutRuns::Refused,
        // A path that has shrunk says so, and some devices with Linux 5.15 over IPv6 say it of every run.
        Some(libc::EINVAL) if run > 1 => AboutRuns::Perhaps,
        _ => AboutRuns::Nothing,
    }
}

/// Why packets that the kernel did not take are dropped.
fn refusal(error: &io::Error) -> DropReason {
    match error.raw_os_error() {
        _ if is_full(error) => DropReason::SocketFull,
        Some(libc::EMSGSIZE) => DropReason::TooBig,
        _ => DropReason::SendFailed,
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segmenting_ends_only_when_a_run_was_refused() {
        let says = |error, run| about_runs(&io::Error::from_raw_os_error(error), run);
        assert_eq!(says(libc::EIO, 2), AboutRuns::Refused);
        assert_eq!(says(libc::EINVAL, 2), AboutRuns::Perhaps, "or too long for the path");
        assert_eq!([libc::EIO, libc::EINVAL].map(|error| says(error, 1)), [AboutRuns::Nothing; 2], "a device that is going down");
        assert_eq!(
            [libc::EMSGSIZE, libc::EPERM].map(|error| says(error, 2)),
            [AboutRuns::Nothing; 2],
            "too long for the path, or a firewall"
        );
    }

    #[test]
    fn want_of_room_and_of_length_are_told_from_other_refusals() {
        let reason = |error| refusal(&io::Error::from_raw_os_error(error));
        assert_eq!([libc::EAGAIN, libc::ENOBUFS, libc::ENOMEM].map(reason), [DropReason::SocketFull; 3]);
        assert_eq!(
            [libc::EMSGSIZE, libc::EPERM, libc::ENETUNREACH].map(reason),
            [DropReason::TooBig, DropReason::SendFailed, DropReason::SendFailed]
        );
    }
}
