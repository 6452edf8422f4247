//! From pods to peers: reads frames from the TUN device and gives them to the [`Outbox`], which sends their packets to the nodes that have
//! the destinations. Sleeps only when the device's queue is empty, as [`Pace`] has it.

use std::thread;

use nix::sys::prctl;

use crate::calm::Calm;
use crate::drops::DropReason;
use crate::ends::Ends;
use crate::frames::Frames;
use crate::outbox::Outbox;
use crate::pace::Pace;
use crate::turn::Turn;

/// Carries packets until the tunnel ends or its device is deleted.
pub fn run(ends: &Ends) {
    let signal = &ends.shared.signal;
    // Else the kernel may add as much again to a rest. Where it does, that is all that comes of it.
    let _ = prctl::set_timerslack(1);
    let mut frames = Frames::default();
    let mut outbox = Outbox::default();
    let mut pace = Pace::default();
    let mut calm = Calm::default();
    while !signal.is_ended() {
        let Ok(count) = frames.read(&ends.queue, pace.take()) else { return signal.lose() };
        match frames.take_lost() {
            0 => {}
            lost => ends.tally.note_drops(lost, DropReason::Offload, None, None),
        }
        if count > 0 {
            let table = ends.shared.table.load();
            ends.tally.crossings.add_batch();
            let turn = Turn::new(ends, &table);
            outbox.forward(&turn, &mut frames, count);
            calm.carried(count, frames.used());
            ends.shared.bulk.note(frames.used(), turn.now_ms);
        }
        pace.took(count, frames.used(), frames.is_full());
        if let Some(moment) = pace.pause() {
            thread::sleep(moment);
        }
    }
}
