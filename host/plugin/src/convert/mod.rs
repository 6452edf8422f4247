//! Between the contract's types and the model's. What goes to a plugin always fits; what comes back is text and numbers of a stranger,
//! so each value is parsed and its
//! range checked, and a bad one is named.

mod item;
mod lease;
mod plan;

pub(crate) use item::items;
pub(crate) use lease::{changes, held, hints, snapshot, store_error, to_lease, to_prefixes, to_way, way_from};
pub(crate) use plan::{plan_error, to_context, to_network, to_node, to_road};

use std::fmt::Display;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use ipnet::IpNet;
use twill_model::Mac;

/// What is wrong with a value, and where it stands: "mtu 0 is not from 68 to 65535".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Bad(String);

/// An MTU: the least that IPv4 allows (RFC 791) to the most that a length field holds.
const MTU: RangeInclusive<u32> = 68..=65_535;

fn bad(field: &str, value: &str, wanted: &str) -> Bad {
    // A plugin may hand over megabytes; a log line wants a glimpse.
    let glimpse = &value[..value.floor_char_boundary(64)];
    Bad(format!("{field} {glimpse:?} is not {wanted}"))
}

fn parsed<T: FromStr>(field: &str, text: &str, wanted: &str) -> Result<T, Bad> {
    text.parse().map_err(|_| bad(field, text, wanted))
}

fn address(field: &str, text: &str) -> Result<IpAddr, Bad> {
    parsed(field, text, "an IP address")
}

fn mac(field: &str, text: &str) -> Result<Mac, Bad> {
    parsed(field, text, "a MAC address such as 0a:1b:2c:3d:4e:5f")
}

/// An address with a prefix length; host bits may be set.
fn interface(field: &str, text: &str) -> Result<IpNet, Bad> {
    parsed(field, text, "an address with a prefix length such as 10.1.2.0/32")
}

/// A prefix: its host bits are zero.
fn prefix(field: &str, text: &str) -> Result<IpNet, Bad> {
    let wanted = "a prefix such as 10.1.2.0/24";
    let net: IpNet = parsed(field, text, wanted)?;
    if net.trunc() == net {
        Ok(net)
    } else {
        Err(bad(field, text, &format!("{wanted}: its host bits are not zero, {} is meant?", net.trunc())))
    }
}

fn within<T: PartialOrd + Display>(field: &str, value: T, range: RangeInclusive<T>) -> Result<T, Bad> {
    if range.contains(&value) { Ok(value) } else { Err(Bad(format!("{field} {value} is not from {} to {}", range.start(), range.end()))) }
}

fn mtu(field: &str, value: u32) -> Result<u32, Bad> {
    within(field, value, MTU)
}

/// A JavaScript number out of range arrives as another one: ports of 0 are such.
fn port(field: &str, value: u16) -> Result<u16, Bad> {
    within(field, value, 1..=u16::MAX)
}

/// What a backend says of the MTU for pods.
pub(crate) fn pod_mtu(value: u32) -> Result<u32, Bad> {
    mtu("pod-mtu", value)
}
