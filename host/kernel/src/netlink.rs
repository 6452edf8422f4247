//! The kernel by rtnetlink: [`Netlink`], which implements the port [`Kernel`].
//!
//! Open it inside a tokio runtime, in the network namespace that it shall work in. Tell it the underlay before VXLAN links are made.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use netlink_packet_route::RouteNetlinkMessage;
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use twill_model::firewall::{Filter, Ruleset};
use twill_model::item::{Item, Link, LinkName, Route};
use twill_model::state::{Hop, HostItem, Observed, ObservedLink, Sysctl};
use twill_reconcile::ports::{Kernel, Refused};

use crate::ask::{Asker, Change};
use crate::filter::PacketFilter;
use crate::ledger::Ledger;
use crate::link::{SeenLink, adjust, adjustable, alike};
use crate::monitor::Monitor;
use crate::next_hop::NextHops;
use crate::route::SeenRoute;
use crate::sysctl::{Restored, Sysctls};
use crate::words::{Failure, io_words};
use crate::{ROUTE_PROTOCOL, address, link, neighbour, observe, road, route, sysctl};

/// The kernel's network state in one network namespace.
#[derive(Debug)]
pub struct Netlink {
    pub(crate) asker: Asker,
    monitor: Monitor,
    ledger: Arc<Mutex<Ledger>>,
    underlay: Mutex<Option<String>>,
    sysctls: Arc<Sysctls>,
    filter: PacketFilter,
    next_hops: NextHops,
}

impl Netlink {
    /// Opens both connections in the network namespace of the calling thread, inside a tokio runtime. `sysctl_record` is the file that keeps
    /// the values which settings had before twill changed them.
    ///
    /// # Errors
    /// No netlink socket can be had.
    pub fn open(sysctl_record: PathBuf) -> Result<Self, Refused> {
        let refused = |error: std::io::Error| Refused { act: "open a netlink connection".into(), cause: io_words(&error) };
        let ledger = Arc::new(Mutex::new(Ledger::default()));
        let monitor = Monitor::open(ledger.clone()).map_err(refused)?;
        let asker = Asker::open().map_err(refused)?;
        Ok(Self {
            asker,
            monitor,
            ledger,
            underlay: Mutex::new(None),
            sysctls: Arc::new(Sysctls::new(sysctl_record)),
            filter: PacketFilter::open(),
            next_hops: NextHops::default(),
        })
    }

    /// Names the interface that VXLAN links are made on. A VXLAN link on another one is then observed without a kind, and re-made.
    pub fn set_underlay(&self, name: &str) {
        *self.underlay.lock().unwrap_or_else(PoisonError::into_inner) = Some(name.to_owned());
    }

    /// Puts every setting back to the value found first, and forgets it. What another hand changed since is left alone.
    ///
    /// # Errors
    /// The record cannot be read.
    pub fn restore_sysctls(&self) -> Result<Vec<Restored>, Refused> {
        self.sysctls.restore()
    }

    async fn make_item(&self, item: &HostItem) -> Result<(), Failure> {
        match item {
            Item::Link(wanted) => self.make_link(wanted).await,
            Item::Endpoint(_) | Item::Sender(_) => Err(Failure::Own("it is the fast path's, not the kernel's".into())),
            Item::Wireguard(_) => Err(Failure::Own("WireGuard is not supported by this version".into())),
            Item::Assignment(_) | Item::Route(_) | Item::Neighbour(_) | Item::Fdb(_) => {
                let item = item.clone().try_rename(index_of)?;
                self.make_entry(&item).await
            }
        }
    }

    async fn make_entry(&self, item: &Item<u32>) -> Result<(), Failure> {
        self.ledger().asked(item);
        let done = match item {
            Item::Assignment(wanted) => self.asker.change(address::make(wanted)).await,
            Item::Route(wanted) => self.next_hops.make(&self.asker, wanted).await,
            Item::Neighbour(wanted) => self.asker.change(neighbour::make(wanted)).await,
            Item::Fdb(wanted) => self.asker.change(neighbour::make_fdb(wanted)).await,
            _ => return Ok(()),
        };
        if done.is_err() {
            self.ledger().withdraw(&item.key());
        }
        done
    }

    async fn remove_item(&self, item: &HostItem) -> Result<(), Failure> {
        match item {
            Item::Link(link) => self.remove_link(&link.on).await,
            Item::Endpoint(_) | Item::Sender(_) | Item::Wireguard(_) => Ok(()),
            Item::Assignment(_) | Item::Route(_) | Item::Neighbour(_) | Item::Fdb(_) => match item.clone().try_rename(index_of) {
                Ok(item) => self.remove_entry(&item).await,
                // With the link went all that stood on it.
                Err(Failure::Errno { errno: Errno::ENODEV, .. }) => Ok(()),
                Err(failure) => Err(failure),
            },
        }
    }

    async fn remove_entry(&self, item: &Item<u32>) -> Result<(), Failure> {
        let change = match item {
            Item::Route(there) => return self.remove_route(there).await,
            Item::Assignment(there) => address::remove(there),
            Item::Neighbour(there) => neighbour::remove(there),
            Item::Fdb(there) => neighbour::remove_fdb(there),
            _ => return Ok(()),
        };
        self.ledger().asked_none(item.key());
        let done = self.asker.change(change).await;
        if done.is_err() {
            self.ledger().withdraw(&item.key());
        }
        done
    }

