//! `twill reserve` and `twill unreserve`: pin a subnet to a node for ever, and end that, in the store. The node need not run, nor exist yet.

use std::net::IpAddr;

use clap::Args;
use ipnet::IpNet;
use twill_lease::fit::fit;
use twill_lease::store::{Store, StoreError};
use twill_model::status::NodeStatus;
use twill_model::{Addresses, Lease, Lifetime, NetworkConfig, Prefixes};

use super::client::get;
use super::wait_for;
use crate::exit::Exit;
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
            let text = store.read().await.map_err(Exit::failed)?.config;
            let config = text.as_deref().map(NetworkConfig::parse).transpose().map_err(Exit::config)?;
            let config =
                config.ok_or_else(|| Exit::config("there is no network config in the store yet, so no subnet can be reserved in it"))?;
            fit(&config, &subnets).map_err(|misfit| Exit::usage(format!("cannot reserve {subnets}: {misfit}")))?;
            let lease = Lease { subnets, public, ways: Vec::new(), node: None, life: Lifetime::Reserved };
            store.reserve(lease).await.map_err(|error| refused("reserve", &subnets, error))?;
            println!("{subnets} is reserved for the node at {public}");
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
            store.unreserve(subnets).await.map_err(|error| refused("unreserve", &subnets, error))?;
            println!("{subnets} is reserved no longer");
            Ok(())
        })
    }
}

/// What the daemon on this host holds.
fn own(node: NodeStatus) -> Result<(Prefixes, Addresses), Exit> {
    let subnets = node.subnets.ok_or_else(|| Exit::failed("the daemon on this host has no lease yet; name a subnet and --for"))?;
    Ok((subnets, node.public))
}

fn refused(act: &str, subnets: &Prefixes, error: StoreError) -> Exit {
    match error {
        StoreError::Conflict(why) => Exit::failed(format!("cannot {act} {subnets}: {why}; `twill leases` shows who holds what")),
        StoreError::NotFound(why) => Exit::failed(format!("cannot {act} {subnets}: {why}")),
        StoreError::Unsupported(why) => Exit::failed(format!("cannot {act} {subnets}: this store keeps no reservations ({why})")),
        error => Exit::failed(format!("cannot {act} {subnets}: {error}")),
    }
}

fn prefixes(nets: &[IpNet]) -> Result<Prefixes, String> {
    let mut prefixes = Prefixes::default();
    for net in nets {
        let twice = match net {
            IpNet::V4(net) => prefixes.v4.replace(net.trunc()).is_some(),
            IpNet::V6(net) => prefixes.v6.replace(net.trunc()).is_some(),
        };
        if twice {
            return Err("name one subnet of a family".to_owned());
        }
    }
    Ok(prefixes)
}

fn addresses(all: &[IpAddr]) -> Result<Addresses, String> {
    let mut addresses = Addresses::default();
    for address in all {
        let twice = match address {
            IpAddr::V4(v4) => addresses.v4.replace(*v4).is_some(),
            IpAddr::V6(v6) => addresses.v6.replace(*v6).is_some(),
        };
        if twice {
            return Err("name one address of a family".to_owned());
        }
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_each_family_is_taken() {
        let nets = |list: &[&str]| list.iter().map(|text| text.parse().expect("a prefix")).collect::<Vec<IpNet>>();
        assert_eq!(prefixes(&nets(&["fd10::/64", "10.1.2.3/24"])).map(|both| both.to_string()), Ok("10.1.2.0/24 and fd10::/64".into()));
        assert!(prefixes(&nets(&["10.1.2.0/24", "10.1.3.0/24"])).is_err());
        assert!(addresses(&["192.0.2.1".parse().expect("an address"), "192.0.2.2".parse().expect("an address")]).is_err());
    }
}
