//! Which packets may stand in one super-packet.
//!
//! The rules are stricter than the kernel's own (`tcp_gro_receive`, `udp_gro_receive`): all that splitting does not give back must be equal.

use crate::transport::{Layout, Protocol, addresses, word};

const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
/// The longest super-packet: an IPv4 header has 16 bits for the length.
const LONGEST: usize = 65_535;

/// What was read from a packet's headers.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Where the headers lie.
    pub layout: Layout,
    /// It may join others, or be joined by others: it has data, a checksum, and no flags but ACK and PSH.
    pub joins: bool,
    /// PSH is set.
    pub pushed: bool,
}

impl Shape {
    /// None when the packet's flow cannot be told.
    pub fn of(packet: &[u8]) -> Option<Self> {
        let layout = Layout::of(packet)?;
        let header = &packet[layout.start..];
        let has_data = packet.len() > layout.data;
        let (joins, pushed) = match layout.protocol {
            // The low half of byte 12 has the reserved bits and AE, which must be clear like all flags but two.
            Protocol::Tcp => (header[12] & 0x0f == 0 && header[13] & !PSH == ACK, header[13] & PSH != 0),
            Protocol::Udp => (usize::from(word(header, 4)) == header.len() && header[6..8] != [0, 0], false),
        };
        Some(Shape { layout, joins: joins && has_data, pushed })
    }

    /// A hash of addresses and ports. Not secure: a collision costs one comparison.
    pub fn flow_hash(&self, packet: &[u8]) -> u64 {
        let ports = &packet[self.layout.start..self.layout.start + 4];
        let parts = addresses(packet).as_chunks::<4>().0.iter().chain(ports.as_chunks::<4>().0);
        let mix =
            |hash: u64, part: &[u8; 4]| (hash ^ u64::from(u32::from_ne_bytes(*part))).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        parts.fold(u64::from(self.layout.protocol.number()), mix)
    }

    /// True when `packet` of this shape and `other_packet` of `other` have the same protocol, addresses and ports.
    pub fn is_same_flow(&self, packet: &[u8], other: &Shape, other_packet: &[u8]) -> bool {
        let (start, other_start) = (self.layout.start, other.layout.start);
        self.layout.protocol == other.layout.protocol
            && start == other_start
            && addresses(packet) == addresses(other_packet)
            && packet[start..start + 4] == other_packet[start..start + 4]
    }
}

/// True when `packet`, of the same flow, continues a group of `count` packets with `data` bytes of data that `first` of `shape` began.
pub fn follows(first: &[u8], shape: &Shape, count: usize, data: usize, packet: &[u8]) -> bool {
    let Layout { protocol, start, data: data_at } = shape.layout;
    let continues = match protocol {
        Protocol::Udp => true,
        Protocol::Tcp => follows_tcp(&first[start..data_at], &packet[start..], data),
    };
    continues && data + packet.len() <= LONGEST && has_same_ip(first, count, packet)
}

/// Acknowledgment, header length, window, urgent pointer and options are equal, and the sequence number is the next.
fn follows_tcp(first: &[u8], packet: &[u8], data: usize) -> bool {
    let sequence = |header: &[u8]| u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
    sequence(packet) == sequence(first).wrapping_add(data as u32)
        && first[8..13] == packet[8..13]
        && first[14..16] == packet[14..16]
        && first[18..] == packet[18..first.len()]
}

/// TOS, TTL, DF or traffic class, flow label, hop limit are equal. An IPv4 identification must be what splitting gives, or mean nothing: in
/// a packet that may not be fragmented it does (RFC 6864, section 4.1).
fn has_same_ip(first: &[u8], count: usize, packet: &[u8]) -> bool {
    if first[0] >> 4 == 6 {
        return first[..4] == packet[..4] && first[6..8] == packet[6..8];
    }
    let dont_fragment = packet[6] & 0x40 != 0;
    let identified = dont_fragment || word(packet, 4) == word(first, 4).wrapping_add(count as u16);
    identified && first[..2] == packet[..2] && first[6..10] == packet[6..10]
}
