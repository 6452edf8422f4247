//! How a pump gets its turns on the processor, by what it and its queue carry.
//!
//! - Few and short packets, one at a time: short turns, so that it goes first when it wakes.
//! - Heavy bulk in super-packets, either way: it does not go before who runs when it wakes (SCHED_BATCH), since each switch from a thread that is at work costs more than it gains
//!   and more gathers meanwhile. So that the thread in is not late for that, it weighs three times as much as others of its control group (a nice value 5 lower). More
//!   would bring nothing, and would take from the group's other threads: a group's share on one core is what its threads there weigh beside those on other cores.
//! - Anything else: as threads have them that ask for nothing.

use std::time::Duration;

use crate::heavy::{Heavy, Meter};
use crate::pace::are_short;
use crate::syscall::Scheduling;

/// So many batches of one short packet in a row are lone ones.
const IN_A_ROW: u32 = 256;
/// A pump is done with a packet within so much, and should not wait for a pod that computes; the shortest that the scheduler knows.
const SHORT_TURN: Duration = Duration::from_micros(100);
/// By how much the nice value of a thread in is lower amid heavy bulk.
const LOWER: i32 = 5;

/// True for a batch of one packet that is no super-packet, by the number of packets and their bytes.
pub fn is_lone(packets: usize, bytes: usize) -> bool {
    packets == 1 && are_short(packets, bytes)
}

/// What a pump carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Traffic {
    Lone,
    Mixed,
    Heavy,
}

/// What a pump saw last, and how it is scheduled.
#[derive(Debug)]
pub struct Schedule {
    in_a_row: u32,
    meter: Meter,
    traffic: Traffic,
    /// As the thread was started, but for the length of turns. None where that is not for a pump to change.
    ordinary: Option<Scheduling>,
    /// By how much the nice value is lower amid heavy bulk.
    lower: i32,
}

impl Schedule {
    /// Of the calling thread, a pump out.
    pub fn outbound() -> Self {
        Schedule::new(0)
    }

    /// Of the calling thread, a pump in.
    pub fn inbound() -> Self {
        Schedule::new(LOWER)
    }

    fn new(lower: i32) -> Self {
        let is_ordinary = |current: &Scheduling| [libc::SCHED_OTHER, libc::SCHED_BATCH].contains(&current.policy);
        let ordinary = Scheduling::current().ok().filter(is_ordinary).map(|current| Scheduling { turn: 0, ..current });
        Schedule { in_a_row: 0, meter: Meter::default(), traffic: Traffic::Mixed, ordinary, lower }
    }

    /// Notes a batch of so many packets, and super-packets, with so many bytes in all, and changes how the calling thread is scheduled when that makes a difference. Where it
    /// may not, it waits for its turn as others do. A thread that carries nothing more stays as it is until its next batch.
    pub fn carried(&mut self, packets: usize, bytes: usize, heavy: &Heavy, now_ms: u64) {
        // Short packets come by the hundred thousand: a thread that is late for them loses some.
        let bulk = if are_short(packets, bytes) { 0 } else { bytes };
        if self.meter.note(bulk, now_ms) {
            heavy.note(now_ms);
        }
        let traffic = self.note(packets, bytes, heavy.is_on(now_ms));
        if std::mem::replace(&mut self.traffic, traffic) != traffic {
            self.apply();
        }
    }

    fn note(&mut self, packets: usize, bytes: usize, is_heavy: bool) -> Traffic {
        self.in_a_row = if is_lone(packets, bytes) { (self.in_a_row + 1).min(IN_A_ROW) } else { 0 };
        match self.in_a_row {
            _ if is_heavy => Traffic::Heavy,
            IN_A_ROW => Traffic::Lone,
            _ => Traffic::Mixed,
        }
    }

    #[cold]
    fn apply(&self) {
        let Some(ordinary) = self.ordinary else { return };
        let wanted = match self.traffic {
            Traffic::Lone => Scheduling { turn: SHORT_TURN.as_nanos() as u64, ..ordinary },
            Traffic::Mixed => ordinary,
            Traffic::Heavy => Scheduling { policy: libc::SCHED_BATCH, nice: ordinary.nice - self.lower, ..ordinary },
        };
        // Weight is not for everyone: a container's daemon may lack CAP_SYS_NICE.
        let _ = wanted.apply().or_else(|_| Scheduling { nice: ordinary.nice, ..wanted }.apply());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started() -> Schedule {
        Schedule { in_a_row: 0, meter: Meter::default(), traffic: Traffic::Mixed, ordinary: None, lower: 0 }
    }

    #[test]
    fn many_lone_short_packets_get_short_turns_and_one_of_another_kind_ends_that() {
        for (packets, bytes) in [(2, 200), (1, 40_000)] {
            let mut schedule = started();
            let told: Vec<Traffic> = (0..2 * IN_A_ROW).map(|_| schedule.note(1, 60, false)).collect();
            assert_eq!(told.iter().position(|traffic| *traffic == Traffic::Lone), Some(IN_A_ROW as usize - 1));
            assert!(told[IN_A_ROW as usize..].iter().all(|traffic| *traffic == Traffic::Lone));
            assert_eq!(schedule.note(packets, bytes, false), Traffic::Mixed);
            assert!((0..IN_A_ROW - 1).all(|_| schedule.note(1, 1500, false) == Traffic::Mixed));
        }
    }

    #[test]
    fn the_thread_of_lone_packets_has_short_turns() {
        let turn = || Scheduling::current().expect("told").turn;
        let (mut schedule, heavy, before) = (Schedule::outbound(), Heavy::default(), turn());
        if schedule.ordinary.is_none() || before == 0 {
            return println!("skipped: this kernel (before 6.12) has turns of one length for all, or this test a priority of its own");
        }
        let mut carry = |packets: usize, bytes: usize| schedule.carried(packets, bytes, &heavy, 1_000);
        (0..IN_A_ROW - 1).for_each(|_| carry(1, 60));
        assert_eq!(turn(), before, "not yet");
        carry(1, 60);
        assert_eq!(turn(), 100_000);
        carry(2, 120);
        assert_eq!(turn(), before);
    }

    #[test]
    fn acknowledgments_of_heavy_bulk_are_no_lone_packets() {
        let mut schedule = started();
        assert!((0..2 * IN_A_ROW).all(|_| schedule.note(1, 60, true) == Traffic::Heavy));
        assert_eq!(schedule.note(1, 60, false), Traffic::Lone);
    }

    #[test]
    fn short_packets_are_never_heavy() {
        let is_heavy = |packets: usize| {
            let (mut schedule, heavy) = (started(), Heavy::default());
            (1_000..1_300).for_each(|now_ms| schedule.carried(packets, 300_000, &heavy, now_ms));
            heavy.is_on(1_300)
        };
        assert!(is_heavy(5) && !is_heavy(214));
    }

    #[test]
    fn a_thread_is_scheduled_as_it_was_once_the_bulk_is_over() {
        let now = || Scheduling::current().expect("told");
        let (mut schedule, heavy, before) = (Schedule::inbound(), Heavy::default(), now());
        if schedule.ordinary.is_none() {
            return println!("skipped: this test runs at a priority of its own");
        }
        heavy.note(1_000);
        schedule.carried(1, 60_000, &heavy, 1_001);
        assert_eq!(now().policy, libc::SCHED_BATCH, "amid bulk");
        assert!([before.nice - LOWER, before.nice].contains(&now().nice), "as far as it may");
        schedule.carried(1, 60_000, &heavy, 60_000);
        assert_eq!(now(), before);
    }
}
