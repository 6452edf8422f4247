//! Links: from items to messages, from messages to items. No I/O.
//!
//! A device is created whole in one request: kind, MTU, MAC and up. MTU, MAC and up of one that is there are changed in place, and what of its kind can
//! be ([`LinkKind::remake`]); a device that differs in more is re-made.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::link::{
    InfoData, InfoIpTunnel, InfoKind, InfoVxlan, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;
use rtnetlink::{LinkIpIp, LinkVxlan};
use twill_model::Mac;
use twill_model::item::{Link, LinkKind, LinkName};
use twill_model::state::ObservedLink;

use crate::ask::Change;
use crate::words::Failure;

/// The kernel's default VXLAN port (module parameter `udp_port`), not the registered 4789.
const VXLAN_PORT: u16 = 8472;

/// A link as the kernel tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SeenLink {
    pub(crate) link: ObservedLink,
    /// Index of the interface under a VXLAN device.
    pub(crate) under: Option<u32>,
}

/// The request that creates the link, up, on the interface `under`.
pub(crate) fn create(wanted: &Link<LinkName>, under: Option<u32>) -> Result<Change, Failure> {
    let message = match &wanted.kind {
        LinkKind::Vxlan { .. } => vxlan(wanted, under.ok_or_else(|| own("there is no underlay interface to put it on"))?),
        LinkKind::Ipip { local: IpAddr::V4(local) } => {
            LinkIpIp::new(&wanted.on.0).local(*local).pmtudisc(false).mtu(wanted.mtu).up().build()
        }
        LinkKind::Ipip { local } => return Err(own(&format!("IP-in-IP carries IPv4 only, and {local} is none"))),
        LinkKind::Tunnel { .. } => return Err(own("the tunnel device is not open")),
        LinkKind::Wireguard { .. } => return Err(own("WireGuard devices are not supported by this version")),
    };
    Ok(Change { message: RouteNetlinkMessage::NewLink(message), flags: NLM_F_CREATE | NLM_F_EXCL, settled: &[] })
}

/// The requests that bring what of the kind [`adjustable`] allows, then MTU, MAC and up, to what is wanted; none when they are so.
pub(crate) fn adjust(wanted: &Link<LinkName>, there: &ObservedLink) -> Vec<Change> {
    adjust_kind(&wanted.kind, there).into_iter().chain(adjust_link(wanted, there)).collect()
}

/// A request of its own: the kernel refuses a kind's attributes and an MTU in one, and looks at the former in RTM_NEWLINK alone, which without NLM_F_CREATE changes
/// the device there.
fn adjust_kind(wanted: &LinkKind, there: &ObservedLink) -> Option<Change> {
    let kind = explicit(wanted);
    let data = there.kind.as_ref().filter(|there| **there != kind).and_then(|_| changed_data(&kind))?;
    let mut message = LinkMessage::default();
    message.header.index = there.index;
    message.attributes = vec![data];
    Some(Change { message: RouteNetlinkMessage::NewLink(message), flags: 0, settled: &[] })
}

fn adjust_link(wanted: &Link<LinkName>, there: &ObservedLink) -> Option<Change> {
    let mut message = LinkMessage::default();
    message.header.index = there.index;
    if !there.up {
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
    }
    message.attributes.extend((there.mtu != wanted.mtu).then_some(LinkAttribute::Mtu(wanted.mtu)));
    let mac = wanted.mac.filter(|mac| there.mac != Some(*mac));
    message.attributes.extend(mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())));
    let differs = !there.up || !message.attributes.is_empty();
    differs.then_some(Change { message: RouteNetlinkMessage::SetLink(message), flags: 0, settled: &[] })
}

/// What can be changed of a kind on a running device.
fn changed_data(kind: &LinkKind) -> Option<LinkAttribute> {
    let LinkKind::Vxlan { vni, local, learning, .. } = kind else { return None };
    let local = match local {
        IpAddr::V4(local) => InfoVxlan::Local(*local),
        IpAddr::V6(local) => InfoVxlan::Local6(*local),
    };
    let data = InfoData::Vxlan(vec![InfoVxlan::Id(*vni), local, InfoVxlan::Learning(*learning)]);
    Some(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Vxlan), LinkInfo::Data(data)]))
}

/// The request that removes the link of that name.
pub(crate) fn remove(name: &LinkName) -> Change {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.0.clone()));
    Change { message: RouteNetlinkMessage::DelLink(message), flags: 0, settled: &[Errno::ENODEV] }
}

/// The request that asks for the link of that name.
pub(crate) fn get(name: &LinkName) -> RouteNetlinkMessage {
    let mut message = LinkMessage::default();
    message.attributes = vec![LinkAttribute::IfName(name.0.clone()), brief()];
    RouteNetlinkMessage::GetLink(message)
}

/// The request that dumps all links.
pub(crate) fn dump() -> RouteNetlinkMessage {
    let mut message = LinkMessage::default();
    message.attributes = vec![brief()];
    RouteNetlinkMessage::GetLink(message)
}

/// Reads a link. None for what bridges tell of their ports (family AF_BRIDGE): there a removal only says that the port left the bridge.
pub(crate) fn read(message: &LinkMessage) -> Option<SeenLink> {
    if message.header.interface_family != AddressFamily::Unspec {
        return None;
    }
    let mut link = ObservedLink {
        name: LinkName(String::new()),
        index: message.header.index,
        mtu: 0,
        up: message.header.flags.contains(LinkFlags::Up),
        mac: None,
        kind: None,
        word: String::new(),
    };
    let mut under = None;
    let ethernet = message.header.link_layer_type == LinkLayerType::Ether;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = LinkName(name.clone()),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Address(bytes) if ethernet => link.mac = bytes.as_slice().try_into().ok().map(Mac),
            LinkAttribute::LinkInfo(infos) => (link.word, link.kind, under) = read_infos(infos),
            _ => {}
        }
    }
    (!link.name.0.is_empty()).then_some(SeenLink { link, under })
}

