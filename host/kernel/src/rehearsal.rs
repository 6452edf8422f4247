//! A kernel to rehearse on: it begins as the real one is, takes every change in memory, with the kernel's own places, replacing and refusals, and leaves the real one as
//! it is. `twill plan` runs the reconciler on it, and then looks at what became different.
//!
//! It is the fast path too: a tunnel that is opened on it has its device here.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use twill_model::firewall::{Filter, Ruleset};
use twill_model::item::{Item, Key, Link, LinkKind, LinkName, Route};
use twill_model::state::{Hop, HostItem, Observed, ObservedLink, ObservedRoute, Sysctl};
use twill_model::status::TunnelStatus;
use twill_reconcile::ports::{Forwarder, Forwarding, Kernel, Refused};

use crate::ROUTE_PROTOCOL;

/// A kernel and a fast path in memory, in front of the real ones.
#[derive(Debug)]
pub struct Rehearsal<K> {
    real: Arc<K>,
    state: Mutex<State>,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Rehearsed {
    /// The kernel's state as it is.
    pub before: Observed,
    /// As it would be.
    pub after: Observed,
    /// The rules of ours as they are; none when nobody asked.
    pub rules_before: Option<Ruleset>,
    /// As they would be.
    pub rules_after: Option<Ruleset>,
    /// Tunnels that are open now and would be opened otherwise: as they are, and as they would be.
    pub reopened: Vec<(Link<LinkName>, Link<LinkName>)>,
}

#[derive(Debug, Default)]
struct State {
    looked: bool,
    told: Rehearsed,
    tunnels: BTreeMap<LinkName, Link<LinkName>>,
}

impl<K: Kernel> Rehearsal<K> {
    /// A rehearsal before `real`; `open` are the tunnels that a running daemon holds open.
    pub fn new(real: Arc<K>, open: impl IntoIterator<Item = Link<LinkName>>) -> Self {
        let tunnels = open.into_iter().map(|link| (link.on.clone(), link)).collect();
        Rehearsal { real, state: Mutex::new(State { tunnels, ..State::default() }) }
    }

    /// What came of it so far.
    pub fn told(&self) -> Rehearsed {
        self.state().told.clone()
    }

