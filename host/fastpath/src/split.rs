//! Splits a super-packet, as the kernel hands it out through a TUN device with offloads, into the packets that it stands for.
//!
//! What the kernel does in software when a device cannot (`tcp_gso_segment`, `__udp_gso_segment`, `inet_gso_segment`): each segment gets a
//! copy of the headers with lengths, IPv4 identification, sequence number, flags and checksums of its own. The type and sizes come from the
//! virtio-net header, and nothing of it is believed that the packet contradicts.

use std::ops::Range;

use crate::checksum;
use crate::header::{IPV4_HEADER, IPV6_HEADER};
use crate::transport::{Protocol, for_header, put, word};
use crate::vnet::{Gso, VnetHeader};

/// Flags in the word of the TCP header that also has its length.
const FIN: u16 = 0x01;
const PSH: u16 = 0x08;
const CWR: u16 = 0x80;

/// A super-packet whose header fits its content.
#[derive(Debug, Clone, Copy)]
pub struct SuperPacket<'a> {
    packet: &'a [u8],
    protocol: Protocol,
    /// Where the transport header begins.
    start: usize,
    /// Where the data begins.
    data: usize,
    /// Data bytes of each segment but the last.
    size: usize,
    common: CommonSums,
}

/// Sums over the words that the headers of all segments have in common: a segment adds those of its own, so that what was just written need not be read again.
#[derive(Debug, Clone, Copy)]
struct CommonSums {
    /// Of the IPv4 header: all but length, identification and checksum. Zero for IPv6, which has none.
    ip: u32,
    /// Of the transport and pseudo header: all but length, sequence number, and the word with the flags.
    transport: u32,
}

impl CommonSums {
    fn of(packet: &[u8], protocol: Protocol, start: usize, data: usize) -> Self {
        let (ip, transport) = packet[..data].split_at(start);
        let ip = if packet[0] >> 4 == 4 { sum_without(ip, &[2, 4, 10]) } else { 0 };
        let own: &[usize] = match protocol {
            Protocol::Tcp => &[4, 6, 12],
            Protocol::Udp => &[4],
        };
        // The checksum's place holds the sum over the pseudo header of the whole, of which only the length differs.
        let whole = (packet.len() - start) as u16;
        CommonSums { ip, transport: checksum::add_word(sum_without(transport, own), !whole) }
    }
}

/// The sum over a header without the words at those places (RFC 1624: the complement takes a word away).
fn sum_without(header: &[u8], places: &[usize]) -> u32 {
    places.iter().fold(checksum::add(0, header), |sum, &place| checksum::add_word(sum, !word(header, place)))
}

impl<'a> SuperPacket<'a> {
    /// Reads one. Nothing of `packet` is taken for checked. None when the virtio-net header makes no sense for it.
    pub fn parse(header: &VnetHeader, packet: &'a [u8]) -> Option<Self> {
        let (protocol, version) = match header.gso()? {
            Gso::Tcp4 => (Protocol::Tcp, Some(4)),
            Gso::Tcp6 => (Protocol::Tcp, Some(6)),
            Gso::Udp => (Protocol::Udp, None),
        };
        let (start, size) = (usize::from(header.checksum_start), usize::from(header.gso_size));
        let is_ip = match packet.first()? >> 4 {
            4 => start >= IPV4_HEADER && start == usize::from(packet[0] & 0x0f) * 4 && packet.get(9) == Some(&protocol.number()),
            6 => start >= IPV6_HEADER,
            _ => false,
        };
        let fits = is_ip
            && version.is_none_or(|version| version == packet[0] >> 4)
            && header.needs_checksum()
            && usize::from(header.checksum_offset) == protocol.checksum_offset();
        let data = start + protocol.header_len(packet, start)?;
        let makes_sense = fits && size > 0 && data < packet.len();
        makes_sense.then(|| SuperPacket { packet, protocol, start, data, size, common: CommonSums::of(packet, protocol, start, data) })
    }

    /// Number of segments; at least one.
    pub fn count(&self) -> usize {
        (self.packet.len() - self.data).div_ceil(self.size)
    }

    /// Length of the longest segment with its headers.
    pub fn longest(&self) -> usize {
        self.packet.len().min(self.data + self.size)
    }

