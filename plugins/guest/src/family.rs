//! The two address families, for backends that treat them alike: pick the family's member out of a record that has one for each.
//!
//! Addresses stay the text that the contract makes them: canonical, so that a prefix's base address is what stands before its slash. Nothing is
//! parsed here; the host does that with whatever a plan holds.

use crate::backend::{Addresses, Hop, Prefixes, Refusal, Road, Underlay};

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both, IPv4 first.
    pub const BOTH: [Family; 2] = [Family::V4, Family::V6];

    /// The family of an address or prefix.
    pub fn of(text: &str) -> Family {
        if text.contains(':') { Family::V6 } else { Family::V4 }
    }

    /// Its name for people.
    pub fn name(self) -> &'static str {
        self.pick("IPv4", "IPv6")
    }

    /// The first for IPv4, the second for IPv6.
    pub fn pick<T>(self, v4: T, v6: T) -> T {
        match self {
            Family::V4 => v4,
            Family::V6 => v6,
        }
    }

    /// This family's address.
    pub fn address(self, of: &Addresses) -> Option<&str> {
        self.pick(&of.v4, &of.v6).as_deref()
    }

    /// This family's prefix.
    pub fn prefix(self, of: &Prefixes) -> Option<&str> {
        self.pick(&of.v4, &of.v6).as_deref()
    }

    /// This family's road.
    pub fn hop(self, of: Road) -> Hop {
        self.pick(of.v4, of.v6)
    }

    /// `address` with the length that makes it a prefix of one: /32 or /128.
    pub fn host_prefix(self, address: &str) -> String {
        format!("{address}/{}", self.pick(32, 128))
    }

    /// This family's public address, or why there is none. `whose`: "this node", "the peer".
    pub fn public<'a>(self, of: &'a Addresses, whose: &str) -> Result<&'a str, Refusal> {
        self.address(of).ok_or_else(|| Refusal::Unsuitable(format!("{whose} has no public {} address", self.name())))
    }

    /// The interface's own address of this family: the public one if it is there, else (behind NAT) the first.
    pub fn interface_address<'a>(self, underlay: &'a Underlay, public: &Addresses) -> Result<&'a str, Refusal> {
        let own = || underlay.addresses.iter().map(|net| base(net)).filter(|address| Family::of(address) == self);
        let found = own().find(|address| self.address(public) == Some(*address)).or_else(|| own().next());
        found.ok_or_else(|| Refusal::Unsuitable(format!("{} has no {} address", underlay.name, self.name())))
    }
}

/// The families that `prefixes` has.
pub fn families(prefixes: &Prefixes) -> impl Iterator<Item = Family> {
    Family::BOTH.into_iter().filter(|family| family.prefix(prefixes).is_some())
}

/// The address of a prefix, without its length; of a subnet this is its base address.
pub fn base(prefix: &str) -> &str {
    prefix.split('/').next().unwrap_or(prefix)
}

/// The plan of every family that both nodes have: whatever families can be had, or all reasons why none can. What is invalid is so as a whole.
pub fn each_shared<T>(
    mine: &Prefixes,
    theirs: &Prefixes,
    mut plan: impl FnMut(Family) -> Result<Vec<T>, Refusal>,
) -> Result<Vec<T>, Refusal> {
    let (mut items, mut reasons) = (Vec::new(), Vec::new());
    for family in families(mine).filter(|family| family.prefix(theirs).is_some()) {
        match plan(family) {
            Ok(more) => items.extend(more),
            Err(Refusal::Unsuitable(reason)) => reasons.push(reason),
            Err(invalid) => return Err(invalid),
        }
    }
    match (items.is_empty(), reasons.is_empty()) {
        (false, _) => Ok(items),
        (true, false) => Err(Refusal::Unsuitable(reasons.join("; "))),
        (true, true) => Err(Refusal::Unsuitable("this node and the peer have no address family in common".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixes(v4: Option<&str>, v6: Option<&str>) -> Prefixes {
        Prefixes { v4: v4.map(Into::into), v6: v6.map(Into::into) }
    }

    fn unsuitable(text: &str) -> Result<Vec<Family>, Refusal> {
        Err(Refusal::Unsuitable(text.into()))
    }

    #[test]
    fn a_family_that_cannot_be_had_does_not_cost_the_other() {
        let both = prefixes(Some("10.1.0.0/24"), Some("fd10::/64"));
        let only_v6 = |family| if family == Family::V6 { Ok(vec![family]) } else { unsuitable("no IPv4") };
        assert_eq!(each_shared(&both, &both, only_v6), Ok(vec![Family::V6]));
        assert_eq!(each_shared(&both, &both, |family| unsuitable(family.name())), unsuitable("IPv4; IPv6"));
        let invalid = || Err::<Vec<Family>, _>(Refusal::Invalid("wrong".into()));
        assert_eq!(each_shared(&both, &both, |family| if family == Family::V6 { invalid() } else { Ok(vec![family]) }), invalid());
    }

    #[test]
    fn only_families_that_both_have_are_planned() {
        let (v4, v6) = (prefixes(Some("10.1.0.0/24"), None), prefixes(None, Some("fd10::/64")));
        assert_eq!(each_shared(&v4, &v4, |family| Ok(vec![family])), Ok(vec![Family::V4]));
        assert_eq!(each_shared(&v4, &v6, |family| Ok(vec![family])), unsuitable("this node and the peer have no address family in common"));
    }

    #[test]
    fn of_several_own_addresses_the_public_one_is_used() {
        let addresses = ["fe80::1/64", "10.98.0.5/24", "10.98.0.6/24"].map(String::from).to_vec();
        let underlay = Underlay { name: "eth0".into(), mtu: 1500, addresses };
        let public = |v4: &str| Addresses { v4: Some(v4.into()), v6: None };
        assert_eq!(Family::V4.interface_address(&underlay, &public("10.98.0.6")), Ok("10.98.0.6"));
        assert_eq!(Family::V4.interface_address(&underlay, &public("203.0.113.7")), Ok("10.98.0.5"));
        assert_eq!(Family::V6.interface_address(&underlay, &public("203.0.113.7")), Ok("fe80::1"));
    }
}
