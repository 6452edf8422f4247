//! Which target an address belongs to: longest prefix first, built once, then only read.
//!
//! Leases of one network have subnets of one length, so the usual form is an array indexed by subnet number (about 1 ns a look-up). Any
//! other set of prefixes is flattened into disjoint ranges and searched by halves. Of two equal prefixes the later one wins, as in flannel.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

/// The array form is taken up to this many subnets between the first and the last: 1 MiB.
const MOST_BLOCKS: usize = 1 << 18;
const NONE: u32 = u32::MAX;

/// Prefixes of both families and the number of the target that each leads to.
#[derive(Debug)]
pub struct Lookup {
    v4: Form,
    v6: Ranges,
}

#[derive(Debug)]
enum Form {
    Blocks(Blocks),
    Ranges(Ranges),
}

impl Lookup {
    /// Builds it from prefixes and target numbers below `u32::MAX`.
    pub fn new(prefixes: &[(IpNet, u32)]) -> Self {
        let v4: Vec<(Ipv4Net, u32)> = prefixes.iter().filter_map(|(net, target)| v4(net).map(|net| (net, *target))).collect();
        let form = match Blocks::new(&v4) {
            Some(blocks) => Form::Blocks(blocks),
            None => Form::Ranges(Ranges::new(spans(prefixes, true))),
        };
        Lookup { v4: form, v6: Ranges::new(spans(prefixes, false)) }
    }

    /// The target of the longest prefix that holds `address`.
    pub fn get(&self, address: IpAddr) -> Option<u32> {
        match (address, &self.v4) {
            (IpAddr::V4(address), Form::Blocks(blocks)) => blocks.get(address),
            (IpAddr::V4(address), Form::Ranges(ranges)) => ranges.get(address.to_bits().into()),
            (IpAddr::V6(address), _) => self.v6.get(address.to_bits()),
        }
    }
}

fn v4(net: &IpNet) -> Option<Ipv4Net> {
    match net {
        IpNet::V4(net) => Some(*net),
        IpNet::V6(_) => None,
    }
}

/// An array over the subnets from the first to the last, all of one length.
#[derive(Debug)]
struct Blocks {
    first: u32,
    shift: u32,
    slots: Box<[u32]>,
}

impl Blocks {
    fn new(prefixes: &[(Ipv4Net, u32)]) -> Option<Self> {
        let len = prefixes.first()?.0.prefix_len();
        if len == 0 || prefixes.iter().any(|(net, _)| net.prefix_len() != len) {
            return None;
        }
        let shift = 32 - u32::from(len);
        let number = |net: &Ipv4Net| net.network().to_bits() >> shift;
        let first = prefixes.iter().map(|(net, _)| number(net)).min()?;
        let last = prefixes.iter().map(|(net, _)| number(net)).max()?;
        let count = (last - first) as usize + 1;
        if count > MOST_BLOCKS {
            return None;
        }
        let mut slots = vec![NONE; count].into_boxed_slice();
        for (net, target) in prefixes {
            slots[(number(net) - first) as usize] = *target;
        }
        Some(Blocks { first, shift, slots })
    }

    fn get(&self, address: Ipv4Addr) -> Option<u32> {
        // Below the first block the subtraction wraps to a number beyond the last one.
        let index = (address.to_bits() >> self.shift).wrapping_sub(self.first) as usize;
        self.slots.get(index).copied().filter(|&target| target != NONE)
    }
}

/// First and last address, as numbers, and the target.
type Span = (u128, u128, u32);

fn spans(prefixes: &[(IpNet, u32)], of_v4: bool) -> Vec<Span> {
    let number = |address: IpAddr| match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    };
    let family = prefixes.iter().filter(|(net, _)| matches!(net, IpNet::V4(_)) == of_v4);
    family.map(|(net, target)| (number(net.network()), number(net.broadcast()), *target)).collect()
}

/// Disjoint ranges: `targets[i]` holds from `starts[i]` to just before `starts[i + 1]`.
#[derive(Debug, Default)]
struct Ranges {
    starts: Vec<u128>,
    targets: Vec<u32>,
}

impl Ranges {
    /// Sweeps over the prefixes in order of address, with the prefixes that are open at a moment on a stack, the longest on top.
    fn new(mut spans: Vec<Span>) -> Self {
        spans.sort_by_key(|&(first, last, _)| (first, std::cmp::Reverse(last)));
        let mut ranges = Ranges::default();
        let mut open: Vec<(u128, u32)> = Vec::new();
        for (first, last, target) in spans {
            ranges.close_until(&mut open, Some(first));
            ranges.begin(first, target);
            open.push((last, target));
        }
        ranges.close_until(&mut open, None);
        ranges
    }

