//! What differs between the kernel as it is and as it would be, for people and scripts: the heart of `twill plan`.
//!
//! Pure. It compares two whole observations, so it says what comes of all steps together and not what they were.

use std::collections::{BTreeMap, BTreeSet};

use twill_model::item::{LinkKind, Route};
use twill_model::plan::PlannedChange;
use twill_model::state::{Observed, ObservedLink, ObservedRoute};

/// Everything of one kind: what is said of each thing.
type Things = BTreeMap<String, BTreeSet<String>>;
/// How to find the things of one kind.
type Look = fn(&Observed) -> Things;

/// The changes from `before` to `after`, in the order in which they are made.
pub fn changes(before: &Observed, after: &Observed) -> Vec<PlannedChange> {
    let kinds: [(&str, Look); 6] =
        [("link", links), ("address", addresses), ("sysctl", sysctls), ("neighbour", neighbours), ("fdb", fdb), ("route", routes)];
    let mut changes: Vec<PlannedChange> = kinds.iter().flat_map(|(kind, things)| compare(kind, &things(before), &things(after))).collect();
    for change in changes.iter_mut().filter(|change| change.kind == "link") {
        change.disruption = remade(&change.what, before, after);
    }
    changes
}

/// The link as `ip -d link` tells of it.
pub fn link_words(kind: Option<&LinkKind>, word: &str, mtu: u32) -> String {
    let of_kind = match kind {
        Some(LinkKind::Vxlan { vni, port, local, learning, gbp }) => {
            let learning = if *learning { "learning" } else { "nolearning" };
            let gbp = if *gbp { " gbp" } else { "" };
            format!("vxlan id {vni} local {local} dstport {port} {learning}{gbp}")
        }
        Some(LinkKind::Tunnel { port, local }) => format!("tun, UDP port {port} at {local}"),
        Some(LinkKind::Ipip { local }) => format!("ipip local {local}"),
        Some(LinkKind::Wireguard { port, .. }) => format!("wireguard port {port}"),
        None => word.to_owned(),
    };
    format!("{of_kind} mtu {mtu}")
}

fn compare(kind: &str, before: &Things, after: &Things) -> Vec<PlannedChange> {
    let none = BTreeSet::new();
    let all: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let mut changes = Vec::new();
    for what in all {
        let (there, wanted) = (before.get(what).unwrap_or(&none), after.get(what).unwrap_or(&none));
        let (gone, new): (Vec<_>, Vec<_>) = (there.difference(wanted).cloned().collect(), wanted.difference(there).cloned().collect());
        let one = |before: Option<String>, after: Option<String>| PlannedChange::between(kind, what.clone(), before, after);
        match (&gone[..], &new[..]) {
            ([gone], [new]) => changes.extend(one(Some(gone.clone()), Some(new.clone()))),
            _ => {
                changes.extend(gone.into_iter().filter_map(|gone| one(Some(gone), None)));
                changes.extend(new.into_iter().filter_map(|new| one(None, Some(new))));
            }
        }
    }
    changes
}

/// Why a link that is there cannot become what it shall be while it runs; none when it can, or was not there.
fn remade(name: &str, before: &Observed, after: &Observed) -> Option<String> {
    let of = |observed: &Observed| observed.links.iter().find(|link| link.name.0 == name).cloned();
    let (there, wanted): (ObservedLink, ObservedLink) = (of(before)?, of(after)?);
    if there.index == wanted.index {
        return None;
    }
    let why = there.kind.zip(wanted.kind).and_then(|(there, wanted)| there.remake(&wanted));
    Some(format!("it is made anew: {}", why.unwrap_or_else(|| "it is of another make".to_owned())))
}

fn gather(all: impl IntoIterator<Item = (String, String)>) -> Things {
    let mut things = Things::new();
    for (what, words) in all {
        things.entry(what).or_default().insert(words);
    }
    things
}

fn links(observed: &Observed) -> Things {
    gather(observed.links.iter().map(|link| {
        let mac = link.mac.map_or_else(String::new, |mac| format!(" mac {mac}"));
        let up = if link.up { "up" } else { "down" };
        (link.name.0.clone(), format!("{}{mac} {up}", link_words(link.kind.as_ref(), &link.word, link.mtu)))
    }))
}

fn addresses(observed: &Observed) -> Things {
    gather(observed.addresses.iter().map(|there| (there.address.to_string(), format!("dev {}", there.on))))
}

fn sysctls(observed: &Observed) -> Things {
    gather(observed.sysctls.iter().map(|(path, value)| (path.clone(), value.clone())))
}

fn neighbours(observed: &Observed) -> Things {
    gather(observed.neighbours.iter().map(|there| (there.address.to_string(), format!("lladdr {} dev {}", there.mac, there.on))))
}

