//! IPv4 fragmentation (RFC 791, section 3.2) of inner packets that a path cannot carry whole and that may be fragmented.
//!
//! The pieces are written one after the other into a buffer of the caller. Reassembly is the receiver's; twill never reassembles.

use std::ops::Range;

use crate::header::{IPV4_HEADER, Ipv4, seal_ipv4};

/// The longest header that there is: its length is told in four bits, in words.
const LONGEST_HEADER: usize = 60;

/// Cuts `packet` into fragments of at most `limit` bytes, writes them into `out` (which is emptied first) and their places into `pieces`.
/// False, and nothing written, when it must not be fragmented or `limit` is too small for its header and 8 bytes.
pub fn fragments(packet: &Ipv4<'_>, limit: usize, out: &mut Vec<u8>, pieces: &mut Vec<Range<usize>>) -> bool {
    out.clear();
    pieces.clear();
    if packet.dont_fragment() || limit < packet.header_len() + 8 {
        return false;
    }
    let first_step = (limit - packet.header_len()) & !7;
    let (room, length) = later_header(packet);
    let later_header = &room[..length];
    let later_step = (limit - later_header.len()) & !7;
    let mut at = 0;
    while at < packet.payload().len() || at == 0 {
        let (header, step) = if at == 0 { (packet.header(), first_step) } else { (later_header, later_step) };
        let end = packet.payload().len().min(at + step);
        let start = out.len();
        out.extend_from_slice(header);
        out.extend_from_slice(&packet.payload()[at..end]);
        let more = end < packet.payload().len() || packet.more_fragments();
        write_place(&mut out[start..], header.len(), packet.fragment_offset() + (at / 8) as u16, more);
        pieces.push(start..out.len());
        at = end.max(1);
    }
    true
}

fn write_place(fragment: &mut [u8], header_len: usize, offset: u16, more: bool) {
    let total = fragment.len() as u16;
    fragment[2..4].copy_from_slice(&total.to_be_bytes());
    let word = offset | if more { 0x2000 } else { 0 };
    fragment[6..8].copy_from_slice(&word.to_be_bytes());
    seal_ipv4(&mut fragment[..header_len]);
}

/// The header of all fragments but the first, and its length: only options whose copy bit is set are in it.
fn later_header(packet: &Ipv4<'_>) -> ([u8; LONGEST_HEADER], usize) {
    let (mut header, mut length) = ([0; LONGEST_HEADER], IPV4_HEADER);
    header[..length].copy_from_slice(&packet.header()[..length]);
    let mut options = packet.options();
    while let Some((kind, len)) = next_option(options) {
        if kind & 0x80 != 0 {
            header[length..length + len].copy_from_slice(&options[..len]);
            length += len;
        }
        options = &options[len..];
    }
    length = length.next_multiple_of(4);
    header[0] = 0x40 | (length / 4) as u8;
    (header, length)
}

/// Kind and length of the first option; none at the end of the list, or where it makes no sense any more.
fn next_option(options: &[u8]) -> Option<(u8, usize)> {
    match options {
        [] | [0, ..] => None,
        [1, ..] => Some((1, 1)),
        [kind, len, ..] if usize::from(*len) >= 2 && usize::from(*len) <= options.len() => Some((*kind, usize::from(*len))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::tests::ipv4;

    fn cut(bytes: &[u8], limit: usize) -> Option<Vec<Vec<u8>>> {
        let (mut out, mut pieces) = (Vec::new(), Vec::new());
        let packet = Ipv4::parse(bytes).expect("well-formed");
        fragments(&packet, limit, &mut out, &mut pieces).then(|| pieces.into_iter().map(|piece| out[piece].to_vec()).collect())
    }

    fn with_options(bytes: &[u8], options: &[u8]) -> Vec<u8> {
        let mut with = bytes[..IPV4_HEADER].to_vec();
        with.extend(options);
        let header_len = with.len();
        with.extend(&bytes[IPV4_HEADER..]);
        with[0] = 0x40 | (header_len / 4) as u8;
        let total = with.len() as u16;
        with[2..4].copy_from_slice(&total.to_be_bytes());
        seal_ipv4(&mut with[..header_len]);
        with
    }

    #[test]
    fn dont_fragment_is_obeyed() {
        let mut bytes = ipv4([1; 4], [2; 4], &[7; 100]);
        bytes[6] = 0x40;
        seal_ipv4(&mut bytes[..IPV4_HEADER]);
        assert!(cut(&bytes, 60).is_none());
        assert!(cut(&ipv4([1; 4], [2; 4], &[7; 100]), 27).is_none(), "no room for 8 bytes");
    }

    #[test]
    fn only_options_with_the_copy_bit_are_repeated() {
        // No-operation, record route (not copied, 7 bytes), router alert (copied, 4 bytes), end.
        let options = [1, 7, 7, 4, 0, 0, 0, 0, 148, 4, 0, 0, 0, 0, 0, 0];
        let pieces = cut(&with_options(&ipv4([1; 4], [2; 4], &[7; 100]), &options), 80).expect("fragments");
        assert_eq!(Ipv4::parse(&pieces[0]).expect("first").options(), options);
        assert_eq!(Ipv4::parse(&pieces[1]).expect("second").options(), [148, 4, 0, 0]);
    }

    proptest::proptest! {
        #[test]
        fn fragments_join_to_the_payload(
            payload in proptest::collection::vec(0u8.., 0..3000), limit in 68usize..1500, offset in 0u16..100, more: bool,
        ) {
            let mut bytes = ipv4([1; 4], [2; 4], &payload);
            bytes[6..8].copy_from_slice(&(offset | if more { 0x2000 } else { 0 }).to_be_bytes());
            seal_ipv4(&mut bytes[..IPV4_HEADER]);
            let pieces = cut(&bytes, limit).expect("may be fragmented");
            let mut joined: Vec<u8> = Vec::new();
            for (index, piece) in pieces.iter().enumerate() {
                let fragment = Ipv4::parse(piece).expect("a well-formed fragment");
                proptest::prop_assert!(piece.len() <= limit);
                proptest::prop_assert_eq!(usize::from(fragment.fragment_offset() - offset) * 8, joined.len());
                proptest::prop_assert_eq!(fragment.more_fragments(), more || index + 1 < pieces.len());
                joined.extend(fragment.payload());
            }
            proptest::prop_assert_eq!(joined, payload);
        }
    }
}
