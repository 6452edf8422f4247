//! From peers to pods: receives datagrams, checks who sent them and what they hold, joins what can be joined, and writes the packets into
//! the TUN device. Each packet is checked by itself before it is joined with others.

use std::io::{self, IoSlice};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;

use nix::poll::PollFlags;

use crate::clock;
use crate::coalesce::{self, Coalescer, Group};
use crate::drops::DropReason;
use crate::merge::{LONGEST_HEAD, write_head};
use crate::pump::Ends;
use crate::receiving::Datagrams;
use crate::table::Table;
use crate::tun;
use crate::verdict::{admit, as_ipv4};

/// After an error of the socket that says nothing, in milliseconds.
const PAUSE_MS: u16 = 10;

/// Carries packets until the tunnel ends or its device is deleted.
pub fn run(ends: &Ends) {
    let signal = &ends.shared.signal;
    let mut datagrams = Datagrams::default();
    let mut coalescer = Coalescer::new(ends.queue.joins());
    while !signal.is_ended() {
        match ends.socket.receive(&mut datagrams) {
            Ok(()) => {
                if deliver(ends, &datagrams, &mut coalescer, &ends.shared.table.load()).is_err() {
                    return signal.lose();
                }
                if datagrams.is_full() {
                    continue;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => {
                if !ends.read_reports(&ends.shared.table.load(), clock::boot_ms()) {
                    signal.pause(PAUSE_MS);
                }
                continue;
            }
        }
        let woken = signal.wait((ends.queue.as_fd(), PollFlags::empty()), (ends.socket.as_fd(), PollFlags::POLLIN));
        if woken.device_gone {
            return signal.lose();
        }
        if woken.socket_error {
            ends.read_reports(&ends.shared.table.load(), clock::boot_ms());
        }
    }
}

/// Hands a batch to the kernel. An error means that the device is lost.
fn deliver(ends: &Ends, datagrams: &Datagrams, coalescer: &mut Coalescer, table: &Table) -> io::Result<()> {
    coalescer.clear();
    ends.tally.crossings.add_batch();
    for (outer, place) in datagrams.places() {
        match admit(place.of(datagrams.bytes()), outer, table, ends.shared.check) {
            Ok(_) => coalescer.push(datagrams.bytes(), place, outer.to_bits()),
            Err(stopped) => ends.tally.note_drop(stopped.reason, outer, stopped.inner),
        }
    }
    let wall_ms = clock::wall_ms();
    for group in coalescer.groups() {
        let written = write(ends, datagrams.bytes(), coalescer, group);
        count(ends, table, datagrams.bytes(), group, written, wall_ms)?;
    }
    Ok(())
}

fn write(ends: &Ends, buffer: &[u8], coalescer: &Coalescer, group: &Group) -> io::Result<()> {
    let mut head = [0; LONGEST_HEAD];
    let (head_len, data) = write_head(buffer, group, &mut head);
    let mut slices = [IoSlice::new(&[]); 1 + coalesce::MOST];
    slices[0] = IoSlice::new(&head[..head_len]);
    for (slice, place) in slices[1..].iter_mut().zip(coalescer.members(group)) {
        *slice = IoSlice::new(&place.of(buffer)[data..]);
    }
    ends.queue.write(&slices[..=group.count])
}

fn count(ends: &Ends, table: &Table, buffer: &[u8], group: &Group, written: io::Result<()>, wall_ms: u64) -> io::Result<()> {
    let outer = Ipv4Addr::from_bits(group.origin);
    match written {
        Ok(()) => {
            if let Some(sender) = table.sender(outer) {
                let lane = &sender.peer.received[ends.lane];
                lane.add(group.count, group.bytes);
                lane.heard(wall_ms);
            }
            ends.tally.traffic.add(group.count, group.bytes);
            if group.count > 1 {
                ends.tally.crossings.add_super_packet(group.count);
            }
        }
        Err(error) if tun::is_gone(&error) => return Err(error),
        Err(error) => {
            let inner = as_ipv4(group.first.of(buffer)).map_or(Ipv4Addr::UNSPECIFIED, |packet| packet.source());
            ends.tally.note_drops(group.count, refusal(&error), outer, inner);
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
