//! The wire, frozen: these bytes go out for these packets, from any twill. An older one reads what this one writes as long as nothing here changes.

use std::io::IoSlice;
use std::net::IpAddr;

use twill_fastpath::tun::{self, Queue, Sleep};
use twill_fastpath::vnet::{NEEDS_CHECKSUM, VnetHeader};
use twill_fastpath::{Offloads, Settings};
use twill_reconcile::ports::Forwarder;

use crate::lab::{Node, PORT, hear, skipped, underlay, wired};

/// What a pod's kernel hands over, and the datagrams that come of it, in hex. Their bytes were computed apart from this crate.
struct Frozen {
    what: &'static str,
    header: VnetHeader,
    packet: &'static str,
    wire: &'static [&'static str],
}

/// Types of super-packets (VIRTIO_NET_HDR_GSO_*); those of TCP say beside it that CWR is set.
const TCP4: u8 = 0x80 | 1;
const TCP6: u8 = 0x80 | 4;
const UDP: u8 = 5;

/// A header that leaves a checksum to be completed, at `checksum_offset` from `checksum_start`.
const fn partial(checksum_start: u16, checksum_offset: u16) -> VnetHeader {
    VnetHeader { flags: NEEDS_CHECKSUM, gso_type: 0, header_len: 0, gso_size: 0, checksum_start, checksum_offset }
}

/// That of a super-packet with four bytes of data a segment.
const fn whole(gso_type: u8, header_len: u16, partial: VnetHeader) -> VnetHeader {
    VnetHeader { gso_type, header_len, gso_size: 4, ..partial }
}

/// Nothing is left to do.
const PLAIN: VnetHeader = VnetHeader { flags: 0, ..partial(0, 0) };

