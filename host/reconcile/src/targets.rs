//! What the prober is to try, with links by name; and the base addresses that it is asked at where no way has a link.
//!
//! Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use twill_model::item::{Assignment, Item, Key, Link, LinkKind, LinkName};
use twill_model::proof::{Leg, Target};
use twill_model::state::{Desired, Origin};
use twill_model::{Addresses, Prefixes};

use crate::Inputs;
use crate::diff::LOOPBACK;
use crate::links::Names;
use crate::peer::ToProve;
use crate::plan::Planned;
use crate::union::United;

/// The ways to try, by what was planned.
pub fn targets(planned: &Planned, united: &United, inputs: &Inputs, names: &Names) -> Vec<Target> {
    let public: BTreeMap<Prefixes, Addresses> = inputs.peers.iter().map(|peer| (peer.subnets, peer.public)).collect();
    let target = |trial: &ToProve| {
        let legs = trial.legs.iter().filter_map(|(subnet, on, mtu)| {
            let link = names.resolve(&trial.pair.way, on, &inputs.node.underlay.name)?;
            let public = public.get(&trial.pair.peer)?.iter().find(|public| public.is_ipv4() == subnet.addr().is_ipv4());
            let to = if trial.by_public { public? } else { subnet.network() };
            leg(*subnet, to, link, *mtu, united, inputs)
        });
        Target { pair: trial.pair.clone(), rank: trial.rank, in_use: trial.in_use, legs: legs.collect() }
    };
    planned.to_prove.iter().map(target).filter(|target| !target.legs.is_empty()).collect()
}

fn leg(subnet: IpNet, to: IpAddr, link: LinkName, mtu: Option<u32>, united: &United, inputs: &Inputs) -> Option<Leg> {
    let own = inputs.mine.subnets.iter().find(|own| own.addr().is_ipv4() == subnet.addr().is_ipv4())?;
    let planned = united.desired.items.get(&Key::Link { on: link.clone() }).map(|(item, _)| item);
    let (carries, checksum) = match planned {
        Some(Item::Link(Link { mtu, kind, .. })) => (*mtu, matches!(kind, LinkKind::Vxlan { .. })),
        _ => (inputs.node.underlay.mtu, false),
    };
    Some(Leg { from: own.network(), to, bytes: mtu.map_or(carries, |mtu| mtu.min(carries)), checksum, link })
}

/// Holds these base addresses on loopback.
pub fn hold_bases(desired: &mut Desired, bases: &[IpNet]) {
    for base in bases {
        let item = Item::Assignment(Assignment { on: LinkName(LOOPBACK.into()), address: *base });
        desired.items.insert(item.key(), (item, Origin { backend: "host".into(), lease: None }));
    }
}
