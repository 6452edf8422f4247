//! Items: the pieces of network state that a plan is made of.
//!
//! Backends plan items that name links by a handle ([`Device`]); the host resolves handles to interface names, after which the same types
//! carry a [`LinkName`]. That is what the parameter `D` says.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::address::{Addresses, Mac};

/// The name of a network interface, at most 15 bytes (`IFNAMSIZ` less the closing zero).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LinkName(pub String);

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A link as a backend names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Device {
    /// A link of the backend's own plan, by its handle.
    Link(String),
    /// The interface that carries the tunnels.
    Underlay,
}

/// What makes a link the kind that it is. An attribute that cannot be changed on a running link makes a change of it disruptive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum LinkKind {
    /// A kernel VXLAN device (RFC 7348) on the underlay interface.
    Vxlan {
        /// VXLAN network identifier, 24 bits.
        vni: u32,
        /// UDP destination port; 0 is the kernel's default, 8472.
        port: u16,
        /// Source address of the outer packets.
        local: IpAddr,
        /// Learn from received frames.
        learning: bool,
        /// Group-based policy extension.
        gbp: bool,
    },
    /// A TUN device with a UDP socket, forwarded by twill itself; one inner packet a datagram.
    Tunnel {
        /// UDP port, source and destination.
        port: u16,
        /// Addresses that the socket is bound to.
        local: Addresses,
    },
    /// A kernel WireGuard device.
    Wireguard {
        /// UDP listen port.
        port: u16,
        /// Name of the key that the host keeps.
        key: String,
    },
    /// A kernel IP-in-IP device with this local address.
    Ipip {
        /// Source address of the outer packets.
        local: IpAddr,
    },
}

/// A link.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Link<D> {
    /// Handle while planned, interface name once resolved.
    pub on: D,
    /// The wish for a name ("flannel.1", "flannel%d" = first free).
    pub name: String,
    /// Kind and the attributes that belong to it.
    pub kind: LinkKind,
    /// MTU in bytes.
    pub mtu: u32,
    /// Ethernet address, for kinds that have one.
    pub mac: Option<Mac>,
}

/// An address on a link.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Assignment<D> {
    /// The link.
    pub on: D,
    /// The address with its prefix length.
    pub address: IpNet,
}

/// The least metric of a route by which a way is proved beside the one in use: normal traffic never takes it, since the route in use has none.
/// The place of the way among the peer's ways is added.
pub const PROOF_METRIC: u32 = 7300;

/// How many metrics from [`PROOF_METRIC`] on are the host's.
pub const PROOF_METRICS: u32 = 64;

/// A route in table main.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Route<D> {
    /// Destination.
    pub to: IpNet,
    /// Gateway.
    pub via: Option<IpAddr>,
    /// The link it leaves by.
    pub on: D,
    /// Take the gateway for reachable on the link whatever its address.
    pub onlink: bool,
    /// Scope global although there is no gateway (flannel's udp route has it).
    pub scope_global: bool,
    /// MTU in bytes, when lower than the link's.
    pub mtu: Option<u32>,
    /// Metric; 0 is none. Plans have none; the host gives one to a route beside the one in use, by which a way is proved before anything else takes it.
    pub metric: u32,
}

/// A permanent neighbour entry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Neighbour<D> {
    /// The link.
    pub on: D,
    /// The neighbour's address.
    pub address: IpAddr,
    /// Its Ethernet address.
    pub mac: Mac,
}

/// A permanent forwarding-database entry of a VXLAN device: frames for `mac` go to the node at `to`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fdb<D> {
    /// The VXLAN link.
    pub on: D,
    /// Inner destination.
    pub mac: Mac,
    /// Outer destination.
    pub to: IpAddr,
}

/// Tunnel, sending: packets for `to` go to this endpoint.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Endpoint<D> {
    /// The tunnel link.
    pub on: D,
    /// Inner destinations.
    pub to: IpNet,
    /// Outer destination.
    pub peer: IpAddr,
    /// UDP destination port.
    pub port: u16,
}

/// Tunnel, receiving: datagrams from `peer` may hold inner packets from these sources.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Sender<D> {
    /// The tunnel link.
    pub on: D,
    /// Outer source.
    pub peer: IpAddr,
    /// Inner sources.
    pub inner: Vec<IpNet>,
}

/// A peer of a WireGuard link.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WireguardPeer<D> {
    /// The WireGuard link.
    pub on: D,
    /// The peer's public key, base64.
    pub key: String,
    /// Where the peer is reached.
    pub endpoint: Option<(IpAddr, u16)>,
    /// Allowed inner addresses.
    pub inner: Vec<IpNet>,
    /// Seconds between keep-alives; 0 is off.
    pub keepalive: u16,
    /// Name of a preshared key that the host keeps.
    pub preshared_name: Option<String>,
}

/// One piece of network state.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "item", rename_all = "lowercase")]
pub enum Item<D = Device> {
    /// A link.
    Link(Link<D>),
    /// An address on a link.
    Assignment(Assignment<D>),
    /// A route.
    Route(Route<D>),
    /// A neighbour entry.
    Neighbour(Neighbour<D>),
    /// A forwarding-database entry.
    Fdb(Fdb<D>),
    /// A tunnel's sending side.
    Endpoint(Endpoint<D>),
    /// A tunnel's receiving side.
    Sender(Sender<D>),
    /// A WireGuard peer.
    Wireguard(WireguardPeer<D>),
}

