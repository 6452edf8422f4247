//! What has changed since a cursor: one watch of all that is below the prefix, kept open from call to call where the cursor allows it.
//!
//! The stream is only a connection: any instance goes on from the cursor. Before a stream is opened, and after one was silent for a whole call, the store
//! is asked whether it still is the same: a store that was wiped would let us wait for a revision that it may not reach for days.

use twill_guest::store::{Change, Changes, Oddity, Trouble};

use crate::cursor::Cursor;
use crate::entry::entries;
use crate::etcd::{Etcd, Stream, json, refusal, refused, trouble};
use crate::key::{Kind, Layout};
use crate::view::{head, text};
use crate::wire::{Event, KeyValue, Line, News, Watch, WatchRange};

/// A fresh watch is given this long to tell what it knows, however short the wait.
const FRESH_MS: f64 = 200.0;

/// An open watch.
#[derive(Debug)]
pub struct Watching<S> {
    stream: S,
    /// What it has told up to now.
    cursor: Cursor,
    lines: Lines,
    /// The last call heard nothing from it.
    silent: bool,
}

/// The changes since `cursor`, as soon as there are any; none after `wait_ms` milliseconds.
pub fn watch<E: Etcd>(
    etcd: &E,
    layout: &Layout,
    kept: &mut Option<Watching<E::Stream>>,
    cursor: &str,
    wait_ms: u32,
) -> Result<Changes, Trouble> {
    let cursor = Cursor::decode(cursor)?;
    let began = etcd.now();
    let mut wait = f64::from(wait_ms);
    let mut open = kept.take().filter(|open| open.cursor == cursor);
    let fresh = open.is_none();
    if fresh || open.as_ref().is_some_and(|open| open.silent) {
        same_store(&cursor, &head(etcd, layout)?)?;
    }
    if fresh {
        wait = wait.max(FRESH_MS);
    }
    let mut open = match open.take() {
        Some(open) => open,
        None => Watching::open(etcd, layout, cursor)?,
    };
    let mut left = || (wait - (etcd.now() - began)).max(0.0) as u32;
    let heard = match open.hear(layout, &mut left) {
        // Connections end, servers restart: one that was good before is replaced without a word.
        Err(Trouble::Retry(_)) if !fresh => {
            same_store(&open.cursor, &head(etcd, layout)?)?;
            open = Watching::open(etcd, layout, open.cursor)?;
            open.hear(layout, &mut left)?
        }
        heard => heard?,
    };
    open.silent = heard.is_empty();
    let changes = Changes { changes: heard, cursor: open.cursor.encode() };
    *kept = Some(open);
    Ok(changes)
}

fn same_store(known: &Cursor, found: &Cursor) -> Result<(), Trouble> {
    if found.identity == known.identity && found.revision >= known.revision {
        return Ok(());
    }
    Err(Trouble::LostCursor("the store was made anew, or an old copy of it was put in its place".into()))
}

impl<S: Stream> Watching<S> {
    fn open<E: Etcd<Stream = S>>(etcd: &E, layout: &Layout, cursor: Cursor) -> Result<Self, Trouble> {
        let (first, end) = layout.all();
        let range = WatchRange { key: first.into(), range_end: end.into(), start_revision: cursor.revision + 1, progress_notify: true };
        let stream = etcd.open("/v3/watch", json(&Watch { create_request: range })?).map_err(trouble)?;
        if stream.status() != 200 {
            let body = stream.read(1_000).map_err(trouble)?.unwrap_or_default();
            return Err(refused(stream.status(), &body));
        }
        Ok(Watching { stream, cursor, lines: Lines::default(), silent: false })
    }

    /// Reads until there are changes or no time is left.
    fn hear(&mut self, layout: &Layout, left: &mut impl FnMut() -> u32) -> Result<Vec<Change>, Trouble> {
        loop {
            let mut changes = Vec::new();
            while let Some(line) = self.lines.next() {
                changes.extend(self.take(layout, &line)?);
            }
            if !changes.is_empty() {
                return Ok(changes);
            }
            match self.stream.read(left()).map_err(trouble)? {
                None => return Err(Trouble::Retry("etcd ended the watch".into())),
                Some(piece) if piece.is_empty() => return Ok(vec![]),
                Some(piece) => self.lines.add(&piece),
            }
        }
    }

    fn take(&mut self, layout: &Layout, line: &[u8]) -> Result<Vec<Change>, Trouble> {
        let line: Line =
            serde_json::from_slice(line).map_err(|error| Trouble::Retry(format!("cannot understand etcd's watch: {error}")))?;
        if let Some(end) = line.error {
            return Err(refusal(end.code.unwrap_or_default(), &end.message));
        }
        let news = line.result.unwrap_or_default();
        goes_on(&news)?;
        let newest = news.events.iter().map(|event| event.kv.mod_revision).max();
        // News without events tell how far the watch has come. The first line only says that it is there.
        let newest = newest.unwrap_or(if news.created { 0 } else { news.header.revision });
        self.cursor.revision = self.cursor.revision.max(newest);
        changes(layout, &news.events)
    }
}

fn goes_on(news: &News) -> Result<(), Trouble> {
    let reason = &news.cancel_reason;
    if news.compact_revision != 0 || reason.contains("compacted") {
        return Err(Trouble::LostCursor(format!("etcd has forgotten what was before revision {}", news.compact_revision)));
    }
    if !news.canceled {
        return Ok(());
    }
    let why = if reason.is_empty() { "etcd ended the watch" } else { reason };
    if reason.contains("permission denied") || reason.contains("PermissionDenied") {
        Err(Trouble::Denied(why.into()))
    } else {
        Err(Trouble::Retry(why.into()))
    }
}

