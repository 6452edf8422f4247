//! Routes of table main: from items to messages, from messages to items. No I/O.
//!
//! A route is made with create and replace in one request, so that its prefix is never without a route. IPv6 knows no scope and gives a route
//! without a metric 1024; both are smoothed here, so that what was made reads back equal.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RouteNextHop, RouteNextHopFlags, RouteProtocol,
    RouteScope, RouteType, RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;
use twill_model::item::Route;

use crate::ROUTE_PROTOCOL;
use crate::address::{family, with_length};
use crate::ask::Change;
use crate::next_hop::BEHIND;

/// The metric of IPv6 routes made without one (`IP6_RT_PRIO_USER`, net/ip6_route.h).
const IPV6_NO_METRIC: u32 = 1024;

/// A route as the kernel tells it, its link by index; index 0 when it has no single output interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SeenRoute {
    pub(crate) route: Route<u32>,
    pub(crate) protocol: u8,
    /// Not unicast.
    pub(crate) special: bool,
}

impl SeenRoute {
    /// What the kernel will tell of a route that we make.
    pub(crate) fn ours(route: Route<u32>) -> Self {
        let scope_global = route.scope_global && scoped(&route);
        Self { route: Route { scope_global, ..route }, protocol: ROUTE_PROTOCOL, special: false }
    }
}

/// The request that makes the route, or puts it in the place of another to the same prefix.
pub(crate) fn make(route: &Route<u32>) -> Change {
    let mut message = to_prefix(route.to);
    message.header.protocol = RouteProtocol::from(ROUTE_PROTOCOL);
    message.header.kind = RouteType::Unicast;
    message.header.scope = if scoped(route) && !route.scope_global { RouteScope::Link } else { RouteScope::Universe };
    if route.onlink {
        message.header.flags |= RouteFlags::Onlink;
    }
    message.attributes.extend(leaving_by(route));
    message.attributes.extend((route.metric != 0).then_some(RouteAttribute::Priority(route.metric)));
    message.attributes.extend(route.mtu.map(|mtu| RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)])));
    Change { message: RouteNetlinkMessage::NewRoute(message), flags: NLM_F_CREATE | NLM_F_REPLACE, settled: &[Errno::EEXIST] }
}

/// The request that takes away the route with that metric that was made by `protocol`; any other stays.
pub(crate) fn remove(seen: &SeenRoute) -> Change {
    let mut message = to_prefix(seen.route.to);
    message.header.protocol = RouteProtocol::from(seen.protocol);
    message.header.scope = RouteScope::NoWhere;
    if !seen.special && seen.route.on != 0 {
        message.header.kind = RouteType::Unicast;
    }
    message.attributes.extend(leaving_by(&seen.route));
    let metric = if is_v6(seen.route.to) && seen.route.metric == 0 { IPV6_NO_METRIC } else { seen.route.metric };
    message.attributes.extend((metric != 0).then_some(RouteAttribute::Priority(metric)));
    Change { message: RouteNetlinkMessage::DelRoute(message), flags: 0, settled: &[] }
}

/// The request that dumps table main of one family.
pub(crate) fn dump(family: AddressFamily) -> RouteNetlinkMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    RouteNetlinkMessage::GetRoute(message)
}

/// Reads a route of table main; none for other tables, for entries of the kernel's cache, and for what stands behind another for a moment.
pub(crate) fn read(message: &RouteMessage) -> Option<SeenRoute> {
    let header = &message.header;
    let passing = header.protocol == RouteProtocol::from(BEHIND) || header.flags.contains(RouteFlags::Cloned);
    if passing || table(message) != u32::from(RouteHeader::RT_TABLE_MAIN) {
        return None;
    }
    let special = header.kind != RouteType::Unicast;
    let to = destination(message)?;
    let mut seen = SeenRoute {
        route: Route { to, via: None, on: 0, onlink: header.flags.contains(RouteFlags::Onlink), scope_global: false, mtu: None, metric: 0 },
        protocol: header.protocol.into(),
        special,
    };
    message.attributes.iter().for_each(|attribute| seen.take(attribute));
    if special {
        // A blackhole of IPv6 leaves by "lo".
        seen.route.on = 0;
    }
    if is_v6(to) && seen.route.metric == IPV6_NO_METRIC {
        seen.route.metric = 0;
    }
    seen.route.scope_global = scoped(&seen.route) && header.scope == RouteScope::Universe;
    Some(seen)
}

impl SeenRoute {
    fn take(&mut self, attribute: &RouteAttribute) {
        match attribute {
            RouteAttribute::Gateway(gateway) => self.route.via = address(gateway),
            RouteAttribute::Via(RouteVia::Inet6(gateway)) => self.route.via = Some((*gateway).into()),
            RouteAttribute::Oif(index) => self.route.on = *index,
            RouteAttribute::Priority(metric) => self.route.metric = *metric,
            RouteAttribute::Metrics(metrics) => self.route.mtu = metrics.iter().find_map(mtu),
            RouteAttribute::MultiPath(hops) => self.take_hops(hops),
            _ => {}
        }
    }

    /// One hop is a plain route; of several no plan can speak.
    fn take_hops(&mut self, hops: &[RouteNextHop]) {
        if let [hop] = hops {
            self.route.on = hop.interface_index;
            self.route.onlink |= hop.flags.contains(RouteNextHopFlags::Onlink);
            hop.attributes.iter().for_each(|attribute| self.take(attribute));
        }
    }
}

/// The interface of the route's first hop, also of a multipath one.
pub(crate) fn first_interface(message: &RouteMessage) -> Option<u32> {
    message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        RouteAttribute::MultiPath(hops) => hops.first().map(|hop| hop.interface_index),
        _ => None,
    })
}

