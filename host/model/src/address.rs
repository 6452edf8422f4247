//! Addresses and prefixes, one of each family, and MAC addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One address a family; a lease has at least one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
pub struct Addresses {
    /// The IPv4 address.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(value_type = Option<String>, example = "192.0.2.7")]
    pub v4: Option<Ipv4Addr>,
    /// The IPv6 address.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(value_type = Option<String>, example = "2001:db8::7")]
    pub v6: Option<Ipv6Addr>,
}

impl Addresses {
    /// The addresses that are there, IPv4 first.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> + use<> {
        self.v4.map(IpAddr::V4).into_iter().chain(self.v6.map(IpAddr::V6))
    }

    /// True when `address` is one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.iter().any(|own| own == address)
    }

    /// True when neither family is there.
    pub fn is_empty(&self) -> bool {
        self.v4.is_none() && self.v6.is_none()
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_both(f, self.v4, self.v6)
    }
}

/// One prefix a family, host bits zero; a lease has at least one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
pub struct Prefixes {
    /// The IPv4 prefix.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(value_type = Option<String>, example = "10.244.7.0/24")]
    pub v4: Option<Ipv4Net>,
    /// The IPv6 prefix.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(value_type = Option<String>, example = "fd00:244:7::/64")]
    pub v6: Option<Ipv6Net>,
}

impl Prefixes {
    /// The prefixes that are there, IPv4 first.
    pub fn iter(&self) -> impl Iterator<Item = IpNet> + use<> {
        self.v4.map(IpNet::V4).into_iter().chain(self.v6.map(IpNet::V6))
    }

    /// True when some address lies in both.
    pub fn overlaps(&self, other: &Prefixes) -> bool {
        self.iter().any(|a| other.iter().any(|b| overlap(a, b)))
    }

    /// True when `prefix` lies wholly inside one of them.
    pub fn cover(&self, prefix: IpNet) -> bool {
        self.iter().any(|own| own.contains(&prefix))
    }

    /// True when `address` lies in one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.iter().any(|own| own.contains(&address))
    }

    /// True when neither family is there.
    pub fn is_empty(&self) -> bool {
        self.v4.is_none() && self.v6.is_none()
    }
}

impl fmt::Display for Prefixes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_both(f, self.v4, self.v6)
    }
}

/// True when some address lies in both prefixes; of two CIDR blocks one then holds the other.
pub fn overlap(a: IpNet, b: IpNet) -> bool {
    a.contains(&b) || b.contains(&a)
}

/// The prefix that holds only `address`: /32 or /128.
pub fn host_prefix(address: IpAddr) -> IpNet {
    IpNet::from(address)
}

fn write_both(f: &mut fmt::Formatter<'_>, v4: Option<impl fmt::Display>, v6: Option<impl fmt::Display>) -> fmt::Result {
    match (v4, v6) {
        (Some(v4), Some(v6)) => write!(f, "{v4} and {v6}"),
        (Some(v4), None) => write!(f, "{v4}"),
        (None, Some(v6)) => write!(f, "{v6}"),
        (None, None) => write!(f, "nothing"),
    }
}

/// An Ethernet address; its text is lower-case hex with colons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

/// Text that is not a MAC address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a MAC address such as 0a:1b:2c:3d:4e:5f")]
pub struct NotAMac(String);

impl FromStr for Mac {
    type Err = NotAMac;

    fn from_str(text: &str) -> Result<Self, NotAMac> {
        let mut bytes = [0u8; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2 && !part.starts_with('+'));
            *byte = part.and_then(|part| u8::from_str_radix(part, 16).ok()).ok_or_else(|| NotAMac(text.into()))?;
        }
        if parts.next().is_some() { Err(NotAMac(text.into())) } else { Ok(Mac(bytes)) }
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl Serialize for Mac {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_text_goes_round() {
        let mac: Mac = "0A:1b:2c:3d:4e:5f".parse().expect("a good MAC");
        assert_eq!(mac.to_string(), "0a:1b:2c:3d:4e:5f");
    }

    #[test]
    fn malformed_macs_are_refused() {
        for bad in ["", "0a:1b:2c:3d:4e", "0a:1b:2c:3d:4e:5f:60", "0a:1b:2c:3d:4e:+f", "0a-1b-2c-3d-4e-5f", "0a:1b:2c:3d:4e:5g"] {
            assert!(bad.parse::<Mac>().is_err(), "{bad} was taken for a MAC");
        }
    }

    #[test]
    fn prefixes_overlap_when_one_holds_the_other() {
        let wide = Prefixes { v4: Some("10.1.0.0/16".parse().expect("net")), v6: None };
        let narrow = Prefixes { v4: Some("10.1.7.0/24".parse().expect("net")), v6: None };
        let other = Prefixes { v4: Some("10.2.7.0/24".parse().expect("net")), v6: None };
        assert!(wide.overlaps(&narrow) && narrow.overlaps(&wide));
        assert!(!wide.overlaps(&other));
    }
}
