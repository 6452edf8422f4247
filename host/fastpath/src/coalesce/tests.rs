//! What joins and what does not, and that splitting gives back what was joined.

use proptest::prelude::*;

use super::*;
use crate::head::{LONGEST_HEAD, write_head};
use crate::packets::{Sketch, read};
use crate::pieces::Pieces;
use crate::split::SuperPacket;
use crate::vnet::{self, VnetHeader};

const ALL: Joins = Joins { tcp: true, udp: true };

/// The frames that a batch of packets becomes.
fn frames(packets: &[Vec<u8>], joins: Joins) -> Vec<Vec<u8>> {
    let mut buffer = packets.concat();
    let mut coalescer = Coalescer::new(joins);
    let mut start = 0;
    for packet in packets {
        coalescer.push(&buffer, Place { start, len: packet.len() as u32 }, 1);
        start += packet.len() as u32;
    }
    let mut pieces = Pieces::default();
    pieces.close_up(&mut buffer, &coalescer);
    let frame = |(number, group): (usize, &Group)| {
        let mut head = [0xee; LONGEST_HEAD];
        let len = write_head(&buffer, group, &mut head);
        assert_eq!(coalescer.members(group).map(|place| place.len as usize).sum::<usize>(), group.bytes);
        pieces.of(number).iter().fold(head[..len].to_vec(), |frame, piece| [&frame, piece.of(&buffer)].concat())
    };
    coalescer.groups().iter().enumerate().map(frame).collect()
}

/// What stands for them on the other side of the kernel.
fn split(frame: &[u8]) -> Vec<Vec<u8>> {
    let (header, packet) = VnetHeader::parse(frame).expect("a frame");
    if !header.is_super_packet() {
        assert_eq!(frame[..vnet::HEADER], [0; vnet::HEADER]);
        return vec![packet.to_vec()];
    }
    // The kernel takes no super-packet whose checksum it could not complete itself.
    let mut completed = packet.to_vec();
    assert!(header.complete_checksum(&mut completed));
    read(&completed);
    let whole = SuperPacket::parse(&header, packet).expect("a super-packet");
    let segment = |number| {
        let mut segment = Vec::new();
        whole.append(number, &mut segment);
        segment
    };
    (0..whole.count()).map(segment).collect()
}

fn counts(packets: &[Vec<u8>]) -> Vec<usize> {
    frames(packets, ALL).iter().map(|frame| split(frame).len()).collect()
}

fn built(sketches: &[Sketch]) -> Vec<Vec<u8>> {
    sketches.iter().map(|sketch| sketch.build(true)).collect()
}

/// Three segments in a row, the second changed.
fn with_second(change: impl Fn(&mut Sketch)) -> Vec<usize> {
    let mut stream: Vec<Sketch> = (0..3).map(|number| Sketch::tcp(number * 100, &[number as u8; 100])).collect();
    change(&mut stream[1]);
    counts(&built(&stream))
}

#[test]
fn segments_in_a_row_join() {
    assert_eq!(with_second(|_| ()), [3]);
    let datagrams: Vec<Sketch> = [100, 100, 40, 40].map(|len| Sketch::udp(&vec![1; len])).into();
    assert_eq!(counts(&built(&datagrams)), [3, 1], "the shorter one is the last");
}

#[test]
fn a_push_ends_a_group() {
    assert_eq!(with_second(|second| second.flags = 0x18), [2, 1]);
}

#[test]
fn other_flags_stand_alone() {
    for flag in [0x01, 0x02, 0x04, 0x20, 0x40, 0x80] {
        assert_eq!(with_second(|second| second.flags |= flag), [1, 1, 1], "flag {flag:#x}");
    }
    assert_eq!(with_second(|second| second.flags = 0), [1, 1, 1], "no ACK");
}

#[test]
fn whatever_splitting_would_not_give_back_stands_alone() {
    let changes: [fn(&mut Sketch); 10] = [
        |second| second.ttl -= 1,
        |second| second.tos = 3,
        |second| second.dont_fragment = false,
        |second| second.acknowledged += 1,
        |second| second.window += 1,
        |second| second.options[5] ^= 1,
        |second| second.options.truncate(4),
        |second| second.sequence += 1,
        |second| second.data.push(1),
        |second| second.ip_options = vec![1, 1, 1, 0],
    ];
    for (number, change) in changes.into_iter().enumerate() {
        assert_eq!(with_second(change), [1, 1, 1], "change {number}");
    }
    assert_eq!(with_second(|second| second.data.clear()), [1, 1, 1], "a bare ACK");
    assert_eq!(with_second(|second| second.data.truncate(99)), [2, 1]);
}

