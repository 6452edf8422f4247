//! Arithmetic on a range of subnets, the same for both families: how many there are, which is the n-th, which number one has.
//!
//! Subnets count from 0 = `min`. Counts are `u128`: an IPv6 range may hold more than a `u64` can say.

use ipnet::{Ipv4Net, Ipv6Net};

use super::Range;

/// A prefix seen as a number and a length, so that one arithmetic serves both families.
pub trait Prefix: Copy + Eq + std::fmt::Display {
    /// Bits of an address.
    const WIDTH: u8;
    /// The network address as a number.
    fn base(self) -> u128;
    /// The prefix length.
    fn length(self) -> u8;
    /// The prefix of this length around the address `base`; host bits are dropped. Bits above the width, and lengths above it, are dropped too.
    fn around(base: u128, length: u8) -> Self;

    /// The last address as a number.
    fn last(self) -> u128 {
        self.base() | (u128::MAX.checked_shr(128 - u32::from(Self::WIDTH - self.length())).unwrap_or(0))
    }
}

impl Prefix for Ipv4Net {
    const WIDTH: u8 = 32;

    fn base(self) -> u128 {
        u128::from(u32::from(self.network()))
    }

    fn length(self) -> u8 {
        self.prefix_len()
    }

    fn around(base: u128, length: u8) -> Self {
        let low = u32::try_from(base & u128::from(u32::MAX)).unwrap_or(u32::MAX);
        Ipv4Net::new_assert(low.into(), length.min(Self::WIDTH)).trunc()
    }
}

impl Prefix for Ipv6Net {
    const WIDTH: u8 = 128;

    fn base(self) -> u128 {
        u128::from(self.network())
    }

    fn length(self) -> u8 {
        self.prefix_len()
    }

    fn around(base: u128, length: u8) -> Self {
        Ipv6Net::new_assert(base.into(), length.min(Self::WIDTH)).trunc()
    }
}

impl<N: Prefix> Range<N> {
    /// Addresses in one subnet; a subnet is never a whole address space, since parsing wants at least four of them.
    fn step(&self) -> u128 {
        self.min.last() - self.min.base() + 1
    }

    /// How many subnets are given out, at least 1.
    pub fn count(&self) -> u128 {
        (self.max.base() - self.min.base()) / self.step() + 1
    }

    /// The subnet with that number; none beyond the last.
    pub fn nth(&self, index: u128) -> Option<N> {
        (index < self.count()).then(|| N::around(self.min.base() + index * self.step(), self.subnet_len))
    }

    /// The number of a subnet; none when it is not one of those that are given out.
    pub fn index(&self, subnet: N) -> Option<u128> {
        let inside = subnet.length() == self.subnet_len && (self.min.base()..=self.max.base()).contains(&subnet.base());
        inside.then(|| (subnet.base() - self.min.base()) / self.step())
    }

    /// The number of the first subnet whose first address is `address` or later; none beyond the last.
    pub fn index_from(&self, address: u128) -> Option<u128> {
        let index = address.saturating_sub(self.min.base()).div_ceil(self.step());
        (index < self.count()).then_some(index)
    }

    /// True when `subnet` is one of those that are given out: right length, between `min` and `max`.
    pub fn fits(&self, subnet: N) -> bool {
        self.index(subnet).is_some()
    }

    /// True when `prefix` lies wholly inside the network, given out or not.
    pub fn contains(&self, prefix: N) -> bool {
        prefix.base() >= self.network.base() && prefix.last() <= self.network.last()
    }

    /// All subnets, first to last.
    pub fn iter(&self) -> impl Iterator<Item = N> + use<N> {
        let range = *self;
        let mut next = Some(0u128);
        std::iter::from_fn(move || {
            let index = next?;
            next = index.checked_add(1);
            range.nth(index)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn v4(network: &str, len: u8, min: &str, max: &str) -> Range<Ipv4Net> {
        let net = |text: &str| text.parse::<Ipv4Net>().expect("a prefix");
        Range { network: net(network), subnet_len: len, min: net(min), max: net(max) }
    }

    #[test]
    fn the_first_and_the_last_subnet_are_min_and_max() {
        let range = v4("10.3.0.0/16", 24, "10.3.1.0/24", "10.3.255.0/24");
        assert_eq!(range.count(), 255);
        assert_eq!(range.nth(0), Some(range.min));
        assert_eq!(range.nth(254), Some(range.max));
        assert_eq!(range.nth(255), None);
        assert_eq!(range.iter().count(), 255);
        assert_eq!(range.iter().last(), Some(range.max));
    }

    #[test]
    fn a_subnet_of_other_length_or_outside_does_not_fit() {
        let range = v4("10.3.0.0/16", 24, "10.3.8.0/24", "10.3.16.0/24");
        let fits = |text: &str| range.fits(text.parse().expect("a prefix"));
        assert!(fits("10.3.8.0/24") && fits("10.3.16.0/24"));
        assert!(!fits("10.3.7.0/24") && !fits("10.3.17.0/24") && !fits("10.3.8.0/25") && !fits("10.3.8.0/23"));
        assert!(range.contains("10.3.7.0/24".parse().expect("a prefix")));
        assert!(!range.contains("10.4.7.0/24".parse().expect("a prefix")));
    }

    #[test]
    fn the_top_of_the_address_space_does_not_overflow() {
        let range = v4("255.255.0.0/16", 30, "255.255.0.4/30", "255.255.255.252/30");
        assert_eq!(range.nth(range.count() - 1), Some(range.max));
        let all: Ipv6Net = "8000::/1".parse().expect("a prefix");
        let top = Range { network: all, subnet_len: 126, min: Ipv6Net::around(all.base(), 126), max: Ipv6Net::around(u128::MAX, 126) };
        assert_eq!(top.count(), 1 << 125);
        assert_eq!(top.nth(top.count() - 1), Some(top.max));
    }

    proptest! {
        #[test]
        fn index_undoes_nth(base in any::<u128>(), net in 1u8..=120, extra in 2u8..=8, pick in any::<u128>()) {
            let network = Ipv6Net::around(base, net);
            let subnet_len = net + extra.min(126 - net);
            let range = Range { network, subnet_len, min: Ipv6Net::around(network.base(), subnet_len), max: Ipv6Net::around(network.last(), subnet_len) };
            let index = pick % range.count();
            let subnet = range.nth(index).expect("below the count");
            prop_assert!(range.contains(subnet));
            prop_assert_eq!(range.index(subnet), Some(index));
            prop_assert_eq!(range.index_from(subnet.base()), Some(index));
            prop_assert_eq!(range.index_from(subnet.base().saturating_sub(1)), Some(index));
        }

        #[test]
        fn nth_undoes_index(base in any::<u32>(), net in 1u8..=28, extra in 2u8..=8, host in any::<u32>()) {
            let network = Ipv4Net::around(base.into(), net);
            let subnet_len = (net + extra).min(30);
            let range = Range { network, subnet_len, min: Ipv4Net::around(network.base(), subnet_len), max: Ipv4Net::around(network.last(), subnet_len) };
            let inside = network.base() | (u128::from(host) & (network.last() - network.base()));
            let subnet = Ipv4Net::around(inside, subnet_len);
            prop_assert_eq!(range.index(subnet).and_then(|index| range.nth(index)), Some(subnet));
        }
    }
}
