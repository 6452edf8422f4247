//! What a file is, by its name.
//!
//! A lease's file is named after its subnets as flannel names its keys in etcd: `10.10.26.0-24.lease`, `10.10.26.0-24&fd10:0:0:25::-64.lease`,
//! or `fd10:0:0:25::-64.lease`. One subnet has one name, so that creating the file is what decides who holds it.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use twill_guest::store::{Prefixes, Trouble};

/// flannel's network config, verbatim.
pub const CONFIG: &str = "config.json";
/// Made once, by the first to write: a directory made anew gets another one.
pub const IDENTITY: &str = "identity.json";
/// What the names of leases end in.
const LEASE: &str = ".lease";
/// Endings of editors' drafts and back-ups.
const DRAFTS: [&str; 8] = ["~", ".swp", ".swx", ".bak", ".orig", ".tmp", ".new", ".rej"];

/// What a file is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The network config.
    Config,
    /// The mark of this directory.
    Identity,
    /// The lease of these subnets.
    Lease(Subnets),
    /// Not ours, and nothing to speak of: hidden files, editors' drafts.
    Ignored,
    /// Something that does not belong here.
    Foreign,
}

impl Kind {
    /// What the file `name` is.
    pub fn of(name: &str) -> Kind {
        match name {
            CONFIG => Kind::Config,
            IDENTITY => Kind::Identity,
            _ if is_draft(name) => Kind::Ignored,
            _ => Subnets::from_file_name(name).map_or(Kind::Foreign, Kind::Lease),
        }
    }
}

fn is_draft(name: &str) -> bool {
    name.starts_with('.') || name.starts_with('#') || name == "lost+found" || DRAFTS.iter().any(|ending| name.ends_with(ending))
}

/// The subnets of a lease, at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnets {
    v4: Option<Ipv4Net>,
    v6: Option<Ipv6Net>,
}

impl Subnets {
    /// Reads what the host passed.
    pub fn parse(prefixes: &Prefixes) -> Result<Self, Trouble> {
        let invalid = |text: &str| Trouble::Invalid(format!("\"{text}\" is not a subnet"));
        let v4 = prefixes.v4.as_deref().map(|text| text.parse::<Ipv4Net>().map_err(|_| invalid(text))).transpose()?;
        let v6 = prefixes.v6.as_deref().map(|text| text.parse::<Ipv6Net>().map_err(|_| invalid(text))).transpose()?;
        if v4.is_none() && v6.is_none() {
            return Err(Trouble::Invalid("a lease needs a subnet".into()));
        }
        Ok(Subnets { v4: v4.map(|net| net.trunc()), v6: v6.map(|net| net.trunc()) })
    }

    /// As the contract writes them.
    pub fn prefixes(&self) -> Prefixes {
        Prefixes { v4: self.v4.map(|net| net.to_string()), v6: self.v6.map(|net| net.to_string()) }
    }

    /// The name of their lease's file.
    pub fn file_name(&self) -> String {
        let parts: Vec<String> = self.nets().map(|net| format!("{}-{}", net.addr(), net.prefix_len())).collect();
        parts.join("&") + LEASE
    }

    /// None when `name` is not just what `file_name` makes of some subnets.
    fn from_file_name(name: &str) -> Option<Self> {
        let mut subnets = Subnets { v4: None, v6: None };
        for part in name.strip_suffix(LEASE)?.split('&') {
            let (address, len) = part.rsplit_once('-')?;
            match IpNet::new(address.parse().ok()?, len.parse().ok()?).ok()? {
                IpNet::V4(net) => subnets.v4 = Some(net.trunc()),
                IpNet::V6(net) => subnets.v6 = Some(net.trunc()),
            }
        }
        (subnets.file_name() == name).then_some(subnets)
    }

    /// True when some address lies in both.
    pub fn overlap(&self, other: &Subnets) -> bool {
        self.nets().any(|a| other.nets().any(|b| a.contains(&b) || b.contains(&a)))
    }

    fn nets(&self) -> impl Iterator<Item = IpNet> + use<> {
        self.v4.map(IpNet::V4).into_iter().chain(self.v6.map(IpNet::V6))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_flannels() {
        let both = Prefixes { v4: Some("10.10.26.0/24".into()), v6: Some("fd10:0:0:25::/64".into()) };
        assert_eq!(Subnets::parse(&both).expect("subnets").file_name(), "10.10.26.0-24&fd10:0:0:25::-64.lease");
    }

    #[test]
    fn everything_else_is_foreign_or_ignored() {
        for name in [
            "10.1.2.0.lease",
            "10.1.2.3-24.lease",
            "10.1.2.0-024.lease",
            "FD10::-64.lease",
            "10.1.2.0-33.lease",
            "notes.txt",
            ".lease",
            "a&b.lease",
        ] {
            let expected = if name.starts_with('.') { Kind::Ignored } else { Kind::Foreign };
            assert_eq!(Kind::of(name), expected, "{name}");
        }
        for name in [".config.json.swp", "config.json~", "10.1.2.0-24.lease.bak", "lost+found"] {
            assert_eq!(Kind::of(name), Kind::Ignored, "{name}");
        }
        assert_eq!((Kind::of(CONFIG), Kind::of(IDENTITY)), (Kind::Config, Kind::Identity));
    }

    proptest! {
        #[test]
        fn names_go_round(v4: Option<(u32, u8)>, v6: Option<(u128, u8)>) {
            let v4 = v4.map(|(bits, len)| Ipv4Net::new(bits.into(), len % 33).expect("length").trunc());
            let v6 = v6.map(|(bits, len)| Ipv6Net::new(bits.into(), len % 129).expect("length").trunc());
            prop_assume!(v4.is_some() || v6.is_some());
            let subnets = Subnets { v4, v6 };
            prop_assert_eq!(Kind::of(&subnets.file_name()), Kind::Lease(subnets));
            prop_assert_eq!(Subnets::parse(&subnets.prefixes()), Ok(subnets));
        }
    }
}
