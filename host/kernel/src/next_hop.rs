//! Routes of IPv6 whose next hop is said to be on the link, while the kernel has another road to that next hop.
//!
//! It refuses such a route as long as the road that it would take to the next hop itself leaves by another link (`ip6_route_check_nh_onlink`,
//! net/ipv6/route.c): just so it is when a peer's subnet, which the next hop is an address of, is reached by the way that is to be left. The check looks by
//! the new link first among roads of one prefix and metric. So one by that link is put behind the one that is there, where no packet takes it, for as long
//! as it takes to make the route.

use std::net::{IpAddr, Ipv6Addr};

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE};
use netlink_packet_route::route::{RouteAttribute, RouteFlags, RouteMessage, RouteProtocol};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;
use tokio::sync::Mutex;
use twill_model::item::Route;

use crate::ask::{Asker, Change};
use crate::route::{self, SeenRoute};
use crate::words::Failure;

/// The protocol of the road that is put behind another for a moment, by which it alone is taken away.
pub(crate) const BEHIND: u8 = 74;

/// Makes routes, one of these at a time: two may need the same road.
#[derive(Debug, Default)]
pub(crate) struct NextHops(Mutex<()>);

impl NextHops {
    /// Makes the route, or puts it in the place of another to the same prefix.
    pub(crate) async fn make(&self, asker: &Asker, wanted: &Route<u32>) -> Result<(), Failure> {
        let done = asker.change(route::make(wanted)).await;
        match (&done, wanted.via) {
            (Err(failure), Some(IpAddr::V6(via))) if wanted.onlink && failure.is(&[Errno::EINVAL]) => {
                let _alone = self.0.lock().await;
                match road(asker, via).await? {
                    Some(other) if other.on != wanted.on => make_over(asker, wanted, &other).await,
                    _ => done,
                }
            }
            _ => done,
        }
    }
}

async fn make_over(asker: &Asker, wanted: &Route<u32>, other: &Route<u32>) -> Result<(), Failure> {
    let behind = Route { to: other.to, via: None, on: wanted.on, onlink: false, scope_global: false, mtu: None, metric: other.metric };
    asker.change(put_behind(&behind)).await?;
    let done = asker.change(route::make(wanted)).await;
    let gone = asker.change(route::remove(&SeenRoute { route: behind, protocol: BEHIND, special: false })).await;
    done.and(gone)
}

fn put_behind(route: &Route<u32>) -> Change {
    let mut change = route::make(route);
    if let RouteNetlinkMessage::NewRoute(message) = &mut change.message {
        message.header.protocol = RouteProtocol::from(BEHIND);
    }
    Change { flags: NLM_F_CREATE | NLM_F_APPEND, ..change }
}

/// The route by which the kernel would send to that address; none when there is none in table main.
async fn road(asker: &Asker, to: Ipv6Addr) -> Result<Option<Route<u32>>, Failure> {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet6;
    message.header.destination_prefix_length = 128;
    message.header.flags = RouteFlags::FibMatch;
    message.attributes.push(RouteAttribute::Destination(IpAddr::V6(to).into()));
    match asker.get(RouteNetlinkMessage::GetRoute(message)).await {
        Ok(RouteNetlinkMessage::NewRoute(answer)) => Ok(route::read(&answer).filter(|seen| !seen.special).map(|seen| seen.route)),
        Ok(_) => Err(Errno::EBADMSG.into()),
        Err(failure) if failure.is(&[Errno::ENETUNREACH, Errno::EHOSTUNREACH]) => Ok(None),
        Err(failure) => Err(failure),
    }
}
