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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coalesce::Joins;
    use crate::packets::Sketch;

    /// Packets with a number of bytes between them, joined and moved together: how many pieces each group has, and all that they hold.
    fn closed_up(packets: &[(Vec<u8>, usize)]) -> (Vec<usize>, Vec<Vec<u8>>) {
        let (mut buffer, mut coalescer, mut pieces) = (Vec::new(), Coalescer::new(Joins { tcp: true, udp: true }), Pieces::default());
        let places: Vec<Place> = packets
            .iter()
            .map(|(packet, gap)| {
                buffer.resize(buffer.len() + gap, 0xee);
                let start = buffer.len() as u32;
                buffer.extend_from_slice(packet);
                Place { start, len: packet.len() as u32 }
            })
            .collect();
        places.into_iter().for_each(|place| coalescer.push(&buffer, place, 1));
        pieces.close_up(&mut buffer, &coalescer);
        let of_groups = (0..coalescer.groups().len()).map(|group| pieces.of(group));
        let held = |of_group: &[Place]| of_group.iter().map(|piece| piece.of(&buffer)).collect::<Vec<_>>().concat();
        (of_groups.clone().map(<[Place]>::len).collect(), of_groups.map(held).collect())
    }

    fn stream(number: u32) -> Vec<u8> {
        Sketch::tcp(number * 100, &[number as u8; 100]).build(true)
    }

    #[test]
    fn what_lies_together_becomes_one_piece() {
        let data: Vec<u8> = (0..3).flat_map(|number| [number; 100]).collect();
        let packets = |gap| [(stream(0), 0), (stream(1), gap), (stream(2), 0)];
        assert_eq!(closed_up(&packets(0)), (vec![1], vec![data.clone()]));
        assert_eq!(closed_up(&packets(7)), (vec![2], vec![data]), "a gap");
    }

    #[test]
    fn packets_of_others_between_them_stay_as_they_are() {
        let other = |byte| Sketch { port: 9, ..Sketch::udp(&[byte; 50]) }.build(true);
        let others: Vec<u8> = [other(8), other(9)].iter().flat_map(|packet| packet[28..].to_vec()).collect();
        let (counts, held) = closed_up(&[(stream(0), 0), (other(8), 0), (stream(1), 0), (stream(2), 0), (other(9), 0)]);
        assert_eq!(counts, [2, 2]);
        assert_eq!(held, [(0..3).flat_map(|number| [number; 100]).collect(), others]);
    }

    #[test]
    fn a_packet_alone_is_a_piece_with_its_headers() {
        assert_eq!(closed_up(&[(stream(5), 3)]), (vec![1], vec![stream(5)]));
    }
}
