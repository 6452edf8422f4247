//! The tunnels of this node: what the reconciler opens, fills and closes.
//!
//! [`Tunnels`] is the only door to the fast path. Its acts are short (some ioctls, a bind, the end of some threads) and done in place; the
//! lock is taken by the control plane alone, never by a pump.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use twill_model::item::{Link, LinkKind, LinkName};
use twill_model::status::{PeerTraffic, Traffic, TunnelStatus};
use twill_reconcile::ports::{Forwarder, Forwarding, Refused};

use crate::awake::Spinner;
use crate::bulk::Bulk;
use crate::counters::{Crossed, Lane, Tally};
use crate::drops::{DropReason, Offender};
use crate::ends::{Ends, Refusals, Shared};
use crate::heavy::Heavy;
use crate::offload::{Offloading, Offloads};
use crate::peer::Peers;
use crate::pump::Pumps;
use crate::signal::Signal;
use crate::table::Table;
use crate::tun::{self, Queue, Sleep};
use crate::udp::Socket;

/// What holds for all tunnels of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Queues of each TUN device; each has for every address family of the underlay a socket, and for every socket a thread beside its own. At least one.
    pub queues: usize,
    /// The offloads to try.
    pub offloads: Offloads,
    /// A core is kept from falling asleep between lone packets that follow each other closely (see [`crate::awake`]); a daemon asks
    /// [`has_cores_to_spare`](crate::has_cores_to_spare) first.
    pub keeps_awake: bool,
    /// The underlay is taken to answer every run (UDP_SEGMENT) with that error (errno), which this machine's may never do: for tests.
    pub underlay_refuses_runs: Option<i32>,
    /// The TUN device is taken to answer EINVAL to every super-packet that was joined, as Linux 6.6.44 does to some: for tests.
    pub device_refuses_joined: bool,
    /// The kernel is taken to be older than 6.4, where TUN devices do not know RWF_NOWAIT: for tests.
    pub is_tun_old: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            queues: 1,
            offloads: Offloads::ALL,
            keeps_awake: true,
            underlay_refuses_runs: None,
            device_refuses_joined: false,
            is_tun_old: false,
        }
    }
}

/// Queues that a tunnel has unless set: one for every four cores, at most four. A queue keeps two to three cores busy, and its pods need some too.
pub fn queues_for(cores: usize) -> usize {
    (cores / 4).clamp(1, 4)
}

/// The fast path: all tunnels of this node.
#[derive(Debug)]
pub struct Tunnels {
    settings: Settings,
    tunnels: Mutex<BTreeMap<LinkName, Tunnel>>,
    valid_until: Arc<AtomicU64>,
    changed: Arc<Notify>,
    spinner: Option<Arc<Spinner>>,
}

/// One tunnel. Table, peers and counters outlive its device.
#[derive(Debug)]
struct Tunnel {
    table: Arc<ArcSwap<Table>>,
    peers: Peers,
    /// One a queue.
    outbound: Vec<Arc<Tally>>,
    /// Two a queue, one for each family that the underlay has, IPv4 first.
    inbound: Vec<[Arc<Tally>; 2]>,
    running: Option<Running>,
}

/// What there is while a tunnel works. The pumps come first, as they must end before the rest is closed.
#[derive(Debug)]
struct Running {
    pumps: Pumps,
    queues: Vec<Arc<Queue>>,
    /// Of each queue, one for each family.
    sockets: Vec<Vec<Arc<Socket>>>,
    local: Vec<SocketAddr>,
}

impl Tunnels {
    /// No tunnels yet, and no limit of time to sending.
    pub fn new(settings: Settings) -> Self {
        let settings = Settings { queues: settings.queues.max(1), ..settings };
        Tunnels {
            settings,
            tunnels: Mutex::default(),
            valid_until: Arc::new(AtomicU64::new(u64::MAX)),
            changed: Arc::default(),
            spinner: settings.keeps_awake.then(|| Arc::new(Spinner::start())),
        }
    }

