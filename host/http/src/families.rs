//! What names a node's subnets and addresses: at most one of each family.

use std::net::IpAddr;

use ipnet::IpNet;
use twill_model::{Addresses, Prefixes};

/// One subnet of each family at most, without host bits.
///
/// # Errors
/// There is none, or two of a family; the words say what to do.
pub fn prefixes(nets: &[IpNet]) -> Result<Prefixes, &'static str> {
    let mut prefixes = Prefixes::default();
    for net in nets {
        let twice = match net {
            IpNet::V4(net) => prefixes.v4.replace(net.trunc()).is_some(),
            IpNet::V6(net) => prefixes.v6.replace(net.trunc()).is_some(),
        };
        if twice {
            return Err("name one subnet of a family");
        }
    }
    if nets.is_empty() { Err("name the subnet") } else { Ok(prefixes) }
}

/// One address of each family at most.
///
/// # Errors
/// There is none, or two of a family; the words say what to do.
pub fn addresses(all: &[IpAddr]) -> Result<Addresses, &'static str> {
    let mut addresses = Addresses::default();
    for address in all {
        let twice = match address {
            IpAddr::V4(v4) => addresses.v4.replace(*v4).is_some(),
            IpAddr::V6(v6) => addresses.v6.replace(*v6).is_some(),
        };
        if twice {
            return Err("name one address of a family");
        }
    }
    if all.is_empty() { Err("name the address of the node that it is for") } else { Ok(addresses) }
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
