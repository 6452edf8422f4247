//! ICMPv6 answers to pods (RFC 4443): the twin of [`crate::icmp`] for inner IPv6.
//!
//! Routers never fragment IPv6, so that whatever does not fit is answered. No answer promises less than 1280 bytes, which every IPv6 link has
//! to carry (RFC 8200, section 5) and below which no sender goes.

use std::net::Ipv6Addr;

use crate::checksum;
use crate::header::{IPV6_HEADER, Ipv6};

/// The longest answer: the least MTU of IPv6 (RFC 4443, section 2.4 c).
pub const LONGEST: usize = 1280;

const ICMP6: u8 = 58;
const ICMP6_HEADER: usize = 8;
const DESTINATION_UNREACHABLE: u8 = 1;
const PACKET_TOO_BIG: u8 = 2;
/// Types below this number are errors.
const FIRST_QUERY: u8 = 128;

/// What is wrong with the packet that the answer is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Complaint {
    /// Type 1, code 0: nobody has that subnet.
    NoRoute,
    /// Type 2: it does not fit. Carries the length that fits, in bytes.
    TooBig(u32),
}

/// Writes the answer about `packet` into `out` and gives its length; none where the standard forbids one.
pub fn answer(packet: &Ipv6<'_>, complaint: Complaint, from: Ipv6Addr, out: &mut [u8; LONGEST]) -> Option<usize> {
    if !may_answer(packet) {
        return None;
    }
    let quote = &packet.bytes()[..packet.bytes().len().min(LONGEST - IPV6_HEADER - ICMP6_HEADER)];
    let length = ICMP6_HEADER + quote.len();
    let total = IPV6_HEADER + length;
    let (kind, mtu) = match complaint {
        Complaint::NoRoute => (DESTINATION_UNREACHABLE, 0),
        Complaint::TooBig(mtu) => (PACKET_TOO_BIG, mtu.max(LONGEST as u32)),
    };
    let (header, message) = out[..total].split_at_mut(IPV6_HEADER);
    header[..8].copy_from_slice(&[0x60, 0, 0, 0, 0, 0, ICMP6, 64]);
    header[4..6].copy_from_slice(&(length as u16).to_be_bytes());
    header[8..24].copy_from_slice(&from.octets());
    header[24..40].copy_from_slice(&packet.source().octets());
    message[..4].copy_from_slice(&[kind, 0, 0, 0]);
    message[4..8].copy_from_slice(&mtu.to_be_bytes());
    message[ICMP6_HEADER..].copy_from_slice(quote);
    let pseudo = checksum::add(checksum::add_word(length as u32, ICMP6.into()), &header[8..40]);
    let sum = checksum::finish(checksum::add(pseudo, message));
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    Some(total)
}

/// Never about ICMPv6 errors, later fragments, or packets whose source or destination is not one host (RFC 4443, section 2.4 e).
fn may_answer(packet: &Ipv6<'_>) -> bool {
    let (source, destination) = (packet.source(), packet.destination());
    let one_host = |address: Ipv6Addr| !address.is_multicast() && !address.is_unspecified() && !address.is_loopback();
    let is_error = |(protocol, payload): (u8, &[u8])| protocol == ICMP6 && payload.first().is_none_or(|kind| *kind < FIRST_QUERY);
    one_host(source) && one_host(destination) && packet.upper_layer().is_some_and(|upper| !is_error(upper))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::tests::ipv6;
    use crate::header::{Packet, tests::ipv6_with};

    const FROM: Ipv6Addr = Ipv6Addr::new(0xfd00, 5, 1, 0, 0, 0, 0, 0);

    fn about(bytes: &[u8], complaint: Complaint) -> Option<Vec<u8>> {
        let mut out = [0; LONGEST];
        answer(&Ipv6::parse(bytes).expect("well-formed"), complaint, FROM, &mut out).map(|len| out[..len].to_vec())
    }

    /// The sum over pseudo header and message, by the book.
    fn sum(packet: &[u8]) -> u32 {
        let words =
            |bytes: &[u8]| bytes.chunks(2).map(|pair| u32::from(pair[0]) * 256 + pair.get(1).map_or(0, |&low| low.into())).sum::<u32>();
        let mut sum = words(&packet[8..]) + (packet.len() - IPV6_HEADER) as u32 + u32::from(ICMP6);
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum
    }

    #[test]
    fn the_answer_quotes_the_packet_and_sums_right() {
        let asked = ipv6(&[7; 2000]);
        let bytes = about(&asked, Complaint::TooBig(1452)).expect("an answer");
        let Ok(Packet::V6(packet)) = Packet::parse(&bytes) else { panic!("a well-formed answer") };
        assert_eq!((packet.source(), packet.destination()), (FROM, Ipv6Addr::from([1; 16])));
        assert_eq!((bytes.len(), sum(&bytes)), (LONGEST, 0xffff));
        assert_eq!(bytes[40..42], [2, 0]);
        assert_eq!(bytes[44..48], 1452u32.to_be_bytes());
        assert_eq!(bytes[48..], asked[..LONGEST - 48]);
    }

    #[test]
    fn no_answer_promises_less_than_ipv6_needs() {
        let bytes = about(&ipv6(&[7; 1300]), Complaint::TooBig(1000)).expect("an answer");
        assert_eq!(bytes[44..48], 1280u32.to_be_bytes());
    }

    #[test]
    fn some_packets_get_no_answer() {
        assert_eq!(about(&ipv6(b"x"), Complaint::NoRoute).expect("an answer")[40..42], [1, 0]);
        let to_many = {
            let mut bytes = ipv6(b"x");
            bytes[24] = 0xff;
            bytes
        };
        let from_nobody = {
            let mut bytes = ipv6(b"x");
            bytes[8..24].fill(0);
            bytes
        };
        let error = ipv6_with(58, &[1, 0, 0, 0]);
        // A fragment header (RFC 8200, section 4.5) of a later fragment, and hop-by-hop options before an error.
        let later = ipv6_with(44, &[17, 0, 0, 8, 0, 0, 0, 1, 9]);
        let hidden = ipv6_with(0, &[58, 0, 1, 4, 0, 0, 0, 0, 3, 0, 0, 0]);
        for silent in [to_many, from_nobody, error, later, hidden] {
            assert!(about(&silent, Complaint::NoRoute).is_none(), "{silent:02x?}");
        }
        assert!(about(&ipv6_with(58, &[128, 0, 0, 0]), Complaint::NoRoute).is_some(), "an echo request");
        assert!(about(&ipv6_with(44, &[17, 0, 0, 1, 0, 0, 0, 1, 9]), Complaint::NoRoute).is_some(), "a first fragment");
    }
}