    /// Closes the prefixes that end before `limit`; all of them when there is none.
    fn close_until(&mut self, open: &mut Vec<(u128, u32)>, limit: Option<u128>) {
        while let Some((last, _)) = open.pop_if(|(last, _)| limit.is_none_or(|limit| *last < limit)) {
            if let Some(next) = last.checked_add(1) {
                self.begin(next, open.last().map_or(NONE, |(_, target)| *target));
            }
        }
    }

    fn begin(&mut self, start: u128, target: u32) {
        if self.starts.last() == Some(&start) {
            self.targets.pop();
        } else {
            self.starts.push(start);
        }
        self.targets.push(target);
    }

    fn get(&self, address: u128) -> Option<u32> {
        let index = self.starts.partition_point(|&start| start <= address).checked_sub(1)?;
        Some(self.targets[index]).filter(|&target| target != NONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scan(prefixes: &[(IpNet, u32)], address: IpAddr) -> Option<u32> {
        prefixes.iter().filter(|(net, _)| net.contains(&address)).max_by_key(|(net, _)| net.prefix_len()).map(|(_, target)| *target)
    }

    /// Addresses near a few others, so that prefixes nest and touch.
    fn near() -> impl Strategy<Value = u32> {
        (prop::sample::select(vec![0u32, 0x0a05_0000, 0x0a05_ff00, 0xffff_ff00]), 0u32..=0xff, any::<bool>())
            .prop_map(|(base, low, high)| base | if high { low << 8 } else { low })
    }

    fn any_prefixes() -> impl Strategy<Value = Vec<(IpNet, u32)>> {
        let one = (near(), 0u8..=32).prop_map(|(bits, len)| IpNet::V4(Ipv4Net::new_assert(bits.into(), len).trunc()));
        prop::collection::vec(one, 0..40).prop_map(|nets| nets.into_iter().zip(0..).collect())
    }

    fn equal_prefixes() -> impl Strategy<Value = Vec<(IpNet, u32)>> {
        let one = |len: u8| near().prop_map(move |bits| IpNet::V4(Ipv4Net::new_assert(bits.into(), len).trunc()));
        (8u8..=32).prop_flat_map(move |len| prop::collection::vec(one(len), 1..40)).prop_map(|nets| nets.into_iter().zip(0..).collect())
    }

    proptest! {
        #[test]
        fn agrees_with_a_scan(prefixes in prop_oneof![any_prefixes(), equal_prefixes()], probes in prop::collection::vec(near(), 60)) {
            let lookup = Lookup::new(&prefixes);
            for address in probes.into_iter().map(|bits| IpAddr::V4(bits.into())) {
                prop_assert_eq!(lookup.get(address), scan(&prefixes, address), "{}", address);
            }
        }
    }

    #[test]
    fn one_length_gives_the_array() {
        let prefixes: Vec<(IpNet, u32)> = (0..256).map(|n| (format!("10.5.{n}.0/24").parse().expect("net"), n)).collect();
        let lookup = Lookup::new(&prefixes);
        assert!(matches!(lookup.v4, Form::Blocks(_)));
        assert_eq!(lookup.get("10.5.255.255".parse().expect("address")), Some(255));
        assert_eq!(lookup.get("10.4.255.255".parse().expect("address")), None);
        assert_eq!(lookup.get("10.6.0.0".parse().expect("address")), None);
    }

    #[test]
    fn a_wide_span_of_small_subnets_takes_no_array() {
        let prefixes = [("10.0.0.0/30".parse().expect("net"), 0), ("100.0.0.0/30".parse().expect("net"), 1)];
        let lookup = Lookup::new(&prefixes);
        assert!(matches!(lookup.v4, Form::Ranges(_)));
        assert_eq!(lookup.get("100.0.0.3".parse().expect("address")), Some(1));
    }

    #[test]
    fn ipv6_goes_by_the_longest_prefix() {
        let prefixes =
            [("fd00::/16".parse().expect("net"), 0), ("fd00:5::/64".parse().expect("net"), 1), ("::/0".parse().expect("net"), 2)];
        let lookup = Lookup::new(&prefixes);
        assert_eq!(lookup.get("fd00:5::9".parse().expect("address")), Some(1));
        assert_eq!(lookup.get("fd00:5:0:1::9".parse().expect("address")), Some(0));
        assert_eq!(lookup.get("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".parse().expect("address")), Some(2));
    }
}