    /// Removes the route that carries our protocol, else the equal one of another (adopted from flannel), never one with another metric.
    async fn remove_route(&self, there: &Route<u32>) -> Result<(), Failure> {
        let ours = SeenRoute { protocol: ROUTE_PROTOCOL, ..SeenRoute::ours(there.clone()) };
        if self.delete_route(&ours).await? {
            return Ok(());
        }
        let routes = observe::routes(&self.asker, address::family(there.to.addr())).await?;
        let equal = |seen: &&SeenRoute| {
            seen.route.metric == there.metric && seen.route.to == there.to && seen.route.via == there.via && seen.route.on == there.on
        };
        if let Some(adopted) = routes.iter().find(equal) {
            self.delete_route(adopted).await?;
        }
        Ok(())
    }

    /// False when there was none.
    pub(crate) async fn delete_route(&self, seen: &SeenRoute) -> Result<bool, Failure> {
        let place = Item::Route(seen.route.clone()).key();
        self.ledger().asked_none(place.clone());
        let done = self.asker.change(route::remove(seen)).await;
        if done.is_err() {
            self.ledger().withdraw(&place);
        }
        match done {
            Ok(()) => Ok(true),
            Err(failure) if failure.is(&[Errno::ESRCH, Errno::ENOENT, Errno::ENODEV]) => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    async fn make_link(&self, wanted: &Link<LinkName>) -> Result<(), Failure> {
        let under = self.underlay_index();
        let Some(there) = self.link(&wanted.on).await?.map(|seen| seen.observed(under)) else {
            return self.create_link(wanted, under).await;
        };
        if adjustable(&wanted.kind, &there) {
            return self.adjust_link(wanted, &there).await;
        }
        if !alike(&wanted.kind, &there) {
            let word = if there.word.is_empty() { "hardware" } else { &there.word };
            return Err(Failure::Own(format!("an interface of that name is there already, of kind \"{word}\"")));
        }
        let create = link::create(wanted, under)?;
        self.remove_link(&wanted.on).await?;
        self.change_link(wanted, None, create).await
    }

    async fn create_link(&self, wanted: &Link<LinkName>, under: Option<u32>) -> Result<(), Failure> {
        self.change_link(wanted, None, link::create(wanted, under)?).await
    }

    async fn adjust_link(&self, wanted: &Link<LinkName>, there: &ObservedLink) -> Result<(), Failure> {
        for change in adjust(wanted, there) {
            self.change_link(wanted, Some(there), change).await?;
        }
        Ok(())
    }

    async fn change_link(&self, wanted: &Link<LinkName>, there: Option<&ObservedLink>, change: Change) -> Result<(), Failure> {
        self.ledger().asked_link(wanted, there);
        let done = self.asker.change(change).await;
        match done {
            Ok(()) => self.ledger().own(index_of(&wanted.on)?),
            Err(_) => self.ledger().withdraw_link(&wanted.on),
        }
        done
    }

    pub(crate) async fn remove_link(&self, name: &LinkName) -> Result<(), Failure> {
        self.ledger().asked_no_link(name);
        let done = self.asker.change(link::remove(name)).await;
        if done.is_err() {
            self.ledger().withdraw_link(name);
        }
        done
    }

    /// The link of that name, if there is one.
    async fn link(&self, name: &LinkName) -> Result<Option<SeenLink>, Failure> {
        match self.asker.get(link::get(name)).await {
            Ok(RouteNetlinkMessage::NewLink(message)) => Ok(link::read(&message)),
            Ok(_) => Err(Errno::EBADMSG.into()),
            Err(failure) if failure.is(&[Errno::ENODEV]) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// None also while the interface is away: only VXLAN links need it.
    fn underlay_index(&self) -> Option<u32> {
        self.underlay_name().and_then(|name| index_of(&LinkName(name)).ok())
    }

    fn underlay_name(&self) -> Option<String> {
        self.underlay.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kernel for Netlink {
    async fn observe(&self, sysctls: Vec<String>) -> Result<Observed, Refused> {
        let seen = observe::all(&self.asker).await.map_err(|failure| failure.refused("read the kernel's network state"))?;
        self.ledger().saw(&seen.links, &seen.addresses);
        let mut observed = seen.observed(self.underlay_name().as_deref());
        observed.sysctls = sysctls.into_iter().filter_map(|path| Some((path.clone(), sysctl::read(&path)?))).collect();
        Ok(observed)
    }

    async fn make(&self, item: HostItem) -> Result<(), Refused> {
        self.make_item(&item).await.map_err(|failure| failure.refused(format!("make {item}")))
    }

    async fn remove(&self, item: HostItem) -> Result<(), Refused> {
        self.remove_item(&item).await.map_err(|failure| failure.refused(format!("remove {item}")))
    }

    async fn set(&self, sysctl: Sysctl) -> Result<(), Refused> {
        let sysctls = self.sysctls.clone();
        let act = format!("set {} to {}", sysctl.path, sysctl.value);
        // The record is synced to the disk, which may take its time.
        let done = tokio::task::spawn_blocking(move || sysctls.set(&sysctl)).await;
        done.unwrap_or_else(|_| Err(Refused { act, cause: "the daemon is going down".into() }))
    }

    async fn road(&self, to: IpAddr) -> Result<Hop, Refused> {
        let leaving = road::ask(&self.asker, to).await.map_err(|failure| failure.refused(format!("find the road to {to}")))?;
        Ok(leaving.over(self.underlay_index()))
    }

    async fn filter(&self, wanted: Ruleset) -> Result<Filter, Refused> {
        self.filter.look(&wanted).await
    }

    async fn replace_rules(&self, wanted: Ruleset) -> Result<(), Refused> {
        self.filter.replace(&wanted).await
    }

    async fn changed(&self) {
        tokio::select! {
            () = self.monitor.news() => {}
            () = self.filter.news() => {}
        }
    }
}

/// The index of an interface; the kernel is asked each time, since names move.
fn index_of(name: &LinkName) -> Result<u32, Failure> {
    if name.0.is_empty() { Ok(0) } else { if_nametoindex(name.0.as_str()).map_err(Failure::from) }
}
