//! The header that a super-packet gets before it is written to the TUN device: the virtio-net header and those of its first packet, for all of them.

use crate::checksum;
use crate::coalesce::Group;
use crate::header::{IPV6_HEADER, seal_ipv4};
use crate::merge::Shape;
use crate::transport::{Layout, Protocol, addresses, pseudo_sum_of, put};
use crate::vnet::{self, Gso, NEEDS_CHECKSUM, VnetHeader};

const PSH: u8 = 0x08;
/// IP, TCP and virtio-net headers at their longest: IPv6 without extension headers, TCP with all options.
pub const LONGEST_HEAD: usize = vnet::HEADER + IPV6_HEADER + 60;

/// Writes the virtio-net header and the headers of the super-packet that `group` is into `head`, and gives their length. Of a group of one it is a header of zeros, and
/// all of the packet follows.
pub fn write_head(buffer: &[u8], group: &Group, head: &mut [u8; LONGEST_HEAD]) -> usize {
    let Some(shape) = group.shape.filter(|_| group.count > 1) else {
        head[..vnet::HEADER].fill(0);
        return vnet::HEADER;
    };
    let Layout { protocol, start, data } = shape.layout;
    let first = group.first.of(buffer);
    let end = vnet::HEADER + data;
    head[..vnet::HEADER].copy_from_slice(&offload(first, &shape).to_bytes());
    let packet = &mut head[vnet::HEADER..end];
    packet.copy_from_slice(&first[..data]);
    let total = data + group.data;
    if packet[0] >> 4 == 6 {
        put(packet, 4, (total - IPV6_HEADER) as u16);
    } else {
        put(packet, 2, total as u16);
        seal_ipv4(&mut packet[..start]);
    }
    match protocol {
        Protocol::Tcp => packet[start + 13] |= if group.pushed { PSH } else { 0 },
        Protocol::Udp => put(packet, start + 4, (total - start) as u16),
    }
    let sum = checksum::fold(pseudo_sum_of(addresses(packet), protocol, total - start));
    put(packet, start + protocol.checksum_offset(), sum);
    end
}

fn offload(first: &[u8], shape: &Shape) -> VnetHeader {
    let Layout { protocol, start, data } = shape.layout;
    let gso = match (protocol, first[0] >> 4) {
        (Protocol::Udp, _) => Gso::Udp,
        (Protocol::Tcp, 6) => Gso::Tcp6,
        (Protocol::Tcp, _) => Gso::Tcp4,
    };
    VnetHeader {
        flags: NEEDS_CHECKSUM,
        gso_type: gso as u8,
        header_len: data as u16,
        gso_size: (first.len() - data) as u16,
        checksum_start: start as u16,
        checksum_offset: protocol.checksum_offset() as u16,
    }
}