#[test]
fn identifications_count_unless_fragmenting_is_forbidden() {
    let stream = |ids: [u16; 3], dont_fragment| {
        let segment = |(number, id): (usize, u16)| Sketch { id, dont_fragment, ..Sketch::tcp(number as u32 * 100, &[1; 100]) };
        counts(&built(&ids.into_iter().enumerate().map(segment).collect::<Vec<_>>()))
    };
    assert_eq!(stream([0xffff, 0, 1], false), [3]);
    assert_eq!(stream([5, 5, 5], false), [1, 1, 1]);
    assert_eq!(stream([5, 5, 9], true), [3]);
}

#[test]
fn wrong_and_missing_checksums_never_join() {
    for wrong in 0..3 {
        let stream = (0..3).map(|number| Sketch { id: number as u16, ..Sketch::tcp(number * 100, &[9; 100]) });
        let mut packets = built(&stream.collect::<Vec<_>>());
        *packets[wrong].last_mut().expect("data") ^= 1;
        let before = packets.clone();
        let after: Vec<Vec<u8>> = frames(&packets, ALL).iter().flat_map(|frame| split(frame)).collect();
        assert_eq!(after, before, "a wrong checksum stays wrong");
    }
    let mut packets = built(&[Sketch::udp(&[9; 100]), Sketch::udp(&[9; 100])]);
    packets.iter_mut().for_each(|packet| packet[26..28].fill(0));
    assert_eq!(counts(&packets), [1, 1], "no checksum");
}

#[test]
fn fragments_and_other_protocols_keep_their_place() {
    let mut packets = built(&[Sketch::udp(&[1; 80]), Sketch::udp(&[2; 80]), Sketch::udp(&[3; 80])]);
    packets[1][6..8].copy_from_slice(&0x2000u16.to_be_bytes());
    assert_eq!(counts(&packets), [1, 1, 1], "a fragment parts those before it from those behind");
    packets[1] = Sketch::udp(&[2; 80]).build(true);
    packets[1][9] = 132;
    assert_eq!(counts(&packets), [1, 1, 1], "SCTP");
    let v6 = built(&[0, 80, 160].map(|sequence| Sketch { v6: true, ..Sketch::tcp(sequence, &[3; 80]) }));
    assert_eq!(counts(&v6), [3]);
    for (byte, what) in [(1, "the flow label"), (2, "the flow label"), (3, "the flow label"), (6, "an extension header")] {
        let mut stream = v6.clone();
        stream[1][byte] ^= if byte == 6 { 6 ^ 60 } else { 1 };
        assert_eq!(counts(&stream), [1, 1, 1], "{what} differs");
    }
}

#[test]
fn protocols_are_left_alone_where_the_device_takes_no_super_packets() {
    let packets = built(&[Sketch::udp(&[1; 80]), Sketch::udp(&[2; 80]), Sketch::tcp(0, &[1; 80]), Sketch::tcp(80, &[1; 80])]);
    assert_eq!(frames(&packets, Joins { tcp: true, udp: false }).len(), 3);
    assert_eq!(frames(&packets, Joins { tcp: false, udp: true }).len(), 3);
}

#[test]
fn senders_are_kept_apart() {
    let packet = Sketch::udp(&[1; 80]).build(true);
    let buffer = packet.repeat(2);
    let mut coalescer = Coalescer::new(ALL);
    let len = packet.len() as u32;
    coalescer.push(&buffer, Place { start: 0, len }, 1);
    coalescer.push(&buffer, Place { start: len, len }, 2);
    assert_eq!(coalescer.groups().len(), 2);
    coalescer.clear();
    assert!(coalescer.groups().is_empty());
}