fn fdb(observed: &Observed) -> Things {
    gather(observed.fdb.iter().map(|there| (there.mac.to_string(), format!("dst {} dev {}", there.to, there.on))))
}

fn routes(observed: &Observed) -> Things {
    gather(observed.routes.iter().map(|there| (there.route.to.to_string(), route_words(there))))
}

fn route_words(there: &ObservedRoute) -> String {
    let Route { via, on, onlink, mtu, metric, .. } = &there.route;
    let mut words: Vec<String> = via.iter().map(|via| format!("via {via}")).collect();
    words.push(format!("dev {on}"));
    words.push(format!("proto {}", protocol(there.protocol)));
    words.extend((*metric != 0).then(|| format!("metric {metric}")));
    words.extend(onlink.then(|| "onlink".to_owned()));
    words.extend(mtu.map(|mtu| format!("mtu {mtu}")));
    words.join(" ")
}

/// `RTPROT_*` of linux/rtnetlink.h, in the words of iproute2.
fn protocol(number: u8) -> String {
    match number {
        2 => "kernel".into(),
        3 => "boot".into(),
        4 => "static".into(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{link_name, net};
    use twill_model::plan::Act;

    fn vxlan(index: u32, port: u16, mtu: u32) -> ObservedLink {
        let kind = LinkKind::Vxlan { vni: 1, port, local: [192, 0, 2, 1].into(), learning: false, gbp: false };
        ObservedLink { name: link_name("flannel.1"), index, mtu, up: true, mac: None, kind: Some(kind), word: "vxlan".into() }
    }

    fn route(via: &str, protocol: u8) -> ObservedRoute {
        let route = Route {
            to: net("10.1.2.0/24"),
            via: via.parse().ok(),
            on: link_name("flannel.1"),
            onlink: true,
            scope_global: false,
            mtu: None,
            metric: 0,
        };
        ObservedRoute { route, protocol, special: false }
    }

    fn told(before: &Observed, after: &Observed) -> Vec<(Act, String, Option<String>)> {
        let words = |change: PlannedChange| {
            let from_to = [change.before, change.after].into_iter().flatten().collect::<Vec<_>>().join(" -> ");
            (change.act, format!("{} {}: {from_to}", change.kind, change.what), change.disruption)
        };
        changes(before, after).into_iter().map(words).collect()
    }

    #[test]
    fn equal_states_have_no_change_between_them() {
        let there = Observed { links: vec![vxlan(5, 8472, 1450)], routes: vec![route("10.1.2.0", 73)], ..Observed::default() };
        assert_eq!(changes(&there, &there), []);
    }

    #[test]
    fn what_is_new_changed_and_gone_is_told_in_the_order_of_making() {
        let before = Observed {
            links: vec![vxlan(5, 8472, 1450)],
            routes: vec![route("10.1.2.0", 3)],
            sysctls: [("net/ipv4/ip_forward".to_owned(), "0".to_owned())].into(),
            ..Observed::default()
        };
        let after = Observed {
            links: vec![vxlan(5, 8472, 1400)],
            routes: vec![route("10.1.2.0", 73)],
            sysctls: [("net/ipv4/ip_forward".to_owned(), "1".to_owned())].into(),
            addresses: vec![twill_model::item::Assignment { on: link_name("flannel.1"), address: net("10.1.1.0/32") }],
            ..Observed::default()
        };
        let vxlan = "vxlan id 1 local 192.0.2.1 dstport 8472 nolearning";
        let wanted = [
            (Act::Change, format!("link flannel.1: {vxlan} mtu 1450 up -> {vxlan} mtu 1400 up"), None),
            (Act::Add, "address 10.1.1.0/32: dev flannel.1".to_owned(), None),
            (Act::Change, "sysctl net/ipv4/ip_forward: 0 -> 1".to_owned(), None),
            (
                Act::Change,
                "route 10.1.2.0/24: via 10.1.2.0 dev flannel.1 proto boot onlink -> via 10.1.2.0 dev flannel.1 proto 73 onlink".to_owned(),
                None,
            ),
        ];
        assert_eq!(told(&before, &after), wanted);
        assert_eq!(told(&after, &Observed::default()).iter().filter(|(act, ..)| *act == Act::Remove).count(), 4);
    }

    #[test]
    fn a_link_that_is_made_anew_interrupts_traffic() {
        let of = |link| Observed { links: vec![link], ..Observed::default() };
        let told = told(&of(vxlan(5, 8472, 1450)), &of(vxlan(6, 4790, 1450)));
        assert_eq!(told[0].2.as_deref(), Some("it is made anew: its port 8472 becomes 4790"));
    }
}
