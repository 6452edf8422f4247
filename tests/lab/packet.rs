//! IPv4 and UDP packets made by hand (RFC 791, RFC 768), good ones and, by changing a byte afterwards, bad ones.

use std::net::SocketAddrV4;

/// An IPv4 packet with a UDP datagram; TTL 64, checksums right.
pub fn udp(from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
    let length = (8 + payload.len()) as u16;
    let mut datagram = Vec::with_capacity(length.into());
    for field in [from.port(), to.port(), length, 0] {
        datagram.extend(field.to_be_bytes());
    }
    datagram.extend(payload);
    let mut pseudo = [from.ip().octets(), to.ip().octets()].concat();
    pseudo.extend([0, 17]);
    pseudo.extend(length.to_be_bytes());
    pseudo.extend(&datagram);
    let sum = checksum(&pseudo);
    datagram[6..8].copy_from_slice(&(if sum == 0 { 0xffff } else { sum }).to_be_bytes());
    ipv4(from, to, &datagram)
}

fn ipv4(from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
    let length = ((20 + payload.len()) as u16).to_be_bytes();
    let mut packet = vec![0x45, 0, length[0], length[1], 0, 0, 0x40, 0, 64, 17, 0, 0];
    packet.extend(from.ip().octets());
    packet.extend(to.ip().octets());
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(payload);
    packet
}

/// The same packet in fragments of at most `mtu` bytes, as a router makes them.
pub fn fragments(packet: &[u8], mtu: usize) -> Vec<Vec<u8>> {
    let (header, payload) = packet.split_at(20);
    let step = (mtu - header.len()) / 8 * 8;
    let pieces = payload.chunks(step).count();
    let fragment = |(number, piece): (usize, &[u8])| {
        let more = if number + 1 < pieces { 0x2000 } else { 0 };
        let mut whole = [header, piece].concat();
        whole[2..4].copy_from_slice(&((20 + piece.len()) as u16).to_be_bytes());
        whole[4..6].copy_from_slice(&[0x7e, 0x57]);
        whole[6..8].copy_from_slice(&((number * step / 8) as u16 | more).to_be_bytes());
        whole[10..12].fill(0);
        let sum = checksum(&whole[..20]);
        whole[10..12].copy_from_slice(&sum.to_be_bytes());
        whole
    };
    payload.chunks(step).enumerate().map(fragment).collect()
}

/// The Internet checksum (RFC 1071).
pub fn checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_hold_the_whole_payload() {
        let packet = udp("10.0.0.1:7".parse().expect("address"), "10.0.0.2:9".parse().expect("address"), &[3; 3000]);
        let parts = fragments(&packet, 1500);
        assert_eq!(parts.iter().map(|part| part.len() - 20).sum::<usize>(), 3008);
        assert!(parts.iter().all(|part| part.len() <= 1500 && checksum(&part[..20]) == 0));
        assert_eq!((parts[0][6], parts[1][6..8].to_vec()), (0x20, vec![0x20, 185]));
    }

    #[test]
    fn a_correct_header_sums_to_zero() {
        let packet = udp("10.0.0.1:7".parse().expect("address"), "10.0.0.2:9".parse().expect("address"), b"odd");
        assert_eq!(checksum(&packet[..20]), 0);
        assert_eq!(packet.len(), 31);
    }
}
