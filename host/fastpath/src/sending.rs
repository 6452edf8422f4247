//! Sending: many datagrams a system call (sendmmsg), and with UDP_SEGMENT (linux/udp.h) many packets a datagram until the last moment, when
//! the kernel or the network card cuts them.
//!
//! A packet is two slices, headers and data, which are not copied together.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::AsFd;

use arrayvec::ArrayVec;

use crate::mmsg::{self, BATCH, Outgoing};
use crate::run::{self, run};
use crate::udp::Socket;

/// A packet that is to leave: the number of its target, where that is, and what it is made of.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    /// The number of the target: packets of different targets do not leave in one run.
    pub target: u32,
    /// Outer destination.
    pub to: SocketAddr,
    /// Its headers and its data; either may be empty.
    pub parts: [&'a [u8]; 2],
}

/// What became of a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// How many packets left.
    pub packets: usize,
    /// Some of them left in a run.
    pub has_run: bool,
    /// An error ended it, of which the kernel says no more here (sendmmsg(2), "Bugs"): the network may have spoken of earlier datagrams, which then stands in the
    /// error queue alone.
    pub is_cut_short: bool,
}

impl Packet<'_> {
    fn len(&self) -> usize {
        self.parts[0].len() + self.parts[1].len()
    }
}

impl Socket {
    /// Sends packets, of which there are `count`, from the front in runs of at most `most`. An error is about the first run, or about an earlier one that the
    /// network spoke of meanwhile.
    pub fn send<'a>(&self, count: usize, packet: impl Fn(usize) -> Packet<'a>, most: usize) -> io::Result<Sent> {
        let mut runs = Runs::new();
        let mut at = 0;
        while at < count && runs.have_room() {
            let waiting = (at..count).map(&packet).map(|packet| (packet.target, packet.len()));
            let end = at + run(waiting, most);
            runs.add((at..end).map(&packet), packet(at));
            at = end;
        }
        if let Some(error) = self.refuses_runs() {
            // As the kernel does it: what comes before the run leaves, and the run is refused when it is the first.
            let short = runs.packets.iter().position(|packets| *packets > 1).unwrap_or(runs.packets.len());
            runs.runs.truncate(short);
            if short == 0 && count > 0 {
                return Err(io::Error::from_raw_os_error(error));
            }
        }
        let sent = mmsg::send(self.as_fd(), &runs.slices, &runs.runs)?;
        let left = &runs.packets[..sent];
        Ok(Sent { packets: left.iter().sum(), has_run: left.iter().any(|packets| *packets > 1), is_cut_short: sent < runs.runs.len() })
    }
}

/// The runs of one system call.
struct Runs<'a> {
    slices: ArrayVec<IoSlice<'a>, SLICES>,
    runs: ArrayVec<Outgoing, BATCH>,
    /// Packets of each.
    packets: ArrayVec<usize, BATCH>,
}

/// Four runs of the longest kind, or many short ones.
const SLICES: usize = 4 * 2 * run::MOST;

impl<'a> Runs<'a> {
    /// None yet; room for them is left as it is, since it is needed anew for every call.
    #[inline]
    fn new() -> Self {
        Runs { slices: ArrayVec::new(), runs: ArrayVec::new(), packets: ArrayVec::new() }
    }

    /// True when there is room for a run of any length.
    fn have_room(&self) -> bool {
        !self.runs.is_full() && self.slices.len() + 2 * run::MOST <= SLICES
    }

    fn add(&mut self, packets: impl ExactSizeIterator<Item = Packet<'a>>, first: Packet<'a>) {
        let (count, first_slice) = (packets.len(), self.slices.len());
        for part in packets.flat_map(|packet| packet.parts).filter(|part| !part.is_empty()) {
            self.slices.push(IoSlice::new(part));
        }
        let size = (count > 1).then_some(first.len() as u16);
        self.runs.push(Outgoing { to: first.to, first_slice, slices: self.slices.len() - first_slice, size });
        self.packets.push(count);
    }
}
