//! One pass over the kernel's state: links, addresses, routes, entries, settings, read one dump after the other.

use std::collections::HashMap;

use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;
use twill_model::item::{Item, LinkName};
use twill_model::state::{Observed, ObservedRoute};

use crate::address::{self, SeenAddress};
use crate::ask::Asker;
use crate::link::{self, SeenLink};
use crate::neighbour::{self, SeenEntry};
use crate::route::{self, SeenRoute};
use crate::words::Failure;

/// Everything of one pass, links by index.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) links: Vec<SeenLink>,
    pub(crate) addresses: Vec<SeenAddress>,
    pub(crate) routes: Vec<SeenRoute>,
    pub(crate) entries: Vec<SeenEntry>,
}

/// Reads all of it.
pub(crate) async fn all(asker: &Asker) -> Result<Seen, Failure> {
    let links = links(asker).await?;
    let addresses = addresses(asker).await?;
    let mut routes = routes(asker, AddressFamily::Inet).await?;
    routes.extend(self::routes(asker, AddressFamily::Inet6).await?);
    let mut entries = entries(asker, AddressFamily::Unspec).await?;
    entries.extend(self::entries(asker, AddressFamily::Bridge).await?);
    Ok(Seen { links, addresses, routes, entries })
}

/// All links.
pub(crate) async fn links(asker: &Asker) -> Result<Vec<SeenLink>, Failure> {
    let links = asker.dump(link::dump()).await?;
    Ok(links.iter().filter_map(|message| if let RouteNetlinkMessage::NewLink(link) = message { link::read(link) } else { None }).collect())
}

/// All addresses.
pub(crate) async fn addresses(asker: &Asker) -> Result<Vec<SeenAddress>, Failure> {
    let addresses = asker.dump(address::dump()).await?;
    let read = |message: &RouteNetlinkMessage| if let RouteNetlinkMessage::NewAddress(of) = message { address::read(of) } else { None };
    Ok(addresses.iter().filter_map(read).collect())
}

/// All routes of table main of one family.
pub(crate) async fn routes(asker: &Asker, family: AddressFamily) -> Result<Vec<SeenRoute>, Failure> {
    let read = |message: &RouteNetlinkMessage| if let RouteNetlinkMessage::NewRoute(of) = message { route::read(of) } else { None };
    Ok(route_messages(asker, family).await?.iter().filter_map(read).collect())
}

/// The messages of table main of one family. A table that was never used does not exist; a family that is switched off has none.
pub(crate) async fn route_messages(asker: &Asker, family: AddressFamily) -> Result<Vec<RouteNetlinkMessage>, Failure> {
    match asker.dump(route::dump(family)).await {
        Err(failure) if failure.is(&[Errno::ENOENT, Errno::EAFNOSUPPORT, Errno::EOPNOTSUPP]) => Ok(Vec::new()),
        Err(failure) => Err(failure),
        Ok(mut messages) => {
            let of_family =
                |message: &RouteNetlinkMessage| matches!(message, RouteNetlinkMessage::NewRoute(of) if of.header.address_family == family);
            messages.retain(of_family);
            Ok(messages)
        }
    }
}

async fn entries(asker: &Asker, family: AddressFamily) -> Result<Vec<SeenEntry>, Failure> {
    let read = |message: &RouteNetlinkMessage| if let RouteNetlinkMessage::NewNeighbour(of) = message { neighbour::read(of) } else { None };
    Ok(asker.dump(neighbour::dump(family)).await?.iter().filter_map(read).filter(|entry| entry.permanent).collect())
}

impl Seen {
    /// In the terms of plans: links by name. What stands on a link that is gone meanwhile is left out; routes without a single link have "".
    pub(crate) fn observed(self, underlay: Option<&str>) -> Observed {
        let names: HashMap<u32, LinkName> = self.links.iter().map(|seen| (seen.link.index, seen.link.name.clone())).collect();
        let underlay = underlay.and_then(|name| self.links.iter().find(|seen| seen.link.name.0 == name)).map(|seen| seen.link.index);
        let mut observed = Observed { links: self.links.iter().map(|seen| seen.observed(underlay)).collect(), ..Observed::default() };
        let on_links =
            self.addresses.into_iter().map(|seen| Item::Assignment(seen.at)).chain(self.entries.into_iter().map(|seen| seen.item));
        for item in on_links {
            match item.try_rename(|index| names.get(index).cloned().ok_or(())) {
                Ok(Item::Assignment(assignment)) => observed.addresses.push(assignment),
                Ok(Item::Neighbour(neighbour)) => observed.neighbours.push(neighbour),
                Ok(Item::Fdb(fdb)) => observed.fdb.push(fdb),
                _ => {}
            }
        }
        observed.routes = self.routes.into_iter().filter_map(|seen| named(seen, &names)).collect();
        observed
    }
}

fn named(seen: SeenRoute, names: &HashMap<u32, LinkName>) -> Option<ObservedRoute> {
    let name = |index: &u32| if *index == 0 { Ok(LinkName(String::new())) } else { names.get(index).cloned().ok_or(()) };
    match Item::Route(seen.route).try_rename(name) {
        Ok(Item::Route(route)) => Some(ObservedRoute { route, protocol: seen.protocol, special: seen.special }),
        _ => None,
    }
}
