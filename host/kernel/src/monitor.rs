//! The listening connection: hears of changes and wakes whoever waits in `changed()`, once for any number of them.
//!
//! It is a connection of its own because the library hands what our requests cause on the asking connection to the request, not to the listener.
//! Lost notifications (the kernel says so) count as news.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{AsyncSocket, SocketAddr};
use rtnetlink::MulticastGroup;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tracing::{debug, warn};

use crate::ask::widen;
use crate::ledger::{Ledger, Told, What};
use crate::{address, link, neighbour, route};

/// What is listened to.
const GROUPS: &[MulticastGroup] = &[
    MulticastGroup::Link,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
];
/// Time before a listening connection that broke is opened again.
const REOPEN: Duration = Duration::from_secs(1);

/// Notifications that are taken together, at most, when many are there.
const BURST: usize = 1024;

type Message = NetlinkMessage<RouteNetlinkMessage>;

/// The listener; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Monitor {
    news: Arc<Notify>,
    task: AbortHandle,
}

impl Monitor {
    /// Starts listening in the network namespace of the calling thread. Returns when the groups are joined: no later change is missed.
    pub(crate) fn open(ledger: Arc<Mutex<Ledger>>) -> io::Result<Self> {
        let news = Arc::new(Notify::new());
        let messages = listen()?;
        let task = tokio::spawn(run(messages, ledger, news.clone())).abort_handle();
        Ok(Self { news, task })
    }

    /// Waits for news; of several waiters one is woken. To give up waiting loses nothing; news while nobody waits is kept for the next to come.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(mut messages: impl Stream<Item = (Message, SocketAddr)> + Unpin, ledger: Arc<Mutex<Ledger>>, news: Arc<Notify>) {
    hear(&mut messages, &ledger, &news).await;
    loop {
        warn!("the connection that hears of kernel changes broke; opening it again");
        tokio::time::sleep(REOPEN).await;
        match listen() {
            Ok(mut again) => {
                news.notify_one();
                hear(&mut again, &ledger, &news).await;
            }
            Err(error) => warn!(%error, "cannot listen for kernel changes"),
        }
    }
}

async fn hear(messages: &mut (impl Stream<Item = (Message, SocketAddr)> + Unpin), ledger: &Mutex<Ledger>, news: &Notify) {
    let mut bursts = messages.ready_chunks(BURST);
    while let Some(burst) = bursts.next().await {
        let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
        // All of it goes through the ledger, whatever the first says.
        let news_in_it = burst.iter().filter(|(message, _)| is_news(message, &mut ledger)).count();
        if news_in_it > 0 {
            news.notify_one();
        }
    }
}

fn is_news(message: &Message, ledger: &mut Ledger) -> bool {
    match &message.payload {
        NetlinkPayload::InnerMessage(inner) => read(inner).is_some_and(|told| ledger.is_news(told)),
        NetlinkPayload::Overrun(_) => {
            debug!("kernel notifications were lost; all state is read again");
            ledger.lost();
            true
        }
        _ => false,
    }
}

fn listen() -> io::Result<impl Stream<Item = (Message, SocketAddr)> + Unpin + use<>> {
    let (mut connection, handle, messages) = rtnetlink::new_multicast_connection(GROUPS)?;
    widen(connection.socket_mut().socket_mut())?;
    tokio::spawn(connection);
    // The connection lives as long as its handle or the receiver of its messages.
    drop(handle);
    Ok(messages)
}

/// What a notification tells, when it is of a kind that plans speak of.
fn read(message: &RouteNetlinkMessage) -> Option<Told> {
    use RouteNetlinkMessage as M;
    let gone = matches!(message, M::DelLink(_) | M::DelAddress(_) | M::DelRoute(_) | M::DelNeighbour(_));
    let what = match message {
        M::NewLink(message) | M::DelLink(message) => What::Link(link::read(message)?),
        M::NewAddress(message) | M::DelAddress(message) => What::Address(address::read(message)?),
        M::NewRoute(message) | M::DelRoute(message) => What::Route(route::read(message)?),
        M::NewNeighbour(message) | M::DelNeighbour(message) => What::Entry(neighbour::read(message)?),
        _ => return None,
    };
    Some(Told { what, gone })
}
