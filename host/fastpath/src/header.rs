//! Views of IP headers (RFC 791, RFC 8200) over a slice that holds exactly one packet.
//!
//! [`Packet::parse`] checks what forwarding relies on, once; the getters then only read. It does not look past the IP header.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::checksum;

/// Length of an IPv4 header without options.
pub const IPV4_HEADER: usize = 20;
/// Length of an IPv6 header.
pub const IPV6_HEADER: usize = 40;

/// What is wrong with the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// Not an IP packet, a wrong header length or checksum, or bytes after its end.
    Malformed,
    /// The packet is longer than the bytes that are there.
    Truncated,
}

/// One whole IP packet.
#[derive(Debug, Clone, Copy)]
pub enum Packet<'a> {
    /// Of version 4.
    V4(Ipv4<'a>),
    /// Of version 6.
    V6(Ipv6<'a>),
}

impl<'a> Packet<'a> {
    /// Reads one packet that must fill `bytes` exactly.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Flaw> {
        match bytes.first().map(|byte| byte >> 4) {
            Some(4) => Ipv4::parse(bytes).map(Packet::V4),
            Some(6) => Ipv6::parse(bytes).map(Packet::V6),
            _ => Err(Flaw::Malformed),
        }
    }

    /// Source address.
    pub fn source(&self) -> IpAddr {
        match self {
            Packet::V4(packet) => IpAddr::V4(packet.source()),
            Packet::V6(packet) => IpAddr::V6(packet.source()),
        }
    }

    /// Destination address.
    pub fn destination(&self) -> IpAddr {
        match self {
            Packet::V4(packet) => IpAddr::V4(packet.destination()),
            Packet::V6(packet) => IpAddr::V6(packet.destination()),
        }
    }
}

/// A whole IPv4 packet: version, header length, total length and header checksum are right.
#[derive(Debug, Clone, Copy)]
pub struct Ipv4<'a> {
    bytes: &'a [u8],
}

impl<'a> Ipv4<'a> {
    /// Reads one packet that must fill `bytes` exactly.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Flaw> {
        if bytes.len() < IPV4_HEADER || bytes[0] >> 4 != 4 {
            return Err(Flaw::Malformed);
        }
        let packet = Ipv4 { bytes };
        let (header, total) = (packet.header_len(), usize::from(packet.word(2)));
        if header < IPV4_HEADER || total < header || total < bytes.len() {
            return Err(Flaw::Malformed);
        }
        if total > bytes.len() {
            return Err(Flaw::Truncated);
        }
        if checksum::of(&bytes[..header]) != 0 { Err(Flaw::Malformed) } else { Ok(packet) }
    }

    /// The whole packet.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The header with its options.
    pub fn header(&self) -> &'a [u8] {
        &self.bytes[..self.header_len()]
    }

    /// The options, padding included.
    pub fn options(&self) -> &'a [u8] {
        &self.bytes[IPV4_HEADER..self.header_len()]
    }

    /// What follows the header.
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[self.header_len()..]
    }

    /// Length of the header with its options, in bytes.
    pub fn header_len(&self) -> usize {
        usize::from(self.bytes[0] & 0x0f) * 4
    }

    /// The "don't fragment" flag.
    pub fn dont_fragment(&self) -> bool {
        self.word(6) & 0x4000 != 0
    }

    /// The "more fragments" flag.
    pub fn more_fragments(&self) -> bool {
        self.word(6) & 0x2000 != 0
    }

    /// Where this packet's payload lies in the original one, in units of 8 bytes.
    pub fn fragment_offset(&self) -> u16 {
        self.word(6) & 0x1fff
    }

    /// Time to live.
    pub fn ttl(&self) -> u8 {
        self.bytes[8]
    }

    /// Protocol number of the payload (IANA).
    pub fn protocol(&self) -> u8 {
        self.bytes[9]
    }

    /// Source address.
    pub fn source(&self) -> Ipv4Addr {
        self.address(12)
    }

    /// Destination address.
    pub fn destination(&self) -> Ipv4Addr {
        self.address(16)
    }

    fn word(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.bytes[at], self.bytes[at + 1]])
    }

    fn address(&self, at: usize) -> Ipv4Addr {
        Ipv4Addr::new(self.bytes[at], self.bytes[at + 1], self.bytes[at + 2], self.bytes[at + 3])
    }
}

