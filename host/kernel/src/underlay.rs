//! Choice of the interface that carries the tunnels, and of the addresses that are published. Pure; `interfaces` gathers what there is.
//!
//! In flannel's order: `iface` (an address or a name), `iface-regex` (first against addresses, then against names), `iface-can-reach`; without any
//! of these the interface that owns the public address, else the one of the default route. The first hit wins.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use regex_lite::Regex;
use twill_model::Addresses;
use twill_model::node::Underlay;
use twill_reconcile::ports::Refused;

/// How much an address family matters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Want {
    /// Not looked at.
    #[default]
    No,
    /// Taken where the chosen interface has a global address of it. So a node is ready for whatever families the network turns out to have.
    IfThere,
    /// An interface without it will not do.
    Must,
}

/// What the operator said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnderlaySettings {
    /// Names or addresses, tried in order.
    pub iface: Vec<String>,
    /// Patterns for addresses or names, tried in order.
    pub iface_regex: Vec<String>,
    /// The interface by which the kernel would reach this address.
    pub iface_can_reach: Option<IpAddr>,
    /// Published in the place of the interface's IPv4 address.
    pub public_ip: Option<Ipv4Addr>,
    /// Published in the place of the interface's IPv6 address.
    pub public_ipv6: Option<Ipv6Addr>,
    /// Whether IPv4 is wanted.
    pub v4: Want,
    /// Whether IPv6 is wanted.
    pub v6: Want,
}

/// An address of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// With its prefix length.
    pub net: IpNet,
    /// Not to be used for anything new (`IFA_F_DEPRECATED`).
    pub deprecated: bool,
    /// Without a lifetime (`IFA_F_PERMANENT`).
    pub permanent: bool,
    /// IPv6: made for privacy and soon replaced (`IFA_F_TEMPORARY`); IPv4: secondary.
    pub temporary: bool,
    /// Duplicate detection failed (`IFA_F_DADFAILED`).
    pub duplicate: bool,
}

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its index.
    pub index: u32,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Its addresses in the kernel's order.
    pub addresses: Vec<InterfaceAddress>,
}

/// What there is to choose from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// All interfaces by index.
    pub interfaces: Vec<Interface>,
    /// Index of the interface of the first IPv4 default route.
    pub default_v4: Option<u32>,
    /// Index of the interface of the first IPv6 default route.
    pub default_v6: Option<u32>,
    /// Interface and source address by which `iface_can_reach` would be reached.
    pub reaching: Option<(u32, Option<IpAddr>)>,
}

/// What was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// The interface; of each family its first address is the one to bind to.
    pub underlay: Underlay,
    /// What peers shall reach this node by.
    pub published: Addresses,
}

/// Why none was chosen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnderlayError {
    /// `--iface` names none of the interfaces.
    #[error("there is no interface \"{asked}\"; there are {}", known.join(", "))]
    UnknownInterface {
        /// What was asked for.
        asked: String,
        /// What there is.
        known: Vec<String>,
    },
    /// No interface has the address.
    #[error("no interface has the address {address}; if it is translated to this node, name the interface with --iface")]
    NoOwner {
        /// The address.
        address: IpAddr,
    },
    /// Nothing was said and there is no default route.
    #[error("there is no {family} default route to tell the interface by; name it with --iface")]
    NoDefaultRoute {
        /// "IPv4" or "IPv6".
        family: &'static str,
    },
    /// The families point to different interfaces.
    #[error("IPv4 points to the interface \"{v4}\" and IPv6 to \"{v6}\", but one must carry both; name it with --iface")]
    TwoInterfaces {
        /// By IPv4.
        v4: String,
        /// By IPv6.
        v6: String,
    },
    /// The interface has no usable address of a wanted family.
    #[error("the interface \"{interface}\" has no usable {family} address")]
    NoAddress {
        /// The interface.
        interface: String,
        /// "IPv4" or "IPv6".
        family: &'static str,
    },
    /// No interface matches the pattern.
    #[error("no address or name of an interface matches \"{pattern}\"")]
    NoMatch {
        /// The pattern.
        pattern: String,
    },
    /// The pattern is none.
    #[error("\"{pattern}\" is no regular expression: {cause}")]
    BadPattern {
        /// What was given.
        pattern: String,
        /// Where it is wrong.
        cause: String,
    },
    /// The kernel knows no road to the address of `--iface-can-reach`.
    #[error("the kernel has no route to {address}")]
    NoRoad {
        /// The address.
        address: IpAddr,
    },
    /// Several wishes, and none could be had.
    #[error("no interface fits: {}", causes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    NoneFits {
        /// One cause a wish, in order.
        causes: Vec<UnderlayError>,
    },
    /// A public address that no peer could use.
    #[error("{address} cannot be a public address: {why}")]
    Unusable {
        /// The address.
        address: IpAddr,
        /// What kind of address it is.
        why: &'static str,
    },
    /// Neither family is wanted.
    #[error("neither IPv4 nor IPv6 is enabled")]
    NoFamily,
    /// The kernel did not tell.
    #[error(transparent)]
    Kernel(#[from] Refused),
}

