//! How the pump of the way out takes frames from its queue, so that a lone packet waits for nothing and many cost few system calls.
//!
//! A pump that slept is woken by one frame. After a quiet wake-up, one that found a single frame in all, it sends that frame before it looks for more; else it
//! takes along what has gathered. Then it goes on without sleeping until the queue is empty. Where it found many short ones it leaves the queue alone for a moment, so that
//! the next ones come together, as network cards do it that interrupt the less the more arrives: a wake-up costs the sender and the pump as much as some frames.

use std::time::Duration;

/// Frames between two sleeps that are many: more than 160 000 a second keep a pump resting.
const MANY: usize = 8;
/// What no single packet of an ordinary path exceeds, in bytes. A super-packet is worth its wake-up.
const SHORT: usize = 2048;
/// How long it leaves its queue alone then. The kernel holds 500 frames, which at a million a second take ten times as long.
const MOMENT: Duration = Duration::from_micros(50);

/// What the next read of a batch does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// Sleeps until there is a frame, and takes just that one.
    One,
    /// Sleeps until there is a frame, and takes along what came with it.
    Some,
    /// Takes what is there, without sleeping.
    Ready,
}

impl Take {
    /// True when it sleeps while the queue is empty.
    pub fn sleeps(self) -> bool {
        self != Take::Ready
    }
}

/// True when so many packets have so many bytes that most of them are no super-packets.
pub fn are_short(packets: usize, bytes: usize) -> bool {
    bytes <= packets * SHORT
}

/// Where a pump is between two sleeps.
#[derive(Debug)]
pub struct Pace {
    take: Take,
    /// Frames since it slept, and their bytes.
    frames: usize,
    bytes: usize,
    has_many: bool,
}

impl Default for Pace {
    fn default() -> Self {
        Pace { take: Take::One, frames: 0, bytes: 0, has_many: false }
    }
}

impl Pace {
    /// What to do next.
    pub fn take(&self) -> Take {
        self.take
    }

    /// How long to leave the queue alone before that.
    pub fn pause(&self) -> Option<Duration> {
        self.has_many.then_some(MOMENT)
    }

    /// That gave so many frames with so many bytes; `is_more` when it ended for want of room, so that there may be more.
    pub fn took(&mut self, frames: usize, bytes: usize, is_more: bool) {
        self.frames += frames;
        self.bytes += bytes;
        self.has_many = false;
        let was_interrupted = self.take.sleeps() && frames == 0;
        if was_interrupted {
            return;
        }
        self.take = match self.take {
            Take::One => Take::Ready,
            _ if is_more => Take::Ready,
            _ => {
                let (frames, bytes) = (std::mem::take(&mut self.frames), std::mem::take(&mut self.bytes));
                self.has_many = frames >= MANY && are_short(frames, bytes);
                if frames <= 1 { Take::One } else { Take::Some }
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(reads: &[(usize, bool)]) -> Vec<Take> {
        let mut pace = Pace::default();
        let next = |&(frames, is_more): &(usize, bool)| {
            pace.took(frames, frames * 60, is_more);
            pace.take()
        };
        reads.iter().map(next).collect()
    }

    #[test]
    fn a_lone_frame_is_sent_before_more_is_looked_for() {
        assert_eq!(Pace::default().take(), Take::One);
        assert_eq!(takes(&[(1, false), (0, false), (1, false), (0, false)]), [Take::Ready, Take::One, Take::Ready, Take::One]);
    }

    #[test]
    fn frames_that_come_together_are_taken_together_from_the_next_wake_up_on() {
        assert_eq!(takes(&[(1, false), (3, false)]), [Take::Ready, Take::Some]);
        assert_eq!(takes(&[(1, false), (3, false), (5, false)])[2], Take::Some);
        assert_eq!(takes(&[(1, false), (3, false), (1, false)])[2], Take::One, "quiet again");
    }

    #[test]
    fn it_sleeps_only_when_the_queue_is_empty() {
        assert_eq!(takes(&[(1, false), (32, true), (32, true), (0, false)]), [Take::Ready, Take::Ready, Take::Ready, Take::Some]);
    }

    #[test]
    fn it_rests_after_many_frames_and_never_for_few() {
        let mut pace = Pace::default();
        let rests =
            [(1, false), (MANY - 2, false), (MANY, false), (2, false), (32, true), (0, false), (1, false)].map(|(frames, is_more)| {
                pace.took(frames, frames * 60, is_more);
                pace.pause().is_some()
            });
        assert_eq!(rests, [false, false, true, false, false, true, false]);
        pace.took(MANY, MANY * 40_000, false);
        assert_eq!(pace.pause(), None, "super-packets");
    }

    #[test]
    fn an_interrupted_sleep_changes_nothing() {
        assert_eq!(takes(&[(0, false), (1, false), (0, false)]), [Take::One, Take::Ready, Take::One]);
    }
}
