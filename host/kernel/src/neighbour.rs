//! Neighbour and forwarding-database entries: from items to messages, from messages to items. No I/O.
//!
//! Both travel as `struct ndmsg` (linux/neighbour.h); the address family tells them apart. Only permanent entries are of interest: the
//! kernel learns and forgets the others by itself.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;
use twill_model::Mac;
use twill_model::item::{Fdb, Item, Neighbour};

use crate::address::family;
use crate::ask::Change;

/// Errors that mean: the entry is gone already.
const GONE: &[Errno] = &[Errno::ENOENT, Errno::ESRCH, Errno::ENODEV];

/// An entry as the kernel tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SeenEntry {
    /// An [`Item::Neighbour`] or an [`Item::Fdb`].
    pub(crate) item: Item<u32>,
    pub(crate) permanent: bool,
}

/// The request that makes the neighbour entry, or changes its MAC address.
pub(crate) fn make(wanted: &Neighbour<u32>) -> Change {
    let mut message = of_neighbour(wanted);
    message.header.state = NeighbourState::Permanent;
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(wanted.mac.0.to_vec()));
    new(message)
}

/// The request that removes it.
pub(crate) fn remove(there: &Neighbour<u32>) -> Change {
    gone(of_neighbour(there))
}

/// The request that makes the FDB entry, or changes where it points.
pub(crate) fn make_fdb(wanted: &Fdb<u32>) -> Change {
    let mut message = of_fdb(wanted);
    message.header.state = NeighbourState::Permanent;
    new(message)
}

/// The request that removes it.
pub(crate) fn remove_fdb(there: &Fdb<u32>) -> Change {
    gone(of_fdb(there))
}

/// The request that dumps neighbours (`AddressFamily::Unspec`: both families) or FDB entries (`AddressFamily::Bridge`).
pub(crate) fn dump(family: AddressFamily) -> RouteNetlinkMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family;
    RouteNetlinkMessage::GetNeighbour(message)
}

/// Reads a neighbour or FDB entry; a neighbour that has no MAC address (any more) gets zeros. None for FDB entries without an outer
/// destination, which are those of bridges.
pub(crate) fn read(message: &NeighbourMessage) -> Option<SeenEntry> {
    let on = message.header.ifindex;
    let item = match message.header.family {
        AddressFamily::Bridge => Item::Fdb(Fdb { on, mac: mac(message)?, to: destination(message)? }),
        AddressFamily::Inet | AddressFamily::Inet6 => {
            Item::Neighbour(Neighbour { on, address: destination(message)?, mac: mac(message).unwrap_or(Mac([0; 6])) })
        }
        _ => return None,
    };
    Some(SeenEntry { item, permanent: u16::from(message.header.state) & u16::from(NeighbourState::Permanent) != 0 })
}

fn of_neighbour(of: &Neighbour<u32>) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(of.address);
    message.header.ifindex = of.on;
    message.attributes.push(NeighbourAttribute::Destination(of.address.into()));
    message
}

fn of_fdb(of: &Fdb<u32>) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = of.on;
    message.header.flags = NeighbourFlags::Own;
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(of.mac.0.to_vec()));
    message.attributes.push(NeighbourAttribute::Destination(of.to.into()));
    message
}

fn new(message: NeighbourMessage) -> Change {
    Change { message: RouteNetlinkMessage::NewNeighbour(message), flags: NLM_F_CREATE | NLM_F_REPLACE, settled: &[Errno::EEXIST] }
}

fn gone(message: NeighbourMessage) -> Change {
    Change { message: RouteNetlinkMessage::DelNeighbour(message), flags: 0, settled: GONE }
}

fn mac(message: &NeighbourMessage) -> Option<Mac> {
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(bytes) => Some(Mac(bytes.as_slice().try_into().ok()?)),
        _ => None,
    })
}

fn destination(message: &NeighbourMessage) -> Option<IpAddr> {
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(address) => ip(address),
        _ => None,
    })
}

/// In FDB entries only the length says which family an address is of.
fn ip(address: &NeighbourAddress) -> Option<IpAddr> {
    match address {
        NeighbourAddress::Inet(v4) => Some((*v4).into()),
        NeighbourAddress::Inet6(v6) => Some((*v6).into()),
        NeighbourAddress::Other(bytes) => {
            let v4 = <[u8; 4]>::try_from(bytes.as_slice()).map(IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(bytes.as_slice()).map(IpAddr::from)).ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 7]);

    fn message_of(change: Change) -> NeighbourMessage {
        match change.message {
            RouteNetlinkMessage::NewNeighbour(message) | RouteNetlinkMessage::DelNeighbour(message) => message,
            other => panic!("no neighbour message: {other:?}"),
        }
    }

    #[test]
    fn what_is_made_reads_back_equal() {
        for address in ["10.1.2.0", "fd00:1::"] {
            let address: IpAddr = address.parse().expect("a good address");
            let neighbour = Neighbour { on: 4, address, mac: MAC };
            let seen = SeenEntry { item: Item::Neighbour(neighbour.clone()), permanent: true };
            assert_eq!(read(&message_of(make(&neighbour))), Some(seen));
            let fdb = Fdb { on: 4, mac: MAC, to: address };
            assert_eq!(read(&message_of(make_fdb(&fdb))), Some(SeenEntry { item: Item::Fdb(fdb), permanent: true }));
        }
    }

    #[test]
    fn the_raw_destination_of_an_fdb_entry_is_read_by_its_length() {
        assert_eq!(ip(&NeighbourAddress::Other(vec![10, 0, 0, 2])), Some("10.0.0.2".parse().expect("a good address")));
        assert_eq!(ip(&NeighbourAddress::Other([0; 16].to_vec())), Some("::".parse().expect("a good address")));
        assert_eq!(ip(&NeighbourAddress::Other(vec![10, 0, 0])), None);
    }
}