/// What makes two items the same place in the kernel: there can be one item a key, whatever its value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(tag = "item", rename_all = "lowercase")]
pub enum Key<D> {
    /// A link by its name.
    Link {
        /// The link.
        on: D,
    },
    /// An address on a link.
    Assignment {
        /// The link.
        on: D,
        /// The address.
        address: IpNet,
    },
    /// The route to a prefix with a metric (table main).
    Route {
        /// The destination.
        to: IpNet,
        /// The metric; 0 is none.
        metric: u32,
    },
    /// A neighbour on a link.
    Neighbour {
        /// The link.
        on: D,
        /// Its address.
        address: IpAddr,
    },
    /// A MAC address in a link's forwarding database.
    Fdb {
        /// The link.
        on: D,
        /// The inner destination.
        mac: Mac,
    },
    /// A tunnel's inner destination.
    Endpoint {
        /// The link.
        on: D,
        /// The inner destinations.
        to: IpNet,
    },
    /// A tunnel's outer source.
    Sender {
        /// The link.
        on: D,
        /// The outer source.
        peer: IpAddr,
    },
    /// A WireGuard peer by its key.
    Wireguard {
        /// The link.
        on: D,
        /// The public key.
        key: String,
    },
}

impl<D: Clone> Item<D> {
    /// The place that this item takes.
    pub fn key(&self) -> Key<D> {
        match self {
            Item::Link(link) => Key::Link { on: link.on.clone() },
            Item::Assignment(a) => Key::Assignment { on: a.on.clone(), address: a.address },
            Item::Route(route) => Key::Route { to: route.to, metric: route.metric },
            Item::Neighbour(n) => Key::Neighbour { on: n.on.clone(), address: n.address },
            Item::Fdb(fdb) => Key::Fdb { on: fdb.on.clone(), mac: fdb.mac },
            Item::Endpoint(e) => Key::Endpoint { on: e.on.clone(), to: e.to },
            Item::Sender(s) => Key::Sender { on: s.on.clone(), peer: s.peer },
            Item::Wireguard(w) => Key::Wireguard { on: w.on.clone(), key: w.key.clone() },
        }
    }

    /// The link that the item is, or stands on.
    pub fn on(&self) -> &D {
        match self {
            Item::Link(link) => &link.on,
            Item::Assignment(a) => &a.on,
            Item::Route(route) => &route.on,
            Item::Neighbour(n) => &n.on,
            Item::Fdb(fdb) => &fdb.on,
            Item::Endpoint(e) => &e.on,
            Item::Sender(s) => &s.on,
            Item::Wireguard(w) => &w.on,
        }
    }

    /// The same item with its link named anew by `rename`; the first error ends it.
    pub fn try_rename<N, E>(self, rename: impl FnOnce(&D) -> Result<N, E>) -> Result<Item<N>, E> {
        let on = rename(self.on())?;
        Ok(match self {
            Item::Link(l) => Item::Link(Link { on, name: l.name, kind: l.kind, mtu: l.mtu, mac: l.mac }),
            Item::Assignment(a) => Item::Assignment(Assignment { on, address: a.address }),
            Item::Route(r) => Item::Route(Route {
                on,
                to: r.to,
                via: r.via,
                onlink: r.onlink,
                scope_global: r.scope_global,
                mtu: r.mtu,
                metric: r.metric,
            }),
            Item::Neighbour(n) => Item::Neighbour(Neighbour { on, address: n.address, mac: n.mac }),
            Item::Fdb(f) => Item::Fdb(Fdb { on, mac: f.mac, to: f.to }),
            Item::Endpoint(e) => Item::Endpoint(Endpoint { on, to: e.to, peer: e.peer, port: e.port }),
            Item::Sender(s) => Item::Sender(Sender { on, peer: s.peer, inner: s.inner }),
            Item::Wireguard(w) => Item::Wireguard(WireguardPeer {
                on,
                key: w.key,
                endpoint: w.endpoint,
                inner: w.inner,
                keepalive: w.keepalive,
                preshared_name: w.preshared_name,
            }),
        })
    }
}

impl<D: fmt::Display> fmt::Display for Item<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Item::Link(l) => write!(f, "link {} ({}, mtu {})", l.on, l.kind.word(), l.mtu),
            Item::Assignment(a) => write!(f, "address {} on {}", a.address, a.on),
            Item::Route(r) => {
                write!(f, "route {}", r.to)?;
                if let Some(via) = r.via {
                    write!(f, " via {via}")?;
                }
                write!(f, " dev {}", r.on)?;
                if let Some(mtu) = r.mtu {
                    write!(f, " mtu {mtu}")?;
                }
                if r.metric == 0 { Ok(()) } else { write!(f, " metric {}", r.metric) }
            }
            Item::Neighbour(n) => write!(f, "neighbour {} at {} on {}", n.address, n.mac, n.on),
            Item::Fdb(b) => write!(f, "FDB entry {} to {} on {}", b.mac, b.to, b.on),
            Item::Endpoint(e) => write!(f, "endpoint {}:{} for {} on {}", e.peer, e.port, e.to, e.on),
            Item::Sender(s) => write!(f, "sender {} on {}", s.peer, s.on),
            Item::Wireguard(w) => write!(f, "WireGuard peer {} on {}", w.key, w.on),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Link(handle) => write!(f, "<{handle}>"),
            Device::Underlay => f.write_str("<underlay>"),
        }
    }
}

impl LinkKind {
    /// The kind in one word, as `ip -d link` says it where the kernel has it.
    pub fn word(&self) -> &'static str {
        match self {
            LinkKind::Vxlan { .. } => "vxlan",
            LinkKind::Tunnel { .. } => "tunnel",
            LinkKind::Wireguard { .. } => "wireguard",
            LinkKind::Ipip { .. } => "ipip",
        }
    }
}
