//! A batch of frames from the TUN device, one behind the other in one buffer, and what each of them carries.
//!
//! A batch ends when the queue is empty, or after [`BATCH`] frames, or a few super-packets: so many bytes as a processor's cache holds.

use std::io;
use std::ops::Range;

use crate::mmsg::BATCH;
use crate::pace::Take;
use crate::split::SuperPacket;
use crate::tun::{self, Queue};
use crate::udp::SLOT;
use crate::vnet::{self, VnetHeader};

const ROOM: usize = 5 * SLOT;

/// Room for a batch, and the batch.
pub struct Frames {
    bytes: Box<[u8]>,
    /// Where each packet begins and ends; its header is just before.
    places: [(usize, usize); BATCH],
    count: usize,
    is_full: bool,
    lost: usize,
}

impl Default for Frames {
    fn default() -> Self {
        Frames { bytes: vec![0; ROOM].into_boxed_slice(), places: [(0, 0); BATCH], count: 0, is_full: false, lost: 0 }
    }
}

impl Frames {
    /// Reads a batch and tells how many frames it has; none when the queue is empty, or a signal came while it slept. An error means that the device is lost.
    pub fn read(&mut self, queue: &Queue, take: Take) -> io::Result<usize> {
        let mut used = 0;
        (self.count, self.is_full) = (0, true);
        let most = if take == Take::One { 1 } else { BATCH };
        while self.count < most && used + SLOT <= ROOM {
            let room = &mut self.bytes[used..used + SLOT];
            let read = if take.sleeps() && self.count == 0 { queue.read_next(room) } else { queue.read(room) };
            match read {
                Ok(len) => {
                    self.places[self.count] = (used + vnet::HEADER.min(len), used + len);
                    (self.count, used) = (self.count + 1, used + len);
                    self.is_full = take != Take::One;
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                    self.is_full = false;
                    break;
                }
                Err(error) if tun::is_frame_lost(&error) => {
                    self.lost += 1;
                    break;
                }
                // What was read goes on first: the next read says it again.
                Err(_) if self.count > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(self.count)
    }

    /// How many frames were lost on reading since this was last asked.
    pub fn take_lost(&mut self) -> usize {
        std::mem::take(&mut self.lost)
    }

    /// True when the last batch ended for want of room, or with a frame that was lost, so that there may be more; never of one that was to be a single frame.
    pub fn is_full(&self) -> bool {
        self.is_full
    }

    /// How many bytes the last batch has, virtio-net headers and all.
    pub fn used(&self) -> usize {
        self.count.checked_sub(1).map_or(0, |last| self.places[last].1)
    }

    /// Completes the checksum of a frame's packet where the kernel left that undone. Once a frame, before it is opened. False when the frame's
    /// header makes no sense.
    pub fn complete(&mut self, index: usize) -> bool {
        let (start, end) = self.places[index];
        let Some((header, _)) = self.header(index) else { return false };
        header.is_super_packet() || header.complete_checksum(&mut self.bytes[start..end])
    }

    /// What a frame carries. None when its header makes no sense.
    pub fn open(&self, index: usize) -> Option<Carried<'_>> {
        let (header, packet) = self.header(index)?;
        if !header.is_super_packet() {
            return Some(Carried { packet, whole: None });
        }
        SuperPacket::parse(&header, packet).map(|whole| Carried { packet, whole: Some(whole) })
    }

    fn header(&self, index: usize) -> Option<(VnetHeader, &[u8])> {
        let (start, end) = self.places[index];
        VnetHeader::parse(&self.bytes[start.checked_sub(vnet::HEADER)?..end])
    }
}

/// A packet, or a super-packet that stands for several.
#[derive(Debug, Clone, Copy)]
pub struct Carried<'a> {
    /// All bytes, with the IP header that steers them.
    pub packet: &'a [u8],
    /// As a super-packet, if it is one.
    pub whole: Option<SuperPacket<'a>>,
}

impl<'a> Carried<'a> {
    /// How many packets it stands for.
    pub fn count(&self) -> usize {
        self.whole.map_or(1, |whole| whole.count())
    }

    /// Length of the longest of them.
    pub fn longest(&self) -> usize {
        self.whole.map_or(self.packet.len(), |whole| whole.longest())
    }

    /// Appends one of them to `packets`, and gives its place there.
    pub fn append(&self, number: usize, packets: &mut Vec<u8>) -> Range<usize> {
        let start = packets.len();
        match self.whole {
            Some(whole) => whole.append(number, packets),
            None => packets.extend_from_slice(self.packet),
        }
        start..packets.len()
    }
}
