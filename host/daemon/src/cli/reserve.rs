//! `twill reserve` and `twill unreserve`: pin a subnet to a node for ever, and end that, in the store. The node need not run, nor exist yet.

use std::net::IpAddr;

use clap::Args;
use ipnet::IpNet;
use serde_json::json;
use twill_http::{addresses, prefixes};
use twill_model::status::NodeStatus;
use twill_model::{Addresses, Prefixes};

use super::client::get;
use super::telling::Telling;
use super::wait_for;
use crate::exit::Exit;
use crate::node::reservations::{self, ReservationError};
use crate::node::store::open_store;
use crate::settings::{InstanceSettings, StoreSettings};

/// Pin a subnet to a node: nobody else gets it, and it does not expire, however long the node is away.
///
/// The node is named by the address that its peers send to; it need not exist yet, and takes the subnet when it comes. Without arguments this host's own lease, as its
/// running daemon holds it, is pinned.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  twill reserve 10.244.7.0/24 --for 192.0.2.7 --store file --store-dir /srv/twill
  twill reserve 10.244.7.0/24 fd10:0:0:7::/64 --for 192.0.2.7 --for 2001:db8::7 --store etcd
  twill reserve --store file --store-dir /srv/twill           (this host's own subnet)")]
pub struct Reserve {
    /// The subnets, at most one of each family.
    #[arg(value_name = "SUBNET", num_args = 0..=2, requires = "to")]
    subnets: Vec<IpNet>,
    /// The node's public address, at most one of each family.
    #[arg(long = "for", id = "to", value_name = "IP", requires = "subnets")]
    to: Vec<IpAddr>,
    #[command(flatten)]
    telling: Telling,
    #[command(flatten)]
    store: StoreSettings,
    #[command(flatten)]
    instance: InstanceSettings,
}

/// End a reservation. A subnet in use becomes an ordinary lease; an unused one is free again.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  twill unreserve 10.244.7.0/24 --store file --store-dir /srv/twill")]
pub struct Unreserve {
    /// The subnets, as they were reserved.
    #[arg(value_name = "SUBNET", num_args = 1..=2, required = true)]
    subnets: Vec<IpNet>,
    #[command(flatten)]
    telling: Telling,
    #[command(flatten)]
    store: StoreSettings,
}

impl Reserve {
    /// Writes the reservation.
    pub fn main(self) -> Result<(), Exit> {
        wait_for(async move {
            let (subnets, public) = match self.subnets[..] {
                [] => own(get(&self.instance, "/api/v1/node").await?)?,
                _ => (prefixes(&self.subnets).map_err(Exit::usage)?, addresses(&self.to).map_err(Exit::usage)?),
            };
            let (_plugins, store) = open_store(&self.store).await?;
            let done = reservations::reserve(&store, subnets, public).await.map_err(exit)?;
            self.telling.done_with(&done, json!({ "subnets": subnets, "public": public }));
            Ok(())
        })
    }
}

impl Unreserve {
    /// Ends the reservation.
    pub fn main(self) -> Result<(), Exit> {
        wait_for(async move {
            let subnets = prefixes(&self.subnets).map_err(Exit::usage)?;
            let (_plugins, store) = open_store(&self.store).await?;
            let done = reservations::unreserve(&store, subnets).await.map_err(exit)?;
            self.telling.done_with(&done, json!({ "subnets": subnets }));
            Ok(())
        })
    }
}

/// What the daemon on this host holds.
fn own(node: NodeStatus) -> Result<(Prefixes, Addresses), Exit> {
    let subnets = node.subnets.ok_or_else(|| Exit::failed("the daemon on this host has no lease yet; name a subnet and --for"))?;
    Ok((subnets, node.public))
}

fn exit(error: ReservationError) -> Exit {
    match error {
        ReservationError::Request(_) => Exit::usage(error),
        ReservationError::Config(_) => Exit::config(error),
        ReservationError::Store(_) => Exit::failed(error),
    }
}
