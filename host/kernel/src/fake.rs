//! A kernel in memory, for tests of what stands on the port [`Kernel`]: same places, same replacing, same refusals, no privileges.
//!
//! It writes down every change that it was asked for ([`FakeKernel::steps`]), and another hand can reach in ([`FakeKernel::poke`]), which wakes
//! whoever waits for changes. Tunnel devices are opened by a forwarder: let its stand-in call [`FakeKernel::add_link`].

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use twill_model::firewall::{Filter, Ruleset};
use twill_model::item::{Item, Key, Link, LinkKind, LinkName, Route};
use twill_model::state::{Hop, HostItem, HostKey, Observed, ObservedLink, ObservedRoute, Step, Sysctl};
use twill_reconcile::ports::{Kernel, Refused};

use crate::ROUTE_PROTOCOL;

/// The kernel in memory; clones share their state.
#[derive(Debug, Clone, Default)]
pub struct FakeKernel {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    news: Notify,
}

#[derive(Debug, Default)]
struct State {
    world: Observed,
    roads: BTreeMap<IpAddr, Hop>,
    refusals: BTreeMap<HostKey, String>,
    steps: Vec<Step>,
    passes: usize,
    rules: Option<Ruleset>,
}

impl FakeKernel {
    /// A kernel with these interfaces, up, of MTU 1500; they have the indices 2, 3, ….
    pub fn with_links(names: &[&str]) -> Self {
        let kernel = Self::default();
        for name in names {
            kernel.add_link(name, "veth", 1500);
        }
        kernel
    }

    /// Adds an interface, as a forwarder does that opens a TUN device; wakes nobody.
    pub fn add_link(&self, name: &str, word: &str, mtu: u32) {
        let mut state = self.state();
        let index = state.next_index();
        let link = ObservedLink { name: LinkName(name.into()), index, mtu, up: word != "tun", mac: None, kind: None, word: word.into() };
        state.world.links.push(link);
    }

    /// Another hand changes something: `change` is applied, and `changed()` wakes.
    pub fn poke(&self, change: impl FnOnce(&mut Observed)) {
        change(&mut self.state().world);
        self.inner.news.notify_one();
    }

    /// Another hand removes an interface, with all that stands on it.
    pub fn poke_link_away(&self, name: &str) {
        self.poke(|world| forget_link(world, &LinkName(name.into())));
    }

    /// What there is now.
    pub fn world(&self) -> Observed {
        self.state().world.clone()
    }

    /// The changes asked for so far, refused ones too, in order; forgets them.
    pub fn steps(&self) -> Vec<Step> {
        std::mem::take(&mut self.state().steps)
    }

    /// How often everything was observed.
    pub fn passes(&self) -> usize {
        self.state().passes
    }

    /// From now on an item in this place is refused with this cause.
    pub fn refuse(&self, place: HostKey, cause: &str) {
        self.state().refusals.insert(place, cause.to_owned());
    }

    /// Takes that back.
    pub fn refuse_no_more(&self, place: &HostKey) {
        self.state().refusals.remove(place);
    }