impl UnderlayError {
    /// True for what a host lacks only while it starts: a default route, an address, a road. A name that is none stays none.
    pub fn may_pass(&self) -> bool {
        match self {
            UnderlayError::NoDefaultRoute { .. } | UnderlayError::NoAddress { .. } | UnderlayError::NoRoad { .. } => true,
            UnderlayError::NoneFits { causes } => causes.iter().any(UnderlayError::may_pass),
            _ => false,
        }
    }
}

/// An interface and the addresses that led to it.
#[derive(Debug, Clone)]
struct Pick<'a> {
    interface: &'a Interface,
    by: Vec<IpAddr>,
}

/// Chooses.
///
/// # Errors
/// None fits; the error says what to do.
pub fn choose(settings: &UnderlaySettings, there: &Surroundings) -> Result<Chosen, UnderlayError> {
    check_public(settings)?;
    let named = settings.iface.iter().map(|asked| by_iface(asked, settings, there));
    let matched = settings.iface_regex.iter().map(|pattern| by_pattern(pattern, settings, there));
    let reaching = settings.iface_can_reach.iter().map(|address| by_road(*address, there));
    let mut causes = Vec::new();
    for pick in named.chain(matched).chain(reaching) {
        match pick.and_then(|pick| complete(&pick, settings)) {
            Ok(chosen) => return Ok(chosen),
            Err(cause) => causes.push(cause),
        }
    }
    match causes.len() {
        0 => complete(&by_default(settings, there)?, settings),
        1 => Err(causes.remove(0)),
        _ => Err(UnderlayError::NoneFits { causes }),
    }
}

/// The chosen interface as it is now: same name, new index, MTU and addresses. Addresses that were first stay first while they are there.
///
/// # Errors
/// It is gone, or has no usable address of a wanted family.
pub fn follow(before: &Chosen, settings: &UnderlaySettings, there: &Surroundings) -> Result<Chosen, UnderlayError> {
    let interface = by_name(&before.underlay.name, there)?;
    let by = before.underlay.addresses.iter().map(IpNet::addr).filter(|address| owns(interface, *address)).collect();
    complete(&Pick { interface, by }, settings)
}

fn by_iface<'a>(asked: &str, settings: &UnderlaySettings, there: &'a Surroundings) -> Result<Pick<'a>, UnderlayError> {
    match asked.parse() {
        Ok(address) => Ok(Pick { by: preferred(&[address], settings), interface: owner(address, there)? }),
        Err(_) => Ok(Pick { interface: by_name(asked, there)?, by: preferred(&[], settings) }),
    }
}