fn to_prefix(to: IpNet) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(to.addr());
    message.header.destination_prefix_length = to.prefix_len();
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.attributes.push(RouteAttribute::Destination(to.network().into()));
    message
}

fn leaving_by(route: &Route<u32>) -> impl Iterator<Item = RouteAttribute> + use<> {
    let mixed = |via: IpAddr| match via {
        IpAddr::V6(via) => RouteAttribute::Via(RouteVia::Inet6(via)),
        IpAddr::V4(_) => RouteAttribute::Gateway(via.into()),
    };
    let same_family = |via: IpAddr| RouteAttribute::Gateway(via.into());
    let gateway = route.via.map(if is_v6(route.to) { same_family } else { mixed });
    let interface = (route.on != 0).then_some(RouteAttribute::Oif(route.on));
    gateway.into_iter().chain(interface)
}

/// True where scope is a choice: IPv4 without a gateway.
fn scoped(route: &Route<u32>) -> bool {
    route.via.is_none() && !is_v6(route.to)
}

fn is_v6(to: IpNet) -> bool {
    matches!(to, IpNet::V6(_))
}

fn table(message: &RouteMessage) -> u32 {
    let long = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    long.unwrap_or_else(|| message.header.table.into())
}

fn destination(message: &RouteMessage) -> Option<IpNet> {
    let named = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(to) => address(to),
        _ => None,
    });
    let all = match message.header.address_family {
        AddressFamily::Inet => Some(IpAddr::from([0; 4])),
        AddressFamily::Inet6 => Some(IpAddr::from([0; 16])),
        _ => None,
    };
    with_length(named.or(all)?, message.header.destination_prefix_length)
}

fn address(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some((*v4).into()),
        RouteAddress::Inet6(v6) => Some((*v6).into()),
        _ => None,
    }
}

fn mtu(metric: &RouteMetric) -> Option<u32> {
    match metric {
        RouteMetric::Mtu(mtu) => Some(*mtu),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(to: &str, via: Option<&str>) -> Route<u32> {
        let via = via.map(|via| via.parse().expect("a good address"));
        Route { to: to.parse().expect("a good prefix"), via, on: 7, onlink: false, scope_global: false, mtu: None, metric: 0 }
    }

    fn message_of(change: Change) -> RouteMessage {
        match change.message {
            RouteNetlinkMessage::NewRoute(message) | RouteNetlinkMessage::DelRoute(message) => message,
            other => panic!("no route message: {other:?}"),
        }
    }

    #[test]
    fn what_is_made_reads_back_equal() {
        let onlink = Route { onlink: true, mtu: Some(1400), ..route("10.1.2.0/24", Some("10.1.2.0")) };
        let global = Route { scope_global: true, ..route("10.1.0.0/16", None) };
        let others =
            [route("10.1.3.0/24", None), route("fd00:1::/64", Some("fd00:1::1")), route("fd00:2::/64", None), route("0.0.0.0/0", None)];
        for wanted in others.into_iter().chain([onlink, global]) {
            assert_eq!(read(&message_of(make(&wanted))), Some(SeenRoute::ours(wanted)));
        }
    }

    #[test]
    fn one_request_creates_and_replaces() {
        assert_eq!(make(&route("10.1.2.0/24", None)).flags, NLM_F_CREATE | NLM_F_REPLACE);
    }

    #[test]
    fn scope_is_link_only_without_a_gateway_and_when_not_asked_otherwise() {
        let scope = |route: Route<u32>| message_of(make(&route)).header.scope;
        assert_eq!(scope(route("10.1.2.0/24", None)), RouteScope::Link);
        assert_eq!(scope(Route { scope_global: true, ..route("10.1.2.0/24", None) }), RouteScope::Universe);
        assert_eq!(scope(route("10.1.2.0/24", Some("10.0.0.2"))), RouteScope::Universe);
        assert_eq!(scope(route("fd00::/64", None)), RouteScope::Universe);
    }

    #[test]
    fn other_tables_and_cached_entries_are_passed_over() {
        let mut other = message_of(make(&route("10.1.2.0/24", None)));
        other.attributes.push(RouteAttribute::Table(1000));
        assert_eq!(read(&other), None);
        let mut cached = message_of(make(&route("10.1.2.0/24", None)));
        cached.header.flags |= RouteFlags::Cloned;
        assert_eq!(read(&cached), None);
    }

    #[test]
    fn several_hops_are_told_without_a_link() {
        let hop = |index| {
            let mut hop = RouteNextHop::default();
            hop.interface_index = index;
            hop
        };
        let mut message = to_prefix("10.1.0.0/16".parse().expect("a good prefix"));
        message.header.kind = RouteType::Unicast;
        message.attributes.push(RouteAttribute::MultiPath(vec![hop(3), hop(4)]));
        assert_eq!(read(&message).map(|seen| seen.route.on), Some(0));
        assert_eq!(first_interface(&message), Some(3));
        message.attributes.pop();
        message.attributes.push(RouteAttribute::MultiPath(vec![hop(3)]));
        assert_eq!(read(&message).map(|seen| seen.route.on), Some(3));
    }

    #[test]
    fn a_removal_names_protocol_gateway_link_and_metric() {
        let seen = SeenRoute::ours(route("fd00:1::/64", Some("fd00:1::1")));
        let message = message_of(remove(&seen));
        assert_eq!(u8::from(message.header.protocol), ROUTE_PROTOCOL);
        for wanted in [RouteAttribute::Oif(7), RouteAttribute::Priority(1024)] {
            assert!(message.attributes.contains(&wanted), "{wanted:?} is missing");
        }
    }
}
