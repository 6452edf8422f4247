//! The virtio-net header that stands before each frame read from or written to a TUN device opened with IFF_VNET_HDR: ten bytes
//! (`struct virtio_net_hdr` of linux/virtio_net.h), in the byte order of this machine as TUNSETVNETLE is not used.
//!
//! It says whether the packet's TCP or UDP checksum is still to be completed, and whether it is a super-packet to be split.

use crate::checksum;
use crate::transport::for_header;

/// Length of the header. Twelve, with `num_buffers`, says nothing to a TUN device.
pub const HEADER: usize = 10;

/// VIRTIO_NET_HDR_F_NEEDS_CSUM.
pub const NEEDS_CHECKSUM: u8 = 1;
/// VIRTIO_NET_HDR_GSO_ECN: a TCP super-packet with CWR set. Said beside the type.
const WITH_CWR: u8 = 0x80;

/// The types of super-packets that are understood (VIRTIO_NET_HDR_GSO_*). UFO (3), which stands for fragments, is never asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Gso {
    /// TCP over IPv4.
    Tcp4 = 1,
    /// TCP over IPv6.
    Tcp6 = 4,
    /// UDP over either, one datagram a segment (since Linux 6.2).
    Udp = 5,
}

/// A packet's offload state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VnetHeader {
    /// VIRTIO_NET_HDR_F_*.
    pub flags: u8,
    /// VIRTIO_NET_HDR_GSO_*; zero is a plain packet.
    pub gso_type: u8,
    /// Length of the headers that each segment repeats, in bytes; a hint.
    pub header_len: u16,
    /// Payload bytes of each segment.
    pub gso_size: u16,
    /// Where the checksummed bytes begin.
    pub checksum_start: u16,
    /// Where the checksum lies, from `checksum_start`.
    pub checksum_offset: u16,
}

impl VnetHeader {
    /// Reads a frame's header; the packet is what follows it. None when the frame is too short.
    pub fn parse(frame: &[u8]) -> Option<(VnetHeader, &[u8])> {
        let (head, packet) = frame.split_first_chunk::<HEADER>()?;
        let word = |at: usize| u16::from_ne_bytes([head[at], head[at + 1]]);
        let header = VnetHeader {
            flags: head[0],
            gso_type: head[1],
            header_len: word(2),
            gso_size: word(4),
            checksum_start: word(6),
            checksum_offset: word(8),
        };
        Some((header, packet))
    }

    /// The header's bytes.
    pub fn to_bytes(self) -> [u8; HEADER] {
        let mut bytes = [self.flags, self.gso_type, 0, 0, 0, 0, 0, 0, 0, 0];
        let words = [self.header_len, self.gso_size, self.checksum_start, self.checksum_offset];
        for (place, word) in bytes[2..].chunks_exact_mut(2).zip(words) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }

    /// True for a super-packet, which must be split before it can leave.
    pub fn is_super_packet(&self) -> bool {
        self.gso_type != 0
    }

    /// The type of a super-packet, if it is one of those understood.
    pub fn gso(&self) -> Option<Gso> {
        [Gso::Tcp4, Gso::Tcp6, Gso::Udp].into_iter().find(|&gso| gso as u8 == self.gso_type & !WITH_CWR)
    }

    /// True when the packet's checksum is still to be completed.
    pub fn needs_checksum(&self) -> bool {
        self.flags & NEEDS_CHECKSUM != 0
    }

    /// Completes the packet's checksum when the kernel left that to us. The place holds the pseudo header's sum, as the kernel does it.
    /// False when the header points outside the packet.
    pub fn complete_checksum(&self, packet: &mut [u8]) -> bool {
        if !self.needs_checksum() {
            return true;
        }
        let start = usize::from(self.checksum_start);
        let place = start + usize::from(self.checksum_offset);
        if start >= packet.len() || place + 2 > packet.len() {
            return false;
        }
        let sum = for_header(checksum::of(&packet[start..]), self.checksum_offset.into());
        packet[place..place + 2].copy_from_slice(&sum.to_be_bytes());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn bytes_go_round(bytes in proptest::array::uniform10(proptest::num::u8::ANY)) {
            let (header, rest) = VnetHeader::parse(&bytes).expect("ten bytes");
            proptest::prop_assert!(rest.is_empty());
            proptest::prop_assert_eq!(header.to_bytes(), bytes);
        }

        #[test]
        fn no_header_makes_it_write_outside(start in 0u16..100, offset in 0u16..100, mut packet in proptest::collection::vec(0u8.., 0..80)) {
            let header = VnetHeader { flags: NEEDS_CHECKSUM, checksum_start: start, checksum_offset: offset, ..VnetHeader::default() };
            let fits = usize::from(start) + usize::from(offset) + 2 <= packet.len();
            proptest::prop_assert_eq!(header.complete_checksum(&mut packet), fits);
        }
    }

    #[test]
    fn a_partial_checksum_is_completed() {
        // The sum of a pseudo header (here 0x1234) stands where the checksum belongs.
        let mut packet = vec![0xaa, 0xbb, 1, 2, 3, 4, 0x12, 0x34, 9, 9];
        let header = VnetHeader { flags: NEEDS_CHECKSUM, checksum_start: 2, checksum_offset: 4, ..VnetHeader::default() };
        assert!(header.complete_checksum(&mut packet));
        assert_eq!(checksum::finish(checksum::add(0x1234, &packet[2..])), 0);
    }

    #[test]
    fn short_frames_have_no_header() {
        assert!(VnetHeader::parse(&[0; HEADER - 1]).is_none());
    }
}
