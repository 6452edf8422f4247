//! Gathers what the underlay is chosen from: interfaces, addresses, default routes, the road to a given address.

use netlink_packet_route::AddressFamily;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressFlags;
use netlink_packet_route::route::RouteType;

use crate::address::SeenAddress;
use crate::link::SeenLink;
use crate::underlay::{Chosen, Interface, InterfaceAddress, Surroundings, UnderlayError, UnderlaySettings, choose, follow};
use crate::words::Failure;
use crate::{Netlink, observe, road, route};

impl Netlink {
    /// Chooses the underlay interface and the addresses to publish.
    ///
    /// # Errors
    /// None fits, or the kernel does not tell what there is.
    pub async fn choose_underlay(&self, settings: &UnderlaySettings) -> Result<Chosen, UnderlayError> {
        choose(settings, &self.surroundings(settings).await?)
    }

    /// Reads the chosen interface again, by its name. The answer differs from `before` when its index, MTU or addresses changed.
    ///
    /// # Errors
    /// It is gone, or has no usable address left.
    pub async fn follow_underlay(&self, before: &Chosen, settings: &UnderlaySettings) -> Result<Chosen, UnderlayError> {
        follow(before, settings, &self.surroundings(settings).await?)
    }

    async fn surroundings(&self, settings: &UnderlaySettings) -> Result<Surroundings, UnderlayError> {
        self.gather(settings).await.map_err(|failure| failure.refused("read the interfaces of this node").into())
    }

    async fn gather(&self, settings: &UnderlaySettings) -> Result<Surroundings, Failure> {
        let links = observe::links(&self.asker).await?;
        let addresses = observe::addresses(&self.asker).await?;
        let reaching = match settings.iface_can_reach {
            Some(address) => {
                let leaving = road::ask(&self.asker, address).await?;
                leaving.interface.map(|index| (index, leaving.source))
            }
            None => None,
        };
        Ok(Surroundings {
            interfaces: join(links, &addresses),
            default_v4: self.default_interface(AddressFamily::Inet).await?,
            default_v6: self.default_interface(AddressFamily::Inet6).await?,
            reaching,
        })
    }

    async fn default_interface(&self, family: AddressFamily) -> Result<Option<u32>, Failure> {
        let messages = observe::route_messages(&self.asker, family).await?;
        let default = |message: &RouteNetlinkMessage| match message {
            RouteNetlinkMessage::NewRoute(of) if of.header.kind == RouteType::Unicast && of.header.destination_prefix_length == 0 => {
                route::first_interface(of)
            }
            _ => None,
        };
        Ok(messages.iter().find_map(default))
    }
}

fn join(mut links: Vec<SeenLink>, addresses: &[SeenAddress]) -> Vec<Interface> {
    links.sort_by_key(|seen| seen.link.index);
    let of = |index: u32| addresses.iter().filter(move |seen| seen.at.on == index).map(candidate);
    let interface = |seen: SeenLink| Interface {
        addresses: of(seen.link.index).collect(),
        name: seen.link.name.0,
        index: seen.link.index,
        mtu: seen.link.mtu,
    };
    links.into_iter().map(interface).collect()
}

fn candidate(seen: &SeenAddress) -> InterfaceAddress {
    InterfaceAddress {
        net: seen.at.address,
        deprecated: seen.flags.contains(AddressFlags::Deprecated),
        permanent: seen.flags.contains(AddressFlags::Permanent),
        // The bit IFA_F_SECONDARY is IFA_F_TEMPORARY in IPv6 (linux/if_addr.h).
        temporary: seen.flags.contains(AddressFlags::Secondary),
        duplicate: seen.flags.contains(AddressFlags::Dadfailed),
    }
}
