//! What a key is, by its name: flannel's keys under `<prefix>/config` and `<prefix>/subnets/`, ours under `<prefix>/twill/`. Pure.
//!
//! Nothing of ours begins with `<prefix>/subnets`: flannel reads all that does, and one key there that it cannot read costs every flannel node
//! all its peers. A lease without IPv4 has no key that flannel could bear, so its record is the lease.

use ipnet::{Ipv4Net, Ipv6Net};
use twill_guest::store::{Subnets, Trouble};

/// The keys below a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    prefix: String,
}

/// What a key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// flannel's network config.
    Config,
    /// The lease of these subnets, in flannel's shape.
    Lease(Subnets),
    /// Under flannel's leases, but none.
    Odd(Oddness),
    /// What twill adds to the lease of these subnets; all of it where there is no IPv4.
    Record(Subnets),
    /// The mark of this store.
    Marker,
    /// Somebody else's.
    Foreign,
}

/// A key among flannel's leases that is not named as flannel names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oddness {
    /// What is wrong with it.
    pub reason: String,
    /// The subnets that it may stand for, which nobody should take.
    pub blocks: Option<Subnets>,
}

impl Layout {
    /// Keys below `prefix`; slashes at its end do not count.
    pub fn new(prefix: &str) -> Result<Self, Trouble> {
        let trimmed = prefix.trim_end_matches('/');
        if trimmed.is_empty() || !trimmed.starts_with('/') {
            return Err(Trouble::Invalid(format!("the option \"prefix\" must begin with a slash and be more than that, not \"{prefix}\"")));
        }
        Ok(Layout { prefix: trimmed.into() })
    }

    /// The network config.
    pub fn config(&self) -> String {
        format!("{}/config", self.prefix)
    }

    /// The mark of this store.
    pub fn marker(&self) -> String {
        format!("{}/twill/store", self.prefix)
    }

    /// The key that decides who holds `subnets`: flannel's, or our record where there is no IPv4.
    pub fn place(&self, subnets: &Subnets) -> String {
        if subnets.has_v4() { format!("{}/subnets/{}", self.prefix, subnets.name()) } else { self.record(subnets) }
    }

    /// Where flannel has a lease without IPv4. Read, never written: it stops flannel from giving out any IPv4 subnet.
    pub fn flannels_v6(&self, subnets: &Subnets) -> String {
        format!("{}/subnets/0.0.0.0-0&{}", self.prefix, subnets.name())
    }

    /// Our record of `subnets`.
    pub fn record(&self, subnets: &Subnets) -> String {
        format!("{}/twill/nodes/{}", self.prefix, subnets.name())
    }

    /// First key and end of all that is below the prefix.
    pub fn all(&self) -> (String, String) {
        // "0" is what follows "/".
        (format!("{}/", self.prefix), format!("{}0", self.prefix))
    }

    /// What `key` is.
    pub fn kind(&self, key: &[u8]) -> Kind {
        let below = key.strip_prefix(self.prefix.as_bytes()).and_then(|rest| rest.strip_prefix(b"/"));
        let Some(below) = below else { return Kind::Foreign };
        let Ok(below) = std::str::from_utf8(below) else {
            return if below.starts_with(b"subnets") { odd("its name is no text", None) } else { Kind::Foreign };
        };
        match below {
            "config" => Kind::Config,
            "twill/store" => Kind::Marker,
            _ if below.starts_with("subnets") => match below.strip_prefix("subnets/") {
                Some(name) => lease(name),
                None => odd("flannel takes it for a lease, because it begins as leases do", None),
            },
            _ => below.strip_prefix("twill/nodes/").and_then(Subnets::from_name).map_or(Kind::Foreign, Kind::Record),
        }
    }
}

fn odd(reason: &str, blocks: Option<Subnets>) -> Kind {
    Kind::Odd(Oddness { reason: reason.into(), blocks })
}

/// What flannel makes of a lease's name.
fn lease(name: &str) -> Kind {
    let Some((v4, v6)) = halves(name) else { return odd("its name is no subnet", None) };
    // flannel's own lease without IPv4: read, never written.
    let v4 = Some(v4).filter(|net| *net != Ipv4Net::default());
    let Some(subnets) = Subnets::new(v4, v6) else { return odd("its name is the whole Internet", None) };
    let spelled = if subnets.has_v4() { subnets.name() } else { format!("0.0.0.0-0&{}", subnets.name()) };
    if spelled != name {
        return odd("its name is not how flannel writes that subnet", Some(subnets));
    }
    if subnets.nets().any(|net| net.prefix_len() == net.max_prefix_len()) {
        return odd("flannel cannot read a subnet of one address", Some(subnets));
    }
    Kind::Lease(subnets)
}