fn by_pattern<'a>(pattern: &str, settings: &UnderlaySettings, there: &'a Surroundings) -> Result<Pick<'a>, UnderlayError> {
    let regex = Regex::new(pattern).map_err(|error| UnderlayError::BadPattern { pattern: pattern.to_owned(), cause: error.to_string() })?;
    let of_address = there.interfaces.iter().find_map(|interface| {
        let matching = |address: &IpAddr| wanted(*address, settings) && regex.is_match(&address.to_string());
        let address = usable(interface).map(|address| address.net.addr()).find(matching)?;
        Some(Pick { interface, by: preferred(&[address], settings) })
    });
    let has_address = |interface: &&Interface| usable(interface).any(|address| wanted(address.net.addr(), settings));
    let of_name = || there.interfaces.iter().filter(has_address).find(|interface| regex.is_match(&interface.name));
    of_address
        .or_else(|| of_name().map(|interface| Pick { interface, by: preferred(&[], settings) }))
        .ok_or_else(|| UnderlayError::NoMatch { pattern: pattern.to_owned() })
}

fn by_road(address: IpAddr, there: &Surroundings) -> Result<Pick<'_>, UnderlayError> {
    let (index, source) = there.reaching.ok_or(UnderlayError::NoRoad { address })?;
    let interface = by_index(index, there).ok_or(UnderlayError::NoRoad { address })?;
    Ok(Pick { interface, by: source.into_iter().collect() })
}

fn by_default<'a>(settings: &UnderlaySettings, there: &'a Surroundings) -> Result<Pick<'a>, UnderlayError> {
    let public = preferred(&[], settings);
    let found: Vec<&Interface> = if public.is_empty() {
        by_default_routes(settings, there)?
    } else {
        public.iter().map(|address| owner(*address, there)).collect::<Result<_, _>>()?
    };
    match found.as_slice() {
        [] => Err(UnderlayError::NoFamily),
        [v4, v6] if v4.index != v6.index => Err(UnderlayError::TwoInterfaces { v4: v4.name.clone(), v6: v6.name.clone() }),
        [interface, ..] => Ok(Pick { interface, by: public }),
    }
}

/// The interfaces of the default routes of the families that must be; where none must, that of the first family that has one.
fn by_default_routes<'a>(settings: &UnderlaySettings, there: &'a Surroundings) -> Result<Vec<&'a Interface>, UnderlayError> {
    let of = |want: Want, index, family| (want != Want::No).then(|| (want, default_interface(index, family, there)));
    let families: Vec<_> = of(settings.v4, there.default_v4, "IPv4").into_iter().chain(of(settings.v6, there.default_v6, "IPv6")).collect();
    let must: Vec<_> = families.iter().filter(|(want, _)| *want == Want::Must).map(|(_, found)| found.clone()).collect();
    if !must.is_empty() {
        return must.into_iter().collect();
    }
    let (found, missing): (Vec<_>, Vec<_>) = families.into_iter().map(|(_, found)| found).partition(Result::is_ok);
    found.into_iter().chain(missing).take(1).collect()
}

fn default_interface<'a>(index: Option<u32>, family: &'static str, there: &'a Surroundings) -> Result<&'a Interface, UnderlayError> {
    index.and_then(|index| by_index(index, there)).ok_or(UnderlayError::NoDefaultRoute { family })
}

/// The addresses that decide which of an interface's come first: the one asked for, then the public ones of wanted families.
fn preferred(asked: &[IpAddr], settings: &UnderlaySettings) -> Vec<IpAddr> {
    let v4 = settings.public_ip.filter(|_| settings.v4 != Want::No).map(IpAddr::V4);
    let v6 = settings.public_ipv6.filter(|_| settings.v6 != Want::No).map(IpAddr::V6);
    asked.iter().copied().chain(v4).chain(v6).collect()
}

fn by_name<'a>(asked: &str, there: &'a Surroundings) -> Result<&'a Interface, UnderlayError> {
    there.interfaces.iter().find(|interface| interface.name == asked).ok_or_else(|| UnderlayError::UnknownInterface {
        asked: asked.to_owned(),
        known: there.interfaces.iter().map(|interface| interface.name.clone()).collect(),
    })
}

fn by_index(index: u32, there: &Surroundings) -> Option<&Interface> {
    there.interfaces.iter().find(|interface| interface.index == index)
}

fn owner(address: IpAddr, there: &Surroundings) -> Result<&Interface, UnderlayError> {
    there.interfaces.iter().find(|interface| owns(interface, address)).ok_or(UnderlayError::NoOwner { address })
}

