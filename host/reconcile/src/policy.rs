//! What a plan may hold. Default is deny: links of the backend's own declaring, addresses and routes inside the cluster's networks, next hops
//! at lease addresses, never a default route, never a foreign interface. A refused item is reported and everything else is applied.
//!
//! Pure. Whether an interface name may be taken is decided in [`crate::links`], where the kernel's links are known.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use twill_model::address::overlap;
use twill_model::item::{Device, Item, Link, LinkKind, Route};
use twill_model::{Lease, Prefixes};

use crate::Inputs;

/// Items that one lease may bring, and items that a backend may plan whoever the peers are.
pub const CAP: usize = 256;

/// Smallest MTU that a plan may set: every IPv4 host takes packets of this size (RFC 791).
pub const LEAST_MTU: u32 = 576;

/// Why an item is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// More items than [`CAP`].
    #[error("{0} items are more than the {CAP} that one answer may hold")]
    TooMany(usize),
    /// It stands on a link that the backend did not declare.
    #[error("it stands on {0}, which is no link of this backend")]
    ForeignLink(Device),
    /// Only the part of the plan that is there for everybody may hold it.
    #[error("a {0} cannot come with a peer")]
    NotPerPeer(&'static str),
    /// A number is out of its range.
    #[error("{what} {value} is not between {least} and {most}")]
    OutOfRange {
        /// Which number.
        what: &'static str,
        /// What it is.
        value: u32,
        /// Smallest that is allowed.
        least: u32,
        /// Largest that is allowed.
        most: u32,
    },
    /// A tunnel's source address is not this node's.
    #[error("{0} is not an address of this node")]
    NotOurs(IpAddr),
    /// An address outside the own subnet.
    #[error("{0} is outside this node's subnet {1}")]
    OutsideOwn(IpNet, Prefixes),
    /// A route or destination outside the cluster's networks.
    #[error("{0} is outside the cluster's networks {1}")]
    OutsideNetwork(IpNet, Prefixes),
    /// A destination outside the peer's own subnet.
    #[error("{0} is outside the lease's subnet {1}")]
    OutsideLease(IpNet, Prefixes),
    /// A default route.
    #[error("a default route is never planned")]
    DefaultRoute,
    /// It would take traffic away from the own pods.
    #[error("{0} overlaps this node's own subnet {1}")]
    OwnSubnet(IpNet, Prefixes),
    /// A route wider than a subnet by a backend that is not the config's.
    #[error("{0} is wider than one subnet, and only the config's backend may plan that")]
    TooWide(IpNet),
    /// A next hop or outer address that the lease does not name.
    #[error("{0} is not an address of the lease")]
    NotOfLease(IpAddr),
    /// An outer address that would hurt.
    #[error("{0} is {1}, and packets cannot be sent there")]
    HurtfulPeer(IpAddr, &'static str),
}

/// The links that one backend declared, by handle.
pub type Declared = BTreeMap<String, Link<Device>>;

/// The one who asks: a backend, for everybody or for one peer.
pub struct Asker<'a> {
    /// The state of the cluster.
    pub inputs: &'a Inputs,
    /// The backend's links.
    pub declared: &'a Declared,
    /// All addresses of this node, on whatever link.
    pub here: &'a BTreeSet<IpAddr>,
    /// True for the config's backend.
    pub primary: bool,
    /// The peer; none for what is there whoever the peers are.
    pub peer: Option<&'a Lease>,
}

