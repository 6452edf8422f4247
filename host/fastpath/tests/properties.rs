//! Splitting and coalescing judged by a parser that shares nothing with them (etherparse): every packet that comes out is whole, with right lengths and checksums,
//! and is what went in, flow by flow and in order; and whatever bytes come with a virtio-net header from outside, nothing breaks.

#![allow(missing_docs)]

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use proptest::prelude::*;
use twill_fastpath::coalesce::{Coalescer, Joins, Place};
use twill_fastpath::head::{LONGEST_HEAD, write_head};
use twill_fastpath::header::Packet;
use twill_fastpath::pieces::Pieces;
use twill_fastpath::split::SuperPacket;
use twill_fastpath::vnet::VnetHeader;

const ALL: Joins = Joins { tcp: true, udp: true };
const FLOWS: usize = 24;

/// What a flow does next.
#[derive(Debug, Clone)]
struct Step {
    flow: usize,
    len: usize,
    /// 0 for nothing out of the ordinary.
    oddity: u8,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let len = prop_oneof![6 => Just(300usize), 2 => 1usize..300, 1 => 301usize..1400, 1 => Just(0usize)];
    let oddity = prop_oneof![12 => Just(0u8), 1 => 1u8..12];
    let step = (0..FLOWS, len, oddity).prop_map(|(flow, len, oddity)| Step { flow, len, oddity });
    prop::collection::vec(step, 1..150)
}

/// The packets of the steps, made by etherparse: flows of TCP and UDP, of both families.
fn packets(steps: &[Step]) -> Vec<Vec<u8>> {
    let mut next = [u32::MAX - 3_000; FLOWS];
    steps.iter().map(|step| packet(step, &mut next[step.flow])).collect()
}

fn packet(step: &Step, sequence: &mut u32) -> Vec<u8> {
    let Step { flow, len, oddity } = *step;
    let hops = if oddity == 1 { 63 } else { 64 };
    let builder = if flow % 2 == 0 {
        PacketBuilder::ipv4([10, 5, 1, flow as u8], [10, 5, 2, 2], hops)
    } else {
        let mut from = [0xfd; 16];
        from[15] = flow as u8;
        PacketBuilder::ipv6(from, [0xfc; 16], hops)
    };
    let data: Vec<u8> = (0..len).map(|at| (at * 7 + flow + *sequence as usize) as u8).collect();
    let mut bytes = Vec::new();
    if flow % 3 == 0 {
        builder.udp(1000 + flow as u16, 53).write(&mut bytes, &data).expect("room");
    } else {
        let mut tcp = builder.tcp(1000 + flow as u16, 80, *sequence, if oddity == 9 { 500 } else { 1000 }).ack(77);
        *sequence = sequence.wrapping_add(len as u32);
        tcp = match oddity {
            2 => tcp.psh(),
            3 => tcp.fin(),
            4 => tcp.urg(3),
            5 => tcp.ece(),
            6 => tcp.cwr(),
            7 => tcp.rst(),
            8 => tcp.options(&[etherparse::TcpOptionElement::Timestamp(5, 6)]).expect("an option"),
            _ => tcp,
        };
        tcp.write(&mut bytes, &data).expect("room");
    }
    if oddity == 10 {
        // A bit that went wrong on the way.
        *bytes.last_mut().expect("a packet") ^= 1;
    }
    if oddity == 11 && flow % 6 == 0 {
        // UDP without a checksum, as IPv4 allows it.
        bytes[26..28].fill(0);
    }
    bytes
}

/// The frames that a batch becomes: virtio-net header and packet.
fn joined(packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut buffer = packets.concat();
    let mut coalescer = Coalescer::new(ALL);
    let mut start = 0;
    for packet in packets {
        coalescer.push(&buffer, Place { start, len: packet.len() as u32 }, 1);
        start += packet.len() as u32;
    }
    let mut pieces = Pieces::default();
    pieces.close_up(&mut buffer, &coalescer);
    let frame = |(number, group)| {
        let mut head = [0; LONGEST_HEAD];
        let len = write_head(&buffer, group, &mut head);
        let mut frame = head[..len].to_vec();
        pieces.of(number).iter().for_each(|piece| frame.extend_from_slice(piece.of(&buffer)));
        frame
    };
    coalescer.groups().iter().enumerate().map(frame).collect()
}

/// The packets that a frame stands for.
fn apart(frame: &[u8]) -> Vec<Vec<u8>> {
    let (header, packet) = VnetHeader::parse(frame).expect("a frame");
    match SuperPacket::parse(&header, packet) {
        None => vec![packet.to_vec()],
        Some(whole) => (0..whole.count())
            .map(|number| {
                let mut segment = Vec::new();
                whole.append(number, &mut segment);
                segment
            })
            .collect(),
    }
}

