//! From peers to pods: receives datagrams, checks who sent them and what they hold, joins what can be joined, and gives the packets to the [`Writer`], which writes
//! them into the TUN device. Each packet is checked by itself before it is joined with others.

use std::io;
use std::thread;
use std::time::Duration;

use crate::awake::Row;
use crate::clock;
use crate::coalesce::Coalescer;
use crate::ends::Ends;
use crate::pieces::Pieces;
use crate::receiving::Datagrams;
use crate::schedule::Schedule;
use crate::table::Table;
use crate::verdict::{admit, of_stranger};
use crate::writing::{Delivery, Writer};

/// After a second error of the socket in a row that says nothing.
const PAUSE: Duration = Duration::from_millis(10);

/// Carries packets until the tunnel ends or its device is deleted.
pub fn run(ends: &Ends) {
    let signal = &ends.shared.signal;
    let Some(socket) = ends.sockets.first() else { return };
    let mut datagrams = Datagrams::default();
    let mut coalescer = Coalescer::new(ends.queue.joins());
    let mut pieces = Pieces::default();
    let mut writer = Writer::new(ends);
    let mut schedule = Schedule::inbound();
    let mut row = Row::default();
    let mut failed_in_silence = false;
    while !signal.is_ended() {
        match socket.receive(&mut datagrams) {
            Ok(()) => {
                let table = ends.shared.table.load();
                let admitted = join(ends, &datagrams, &mut coalescer, &table);
                pieces.close_up(datagrams.bytes_mut(), &coalescer);
                if writer.write(&Delivery::new(ends, &table, datagrams.bytes(), &coalescer, &pieces)).is_err() {
                    return signal.lose();
                }
                schedule.carried(coalescer.groups().len(), admitted, &ends.shared.heavy[ends.lane], clock::boot_ms());
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

/// Joins what is admitted of a batch, and gives how many bytes that is.
fn join(ends: &Ends, datagrams: &Datagrams, coalescer: &mut Coalescer, table: &Table) -> usize {
    let mut admitted = 0;
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
                Ok(()) => {
                    admitted += place.len as usize;
                    coalescer.push(datagrams.bytes(), place, number);
                }
                Err(stopped) => ends.note_drops(1, stopped.reason, &sender.peer, stopped.inner),
            }
        }
    }
    admitted
}
