//! Into the TUN device: the groups of a batch, each as a frame of one packet or as a super-packet, several frames in one system call.
//!
//! A pod that a frame wakes may take the core from the thread that wrote it as soon as that call is over, and does where it is in a control group of its own, as
//! containers are: then it finds one super-packet, answers it, and sleeps again. After one call for all it finds all. (A kernel with full preemption gives the core away
//! amid a call too.)

use std::io::{self, IoSlice};
use std::iter;

use arrayvec::ArrayVec;

use crate::clock;
use crate::coalesce::{self, Coalescer, Group, Place};
use crate::drops::DropReason;
use crate::ends::Ends;
use crate::head::{LONGEST_HEAD, write_head};
use crate::header::Packet;
use crate::syscall::{TOGETHER, Writes};
use crate::table::Table;
use crate::tun;

/// Pieces of the frames of one system call: eight super-packets with the most packets, or many shorter ones.
const SLICES: usize = 8 * (1 + coalesce::MOST);

/// Joined packets that are to be written, and what is counted by.
#[derive(Debug)]
pub struct Delivery<'a> {
    ends: &'a Ends,
    table: &'a Table,
    buffer: &'a [u8],
    coalescer: &'a Coalescer,
    wall_ms: u64,
}

/// Writes deliveries.
#[derive(Debug)]
pub struct Writer {
    /// None where the kernel has no such call: then each frame is written by itself.
    writes: Option<Writes>,
}

impl Writer {
    /// One for the queue of these ends.
    pub fn new(ends: &Ends) -> Writer {
        let writes = Writes::new().inspect_err(|error| {
            ends.shared.refusals.together.call_once(|| {
                tracing::info!("each packet for a pod is written in a system call of its own, which is slower where pods are in control groups of their own: several in one are refused: {error} (allow io_setup, io_submit, io_getevents and io_destroy, or raise fs.aio-max-nr if it is \"temporarily unavailable\")");
            });
        });
        Writer { writes: writes.ok() }
    }

    /// Writes all groups, in their order. An error means that the device is lost.
    pub fn write(&mut self, delivery: &Delivery<'_>) -> io::Result<()> {
        let mut waiting = delivery.coalescer.groups();
        while let Some((first, others)) = waiting.split_first() {
            let reach = delivery.reach(waiting);
            let became = match &mut self.writes {
                Some(writes) if reach > 1 => delivery.write_together(writes, &waiting[..reach]),
                _ => ArrayVec::new(),
            };
            if became.is_empty() {
                delivery.conclude(first, delivery.write(first, delivery.coalescer.members(first)))?;
                waiting = others;
                continue;
            }
            let (tried, left) = waiting.split_at(became.len());
            for (group, written) in tried.iter().zip(became) {
                delivery.conclude(group, written)?;
            }
            waiting = left;
        }
        Ok(())
    }
}

impl<'a> Delivery<'a> {
    /// What the coalescer has made of packets in `buffer`.
    pub fn new(ends: &'a Ends, table: &'a Table, buffer: &'a [u8], coalescer: &'a Coalescer) -> Delivery<'a> {
        Delivery { ends, table, buffer, coalescer, wall_ms: clock::wall_ms() }
    }

    /// How many of `groups` may go together. Where the kernel refuses some that are joined, none stands behind such a one, so that its packets leave first when they are
    /// written singly; the batch that shows it comes before that is known.
    fn reach(&self, groups: &[Group]) -> usize {
        let joined = groups.iter().position(|group| group.count > 1).filter(|_| self.ends.shared.refusals.joined.is_completed());
        joined.map_or(groups.len(), |joined| joined + 1)
    }

    /// Writes the first of `groups` in one system call, as many as there is room for, and gives what became of them; of none where the kernel does not take the first.
    fn write_together(&self, writes: &mut Writes, groups: &[Group]) -> ArrayVec<io::Result<()>, TOGETHER> {
        let pieces = groups.iter().take(TOGETHER).scan(0, |pieces, group| {
            *pieces += 1 + group.count;
            Some(*pieces)
        });
        let groups = &groups[..pieces.take_while(|pieces| *pieces <= SLICES).count()];
        let mut heads: ArrayVec<[u8; LONGEST_HEAD], TOGETHER> = groups.iter().map(|_| [0; LONGEST_HEAD]).collect();
        let mut slices: ArrayVec<IoSlice<'_>, SLICES> = ArrayVec::new();
        for (group, head) in groups.iter().zip(&mut heads) {
            self.list(group, self.coalescer.members(group), head, &mut slices);
        }
        let mut rest = &slices[..];
        let frames: ArrayVec<&[IoSlice<'_>], TOGETHER> = groups.iter().filter_map(|group| rest.split_off(..=group.count)).collect();
        self.ends.queue.write_together(writes, &frames)
    }

    /// Writes packets of a group by themselves or joined, as it says.
    fn write(&self, group: &Group, members: impl Iterator<Item = Place>) -> io::Result<()> {
        let mut head = [0; LONGEST_HEAD];
        let mut slices: ArrayVec<IoSlice<'_>, { 1 + coalesce::MOST }> = ArrayVec::new();
        self.list(group, members, &mut head, &mut slices);
        self.ends.queue.write(&slices)
    }

    /// Lists the pieces of a group's frame: its head, which is written here, and of each packet what follows that.
    fn list<'b, const ROOM: usize>(
        &'b self,
        group: &Group,
        members: impl Iterator<Item = Place>,
        head: &'b mut [u8; LONGEST_HEAD],
        slices: &mut ArrayVec<IoSlice<'b>, ROOM>,
    ) {
        let (head_len, data) = write_head(self.buffer, group, head);
        slices.push(IoSlice::new(&head[..head_len]));
        slices.extend(members.map(|place| IoSlice::new(&place.of(self.buffer)[data..])));
    }

    /// A group was written, or was not. An error means that the device is lost.
    fn conclude(&self, group: &Group, written: io::Result<()>) -> io::Result<()> {
        if group.count > 1 && is_refused(&written) { self.write_singly(group) } else { self.settle(group, written) }
    }

    /// Writes the packets of a group that was refused. An error means that the device is lost.
    #[cold]
    fn write_singly(&self, group: &Group) -> io::Result<()> {
        tell_of_refused(self.ends);
        for place in self.coalescer.members(group) {
            let alone = group.alone(place);
            self.settle(&alone, self.write(&alone, iter::once(place)))?;
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