fn owns(interface: &Interface, address: IpAddr) -> bool {
    interface.addresses.iter().any(|own| own.net.addr() == address)
}

fn complete(pick: &Pick<'_>, settings: &UnderlaySettings) -> Result<Chosen, UnderlayError> {
    let interface = pick.interface;
    let mut own: Vec<&InterfaceAddress> = usable(interface).collect();
    own.sort_by_key(|address| rank(address, &pick.by));
    let addresses: Vec<IpNet> = own.iter().map(|address| address.net).collect();
    let missing = |family| UnderlayError::NoAddress { interface: interface.name.clone(), family };
    // An interface without an address of the family cannot carry it, whatever is published.
    let v4 = own_address(&addresses, settings.v4, false).map_err(|()| missing("IPv4"))?;
    let v6 = own_address(&addresses, settings.v6, true).map_err(|()| missing("IPv6"))?;
    if v4.is_none() && v6.is_none() {
        let unasked = settings.v4 == Want::No && settings.v6 == Want::No;
        return Err(if unasked { UnderlayError::NoFamily } else { missing("IPv4 or IPv6") });
    }
    let published = Addresses {
        v4: v4.and_then(|own| settings.public_ip.or(if let IpAddr::V4(own) = own { Some(own) } else { None })),
        v6: v6.and_then(|own| settings.public_ipv6.or(if let IpAddr::V6(own) = own { Some(own) } else { None })),
    };
    let underlay = Underlay { name: interface.name.clone(), index: interface.index, mtu: interface.mtu, addresses };
    Ok(Chosen { underlay, published })
}

/// The first address of a family; an error when it must be there and is not. One that nobody asked for is taken only if other links know it too.
fn own_address(addresses: &[IpNet], want: Want, v6: bool) -> Result<Option<IpAddr>, ()> {
    let mut of_family = addresses.iter().map(IpNet::addr).filter(|address| address.is_ipv6() == v6);
    match want {
        Want::No => Ok(None),
        Want::IfThere => Ok(of_family.find(|address| !link_local(*address))),
        Want::Must => of_family.next().map(Some).ok_or(()),
    }
}

/// Addresses that something new may be bound to: global or link-local unicast, in use, and nobody else's.
fn usable(interface: &Interface) -> impl Iterator<Item = &InterfaceAddress> {
    interface.addresses.iter().filter(|address| !address.deprecated && !address.duplicate && unfit(address.net.addr()).is_none())
}

/// Lowest first: those that led here, then global, permanent, lasting ones; IPv4 before IPv6.
fn rank(address: &InterfaceAddress, by: &[IpAddr]) -> (bool, bool, bool, bool, usize, bool) {
    let ip = address.net.addr();
    let place = by.iter().position(|led| *led == ip);
    (place.is_none(), link_local(ip), !address.permanent, address.temporary, place.unwrap_or(usize::MAX), ip.is_ipv6())
}

fn wanted(address: IpAddr, settings: &UnderlaySettings) -> bool {
    (if address.is_ipv6() { settings.v6 } else { settings.v4 }) != Want::No
}

fn check_public(settings: &UnderlaySettings) -> Result<(), UnderlayError> {
    let v4 = settings.public_ip.map(IpAddr::V4);
    let v6 = settings.public_ipv6.map(IpAddr::V6);
    match v4.into_iter().chain(v6).find_map(|address| Some((address, unfit(address)?))) {
        Some((address, why)) => Err(UnderlayError::Unusable { address, why }),
        None => Ok(()),
    }
}

fn unfit(address: IpAddr) -> Option<&'static str> {
    match address {
        _ if address.is_unspecified() => Some("it is the unspecified address"),
        _ if address.is_loopback() => Some("it is a loopback address"),
        _ if address.is_multicast() => Some("it is a multicast address"),
        IpAddr::V4(v4) if v4.is_broadcast() => Some("it is the broadcast address"),
        _ => None,
    }
}

fn link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
#[path = "underlay_tests.rs"]
mod tests;
