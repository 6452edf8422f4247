//! Whether a lease is this node's, and whether it fits the config. Pure.

use ipnet::IpNet;
use twill_model::network::{NetworkConfig, Prefix, Range};
use twill_model::{Addresses, Lease, NodeId, Prefixes};

/// Why subnets do not fit a config.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misfit {
    /// The config wants a family that the lease lacks.
    #[error("the config enables {family}, and the lease {subnets} has no subnet of it")]
    Lacks {
        /// "IPv4" or "IPv6".
        family: &'static str,
        /// The lease's subnets.
        subnets: Prefixes,
    },
    /// The lease has a family that the config has turned off.
    #[error("{subnet} is {family}, which the config does not enable")]
    Surplus {
        /// "IPv4" or "IPv6".
        family: &'static str,
        /// The lease's subnet of that family.
        subnet: IpNet,
    },
    /// The subnet is outside, or of another length.
    #[error("{subnet} is none of the subnets of length /{subnet_len} from {min} to {max}")]
    Outside {
        /// The lease's subnet.
        subnet: IpNet,
        /// Length that the config wants.
        subnet_len: u8,
        /// The first subnet that is given out.
        min: IpNet,
        /// The last subnet that is given out.
        max: IpNet,
    },
}

/// Checks families, network, length and the limits from `min` to `max`.
///
/// # Errors
/// The first thing that does not fit.
pub fn fit(config: &NetworkConfig, subnets: &Prefixes) -> Result<(), Misfit> {
    fit_family("IPv4", config.v4.as_ref(), subnets.v4, subnets)?;
    fit_family("IPv6", config.v6.as_ref(), subnets.v6, subnets)
}

fn fit_family<N: Prefix + Into<IpNet>>(
    family: &'static str,
    range: Option<&Range<N>>,
    subnet: Option<N>,
    subnets: &Prefixes,
) -> Result<(), Misfit> {
    match (range, subnet) {
        (None, None) => Ok(()),
        (Some(range), Some(subnet)) if range.fits(subnet) => Ok(()),
        (Some(range), Some(subnet)) => {
            Err(Misfit::Outside { subnet: subnet.into(), subnet_len: range.subnet_len, min: range.min.into(), max: range.max.into() })
        }
        (Some(_), None) => Err(Misfit::Lacks { family, subnets: *subnets }),
        (None, Some(subnet)) => Err(Misfit::Surplus { family, subnet: subnet.into() }),
    }
}

/// True when each subnet has the length that the config gives to its family, wherever it lies: it is one subnet, and no more.
pub fn is_one_subnet(config: &NetworkConfig, subnets: &Prefixes) -> bool {
    let v4 = subnets.v4.is_none_or(|net| config.v4.is_some_and(|range| range.subnet_len == net.prefix_len()));
    let v6 = subnets.v6.is_none_or(|net| config.v6.is_some_and(|range| range.subnet_len == net.prefix_len()));
    v4 && v6
}

/// True when both configs speak of the same overlay networks, whatever else differs.
pub fn same_networks(a: &NetworkConfig, b: &NetworkConfig) -> bool {
    a.v4.map(|range| range.network) == b.v4.map(|range| range.network) && a.v6.map(|range| range.network) == b.v6.map(|range| range.network)
}

/// The own leases among `leases`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recognised {
    /// The one to adopt; it fits the config.
    pub mine: Option<Lease>,
    /// The others: they do not fit, or there is a better one. To be given back once the own lease stands.
    pub surplus: Vec<Lease>,
}

/// Finds this node's leases: those with its id, and those without any id at its public address (written by flanneld). Of several that fit, the one
/// on `previous` is taken, else one with the id, else the first.
pub fn recognise<'a>(
    config: &NetworkConfig,
    leases: impl IntoIterator<Item = &'a Lease>,
    node: &NodeId,
    public: &Addresses,
    previous: Option<&Prefixes>,
) -> Recognised {
    let mut own: Vec<Lease> = leases.into_iter().filter(|lease| lease.belongs_to(node, public)).cloned().collect();
    own.sort_by_key(|lease| (fit(config, &lease.subnets).is_err(), Some(&lease.subnets) != previous, lease.node.is_none()));
    let fits = own.first().is_some_and(|lease| fit(config, &lease.subnets).is_ok());
    let mine = fits.then(|| own.remove(0));
    Recognised { mine, surplus: own }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{lease, lease_of_flannel, net};

    fn config(text: &str) -> NetworkConfig {
        NetworkConfig::parse(text).expect("a good config")
    }

    #[test]
    fn subnets_fit_by_family_length_and_limits() {
        let narrow = config(r#"{"Network": "10.3.0.0/16", "SubnetMin": "10.3.4.0", "SubnetMax": "10.3.8.0"}"#);
        assert_eq!(fit(&narrow, &net("10.3.4.0/24")), Ok(()));
        assert!(matches!(fit(&narrow, &net("10.3.9.0/24")), Err(Misfit::Outside { .. })));
        assert!(matches!(fit(&narrow, &net("10.3.4.0/25")), Err(Misfit::Outside { .. })));
        assert!(matches!(fit(&narrow, &net("fd00::/64")), Err(Misfit::Lacks { family: "IPv4", .. })));
        let both = Prefixes { v6: net("fd00::/64").v6, ..net("10.3.4.0/24") };
        assert!(matches!(fit(&narrow, &both), Err(Misfit::Surplus { family: "IPv6", .. })));
    }

    #[test]
    fn the_id_owns_and_the_address_only_where_there_is_no_id() {
        let config = config(r#"{"Network": "10.3.0.0/16"}"#);
        let leases = [lease("other", "10.3.1.0/24", "192.0.2.1"), lease("me", "10.3.2.0/24", "192.0.2.9")];
        let found = recognise(&config, &leases, &NodeId("me".into()), &leases[0].public, None);
        assert_eq!(found.mine, Some(leases[1].clone()), "a node that has this node's old address keeps its lease");
        assert!(found.surplus.is_empty());
        let legacy = [lease_of_flannel("10.3.5.0/24", "192.0.2.1")];
        assert_eq!(recognise(&config, &legacy, &NodeId("me".into()), &leases[0].public, None).mine, Some(legacy[0].clone()));
    }

    #[test]
    fn of_several_the_fitting_and_previous_one_is_taken() {
        let config = config(r#"{"Network": "10.3.0.0/16"}"#);
        let leases =
            [lease("me", "10.9.1.0/24", "192.0.2.1"), lease("me", "10.3.1.0/24", "192.0.2.1"), lease("me", "10.3.2.0/24", "192.0.2.1")];
        let found = recognise(&config, &leases, &NodeId("me".into()), &leases[0].public, Some(&net("10.3.2.0/24")));
        assert_eq!(found.mine, Some(leases[2].clone()));
        assert_eq!(found.surplus, [leases[1].clone(), leases[0].clone()]);
    }
}
