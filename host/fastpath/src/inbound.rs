//! From peers to pods: receives datagrams, checks who sent them and what they hold, and writes the packets into the TUN device.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;

use nix::poll::PollFlags;

use crate::clock;
use crate::drops::DropReason;
use crate::pump::Ends;
use crate::table::{Sender, Table};
use crate::tun;
use crate::udp::{BATCH, Datagrams};
use crate::verdict::{admit, as_ipv4};
use crate::vnet;

/// After an error of the socket that says nothing, in milliseconds.
const PAUSE_MS: u16 = 10;

/// Carries packets until the tunnel ends or its device is deleted.
pub fn run(ends: &Ends) {
    let signal = &ends.shared.signal;
    let mut datagrams = Datagrams::default();
    while !signal.is_ended() {
        match ends.socket.receive(&mut datagrams) {
            Ok(()) => {
                if deliver(ends, &datagrams, &ends.shared.table.load()).is_err() {
                    return signal.lose();
                }
                if datagrams.count() == BATCH {
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
fn deliver(ends: &Ends, datagrams: &Datagrams, table: &Table) -> io::Result<()> {
    let wall_ms = clock::wall_ms();
    for (outer, frame) in datagrams.frames() {
        let packet = &frame[vnet::HEADER..];
        match admit(packet, outer, table, ends.shared.check) {
            Ok(sender) => write(ends, sender, frame, outer, wall_ms)?,
            Err(stopped) => ends.tally.note_drop(stopped.reason, outer, stopped.inner),
        }
    }
    Ok(())
}

fn write(ends: &Ends, sender: &Sender, frame: &[u8], outer: Ipv4Addr, wall_ms: u64) -> io::Result<()> {
    let packet = &frame[vnet::HEADER..];
    match ends.queue.write(frame) {
        Ok(()) => {
            let lane = &sender.peer.received[ends.lane];
            lane.add(packet.len());
            lane.heard(wall_ms);
            ends.tally.traffic.add(packet.len());
        }
        Err(error) if tun::is_gone(&error) => return Err(error),
        Err(error) => {
            let inner = as_ipv4(packet).map_or(Ipv4Addr::UNSPECIFIED, |packet| packet.source());
            ends.tally.note_drop(refusal(&error), outer, inner);
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