#[test]
fn groups_stay_within_the_kernels_limits() {
    let long: Vec<Sketch> = (0..100).map(|number| Sketch::tcp(number * 1400, &[1; 1400])).collect();
    assert_eq!(counts(&built(&long)), [46, 46, 8], "65 535 bytes");
    let short: Vec<Sketch> = (0..100).map(|_| Sketch::udp(&[1; 60])).collect();
    assert_eq!(counts(&built(&short)), [64, 36], "UDP_MAX_SEGMENTS");
}

/// What a sender in the field may do next in one of its flows.
fn packets() -> impl Strategy<Value = Vec<Sketch>> {
    let step = (0u16..20, prop_oneof![8 => Just(0u8), 1 => 1u8..9], prop_oneof![5 => Just(100usize), 1 => 0usize..101]);
    (any::<bool>(), prop::collection::vec(step, 1..120)).prop_map(|(v6, steps)| {
        let mut sequences = [u32::MAX - 2000; 20];
        let packet = |(flow, oddity, len): (u16, u8, usize)| {
            let at = usize::from(flow);
            let base = if flow % 3 == 0 { Sketch::udp(&vec![len as u8; len]) } else { Sketch::tcp(sequences[at], &vec![at as u8; len]) };
            let mut sketch = Sketch { v6, port: flow, dont_fragment: !v6, id: 0, ..base };
            sequences[at] = sequences[at].wrapping_add(len as u32);
            match oddity {
                1 if sketch.tcp => sketch.flags |= 0x08,
                2 if sketch.tcp => sketch.flags |= 0x01,
                3 => sketch.ttl = 9,
                4 => sketch.tos = 2,
                5 if sketch.tcp => sketch.window = 7,
                6 if !v6 => sketch.ip_options = vec![148, 4, 0, 0],
                7 if sketch.tcp => sketch.sequence = 5,
                8 if sketch.tcp => sketch.options = vec![1; 4],
                _ => {}
            }
            sketch
        };
        steps.into_iter().map(packet).collect()
    })
}

/// Identifications mean nothing where fragmenting is forbidden, and splitting numbers them.
fn by_flow(packets: &[Vec<u8>]) -> Vec<Sketch> {
    let mut all: Vec<Sketch> = packets.iter().map(|packet| Sketch { id: 0, ..read(packet) }).collect();
    all.sort_by_key(|packet| (packet.port, packet.tcp));
    all
}

proptest! {
    #[test]
    fn splitting_gives_back_every_flow_in_order(sketches in packets()) {
        let packets = built(&sketches);
        let after: Vec<Vec<u8>> = frames(&packets, ALL).iter().flat_map(|frame| split(frame)).collect();
        prop_assert_eq!(by_flow(&after), by_flow(&packets));
    }

    #[test]
    fn joining_gives_back_what_was_split(v6: bool, tcp: bool, len in 101usize..6000, push: bool) {
        let base = if tcp { Sketch::tcp(77, &vec![3; len]) } else { Sketch::udp(&vec![3; len]) };
        let flags = if tcp && push { 0x18 } else { base.flags };
        let whole = Sketch { v6, dont_fragment: !v6, flags, ..base };
        let packet = |at: usize| {
            let end = len.min(at + 100);
            let flags = if end == len { flags } else { 0x10 };
            let sequence = if tcp { 77 + at as u32 } else { 0 };
            Sketch { data: vec![3; end - at], flags, sequence, ..whole.clone() }.build(true)
        };
        let frames = frames(&(0..len).step_by(100).map(packet).collect::<Vec<_>>(), ALL);
        prop_assert_eq!(frames.len(), 1);
        prop_assert_eq!(&frames[0][vnet::HEADER..], whole.build(false));
    }

    #[test]
    fn whatever_comes_is_carried(packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 40..90), 1..20)) {
        let packets: Vec<Vec<u8>> = packets.into_iter().map(|mut packet| {
            packet[0] = if packet[0] & 1 == 0 { 0x45 } else { 0x60 };
            (packet[6], packet[7], packet[9]) = (if packet[6] & 1 == 0 { 6 } else { 0 }, 0, if packet[9] & 1 == 0 { 6 } else { 17 });
            packet
        }).collect();
        let mut after: Vec<Vec<u8>> = frames(&packets, ALL).iter().map(|frame| frame[vnet::HEADER..].to_vec()).collect();
        let mut before = packets;
        after.sort();
        before.sort();
        prop_assert_eq!(after, before, "no checksum is right by chance here");
    }
}
