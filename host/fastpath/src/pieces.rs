//! Moves the data of joined packets together, so that a super-packet is a few pieces of memory: to the kernel each piece costs more than moving it here.
//!
//! Datagrams that came at once lie one behind the other, the headers of each between its data and that of the one before it. Joined packets need no headers but the
//! first one's, so that the data moves up over them. Where packets of other groups lie between, a new piece begins.

use crate::coalesce::{Coalescer, Place};

/// Of each group of a batch, where that lies which follows its head. Its room is kept from batch to batch.
#[derive(Debug, Default)]
pub struct Pieces {
    places: Vec<Place>,
    /// Where the pieces of each group end in the list.
    ends: Vec<usize>,
}

impl Pieces {
    /// Moves together what the coalescer has joined. From then on, of a joined group's packets in `buffer` only the first still has its headers.
    pub fn close_up(&mut self, buffer: &mut [u8], coalescer: &Coalescer) {
        self.places.clear();
        self.ends.clear();
        for group in coalescer.groups() {
            let skipped = group.head_len() as u32;
            let mut last: Option<(Place, u32)> = None;
            for packet in coalescer.members(group) {
                let packet_end = packet.start + packet.len;
                let data = Place { start: packet.start + skipped, len: packet.len - skipped };
                let piece = match last {
                    Some((piece, end)) if end == packet.start => {
                        let start = data.start as usize;
                        buffer.copy_within(start..start + data.len as usize, (piece.start + piece.len) as usize);
                        Place { len: piece.len + data.len, ..piece }
                    }
                    other => {
                        self.places.extend(other.map(|(piece, _)| piece));
                        data
                    }
                };
                last = Some((piece, packet_end));
            }
            self.places.extend(last.map(|(piece, _)| piece));
            self.ends.push(self.places.len());
        }
    }

    /// The pieces of the group of that number.
    pub fn of(&self, group: usize) -> &[Place] {
        let begin = group.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.places[begin..self.ends[group]]
    }
}