/// What events mean, in their order. Those of one revision belong together.
fn changes(layout: &Layout, events: &[Event]) -> Result<Vec<Change>, Trouble> {
    let mut changes = Vec::new();
    for together in events.chunk_by(|a, b| a.kv.mod_revision == b.kv.mod_revision) {
        for event in together.iter().filter(|event| event.is_removal()) {
            changes.extend(removal(layout, &event.kv)?);
        }
        let written: Vec<KeyValue> = together.iter().filter(|event| !event.is_removal()).map(|event| event.kv.clone()).collect();
        changes.extend(written.iter().filter(|kv| layout.kind(&kv.key.0) == Kind::Config).map(|kv| config(layout, &kv.value.0)));
        let found = entries(layout, &written);
        changes.extend(found.oddities.into_iter().map(Change::Oddity));
        changes.extend(found.entries.into_iter().filter_map(|entry| entry.lease.ok()).map(Change::Put));
    }
    Ok(changes)
}

fn removal(layout: &Layout, kv: &KeyValue) -> Result<Option<Change>, Trouble> {
    Ok(match layout.kind(&kv.key.0) {
        Kind::Config => Some(Change::Config(None)),
        Kind::Lease(subnets) => Some(Change::Gone(subnets.prefixes())),
        Kind::Record(subnets) if !subnets.has_v4() => Some(Change::Gone(subnets.prefixes())),
        Kind::Marker => return Err(Trouble::LostCursor("the store was wiped".into())),
        _ => None,
    })
}

fn config(layout: &Layout, value: &[u8]) -> Change {
    match text(value) {
        Ok(text) => Change::Config(Some(text)),
        Err(reason) => Change::Oddity(Oddity { place: layout.config(), reason }),
    }
}

/// Pieces that were cut anywhere, as whole lines.
#[derive(Debug, Default)]
struct Lines {
    pending: Vec<u8>,
    /// So much of it has been looked through for the end of a line.
    looked: usize,
}

impl Lines {
    fn add(&mut self, piece: &[u8]) {
        self.pending.extend_from_slice(piece);
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            let Some(end) = self.pending[self.looked..].iter().position(|byte| *byte == b'\n') else {
                self.looked = self.pending.len();
                return None;
            };
            let rest = self.pending.split_off(self.looked + end + 1);
            let line = std::mem::replace(&mut self.pending, rest);
            self.looked = 0;
            if !line.trim_ascii().is_empty() {
                return Some(line);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twill_guest::store::Prefixes;

    fn layout() -> Layout {
        Layout::new("/n").expect("a prefix")
    }

    fn event(kind: &str, key: &str, value: &str, revision: i64) -> Event {
        let kv = KeyValue { key: key.to_owned().into(), value: value.to_owned().into(), mod_revision: revision, lease: 7 };
        Event { kind: kind.into(), kv }
    }

    #[test]
    fn lines_are_joined_however_they_are_cut() {
        let mut lines = Lines::default();
        let mut seen = Vec::new();
        for piece in ["{\"a\"", ":1}", "\n\n{}\n{", "}", "\n"] {
            lines.add(piece.as_bytes());
            seen.extend(std::iter::from_fn(|| lines.next()).map(|line| String::from_utf8(line).expect("text")));
        }
        assert_eq!(seen, ["{\"a\":1}\n", "{}\n", "{}\n"]);
    }

    #[test]
    fn a_key_that_nobody_can_read_costs_nothing_else() {
        let plain = r#"{"PublicIP":"192.0.2.1","PublicIPv6":null}"#;
        let events = [
            event("", "/n/subnets/10.1.1.0-24", plain, 5),
            event("", "/n/subnets/garbage", "", 6),
            event("DELETE", "/n/subnets/garbage", "", 7),
            event("DELETE", "/n/subnets/10.1.1.0-24", "", 8),
            event("", "/n/config", "{}", 9),
            event("", "/elsewhere", "", 10),
        ];
        let changes = changes(&layout(), &events).expect("readable");
        assert!(matches!(&changes[0], Change::Put(lease) if lease.node.is_none()));
        assert!(matches!(&changes[1], Change::Oddity(oddity) if oddity.place == "/n/subnets/garbage"));
        assert_eq!(changes[2..], [Change::Gone(Prefixes { v4: Some("10.1.1.0/24".into()), v6: None }), Change::Config(Some("{}".into()))]);
    }

    #[test]
    fn a_store_that_is_younger_or_another_is_another() {
        let known = Cursor { revision: 9, identity: "1/a".into() };
        let found = |revision, identity: &str| same_store(&known, &Cursor { revision, identity: identity.into() });
        assert_eq!(found(9, "1/a"), Ok(()));
        for lost in [found(8, "1/a"), found(10, "1/b"), found(10, "1/")] {
            assert!(matches!(lost, Err(Trouble::LostCursor(_))));
        }
    }

    #[test]
    fn compaction_loses_the_place() {
        let news = News { canceled: true, compact_revision: 7, ..News::default() };
        assert!(matches!(goes_on(&news), Err(Trouble::LostCursor(_))));
        let denied = News { canceled: true, cancel_reason: "etcdserver: permission denied".into(), ..News::default() };
        assert!(matches!(goes_on(&denied), Err(Trouble::Denied(_))));
    }
}