    /// Appends segment `number`, which is below [`SuperPacket::count`], to `packets`.
    pub fn append(&self, number: usize, packets: &mut Vec<u8>) {
        let data = self.data + number * self.size;
        let data = data..self.packet.len().min(data + self.size);
        let at = packets.len();
        packets.extend_from_slice(&self.packet[..self.data]);
        packets.extend_from_slice(&self.packet[data.clone()]);
        let head = &mut packets[at..][..self.data];
        self.finish_ip(head, number, data.len());
        self.finish_transport(head, &data);
    }

    fn finish_ip(&self, head: &mut [u8], number: usize, data_len: usize) {
        let total = head.len() + data_len;
        if head[0] >> 4 == 6 {
            return put(head, 4, (total - IPV6_HEADER) as u16);
        }
        let (total, id) = (total as u16, word(self.packet, 4).wrapping_add(number as u16));
        put(head, 2, total);
        put(head, 4, id);
        put(head, 10, checksum::finish(checksum::add_word(checksum::add_word(self.common.ip, total), id)));
    }

    fn finish_transport(&self, head: &mut [u8], data: &Range<usize>) {
        let len = (head.len() - self.start + data.len()) as u16;
        let own = match self.protocol {
            Protocol::Tcp => self.number_tcp(head, data),
            Protocol::Udp => {
                put(head, self.start + 4, len);
                len.into()
            }
        };
        let sum = checksum::add_word(self.common.transport + own, len);
        let sum = checksum::finish(checksum::add(sum, &self.packet[data.clone()]));
        let place = self.protocol.checksum_offset();
        put(head, self.start + place, for_header(sum, place));
    }

