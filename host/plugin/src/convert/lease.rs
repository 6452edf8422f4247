//! Leases, ways, and the answers of stores. A lease that cannot be read becomes an oddity of the snapshot, so one bad entry never hides
//! the others.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use twill_lease::store::{AddressHints, Change, Changes, Held, Oddity, StoreError, StoreSnapshot};
use twill_model::{Addresses, Lease, Lifetime, NodeId, Prefixes, Way};

use super::{Bad, parsed, prefix, within};
use crate::wit::{store_api, types};

/// The longest that a lease may live on, in seconds: a hundred years; more is a number that went wrong on its way.
const LONGEST: u32 = 100 * 366 * 86_400;

pub(crate) fn to_addresses(addresses: &Addresses) -> types::Addresses {
    types::Addresses { v4: addresses.v4.map(|v4| v4.to_string()), v6: addresses.v6.map(|v6| v6.to_string()) }
}

pub(crate) fn to_prefixes(prefixes: &Prefixes) -> types::Prefixes {
    types::Prefixes { v4: prefixes.v4.map(|v4| v4.to_string()), v6: prefixes.v6.map(|v6| v6.to_string()) }
}

pub(crate) fn to_way(way: &Way) -> types::Way {
    types::Way { backend: way.backend.clone(), options: way.options.clone(), data_v4: way.data_v4.clone(), data_v6: way.data_v6.clone() }
}

pub(crate) fn to_lease(lease: &Lease) -> types::Lease {
    types::Lease {
        subnets: to_prefixes(&lease.subnets),
        public: to_addresses(&lease.public),
        ways: lease.ways.iter().map(to_way).collect(),
        node: lease.node.as_ref().map(|node| node.0.clone()),
        life: match lease.life {
            Lifetime::Reserved => types::Lifetime::Reserved,
            Lifetime::Unknown => types::Lifetime::Unknown,
            Lifetime::Seconds(seconds) => types::Lifetime::Seconds(seconds),
        },
    }
}

pub(super) fn addresses(field: &str, from: &types::Addresses) -> Result<Addresses, Bad> {
    let v4 = from.v4.as_deref().map(|v4| parsed::<Ipv4Addr>(field, v4, "an IPv4 address")).transpose()?;
    let v6 = from.v6.as_deref().map(|v6| parsed::<Ipv6Addr>(field, v6, "an IPv6 address")).transpose()?;
    Ok(Addresses { v4, v6 })
}

fn v4_prefix(text: &str) -> Result<Ipv4Net, Bad> {
    match prefix("subnet", text)? {
        IpNet::V4(net) => Ok(net),
        IpNet::V6(_) => Err(super::bad("subnet", text, "an IPv4 prefix")),
    }
}

fn v6_prefix(text: &str) -> Result<Ipv6Net, Bad> {
    match prefix("subnet", text)? {
        IpNet::V6(net) => Ok(net),
        IpNet::V4(_) => Err(super::bad("subnet", text, "an IPv6 prefix")),
    }
}

fn prefixes(from: &types::Prefixes) -> Result<Prefixes, Bad> {
    let (v4, v6) = (from.v4.as_deref().map(v4_prefix).transpose()?, from.v6.as_deref().map(v6_prefix).transpose()?);
    if v4.is_none() && v6.is_none() { Err(Bad("it has no subnet".into())) } else { Ok(Prefixes { v4, v6 }) }
}

pub(crate) fn way_from(way: types::Way) -> Way {
    Way { backend: way.backend, options: way.options, data_v4: way.data_v4, data_v6: way.data_v6 }
}

pub(crate) fn lease_from(lease: types::Lease) -> Result<Lease, Bad> {
    let public = addresses("public address", &lease.public)?;
    if public.is_empty() {
        return Err(Bad("it has no public address".into()));
    }
    let life = match lease.life {
        types::Lifetime::Reserved => Lifetime::Reserved,
        types::Lifetime::Unknown => Lifetime::Unknown,
        types::Lifetime::Seconds(seconds) => Lifetime::Seconds(within("seconds to live", seconds, 0..=LONGEST)?),
    };
    let subnets = prefixes(&lease.subnets)?;
    Ok(Lease { subnets, public, ways: lease.ways.into_iter().map(way_from).collect(), node: lease.node.map(NodeId), life })
}

pub(crate) fn held(from: store_api::Held) -> Result<Held, Bad> {
    Ok(Held { lease: lease_from(from.lease)?, token: from.token })
}

pub(crate) fn hints(from: store_api::AddressHints) -> Result<AddressHints, Bad> {
    Ok(AddressHints { choose: addresses("address", &from.choose)?, overwrite: addresses("address", &from.overwrite)? })
}