    /// Sets the road to an address; others are unreachable.
    pub fn set_road(&self, to: IpAddr, hop: Hop) {
        self.state().roads.insert(to, hop);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kernel for FakeKernel {
    async fn observe(&self, sysctls: Vec<String>) -> Result<Observed, Refused> {
        let mut state = self.state();
        state.passes += 1;
        let mut observed = state.world.clone();
        observed.sysctls.retain(|path, _| sysctls.contains(path));
        Ok(observed)
    }

    async fn make(&self, item: HostItem) -> Result<(), Refused> {
        let mut state = self.state();
        state.steps.push(Step::Make(item.clone()));
        state.make(&item).map_err(|cause| Refused { act: format!("make {item}"), cause })
    }

    async fn remove(&self, item: HostItem) -> Result<(), Refused> {
        let mut state = self.state();
        state.steps.push(Step::Break(item.clone()));
        state.remove(&item).map_err(|cause| Refused { act: format!("remove {item}"), cause })
    }

    async fn set(&self, sysctl: Sysctl) -> Result<(), Refused> {
        let mut state = self.state();
        state.steps.push(Step::Set(sysctl.clone()));
        state.world.sysctls.insert(sysctl.path, sysctl.value);
        Ok(())
    }

    async fn road(&self, to: IpAddr) -> Result<Hop, Refused> {
        Ok(self.state().roads.get(&to).copied().unwrap_or_default())
    }

    async fn filter(&self, wanted: Ruleset) -> Result<Filter, Refused> {
        let ours = self.state().rules.clone().filter(|there| there.table == wanted.table);
        Ok(Filter { ours: ours.unwrap_or_else(|| wanted.emptied()), ..Filter::default() })
    }

    async fn replace_rules(&self, wanted: Ruleset) -> Result<(), Refused> {
        self.state().rules = Some(wanted);
        Ok(())
    }

    async fn changed(&self) {
        self.inner.news.notified().await;
    }
}

impl State {
    fn next_index(&self) -> u32 {
        self.world.links.iter().map(|link| link.index).max().unwrap_or(1) + 1
    }

    fn make(&mut self, item: &HostItem) -> Result<(), String> {
        self.check(item)?;
        match item {
            Item::Link(link) => return self.make_link(link),
            Item::Assignment(wanted) => replace(&mut self.world.addresses, wanted, |there| there == wanted),
            Item::Route(wanted) => self.make_route(wanted)?,
            Item::Neighbour(wanted) => {
                replace(&mut self.world.neighbours, wanted, |there| (&there.on, there.address) == (&wanted.on, wanted.address));
            }
            Item::Fdb(wanted) => replace(&mut self.world.fdb, wanted, |there| (&there.on, there.mac) == (&wanted.on, wanted.mac)),
            Item::Endpoint(_) | Item::Sender(_) | Item::Wireguard(_) => return Err("it is not the kernel's".into()),
        }
        Ok(())
    }

    fn remove(&mut self, item: &HostItem) -> Result<(), String> {
        if let Some(cause) = self.refusals.get(&item.key()) {
            return Err(cause.clone());
        }
        match item {
            Item::Link(link) => forget_link(&mut self.world, &link.on),
            Item::Assignment(gone) => self.world.addresses.retain(|there| there != gone),
            Item::Route(gone) => self.world.routes.retain(|there| there.route.metric != gone.metric || !same_hop(&there.route, gone)),
            Item::Neighbour(gone) => self.world.neighbours.retain(|there| (&there.on, there.address) != (&gone.on, gone.address)),
            Item::Fdb(gone) => self.world.fdb.retain(|there| there != gone),
            Item::Endpoint(_) | Item::Sender(_) | Item::Wireguard(_) => {}
        }
        Ok(())
    }

    /// What the kernel checks of every item: nothing stands on a link that is not there.
    fn check(&self, item: &HostItem) -> Result<(), String> {
        if let Some(cause) = self.refusals.get(&item.key()) {
            return Err(cause.clone());
        }
        let missing = self.world.link(item.on()).is_none() && !matches!(item.key(), Key::Link { .. });
        if missing { Err("no such device".into()) } else { Ok(()) }
    }

    fn make_link(&mut self, wanted: &Link<LinkName>) -> Result<(), String> {
        let tunnel = matches!(wanted.kind, LinkKind::Tunnel { .. });
        let kind = (!tunnel).then(|| wanted.kind.clone());
        let index = match self.world.link(&wanted.on) {
            None if tunnel => return Err("the tunnel device is not open".into()),
            Some(there) if there.word != if tunnel { "tun" } else { wanted.kind.word() } => {
                return Err(format!("an interface of that name is there already, of kind \"{}\"", there.word));
            }
            Some(there) if tunnel || there.kind == kind => there.index,
            // Attributes of the kind cannot be changed: the device is re-made, and what stood on it is gone.
            _ => {
                forget_link(&mut self.world, &wanted.on);
                self.next_index()
            }
        };
        let word = if tunnel { "tun" } else { wanted.kind.word() }.to_owned();
        let made = ObservedLink { name: wanted.on.clone(), index, mtu: wanted.mtu, up: true, mac: wanted.mac, kind, word };
        replace(&mut self.world.links, &made, |there| there.name == made.name);
        Ok(())
    }

    fn make_route(&mut self, wanted: &Route<LinkName>) -> Result<(), String> {
        let link = self.world.link(&wanted.on).ok_or("no such device")?;
        if !link.up {
            return Err("network is down".into());
        }
        let has_address = self.world.addresses.iter().any(|there| there.on == wanted.on);
        if wanted.via.is_some() && !has_address {
            return Err(if wanted.onlink { "invalid argument" } else { "network is unreachable" }.into());
        }
        let scope_global = wanted.scope_global && wanted.via.is_none() && wanted.to.addr().is_ipv4();
        let route = Route { scope_global, ..wanted.clone() };
        let made = ObservedRoute { route, protocol: ROUTE_PROTOCOL, special: false };
        replace(&mut self.world.routes, &made, |there| there.route.to == wanted.to && there.route.metric == wanted.metric);
        Ok(())
    }
}

/// Puts `made` in the place of the first entry that is `the_same`, else at the end.
fn replace<T: Clone>(all: &mut Vec<T>, made: &T, the_same: impl Fn(&T) -> bool) {
    match all.iter_mut().find(|there| the_same(there)) {
        Some(there) => there.clone_from(made),
        None => all.push(made.clone()),
    }
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(to: &str, via: Option<&str>, on: &str) -> HostItem {
        let via = via.map(|via| via.parse().expect("a good address"));
        let on = LinkName(on.into());
        Item::Route(Route { to: to.parse().expect("a good prefix"), via, on, onlink: false, scope_global: false, mtu: None, metric: 0 })
    }

    #[tokio::test]
    async fn a_route_takes_the_place_of_another_to_its_prefix() {
        let kernel = FakeKernel::with_links(&["eth0", "eth1"]);
        for on in ["eth0", "eth1"] {
            kernel.make(route("10.1.2.0/24", None, on)).await.expect("it is made");
        }
        let routes = kernel.observe(vec![]).await.expect("it is observed").routes;
        assert_eq!(routes.iter().map(|there| there.route.on.0.as_str()).collect::<Vec<_>>(), ["eth1"]);
        assert_eq!(kernel.steps().len(), 2);
    }

    #[tokio::test]
    async fn it_refuses_what_the_kernel_refuses() {
        let kernel = FakeKernel::with_links(&["eth0"]);
        let refused = kernel.make(route("10.1.2.0/24", None, "eth7")).await.expect_err("no such link");
        assert_eq!(refused.to_string(), "cannot make route 10.1.2.0/24 dev eth7: no such device");
        let refused = kernel.make(route("10.1.2.0/24", Some("10.0.0.2"), "eth0")).await.expect_err("no address");
        assert_eq!(refused.cause, "network is unreachable");
        let place = route("10.1.2.0/24", None, "eth0").key();
        kernel.refuse(place.clone(), "invalid argument");
        assert_eq!(kernel.make(route("10.1.2.0/24", None, "eth0")).await.expect_err("as told").cause, "invalid argument");
        kernel.refuse_no_more(&place);
        kernel.make(route("10.1.2.0/24", None, "eth0")).await.expect("it is made");
    }

    #[tokio::test]
    async fn another_hand_wakes_and_our_own_does_not() {
        let kernel = FakeKernel::with_links(&["eth0"]);
        let waiting = tokio::spawn({
            let kernel = kernel.clone();
            async move { kernel.changed().await }
        });
        kernel.make(route("10.1.2.0/24", None, "eth0")).await.expect("it is made");
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        kernel.poke_link_away("eth0");
        waiting.await.expect("it was woken");
        assert_eq!(kernel.world().routes, []);
    }
}