    /// Gives the sum of what it writes.
    fn number_tcp(&self, head: &mut [u8], data: &Range<usize>) -> u32 {
        let first = u32::from(word(self.packet, self.start + 4)) << 16 | u32::from(word(self.packet, self.start + 6));
        let sequence = first.wrapping_add((data.start - self.data) as u32);
        let mut flags = word(self.packet, self.start + 12);
        if data.end < self.packet.len() {
            flags &= !(FIN | PSH);
        }
        // "Congestion window reduced" is said once, in the first segment (RFC 3168, section 6.1.2).
        if data.start > self.data {
            flags &= !CWR;
        }
        let words = [(sequence >> 16) as u16, sequence as u16, flags];
        [4, 6, 12].into_iter().zip(words).for_each(|(place, word)| put(head, self.start + place, word));
        words.into_iter().fold(0, checksum::add_word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packets::{Sketch, read};
    use crate::vnet::NEEDS_CHECKSUM;
    use proptest::prelude::*;

    fn header(sketch: &Sketch, size: usize) -> VnetHeader {
        let gso = match (sketch.tcp, sketch.v6) {
            (false, _) => Gso::Udp,
            (true, false) => Gso::Tcp4,
            (true, true) => Gso::Tcp6,
        };
        VnetHeader {
            flags: NEEDS_CHECKSUM,
            gso_type: gso as u8,
            header_len: 0,
            gso_size: size as u16,
            checksum_start: sketch.start() as u16,
            checksum_offset: (sketch.checksum_at() - sketch.start()) as u16,
        }
    }

    fn split(sketch: &Sketch, size: usize) -> Vec<Sketch> {
        let packet = sketch.build(false);
        let whole = SuperPacket::parse(&header(sketch, size), &packet).expect("a super-packet");
        let segment = |number| {
            let mut packets = vec![0xee; 3];
            whole.append(number, &mut packets);
            packets.split_off(3)
        };
        let segments: Vec<Vec<u8>> = (0..whole.count()).map(segment).collect();
        assert_eq!(segments.iter().map(Vec::len).max(), Some(whole.longest()));
        segments.iter().map(|segment| read(segment)).collect()
    }

    #[test]
    fn flags_stand_where_the_stream_has_them() {
        let [fin, psh, cwr] = [FIN, PSH, CWR].map(|flag| flag as u8);
        let whole = Sketch { flags: 0x10 | fin | psh | cwr | 0x40, ..Sketch::tcp(u32::MAX - 150, &[5; 250]) };
        let flags: Vec<u8> = split(&whole, 100).iter().map(|segment| segment.flags).collect();
        assert_eq!(flags, [0x50 | cwr, 0x50, 0x50 | fin | psh]);
    }

    #[test]
    fn options_of_ip_are_repeated() {
        let whole = Sketch { ip_options: vec![148, 4, 0, 0], id: 0xffff, ..Sketch::tcp(1, &[5; 250]) };
        let segments = split(&whole, 100);
        assert!(segments.iter().all(|segment| segment.ip_options == [148, 4, 0, 0]));
        assert_eq!(segments.iter().map(|segment| segment.id).collect::<Vec<_>>(), [0xffff, 0, 1]);
    }

    #[test]
    fn a_header_that_the_packet_contradicts_is_refused() {
        let (tcp, udp) = (Sketch::tcp(1, &[5; 250]), Sketch::udp(&[5; 250]));
        let (packet, good) = (tcp.build(false), header(&tcp, 100));
        assert!(SuperPacket::parse(&good, &packet).is_some());
        let bad = [
            VnetHeader { gso_size: 0, ..good },
            VnetHeader { flags: 0, ..good },
            VnetHeader { gso_type: 3, ..good },
            VnetHeader { gso_type: Gso::Tcp6 as u8, ..good },
            VnetHeader { checksum_start: 24, ..good },
            VnetHeader { checksum_start: 60_000, ..good },
            VnetHeader { checksum_offset: 6, ..good },
            header(&udp, 100),
        ];
        assert!(bad.iter().all(|bad| SuperPacket::parse(bad, &packet).is_none()));
        assert!(SuperPacket::parse(&good, &packet[..52]).is_none(), "no data");
        assert!(SuperPacket::parse(&good, &[]).is_none());
    }

    proptest! {
        #[test]
        fn segments_are_whole_packets_that_join_to_the_stream(
            v6: bool, tcp: bool, size in 1usize..400, len in 1usize..4000, odd: u8, sequence: u32, id: u16,
        ) {
            let data: Vec<u8> = (0..len).map(|at| (at as u8).wrapping_mul(odd)).collect();
            let base = if tcp { Sketch::tcp(sequence, &data) } else { Sketch::udp(&data) };
            let whole = Sketch { v6, id: if v6 { 0 } else { id }, dont_fragment: !v6, ..base };
            let segments = split(&whole, size);
            let mut joined: Vec<u8> = Vec::new();
            for (number, segment) in segments.iter().enumerate() {
                let expected = Sketch {
                    id: if v6 { 0 } else { id.wrapping_add(number as u16) },
                    sequence: if tcp { sequence.wrapping_add(joined.len() as u32) } else { 0 },
                    data: segment.data.clone(),
                    ..read(&whole.build(true))
                };
                prop_assert_eq!(segment, &expected);
                prop_assert!(segment.data.len() == size || number + 1 == segments.len());
                joined.extend_from_slice(&segment.data);
            }
            prop_assert_eq!(joined, data);
        }

        #[test]
        fn whatever_comes_nothing_is_read_outside(
            frame in proptest::collection::vec(any::<u8>(), 0..200), gso in 0u8..6, start in 0u16..80, offset in prop_oneof![Just(6u16), Just(16)],
        ) {
            let header = VnetHeader { flags: 1, gso_type: gso, header_len: 0, gso_size: 7, checksum_start: start, checksum_offset: offset };
            let mut frame = frame;
            if let Some(first) = frame.first_mut() {
                *first = if *first & 1 == 0 { 0x40 | (start / 4) as u8 & 0x0f } else { 0x60 };
            }
            if let Some(protocol) = frame.get_mut(9) {
                *protocol = if offset == 6 { 17 } else { 6 };
            }
            if let Some(whole) = SuperPacket::parse(&header, &frame) {
                let mut packets = Vec::new();
                (0..whole.count()).for_each(|number| whole.append(number, &mut packets));
                let more_heads = (1..whole.count()).map(|_| whole.longest() - usize::from(header.gso_size)).sum::<usize>();
                prop_assert_eq!((packets.len(), packets.last()), (frame.len() + more_heads, frame.last()));
            }
        }
    }
}
