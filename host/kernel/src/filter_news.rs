//! Changes of the packet filter by other hands, heard on the kernel's nftables notification group (linux/netfilter/nf_tables.h).
//!
//! Only changes to watched tables, and to foreign chains at a hook, count; what our own nft processes did is known by the port that the kernel tells
//! with each notification. Lost notifications count as news. Looks into the messages' frames alone; rules are read by running nft.

use std::collections::{BTreeSet, VecDeque};
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};
use nix::errno::Errno;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tracing::warn;

use crate::ask::widen;

/// `NFNLGRP_NFTABLES` of linux/netfilter/nfnetlink.h.
const GROUP: u32 = 7;
/// `NFNL_SUBSYS_NFTABLES`, the high byte of a message's type.
const SUBSYSTEM: u16 = 10;
/// `NFT_MSG_NEWCHAIN` and `NFT_MSG_DELCHAIN`.
const CHAINS: [u16; 2] = [3, 5];
/// The last kind of message that names a table whose rules may have changed: `NFT_MSG_DELRULE`.
const LAST: u16 = 8;
/// `NFT_MSG_NEWGEN`, the last message of a transaction.
const END: u16 = 15;
/// The table's name: attribute 1 of tables, chains and rules alike.
const TABLE: u16 = 1;
/// `NFTA_CHAIN_HOOK`: only chains at a hook have it.
const HOOK: u16 = 4;
/// Of our nft processes the latest so many are remembered.
const WRITERS: usize = 16;
/// Time before a connection that broke is opened again.
const REOPEN: Duration = Duration::from_secs(1);

/// The listener; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct FilterMonitor {
    shared: Arc<Shared>,
    task: AbortHandle,
}

#[derive(Debug, Default)]
struct Shared {
    news: Notify,
    changes: AtomicU64,
    watch: Mutex<Watch>,
}

/// What counts as news.
#[derive(Debug, Default)]
struct Watch {
    /// Names of tables; while there is none, nothing is news.
    tables: BTreeSet<String>,
    /// Ports of our own writers.
    writers: VecDeque<u32>,
}

impl FilterMonitor {
    /// Starts listening in the network namespace of the calling thread.
    pub(crate) fn open() -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let socket = listen()?;
        let task = tokio::spawn(run(socket, shared.clone())).abort_handle();
        Ok(Self { shared, task })
    }

    /// Waits for news.
    pub(crate) async fn news(&self) {
        self.shared.news.notified().await;
    }

    /// A number that grows with every piece of news: what was read while it stood still is up to date.
    pub(crate) fn changes(&self) -> u64 {
        self.shared.changes.load(Ordering::SeqCst)
    }

    /// From now on these tables are watched.
    pub(crate) fn watch(&self, tables: impl Iterator<Item = String>) {
        self.shared.watch().tables = tables.collect();
    }

    /// What the process of this id does is no news; netlink names a process's first socket by its id.
    pub(crate) fn ignore(&self, process: u32) {
        let mut watch = self.shared.watch();
        watch.writers.push_back(process);
        if watch.writers.len() > WRITERS {
            watch.writers.pop_front();
        }
    }
}

impl Drop for FilterMonitor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        self.news.notify_one();
    }
}

async fn run(mut socket: TokioSocket, shared: Arc<Shared>) {
    loop {
        let error = hear(&socket, &shared).await;
        warn!(%error, "the connection that hears of packet filter changes broke; opening it again");
        socket = loop {
            tokio::time::sleep(REOPEN).await;
            match listen() {
                Ok(socket) => break socket,
                Err(error) => warn!(%error, "cannot listen for packet filter changes"),
            }
        };
        shared.tell();
    }
}

/// Hears until the connection breaks.
async fn hear(socket: &TokioSocket, shared: &Shared) -> io::Error {
    let mut buffer = Vec::with_capacity(64 << 10);
    let mut open = false;
    loop {
        buffer.clear();
        match socket.recv(&mut buffer).await {
            Ok(()) => {
                let ended = is_news(&buffer, &shared.watch(), &mut open);
                if ended {
                    shared.tell();
                }
            }
            // Notifications were lost.
            Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => shared.tell(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return error,
        }
    }
}

fn listen() -> io::Result<TokioSocket> {
    let mut listening = TokioSocket::new(NETLINK_NETFILTER)?;
    let socket = listening.socket_mut();
    socket.bind(&SocketAddr::new(0, 0))?;
    widen(socket)?;
    socket.add_membership(GROUP)?;
    Ok(listening)
}

/// True when a transaction by another hand ended in which something concerns us; `open` while it has not ended yet.
fn is_news(mut bytes: &[u8], watch: &Watch, open: &mut bool) -> bool {
    let mut news = false;
    while let Some((length, message)) = split(bytes, |head| Some(u32::from_ne_bytes(head.get(..4)?.try_into().ok()?) as usize)) {
        match concerns(message, watch) {
            Some(Word::Concerns) => *open = true,
            Some(Word::End) => news |= std::mem::take(open),
            None => {}
        }
        bytes = bytes.get(length..).unwrap_or_default();
    }
    news
}

/// What a message means to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    /// Its transaction concerns us.
    Concerns,
    /// Its transaction is done.
    End,
}

