//! From what backends planned to one item in each place: policy first, then names, then the union. What does not get through is reported with
//! the backend, the lease and the reason, and costs nothing but itself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use twill_model::item::{Device, Item, Link, LinkKind};
use twill_model::state::{Desired, HostItem, Observed, Origin};
use twill_model::{Lease, Prefixes};

use crate::links::Names;
use crate::policy::{Asker, CAP, Declared, Refusal};
use crate::{Inputs, SourceCheck};

/// An item that did not get through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedItem {
    /// The item in words.
    pub what: String,
    /// Its kind in one word.
    pub kind: &'static str,
    /// Who planned it.
    pub origin: Origin,
    /// Why it was refused.
    pub reason: String,
}

/// The union of all plans.
#[derive(Debug, Clone, Default)]
pub struct United {
    /// What there should be.
    pub desired: Desired,
    /// What did not get through.
    pub refused: Vec<RefusedItem>,
}

/// Puts what was planned into places. Links are named on the way, `names` remembers them.
///
/// `primary` names the way that may plan routes wider than a subnet.
pub fn unite(
    planned: Vec<(Origin, Item)>,
    primary: Option<&str>,
    inputs: &Inputs,
    check: SourceCheck,
    observed: &Observed,
    names: &mut Names,
) -> United {
    let declared = declared_links(&planned);
    let peers: BTreeMap<Prefixes, &Lease> = inputs.peers.iter().map(|peer| (peer.subnets, peer.as_ref())).collect();
    let here: BTreeSet<IpAddr> = observed.addresses.iter().map(|own| own.address.addr()).collect();
    let crowded = crowded(&planned);
    let mut united = United::default();
    for (origin, item) in planned {
        let links = declared.get(&origin.backend).unwrap_or(&NO_LINKS);
        let peer = origin.lease.and_then(|subnets| peers.get(&subnets).copied());
        let asker = Asker { inputs, declared: links, here: &here, primary: Some(origin.backend.as_str()) == primary, peer };
        let verdict = match crowded.get(&origin) {
            Some(count) => Err(Refusal::TooMany(*count).to_string()),
            None => asker.check(&item).map_err(|refusal| refusal.to_string()),
        };
        let named = verdict.and_then(|()| name(&item, &origin, inputs, observed, names));
        match named {
            Ok(item) => united.place(widen(item, check), origin),
            Err(reason) => united.refuse(&item, origin, reason),
        }
    }
    united
}

static NO_LINKS: Declared = Declared::new();

impl United {
    /// Of two items that want one place the first keeps it: the host's own, then the older lease's. Senders are put together instead: a node that
    /// changed its subnet has two leases at one address until the old one ends.
    fn place(&mut self, item: HostItem, origin: Origin) {
        match (self.desired.items.get_mut(&item.key()), &item) {
            (None, _) => {
                self.desired.items.insert(item.key(), (item, origin));
            }
            (Some((Item::Sender(there), _)), Item::Sender(more)) => {
                there.inner.extend(&more.inner);
                there.inner.sort();
                there.inner.dedup();
            }
            (Some((there, _)), item) if there == item => {}
            (Some((there, owner)), _) => {
                let whose = owner.lease.map_or_else(|| owner.backend.clone(), |lease| lease.to_string());
                let reason = format!("{there}, planned for {whose}, has its place");
                self.refuse(&item, origin, reason);
            }
        }
    }

    fn refuse<D: std::fmt::Display + Clone>(&mut self, item: &Item<D>, origin: Origin, reason: String) {
        self.refused.push(RefusedItem { what: item.to_string(), kind: kind_word(item), origin, reason });
    }
}

/// The kind of an item in the API's word for it.
pub fn kind_word<D>(item: &Item<D>) -> &'static str {
    match item {
        Item::Link(_) => "link",
        Item::Assignment(_) => "address",
        Item::Route(_) => "route",
        Item::Neighbour(_) => "neighbour",
        Item::Fdb(_) => "fdb",
        Item::Endpoint(_) => "endpoint",
        Item::Sender(_) => "sender",
        Item::Wireguard(_) => "wireguard",
    }
}

fn declared_links(planned: &[(Origin, Item)]) -> BTreeMap<String, Declared> {
    let mut declared: BTreeMap<String, Declared> = BTreeMap::new();
    for (origin, item) in planned {
        if let (None, Item::Link(link @ Link { on: Device::Link(handle), .. })) = (origin.lease, item) {
            declared.entry(origin.backend.clone()).or_default().insert(handle.clone(), link.clone());
        }
    }
    declared
}