    /// Waits until a tunnel is lost, such as when its device was deleted: `holds` is then false for it. A loss that came before the call is
    /// not missed. For one waiting task.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Closes all open tunnels: their devices go, and what leads to them.
    ///
    /// # Errors
    /// The first that could not be closed; the others are.
    pub fn close_all(&self) -> Result<(), Refused> {
        let open = |(link, tunnel): (&LinkName, &Tunnel)| tunnel.running.is_some().then(|| link.clone());
        let open: Vec<LinkName> = self.lock().iter().filter_map(open).collect();
        open.iter().map(|link| self.close_now(link)).fold(Ok(()), Result::and)
    }

    /// What was dropped since this was last called, by tunnel and reason, with the last offender of each: for log lines, at most once a
    /// minute.
    pub fn take_offenders(&self) -> Vec<Offender> {
        self.lock().iter().flat_map(|(link, tunnel)| tunnel.offenders(link)).collect()
    }

    /// Packets sent, received and dropped so far, tunnel by tunnel: whoever only wants to know whether anything moved need not read every peer's counters.
    pub fn packets(&self) -> Vec<u64> {
        self.lock().values().flat_map(Tunnel::packets).collect()
    }

    /// Which offloads each tunnel has in force, and what they were worth so far.
    pub fn offloading(&self) -> Vec<Offloading> {
        self.lock().iter().map(|(link, tunnel)| tunnel.offloading(link)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<LinkName, Tunnel>> {
        self.tunnels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_now(&self, link: &Link<LinkName>) -> Result<(), Refused> {
        let local = local_addresses(link)?;
        let mut tunnels = self.lock();
        let tunnel = tunnels.entry(link.on.clone()).or_insert_with(|| Tunnel::new(self.settings.queues));
        if tunnel.holds(&link.on, &local) {
            return Ok(());
        }
        let queues = tunnel.stop(&link.on);
        let sockets = self.bind(&local)?;
        let queues = match queues {
            Some(queues) => queues,
            None => self.open_device(&link.on)?,
        };
        let pumps = tunnel.start(self.shared(tunnel), &link.on, &queues, &sockets)?;
        tracing::info!(link = %link.on, ?local, "tunnel opened");
        tunnel.running = Some(Running { pumps, queues, sockets, local });
        self.tell_of_missing(&link.on, tunnel);
        Ok(())
    }

    fn open_device(&self, link: &LinkName) -> Result<Vec<Arc<Queue>>, Refused> {
        let Settings { queues, offloads, is_tun_old, device_refuses_joined, .. } = self.settings;
        let sleep = if is_tun_old { Sleep::InPoll } else { Sleep::best() };
        let queues = tun::open(&link.0, queues, offloads, sleep)?.into_iter();
        Ok(queues.map(|queue| Arc::new(if device_refuses_joined { queue.refusing_joined() } else { queue })).collect())
    }

    /// Says once, on opening, which of the offloads asked for the kernel has not.
    fn tell_of_missing(&self, link: &LinkName, tunnel: &Tunnel) {
        let (wanted, has) = (self.settings.offloads, tunnel.offloads());
        if wanted != has {
            tracing::info!(%link, ?wanted, ?has, "the kernel has not all offloads: packets cross it in smaller lots");
        }
    }

    /// A socket at each address, for each queue.
    fn bind(&self, local: &[SocketAddr]) -> Result<Vec<Vec<Arc<Socket>>>, Refused> {
        let Settings { queues, offloads, underlay_refuses_runs, .. } = self.settings;
        let bound = |at: &SocketAddr| {
            let socket = Socket::bind(*at, queues > 1, offloads)?;
            Ok(Arc::new(socket.refusing_runs(underlay_refuses_runs)))
        };
        let of_queue = |_| local.iter().map(bound).collect();
        (0..queues).map(of_queue).collect()
    }

    fn shared(&self, tunnel: &Tunnel) -> Arc<Shared> {
        Arc::new(Shared {
            table: Arc::clone(&tunnel.table),
            valid_until: Arc::clone(&self.valid_until),
            signal: Signal::new(Arc::clone(&self.changed)),
            spinner: self.spinner.clone(),
            bulk: Bulk::default(),
            heavy: (0..self.settings.queues).map(|_| Heavy::default()).collect(),
            refusals: Refusals::default(),
        })
    }

    fn close_now(&self, link: &LinkName) -> Result<(), Refused> {
        let tunnel = self.lock().remove(link);
        match tunnel.and_then(|tunnel| tunnel.running) {
            Some(running) => {
                let released = running.queues.first().map_or(Ok(()), |queue| queue.release());
                released.map_err(|error| Refused { act: format!("remove TUN device {link}"), cause: error.to_string() })
            }
            None => tun::remove(&link.0),
        }
    }
}

impl Forwarder for Tunnels {
    async fn open(&self, link: Link<LinkName>) -> Result<(), Refused> {
        self.open_now(&link)
    }

    fn holds(&self, link: &Link<LinkName>) -> bool {
        local_addresses(link).is_ok_and(|local| self.lock().get(&link.on).is_some_and(|tunnel| tunnel.holds(&link.on, &local)))
    }

    fn forward(&self, link: &LinkName, table: Forwarding) {
        let mut tunnels = self.lock();
        let tunnel = tunnels.entry(link.clone()).or_insert_with(|| Tunnel::new(self.settings.queues));
        tunnel.table.store(Arc::new(Table::new(&table, &mut tunnel.peers)));
        tunnel.peers.forget_unused();
    }

    async fn close(&self, link: LinkName) -> Result<(), Refused> {
        self.close_now(&link)
    }

    fn counters(&self) -> Vec<TunnelStatus> {
        self.lock().iter().map(|(link, tunnel)| tunnel.status(link)).collect()
    }

    fn valid_until(&self, boottime_ms: u64) {
        self.valid_until.store(boottime_ms, Ordering::Relaxed);
    }
}

impl Tunnel {
    fn new(queues: usize) -> Self {
        Tunnel {
            table: Arc::new(ArcSwap::from_pointee(Table::empty())),
            peers: Peers::new(queues),
            outbound: (0..queues).map(|_| Arc::default()).collect(),
            inbound: (0..queues).map(|_| Default::default()).collect(),
            running: None,
        }
    }

    /// True while the device is open under its name and the sockets bound to `local`.
    fn holds(&self, link: &LinkName, local: &[SocketAddr]) -> bool {
        self.running.as_ref().is_some_and(|running| running.local == local && running.has_device(link))
    }

    /// Ends the pumps and closes the socket. Gives back the device, if it is still the one of that name.
    fn stop(&mut self, link: &LinkName) -> Option<Vec<Arc<Queue>>> {
        let running = self.running.take()?;
        running.has_device(link).then_some(running.queues)
    }

    fn start(&self, shared: Arc<Shared>, link: &LinkName, queues: &[Arc<Queue>], sockets: &[Vec<Arc<Socket>>]) -> Result<Pumps, Refused> {
        let (mut out, mut into) = (Vec::new(), Vec::new());
        for (lane, (queue, sockets)) in queues.iter().zip(sockets).enumerate() {
            let ends = |sockets: Vec<Arc<Socket>>, tally: &Arc<Tally>| Ends {
                queue: Arc::clone(queue),
                sockets,
                lane,
                tally: Arc::clone(tally),
                shared: Arc::clone(&shared),
            };
            out.push(ends(sockets.clone(), &self.outbound[lane]));
            // A peer's datagrams all come to the socket of its address's family, so that its lane has one writer.
            into.extend(sockets.iter().zip(&self.inbound[lane]).map(|(socket, tally)| ends(vec![Arc::clone(socket)], tally)));
        }
        Pumps::start(&link.0, shared, out, into)
    }

    /// The offloads in force: all queues and sockets have them. None while the tunnel is not open.
    fn offloads(&self) -> Offloads {
        let Some(Running { queues, sockets, .. }) = &self.running else { return Offloads::NONE };
        Offloads {
            tso: queues.iter().all(|queue| queue.joins().tcp),
            uso: queues.iter().all(|queue| queue.joins().udp),
            gso: sockets.iter().flatten().all(|socket| socket.longest_run() > 1),
            gro: sockets.iter().flatten().all(|socket| socket.is_merging()),
        }
    }

    fn offloading(&self, link: &LinkName) -> Offloading {
        let sum = |sum: Crossed, tally: &Arc<Tally>| sum + tally.crossings.read();
        let sent = self.outbound.iter().fold(Crossed::default(), sum);
        let received = self.inbound.iter().flatten().fold(Crossed::default(), sum);
        Offloading { link: link.clone(), queues: self.outbound.len(), in_force: self.offloads(), sent, received }
    }

    fn tallies(&self) -> impl Iterator<Item = &Arc<Tally>> {
        self.outbound.iter().chain(self.inbound.iter().flatten())
    }

    fn status(&self, link: &LinkName) -> TunnelStatus {
        let counted = |reason: DropReason| self.tallies().map(|tally| tally.dropped(reason)).sum::<u64>();
        let drops = DropReason::ALL.iter().map(|&reason| (reason.name().to_owned(), counted(reason))).filter(|(_, count)| *count > 0);
        TunnelStatus {
            link: link.0.clone(),
            total: self.total(),
            drops: drops.collect(),
            peers: self.peer_traffic(),
            crossing: Some(self.offloading(link).status()),
        }
    }

    fn packets(&self) -> [u64; 3] {
        let Traffic { sent_packets, received_packets, .. } = self.total();
        let dropped = |tally: &Arc<Tally>| DropReason::ALL.iter().map(|&reason| tally.dropped(reason)).sum::<u64>();
        [sent_packets, received_packets, self.tallies().map(dropped).sum()]
    }

    fn total(&self) -> Traffic {
        let add = |(packets, bytes): (u64, u64), tally: &Arc<Tally>| {
            let (more_packets, more_bytes, _) = Lane::read(&tally.traffic);
            (packets + more_packets, bytes + more_bytes)
        };
        let (sent_packets, sent_bytes) = self.outbound.iter().fold((0, 0), add);
        let (received_packets, received_bytes) = self.inbound.iter().flatten().fold((0, 0), add);
        Traffic { sent_packets, sent_bytes, received_packets, received_bytes }
    }

    fn peer_traffic(&self) -> Vec<PeerTraffic> {
        let table = self.table.load();
        let status = |(peer, port): (&Arc<crate::peer::Peer>, Option<u16>)| {
            let (traffic, heard_ms) = peer.traffic();
            let name = port.map_or(peer.address.to_string(), |port| SocketAddr::new(peer.address, port).to_string());
            PeerTraffic { peer: name, traffic, heard_ms, drops: peer.dropped() }
        };
        table.peers().into_iter().map(status).collect()
    }

    fn offenders(&self, link: &LinkName) -> Vec<Offender> {
        let mut found: HashMap<DropReason, Offender> = HashMap::new();
        for tally in self.tallies() {
            for &reason in DropReason::ALL {
                let Some((count, outer, inner)) = tally.take(reason) else { continue };
                let before = found.get(&reason).map_or(0, |offender| offender.count);
                let offender = Offender { link: link.clone(), reason, count: before + count, outer, inner };
                found.insert(reason, offender);
            }
        }
        let mut offenders: Vec<_> = found.into_values().collect();
        offenders.sort_by_key(|offender| offender.reason);
        offenders
    }
}

impl Running {
    fn has_device(&self, link: &LinkName) -> bool {
        !self.pumps.are_lost() && self.queues.iter().all(|queue| queue.name().is_ok_and(|name| name == link.0))
    }
}

/// Where its sockets are bound to, IPv4 first.
fn local_addresses(link: &Link<LinkName>) -> Result<Vec<SocketAddr>, Refused> {
    let refused = |cause: &str| Refused { act: format!("open tunnel {}", link.on), cause: cause.into() };
    let LinkKind::Tunnel { port, local } = &link.kind else { return Err(refused("its kind is another one")) };
    let addresses = [local.v4.map(IpAddr::V4), local.v6.map(IpAddr::V6)];
    let bound: Vec<SocketAddr> = addresses.into_iter().flatten().map(|address| SocketAddr::new(address, *port)).collect();
    if bound.is_empty() { Err(refused("the plan names no address for its socket")) } else { Ok(bound) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_follow_the_cores() {
        assert_eq!([1, 2, 4, 7, 8, 64].map(queues_for), [1, 1, 1, 1, 2, 4]);
    }
}