/// A message: length u32, type u16, flags u16, sequence u32, port u32; then family, version and resource of nfnetlink; then attributes.
fn concerns(message: &[u8], watch: &Watch) -> Option<Word> {
    let kind = u16::from_ne_bytes(message.get(4..6)?.try_into().ok()?);
    let port = u32::from_ne_bytes(message.get(12..16)?.try_into().ok()?);
    let (subsystem, kind) = (kind >> 8, kind & 0xff);
    if (subsystem, kind) == (SUBSYSTEM, END) {
        return Some(Word::End);
    }
    if subsystem != SUBSYSTEM || kind > LAST || watch.tables.is_empty() || watch.writers.contains(&port) {
        return None;
    }
    let attributes = message.get(20..)?;
    let table = attribute(attributes, TABLE)?;
    let table = table.strip_suffix(b"\0").unwrap_or(table);
    let watched = watch.tables.iter().any(|name| name.as_bytes() == table);
    (watched || CHAINS.contains(&kind) && attribute(attributes, HOOK).is_some()).then_some(Word::Concerns)
}

/// The first attribute of that type: length u16, type u16, value, padded to four bytes.
fn attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    /// `NLA_TYPE_MASK`: without the flags for nested attributes and byte order.
    const TYPE: u16 = 0x3fff;
    loop {
        let (length, attribute) = split(bytes, |head| Some(u16::from_ne_bytes(head.get(..2)?.try_into().ok()?).into()))?;
        let kind = u16::from_ne_bytes(attribute.get(2..4)?.try_into().ok()?) & TYPE;
        if kind == wanted {
            return attribute.get(4..);
        }
        bytes = bytes.get(length..)?;
    }
}

/// The first piece of `bytes`, which tells its own length; and the length with padding.
fn split(bytes: &[u8], length: impl Fn(&[u8]) -> Option<usize>) -> Option<(usize, &[u8])> {
    let length = length(bytes).filter(|length| *length >= 4)?;
    Some((length.next_multiple_of(4), bytes.get(..length)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW_RULE: u16 = 6;

    fn piece(head: impl Fn(usize) -> Vec<u8>, body: &[u8]) -> Vec<u8> {
        let mut bytes = head(head(0).len() + body.len());
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn attribute_of(kind: u16, value: &[u8]) -> Vec<u8> {
        piece(|length| [(length as u16).to_ne_bytes(), kind.to_ne_bytes()].concat(), value)
    }

    fn message(kind: u16, port: u32, table: &str, hook: bool) -> Vec<u8> {
        let mut attributes = attribute_of(2, &[0; 8]);
        attributes.extend(attribute_of(TABLE, format!("{table}\0").as_bytes()));
        if hook {
            attributes.extend(attribute_of(HOOK | 0x8000, &[0; 16]));
        }
        let kind = SUBSYSTEM << 8 | kind;
        let head = |length: usize| {
            let words =
                [[(length as u32).to_ne_bytes(), [0; 4]].concat(), 7u32.to_ne_bytes().into(), port.to_ne_bytes().into(), vec![2, 0, 0, 0]];
            let mut head = words.concat();
            head[4..6].copy_from_slice(&kind.to_ne_bytes());
            head
        };
        piece(head, &attributes)
    }

    fn watch() -> Watch {
        Watch { tables: BTreeSet::from(["twill".into()]), writers: VecDeque::from([4711]) }
    }

    /// Whether a transaction of these messages is news.
    fn transaction(messages: &[Vec<u8>], watch: &Watch) -> bool {
        let mut open = false;
        let news = messages.iter().any(|message| is_news(message, watch, &mut open));
        assert!(!news, "told before the end");
        is_news(&message(END, 1, "", false), watch, &mut open)
    }

    #[test]
    fn news_is_a_change_of_a_watched_table_by_another_hand() {
        assert!(transaction(&[message(NEW_RULE, 1, "twill", false)], &watch()));
        assert!(!transaction(&[message(NEW_RULE, 4711, "twill", false)], &watch()), "we did it");
        assert!(!transaction(&[message(NEW_RULE, 1, "twill2", false)], &watch()), "a table of somebody else");
        assert!(!transaction(&[], &watch()));
        assert!(!transaction(&[message(NEW_RULE, 1, "twill", false)], &Watch::default()), "nothing is watched");
    }

    #[test]
    fn a_foreign_chain_at_a_hook_is_news() {
        assert!(transaction(&[message(CHAINS[0], 1, "filter", true)], &watch()));
        assert!(!transaction(&[message(CHAINS[0], 1, "filter", false)], &watch()));
    }

    #[test]
    fn every_message_of_a_burst_is_looked_at() {
        let burst = [message(NEW_RULE, 1, "nat", false), message(NEW_RULE, 1, "twill", false)].concat();
        assert!(transaction(std::slice::from_ref(&burst), &watch()));
        assert!(transaction(&[burst.clone(), burst.clone()], &watch()));
        assert!(is_news(&[burst, message(END, 1, "", false)].concat(), &watch(), &mut false));
    }

    #[test]
    fn half_a_message_is_no_news_and_no_panic() {
        let whole = message(NEW_RULE, 1, "twill", true);
        for length in 0..whole.len() {
            is_news(&whole[..length], &watch(), &mut false);
            let mut short = whole.clone();
            short[..4].copy_from_slice(&(length as u32).to_ne_bytes());
            is_news(&short, &watch(), &mut false);
        }
    }
}