/// Identification and sequence numbers pass their highest; CWR stands in the first segment alone, PSH and FIN in the last.
const FROZEN: &[Frozen] = &[
    Frozen {
        what: "TCP over IPv4",
        header: whole(TCP4, 52, partial(20, 16)),
        packet: "4502003efffe4000400623ab0a0501030a050202 1e612328fffffffa0102030480991000173f00000101080a0011223344556677 a0a1a2a3a4a5a6a7a8a9",
        wire: &[
            "45020038fffe40003f0624b10a0501030a050202 1e612328fffffffa0102030480901000f94a00000101080a0011223344556677 a0a1a2a3",
            "45020038ffff40003f0624b00a0501030a050202 1e612328fffffffe0102030480101000f1be00000101080a0011223344556677 a4a5a6a7",
            "45020036000040003f0624b20a0501030a050202 1e612328000000020102030480191000945800000101080a0011223344556677 a8a9",
        ],
    },
    Frozen {
        what: "UDP over IPv4",
        header: whole(UDP, 28, partial(20, 6)),
        packet: "45020026fffe4000401123b80a0501030a050202 1e61232800121732 a0a1a2a3a4a5a6a7a8a9",
        wire: &[
            "45020020fffe40003f1124be0a0501030a050202 1e612328000c63f9 a0a1a2a3",
            "45020020ffff40003f1124bd0a0501030a050202 1e612328000c5bf1 a4a5a6a7",
            "4502001e000040003f1124bf0a0501030a050202 1e612328000afe98 a8a9",
        ],
    },
    Frozen {
        what: "TCP over IPv6",
        header: whole(TCP6, 72, partial(40, 16)),
        packet: "60a12345002a0640fd000005000100000000000000000003fd000005000200000000000000000002 \
                 1e612328fffffffa0102030480991000fa4300000101080a0011223344556677 a0a1a2a3a4a5a6a7a8a9",
        wire: &[
            "60a123450024063ffd000005000100000000000000000003fd000005000200000000000000000002 \
             1e612328fffffffa0102030480901000164600000101080a0011223344556677 a0a1a2a3",
            "60a123450024063ffd000005000100000000000000000003fd000005000200000000000000000002 \
             1e612328fffffffe01020304801010000eba00000101080a0011223344556677 a4a5a6a7",
            "60a123450022063ffd000005000100000000000000000003fd000005000200000000000000000002 \
             1e612328000000020102030480191000b15300000101080a0011223344556677 a8a9",
        ],
    },
    Frozen {
        what: "UDP over IPv6",
        header: whole(UDP, 48, partial(40, 6)),
        packet: "60a1234500121140fd000005000100000000000000000003fd000005000200000000000000000002 1e6123280012fa36 a0a1a2a3a4a5a6a7a8a9",
        wire: &[
            "60a12345000c113ffd000005000100000000000000000003fd000005000200000000000000000002 1e612328000c80f4 a0a1a2a3",
            "60a12345000c113ffd000005000100000000000000000003fd000005000200000000000000000002 1e612328000c78ec a4a5a6a7",
            "60a12345000a113ffd000005000100000000000000000003fd000005000200000000000000000002 1e612328000a1b94 a8a9",
        ],
    },
    Frozen {
        what: "a UDP checksum over IPv4 that comes out as zero, which would mean none",
        header: partial(20, 6),
        packet: "4500002200014000401123bc0a0501030a050202 1e612328000e172e ba657a65726f",
        wire: &["45000022000140003f1124bc0a0501030a050202 1e612328000effff ba657a65726f"],
    },
    Frozen {
        what: "the same over IPv6",
        header: partial(40, 6),
        packet: "60a12345000e1140fd000005000100000000000000000003fd000005000200000000000000000002 1e612328000efa32 d7607a65726f",
        wire: &["60a12345000e113ffd000005000100000000000000000003fd000005000200000000000000000002 1e612328000effff d7607a65726f"],
    },
    Frozen {
        what: "a protocol that nobody knows, over IPv4",
        header: PLAIN,
        packet: "450000194242400040fde0970a0501030a050202 6279746573",
        wire: &["45000019424240003ffde1970a0501030a050202 6279746573"],
    },
    Frozen {
        what: "the same over IPv6",
        header: PLAIN,
        packet: "60a123450005fd40fd000005000100000000000000000003fd000005000200000000000000000002 6279746573",
        wire: &["60a123450005fd3ffd000005000100000000000000000003fd000005000200000000000000000002 6279746573"],
    },
];

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// A pod whose packets are written by hand, super-packets too: what it is connected by is a TUN device. The node forwards them as any pod's, to peer 2.
fn pod(node: &Node) -> Queue {
    let make = || tun::open("pod0", 1, Offloads::ALL, Sleep::InPoll).expect("another TUN device").remove(0);
    let pod = node.namespace.run(make);
    node.namespace.ip("link set pod0 up");
    node.namespace.ip("route add 10.5.1.3 dev pod0");
    node.namespace.ip("route add fd00:5::/32 dev flannel0");
    node.namespace.set("ip_forward", "1");
    node.namespace.run(|| std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").expect("a setting"));
    let mut table = node.table(&[2]);
    table.endpoints.push(("fd00:5:2::/64".parse().expect("a subnet"), IpAddr::V4(underlay(2)), PORT));
    node.tunnels.forward(&node.link().on, table);
    pod
}

/// Sends all of [`FROZEN`], and gives how many of them crossed the tunnel's device as super-packets.
fn is_frozen(offloads: Offloads) -> Option<u64> {
    let (node, other) = wired(Settings { offloads, ..Settings::default() })?;
    node.start(&[2]);
    let wire = other.namespace.socket("192.0.2.2:8285");
    let pod = pod(&node);
    let mut datagram = [0; 2048];
    for Frozen { what, header, packet, wire: expected } in FROZEN {
        pod.write(&[IoSlice::new(&header.to_bytes()), IoSlice::new(&bytes(packet))]).expect("the kernel takes it");
        for expected in *expected {
            let (length, _) = hear(&wire, &mut datagram);
            assert_eq!(datagram[..length], bytes(expected), "{what}, with {offloads:?}");
        }
    }
    let status = node.tunnels.offloading().remove(0);
    if status.in_force != offloads && offloads == Offloads::ALL {
        skipped("this kernel has not all offloads");
        return None;
    }
    assert_eq!(status.in_force, offloads);
    Some(status.sent.super_packets)
}

#[test]
fn the_wire_is_frozen_and_the_same_with_and_without_offloads() {
    let Some(joined) = is_frozen(Offloads::ALL) else { return };
    assert_eq!(joined, 4, "super-packets were cut here");
    assert_eq!(is_frozen(Offloads::NONE), Some(0), "the kernel cut them");
    for offloads in [Offloads { gso: false, ..Offloads::ALL }, Offloads { tso: false, uso: false, ..Offloads::ALL }] {
        is_frozen(offloads);
    }
}