/// Askers that bring more items than one answer may hold, with their number.
fn crowded(planned: &[(Origin, Item)]) -> BTreeMap<Origin, usize> {
    let mut counts: BTreeMap<Origin, usize> = BTreeMap::new();
    for (origin, _) in planned {
        *counts.entry(origin.clone()).or_default() += 1;
    }
    counts.retain(|_, count| *count > CAP);
    counts
}

fn name(item: &Item, origin: &Origin, inputs: &Inputs, observed: &Observed, names: &mut Names) -> Result<HostItem, String> {
    if let Item::Link(link @ Link { on: Device::Link(handle), .. }) = item {
        names.assign(&origin.backend, handle, link, observed).map_err(|error| error.to_string())?;
    }
    item.clone().try_rename(|device| {
        names.resolve(&origin.backend, device, &inputs.node.underlay.name).ok_or_else(|| format!("its link {device} could not be made"))
    })
}

/// Applies the operator's choice of accepted inner sources to what the backend planned.
fn widen(item: HostItem, check: SourceCheck) -> HostItem {
    let Item::Sender(mut sender) = item else { return item };
    match check {
        SourceCheck::Lease => {}
        SourceCheck::Strict => sender.inner.retain(|inner| inner.prefix_len() < inner.max_prefix_len()),
        SourceCheck::Off => sender.inner = vec![IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())],
    }
    Item::Sender(sender)
}

/// True for a link that the fast path forwards.
pub fn is_tunnel(item: &HostItem) -> bool {
    matches!(item, Item::Link(Link { kind: LinkKind::Tunnel { .. }, .. }))
}

#[cfg(test)]
mod tests {
    use twill_model::item::{Endpoint, Sender};

    use super::*;
    use crate::testing::{ip, lease, link_name, net};

    fn origin(number: u8) -> Origin {
        Origin { backend: "udp".into(), lease: Some(lease(number).subnets) }
    }

    fn sender(inner: &str) -> HostItem {
        Item::Sender(Sender { on: link_name("flannel0"), peer: ip("192.0.2.2"), inner: vec![net(inner)] })
    }

    fn endpoint(peer: &str) -> HostItem {
        Item::Endpoint(Endpoint { on: link_name("flannel0"), to: net("10.1.2.0/24"), peer: ip(peer), port: 8285 })
    }

    #[test]
    fn a_node_with_two_leases_may_send_from_both() {
        let mut united = United::default();
        united.place(sender("10.1.2.0/24"), origin(2));
        united.place(sender("10.1.3.0/24"), origin(3));
        assert_eq!(united.refused, []);
        let Some((Item::Sender(sender), _)) = united.desired.items.values().next() else { panic!("no sender") };
        assert_eq!(sender.inner, [net("10.1.2.0/24"), net("10.1.3.0/24")]);
    }

    #[test]
    fn of_two_that_want_one_place_the_older_keeps_it_and_the_other_is_named() {
        let mut united = United::default();
        united.place(endpoint("192.0.2.2"), origin(2));
        united.place(endpoint("192.0.2.2"), origin(2));
        united.place(endpoint("192.0.2.3"), origin(3));
        assert_eq!(united.desired.items.values().map(|(item, _)| item.clone()).collect::<Vec<_>>(), [endpoint("192.0.2.2")]);
        assert_eq!(united.refused.len(), 1);
        assert!(united.refused[0].reason.contains("10.1.2.0/24"), "{:?}", united.refused);
    }

    #[test]
    fn the_source_check_widens_or_narrows_what_was_planned() {
        let item =
            Item::Sender(Sender { on: link_name("flannel0"), peer: ip("192.0.2.2"), inner: vec![net("10.1.2.0/24"), net("192.0.2.2/32")] });
        let inner = |check| match widen(item.clone(), check) {
            Item::Sender(sender) => sender.inner,
            other => panic!("{other}"),
        };
        assert_eq!(inner(SourceCheck::Strict), [net("10.1.2.0/24")]);
        assert_eq!(inner(SourceCheck::Lease).len(), 2);
        assert_eq!(inner(SourceCheck::Off), [net("0.0.0.0/0"), net("::/0")]);
    }
}