impl Asker<'_> {
    /// Says whether `item` may be planned by this asker.
    ///
    /// # Errors
    /// The first rule that the item breaks.
    pub fn check(&self, item: &Item) -> Result<(), Refusal> {
        match item {
            Item::Link(link) => self.check_link(link),
            Item::Assignment(a) => {
                self.only_for_everybody("address")?;
                self.on_own_link(&a.on)?;
                let own = self.inputs.mine.subnets;
                if own.cover(a.address) { Ok(()) } else { Err(Refusal::OutsideOwn(a.address, own)) }
            }
            Item::Route(route) => self.check_route(route),
            Item::Neighbour(n) => {
                self.on_own_link(&n.on)?;
                self.inside_lease(n.address.into())
            }
            Item::Fdb(fdb) => {
                self.on_own_link(&fdb.on)?;
                self.lease_address(fdb.to)
            }
            Item::Endpoint(e) => {
                self.on_own_link(&e.on)?;
                in_range("UDP port", u32::from(e.port), 1, 65_535)?;
                self.inside_lease(e.to)?;
                self.lease_address(e.peer)
            }
            Item::Sender(s) => {
                self.on_own_link(&s.on)?;
                self.lease_address(s.peer)?;
                s.inner.iter().try_for_each(|inner| self.inner_source(*inner))
            }
            Item::Wireguard(w) => {
                self.on_own_link(&w.on)?;
                w.endpoint.map_or(Ok(()), |(peer, _)| self.lease_address(peer))?;
                w.inner.iter().try_for_each(|inner| self.inside_lease(*inner))
            }
        }
    }

    fn check_link(&self, link: &Link<Device>) -> Result<(), Refusal> {
        self.only_for_everybody("link")?;
        in_range("MTU", link.mtu, LEAST_MTU, 65_535)?;
        match &link.kind {
            LinkKind::Tunnel { port, local } => {
                in_range("UDP port", u32::from(*port), 1, 65_535)?;
                local.iter().try_for_each(|address| self.own_address(address))
            }
            LinkKind::Vxlan { vni, local, .. } => {
                in_range("VNI", *vni, 1, 0xff_ffff)?;
                self.own_address(*local)
            }
            LinkKind::Ipip { local } => self.own_address(*local),
            LinkKind::Wireguard { port, .. } => in_range("UDP port", u32::from(*port), 1, 65_535),
        }
    }

    fn check_route(&self, route: &Route<Device>) -> Result<(), Refusal> {
        if route.on != Device::Underlay {
            self.on_own_link(&route.on)?;
        }
        if let Some(mtu) = route.mtu {
            in_range("route MTU", mtu, LEAST_MTU, 65_535)?;
        }
        if route.to.prefix_len() == 0 {
            return Err(Refusal::DefaultRoute);
        }
        if !self.inputs.networks.cover(route.to) {
            return Err(Refusal::OutsideNetwork(route.to, self.inputs.networks));
        }
        match self.peer {
            Some(lease) => {
                self.inside_lease(route.to)?;
                route.via.map_or(Ok(()), |via| if lease.subnets.contains(via) { Ok(()) } else { self.lease_address(via) })
            }
            None => self.check_wide_route(route.to),
        }
    }

    /// A route that no peer brings may hold the own subnet only by being wider: the own pods' more exact route then wins.
    fn check_wide_route(&self, to: IpNet) -> Result<(), Refusal> {
        let own = self.inputs.mine.subnets;
        if !self.primary {
            return Err(Refusal::TooWide(to));
        }
        if own.iter().any(|subnet| subnet.contains(&to)) { Err(Refusal::OwnSubnet(to, own)) } else { Ok(()) }
    }

    fn only_for_everybody(&self, what: &'static str) -> Result<(), Refusal> {
        if self.peer.is_some() { Err(Refusal::NotPerPeer(what)) } else { Ok(()) }
    }

    fn on_own_link(&self, on: &Device) -> Result<(), Refusal> {
        match on {
            Device::Link(handle) if self.declared.contains_key(handle) => Ok(()),
            other => Err(Refusal::ForeignLink(other.clone())),
        }
    }

    fn own_address(&self, address: IpAddr) -> Result<(), Refusal> {
        let node = &self.inputs.node;
        let ours = node.public.contains(address) || node.underlay.addresses.iter().any(|own| own.addr() == address);
        if ours { Ok(()) } else { Err(Refusal::NotOurs(address)) }
    }

    fn inside_lease(&self, to: IpNet) -> Result<(), Refusal> {
        let own = self.inputs.mine.subnets;
        if own.iter().any(|subnet| overlap(subnet, to)) {
            return Err(Refusal::OwnSubnet(to, own));
        }
        match self.peer {
            Some(lease) if lease.subnets.cover(to) => Ok(()),
            Some(lease) => Err(Refusal::OutsideLease(to, lease.subnets)),
            None => Err(Refusal::OutsideLease(to, Prefixes::default())),
        }
    }

    fn inner_source(&self, inner: IpNet) -> Result<(), Refusal> {
        let public = inner.prefix_len() == inner.max_prefix_len();
        match self.peer {
            Some(lease) if public && lease.public.contains(inner.addr()) => Ok(()),
            _ => self.inside_lease(inner),
        }
    }

    fn lease_address(&self, peer: IpAddr) -> Result<(), Refusal> {
        if let Some(why) = self.hurtful(peer) {
            return Err(Refusal::HurtfulPeer(peer, why));
        }
        match self.peer {
            Some(lease) if lease.public.contains(peer) => Ok(()),
            _ => Err(Refusal::NotOfLease(peer)),
        }
    }

    fn hurtful(&self, peer: IpAddr) -> Option<&'static str> {
        if peer.is_unspecified() {
            Some("the unspecified address")
        } else if peer.is_loopback() {
            Some("a loopback address")
        } else if peer.is_multicast() || peer == IpAddr::from([255, 255, 255, 255]) {
            Some("a multicast or broadcast address")
        } else if self.own_address(peer).is_ok() || self.here.contains(&peer) {
            Some("an address of this very node")
        } else if self.inputs.networks.contains(peer) {
            Some("inside the overlay itself")
        } else {
            None
        }
    }
}

fn in_range(what: &'static str, value: u32, least: u32, most: u32) -> Result<(), Refusal> {
    if (least..=most).contains(&value) { Ok(()) } else { Err(Refusal::OutOfRange { what, value, least, most }) }
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
