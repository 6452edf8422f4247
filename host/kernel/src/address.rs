//! Addresses on links: from items to messages, from messages to items. No I/O.
//!
//! Ours have scope global; those of IPv6 skip duplicate detection, since the lease already says whose they are and a tentative address cannot be used.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;
use twill_model::item::Assignment;

use crate::ask::Change;

/// An address as the kernel tells it, its link by index.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct SeenAddress {
    pub(crate) at: Assignment<u32>,
    /// Scope global (not link or host).
    pub(crate) global: bool,
    pub(crate) flags: AddressFlags,
}

/// The request that puts the address on its link.
pub(crate) fn make(wanted: &Assignment<u32>) -> Change {
    let mut message = message(wanted);
    if wanted.address.addr().is_ipv6() {
        message.header.flags |= AddressHeaderFlags::Nodad;
    }
    Change { message: RouteNetlinkMessage::NewAddress(message), flags: NLM_F_CREATE | NLM_F_REPLACE, settled: &[Errno::EEXIST] }
}

/// The request that takes it off.
pub(crate) fn remove(there: &Assignment<u32>) -> Change {
    let settled = &[Errno::EADDRNOTAVAIL, Errno::ENODEV, Errno::ESRCH, Errno::ENOENT];
    Change { message: RouteNetlinkMessage::DelAddress(message(there)), flags: 0, settled }
}

/// The request that dumps all addresses of both families.
pub(crate) fn dump() -> RouteNetlinkMessage {
    RouteNetlinkMessage::GetAddress(AddressMessage::default())
}

/// Reads an address.
pub(crate) fn read(message: &AddressMessage) -> Option<SeenAddress> {
    let find = |wanted: fn(&AddressAttribute) -> Option<IpAddr>| message.attributes.iter().find_map(wanted);
    // On a point-to-point link IFA_ADDRESS is the peer's and IFA_LOCAL ours; IPv6 has IFA_LOCAL only there.
    let local = find(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let address = local.or_else(|| {
        find(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })?;
    let at = Assignment { on: message.header.index, address: with_length(address, message.header.prefix_len)? };
    Some(SeenAddress { at, global: message.header.scope == AddressScope::Universe, flags: flags(message) })
}

fn message(of: &Assignment<u32>) -> AddressMessage {
    let address = of.address.addr();
    let mut message = AddressMessage::default();
    message.header.family = family(address);
    message.header.prefix_len = of.address.prefix_len();
    message.header.scope = AddressScope::Universe;
    message.header.index = of.on;
    message.attributes = vec![AddressAttribute::Local(address), AddressAttribute::Address(address)];
    message
}

/// All flags: the header holds the lower eight bits, an attribute all of them.
fn flags(message: &AddressMessage) -> AddressFlags {
    let long = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Flags(flags) => Some(*flags),
        _ => None,
    });
    long.unwrap_or_else(|| AddressFlags::from_bits_retain(message.header.flags.bits().into()))
}

/// The address family of an address.
pub(crate) fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet }
}

/// The address with a prefix length, host bits kept; none when the length does not fit the family.
pub(crate) fn with_length(address: IpAddr, length: u8) -> Option<IpNet> {
    IpNet::new(address, length).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assignment(address: &str) -> Assignment<u32> {
        Assignment { on: 4, address: address.parse().expect("a good address") }
    }

    fn message_of(change: Change) -> AddressMessage {
        match change.message {
            RouteNetlinkMessage::NewAddress(message) | RouteNetlinkMessage::DelAddress(message) => message,
            other => panic!("no address message: {other:?}"),
        }
    }

    #[test]
    fn what_is_made_reads_back_equal() {
        for text in ["10.1.2.0/32", "10.1.2.1/24", "fd00:1::/128"] {
            let seen = read(&message_of(make(&assignment(text)))).expect("it reads");
            assert_eq!(seen.at, assignment(text));
            assert!(seen.global);
        }
    }

    #[test]
    fn of_a_point_to_point_address_the_own_end_counts() {
        let mut message = message_of(make(&assignment("10.1.2.1/32")));
        message.attributes.insert(0, AddressAttribute::Address("10.9.9.9".parse().expect("a good address")));
        assert_eq!(read(&message).map(|seen| seen.at), Some(assignment("10.1.2.1/32")));
    }

    #[test]
    fn ipv6_skips_duplicate_detection() {
        assert!(message_of(make(&assignment("fd00:1::/128"))).header.flags.contains(AddressHeaderFlags::Nodad));
        assert!(message_of(make(&assignment("10.1.2.0/32"))).header.flags.is_empty());
    }
}
