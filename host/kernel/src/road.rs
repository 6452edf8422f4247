//! The road to an address: what the kernel's routing table says of a packet sent there now.

use std::net::IpAddr;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use nix::errno::Errno;
use twill_model::state::Hop;

use crate::address::family;
use crate::ask::Asker;
use crate::words::Failure;

/// Errors by which the kernel says that there is no way: no route, and the route types unreachable, blackhole and prohibit.
const NO_ROAD: &[Errno] = &[Errno::ENETUNREACH, Errno::EHOSTUNREACH, Errno::EINVAL, Errno::EACCES];

/// How a packet would leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leaving {
    pub(crate) hop: Hop,
    /// Index of the interface it leaves by.
    pub(crate) interface: Option<u32>,
    /// The source address it would have.
    pub(crate) source: Option<IpAddr>,
}

impl Leaving {
    /// The road as plans see it: a neighbour on another interface than the underlay is none that a route over the underlay could reach.
    pub(crate) fn over(&self, underlay: Option<u32>) -> Hop {
        match self.hop {
            Hop::OnLink if underlay.is_some() && self.interface != underlay => Hop::Routed,
            hop => hop,
        }
    }
}

/// Asks for the road to `to`.
pub(crate) async fn ask(asker: &Asker, to: IpAddr) -> Result<Leaving, Failure> {
    let mut message = RouteMessage::default();
    message.header.address_family = family(to);
    message.header.destination_prefix_length = if to.is_ipv6() { 128 } else { 32 };
    message.attributes.push(RouteAttribute::Destination(to.into()));
    match asker.get(RouteNetlinkMessage::GetRoute(message)).await {
        Ok(RouteNetlinkMessage::NewRoute(answer)) => Ok(read(&answer)),
        Ok(_) => Err(Errno::EBADMSG.into()),
        Err(failure) if failure.is(NO_ROAD) => Ok(Leaving { hop: Hop::Unreachable, interface: None, source: None }),
        Err(failure) => Err(failure),
    }
}

fn read(answer: &RouteMessage) -> Leaving {
    let gateway = answer.attributes.iter().any(|attribute| matches!(attribute, RouteAttribute::Gateway(_) | RouteAttribute::Via(_)));
    let hop = match (answer.header.kind, gateway) {
        (RouteType::Unicast, false) => Hop::OnLink,
        (RouteType::Unicast, true) => Hop::Routed,
        // An address of our own is no peer's.
        _ => Hop::Unreachable,
    };
    let interface = crate::route::first_interface(answer);
    let source = answer.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::PrefSource(RouteAddress::Inet(v4)) => Some(IpAddr::from(*v4)),
        RouteAttribute::PrefSource(RouteAddress::Inet6(v6)) => Some(IpAddr::from(*v6)),
        _ => None,
    });
    Leaving { hop, interface, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_neighbour_on_another_interface_is_not_on_the_link() {
        let leaving = |hop| Leaving { hop, interface: Some(3), source: None };
        assert_eq!(leaving(Hop::OnLink).over(Some(3)), Hop::OnLink);
        assert_eq!(leaving(Hop::OnLink).over(Some(2)), Hop::Routed);
        assert_eq!(leaving(Hop::OnLink).over(None), Hop::OnLink);
        assert_eq!(leaving(Hop::Unreachable).over(Some(2)), Hop::Unreachable);
    }
}