/// The lease, or what it is instead.
fn lease_or_oddity(from: types::Lease) -> Result<Lease, Oddity> {
    let place = |prefixes: &types::Prefixes| [&prefixes.v4, &prefixes.v6].into_iter().flatten().cloned().collect::<Vec<_>>().join(" and ");
    let named = place(&from.subnets);
    lease_from(from).map_err(|bad| Oddity {
        place: format!("the lease of {}", if named.is_empty() { "nothing" } else { &named }),
        reason: bad.to_string(),
    })
}

fn oddity(from: store_api::Oddity) -> Oddity {
    Oddity { place: from.place, reason: from.reason }
}

pub(crate) fn snapshot(from: store_api::Snapshot) -> StoreSnapshot {
    let mut oddities: Vec<Oddity> = from.oddities.into_iter().map(oddity).collect();
    let mut leases = Vec::with_capacity(from.leases.len());
    for lease in from.leases {
        match lease_or_oddity(lease) {
            Ok(lease) => leases.push(lease),
            Err(odd) => oddities.push(odd),
        }
    }
    StoreSnapshot { config: from.config, leases, oddities, cursor: from.cursor, identity: from.identity }
}

pub(crate) fn changes(from: store_api::Changes) -> Changes {
    Changes { changes: from.changes.into_iter().map(change).collect(), cursor: from.cursor }
}

fn change(from: store_api::Change) -> Change {
    match from {
        store_api::Change::Config(config) => Change::Config(config),
        store_api::Change::Put(lease) => lease_or_oddity(lease).map_or_else(Change::Oddity, Change::Put),
        store_api::Change::Gone(subnets) => match prefixes(&subnets) {
            Ok(subnets) => Change::Gone(subnets),
            Err(bad) => Change::Oddity(Oddity { place: "the end of a lease".into(), reason: bad.to_string() }),
        },
        store_api::Change::Oddity(odd) => Change::Oddity(oddity(odd)),
    }
}

pub(crate) fn store_error(from: store_api::Trouble) -> StoreError {
    match from {
        store_api::Trouble::Retry(text) => StoreError::Retry(text),
        store_api::Trouble::Conflict(text) => StoreError::Conflict(text),
        store_api::Trouble::NotFound(text) => StoreError::NotFound(text),
        store_api::Trouble::LostCursor(text) => StoreError::LostCursor(text),
        store_api::Trouble::Denied(text) => StoreError::Denied(text),
        store_api::Trouble::Invalid(text) => StoreError::Invalid(text),
        store_api::Trouble::Unsupported(text) => StoreError::Unsupported(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease() -> Lease {
        Lease {
            subnets: Prefixes { v4: Some("10.1.7.0/24".parse().expect("net")), v6: Some("fd00:1::/64".parse().expect("net")) },
            public: Addresses { v4: Some(Ipv4Addr::new(192, 0, 2, 7)), v6: None },
            ways: vec![Way { backend: "udp".into(), options: "{}".into(), data_v4: Some(r#"{"a":1}"#.into()), data_v6: None }],
            node: Some(NodeId("n1".into())),
            life: Lifetime::Seconds(9),
        }
    }

    #[test]
    fn a_lease_goes_round() {
        assert_eq!(lease_from(to_lease(&lease())), Ok(lease()));
    }

    #[test]
    fn a_bad_lease_is_an_oddity_beside_the_good_ones() {
        let mut broken = to_lease(&lease());
        broken.subnets.v4 = Some("10.1.7.9/24".into());
        let snapshot = snapshot(store_api::Snapshot {
            config: None,
            leases: vec![broken, to_lease(&lease())],
            oddities: vec![],
            cursor: "1".into(),
            identity: "i".into(),
        });
        assert_eq!(snapshot.leases, [lease()]);
        assert_eq!(snapshot.oddities[0].place, "the lease of 10.1.7.9/24 and fd00:1::/64");
        assert!(snapshot.oddities[0].reason.contains("10.1.7.0/24 is meant?"), "{}", snapshot.oddities[0].reason);
    }

    #[test]
    fn families_are_not_mixed_and_empty_leases_not_taken() {
        let refused = |spoil: fn(&mut types::Lease)| {
            let mut lease = to_lease(&lease());
            spoil(&mut lease);
            lease_from(lease).expect_err("refused").to_string()
        };
        assert!(refused(|lease| lease.subnets.v4 = Some("fd00::/64".into())).contains("not an IPv4 prefix"));
        assert!(refused(|lease| lease.subnets = types::Prefixes { v4: None, v6: None }).contains("no subnet"));
        assert!(refused(|lease| lease.public.v4 = None).contains("no public address"));
        assert!(refused(|lease| lease.public.v4 = Some("192.0.2.300".into())).contains("not an IPv4 address"));
        assert!(refused(|lease| lease.life = types::Lifetime::Seconds(u32::MAX)).contains("seconds to live"));
    }
}
