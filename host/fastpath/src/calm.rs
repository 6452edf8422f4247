//! Whether a pump has few and short packets to carry, one at a time: then it takes short turns on its processor, so that it goes first when it wakes. Amid streams
//! it takes ordinary ones, since there each switch from a thread that is at work costs more than it gains.

use std::time::Duration;

use crate::pace::are_short;
use crate::syscall;

/// So many batches of one short packet in a row are calm.
const IN_A_ROW: u32 = 256;
/// A pump is done with a packet within so much, and should not wait for a pod that computes; the shortest that the scheduler knows.
const TURN: Duration = Duration::from_micros(100);

/// True for a batch of one packet that is no super-packet, by the number of packets and their bytes.
pub fn is_lone(packets: usize, bytes: usize) -> bool {
    packets == 1 && are_short(packets, bytes)
}

/// What a pump saw last.
#[derive(Debug, Default)]
pub struct Calm {
    in_a_row: u32,
}

impl Calm {
    /// Notes a batch of so many packets, and super-packets, with so many bytes in all. Tells what it is from now on when that changes.
    fn note(&mut self, packets: usize, bytes: usize) -> Option<bool> {
        let was_calm = self.in_a_row >= IN_A_ROW;
        self.in_a_row = if is_lone(packets, bytes) { (self.in_a_row + 1).min(IN_A_ROW) } else { 0 };
        let is_calm = self.in_a_row >= IN_A_ROW;
        (is_calm != was_calm).then_some(is_calm)
    }

    /// Notes a batch, and sets the length of the calling thread's turns when that changes something. Where it may not, it waits for its turn as others do.
    pub fn carried(&mut self, packets: usize, bytes: usize) {
        if let Some(is_calm) = self.note(packets, bytes) {
            let _ = syscall::take_turns_of(if is_calm { TURN } else { syscall::ORDINARY_TURN });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_lone_short_packets_are_calm_and_one_of_another_kind_ends_it() {
        for other in [(2, 200), (1, 40_000)] {
            let mut calm = Calm::default();
            let told: Vec<Option<bool>> = (0..2 * IN_A_ROW).map(|_| calm.note(1, 60)).collect();
            assert_eq!(told.iter().position(Option::is_some), Some(IN_A_ROW as usize - 1));
            assert_eq!(told.iter().flatten().collect::<Vec<_>>(), [&true]);
            assert_eq!((calm.note(other.0, other.1), calm.note(other.0, other.1)), (Some(false), None));
            assert!((0..IN_A_ROW - 1).all(|_| calm.note(1, 1500).is_none()));
        }
    }
}
