//! From peers to pods: receives datagrams, checks who sent them and what they hold, joins what can be joined, and writes the packets into
//! the TUN device. Each packet is checked by itself before it is joined with others.

use std::io::{self, IoSlice};
use std::iter;
use std::thread;
use std::time::Duration;

use crate::awake::Row;
use crate::calm::Calm;
use crate::clock;
use crate::coalesce::{self, Coalescer, Group, Place};
use crate::drops::DropReason;
use crate::ends::Ends;
use crate::head::{LONGEST_HEAD, write_head};
use crate::header::Packet;
use crate::receiving::Datagrams;
use crate::table::Table;
use crate::tun;
use crate::verdict::{admit, of_stranger};

/// After a second error of the socket in a row that says nothing.
const PAUSE: Duration = Duration::from_millis(10);

/// Carries packets until the tunnel ends or its device is deleted.
pub fn run(ends: &Ends) {
    let signal = &ends.shared.signal;
    let Some(socket) = ends.sockets.first() else { return };
    let mut datagrams = Datagrams::default();
    let mut coalescer = Coalescer::new(ends.queue.joins());
    let mut calm = Calm::default();
    let mut row = Row::default();
    let mut failed_in_silence = false;
    while !signal.is_ended() {
        match socket.receive(&mut datagrams) {
            Ok(()) => {
                if deliver(ends, &datagrams, &mut coalescer, &ends.shared.table.load()).is_err() {
                    return signal.lose();
                }
                calm.carried(datagrams.count(), datagrams.used());
                if let Some(spinner) = &ends.shared.spinner {
                    row.carried(datagrams.count(), datagrams.used(), &ends.shared.bulk, spinner);
                }
                failed_in_silence = false;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // What the network says of datagrams that were sent, of which the kernel tells before it gives any that came.
            Err(_) => {
                // Once may be the pump out's doing, which reads those reports as well.
                let is_silent = !ends.read_reports(&ends.shared.table.load(), clock::boot_ms());
                if std::mem::replace(&mut failed_in_silence, is_silent) && is_silent {
                    thread::sleep(PAUSE);
                }
            }
        }
    }
}

/// Hands a batch to the kernel. An error means that the device is lost.
fn deliver(ends: &Ends, datagrams: &Datagrams, coalescer: &mut Coalescer, table: &Table) -> io::Result<()> {
    coalescer.clear();
    ends.tally.crossings.add_batch();
    for arrived in datagrams.arrived() {
        let Some(number) = table.sender_number(arrived.from) else {
            for stopped in arrived.places().map(|place| of_stranger(place.of(datagrams.bytes()))) {
                ends.tally.note_drop(stopped.reason, Some(arrived.from), stopped.inner);
            }
            continue;
        };
        let (_, sender) = table.sender_at(number);
        for place in arrived.places() {
            match admit(place.of(datagrams.bytes()), sender, table) {
                Ok(()) => coalescer.push(datagrams.bytes(), place, number),
                Err(stopped) => ends.note_drops(1, stopped.reason, &sender.peer, stopped.inner),
            }
        }
    }
    let wall_ms = clock::wall_ms();
    for group in coalescer.groups() {
        let written = write(ends, datagrams.bytes(), group, coalescer.members(group));
        if group.count > 1 && is_refused(&written) {
            write_singly(ends, table, datagrams.bytes(), group, coalescer.members(group), wall_ms)?;
        } else {
            settle(ends, table, datagrams.bytes(), group, written, wall_ms)?;
        }
    }
    Ok(())
}

/// Writes the packets of a group that was refused. An error means that the device is lost.
#[cold]
fn write_singly(
    ends: &Ends,
    table: &Table,
    buffer: &[u8],
    group: &Group,
    members: impl Iterator<Item = Place>,
    wall_ms: u64,
) -> io::Result<()> {
    tell_of_refused(ends);
    for place in members {
        let alone = group.alone(place);
        let written = write(ends, buffer, &alone, iter::once(place));
        settle(ends, table, buffer, &alone, written, wall_ms)?;
    }
    Ok(())
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

fn write(ends: &Ends, buffer: &[u8], group: &Group, members: impl Iterator<Item = Place>) -> io::Result<()> {
    let mut head = [0; LONGEST_HEAD];
    let (head_len, data) = write_head(buffer, group, &mut head);
    let mut slices = [IoSlice::new(&[]); 1 + coalesce::MOST];
    slices[0] = IoSlice::new(&head[..head_len]);
    for (slice, place) in slices[1..].iter_mut().zip(members) {
        *slice = IoSlice::new(&place.of(buffer)[data..]);
    }
    ends.queue.write(&slices[..=group.count])
}

/// Counts what became of a group, for the tunnel and for its sender. An error means that the device is lost.
fn settle(ends: &Ends, table: &Table, buffer: &[u8], group: &Group, written: io::Result<()>, wall_ms: u64) -> io::Result<()> {
    let (_, sender) = table.sender_at(group.origin);
    match written {
        Ok(()) => {
            let lane = &sender.peer.received[ends.lane];
            lane.add(group.count, group.bytes);
            lane.heard(wall_ms);
            ends.tally.traffic.add(group.count, group.bytes);
            if group.count > 1 {
                ends.tally.crossings.add_super_packet(group.count);
            }
        }
        Err(error) if tun::is_gone(&error) => return Err(error),
        Err(error) => {
            let inner = Packet::parse(group.first.of(buffer)).ok().map(|packet| packet.source());
            ends.note_drops(group.count, refusal(&error), &sender.peer, inner);
        }
    }
    Ok(())
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
