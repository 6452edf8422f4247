//! Taking down what is ours, for `twill down`: routes, addresses held on loopback, then links; and rules. Goes on after a refusal and tells of all.

use ipnet::IpNet;
use netlink_packet_route::AddressFamily;
use twill_model::firewall::Ruleset;
use twill_model::item::LinkName;
use twill_model::state::route_words;
use twill_reconcile::diff::LOOPBACK;
use twill_reconcile::ports::{Kernel, Refused};

use crate::link::SeenLink;
use crate::route::SeenRoute;
use crate::{Netlink, ROUTE_PROTOCOL, address, observe};

/// What came of taking down.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TakenDown {
    /// What was removed, such as "route 10.1.2.0/24 dev flannel0" and "link flannel0".
    pub removed: Vec<String>,
    /// What was not, and why.
    pub refused: Vec<Refused>,
}

/// A route with our protocol, as found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnRoute {
    /// Its destination.
    pub to: IpNet,
    /// The link it leaves by.
    pub on: LinkName,
    /// True where that link is of a kind that twill makes; then twill made it, since nobody else's routes have this protocol.
    pub own_link: bool,
}

impl Netlink {
    /// All routes with our protocol, of whatever instance.
    ///
    /// # Errors
    /// The kernel's state cannot be read.
    pub async fn own_routes(&self) -> Result<Vec<OwnRoute>, Refused> {
        let refused = |failure: crate::words::Failure| failure.refused("read the kernel's routes");
        let links = observe::links(&self.asker).await.map_err(refused)?;
        let mut found = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let routes = observe::routes(&self.asker, family).await.map_err(refused)?;
            for seen in routes.iter().filter(|seen| seen.protocol == ROUTE_PROTOCOL) {
                if let Some(link) = links.iter().find(|there| there.link.index == seen.route.on) {
                    let own_link = matches!(link.link.word.as_str(), "tun" | "vxlan" | "ipip" | "wireguard");
                    found.push(OwnRoute { to: seen.route.to, on: link.link.name.clone(), own_link });
                }
            }
        }
        Ok(found)
    }

    /// Removes every route with our protocol that lies inside `networks` or leaves by one of `links`, then the `links` themselves with all that
    /// stands on them. What is not there is passed over in silence.
    pub async fn take_down(&self, networks: &[IpNet], links: &[LinkName]) -> TakenDown {
        let mut taken = TakenDown::default();
        let there = match observe::links(&self.asker).await {
            Ok(there) => there,
            Err(failure) => {
                taken.refused.push(failure.refused("read the kernel's links"));
                return taken;
            }
        };
        let name_of = |index: u32| there.iter().find(|seen| seen.link.index == index).map(|seen| seen.link.name.clone());
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            match observe::routes(&self.asker, family).await {
                Ok(routes) => self.take_routes(&routes, networks, links, name_of, &mut taken).await,
                Err(failure) => taken.refused.push(failure.refused("read the kernel's routes")),
            }
        }
        self.take_held_addresses(networks, &there, &mut taken).await;
        for name in links.iter().filter(|name| there.iter().any(|seen| seen.link.name == **name)) {
            let act = format!("link {name}");
            let done = self.remove_link(name).await;
            taken.note(act, done.map_err(|failure| failure.refused(format!("remove link {name}"))));
        }
        taken
    }

    /// Removes the rules of that instance, whatever holds them, and the openings that they needed. Answers with what was removed.
    ///
    /// # Errors
    /// nft or iptables does not do it.
    pub async fn take_rules_down(&self, none: Ruleset) -> Result<Vec<String>, Refused> {
        let there = self.filter(none.clone()).await?;
        if there.is(&none) {
            return Ok(Vec::new());
        }
        self.replace_rules(none).await?;
        let tables = (!there.ours.tables.is_empty()).then(|| there.ours.to_string());
        Ok(tables.into_iter().chain(there.left_over).collect())
    }

    /// Base addresses inside `networks` that the host held on loopback.
    async fn take_held_addresses(&self, networks: &[IpNet], there: &[SeenLink], taken: &mut TakenDown) {
        let loopback = there.iter().find(|seen| seen.link.name.0 == LOOPBACK).map(|seen| seen.link.index);
        let addresses = match observe::addresses(&self.asker).await {
            Ok(addresses) => addresses,
            Err(failure) => return taken.refused.push(failure.refused("read the kernel's addresses")),
        };
        for seen in addresses.iter().filter(|seen| Some(seen.at.on) == loopback) {
            let address = seen.at.address;
            let held = address.prefix_len() == address.max_prefix_len() && networks.iter().any(|network| network.contains(&address.addr()));
            if held {
                let act = format!("address {address} on {LOOPBACK}");
                let done = self.asker.change(address::remove(&seen.at)).await;
                taken.note(act.clone(), done.map_err(|failure| failure.refused(format!("remove {act}"))));
            }
        }
    }

    async fn take_routes(
        &self,
        routes: &[SeenRoute],
        networks: &[IpNet],
        links: &[LinkName],
        name_of: impl Fn(u32) -> Option<LinkName>,
        taken: &mut TakenDown,
    ) {
        for seen in routes.iter().filter(|seen| seen.protocol == ROUTE_PROTOCOL) {
            let on = name_of(seen.route.on);
            let inside = networks.iter().any(|network| network.contains(&seen.route.to));
            if !inside && !on.as_ref().is_some_and(|on| links.contains(on)) {
                continue;
            }
            let act = format!("route {}", route_words(seen.route.to, seen.route.via, &on.unwrap_or(LinkName(String::new()))));
            let done = self.delete_route(seen).await;
            taken.note(act.clone(), done.map(drop).map_err(|failure| failure.refused(format!("remove {act}"))));
        }
    }
}

impl TakenDown {
    fn note(&mut self, act: String, done: Result<(), Refused>) {
        match done {
            Ok(()) => self.removed.push(act),
            Err(refused) => self.refused.push(refused),
        }
    }
}