/// True when etherparse finds lengths and checksums right; UDP over IPv4 may have none.
fn is_whole(packet: &[u8]) -> bool {
    let Ok(SlicedPacket { net: Some(net), transport: Some(transport), .. }) = SlicedPacket::from_ip(packet) else { return false };
    let sums = match (&net, &transport) {
        (NetSlice::Ipv4(ip), TransportSlice::Tcp(tcp)) => {
            let header = tcp.to_header();
            header.checksum == header.calc_checksum_ipv4(&ip.header().to_header(), tcp.payload()).expect("a length")
        }
        (NetSlice::Ipv6(ip), TransportSlice::Tcp(tcp)) => {
            let header = tcp.to_header();
            header.checksum == header.calc_checksum_ipv6(&ip.header().to_header(), tcp.payload()).expect("a length")
        }
        (NetSlice::Ipv4(ip), TransportSlice::Udp(udp)) => {
            let header = udp.to_header();
            header.checksum == 0 || header.checksum == header.calc_checksum_ipv4(&ip.header().to_header(), udp.payload()).expect("a length")
        }
        (NetSlice::Ipv6(ip), TransportSlice::Udp(udp)) => {
            let header = udp.to_header();
            header.checksum == header.calc_checksum_ipv6(&ip.header().to_header(), udp.payload()).expect("a length")
        }
        _ => false,
    };
    let ip_sum = match &net {
        NetSlice::Ipv4(ip) => {
            let header = ip.header().to_header();
            header.header_checksum == header.calc_header_checksum() && usize::from(header.total_len) == packet.len()
        }
        NetSlice::Ipv6(ip) => usize::from(ip.header().payload_length()) + 40 == packet.len(),
        _ => false,
    };
    sums && ip_sum
}

/// Addresses and ports.
fn flow(packet: &[u8]) -> Vec<u8> {
    let (addresses, ports) = if packet[0] >> 4 == 4 { (12..20, 20..24) } else { (8..40, 40..44) };
    [&packet[addresses], &packet[ports]].concat()
}

/// Without the identification and what depends on it, which mean nothing where fragmenting is forbidden (RFC 6864) and else are counted on.
fn plain(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if packet[0] >> 4 == 4 {
        packet[4..6].fill(0);
        packet[10..12].fill(0);
    }
    packet
}

fn by_flow(packets: &[Vec<u8>]) -> std::collections::BTreeMap<Vec<u8>, Vec<Vec<u8>>> {
    let mut flows = std::collections::BTreeMap::new();
    packets.iter().for_each(|packet| flows.entry(flow(packet)).or_insert_with(Vec::new).push(plain(packet)));
    flows
}

/// Bytes that are nearly a frame: a good one with some of them changed.
fn spoiled() -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    (steps(), changes, 0usize..40).prop_map(|(steps, changes, cut)| {
        let frames = joined(&packets(&steps));
        let mut frame = frames.into_iter().max_by_key(Vec::len).unwrap_or_default();
        // Most changes go where they matter: into the headers.
        let reach = frame.len().min(90);
        changes.into_iter().filter(|_| reach > 0).for_each(|(at, byte)| frame[at.index(reach)] = byte);
        frame.truncate(frame.len().saturating_sub(cut));
        frame
    })
}

proptest! {
    #[test]
    fn what_comes_out_is_what_went_in_and_whole(steps in steps()) {
        let before = packets(&steps);
        let frames = joined(&before);
        let after: Vec<Vec<u8>> = frames.iter().flat_map(|frame| apart(frame)).collect();
        prop_assert_eq!(by_flow(&after), by_flow(&before));
        let whole = |packets: &[Vec<u8>]| packets.iter().filter(|packet| is_whole(packet)).count();
        prop_assert_eq!(whole(&after), whole(&before), "no packet was spoilt, and none mended");
    }

    #[test]
    fn super_packets_are_whole_once_their_checksum_is_completed(steps in steps()) {
        for frame in joined(&packets(&steps)) {
            let (header, packet) = VnetHeader::parse(&frame).expect("a frame");
            if header.is_super_packet() {
                let mut packet = packet.to_vec();
                prop_assert!(header.complete_checksum(&mut packet));
                prop_assert!(is_whole(&packet), "{:?}", SlicedPacket::from_ip(&packet));
            }
        }
    }

    #[test]
    fn no_frame_from_outside_breaks_anything(frame in prop_oneof![spoiled(), prop::collection::vec(any::<u8>(), 0..300)]) {
        let Some((header, packet)) = VnetHeader::parse(&frame) else { return Ok(()) };
        let mut completed = packet.to_vec();
        header.complete_checksum(&mut completed);
        prop_assert_eq!(completed.len(), packet.len());
        // The pump out looks at super-packets first, whatever they hold.
        let whole = SuperPacket::parse(&header, packet);
        let segments = apart(&frame);
        prop_assert_eq!(segments.len(), whole.map_or(1, |whole| whole.count()));
        if Packet::parse(packet).is_err() {
            return Ok(());
        }
        if let Some(whole) = whole {
            prop_assert!(segments.iter().all(|segment| segment.len() <= whole.longest()));
            prop_assert!(segments.iter().map(Vec::len).sum::<usize>() >= packet.len(), "bytes were lost");
        }
        // The same bytes as datagrams from a peer.
        let batch = [packet.to_vec(), packet.to_vec()];
        let bytes: usize = joined(&batch).iter().flat_map(|frame| apart(frame)).map(|packet| packet.len()).sum();
        prop_assert_eq!(bytes, 2 * packet.len());
    }
}