/// A whole IPv6 packet: version and payload length are right.
#[derive(Debug, Clone, Copy)]
pub struct Ipv6<'a> {
    header: &'a [u8; IPV6_HEADER],
    bytes: &'a [u8],
}

/// Extension headers that say how long they are in units of 8 bytes, the first not counted: hop-by-hop options, routing, destination options.
const SIZED_EXTENSIONS: [u8; 3] = [0, 43, 60];
/// The fragment header, always 8 bytes long.
const FRAGMENT: u8 = 44;

impl<'a> Ipv6<'a> {
    /// Reads one packet that must fill `bytes` exactly. Jumbograms (RFC 2675) are malformed here.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Flaw> {
        let header = bytes.first_chunk::<IPV6_HEADER>().filter(|header| header[0] >> 4 == 6).ok_or(Flaw::Malformed)?;
        let total = IPV6_HEADER + usize::from(u16::from_be_bytes([header[4], header[5]]));
        match total.cmp(&bytes.len()) {
            std::cmp::Ordering::Equal => Ok(Ipv6 { header, bytes }),
            std::cmp::Ordering::Greater => Err(Flaw::Truncated),
            std::cmp::Ordering::Less => Err(Flaw::Malformed),
        }
    }

    /// Source address.
    pub fn source(&self) -> Ipv6Addr {
        self.address(8)
    }

    /// Destination address.
    pub fn destination(&self) -> Ipv6Addr {
        self.address(24)
    }

    /// The whole packet.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The number of the first header that is no extension header (IANA), and what begins with it. None in a later fragment, and when the
    /// extension headers lead out of the packet.
    pub fn upper_layer(&self) -> Option<(u8, &'a [u8])> {
        let (mut number, mut rest) = (self.header[6], &self.bytes[IPV6_HEADER..]);
        loop {
            let (next, len) = match number {
                FRAGMENT => {
                    let is_first = u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?]) & 0xfff8 == 0;
                    is_first.then_some((rest[0], 8))?
                }
                sized if SIZED_EXTENSIONS.contains(&sized) => (*rest.first()?, (usize::from(*rest.get(1)?) + 1) * 8),
                upper => return Some((upper, rest)),
            };
            (number, rest) = (next, rest.get(len..)?);
        }
    }

    fn address(&self, at: usize) -> Ipv6Addr {
        let mut octets = [0; 16];
        octets.copy_from_slice(&self.header[at..at + 16]);
        Ipv6Addr::from(octets)
    }
}

