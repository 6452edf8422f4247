//! Where the TCP or UDP header lies in a packet, and the sum over both and the pseudo header (RFC 9293 section 3.1, RFC 768, RFC 8200
//! section 8.1).
//!
//! Only for packets whose transport header follows an IP header without options at once: others are never merged, and super-packets say
//! themselves where it is.

use crate::checksum;
use crate::header::{IPV4_HEADER, IPV6_HEADER};

/// Length of a TCP header without options.
pub const TCP_HEADER: usize = 20;
/// Length of a UDP header.
pub const UDP_HEADER: usize = 8;

/// Protocols that super-packets are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// Its number (IANA).
    pub fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
        }
    }

    /// Where its checksum lies in its header.
    pub fn checksum_offset(self) -> usize {
        match self {
            Protocol::Tcp => 16,
            Protocol::Udp => 6,
        }
    }

    /// Length of the transport header that begins at `start` of `packet`; none when it is not all there.
    pub fn header_len(self, packet: &[u8], start: usize) -> Option<usize> {
        let len = match self {
            Protocol::Tcp => usize::from(packet.get(start + 12)? >> 4) * 4,
            Protocol::Udp => UDP_HEADER,
        };
        let shortest = if self == Protocol::Tcp { TCP_HEADER } else { UDP_HEADER };
        (len >= shortest && start + len <= packet.len()).then_some(len)
    }

    fn of(number: u8) -> Option<Self> {
        [Protocol::Tcp, Protocol::Udp].into_iter().find(|protocol| protocol.number() == number)
    }
}

/// The places of headers in a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Of the transport header.
    pub protocol: Protocol,
    /// Where the transport header begins.
    pub start: usize,
    /// Where the data begins.
    pub data: usize,
}

impl Layout {
    /// None for fragments, packets with IP options or extension headers, other protocols, and headers that are not whole. `packet` is an IP
    /// packet whose own header was checked.
    pub fn of(packet: &[u8]) -> Option<Self> {
        let (protocol, start) = match packet.first()? {
            // Of flags and fragment offset only "don't fragment" may be set.
            0x45 if packet.len() >= IPV4_HEADER && packet[6] & 0xbf == 0 && packet[7] == 0 => (packet[9], IPV4_HEADER),
            first if first >> 4 == 6 && packet.len() >= IPV6_HEADER => (packet[6], IPV6_HEADER),
            _ => return None,
        };
        let protocol = Protocol::of(protocol)?;
        let data = start + protocol.header_len(packet, start)?;
        Some(Layout { protocol, start, data })
    }

    /// True when the transport checksum is right. Whether there is one must be known (UDP says with zero that there is none).
    pub fn has_right_checksum(&self, packet: &[u8]) -> bool {
        checksum::fold(checksum::add(pseudo_sum(packet, *self), &packet[self.start..])) == 0xffff
    }
}

/// The sum over the pseudo header of `packet`, all of it.
pub fn pseudo_sum(packet: &[u8], layout: Layout) -> u32 {
    let addresses = addresses(packet);
    let len = packet.len() - layout.start;
    pseudo_sum_of(addresses, layout.protocol, len)
}

/// The sum over a pseudo header: source and destination in one slice, the protocol, and the length of transport header and data.
pub fn pseudo_sum_of(addresses: &[u8], protocol: Protocol, len: usize) -> u32 {
    checksum::add(checksum::add_word(len as u32, u16::from(protocol.number())), addresses)
}

/// Source and destination address, in one slice. The packet's IP header must be whole.
pub fn addresses(packet: &[u8]) -> &[u8] {
    if packet[0] >> 4 == 4 { &packet[12..20] } else { &packet[8..40] }
}

/// The two bytes at `at` as a number.
pub(crate) fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Writes a number into the two bytes at `at`.
pub(crate) fn put(bytes: &mut [u8], at: usize, word: u16) {
    bytes[at..at + 2].copy_from_slice(&word.to_be_bytes());
}

/// As it is written into a transport header that has its checksum at `place`. Zero would mean "no checksum" to UDP, and its complement is the same number (RFC 768); TCP
/// has no such meaning, and readers of captures take offence.
pub fn for_header(sum: u16, place: usize) -> u16 {
    if sum == 0 && place == Protocol::Udp.checksum_offset() { 0xffff } else { sum }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_has_a_meaning_to_udp_alone() {
        let written = |sum| [Protocol::Udp, Protocol::Tcp].map(|protocol| for_header(sum, protocol.checksum_offset()));
        assert_eq!((written(0), written(0x1234)), ([0xffff, 0], [0x1234, 0x1234]));
    }
}
