//! Receiving: many datagrams a system call (recvmmsg), and with UDP_GRO (linux/udp.h) several of one sender at once, one after the other,
//! with the length that all but the last have.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;

use crate::coalesce::Place;
use crate::mmsg::{self, BATCH, Incoming};
use crate::udp::{SLOT, Socket};

/// Slots that one call fills while they come merged: eight of 64 KiB are as many bytes as a processor's cache holds.
const FEW: usize = 8;
/// Slots that are made ready when little came: each costs a little, which a lone datagram would wait for.
const LEAST: usize = 4;

/// How many slots the next call gets, after one that filled `count` of them.
fn next_room(count: usize, is_merged: bool) -> usize {
    (2 * count).clamp(LEAST, if is_merged { FEW } else { BATCH })
}

/// Room for what one call receives.
#[derive(Debug)]
pub struct Datagrams {
    bytes: Box<[u8]>,
    received: [Incoming; BATCH],
    count: usize,
    room: usize,
}

/// One or several datagrams of one sender.
#[derive(Debug, Clone, Copy)]
pub struct Arrived {
    /// Their outer source.
    pub from: IpAddr,
    begin: usize,
    len: usize,
    size: usize,
}

impl Arrived {
    /// How many: an empty datagram is one all the same.
    fn count(self) -> usize {
        self.len.div_ceil(self.size).max(1)
    }

    /// The place of each, in order.
    pub fn places(self) -> impl Iterator<Item = Place> {
        (0..self.count()).map(move |number| {
            let at = number * self.size;
            Place { start: (self.begin + at) as u32, len: self.size.min(self.len - at) as u32 }
        })
    }
}

impl Default for Datagrams {
    fn default() -> Self {
        let bytes = vec![0; BATCH * SLOT].into_boxed_slice();
        Datagrams { bytes, received: [Incoming::NOTHING; BATCH], count: 0, room: BATCH }
    }
}

impl Datagrams {
    /// How many datagrams came.
    pub fn count(&self) -> usize {
        self.arrived().map(Arrived::count).sum()
    }

    /// How many bytes they have.
    pub fn used(&self) -> usize {
        self.received[..self.count].iter().map(|received| received.len).sum()
    }

    /// The buffer that places refer to.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same, for who moves packets in it.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// What arrived, in order.
    pub fn arrived(&self) -> impl Iterator<Item = Arrived> {
        self.received[..self.count].iter().enumerate().map(|(slot, received)| {
            let size = received.size.unwrap_or(received.len).max(1);
            Arrived { from: received.from, begin: slot * SLOT, len: received.len, size }
        })
    }
}

impl Socket {
    /// Receives what has arrived, as far as there is room; sleeps while nothing has. `Interrupted` when a signal came meanwhile.
    pub fn receive(&self, into: &mut Datagrams) -> io::Result<()> {
        into.count = 0;
        into.count = mmsg::receive(self.as_fd(), &mut into.bytes, SLOT, into.room, &mut into.received)?;
        let is_merged = into.received[..into.count].iter().any(|received| received.size.is_some());
        into.room = next_room(into.count, is_merged);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_follows_what_comes() {
        assert_eq!([1, 2, 4, 16, 32].map(|count| next_room(count, false)), [4, 4, 8, 32, 32]);
        assert_eq!([1, 4, 8].map(|count| next_room(count, true)), [4, 8, 8]);
    }
}