impl SeenLink {
    /// The link as observed when the underlay has index `underlay`: a VXLAN device on another interface is none that twill makes.
    pub(crate) fn observed(&self, underlay: Option<u32>) -> ObservedLink {
        let misplaced = matches!(self.link.kind, Some(LinkKind::Vxlan { .. })) && underlay.is_some() && self.under != underlay;
        ObservedLink { kind: self.link.kind.clone().filter(|_| !misplaced), ..self.link.clone() }
    }
}

/// True when the device there becomes what is wished without being made anew.
pub(crate) fn adjustable(wanted: &LinkKind, there: &ObservedLink) -> bool {
    fits(wanted, there) || there.kind.as_ref().is_some_and(|kind| kind.remake(wanted).is_none())
}

/// True when the device there is of the very kind that is wished: only MTU, MAC and up may differ.
pub(crate) fn fits(wanted: &LinkKind, there: &ObservedLink) -> bool {
    match wanted {
        LinkKind::Tunnel { .. } => there.word == "tun",
        other => there.kind.as_ref() == Some(&explicit(other)),
    }
}

/// True when the device there may be re-made for the wish: it has the same kind, with other attributes.
pub(crate) fn alike(wanted: &LinkKind, there: &ObservedLink) -> bool {
    wanted.word() == there.word
}

/// The kind with the kernel's default in the place of port 0.
pub(crate) fn explicit(kind: &LinkKind) -> LinkKind {
    match kind {
        LinkKind::Vxlan { vni, port: 0, local, learning, gbp } => {
            LinkKind::Vxlan { vni: *vni, port: VXLAN_PORT, local: *local, learning: *learning, gbp: *gbp }
        }
        other => other.clone(),
    }
}

fn vxlan(wanted: &Link<LinkName>, under: u32) -> LinkMessage {
    let LinkKind::Vxlan { vni, port, local, learning, gbp } = explicit(&wanted.kind) else { return LinkMessage::default() };
    let mut builder = LinkVxlan::new(&wanted.on.0, vni).dev(under).port(port).learning(learning).mtu(wanted.mtu).up();
    builder = match local {
        IpAddr::V4(local) => builder.local(local),
        IpAddr::V6(local) => builder.local6(local),
    };
    if gbp {
        builder = builder.gbp();
    }
    if let Some(mac) = wanted.mac {
        builder = builder.address(mac.0.to_vec());
    }
    builder.build()
}

fn read_infos(infos: &[LinkInfo]) -> (String, Option<LinkKind>, Option<u32>) {
    let word = infos.iter().find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind.to_string()),
        _ => None,
    });
    let data = infos.iter().find_map(|info| match info {
        LinkInfo::Data(data) => Some(data),
        _ => None,
    });
    let word = word.unwrap_or_default();
    match data {
        Some(InfoData::Vxlan(attributes)) => (word, read_vxlan(attributes), vxlan_under(attributes)),
        Some(InfoData::IpTunnel(attributes)) if word == "ipip" => (word, read_ipip(attributes), None),
        _ => (word, None, None),
    }
}

/// The kind, when every attribute that twill leaves alone has its default value.
fn read_vxlan(attributes: &[InfoVxlan]) -> Option<LinkKind> {
    let (mut vni, mut port, mut local, mut learning, mut gbp) = (None, VXLAN_PORT, None, false, false);
    for attribute in attributes {
        match attribute {
            InfoVxlan::Id(id) => vni = Some(*id),
            InfoVxlan::Port(number) => port = *number,
            InfoVxlan::Local(v4) => local = Some(IpAddr::from(*v4)),
            InfoVxlan::Local6(v6) => local = Some(IpAddr::from(*v6)),
            InfoVxlan::Learning(on) => learning = *on,
            InfoVxlan::Gbp => gbp = true,
            InfoVxlan::Group(_) | InfoVxlan::Group6(_) | InfoVxlan::Gpe | InfoVxlan::L2Miss(true) | InfoVxlan::CollectMetadata(true) => {
                return None;
            }
            _ => {}
        }
    }
    Some(LinkKind::Vxlan { vni: vni?, port, local: local?, learning, gbp })
}

fn vxlan_under(attributes: &[InfoVxlan]) -> Option<u32> {
    attributes.iter().find_map(|attribute| match attribute {
        InfoVxlan::Link(index) => Some(*index),
        _ => None,
    })
}

fn read_ipip(attributes: &[InfoIpTunnel]) -> Option<LinkKind> {
    let remote = |attribute: &InfoIpTunnel| matches!(attribute, InfoIpTunnel::Remote(remote) if !remote.is_unspecified());
    if attributes.iter().any(remote) {
        return None;
    }
    attributes.iter().find_map(|attribute| match attribute {
        InfoIpTunnel::Local(local) => Some(LinkKind::Ipip { local: *local }),
        _ => None,
    })
}

/// Keeps counters and virtual functions out of the answer.
fn brief() -> LinkAttribute {
    LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])
}

fn own(words: &str) -> Failure {
    Failure::Own(words.to_owned())
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