    /// Reads the real state at the first look, and settings when they are asked for first.
    async fn look(&self, sysctls: &[String]) -> Result<(), Refused> {
        let unknown: Vec<String> = sysctls.iter().filter(|path| !self.state().told.after.sysctls.contains_key(*path)).cloned().collect();
        if self.state().looked && unknown.is_empty() {
            return Ok(());
        }
        // A link that is yet to be made begins with the settings of conf/default.
        let asked = unknown.iter().cloned().chain(unknown.iter().filter_map(|path| default_of(path))).collect();
        let real = self.real.observe(asked).await?;
        let mut state = self.state();
        if !std::mem::replace(&mut state.looked, true) {
            let plain = Observed { sysctls: BTreeMap::new(), ..real.clone() };
            (state.told.before, state.told.after) = (plain.clone(), plain);
        }
        for path in unknown {
            let new = || link_of(&path).is_some_and(|name| state.told.after.link(&LinkName(name.to_owned())).is_some());
            let value = real.sysctls.get(&path).or_else(|| real.sysctls.get(&default_of(&path)?).filter(|_| new())).cloned();
            if let Some(value) = value {
                state.told.before.sysctls.insert(path.clone(), value.clone());
                state.told.after.sysctls.insert(path, value);
            }
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Kernel> Kernel for Rehearsal<K> {
    async fn observe(&self, sysctls: Vec<String>) -> Result<Observed, Refused> {
        self.look(&sysctls).await?;
        let mut observed = self.state().told.after.clone();
        observed.sysctls.retain(|path, _| sysctls.contains(path));
        Ok(observed)
    }

    async fn make(&self, item: HostItem) -> Result<(), Refused> {
        self.state().make(&item).map_err(|cause| Refused { act: format!("make {item}"), cause })
    }

    async fn remove(&self, item: HostItem) -> Result<(), Refused> {
        remove(&mut self.state().told.after, &item);
        Ok(())
    }

    async fn set(&self, sysctl: Sysctl) -> Result<(), Refused> {
        self.state().told.after.sysctls.insert(sysctl.path, sysctl.value);
        Ok(())
    }

    async fn road(&self, to: IpAddr) -> Result<Hop, Refused> {
        self.real.road(to).await
    }

    async fn filter(&self, wanted: Ruleset) -> Result<Filter, Refused> {
        let mut found = self.real.filter(wanted).await?;
        let mut state = self.state();
        state.told.rules_before.get_or_insert_with(|| found.ours.clone());
        found.ours = state.told.rules_after.get_or_insert(found.ours).clone();
        Ok(found)
    }

    async fn replace_rules(&self, wanted: Ruleset) -> Result<(), Refused> {
        self.state().told.rules_after = Some(wanted);
        Ok(())
    }

    /// Nothing happens during a rehearsal.
    async fn changed(&self) {
        std::future::pending().await
    }
}

impl<K: Kernel> Forwarder for Rehearsal<K> {
    async fn open(&self, link: Link<LinkName>) -> Result<(), Refused> {
        let mut state = self.state();
        let world = &mut state.told.after;
        if world.link(&link.on).is_none() {
            let (name, index) = (link.on.clone(), next_index(world));
            world.links.push(ObservedLink { name, index, mtu: 1500, up: false, mac: None, kind: None, word: "tun".into() });
        }
        if let Some(before) = state.tunnels.insert(link.on.clone(), link.clone())
            && before.kind != link.kind
        {
            state.told.reopened.push((before, link));
        }
        Ok(())
    }

    fn holds(&self, link: &Link<LinkName>) -> bool {
        self.state().tunnels.get(&link.on).is_some_and(|open| open.kind == link.kind)
    }

    fn forward(&self, _: &LinkName, _: Forwarding) {}

    async fn close(&self, link: LinkName) -> Result<(), Refused> {
        let mut state = self.state();
        state.tunnels.remove(&link);
        forget_link(&mut state.told.after, &link);
        Ok(())
    }

    fn counters(&self) -> Vec<TunnelStatus> {
        Vec::new()
    }

    fn valid_until(&self, _: u64) {}
}

impl State {
    fn make(&mut self, item: &HostItem) -> Result<(), String> {
        let world = &mut self.told.after;
        // What the kernel checks of every item: nothing stands on a link that is not there.
        if world.link(item.on()).is_none() && !matches!(item.key(), Key::Link { .. }) {
            return Err("no such device".into());
        }
        match item {
            Item::Link(link) => return make_link(world, link),
            Item::Assignment(wanted) => replace(&mut world.addresses, wanted, |there| there == wanted),
            Item::Route(wanted) => make_route(world, wanted)?,
            Item::Neighbour(wanted) => {
                replace(&mut world.neighbours, wanted, |there| (&there.on, there.address) == (&wanted.on, wanted.address));
            }
            Item::Fdb(wanted) => replace(&mut world.fdb, wanted, |there| (&there.on, there.mac) == (&wanted.on, wanted.mac)),
            Item::Endpoint(_) | Item::Sender(_) | Item::Wireguard(_) => return Err("it is not the kernel's".into()),
        }
        Ok(())
    }
}

fn remove(world: &mut Observed, item: &HostItem) {
    match item {
        Item::Link(link) => forget_link(world, &link.on),
        Item::Assignment(gone) => world.addresses.retain(|there| there != gone),
        Item::Route(gone) => {
            // The one with our protocol goes first, as in the real kernel's room; of equal ones only one goes.
            let same = |there: &ObservedRoute| there.route.metric == gone.metric && same_hop(&there.route, gone);
            let ours = |there: &ObservedRoute| same(there) && there.protocol == ROUTE_PROTOCOL;
            if let Some(at) = world.routes.iter().position(ours).or_else(|| world.routes.iter().position(same)) {
                world.routes.remove(at);
            }
        }
        Item::Neighbour(gone) => world.neighbours.retain(|there| (&there.on, there.address) != (&gone.on, gone.address)),
        Item::Fdb(gone) => world.fdb.retain(|there| there != gone),
        Item::Endpoint(_) | Item::Sender(_) | Item::Wireguard(_) => {}
    }
}

fn make_link(world: &mut Observed, wanted: &Link<LinkName>) -> Result<(), String> {
    let tunnel = matches!(wanted.kind, LinkKind::Tunnel { .. });
    let kind = (!tunnel).then(|| wanted.kind.clone());
    let there = world.link(&wanted.on).cloned();
    let index = match &there {
        None if tunnel => return Err("the tunnel device is not open".into()),
        Some(there) if there.word != if tunnel { "tun" } else { wanted.kind.word() } => {
            return Err(format!("an interface of that name is there already, of kind \"{}\"", there.word));
        }
        Some(there) if tunnel || there.kind.as_ref().is_some_and(|kind| kind.remake(&wanted.kind).is_none()) => there.index,
        // The device is made anew, and what stood on it is gone.
        _ => {
            let index = next_index(world);
            forget_link(world, &wanted.on);
            index
        }
    };
    let word = if tunnel { "tun" } else { wanted.kind.word() }.to_owned();
    let mac = wanted.mac.or(there.and_then(|there| there.mac));
    let made = ObservedLink { name: wanted.on.clone(), index, mtu: wanted.mtu, up: true, mac, kind, word };
    replace(&mut world.links, &made, |there| there.name == made.name);
    Ok(())
}

fn make_route(world: &mut Observed, wanted: &Route<LinkName>) -> Result<(), String> {
    let link = world.link(&wanted.on).ok_or("no such device")?;
    if !link.up {
        return Err("network is down".into());
    }
    let has_address = world.addresses.iter().any(|there| there.on == wanted.on);
    if wanted.via.is_some() && !has_address {
        return Err(if wanted.onlink { "invalid argument" } else { "network is unreachable" }.into());
    }
    let scope_global = wanted.scope_global && wanted.via.is_none() && wanted.to.addr().is_ipv4();
    let route = Route { scope_global, ..wanted.clone() };
    let made = ObservedRoute { route, protocol: ROUTE_PROTOCOL, special: false };
    replace(&mut world.routes, &made, |there| there.route.to == wanted.to && there.route.metric == wanted.metric);
    Ok(())
}

/// Puts `made` in the place of the first entry that is `the_same`, else at the end.
fn replace<T: Clone>(all: &mut Vec<T>, made: &T, the_same: impl Fn(&T) -> bool) {
    match all.iter_mut().find(|there| the_same(there)) {
        Some(there) => there.clone_from(made),
        None => all.push(made.clone()),
    }
}

fn next_index(world: &Observed) -> u32 {
    world.links.iter().map(|link| link.index).max().unwrap_or(1) + 1
}

fn same_hop(there: &Route<LinkName>, gone: &Route<LinkName>) -> bool {
    (there.to, there.via, &there.on) == (gone.to, gone.via, &gone.on)
}

fn forget_link(world: &mut Observed, name: &LinkName) {
    world.links.retain(|there| there.name != *name);
    world.addresses.retain(|there| there.on != *name);
    world.routes.retain(|there| there.route.on != *name);
    world.neighbours.retain(|there| there.on != *name);
    world.fdb.retain(|there| there.on != *name);
    world.sysctls.retain(|path, _| link_of(path) != Some(&name.0));
}

/// The link that a setting belongs to, such as flannel.1 of net/ipv4/conf/flannel.1/rp_filter.
fn link_of(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("net/ipv4/conf/").or_else(|| path.strip_prefix("net/ipv6/conf/"))?;
    rest.rsplit_once('/').map(|(name, _)| name).filter(|name| !matches!(*name, "all" | "default"))
}

fn default_of(path: &str) -> Option<String> {
    let name = link_of(path)?;
    let at = path.find(name)?;
    Some(format!("{}default{}", &path[..at], &path[at + name.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use twill_model::item::Assignment;

    /// A machine with one interface, whose settings have the values of its defaults.
    struct Machine;

    impl Kernel for Machine {
        async fn observe(&self, sysctls: Vec<String>) -> Result<Observed, Refused> {
            let link = ObservedLink { name: name("eth0"), index: 2, mtu: 1500, up: true, mac: None, kind: None, word: "veth".into() };
            let there = |path: &String| matches!(path.as_str(), "net/ipv4/ip_forward" | "net/ipv4/conf/default/rp_filter");
            let sysctls = sysctls.into_iter().filter(there).map(|path| (path, "0".to_owned())).collect();
            Ok(Observed { links: vec![link], sysctls, ..Observed::default() })
        }

        async fn make(&self, item: HostItem) -> Result<(), Refused> {
            panic!("{item} was made in earnest")
        }

        async fn remove(&self, item: HostItem) -> Result<(), Refused> {
            panic!("{item} was removed in earnest")
        }

        async fn set(&self, sysctl: Sysctl) -> Result<(), Refused> {
            panic!("{} was set in earnest", sysctl.path)
        }

        async fn road(&self, _: IpAddr) -> Result<Hop, Refused> {
            Ok(Hop::OnLink)
        }

        async fn filter(&self, wanted: Ruleset) -> Result<Filter, Refused> {
            Ok(Filter { ours: Ruleset { tables: Vec::new(), ..wanted }, ..Filter::default() })
        }

        async fn replace_rules(&self, wanted: Ruleset) -> Result<(), Refused> {
            panic!("{wanted} was made in earnest")
        }

        async fn changed(&self) {
            std::future::pending().await
        }
    }

    fn name(text: &str) -> LinkName {
        LinkName(text.into())
    }

    fn vxlan(port: u16, learning: bool) -> HostItem {
        let kind = LinkKind::Vxlan { vni: 1, port, local: [10, 0, 0, 1].into(), learning, gbp: false };
        Item::Link(Link { on: name("flannel.1"), name: "flannel.1".into(), kind, mtu: 1450, mac: None })
    }

    fn route(to: &str, via: Option<&str>, on: &str) -> HostItem {
        let via = via.map(|via| via.parse().expect("a good address"));
        Item::Route(Route {
            to: to.parse().expect("a good prefix"),
            via,
            on: name(on),
            onlink: false,
            scope_global: false,
            mtu: None,
            metric: 0,
        })
    }

    async fn rehearsal() -> Rehearsal<Machine> {
        let rehearsal = Rehearsal::new(Arc::new(Machine), []);
        rehearsal.observe(vec![]).await.expect("observed");
        rehearsal
    }

    async fn make(kernel: &Rehearsal<Machine>, item: HostItem) {
        kernel.make(item).await.expect("it is made");
    }

    #[tokio::test]
    async fn a_route_takes_the_place_of_another_to_its_prefix() {
        let kernel = rehearsal().await;
        make(&kernel, vxlan(8472, false)).await;
        for on in ["eth0", "flannel.1"] {
            make(&kernel, route("10.1.2.0/24", None, on)).await;
        }
        let routes = kernel.observe(vec![]).await.expect("it is observed").routes;
        assert_eq!(routes.iter().map(|there| there.route.on.0.as_str()).collect::<Vec<_>>(), ["flannel.1"]);
        assert_eq!(kernel.told().before.routes, []);
    }

    #[tokio::test]
    async fn it_refuses_what_the_kernel_refuses() {
        let kernel = rehearsal().await;
        let refused = kernel.make(route("10.1.2.0/24", None, "eth7")).await.expect_err("no such link");
        assert_eq!(refused.to_string(), "cannot make route 10.1.2.0/24 dev eth7: no such device");
        let refused = kernel.make(route("10.1.2.0/24", Some("10.0.0.2"), "eth0")).await.expect_err("no address");
        assert_eq!(refused.cause, "network is unreachable");
    }

    #[tokio::test]
    async fn a_device_is_made_anew_only_where_it_must_be_and_takes_along_what_stands_on_it() {
        let kernel = rehearsal().await;
        let address = Item::Assignment(Assignment { on: name("flannel.1"), address: "10.1.1.0/32".parse().expect("an address") });
        let index = || kernel.told().after.link(&name("flannel.1")).map(|link| link.index);
        make(&kernel, vxlan(8472, false)).await;
        make(&kernel, address).await;
        let first = index();
        make(&kernel, vxlan(8472, true)).await;
        assert_eq!((index(), kernel.told().after.addresses.len()), (first, 1));
        make(&kernel, vxlan(4790, true)).await;
        assert!(index() > first, "{:?} after {first:?}", index());
        assert_eq!(kernel.told().after.addresses, []);
    }

    #[tokio::test]
    async fn a_new_link_begins_with_the_default_settings() {
        let kernel = rehearsal().await;
        let path = "net/ipv4/conf/flannel.1/rp_filter".to_owned();
        assert!(kernel.observe(vec![path.clone()]).await.expect("observed").sysctls.is_empty(), "there is no such link yet");
        make(&kernel, vxlan(8472, false)).await;
        assert_eq!(kernel.observe(vec![path.clone()]).await.expect("observed").sysctls[&path], "0");
        kernel.set(Sysctl { path: path.clone(), value: "2".into() }).await.expect("set");
        let told = kernel.told();
        assert_eq!((told.before.sysctls[&path].as_str(), told.after.sysctls[&path].as_str()), ("0", "2"));
    }

    #[tokio::test]
    async fn a_tunnel_that_is_open_otherwise_is_opened_anew() {
        let tunnel = |port: u16| {
            let kind = LinkKind::Tunnel { port, local: twill_model::Addresses::default() };
            Link { on: name("flannel0"), name: "flannel%d".into(), kind, mtu: 1472, mac: None }
        };
        let kernel = Rehearsal::new(Arc::new(Machine), [tunnel(8285)]);
        kernel.observe(vec![]).await.expect("observed");
        assert!(kernel.holds(&tunnel(8285)) && !kernel.holds(&tunnel(9285)));
        kernel.open(tunnel(9285)).await.expect("open");
        assert_eq!(kernel.told().reopened, [(tunnel(8285), tunnel(9285))]);
        kernel.close(name("flannel0")).await.expect("closed");
        assert!(!kernel.holds(&tunnel(9285)) && kernel.told().after.link(&name("flannel0")).is_none());
    }
}
