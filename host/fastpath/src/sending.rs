//! Sending: many datagrams a system call (sendmmsg), and with UDP_SEGMENT (linux/udp.h) many packets a datagram until the last moment, when
//! the kernel or the network card cuts them.
//!
//! Packets lie in one buffer. Those of a run that lie one behind the other are one piece of memory to the kernel, which takes one faster than many.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::AsFd;

use arrayvec::ArrayVec;

use crate::mmsg::{self, BATCH, Outgoing};
use crate::run::{self, run};
use crate::udp::Socket;

/// A packet that is to leave.
#[derive(Debug, Clone)]
pub struct Packet {
    /// The number of the target: packets of different targets do not leave in one run.
    pub target: u32,
    /// Outer destination.
    pub to: SocketAddr,
    /// Where it lies in the buffer.
    pub place: Range<usize>,
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

impl Socket {
    /// Sends packets in `buffer`, of which there are `count`, from the front in runs of at most `most`. An error is about the first run, or about an earlier one that
    /// the network spoke of meanwhile.
    pub fn send(&self, buffer: &[u8], count: usize, packet: impl Fn(usize) -> Packet, most: usize) -> io::Result<Sent> {
        let mut runs = Runs::new(buffer);
        let mut at = 0;
        while at < count && runs.have_room() {
            let waiting = (at..count).map(&packet).map(|packet| (packet.target, packet.place.len()));
            let end = at + run(waiting, most);
            runs.add(packet(at), (at + 1..end).map(&packet));
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
    buffer: &'a [u8],
    slices: ArrayVec<IoSlice<'a>, SLICES>,
    runs: ArrayVec<Outgoing, BATCH>,
    /// Packets of each.
    packets: ArrayVec<usize, BATCH>,
}

/// Room for four runs of packets that lie apart, or for many of such as follow each other.
const SLICES: usize = 4 * run::MOST;

impl<'a> Runs<'a> {
    /// None yet; room for them is left as it is, since it is needed anew for every call.
    #[inline]
    fn new(buffer: &'a [u8]) -> Self {
        Runs { buffer, slices: ArrayVec::new(), runs: ArrayVec::new(), packets: ArrayVec::new() }
    }

    /// True when there is room for a run of any length.
    fn have_room(&self) -> bool {
        !self.runs.is_full() && self.slices.len() + run::MOST <= SLICES
    }

    fn add(&mut self, first: Packet, others: impl ExactSizeIterator<Item = Packet>) {
        let (count, first_slice) = (1 + others.len(), self.slices.len());
        let size = (count > 1).then_some(first.place.len() as u16);
        let mut piece = first.place;
        for Packet { place, .. } in others {
            if place.start == piece.end {
                piece.end = place.end;
            } else {
                self.add_piece(std::mem::replace(&mut piece, place));
            }
        }
        self.add_piece(piece);
        self.runs.push(Outgoing { to: first.to, first_slice, slices: self.slices.len() - first_slice, size });
        self.packets.push(count);
    }

    fn add_piece(&mut self, piece: Range<usize>) {
        self.slices.push(IoSlice::new(&self.buffer[piece]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_that_follow_each_other_are_one_piece_of_memory() {
        let buffer = [0; 400];
        let to = "192.0.2.1:8285".parse().expect("an address");
        let packet = |place| Packet { target: 0, to, place };
        let mut runs = Runs::new(&buffer);
        runs.add(packet(0..100), [packet(100..200), packet(200..260)].into_iter());
        runs.add(packet(260..300), [packet(310..350), packet(350..390)].into_iter());
        let pieces: Vec<usize> = runs.slices.iter().map(|slice| slice.len()).collect();
        assert_eq!(pieces, [260, 40, 80]);
        let laid: Vec<_> = runs.runs.iter().map(|run| (run.first_slice, run.slices, run.size)).collect();
        assert_eq!(laid, [(0, 1, Some(100)), (1, 2, Some(40))]);
    }
}
