//! Reservations: a subnet pinned to a node by its address, in the store. The command line does it without a daemon, the API through one.

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
