//! Reservations: a subnet pinned to a node by its address, in the store. The command line does it without a daemon, the API through one.

use std::net::IpAddr;

use ipnet::IpNet;
use twill_lease::fit::fit;
use twill_lease::store::{Store, StoreError};
use twill_model::{Addresses, Lease, Lifetime, NetworkConfig, Prefixes};

/// Why a subnet cannot be reserved, or not be free again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReservationError {
    /// What was asked for makes no sense.
    #[error("{0}")]
    Request(String),
    /// There is no network config to reserve in, or a wrong one.
    #[error("{0}")]
    Config(String),
    /// The store cannot.
    #[error("{0}")]
    Store(String),
}

/// Pins `subnets` to the node at `public`, within the network config in the store. Answers with a sentence.
///
/// # Errors
/// They do not fit the config, somebody else holds them, or the store cannot.
pub async fn reserve(store: &impl Store, subnets: Prefixes, public: Addresses) -> Result<String, ReservationError> {
    let text = store.read().await.map_err(|error| ReservationError::Store(error.to_string()))?.config;
    let text = text.ok_or_else(|| {
        ReservationError::Config("there is no network config in the store yet, so no subnet can be reserved in it".into())
    })?;
    let config = NetworkConfig::parse(&text).map_err(|error| ReservationError::Config(error.to_string()))?;
    fit(&config, &subnets).map_err(|misfit| ReservationError::Request(format!("cannot reserve {subnets}: {misfit}")))?;
    let lease = Lease { subnets, public, ways: Vec::new(), node: None, life: Lifetime::Reserved };
    store.reserve(lease).await.map_err(|error| refused("reserve", &subnets, error))?;
    Ok(format!("{subnets} is reserved for the node at {public}"))
}

/// Ends a reservation. Answers with a sentence.
///
/// # Errors
/// There is none, or the store cannot.
pub async fn unreserve(store: &impl Store, subnets: Prefixes) -> Result<String, ReservationError> {
    store.unreserve(subnets).await.map_err(|error| refused("unreserve", &subnets, error))?;
    Ok(format!("{subnets} is reserved no longer"))
}

fn refused(act: &str, subnets: &Prefixes, error: StoreError) -> ReservationError {
    ReservationError::Store(match error {
        StoreError::Conflict(why) => format!("cannot {act} {subnets}: {why}; `twill leases` shows who holds what"),
        StoreError::NotFound(why) => format!("cannot {act} {subnets}: {why}"),
        StoreError::Unsupported(why) => format!("cannot {act} {subnets}: this store keeps no reservations ({why})"),
        error => format!("cannot {act} {subnets}: {error}"),
    })
}

/// One subnet of each family at most, without host bits.
///
/// # Errors
/// There is none, or two of a family.
pub fn prefixes(nets: &[IpNet]) -> Result<Prefixes, ReservationError> {
    let mut prefixes = Prefixes::default();
    for net in nets {
        let twice = match net {
            IpNet::V4(net) => prefixes.v4.replace(net.trunc()).is_some(),
            IpNet::V6(net) => prefixes.v6.replace(net.trunc()).is_some(),
        };
        if twice {
            return Err(ReservationError::Request("name one subnet of a family".into()));
        }
    }
    match nets {
        [] => Err(ReservationError::Request("name the subnet".into())),
        _ => Ok(prefixes),
    }
}

/// One address of each family at most.
///
/// # Errors
/// There is none, or two of a family.
pub fn addresses(all: &[IpAddr]) -> Result<Addresses, ReservationError> {
    let mut addresses = Addresses::default();
    for address in all {
        let twice = match address {
            IpAddr::V4(v4) => addresses.v4.replace(*v4).is_some(),
            IpAddr::V6(v6) => addresses.v6.replace(*v6).is_some(),
        };
        if twice {
            return Err(ReservationError::Request("name one address of a family".into()));
        }
    }
    match all {
        [] => Err(ReservationError::Request("name the address of the node that it is for".into())),
        _ => Ok(addresses),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_each_family_is_taken() {
        let nets = |list: &[&str]| list.iter().map(|text| text.parse().expect("a prefix")).collect::<Vec<IpNet>>();
        let both = prefixes(&nets(&["fd10::/64", "10.1.2.3/24"])).expect("one of each family");
        assert_eq!(both.to_string(), "10.1.2.0/24 and fd10::/64");
        assert!(prefixes(&nets(&["10.1.2.0/24", "10.1.3.0/24"])).is_err() && prefixes(&[]).is_err());
        let two = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse().expect("an address"));
        assert!(addresses(&two).is_err() && addresses(&[]).is_err() && addresses(&two[..1]).is_ok());
    }
}
