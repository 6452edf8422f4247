//! The packets of a proof: ICMP echoes (RFC 792, RFC 4443) that carry a number of ours, and the refusals that a datagram to a closed port calls forth.
//!
//! Pure.

use std::net::IpAddr;

/// What begins the data of an echo: "twill" and a version.
const MAGIC: [u8; 8] = *b"twill\0\0\x01";
/// UDP's number among the protocols (RFC 768).
const UDP: u8 = 17;
/// Type, code, checksum, identifier, sequence number.
const ECHO_HEADER: usize = 8;
/// The header with magic and number: the smallest echo.
const LEAST: usize = ECHO_HEADER + 16;

/// The headers of an IP packet without options, in bytes.
pub fn ip_header(of: IpAddr) -> usize {
    if of.is_ipv4() { 20 } else { 40 }
}

/// What an ICMP message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Our echo with this number came back, in a packet of so many bytes with its IP header.
    Echo {
        /// The number.
        number: u64,
        /// Bytes of the packet.
        bytes: u32,
    },
    /// A datagram of ours reached a host that has nothing on that port.
    Refused {
        /// The datagram's source port.
        from: u16,
        /// Its destination port.
        to: u16,
    },
}

/// An ICMP echo request that makes an IP packet of `bytes` bytes, or of the fewest that it can. The kernel fills in ICMPv6's checksum, which covers addresses.
pub fn echo(to: IpAddr, number: u64, bytes: u32) -> Vec<u8> {
    let size = usize::try_from(bytes).unwrap_or(0).saturating_sub(ip_header(to)).max(LEAST);
    let mut message = vec![0; size];
    message[0] = if to.is_ipv4() { 8 } else { 128 };
    // Identifier and sequence number are for people who look on with tcpdump.
    message[4..6].copy_from_slice(b"tw");
    message[6..8].copy_from_slice(&number.to_be_bytes()[6..]);
    message[8..16].copy_from_slice(&MAGIC);
    message[16..24].copy_from_slice(&number.to_be_bytes());
    if to.is_ipv4() {
        let sum = checksum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    message
}

/// Reads what a raw ICMP socket of IPv4 gave: a whole packet. None for everything that is no answer to us.
pub fn read_v4(packet: &[u8]) -> Option<Answer> {
    let message = packet.get(usize::from(packet.first()? & 0xf) * 4..)?;
    match (message.first()?, message.get(1)?) {
        (0, 0) => echoed(message, packet.len()),
        // Destination unreachable: port unreachable; what was sent follows the header.
        (3, 3) => {
            let sent = message.get(8..)?;
            if *sent.get(9)? == UDP { refused(sent.get(usize::from(sent.first()? & 0xf) * 4..)) } else { None }
        }
        _ => None,
    }
}

/// Reads what a raw ICMPv6 socket gave: the message without its IP header.
pub fn read_v6(message: &[u8]) -> Option<Answer> {
    match (message.first()?, message.get(1)?) {
        (129, 0) => echoed(message, message.len() + 40),
        (1, 4) => {
            let sent = message.get(8..)?;
            if *sent.get(6)? == UDP { refused(sent.get(40..)) } else { None }
        }
        _ => None,
    }
}

/// True for a peer's echo request, as a raw ICMP socket of IPv4 gives it; all but the beginning may be missing.
pub fn asks_v4(packet: &[u8]) -> bool {
    packet.first().and_then(|first| packet.get(usize::from(first & 0xf) * 4..)).is_some_and(|message| asks(message, 8))
}

/// The same, as a raw ICMPv6 socket gives it.
pub fn asks_v6(message: &[u8]) -> bool {
    asks(message, 128)
}

fn asks(message: &[u8], kind: u8) -> bool {
    message.starts_with(&[kind, 0]) && message.get(8..16) == Some(&MAGIC)
}

fn echoed(message: &[u8], bytes: usize) -> Option<Answer> {
    if message.get(8..16)? != MAGIC {
        return None;
    }
    let number = u64::from_be_bytes(message.get(16..24)?.try_into().ok()?);
    Some(Answer::Echo { number, bytes: u32::try_from(bytes).ok()? })
}

fn refused(udp: Option<&[u8]>) -> Option<Answer> {
    let udp = udp?;
    let port = |at: usize| Some(u16::from_be_bytes(udp.get(at..at + 2)?.try_into().ok()?));
    Some(Answer::Refused { from: port(0)?, to: port(2)? })
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);

    /// The packet with an IPv4 header before it, as the receiver sees it.
    fn in_v4(message: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45; 1];
        packet.resize(20, 0);
        packet.extend(message);
        packet
    }

    #[test]
    fn an_echo_has_the_size_that_was_asked_for_and_a_right_checksum() {
        assert_eq!(echo(V4, 7, 1450).len(), 1430);
        assert_eq!(echo(V6, 7, 1430).len(), 1390);
        assert_eq!(echo(V4, 7, 0).len(), LEAST);
        assert_eq!(checksum(&echo(V4, 7, 1450)), 0);
    }

    #[test]
    fn an_echo_that_comes_back_is_known_by_its_number() {
        let mut back = echo(V4, 1 << 40 | 9, 1450);
        back[0] = 0;
        assert_eq!(read_v4(&in_v4(&back)), Some(Answer::Echo { number: 1 << 40 | 9, bytes: 1450 }));
        let mut back = echo(V6, 9, 1430);
        back[0] = 129;
        assert_eq!(read_v6(&back), Some(Answer::Echo { number: 9, bytes: 1430 }));
        back[10] ^= 1;
        assert_eq!(read_v6(&back), None, "somebody else's echo");
    }

    #[test]
    fn a_peers_question_is_known_by_its_beginning() {
        let (v4, v6) = (echo(V4, 7, 1450), echo(V6, 7, 1430));
        assert!(asks_v4(&in_v4(&v4)[..60]) && asks_v6(&v6[..40]));
        assert!(!asks_v4(&in_v4(&v6)) && !asks_v6(&v4), "of the other family");
        assert!(!asks_v4(&in_v4(&v4)[..35]), "too little to know it");
        let answer = [&[0], &v4[1..]].concat();
        assert!(!asks_v4(&in_v4(&answer)), "an answer");
        let ping = [&v4[..8], b"not ours", &v4[16..]].concat();
        assert!(!asks_v4(&in_v4(&ping)), "somebody else's");
    }

    #[test]
    fn a_refused_datagram_is_known_by_its_ports() {
        let mut sent = in_v4(&[0x9c, 0x40, 0x82, 0x9a, 0, 8, 0, 0]);
        sent[9] = 17;
        let answer = [&[3, 3, 0, 0, 0, 0, 0, 0][..], &sent].concat();
        assert_eq!(read_v4(&in_v4(&answer)), Some(Answer::Refused { from: 40_000, to: 33_434 }));
        let mut sent = vec![0x60; 1];
        sent.resize(40, 0);
        sent[6] = 17;
        sent.extend([0x9c, 0x40, 0x82, 0x9a]);
        assert_eq!(read_v6(&[&[1, 4, 0, 0, 0, 0, 0, 0][..], &sent].concat()), Some(Answer::Refused { from: 40_000, to: 33_434 }));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = (read_v4(&bytes), read_v6(&bytes), asks_v4(&bytes), asks_v6(&bytes));
        }
    }
}
