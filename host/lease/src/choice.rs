//! Which subnets to ask for: the own or previous one first, then free ones, in an order of this node's own so that racing nodes differ.
//!
//! Pure. The store makes one of the candidates atomic; where both families are in use the n-th IPv4 subnet goes with the n-th IPv6 subnet wherever both
//! are free, so that a store that keeps IPv4 unique keeps IPv6 unique with it.

use std::collections::HashSet;

use ipnet::{Ipv4Net, Ipv6Net};
use twill_model::network::{NetworkConfig, Prefix, Range};
use twill_model::{Lease, Prefixes};

use crate::fit::fit;
use crate::term::Spread;

/// How many free subnets are offered to the store; flannel's number.
pub const CANDIDATES: usize = 100;

/// No subnet is left.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "network {network} is full: each of its {subnets} subnets of length /{subnet_len} ({min} to {max}) is held by one of {leases} leases; give back the \
     leases of nodes that are gone, wait until they expire, or widen SubnetMin to SubnetMax, or Network, in the config"
)]
pub struct Full {
    /// The overlay network.
    pub network: String,
    /// Length of a node's subnet.
    pub subnet_len: u8,
    /// The first subnet that is given out.
    pub min: String,
    /// The last subnet that is given out.
    pub max: String,
    /// How many there are from `min` to `max`.
    pub subnets: u128,
    /// How many leases overlap them.
    pub leases: usize,
}

/// Subnets to claim, best first: those of `wanted` that fit the config and that no lease of `others` overlaps, then up to [`CANDIDATES`] free ones, shuffled by `seed`.
///
/// # Errors
/// [`Full`] when there is not one.
pub fn candidates(config: &NetworkConfig, others: &[&Lease], wanted: &[Prefixes], seed: u64) -> Result<Vec<Prefixes>, Full> {
    let wanted =
        wanted.iter().filter(|subnets| fit(config, subnets).is_ok() && others.iter().all(|lease| !lease.subnets.overlaps(subnets)));
    let mut chosen: Vec<Prefixes> = Vec::new();
    for subnets in wanted {
        if !chosen.contains(subnets) {
            chosen.push(*subnets);
        }
    }
    match free(config, others) {
        Ok(mut free) => {
            Spread::new(seed).shuffle(&mut free);
            free.retain(|subnets| !chosen.contains(subnets));
            chosen.append(&mut free);
        }
        Err(full) if chosen.is_empty() => return Err(full),
        Err(_) => {}
    }
    Ok(chosen)
}

fn free(config: &NetworkConfig, others: &[&Lease]) -> Result<Vec<Prefixes>, Full> {
    let taken_v4 = Taken::of(others.iter().filter_map(|lease| lease.subnets.v4));
    let taken_v6 = Taken::of(others.iter().filter_map(|lease| lease.subnets.v6));
    match (&config.v4, &config.v6) {
        (Some(v4), Some(v6)) => pairs((v4, &taken_v4), (v6, &taken_v6)),
        (Some(v4), None) => Ok(singles(v4, &taken_v4)?.into_iter().map(|(_, v4)| Prefixes { v4: Some(v4), v6: None }).collect()),
        (None, Some(v6)) => Ok(singles(v6, &taken_v6)?.into_iter().map(|(_, v6)| Prefixes { v4: None, v6: Some(v6) }).collect()),
        (None, None) => Ok(Vec::new()),
    }
}

/// The first free subnets with their numbers.
fn singles<N: Prefix>(range: &Range<N>, taken: &Taken) -> Result<Vec<(u128, N)>, Full> {
    let found: Vec<_> = taken.free(range, 0).take(CANDIDATES).collect();
    if found.is_empty() { Err(taken.full(range)) } else { Ok(found) }
}

fn pairs(v4: (&Range<Ipv4Net>, &Taken), v6: (&Range<Ipv6Net>, &Taken)) -> Result<Vec<Prefixes>, Full> {
    let firsts = singles(v4.0, v4.1)?;
    let twin = |index: u128| v6.0.nth(index).filter(|subnet| v6.1.hit(*subnet).is_none());
    let twins: HashSet<u128> = firsts.iter().map(|(index, _)| *index).filter(|index| twin(*index).is_some()).collect();
    let beyond = v6.1.free(v6.0, v4.0.count());
    let within = v6.1.free(v6.0, 0).take_while(|(index, _)| *index < v4.0.count());
    let mut spare = beyond.chain(within).filter(|(index, _)| !twins.contains(index)).map(|(_, subnet)| subnet);
    let found: Vec<Prefixes> = firsts
        .into_iter()
        .map_while(|(index, v4)| Some(Prefixes { v4: Some(v4), v6: Some(twin(index).or_else(|| spare.next())?) }))
        .collect();
    if found.is_empty() { Err(v6.1.full(v6.0)) } else { Ok(found) }
}

/// Address ranges that are held, sorted and merged.
struct Taken {
    spans: Vec<(u128, u128)>,
    all: Vec<(u128, u128)>,
}

impl Taken {
    fn of<N: Prefix>(prefixes: impl Iterator<Item = N>) -> Taken {
        let mut all: Vec<(u128, u128)> = prefixes.map(|prefix| (prefix.base(), prefix.last())).collect();
        all.sort_unstable();
        let mut spans: Vec<(u128, u128)> = Vec::with_capacity(all.len());
        for &(first, last) in &all {
            match spans.last_mut() {
                Some(open) if first <= open.1 => open.1 = open.1.max(last),
                _ => spans.push((first, last)),
            }
        }
        Taken { spans, all }
    }

    /// The last address of the span that overlaps `subnet`.
    fn hit<N: Prefix>(&self, subnet: N) -> Option<u128> {
        let at = self.spans.partition_point(|span| span.1 < subnet.base());
        self.spans.get(at).filter(|span| span.0 <= subnet.last()).map(|span| span.1)
    }

    /// Free subnets from number `from` on; jumps over what is held, so that a wide range costs no more than its leases.
    fn free<N: Prefix>(&self, range: &Range<N>, from: u128) -> impl Iterator<Item = (u128, N)> {
        let mut next = Some(from);
        std::iter::from_fn(move || {
            loop {
                let index = next?;
                let subnet = range.nth(index)?;
                match self.hit(subnet) {
                    Some(end) => next = end.checked_add(1).and_then(|address| range.index_from(address)),
                    None => {
                        next = index.checked_add(1);
                        return Some((index, subnet));
                    }
                }
            }
        })
    }

    fn full<N: Prefix>(&self, range: &Range<N>) -> Full {
        let within = |span: &&(u128, u128)| span.0 <= range.max.last() && span.1 >= range.min.base();
        Full {
            network: range.network.to_string(),
            subnet_len: range.subnet_len,
            min: range.min.to_string(),
            max: range.max.to_string(),
            subnets: range.count(),
            leases: self.all.iter().filter(within).count(),
        }
    }
}

#[cfg(test)]
mod tests;