/// Writes the right checksum into an IPv4 header, which must be `header` as a whole.
pub fn seal_ipv4(header: &mut [u8]) {
    header[10..12].fill(0);
    let sum = checksum::of(header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An IPv4 packet without options, TTL 64, protocol UDP.
    pub(crate) fn ipv4(source: [u8; 4], destination: [u8; 4], payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x45, 0, 0, 0, 0x12, 0x34, 0, 0, 64, 17, 0, 0];
        bytes.extend(source);
        bytes.extend(destination);
        bytes.extend(payload);
        let total = bytes.len() as u16;
        bytes[2..4].copy_from_slice(&total.to_be_bytes());
        seal_ipv4(&mut bytes[..IPV4_HEADER]);
        bytes
    }

    /// An IPv6 packet of protocol UDP.
    pub(crate) fn ipv6(payload: &[u8]) -> Vec<u8> {
        ipv6_with(17, payload)
    }

    /// An IPv6 packet whose header is followed by one of that number.
    pub(crate) fn ipv6_with(next: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x60, 0, 0, 0, 0, 0, next, 64];
        bytes[4..6].copy_from_slice(&(payload.len() as u16).to_be_bytes());
        bytes.extend([1; 16]);
        bytes.extend([2; 16]);
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn a_good_ipv4_packet_is_read() {
        let bytes = ipv4([10, 5, 1, 2], [10, 5, 2, 3], b"hello");
        let Packet::V4(packet) = Packet::parse(&bytes).expect("well-formed") else { panic!("version 4") };
        assert_eq!((packet.source(), packet.destination()), (Ipv4Addr::new(10, 5, 1, 2), Ipv4Addr::new(10, 5, 2, 3)));
        assert_eq!((packet.ttl(), packet.protocol(), packet.payload()), (64, 17, &b"hello"[..]));
        assert!(!packet.dont_fragment() && !packet.more_fragments() && packet.fragment_offset() == 0);
    }

    #[test]
    fn a_good_ipv6_packet_is_read() {
        let bytes = ipv6(b"hello");
        let packet = Packet::parse(&bytes).expect("well-formed");
        assert_eq!(packet.source(), IpAddr::from([1; 16]));
        assert_eq!(packet.destination(), IpAddr::from([2; 16]));
    }

    #[test]
    fn lengths_must_fit_exactly() {
        for good in [ipv4([1; 4], [2; 4], b"abc"), ipv6(b"abc")] {
            let mut longer = good.clone();
            longer.push(0);
            assert_eq!(Packet::parse(&longer).err(), Some(Flaw::Malformed), "bytes after the end");
            assert_eq!(Packet::parse(&good[..good.len() - 1]).err(), Some(Flaw::Truncated));
        }
    }

    #[test]
    fn other_bytes_are_malformed() {
        let mut bad_sum = ipv4([1; 4], [2; 4], b"abc");
        bad_sum[8] -= 1;
        let mut short_header = ipv4([1; 4], [2; 4], b"abc");
        short_header[0] = 0x44;
        seal_ipv4(&mut short_header[..IPV4_HEADER]);
        let mut long_header = ipv4([1; 4], [2; 4], b"abc");
        long_header[0] = 0x4f;
        for bad in [&[][..], &[0x45], &[0x50; 40], &[0x60; 39], &bad_sum, &short_header, &long_header] {
            assert_eq!(Packet::parse(bad).err(), Some(Flaw::Malformed), "{bad:02x?}");
        }
    }

    #[test]
    fn extension_headers_are_passed_over() {
        let upper = |next, payload: &[u8]| match Packet::parse(&ipv6_with(next, payload)) {
            Ok(Packet::V6(packet)) => packet.upper_layer().map(|(number, rest)| (number, rest.to_vec())),
            other => panic!("{other:?}"),
        };
        let options = [60, 0, 1, 4, 0, 0, 0, 0, 6, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
        assert_eq!(upper(0, &options), Some((6, vec![7])), "hop-by-hop options, and destination options of 16 bytes");
        assert_eq!(upper(17, b"x"), Some((17, b"x".to_vec())));
        assert_eq!(upper(0, &[17, 9, 0, 0, 0, 0, 0, 0]), None, "they lead out of the packet");
        assert_eq!(upper(44, &[17, 0, 0, 0]), None, "half a fragment header");
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_accepted_has_bounds_that_hold(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..120)) {
            let mut v6 = bytes.clone();
            if let [first, .., ] = &mut v6[..] {
                *first = 0x60;
            }
            if let Some(length) = v6.len().checked_sub(IPV6_HEADER) {
                v6[4..6].copy_from_slice(&(length as u16).to_be_bytes());
            }
            if let Ok(Packet::V6(packet)) = Packet::parse(&v6) {
                proptest::prop_assert!(packet.upper_layer().is_none_or(|(_, rest)| rest.len() <= v6.len() - IPV6_HEADER));
            }
            if let Ok(Packet::V4(packet)) = Packet::parse(&bytes) {
                proptest::prop_assert_eq!(packet.header().len() + packet.payload().len(), bytes.len());
            }
        }
    }
}
