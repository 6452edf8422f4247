//! A snapshot as JSON, part by part. A part is encoded when it is first asked for, and once however many clients read or follow it; the stream compares
//! parts by their bytes and sends those that changed.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use axum::body::Bytes;
use serde::Serialize;
use twill_model::status::Snapshot;

/// A field of [`Snapshot`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Node,
    Leases,
    Paths,
    State,
    Plugins,
    Tunnels,
    Events,
    Network,
    Work,
}

impl Part {
    /// All, in the order of the fields.
    const ALL: [Part; 9] =
        [Part::Node, Part::Leases, Part::Paths, Part::State, Part::Plugins, Part::Tunnels, Part::Events, Part::Network, Part::Work];

    fn name(self) -> &'static str {
        match self {
            Part::Node => "node",
            Part::Leases => "leases",
            Part::Paths => "paths",
            Part::State => "state",
            Part::Plugins => "plugins",
            Part::Tunnels => "tunnels",
            Part::Events => "events",
            Part::Network => "network",
            Part::Work => "work",
        }
    }

    fn of(self, snapshot: &Snapshot) -> Bytes {
        match self {
            Part::Node => json(&snapshot.node),
            Part::Leases => json(&snapshot.leases),
            Part::Paths => json(&snapshot.paths),
            Part::State => json(&snapshot.state),
            Part::Plugins => json(&snapshot.plugins),
            Part::Tunnels => json(&snapshot.tunnels),
            Part::Events => json(&snapshot.events),
            Part::Network => json(&snapshot.network),
            Part::Work => json(&snapshot.work),
        }
    }
}

/// A snapshot and those of its parts as JSON texts that somebody has asked for.
pub struct Encoded {
    snapshot: Arc<Snapshot>,
    parts: [OnceLock<Bytes>; Part::ALL.len()],
    routes: OnceLock<Bytes>,
}

impl Encoded {
    fn new(snapshot: Arc<Snapshot>) -> Encoded {
        Encoded { snapshot, parts: Default::default(), routes: OnceLock::new() }
    }

    /// A part's JSON.
    pub fn part(&self, part: Part) -> &Bytes {
        self.parts[part as usize].get_or_init(|| part.of(&self.snapshot))
    }

    /// The items of kind "route".
    pub fn routes(&self) -> &Bytes {
        let of = || json(&self.snapshot.state.iter().filter(|item| item.kind == "route").collect::<Vec<_>>());
        self.routes.get_or_init(of)
    }

    /// The whole snapshot as one object.
    pub fn whole(&self) -> Vec<u8> {
        object(Part::ALL.into_iter().map(|part| self.member(part)))
    }

    /// What differs from `before` (everything when there is none) as one object, together with the time that this node's clock shows, in
    /// milliseconds since the Unix epoch.
    pub fn changes(&self, before: Option<&Encoded>, at_ms: u64) -> Vec<u8> {
        let changed = Part::ALL.into_iter().filter(|part| before.is_none_or(|before| before.part(*part) != self.part(*part)));
        let clock = member("at_ms", at_ms.to_string().as_bytes());
        object(std::iter::once(clock).chain(changed.map(|part| self.member(part))))
    }

    /// True when every part is the same.
    pub fn same(&self, other: &Encoded) -> bool {
        Part::ALL.into_iter().all(|part| self.part(part) == other.part(part))
    }

    fn member(&self, part: Part) -> Vec<u8> {
        member(part.name(), self.part(part))
    }
}

/// Shares what is encoded among all who ask for the newest snapshot at a time. It keeps nothing itself: texts of thousands of peers are large.
#[derive(Default)]
pub struct Encoder {
    newest: Mutex<Weak<Encoded>>,
}

impl Encoder {
    /// The snapshot, to be had as JSON.
    pub fn encode(&self, snapshot: &Arc<Snapshot>) -> Arc<Encoded> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        match newest.upgrade().filter(|known| Arc::ptr_eq(&known.snapshot, snapshot)) {
            Some(known) => known,
            None => {
                let fresh = Arc::new(Encoded::new(snapshot.clone()));
                *newest = Arc::downgrade(&fresh);
                fresh
            }
        }
    }
}

fn json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).expect("a snapshot has text keys only").into()
}

fn member(name: &str, value: &[u8]) -> Vec<u8> {
    [b"\"", name.as_bytes(), b"\":", value].concat()
}

fn object(members: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let members: Vec<Vec<u8>> = members.collect();
    [b"{".as_slice(), &members.join(b",".as_slice()), b"}"].concat()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json, to_value};

    use super::*;

    fn encoded(snapshot: &Snapshot) -> Encoded {
        Encoded::new(Arc::new(snapshot.clone()))
    }

    fn parse(text: &[u8]) -> Value {
        serde_json::from_slice(text).expect("JSON")
    }

    #[test]
    fn the_parts_make_up_the_snapshot() {
        let snapshot = Snapshot::default();
        let whole = parse(&encoded(&snapshot).whole());
        assert_eq!(whole, to_value(&snapshot).expect("JSON"));
    }

    #[test]
    fn changes_hold_the_clock_and_what_differs() {
        let old = Snapshot::default();
        let mut new = old.clone();
        new.node.hostname = "a".into();
        let (old, new) = (encoded(&old), encoded(&new));
        assert!(!new.same(&old));
        let changes = parse(&new.changes(Some(&old), 7));
        assert_eq!(changes["at_ms"], json!(7));
        assert_eq!(changes["node"]["hostname"], json!("a"));
        assert_eq!(changes.as_object().expect("an object").len(), 2);
        assert_eq!(parse(&new.changes(Some(&new), 7)), json!({ "at_ms": 7 }));
    }

    #[test]
    fn a_snapshot_is_encoded_once_for_all_who_have_it_and_kept_for_nobody_else() {
        let encoder = Encoder::default();
        let snapshot = Arc::new(Snapshot::default());
        let first = encoder.encode(&snapshot);
        assert!(Arc::ptr_eq(&first, &encoder.encode(&snapshot)));
        assert!(!Arc::ptr_eq(&first, &encoder.encode(&Arc::new(Snapshot::default()))));
        drop(first);
        assert_eq!(Arc::strong_count(&snapshot), 1);
    }

    #[test]
    fn only_what_is_asked_for_is_encoded() {
        let encoded = encoded(&Snapshot::default());
        encoded.part(Part::Leases);
        let made: Vec<Part> = Part::ALL.into_iter().filter(|part| encoded.parts[*part as usize].get().is_some()).collect();
        assert_eq!((made, encoded.routes.get()), (vec![Part::Leases], None));
    }
}
