//! Into the TUN device: the groups of a batch, each as a frame of one packet or as a super-packet, several frames in one system call.
//!
//! A pod that a frame wakes may take the core from the thread that wrote it as soon as that call is over, and does where it is in a control group of its own, as
//! containers are: then it finds one super-packet, answers it, and sleeps again. After one call for all it finds all. (A kernel with full preemption gives the core away
//! amid a call too.)

use std::io::{self, IoSlice};
use std::ops::Range;

use arrayvec::ArrayVec;

use crate::clock;
use crate::coalesce::{self, Coalescer, Group};
use crate::drops::DropReason;
use crate::ends::Ends;
use crate::head::{LONGEST_HEAD, write_head};
use crate::header::Packet;
use crate::pieces::Pieces;
use crate::split::SuperPacket;
use crate::syscall::{TOGETHER, Writes};
use crate::table::Table;
use crate::tun;
use crate::vnet::{self, VnetHeader};

/// Pieces of the frames of one system call: eight super-packets with the most packets, were all of them to lie apart.
const SLICES: usize = 8 * (1 + coalesce::MOST);

/// Joined packets that are to be written, and what is counted by.
#[derive(Debug)]
pub struct Delivery<'a> {
    ends: &'a Ends,
    table: &'a Table,
    buffer: &'a [u8],
    groups: &'a [Group],
    pieces: &'a Pieces,
    wall_ms: u64,
}

/// Writes deliveries.
#[derive(Debug)]
pub struct Writer {
    /// None where the kernel has no such call: then each frame is written by itself.
    writes: Option<Writes>,
    apart: Apart,
}

/// Room for taking a super-packet apart again.
#[derive(Debug, Default)]
struct Apart {
    frame: Vec<u8>,
    packet: Vec<u8>,
}

impl Writer {
    /// One for the queue of these ends.
    pub fn new(ends: &Ends) -> Writer {
        let writes = Writes::new().inspect_err(|error| {
            ends.shared.refusals.together.call_once(|| {
                tracing::info!("each packet for a pod is written in a system call of its own, which is slower where pods are in control groups of their own: several in one are refused: {error} (allow io_setup, io_submit, io_getevents and io_destroy, or raise fs.aio-max-nr if it is \"temporarily unavailable\")");
            });
        });
        Writer { writes: writes.ok(), apart: Apart::default() }
    }

    /// Writes all groups, in their order. An error means that the device is lost.
    pub fn write(&mut self, delivery: &Delivery<'_>) -> io::Result<()> {
        let mut at = 0;
        while at < delivery.groups.len() {
            let reach = delivery.reach(at);
            let mut became = match &mut self.writes {
                Some(writes) if reach > 1 => delivery.write_together(writes, at..at + reach),
                _ => ArrayVec::new(),
            };
            if became.is_empty() {
                became.push(delivery.write(at));
            }
            let tried = at..at + became.len();
            at = tried.end;
            for (group, written) in tried.zip(became) {
                delivery.conclude(group, written, &mut self.apart)?;
            }
        }
        Ok(())
    }
}