fn halves(name: &str) -> Option<(Ipv4Net, Option<Ipv6Net>)> {
    let (v4, v6) = name.split_once('&').map_or((name, None), |(v4, v6)| (v4, Some(v6)));
    let v6 = v6.map(|text| text.rsplit_once('-').and_then(|(address, len)| Ipv6Net::new(address.parse().ok()?, len.parse().ok()?).ok()));
    let (address, len) = v4.rsplit_once('-')?;
    let v4 = Ipv4Net::new(address.parse().ok()?, len.parse().ok()?).ok()?;
    match v6 {
        Some(None) => None,
        Some(v6) => Some((v4, v6)),
        None => Some((v4, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use twill_guest::store::Prefixes;

    fn layout() -> Layout {
        Layout::new("/coreos.com/network/").expect("a prefix")
    }

    fn subnets(v4: Option<&str>, v6: Option<&str>) -> Subnets {
        Subnets::parse(&Prefixes { v4: v4.map(Into::into), v6: v6.map(Into::into) }).expect("subnets")
    }

    fn kind(name: &str) -> Kind {
        layout().kind(format!("/coreos.com/network/{name}").as_bytes())
    }

    #[test]
    fn keys_are_flannels_and_ours_lie_elsewhere() {
        let v4 = subnets(Some("10.10.66.0/24"), None);
        assert_eq!(layout().place(&v4), "/coreos.com/network/subnets/10.10.66.0-24");
        let dual = subnets(Some("10.10.26.0/24"), Some("fd10:0:0:25::/64"));
        assert_eq!(layout().place(&dual), "/coreos.com/network/subnets/10.10.26.0-24&fd10:0:0:25::-64");
        let v6 = subnets(None, Some("fd10:0:0:25::/64"));
        for own in [layout().place(&v6), layout().record(&v4), layout().record(&dual), layout().marker()] {
            assert!(own.starts_with("/coreos.com/network/twill/"), "{own}");
        }
        assert_eq!(layout().all(), ("/coreos.com/network/".into(), "/coreos.com/network0".into()));
    }

    #[test]
    fn eleven_malformed_names_are_no_leases() {
        for name in [
            "10.5.1.0",
            "10.5.1.0-",
            "10.5.1.300-24",
            "10.5.1.0-24x",
            "10.5.1-24",
            "10.5.1.0-33",
            "&fd00::-64",
            "10.5.1.0-24&",
            "10.5.1.0-24&fd00::",
            "10.5.1.0-24&fd00::g-64",
            "10.5.1.0-24&fd00::-129",
        ] {
            assert!(matches!(kind(&format!("subnets/{name}")), Kind::Odd(Oddness { blocks: None, .. })), "{name}");
        }
    }

    #[test]
    fn names_that_flannel_would_not_write_keep_their_subnet_from_being_taken() {
        for (name, meant) in [
            ("10.5.1.7-24", subnets(Some("10.5.1.0/24"), None)),
            ("10.5.1.0-024", subnets(Some("10.5.1.0/24"), None)),
            ("10.5.1.0-24&FD00::-64", subnets(Some("10.5.1.0/24"), Some("fd00::/64"))),
            ("10.5.1.0-32", subnets(Some("10.5.1.0/32"), None)),
        ] {
            assert!(
                matches!(kind(&format!("subnets/{name}")), Kind::Odd(Oddness { blocks: Some(subnets), .. }) if subnets == meant),
                "{name}"
            );
        }
    }

    #[test]
    fn everything_that_flannel_would_list_is_a_lease_or_odd() {
        assert!(matches!(kind("subnets-extra/x"), Kind::Odd(_)));
        assert!(matches!(kind("subnets"), Kind::Odd(_)));
        assert!(matches!(layout().kind(b"/coreos.com/network/subnets/\xff"), Kind::Odd(_)));
        assert_eq!(kind("config"), Kind::Config);
        assert_eq!(kind("config/x"), Kind::Foreign);
        assert_eq!(layout().kind(b"/coreos.com/networks/config"), Kind::Foreign);
    }

    #[test]
    fn flannels_lease_without_ipv4_is_read_as_one() {
        assert_eq!(kind("subnets/0.0.0.0-0&fd10::-64"), Kind::Lease(subnets(None, Some("fd10::/64"))));
        assert!(matches!(kind("subnets/0.0.0.0-0"), Kind::Odd(_)));
    }

    #[test]
    fn a_prefix_needs_a_slash_and_more() {
        for bad in ["", "/", "network"] {
            assert!(matches!(Layout::new(bad), Err(Trouble::Invalid(_))), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn keys_go_round(v4: Option<(u32, u8)>, v6: Option<(u128, u8)>) {
            let v4 = v4.map(|(bits, len)| Ipv4Net::new(bits.into(), 1 + len % 31).expect("length").trunc()).filter(|net| *net != Ipv4Net::default());
            let v6 = v6.map(|(bits, len)| Ipv6Net::new(bits.into(), len % 128).expect("length").trunc());
            let Some(subnets) = Subnets::new(v4, v6) else { return Ok(()) };
            let place = layout().kind(layout().place(&subnets).as_bytes());
            prop_assert_eq!(place, if v4.is_some() { Kind::Lease(subnets) } else { Kind::Record(subnets) });
            prop_assert_eq!(layout().kind(layout().record(&subnets).as_bytes()), Kind::Record(subnets));
        }
    }
}
