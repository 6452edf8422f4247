//! From pods to peers: reads frames from the TUN device and gives them to the [`Outbox`], which sends their packets to the nodes that have
//! the destinations. Sleeps only when the device's queue is empty, as [`Pace`] has it; then no packet is held in the outbox.

use std::thread;

use nix::sys::prctl;

use crate::drops::DropReason;
use crate::ends::Ends;
use crate::frames::Frames;
use crate::outbox::Outbox;
use crate::pace::Pace;
use crate::schedule::Schedule;
use crate::turn::Turn;

/// Carries packets until the tunnel ends or its device is deleted.
pub fn run(ends: &Ends) {
    let signal = &ends.shared.signal;
    // Else the kernel may add as much again to a rest. Where it does, that is all that comes of it.
    let _ = prctl::set_timerslack(1);
    let mut frames = Frames::default();
    let mut outbox = Outbox::default();
    let mut pace = Pace::default();
    let mut schedule = Schedule::outbound();
    let mut is_lost = false;
    while !signal.is_ended() && !is_lost {
        let read = frames.read(&ends.queue, pace.take());
        is_lost = read.is_err();
        let count = read.unwrap_or(0);
        match frames.take_lost() {
            0 => {}
            lost => ends.tally.note_drops(lost, DropReason::Offload, None, None),
        }
        if count > 0 || outbox.is_holding() {
            let table = ends.shared.table.load();
            let turn = Turn::new(ends, &table);
            outbox.forward(&turn, &mut frames, count);
            if count > 0 {
                ends.tally.crossings.add_batch();
                ends.shared.bulk.note(frames.used(), turn.now_ms);
                schedule.carried(count, frames.used(), &ends.shared.heavy[ends.lane], turn.now_ms);
            }
        }
        pace.took(count, frames.used(), frames.is_full());
        if let Some(moment) = pace.pause() {
            thread::sleep(moment);
        }
    }
    outbox.send_held(&Turn::new(ends, &ends.shared.table.load()));
    if is_lost {
        signal.lose();
    }
}
