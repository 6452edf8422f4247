//! The subnets of a lease, checked, and the one name that they have in a store.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::store::{Prefixes, Trouble};

/// The subnets of a lease, at least one, host bits zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subnets {
    v4: Option<Ipv4Net>,
    v6: Option<Ipv6Net>,
}

impl Subnets {
    /// These two, host bits masked; none when both are missing.
    pub fn new(v4: Option<Ipv4Net>, v6: Option<Ipv6Net>) -> Option<Self> {
        (v4.is_some() || v6.is_some()).then(|| Subnets { v4: v4.map(|net| net.trunc()), v6: v6.map(|net| net.trunc()) })
    }

    /// Reads what the host passed.
    ///
    /// # Errors
    /// A text that is no prefix of its family, or no prefix at all.
    pub fn parse(prefixes: &Prefixes) -> Result<Self, Trouble> {
        let invalid = |text: &str| Trouble::Invalid(format!("\"{text}\" is not a subnet"));
        let v4 = prefixes.v4.as_deref().map(|text| text.parse::<Ipv4Net>().map_err(|_| invalid(text))).transpose()?;
        let v6 = prefixes.v6.as_deref().map(|text| text.parse::<Ipv6Net>().map_err(|_| invalid(text))).transpose()?;
        Subnets::new(v4, v6).ok_or_else(|| Trouble::Invalid("a lease needs a subnet".into()))
    }

    /// As the contract writes them.
    pub fn prefixes(&self) -> Prefixes {
        Prefixes { v4: self.v4.map(|net| net.to_string()), v6: self.v6.map(|net| net.to_string()) }
    }

    /// As flannel writes them in keys: `10.10.26.0-24&fd10:0:0:25::-64`.
    pub fn name(&self) -> String {
        let parts: Vec<String> = self.nets().map(|net| format!("{}-{}", net.addr(), net.prefix_len())).collect();
        parts.join("&")
    }

    /// None when `name` is not just what [`Subnets::name`] makes of some subnets: one subnet has one name.
    pub fn from_name(name: &str) -> Option<Self> {
        let (mut v4, mut v6) = (None, None);
        for part in name.split('&') {
            let (address, len) = part.rsplit_once('-')?;
            match IpNet::new(address.parse().ok()?, len.parse().ok()?).ok()? {
                IpNet::V4(net) => v4 = Some(net),
                IpNet::V6(net) => v6 = Some(net),
            }
        }
        Subnets::new(v4, v6).filter(|subnets| subnets.name() == name)
    }

    /// True when there is an IPv4 subnet among them.
    pub fn has_v4(&self) -> bool {
        self.v4.is_some()
    }

    /// True when some address lies in both.
    pub fn overlap(&self, other: &Subnets) -> bool {
        self.nets().any(|a| other.nets().any(|b| a.contains(&b) || b.contains(&a)))
    }

    /// One a family, IPv4 first.
    pub fn nets(&self) -> impl Iterator<Item = IpNet> + use<> {
        self.v4.map(IpNet::V4).into_iter().chain(self.v6.map(IpNet::V6))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_subnet_has_one_name() {
        let both = Prefixes { v4: Some("10.10.26.0/24".into()), v6: Some("fd10:0:0:25::/64".into()) };
        assert_eq!(Subnets::parse(&both).expect("subnets").name(), "10.10.26.0-24&fd10:0:0:25::-64");
        for other in ["10.1.2.0", "10.1.2.3-24", "10.1.2.0-024", "FD10::-64", "10.1.2.0-33", "a&b", "", "fd10::-64&10.1.2.0-24"] {
            assert_eq!(Subnets::from_name(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn names_and_prefixes_go_round(v4: Option<(u32, u8)>, v6: Option<(u128, u8)>) {
            let v4 = v4.map(|(bits, len)| Ipv4Net::new(bits.into(), len % 33).expect("length"));
            let v6 = v6.map(|(bits, len)| Ipv6Net::new(bits.into(), len % 129).expect("length"));
            let Some(subnets) = Subnets::new(v4, v6) else { return Ok(()) };
            prop_assert_eq!(Subnets::from_name(&subnets.name()), Some(subnets));
            prop_assert_eq!(Subnets::parse(&subnets.prefixes()), Ok(subnets));
        }
    }
}
