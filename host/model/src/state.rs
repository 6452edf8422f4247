//! Network state as the host sees it: what there should be, what there is, and the steps from one to the other.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::address::{Mac, Prefixes};
use crate::item::{Item, Key, LinkKind, LinkName};

/// An item whose link is named by its interface name.
pub type HostItem = Item<LinkName>;
/// The place of a [`HostItem`].
pub type HostKey = Key<LinkName>;

/// A kernel setting below /proc/sys that the host needs, such as `net/ipv4/ip_forward`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Sysctl {
    /// Path below /proc/sys.
    pub path: String,
    /// Value without a newline.
    pub value: String,
}

/// Who planned an item.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// The way: its backend's type, for a second way of one backend with "~2" after it; "host" for what the host adds.
    pub backend: String,
    /// The peer's subnets; none when the item is there whoever the peers are.
    pub lease: Option<Prefixes>,
}

/// What there should be on this node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Desired {
    /// One item a place, with the one who planned it.
    pub items: BTreeMap<HostKey, (HostItem, Origin)>,
    /// Kernel settings.
    pub sysctls: Vec<Sysctl>,
}

/// What is told of an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedLink {
    /// Its name.
    pub name: LinkName,
    /// Its index.
    pub index: u32,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Administratively up.
    pub up: bool,
    /// Its Ethernet address, where it has one.
    pub mac: Option<Mac>,
    /// What it is, when it is of a kind that twill makes. A TUN device is `Some(LinkKind::Tunnel)` only if this very daemon holds it: the forwarder says so, not the kernel;
    /// the kernel room leaves it `None`.
    pub kind: Option<LinkKind>,
    /// The kernel's word for its kind ("tun", "vxlan", "veth", "bridge", …); "" for plain hardware.
    pub word: String,
}

/// What is told of a route in table main.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedRoute {
    /// The route in the terms of a plan; `on` is "" when it has no single output interface (blackhole, multipath). IPv6's default metric of 1024 counts as none.
    pub route: crate::item::Route<LinkName>,
    /// Who made it: `RTPROT_*` of linux/rtnetlink.h.
    pub protocol: u8,
    /// True for types other than unicast.
    pub special: bool,
}

/// What there is: the kernel's state as far as plans can speak of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// All interfaces.
    pub links: Vec<ObservedLink>,
    /// All addresses, link by name.
    pub addresses: Vec<crate::item::Assignment<LinkName>>,
    /// All routes of table main, IPv4 and IPv6.
    pub routes: Vec<ObservedRoute>,
    /// All permanent neighbour entries.
    pub neighbours: Vec<crate::item::Neighbour<LinkName>>,
    /// All permanent FDB entries with an outer destination.
    pub fdb: Vec<crate::item::Fdb<LinkName>>,
    /// The present values of the settings that were asked for; a missing path is left out.
    pub sysctls: BTreeMap<String, String>,
}

impl Observed {
    /// The interface of that name.
    pub fn link(&self, name: &LinkName) -> Option<&ObservedLink> {
        self.links.iter().find(|link| &link.name == name)
    }
}

/// The road from here to an address, by the kernel's routing table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hop {
    /// On a link of ours, without a gateway.
    OnLink,
    /// Through a gateway.
    Routed,
    /// No road, or no address to look for.
    #[default]
    Unreachable,
}

/// The road to a peer, one hop a family.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Road {
    /// To its IPv4 address.
    pub v4: Hop,
    /// To its IPv6 address.
    pub v6: Hop,
}

/// One act on the kernel or the forwarder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Make the item, or make it so: for a link create it if it is missing, set MTU and MAC, bring it up; for a route replace in one request; for an address or entry
    /// add or replace. "Already there" is success.
    Make(HostItem),
    /// Take it away. "Already gone" is success.
    Break(HostItem),
    /// Write a kernel setting.
    Set(Sysctl),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Make(item) => write!(f, "make {item}"),
            Step::Break(item) => write!(f, "remove {item}"),
            Step::Set(sysctl) => write!(f, "set {} to {}", sysctl.path, sysctl.value),
        }
    }
}

/// The route to a prefix as the kernel shows it, for people.
pub fn route_words(to: IpNet, via: Option<IpAddr>, on: &LinkName) -> String {
    match via {
        Some(via) => format!("{to} via {via} dev {on}"),
        None => format!("{to} dev {on}"),
    }
}