impl<'a> Delivery<'a> {
    /// What the coalescer has made of packets in `buffer`, where `pieces` has moved them together.
    pub fn new(ends: &'a Ends, table: &'a Table, buffer: &'a [u8], coalescer: &'a Coalescer, pieces: &'a Pieces) -> Delivery<'a> {
        Delivery { ends, table, buffer, groups: coalescer.groups(), pieces, wall_ms: clock::wall_ms() }
    }

    /// How many groups may go together from number `at` on. Where the kernel refuses some that are joined, none stands behind such a one, so that its packets leave first
    /// when they are written singly; the batch that shows it comes before that is known.
    fn reach(&self, at: usize) -> usize {
        let groups = &self.groups[at..];
        let joined = groups.iter().position(|group| group.count > 1).filter(|_| self.ends.shared.refusals.joined.is_completed());
        joined.map_or(groups.len(), |joined| joined + 1)
    }

    /// Writes the first of those groups in one system call, as many as there is room for, and gives what became of them; of none where the kernel does not take the first.
    fn write_together(&self, writes: &mut Writes, groups: Range<usize>) -> ArrayVec<io::Result<()>, TOGETHER> {
        let slices_of = |group: usize| 1 + self.pieces.of(group).len();
        let ends = groups.clone().take(TOGETHER).scan(0, |end, group| {
            *end += slices_of(group);
            Some(*end)
        });
        let count = ends.take_while(|end| *end <= SLICES).count();
        let mut heads: ArrayVec<[u8; LONGEST_HEAD], TOGETHER> = (0..count).map(|_| [0; LONGEST_HEAD]).collect();
        let mut slices: ArrayVec<IoSlice<'_>, SLICES> = ArrayVec::new();
        for (group, head) in groups.clone().zip(&mut heads) {
            self.list(group, head, &mut slices);
        }
        let mut rest = &slices[..];
        let frames: ArrayVec<&[IoSlice<'_>], TOGETHER> =
            groups.take(count).filter_map(|group| rest.split_off(..slices_of(group))).collect();
        self.ends.queue.write_together(writes, &frames)
    }

    /// Writes the group of that number by itself.
    fn write(&self, group: usize) -> io::Result<()> {
        let mut head = [0; LONGEST_HEAD];
        let mut slices: ArrayVec<IoSlice<'_>, { 1 + coalesce::MOST }> = ArrayVec::new();
        self.list(group, &mut head, &mut slices);
        self.ends.queue.write(&slices)
    }

    /// Lists what a group's frame is made of: its head, which is written here, and what follows that.
    fn list<'b, const ROOM: usize>(&'b self, group: usize, head: &'b mut [u8; LONGEST_HEAD], slices: &mut ArrayVec<IoSlice<'b>, ROOM>) {
        let len = write_head(self.buffer, &self.groups[group], head);
        slices.push(IoSlice::new(&head[..len]));
        slices.extend(self.pieces.of(group).iter().map(|piece| IoSlice::new(piece.of(self.buffer))));
    }

    /// A group was written, or was not. An error means that the device is lost.
    fn conclude(&self, group: usize, written: io::Result<()>, apart: &mut Apart) -> io::Result<()> {
        let is_joined = self.groups[group].count > 1;
        if is_joined && is_refused(&written) { self.write_singly(group, written, apart) } else { self.settle(&self.groups[group], written) }
    }

    /// Takes a group that was refused apart again, and writes its packets, which are as they came but for IPv4 identifications that mean nothing ([`crate::merge`]). An error
    /// means that the device is lost.
    #[cold]
    fn write_singly(&self, group: usize, refused: io::Result<()>, Apart { frame, packet }: &mut Apart) -> io::Result<()> {
        tell_of_refused(self.ends);
        let mut head = [0; LONGEST_HEAD];
        let mut slices: ArrayVec<IoSlice<'_>, { 1 + coalesce::MOST }> = ArrayVec::new();
        self.list(group, &mut head, &mut slices);
        frame.clear();
        slices.iter().for_each(|slice| frame.extend_from_slice(slice));
        let group = &self.groups[group];
        let whole = VnetHeader::parse(frame).and_then(|(header, packet)| SuperPacket::parse(&header, packet));
        let Some(whole) = whole else { return self.settle(group, refused) };
        for number in 0..whole.count() {
            packet.clear();
            whole.append(number, packet);
            let written = self.ends.queue.write(&[IoSlice::new(&[0; vnet::HEADER]), IoSlice::new(packet)]);
            self.settle(&group.alone(packet.len()), written)?;
        }
        Ok(())
    }

    /// Counts what became of a group, for the tunnel and for its sender. An error means that the device is lost.
    fn settle(&self, group: &Group, written: io::Result<()>) -> io::Result<()> {
        let (_, sender) = self.table.sender_at(group.origin);
        match written {
            Ok(()) => {
                let lane = &sender.peer.received[self.ends.lane];
                lane.add(group.count, group.bytes);
                lane.heard(self.wall_ms);
                self.ends.tally.traffic.add(group.count, group.bytes);
                if group.count > 1 {
                    self.ends.tally.crossings.add_super_packet(group.count);
                }
            }
            Err(error) if tun::is_gone(&error) => return Err(error),
            Err(error) => {
                let inner = Packet::parse(group.first.of(self.buffer)).ok().map(|packet| packet.source());
                self.ends.note_drops(group.count, refusal(&error), &sender.peer, inner);
            }
        }
        Ok(())
    }
}

/// Some kernels take super-packets from their own programs and not from a TUN device: Linux 6.6.44 and its like all whose last segment is shorter
/// (virtio_net_hdr_to_skb, "net: drop bad gso csum_start and offset in virtio_net_hdr", mended since).
fn is_refused(written: &io::Result<()>) -> bool {
    written.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EINVAL))
}

fn tell_of_refused(ends: &Ends) {
    ends.shared.refusals.joined.call_once(|| {
        tracing::warn!("the kernel refuses a super-packet that was joined (TUN: EINVAL): its packets are written one by one, and so are others that it refuses, which is slower; a newer kernel may mend that");
    });
}

/// A device that is down answers EIO; a full one as a full socket does.
fn refusal(error: &io::Error) -> DropReason {
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => DropReason::TunFull,
        _ => DropReason::TunRefused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn want_of_room_is_told_from_other_refusals() {
        let reason = |errno| refusal(&io::Error::from_raw_os_error(errno));
        assert_eq!([libc::EAGAIN, libc::ENOBUFS, libc::ENOMEM].map(reason), [DropReason::TunFull; 3]);
        assert_eq!([libc::EIO, libc::EINVAL, libc::EFAULT].map(reason), [DropReason::TunRefused; 3]);
    }
}
